"""The server as systemd runs it: its socket, what it says of its state, its package and shells."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import urllib.request

import pytest
from conftest import ROOT, clean_environment, program, run_sluice


class Service:
    """`sluice serve` with a socket that listens already, and somebody who hears its notices."""

    def __init__(self, home, folder, listener, *arguments, num_sockets=1):
        self.hears = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.hears.settimeout(30)
        self.hears.bind(str(folder / "notify"))
        environment = dict(clean_environment(home), NOTIFY_SOCKET=str(folder / "notify"),
                           LISTEN_FDS=str(num_sockets))
        # The protocol's socket is descriptor 3, of the process whose id LISTEN_PID has.
        script = 'exec 3<&%d 4<&%d; export LISTEN_PID=$$; exec "$@"' % (
            (listener.fileno(),) * 2)
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", program(), "serve", *arguments], env=environment,
            pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)

    def notice(self):
        return dict(line.split("=", 1) for line in self.hears.recv(4096).decode().splitlines())


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def answer(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as reply:
        return reply.read()


def test_it_takes_the_socket_and_tells_its_state(home, tmp_path, listener):
    port = listener.getsockname()[1]
    # Who comes before it has started waits, and is not refused.
    early = socket.create_connection(("127.0.0.1", port))
    early.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    service = Service(home, tmp_path, listener)
    try:
        assert service.notice()["READY"] == "1"
        early.settimeout(30)
        assert b"Ollama is running" in b"".join(iter(lambda: early.recv(4096), b""))
        assert answer(port) == b"Ollama is running"
        service.process.send_signal(signal.SIGHUP)
        assert int(service.notice()["MONOTONIC_USEC"]) > 0
        assert service.notice()["READY"] == "1"
        service.process.terminate()
        stopping = service.notice()
        assert stopping["STOPPING"] == "1" and int(stopping["EXTEND_TIMEOUT_USEC"]) > 10e6
        assert service.process.wait(30) == 0
        # The socket is the manager's: a client that comes now is served by the next start.
        late = socket.create_connection(("127.0.0.1", port))
        late.close()
    finally:
        service.process.kill()
        service.process.wait()
        early.close()


@pytest.mark.parametrize("kind", ["datagram", "two"])
def test_what_it_cannot_serve_is_said(home, tmp_path, kind):
    listener = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if kind == "datagram"
                else socket.create_server(("127.0.0.1", 0)))
    with listener:
        service = Service(home, tmp_path, listener, num_sockets=2 if kind == "two" else 1)
        _, log = service.process.communicate(timeout=30)
    assert service.process.returncode == 1
    assert ("listening TCP one" if kind == "datagram" else "2 sockets") in log


def test_a_socket_for_other_machines_needs_a_key(home, tmp_path):
    with socket.create_server(("0.0.0.0", 0)) as listener:
        service = Service(home, tmp_path, listener)
        _, log = service.process.communicate(timeout=30)
    assert service.process.returncode == 1 and "refusing to listen on 0.0.0.0" in log


def test_the_units_are_right(tmp_path):
    tool = shutil.which("systemd-analyze")
    if not tool:
        pytest.skip("systemd-analyze is not installed")
    for name in ("sluice.service", "sluice.socket"):
        text = (ROOT / "deploy/systemd" / name).read_text()
        (tmp_path / name).write_text(
            re.sub(r"^Documentation=.*\n", "", text, flags=re.M).replace("/usr/bin/sluice", program()))
    done = subprocess.run([tool, "verify", tmp_path / "sluice.service", tmp_path / "sluice.socket"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "sluice" not in done.stderr, done.stderr


# --- shells and the man page --------------------------------------------------------------------


def bash_words(home, line):
    """What bash offers for `line`."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")
    script = run_sluice("completion", "bash", home=home).stdout + """
COMP_LINE=$1 COMP_POINT=${#1}
_sluice
printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = f"{pathlib.Path(program()).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True,
                          env=dict(clean_environment(home), PATH=path), cwd=home, timeout=60)
    assert not done.stderr, done.stderr
    return set(done.stdout.split())


def test_bash_completes_commands_flags_values_and_models(home):
    assert {"run", "serve", "loadtest", "key"} <= bash_words(home, "sluice ")
    assert bash_words(home, "sluice se") == {"serve"}
    assert bash_words(home, "sluice key ") == {"add", "list", "revoke"} | set(os.listdir(home))
    assert {"--scope", "--tokens-per-day", "--help"} <= bash_words(home, "sluice key add --")
    assert bash_words(home, "sluice serve --kv-cache-type ") == {"f16", "q8_0"}
    assert bash_words(home, "sluice serve --log-level d") == {"debug"}
    assert "models" in bash_words(home, "sluice serve --models mod")
    # bash counts what stands behind the colon as a word of its own.
    assert "test-model:tiny" in bash_words(home, "sluice run ")
    assert bash_words(home, "sluice run test-model:t") == {"tiny"}


def test_hidden_commands_are_not_shown(home):
    shown = run_sluice("--help", home=home).stdout
    assert "completion" not in shown.split("Examples:")[0]
    assert not {"completion", "manual"} & bash_words(home, "sluice ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_read_the_completion(home, shell, tmp_path):
    script = run_sluice("completion", shell, home=home).stdout
    for command in ("loadtest", "import", "key"):
        assert command in script
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    file = tmp_path / "completion"
    file.write_text(script)
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    if shell == "zsh":
        # As a shell would call it, with what completes replaced by what tells.
        called = subprocess.run(
            ["zsh", "-f", "-c", f"compdef() {{ :; }}; source {file}; sluice() {{ echo NAME; echo "
             "a:b x; }; _files() { :; }; _describe() { print -r -- ${(P)2}; }; _sluice_models"],
            capture_output=True, text=True, timeout=60, env=clean_environment(home))
        assert called.stdout.split() == ["a\\:b"], called
    if shell == "fish":
        offered = subprocess.run(
            ["fish", "--no-config", "-c", f"source {file}; complete -C 'sluice serve --kv-cache-type '"],
            capture_output=True, text=True, timeout=60, env=clean_environment(home))
        words = [line.split("\t")[0] for line in offered.stdout.splitlines()]
        assert words == ["f16", "q8_0"], offered


def test_the_man_page_has_every_command(home):
    page = run_sluice("manual", home=home).stdout
    commands = re.findall(r"^  ([a-z]+)[, ].*$", run_sluice("--help", home=home).stdout.split(
        "Subcommands:")[1].split("Examples:")[0], flags=re.M)
    assert len(commands) > 20
    for command in commands:
        assert f".SS {command}" in page, command
    assert "\\-\\-kv\\-cache\\-type" in page
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
