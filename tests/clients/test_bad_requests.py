"""What no good client sends, by raw sockets: the server answers or closes, and lives."""

import json
import socket
import threading
import time

import pytest

from conftest import MODEL

LONG = {"model": MODEL, "messages": [{"role": "user", "content": "Tell a long story."}],
        "options": {"num_predict": 400, "temperature": 1}}
# Many times what the tests wait for: only a cancelled one is over in time.
ENDLESS = {**LONG, "ignore_eos": True,
           "options": {"num_predict": 8000, "num_ctx": 8192, "temperature": 1}}


def exchange(server, data, timeout=10, shut=False):
    """Sends bytes and returns all that comes back until the server closes or a second passes."""
    with socket.create_connection((server.host, server.port), timeout=timeout) as connection:
        try:
            connection.sendall(data)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        connection.settimeout(1.0)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def status_of(reply):
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else None


def post(path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


SMUGGLING = [
    b"POST /api/show HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9223372036854775808000\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"fffffffffffffffff\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}XX0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header : x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    bytes(range(256)) * 8 + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", SMUGGLING, ids=range(len(SMUGGLING)))
def test_malformed_http_is_refused(server, data):
    reply = exchange(server, data)
    assert reply == b"" or 400 <= status_of(reply) <= 505, reply[:200]
    assert reply.count(b"HTTP/1.1 ") <= 1, "one request, at most one reply"


def test_content_length_beyond_the_limit_is_413_at_once(server):
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n"
    assert status_of(exchange(server, head)) == 413


def test_endless_chunked_body_is_cut(server):
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        connection.sendall(head)
        try:
            for _ in range(200):
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            pytest.fail("200 MB were taken")


@pytest.mark.parametrize("headers", [
    b"X: " + b"a" * (1 << 20) + b"\r\n",
    b"".join(b"X-%d: a\r\n" % i for i in range(100_000)),
])
def test_huge_headers_are_refused(server, headers):
    reply = exchange(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n")
    assert reply == b"" or status_of(reply) == 431


DEEP = b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("body", [
    b"not json", b"[]", b"null", b'"text"', b"{", b'{"model":NaN}', b"\xff\xfe{\x00}\x00",
    b'{"model":' + b"1" * 100_000 + b"}", DEEP, b'{"model":"\\ud800","prompt":"x"}',
    b'{"model":"' + b"x" * 100_000 + b'","prompt":"x"}',
    b'{"model":"../../../etc/passwd","prompt":"x"}', b'{"model":"a/b/c/d/e","prompt":"x"}',
    b'{"model":{"a":1},"prompt":"x"}',
], ids=range(14))
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/show", "/v1/chat/completions"])
def test_bad_bodies_are_4xx(server, path, body):
    reply = exchange(server, post(path, body, "Connection: close"))
    assert status_of(reply) in (400, 404), reply[:200]
    text = reply.split(b"\r\n\r\n", 1)[1]
    assert json.loads(text)["error"]


def test_wrong_types_one_by_one(server):
    good = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": False,
            "options": {"num_predict": 1}}
    for field in ("messages", "stream", "options", "tools", "keep_alive", "think", "logprobs"):
        for wrong in (5.5, "text", [1], {"a": [None], "num_predict": 1}):  # right as options
            status, reply = server.post("/api/chat", {**good, field: wrong})
            assert status in (200, 400, 500), (field, wrong, reply)
            if status != 200:
                assert reply["error"], (field, wrong)
    server.post("/api/chat", {**good, "keep_alive": "5m"})  # 5.5 s was a valid one


def test_paths_and_methods(server):
    def ask(line):
        return status_of(exchange(server, f"{line} HTTP/1.1\r\nHost: localhost\r\n"
                                          "Connection: close\r\n\r\n".encode()))

    assert ask("GET /nothing") == 404
    assert ask("GET //api/tags") == 404
    assert ask("GET /api/../api/tags") == 404
    assert ask("POST /api/tags") == 405
    assert ask("GET /api/chat") == 405
    assert ask("GET http://localhost/api/tags") == 200
    assert ask("GET /api/%74ags") == 200
    assert ask("HEAD /") == 200
    assert ask("GET /v1/models/a/b") == 404


def error_under_v1(reply):
    head, body = reply.split(b"\r\n\r\n", 1)
    assert b"content-type: application/json" in head.lower(), head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return status_of(reply), error["type"]


def test_errors_before_any_route_have_the_form_of_the_path(server):
    def ask(line, *headers):
        return exchange(server, "\r\n".join(
            [f"{line} HTTP/1.1", *(headers or ["Host: localhost"]), "Connection: close"]
        ).encode() + b"\r\n\r\n")

    assert error_under_v1(ask("GET /v1/nothing")) == (404, "not_found_error")
    assert error_under_v1(ask("GET /v1/chat/completions")) == (405, "invalid_request_error")
    assert error_under_v1(ask("GET /v1/models", "Host: evil.example"))[0] == 403
    assert error_under_v1(ask("GET /v1/models", "Host: localhost", "Origin: null"))[0] == 403
    large = ["Host: localhost", "Content-Length: 1073741824"]
    assert error_under_v1(ask("POST /v1/chat/completions", *large))[0] == 413
    native = ask("POST /api/chat", *large)
    assert status_of(native) == 413
    assert "too large" in json.loads(native.split(b"\r\n\r\n", 1)[1])["error"]


def test_foreign_hosts_and_origins_are_403(server):
    def ask(*headers):
        head = "\r\n".join(["GET /api/tags HTTP/1.1", *headers, "Connection: close"])
        return exchange(server, head.encode() + b"\r\n\r\n")

    assert status_of(ask("Host: evil.example")) == 403
    assert status_of(ask("Host: localhost.evil.example")) == 403
    assert status_of(ask("Host: 8.8.8.8")) == 403
    assert status_of(ask("Host: localhost:1234")) == 200
    assert status_of(ask("Host: [::1]:80")) == 200
    assert status_of(ask("Host: my.internal")) == 200
    assert status_of(ask("Host: localhost", "Origin: https://evil.example")) == 403
    assert status_of(ask("Host: localhost", "Origin: null")) == 403
    allowed = ask("Host: localhost", "Origin: http://localhost:3000")
    assert status_of(allowed) == 200
    assert b"Access-Control-Allow-Origin: http://localhost:3000" in allowed


# What a lenient reader takes for local and another program for evil.example.
@pytest.mark.parametrize("head, status", [
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost:80@evil.example", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: [::1]evil", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost:80 evil.example", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
    (b"GET /api/tags HTTP/1.1\r\nX: y", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:1@evil.example", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:evil.example", 400),
    (b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
     b"Origin: http://evil.example", 400),
    (b"GET http://evil.example/api/tags HTTP/1.1\r\nHost: localhost", 403),
    (b"GET http://localhost@evil.example/api/tags HTTP/1.1\r\nHost: localhost", 400),
    (b"GET http://localhost/api/tags HTTP/1.1\r\nHost: evil.example", 403),
    (b"GET ftp://localhost/api/tags HTTP/1.1\r\nHost: localhost", 400),
    (b"GET http://localhost/api/tags HTTP/1.1\r\nHost: localhost", 200),
    (b"GET /api/tags HTTP/1.0", 200),
])
def test_host_and_origin_are_read_strictly(server, head, status):
    assert status_of(exchange(server, head + b"\r\nConnection: close\r\n\r\n")) == status


def test_preflight(server):
    reply = exchange(server, b"OPTIONS /api/chat HTTP/1.1\r\nHost: localhost\r\n"
                             b"Origin: http://127.0.0.1:5173\r\n"
                             b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n")
    assert status_of(reply) == 204
    assert b"x-stainless" in reply


def test_keep_alive_and_pipelining(server):
    request = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reply = exchange(server, request * 3)
    assert reply.count(b"HTTP/1.1 200") == 3


def test_http10_closes(server):
    reply = exchange(server, b"GET /api/version HTTP/1.0\r\n\r\n")
    assert status_of(reply) == 200 and b"Connection: close" in reply


def test_half_closed_client_still_gets_its_answer(server):
    reply = exchange(server, b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", shut=True)
    assert status_of(reply) == 200


def test_drip_feed_does_not_hold_others(server):
    connections = [socket.create_connection((server.host, server.port)) for _ in range(50)]
    try:
        for connection in connections:
            connection.sendall(b"POST /api/chat HTT")
        for _ in range(3):
            time.sleep(0.05)
            for connection in connections:
                connection.sendall(b"P")
            start = time.monotonic()
            server.get("/api/version")
            assert time.monotonic() - start < 5
    finally:
        for connection in connections:
            connection.close()


def test_two_hundred_connections_opened_and_dropped(server):
    for _ in range(200):
        socket.create_connection((server.host, server.port)).close()
    server.wait_for(lambda status: status["num_connections"] < 20, 15)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_disconnect_frees_the_engine(server, stream, delay):
    server.post("/api/generate", {"model": MODEL})  # loaded
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(post("/api/chat", json.dumps({**ENDLESS, "stream": stream}).encode()))
        time.sleep(delay)
    after = server.wait_until_idle(15)["models"][0]
    assert after["engine"]["num_blocks_used"] == 0


def test_disconnect_while_queued(server):
    """More requests than can run: those that wait are dropped, too."""
    server.post("/api/generate", {"model": MODEL})
    connections = []
    for _ in range(80):
        connection = socket.create_connection((server.host, server.port))
        connection.sendall(post("/api/chat", json.dumps(ENDLESS).encode()))
        connections.append(connection)
    time.sleep(0.3)
    for connection in connections:
        connection.close()
    server.wait_until_idle(20)


def test_reader_that_does_not_read(server):
    """Its reply is small enough for the kernel: the engine is free again when it is done."""
    with socket.create_connection((server.host, server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(post("/api/chat", json.dumps(LONG).encode()))
        time.sleep(0.5)
        start = time.monotonic()
        server.get("/api/tags")
        assert time.monotonic() - start < 5
    server.wait_until_idle(20)


def test_big_prompt_does_not_block_the_server(server):
    body = json.dumps({"model": MODEL, "prompt": "a b " * 2_000_000}).encode()
    result = {}
    thread = threading.Thread(
        target=lambda: result.update(reply=exchange(server, post("/api/generate", body), 60)))
    thread.start()
    slowest = 0
    while thread.is_alive():
        start = time.monotonic()
        server.get("/api/version")
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.02)
    assert slowest < 5
