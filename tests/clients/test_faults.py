"""What goes wrong outside: clients that vanish or dawdle, crowds of connections, signals, little
memory. The server lives and gives back what they held."""

import json
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from conftest import MODEL, Server, clean_environment, program
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
