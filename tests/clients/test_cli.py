"""The program's own commands."""

import json
import os
import resource
import signal
import socket
import subprocess
import time
import urllib.request

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
    (["key", "revoke", "nobody"], "there is no key"),
    (["key", "add", "two words"], "letters"),
    (["key", "add", "x", "--scope", "root"], "there is no scope"),
    (["serve", "--allow-anonymous=x"], "there is no scope"),
    (["serve", "--host", "0.0.0.0"], "sluice key add"),
    (["serve", "--host", "0.0.0.0"], "--allow-anonymous"),
    (["serve", "--host", "8.8.8.8:1", "--allow-anonymous"], "8.8.8.8"),
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


def run_with(home, *arguments, **options):
    """A run without a server, whatever its end."""
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1")
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, **options}
    return subprocess.run([program(), *arguments], env=env, text=True, timeout=120, **options)


@pytest.fixture
def messages(tmp_path):
    path = tmp_path / "messages.json"
    path.write_text(json.dumps([{"role": "user", "content": "hi"}]))
    return str(path)


def test_output_that_cannot_be_written_is_status_1(home, messages, tmp_path):
    text = tmp_path / "text"
    text.write_text("word " * 600)
    template = tmp_path / "t.jinja"
    template.write_text("x{{ messages[0].content }}")
    commands = [["--help"], ["--version"], ["version"], ["list"], ["show", MODEL],
                ["show", MODEL, "--template"], ["run", MODEL, "hi", "--num-predict", "2"],
                ["tokenize", MODEL, "hi"], ["render", str(template), messages],
                ["bench", MODEL, "-p", "8", "-n", "2", "-r", "1"],
                ["perplexity", MODEL, "-f", str(text), "--ctx", "64", "--windows", "1"],
                ["top", "--once"]]
    for command in commands:
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = run_with(home, *command, capture_output=False, stdout=full,
                            stderr=subprocess.PIPE)
        assert done.returncode == 1, command
        assert "cannot write to standard output" in done.stderr, (command, done.stderr)


def test_bench_of_a_shape_that_is_not_there(home):
    done = run_with(home, "bench", "--shape", "smollm2:135m", "--quant", "q8_0", "-p", "8",
                    "-n", "2", "-r", "1", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["results"]) == 2
    assert 0.9 < document["weight_bytes"] / 144e6 < 1.2  # as many as the real one has


@pytest.mark.parametrize("arguments, message", [
    (["--shape", "llama3.1:405b", "--quant", "f16"], "GB are free"),
    (["--shape", "lama3.1:8b"], "Did you mean 'llama3.1:8b'"),
    (["--shape", "smollm2:135m", "--quant", "q9"], "q4_K_M"),
    ([MODEL, "--shape", "smollm2:135m"], "takes a MODEL, or --shape"),
    ([], "takes a MODEL, or --shape"),
])
def test_bench_of_what_cannot_be(home, arguments, message):
    done = run_with(home, "bench", *arguments)
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_closed_descriptors_are_not_taken_by_files(home):
    closed = lambda *numbers: lambda: [os.close(number) for number in numbers]
    done = run_with(home, "run", MODEL, "hi", "--num-predict", "2", preexec_fn=closed(0))
    assert done.returncode == 0 and done.stdout.endswith("\n\n")
    done = run_with(home, "run", MODEL, preexec_fn=closed(0))
    assert done.returncode == 1 and "nothing to say" in done.stderr
    done = run_with(home, "list", preexec_fn=closed(1))
    assert done.returncode == 1 and "standard output" in done.stderr
    assert run_with(home, "show", "missing:1b", preexec_fn=closed(0, 1, 2)).returncode == 1


def test_a_silent_standard_input_is_named_after_a_second(home):
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1")
    process = subprocess.Popen([program(), "run", MODEL, "hi", "--num-predict", "2"], env=env,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert "waiting for standard input" in process.stderr.readline()
    assert process.poll() is None
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and out.endswith("\n\n")


@pytest.mark.parametrize("signal_number", [signal.SIGHUP, signal.SIGPIPE])
def test_a_server_outlives_its_terminal(home, signal_number):
    server = Server(home)
    server.process.send_signal(signal_number)
    time.sleep(0.2)
    assert server.get("/api/version")["version"]
    assert server.stop() == 0


def test_a_server_outlives_the_reader_of_its_log(home):
    process = subprocess.Popen([program(), "serve", "--port", "0", "--log-level", "debug"],
                               env=clean_environment(home), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "listening on" in line:
            break
    url = line.split()[-1]
    process.stderr.close()
    for _ in range(3):
        with urllib.request.urlopen(url + "/api/version", timeout=10) as reply:
            assert json.load(reply)["version"]
    process.terminate()
    assert process.wait(30) == 0


def test_little_memory_is_a_clear_line_and_no_abort(home, tmp_path):
    """Threads and memory fail at other places with every limit; none may end in a signal."""
    text = tmp_path / "text"
    text.write_text("word " * 600)
    commands = [["list"], ["run", MODEL, "hi", "--num-predict", "2"], ["top", "--once"],
                ["tokenize", MODEL, "hi"], ["bench", MODEL, "-p", "8", "-n", "2", "-r", "1"],
                ["perplexity", MODEL, "-f", str(text), "--ctx", "64", "--windows", "1"]]
    for command in commands:
        for megabytes in (40, 60, 80, 120, 200, 300):
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20,) * 2)
            done = run_with(home, *command, preexec_fn=limit)
            if "while loading shared libraries" in done.stderr:
                continue
            what = (command, megabytes, done.returncode, done.stderr)
            assert done.returncode in (0, 1), what
            if done.returncode == 1 and command[0] != "top":
                lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
                assert len(lines) == 1 and "std::" not in lines[0], what


