"""What goes wrong outside: clients that vanish or dawdle, crowds of connections, signals, little
memory. The server lives and gives back what they held."""

import hashlib
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from conftest import MODEL, Server, clean_environment, program, run_sluice
from test_bad_requests import ENDLESS, LONG, post, status_of


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=60)


def read_until(connection, mark):
    received = b""
    while mark not in received:
        piece = connection.recv(65536)
        assert piece, f"closed before {mark}: {received[-500:]}"
        received += piece
    return received


def wait_until(is_reached, seconds, what):
    start = time.monotonic()
    while not is_reached():
        assert time.monotonic() - start < seconds, what
        time.sleep(0.05)


def resident_bytes(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_clients_that_vanish_in_mid_stream(server, path):
    server.post("/api/generate", {"model": MODEL})
    body = json.dumps({**ENDLESS, "stream": True, "max_tokens": 8000}).encode()
    connections = [connect(server) for _ in range(8)]
    for connection in connections:
        connection.sendall(post(path, body))
    for connection in connections:
        read_until(connection, b"content")
    for i, connection in enumerate(connections):
        if i % 2:  # a reset instead of a proper end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  (1).to_bytes(4, "little") + bytes(4))
        connection.close()
    after = server.wait_until_idle(60)["models"][0]["engine"]
    assert after["num_blocks_used"] == 0


def test_readers_of_one_byte_at_a_time_hold_nobody_up(server):
    body = json.dumps({**LONG, "options": {"num_predict": 60}}).encode()
    slow = [connect(server) for _ in range(4)]
    for connection in slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.sendall(post("/api/chat", body))
    for _ in range(3):
        for connection in slow:
            assert connection.recv(1)
        status, reply = server.post("/api/chat", {**LONG, "stream": False,
                                                  "options": {"num_predict": 2}})
        assert status == 200 and reply["done"]
    # The engine is done with them although they have hardly read anything.
    server.wait_for(lambda status: status["num_running"] == 0, 60)
    for connection in slow:
        connection.close()
    server.wait_until_idle(60)


def test_half_a_request_holds_nothing(server):
    before = server.status()["num_connections"]
    whole = post("/api/chat", json.dumps(LONG).encode())
    connections = [connect(server) for _ in range(20)]
    for i, connection in enumerate(connections):
        connection.sendall(whole[:len(whole) * (i + 1) // 21])
    assert server.post("/api/generate", {"model": MODEL})[0] == 200
    status = server.status()
    assert status["num_running"] == status["num_waiting"] == 0
    for connection in connections:
        connection.close()
    server.wait_for(lambda status: status["num_connections"] <= before + 2, 60)


def test_two_thousand_connections_opened_and_dropped(server):
    body = post("/api/generate", json.dumps({"model": MODEL, "prompt": "x"}).encode())
    for i in range(2000):
        connection = connect(server)
        if i % 4 == 1:
            connection.sendall(b"GET / HT")
        elif i % 4 == 2:
            connection.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        elif i % 100 == 3:
            connection.sendall(body)
        connection.close()
    server.wait_for(lambda status: status["num_connections"] < 20, 60)
    server.wait_until_idle(60)


def test_idle_connections_beside_busy_ones(server):
    server.post("/api/generate", {"model": MODEL})
    idle = [connect(server) for _ in range(500)]
    try:
        body = json.dumps({"model": MODEL, "prompt": "A story", "options": {
            "num_predict": 4, "temperature": 0}}).encode()
        active = [connect(server) for _ in range(50)]
        for connection in active:
            connection.sendall(post("/api/generate", body))
        for connection in active:
            assert status_of(read_until(connection, b'"done":true')) == 200
            connection.close()
        assert server.status()["num_connections"] >= 500
        # The idle ones were not forgotten either.
        for connection in idle[::100]:
            connection.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(connection, b"version")
    finally:
        for connection in idle:
            connection.close()
    server.wait_for(lambda status: status["num_connections"] < 20, 60)


def test_sigterm_ends_in_bounded_time_and_refuses_meanwhile(home):
    server = Server(home, "--drain-seconds", "2")
    server.post("/api/generate", {"model": MODEL})
    with connect(server) as running, connect(server) as late:
        running.sendall(post("/api/chat", json.dumps(ENDLESS).encode()))
        received = read_until(running, b"content")
        late.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(late, b"version")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any("stopping" in line for line in server.log), 30, "no sign of an end")
        try:
            late.sendall(post("/api/chat", json.dumps(LONG).encode()))
            refusal = read_until(late, b"shutting down")
            assert b" 503 " in refusal and b"Retry-After: " in refusal
        except (BrokenPipeError, ConnectionResetError, AssertionError):
            # A small model may be through with everything by then: only then may it be closed.
            assert server.process.wait(60) == 0
        if b'"done":true' not in received:
            received += read_until(running, b'"done":true')
        # Told properly why it ended, not cut.
        assert b'"done_reason":"' in received
    assert server.process.wait(60) == 0


def test_sigkill_leaves_the_store_as_it_was(home):
    server = Server(home)
    server.post("/api/generate", {"model": MODEL})
    with connect(server) as running:
        running.sendall(post("/api/chat", json.dumps(ENDLESS).encode()))
        read_until(running, b"content")
        server.process.kill()
        assert server.process.wait(30) == -signal.SIGKILL
    server = Server(home)
    status, reply = server.post("/api/generate", {
        "model": MODEL, "prompt": "x", "stream": False, "options": {"num_predict": 2}})
    assert status == 200 and reply["done"]
    assert server.stop() == 0


def test_too_little_memory_says_what_is_missing_and_the_server_lives(home):
    server = Server(home, "--max-memory", "20KB")
    try:
        for _ in range(2):
            status, reply = server.post("/api/generate", {"model": MODEL, "prompt": "x"})
            assert status == 500
            assert "not enough memory for the model: it needs" in reply["error"]
            assert "20 KB are free for it" in reply["error"]
            assert "--max-memory" in reply["error"]
        status = server.status()
        assert status["models"] == [] and status["max_memory_bytes"] == 20_000
        assert server.get("/api/tags")["models"]
    finally:
        assert server.stop() == 0


def test_wrong_sizes_are_refused(home):
    for size in ("many", "-1", "5 parsec", ""):
        env = clean_environment(home)
        done = subprocess.run([program(), "serve", "--port", "0", "--max-memory=" + size], env=env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60) if size else None
        if done:
            assert done.returncode == 1 and "--max-memory" in done.stderr


def test_unloading_gives_the_memory_back(home):
    server = Server(home, "--kv-cache-type", "q8_0")
    try:
        before = resident_bytes(server.process)
        for _ in range(2):
            assert server.post("/api/generate", {
                "model": MODEL, "prompt": "x " * 300, "stream": False,
                "options": {"num_predict": 4}})[0] == 200
            memory = server.status()["models"][0]["memory"]
            loaded = resident_bytes(server.process)
            if memory["weights"] > 20_000_000:
                assert loaded > before + memory["weights"] / 2
            server.post("/api/generate", {"model": MODEL, "keep_alive": 0})
            server.wait_for(lambda status: not status["models"], 60)
            # What is left: a fifth of the weights, and what the first request set up for good.
            limit = before + memory["weights"] / 5 + 30_000_000
            wait_until(lambda: resident_bytes(server.process) < limit, 60,
                       f"{loaded} before, {resident_bytes(server.process)} after unloading")
    finally:
        assert server.stop() == 0


def test_the_least_recently_used_model_makes_room(home, tmp_path):
    """Two models of which only one fits: each is loaded when it is asked for."""
    server = Server(home)
    server.post("/api/generate", {"model": MODEL})
    memory = server.status()["models"][0]["memory"]
    assert server.stop() == 0
    need = memory["weights"] + memory["workspace"]
    blob = max((home / "models/blobs").iterdir(), key=lambda path: path.stat().st_size)
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", str(home / "models"), str(other)], check=True)
    # Another file with the same weights: a byte behind the last tensor makes it another blob.
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(blob.read_bytes() + b"\0")
    env = dict(clean_environment(home), SLUICE_MODELS=str(other))
    subprocess.run([program(), "import", str(copy), "second:1"], env=env, check=True,
                   stdout=subprocess.DEVNULL)
    other_home = tmp_path / "home"
    other_home.mkdir()
    other.rename(other_home / "models")
    server = Server(other_home, "--max-memory", str(int(need * 1.6)))
    try:
        for name in (MODEL, "second:1", MODEL):
            status, reply = server.post("/api/generate", {
                "model": name, "prompt": "x", "stream": False, "options": {"num_predict": 2}})
            assert status == 200, reply
            assert [model["name"] for model in server.status()["models"]] == [name]
        status = server.status()
        assert 0 < status["used_memory_bytes"] <= status["max_memory_bytes"]
    finally:
        assert server.stop() == 0


def copy_of_store(home, tmp_path):
    """A home of its own with the same models, to break things in."""
    own = tmp_path / "home"
    own.mkdir()
    subprocess.run(["cp", "-r", str(home / "models"), str(own / "models")], check=True)
    return own


def weights_of(home):
    return max((home / "models/blobs").iterdir(), key=lambda path: path.stat().st_size)


GENERATE = {"model": MODEL, "prompt": "x", "stream": False, "options": {"num_predict": 8}}


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "removed"])
def test_a_model_file_that_changes_while_it_is_loaded_harms_nobody(home, tmp_path, damage):
    own = copy_of_store(home, tmp_path)
    blob = weights_of(own)
    size = blob.stat().st_size
    server = Server(own)
    try:
        greedy = {**GENERATE, "options": {"num_predict": 8, "temperature": 0}}
        status, before = server.post("/api/generate", greedy)
        assert status == 200
        with connect(server) as running:
            running.sendall(post("/api/chat", json.dumps(ENDLESS).encode()))
            read_until(running, b"content")
            if damage == "cut short":
                with open(blob, "r+b") as file:
                    file.truncate(size // 2)
            elif damage == "overwritten":
                with open(blob, "r+b") as file:
                    file.write(bytes(size))
            else:
                blob.unlink()
            for _ in range(20):
                read_until(running, b"content")
        # What is loaded does not need the file any more.
        if damage == "overwritten":
            status, after = server.post("/api/generate", greedy)
            assert status == 200 and after["response"] == before["response"]
        # Also when the file is not there any more, the model can be unloaded.
        assert server.post("/api/generate", {"model": MODEL, "keep_alive": 0})[0] == 200
        server.wait_for(lambda status: not status["models"], 60)
        status, reply = server.post("/api/generate", GENERATE)
        assert status in (404, 500) and blob.name in reply["error"], reply
        assert server.get("/api/tags")["models"]
    finally:
        assert server.stop() == 0


def test_a_file_that_is_cut_while_it_is_loading_is_an_error(home, tmp_path):
    """Over and over, at another moment each time: in no case does the server end."""
    own = copy_of_store(home, tmp_path)
    blob = weights_of(own)
    whole = blob.read_bytes()
    server = Server(own)
    try:
        for delay in [i / 200 for i in range(12)]:
            blob.write_bytes(whole)
            with connect(server) as running:
                running.sendall(post("/api/generate", json.dumps(GENERATE).encode()))
                time.sleep(delay)
                with open(blob, "r+b") as file:
                    file.truncate(len(whole) // 3)
                assert status_of(read_until(running, b"}")) in (200, 404, 500)
            server.post("/api/generate", {"model": MODEL, "keep_alive": 0})
            server.wait_for(lambda status: not status["models"], 60)
        blob.write_bytes(whole)
        assert server.post("/api/generate", GENERATE)[0] == 200
    finally:
        assert server.stop() == 0


def test_pipes_and_devices_are_refused_at_once(home, tmp_path):
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    text = tmp_path / "text"
    os.mkfifo(text)
    model = str(weights_of(home))
    for path in (str(pipe), "/dev/zero", str(tmp_path)):
        for command in (["run", path, "hi"], ["import", path, "x"], ["bench", path],
                        ["tokenize", path, "hi"], ["perplexity", path, "-f", __file__],
                        ["perplexity", model, "-f", str(text)]):
            done = run_sluice(*command, home=home, check=False, timeout=30)
            assert done.returncode == 1, command
            assert done.stderr.startswith("Error: "), (command, done.stderr)


def test_what_is_broken_in_the_store_is_told_and_can_be_removed(home, tmp_path):
    own = copy_of_store(home, tmp_path)
    library = own / "models/manifests/registry.ollama.ai/library"
    (library / "bad").mkdir()
    (library / "bad/latest").write_text('{"config":{},"layers":[' + "{}," * 1_300_000 + "{}]}")
    (library / "worse").mkdir()
    (library / "worse/latest").write_text("{not json")
    listed = run_sluice("list", home=own, check=False)
    assert listed.returncode == 1 and MODEL in listed.stdout
    assert "bad:latest" in listed.stderr and "worse:latest" in listed.stderr
    server = Server(own)
    try:
        start = time.monotonic()
        tags = server.get("/api/tags")
        assert [model["name"] for model in tags["models"]] == [MODEL]
        assert {model["name"] for model in tags["unreadable"]} == {"bad:latest", "worse:latest"}
        assert server.post("/api/show", {"model": "bad"})[0] == 500
        assert server.post("/api/show", {"model": MODEL})[0] == 200
        assert server.post("/api/generate", GENERATE)[0] == 200
        assert time.monotonic() - start < 30
        assert server.post("/api/delete", {"model": "bad"}, "DELETE")[0] == 200
        assert server.post("/api/delete", {"model": "bad"}, "DELETE")[0] == 404
    finally:
        assert server.stop() == 0
    assert run_sluice("rm", "worse", home=own).returncode == 0
    listed = run_sluice("list", home=own)
    assert listed.stderr == "" and MODEL in listed.stdout


def test_a_damaged_layer_is_the_servers_fault_and_is_named(home, tmp_path):
    own = copy_of_store(home, tmp_path)
    manifest = json.loads(next((own / "models/manifests").rglob("tiny")).read_text())
    params = b'{"temperature":"hot"}'  # as it was stored, but not what a request may say
    digest = hashlib.sha256(params).hexdigest()
    (own / "models/blobs" / f"sha256-{digest}").write_bytes(params)
    manifest["layers"].append({"mediaType": "application/vnd.ollama.image.params",
                               "digest": f"sha256:{digest}", "size": len(params)})
    folder = own / "models/manifests/registry.ollama.ai/library/hot"
    folder.mkdir()
    (folder / "latest").write_text(json.dumps(manifest))
    server = Server(own)
    try:
        for path in ("/api/show", "/api/generate"):
            status, reply = server.post(path, {**GENERATE, "model": "hot"})
            assert status == 500 and digest in reply["error"], (path, reply)
    finally:
        assert server.stop() == 0


def test_a_copy_is_another_name(home, tmp_path):
    own = copy_of_store(home, tmp_path)
    server = Server(own)
    try:
        copy = {"source": MODEL, "destination": "me/second:1"}
        assert server.post("/api/copy", copy)[0] == 200
        assert {model["name"] for model in server.get("/api/tags")["models"]} == {
            MODEL, "me/second:1"}
        assert server.post("/api/copy", {**copy, "source": "nope"})[0] == 404
        assert server.post("/api/delete", {"model": MODEL}, "DELETE")[0] == 200
        assert server.post("/api/generate", {**GENERATE, "model": "me/second:1"})[0] == 200
    finally:
        assert server.stop() == 0


def test_a_closed_terminal_or_log_does_not_end_a_server(home):
    server = Server(home)
    server.process.send_signal(signal.SIGHUP)
    server.process.send_signal(signal.SIGPIPE)
    assert server.post("/api/generate", GENERATE)[0] == 200
    assert server.stop() == 0
    # `sluice serve 2>&1 | head -n 1`: nobody reads the log any more.
    read_end, write_end = os.pipe()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program(), "serve", "--port", str(port), "--log-level", "debug"],
                               env=clean_environment(home), stdin=subprocess.DEVNULL,
                               stdout=write_end, stderr=write_end)
    os.close(write_end)
    os.read(read_end, 1)
    os.close(read_end)

    def answers():
        assert process.poll() is None
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(post("/api/generate", json.dumps(GENERATE).encode()))
                return status_of(read_until(connection, b"}")) == 200
        except ConnectionRefusedError:
            return False

    wait_until(answers, 60, "the server does not answer")
    process.terminate()
    assert process.wait(30) == 0


