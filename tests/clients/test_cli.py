"""The program's own commands."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import MODEL, Server, clean_environment, program, run_sluice


def test_help_teaches(home):
    text = run_sluice("--help", home=home).stdout
    assert "Examples:" in text and "sluice run" in text
    for command in ("run", "serve", "list", "tokenize", "loadtest"):
        assert "Usage" in run_sluice(command, "--help", home=home).stdout


def test_wrong_usage_is_status_2_and_one_line(home):
    for arguments in ([], ["frobnicate"], ["run"], ["serve", "--port", "high"],
                      ["serve", "--port", "70000"], ["list", "--bogus"]):
        done = run_sluice(*arguments, home=home, check=False)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize("arguments, text", [
    (["show", "missing:1b"], "not found"),
    (["rm", "missing:1b"], "not found"),
    (["run", "missing:1b", "hi"], "not found"),
    (["run", "/nowhere/x.gguf", "hi"], "/nowhere/x.gguf"),
    (["run", "/etc/passwd", "hi"], "GGUF"),
    (["import", "/etc", "x:1"], "directory"),
    (["import", "/dev/null", "x:1"], ""),
    (["import", "/etc/passwd", "../x"], "invalid model name"),
    (["tokenize", "missing:1b", "x"], "not found"),
    (["render", "/nowhere/x.jinja", "y.json"], "/nowhere/x.jinja"),
    (["ps"], "no server answers"),
    (["stop", "x"], "no server answers"),
    (["serve", "--host", "0.0.0.0"], "--allow-anyone"),
    (["serve", "--host", "8.8.8.8:1", "--allow-anyone"], "8.8.8.8"),
    (["run", MODEL, "hi", "--option", "top_k"], "KEY=VALUE"),
    (["run", MODEL, "hi", "--temperature", "hot"], "temperature"),
])
def test_failures_are_one_clear_line_and_status_1(home, arguments, text):
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1")
    done = subprocess.run([program(), *arguments], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and text in lines[0], done.stderr


def test_port_in_use_says_what_to_do(home, server):
    done = run_sluice("serve", "--port", str(server.port), home=home, check=False)
    assert done.returncode == 1
    assert "in use" in done.stderr and "--port" in done.stderr


def test_list_and_show_without_a_server(home):
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1")

    def run(*arguments):
        return subprocess.run([program(), *arguments], env=env, capture_output=True, text=True,
                              check=True, stdin=subprocess.DEVNULL, timeout=60).stdout

    lines = run("list").splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert lines[1].startswith(MODEL)
    text = run("show", MODEL)
    assert "architecture" in text and "llama" in text and "completion" in text
    assert run("show", MODEL, "--template").strip()


def test_one_shot_run_reads_prompt_and_pipe(home):
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1")
    arguments = [program(), "run", MODEL, "and", "more", "--temperature", "0", "--num-predict", "4",
                 "--verbose"]
    done = subprocess.run(arguments, env=env, input="text before", capture_output=True, text=True,
                          check=True, timeout=60)
    assert done.stdout.endswith("\n\n")
    assert "eval rate:" in done.stderr and "total duration:" in done.stderr


def test_run_uses_the_running_server(home, server):
    env = dict(clean_environment(home), SLUICE_HOST=server.url)
    before = server.status()
    done = subprocess.run([program(), "run", MODEL, "hi", "--num-predict", "2"], env=env,
                          stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60)
    after = server.status()
    assert done.returncode == 0
    count = lambda status: sum(m["engine"]["num_requests_finished"] for m in status["models"])
    assert count(after) > (count(before) if before["models"] else 0)


def test_ps_and_stop(home, server):
    env = dict(clean_environment(home), SLUICE_HOST=server.url)
    run = lambda *a: subprocess.run([program(), *a], env=env, capture_output=True, text=True,
                                    check=True, timeout=60).stdout
    server.post("/api/generate", {"model": MODEL})
    lines = run("ps").splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
    assert lines[1].startswith(MODEL) and "100% CPU" in lines[1]
    assert "4 minutes from now" in lines[1] or "5 minutes from now" in lines[1]
    run("stop", MODEL)
    for _ in range(100):
        if not server.get("/api/ps")["models"]:
            return
        time.sleep(0.05)
    pytest.fail("still loaded")


def test_tokenize_and_render(home, tmp_path):
    ids = run_sluice("tokenize", MODEL, "--ids", "Hello world", home=home).stdout.split()
    assert ids and all(token.isdigit() for token in ids)
    file = tmp_path / "text"
    file.write_bytes(b"Hello world")
    assert run_sluice("tokenize", MODEL, "--ids", "-f", str(file), home=home).stdout.split() == ids
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "user", "content": "hi"}]))
    template = tmp_path / "t.jinja"
    template.write_text("{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}"
                        "{% endfor %}{% if add_generation_prompt %}>{% endif %}{{ eos_token }}")
    done = run_sluice("render", str(template), str(messages), home=home)
    assert done.stdout == "<s>user:hi></s>"


def test_sigterm_finishes_what_runs_and_refuses_new(home):
    server = Server(home, "--drain-seconds", "20")
    server.post("/api/generate", {"model": MODEL})
    body = json.dumps({"model": MODEL, "prompt": "A story", "options": {
        "num_predict": 60, "temperature": 0}}).encode()
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                           + str(len(body)).encode() + b"\r\n\r\n" + body)
        first = connection.recv(65536)
        assert b" 200 " in first
        server.process.send_signal(signal.SIGTERM)
        received = first
        connection.settimeout(30)
        while b'"done":true' not in received and (piece := connection.recv(65536)):
            received += piece
    assert b'"done":true' in received
    assert server.process.wait(30) == 0


def test_second_signal_ends_at_once(home):
    server = Server(home, "--drain-seconds", "60")
    server.post("/api/generate", {"model": MODEL})
    body = json.dumps({"model": MODEL, "prompt": "A story", "options": {
        "num_predict": 480, "temperature": 1}}).encode()
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                           + str(len(body)).encode() + b"\r\n\r\n" + body)
        connection.recv(100)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_broken_model_file_fails_and_the_server_lives(home, tmp_path):
    store = home / "models"
    blob = next(path for path in (store / "blobs").iterdir() if path.stat().st_size > 100_000)
    broken_home = tmp_path / "home"
    (broken_home / "models").mkdir(parents=True)
    subprocess.run(["cp", "-r", str(store / "manifests"), str(store / "blobs"),
                    str(broken_home / "models")], check=True)
    with open(broken_home / "models/blobs" / blob.name, "r+b") as file:
        file.truncate(50_000)
    server = Server(broken_home)
    status, reply = server.post("/api/generate", {"model": MODEL, "prompt": "x"})
    assert status >= 400 and reply["error"]
    assert server.get("/api/tags")["models"]
    assert server.stop() == 0