def test_little_memory_for_the_load_test_is_a_clear_line(home, server):
    env = dict(clean_environment(home), SLUICE_HOST=server.url)
    for test in (["--test", "output", "--words", "5", "--max-tokens", "2", "--requests", "64"],
                 ["--test", "clients", "--max-tokens", "2", "--count", "64", "--requests", "64"],
                 ["--test", "clients", "--max-tokens", "2", "--rate", "1000", "--count", "64"]):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (160 << 20,) * 2)
        done = subprocess.run([program(), "loadtest", *test], env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, preexec_fn=limit)
        assert done.returncode == 1, (test, done)
        assert "thread" in done.stderr or "memory" in done.stderr, (test, done)


def test_a_file_gets_the_settings_of_the_environment(home):
    model = next(path for path in (home / "models/blobs").iterdir()
                 if path.stat().st_size > 100_000)
    env = dict(clean_environment(home), SLUICE_HOST="127.0.0.1:1", SLUICE_MAX_MEMORY="1KB")
    arguments = [program(), "run", f"{model.parent}/./{model.name}", "hi", "--num-predict", "2"]
    done = subprocess.run(arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1 and "memory" in done.stderr
    env = dict(env, SLUICE_KV_CACHE_TYPE="f32")
    done = subprocess.run(arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 1 and "SLUICE_KV_CACHE_TYPE" in done.stderr


def test_top_without_a_server_shows_the_machine_and_is_status_1(home):
    for arguments in (["top", "--once"], ["top", "--once", "--json"]):
        done = run_with(home, *arguments)
        assert done.returncode == 1 and "could not connect" in done.stderr
        assert "achine" in done.stdout


@pytest.mark.parametrize("host, shown", [("::1", "http://[::1]:"), (":0", "http://127.0.0.1:"),
                                         ("127.0.0.1:0", "http://127.0.0.1:")])
def test_serve_listens_where_ollama_would(home, host, shown):
    env = dict(clean_environment(home), OLLAMA_HOST=host)
    port = ["--port", "0"] if host == "::1" else []
    process = subprocess.Popen([program(), "serve", *port], env=env, stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    log = []
    for line in process.stderr:
        log.append(line)
        if "listening on" in line:
            break
    assert log and shown in log[-1], log
    process.terminate()
    process.stderr.close()
    assert process.wait(30) == 0


def test_an_unknown_option_is_told_at_once(home):
    done = run_with(home, "run", MODEL, "hi", "--option", "nosuch=1")
    assert done.returncode == 1 and "there is no option 'nosuch'" in done.stderr


@pytest.mark.parametrize("arguments, meant", [
    (["rn"], "'run'"),
    (["crate"], "'create'"),
    (["show", MODEL[:3] + MODEL[4:]], MODEL),
    (["rm", MODEL.upper() + "b"], MODEL),
    (["cp", MODEL[1:], "copy:1"], MODEL),
    (["run", "--offline", MODEL[:-1], "hi"], MODEL),
    (["tokenize", MODEL[1:], "x"], MODEL),
])
def test_a_wrong_name_suggests_near_ones(home, arguments, meant):
    done = run_sluice(*arguments, home=home, check=False)
    assert done.returncode in (1, 2)
    assert "Did you mean" in done.stderr and meant in done.stderr, done.stderr


def test_names_that_are_far_suggest_nothing(home):
    for arguments in (["frobnicate"], ["show", "quite-another:7b"]):
        assert "Did you mean" not in run_sluice(*arguments, home=home, check=False).stderr


def test_format_takes_a_schema(home):
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    done = run_sluice("run", MODEL, "a number", "--format", schema, "--num-predict", "64", home=home)
    assert isinstance(json.loads(done.stdout)["n"], int)
    bad = run_sluice("run", MODEL, "a number", "--format", "{", home=home, check=False)
    assert bad.returncode == 1 and "JSON" in bad.stderr


def test_plan_agrees_with_what_is_loaded(home, server):
    plan = json.loads(run_sluice("plan", MODEL, "--json", home=home).stdout)
    server.post("/api/generate", {"model": MODEL, "prompt": "hi", "stream": False,
                                  "options": {"num_predict": 1}})
    model = next(m for m in server.status()["models"] if m["name"] == MODEL)
    for part in ("weights", "workspace"):
        assert plan[part + "_bytes"] == pytest.approx(model["memory"][part], rel=0.02)


def test_plan_knows_published_shapes(home):
    plan = json.loads(run_sluice("plan", "llama3.1:70b", "--quant", "q4_K_M", "--gpu", "a100-80",
                                 "--json", home=home).stdout)
    assert plan["file_bytes"] == pytest.approx(42.5e9, rel=0.01)
    assert 45 < plan["decode_at_most"][0]["tokens_per_second_each"] < 50
    for wrong in (["nobody:1b"], ["llama3.1:8b", "--quant", "q9"], ["llama3.1:8b", "--gpu", "abacus"],
                  ["/etc/passwd"], ["llama3.1:8b", "--memory", "much", "--bandwidth", "1GB/s"]):
        done = run_sluice("plan", *wrong, home=home, check=False)
        assert done.returncode == 1 and done.stderr.startswith("Error: "), done