def run_limited(home, limit, *arguments):
    """Ends by itself (a server: when it is stopped after some seconds), never by a signal of the
    kernel's, and says why when it fails."""
    process = subprocess.Popen([program(), *arguments], env=clean_environment(home),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, preexec_fn=limit)
    try:
        _, errors = process.communicate(timeout=4 if arguments[0] == "serve" else 120)
    except subprocess.TimeoutExpired:
        assert arguments[0] == "serve"
        process.terminate()
        _, errors = process.communicate(timeout=60)
    if process.returncode == 127 and "loading shared libraries" in errors:
        return False  # the loader's own line: the program has not begun
    assert process.returncode in (0, 1), (process.returncode, errors)
    if process.returncode == 1:
        assert "Error: " in errors, errors
    return process.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="counts the threads of a user without others")
def test_threads_that_cannot_be_made_are_told(home, tmp_path):
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        subprocess.run(["cp", "-r", str(home / "models"), str(folder / "models")], check=True)
        subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True)
        results = []
        for count in (1, 2, 3, 4, 5, 6, 12, 24):
            def limit():
                resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
                os.setuid(60124)
            if subprocess.run([program(), "version"], preexec_fn=limit, check=False,
                              capture_output=True).returncode:
                pytest.skip("another user cannot run the program here")
            results.append(run_limited(folder, limit, "serve", "--port", "0"))
            for command in (["run", MODEL, "hi", "--num-predict", "4"], ["list"],
                            ["bench", MODEL, "-p", "8", "-n", "2", "-r", "1"]):
                run_limited(folder, limit, *command)
        assert not results[0] and results[-1]
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_address_space_that_is_short_is_told(home):
    results = []
    for megabytes in (60, 90, 120, 160, 240, 400, 4000):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        results.append(run_limited(home, limit, "run", MODEL, "hi", "--num-predict", "4"))
        run_limited(home, limit, "list")
    assert not results[0] and results[-1]


