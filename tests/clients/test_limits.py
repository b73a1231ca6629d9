"""What a client may take of the server: sizes, time and connections, each limit set by its flag."""

import hashlib
import json
import socket
import time

import pytest

from conftest import MODEL, Server, run_sluice
from test_bad_requests import post, status_of

FLAGS = ["--max-connections", "6", "--max-header-size", "4KiB", "--max-body-size", "20KiB",
         "--header-timeout", "700ms", "--body-timeout", "900ms", "--idle-timeout", "1.5s"]
GET = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def limited(home):
    server = Server(home, *FLAGS)
    yield server
    log = "".join(server.log)
    assert server.stop() == 0, log[-3000:]


@pytest.fixture(autouse=True)
def everyone_else_is_served(request):
    yield
    if "limited" in request.fixturenames:
        limited = request.getfixturevalue("limited")
        limited.wait_for(lambda status: status["num_connections"] <= 1, 20)


def connect(server):
    return socket.create_connection((server.host, server.port), timeout=20)


def rest_of(connection):
    """All that comes until the server closes; a reset is what must not be."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def drip(connection, data, pause=0.05):
    """Sends one byte after the other until the server has had enough; what it said, and when."""
    start = time.monotonic()
    connection.settimeout(pause)
    received = b""
    for i in range(len(data)):
        try:
            connection.sendall(data[i:i + 1])
            piece = connection.recv(65536)
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            break
        received += piece
        if not piece:
            break
    return received, time.monotonic() - start


@pytest.mark.parametrize("path,key", [("/api/chat", "error"), ("/v1/chat/completions", "message"),
                                      ("/v1/messages", "type")])
def test_a_header_that_drips_in(limited, path, key):
    with connect(limited) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + b"X: a\r\n" * 1000
        connection.sendall(head[:len(head) // 50])
        reply, seconds = drip(connection, head[len(head) // 50:])
    assert status_of(reply) == 408 and 0.6 < seconds < 5
    assert b"header came too slowly: the limit is 700ms" in reply and key.encode() in reply


def test_a_header_that_stops(limited):
    with connect(limited) as connection:
        connection.sendall(GET)
        assert status_of(rest_of(connection)) == 408


@pytest.mark.parametrize("path", ["/api/chat", "/v1/completions"])
def test_a_body_that_drips_in(limited, path):
    with connect(limited) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
                           "Content-Length: 2000\r\n\r\n".encode())
        reply, seconds = drip(connection, b" " * 2000)
    assert status_of(reply) == 408 and 0.8 < seconds < 5
    assert b"body came too slowly: the limit is 900ms" in reply


def test_a_chunked_body_that_drips_in(limited):
    with connect(limited) as connection:
        connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
        reply, seconds = drip(connection, b"1\r\n \r\n" * 300)
    assert status_of(reply) == 408 and 0.8 < seconds < 5


@pytest.mark.parametrize("length", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
def test_a_model_file_that_drips_in_or_stops(limited, length):
    head = (b"POST /api/blobs/sha256:" + b"ab" * 32 + b" HTTP/1.1\r\nHost: localhost\r\n"
            + length + b"\r\n\r\n")
    with connect(limited) as connection:
        connection.sendall(head)
        reply, seconds = drip(connection, b"1\r\nx\r\n" * 300)
    assert status_of(reply) == 408 and 0.8 < seconds < 5
    assert b"body came too slowly: the limit is 900ms" in reply
    for begun in (b"", b"5\r\nmodel\r\n"):
        with connect(limited) as connection:
            connection.sendall(head + begun)
            assert status_of(rest_of(connection)) == 408


def test_a_model_file_may_be_longer_than_a_body(limited):
    data = b"no model, but a file" * 20_000
    digest = hashlib.sha256(data).hexdigest()
    assert limited.post(f"/api/blobs/sha256:{digest}", data)[0] == 201


def test_a_body_that_is_too_large(limited):
    body = json.dumps({"model": MODEL, "prompt": "x" * 21_000}).encode()
    with connect(limited) as connection:
        connection.sendall(post("/api/generate", body))
        reply = rest_of(connection)
    assert status_of(reply) == 413 and b"the limit is 20480 bytes" in reply
    with connect(limited) as connection:  # of a length that nobody told
        connection.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):
            connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        assert status_of(rest_of(connection)) == 413
    assert limited.post("/api/generate", {"model": MODEL, "prompt": "x", "stream": False,
                                          "options": {"num_predict": 1}})[0] == 200


@pytest.mark.parametrize("head", [
    GET + b"X: " + b"a" * 8000 + b"\r\n\r\n",
    GET + b"".join(b"X-%d: a\r\n" % i for i in range(1000)) + b"\r\n",
    GET + b"a:\r\n" * 4000 + b"\r\n",
    b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
])
def test_a_header_that_is_too_large(limited, head):
    with connect(limited) as connection:
        connection.sendall(head)
        assert status_of(rest_of(connection)) == 431
    with connect(limited) as connection:
        connection.sendall(GET + b"X: " + b"a" * 3000 + b"\r\nConnection: close\r\n\r\n")
        assert status_of(rest_of(connection)) == 200


def test_an_idle_connection_is_closed_and_one_in_use_stays(limited):
    with connect(limited) as idle, connect(limited) as used, connect(limited) as mute:
        start = time.monotonic()
        for connection in (idle, used):
            connection.sendall(GET + b"\r\n")
            assert status_of(connection.recv(65536)) == 200
        for _ in range(5):
            time.sleep(0.5)
            used.sendall(GET + b"\r\n")
            assert status_of(used.recv(65536)) == 200
        assert rest_of(idle) == rest_of(mute) == b""
        assert time.monotonic() - start < 10


def test_a_reply_that_takes_longer_than_any_limit_of_the_request(limited):
    """The clocks are for what a client sends: they do not run while it waits."""
    body = json.dumps({"model": MODEL, "prompt": "x", "stream": False, "ignore_eos": True,
                       "options": {"num_predict": 600}}).encode()
    with connect(limited) as connection:
        connection.sendall(post("/api/generate", body, "Connection: close"))
        connection.settimeout(120)
        assert status_of(rest_of(connection)) == 200


def test_more_connections_than_allowed(limited):
    held = [connect(limited) for _ in range(6)]
    try:
        for connection in held:  # so that all of them are accepted
            connection.sendall(GET + b"\r\n")
            assert status_of(connection.recv(65536)) == 200
        for _ in range(20):  # who sends a lot at once gets to read why, too
            with connect(limited) as refused:
                refused.sendall(post("/api/chat", b" " * 10_000))
                reply = rest_of(refused)
                assert status_of(reply) == 503 and b"too many connections" in reply
                assert b"Retry-After: 1" in reply
        crowd = [connect(limited) for _ in range(600)]
        for connection in crowd:
            connection.close()
        held[0].sendall(GET + b"\r\n")  # who is there is served
        assert status_of(held[0].recv(65536)) == 200
        held.pop().close()
        deadline = time.monotonic() + 10
        while True:  # and there is room again
            with connect(limited) as connection:
                connection.sendall(GET + b"Connection: close\r\n\r\n")
                if status_of(rest_of(connection)) == 200:
                    break
            assert time.monotonic() < deadline
    finally:
        for connection in held:
            connection.close()


@pytest.mark.parametrize("flag,value,word", [
    ("--max-header-size", "10", "between"), ("--max-header-size", "1GB", "between"),
    ("--max-body-size", "many", "must be a size"), ("--max-body-size", "-5", "must be a size"),
    ("--max-body-size", "1TB", "between"), ("--header-timeout", "0", "up to 24h"),
    ("--idle-timeout", "-1", "up to 24h"), ("--body-timeout", "soon", "timeout"),
    ("--write-timeout", "1000h", "up to 24h")])
def test_wrong_limits_are_refused(home, flag, value, word):
    done = run_sluice("serve", "--port", "0", f"{flag}={value}", home=home, check=False)
    assert done.returncode == 1 and word in done.stderr and value in done.stderr


def test_wrong_numbers_of_connections_are_refused(home):
    for value in ("0", "-1", "70000", "all"):
        done = run_sluice("serve", "--port", "0", f"--max-connections={value}", home=home,
                          check=False)
        assert done.returncode == 2 and "--max-connections" in done.stderr