TOOL_MESSAGES = b",".join([b'{"role":"tool","content":"x"}'] * 390_000)
LARGE = {
    "/v1/chat/completions": b'{"model":"%s","messages":[%s]}' % (MODEL.encode(), TOOL_MESSAGES),
    "/api/chat": b'{"model":"%s","messages":[%s]}' % (MODEL.encode(), TOOL_MESSAGES),
    "/api/embed": b'{"model":"%s","input":[%s]}' % (
        MODEL.encode(), b",".join([b'"' + b"word " * 1000 + b'"'] * 2000)),
}


@pytest.mark.parametrize("spare_mb", [5, 20, 60, 120, 250])
def test_a_request_without_memory_fails_and_the_server_lives(home, spare_mb):
    server = Server(home)
    try:
        server.post("/api/generate", {"model": MODEL})
        sizes = pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()
        limit = int(sizes[0]) * resource.getpagesize() + (spare_mb << 20)
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, unlimited[1]))
        for path, body in LARGE.items():
            with connect(server) as client:
                client.sendall(post(path, body))
                reply = read_until(client, b"}")
            assert status_of(reply) in (200, 400, 500, 503), (path, reply)
            assert status_of(reply) == 200 or b'"error":' in reply
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, unlimited)
        assert server.post("/api/generate", GENERATE)[0] == 200
    finally:
        assert server.stop() == 0


def test_top_shows_who_waits_and_until_when(home, server):
    server.post("/api/generate", {"model": MODEL})
    env = dict(clean_environment(home), SLUICE_HOST=server.url)
    text = subprocess.run([program(), "top", "--json", "--once"], env=env, capture_output=True, text=True,
                          check=True, stdin=subprocess.DEVNULL, timeout=60).stdout
    view = json.loads(text.splitlines()[0])
    model = view["server"]["models"][0]
    assert model["num_waiting"] == 0 and model["estimated_wait_ns"] >= 0
    assert model["expires_at"]
    assert view["server"]["max_memory_bytes"] > view["server"]["used_memory_bytes"] > 0
