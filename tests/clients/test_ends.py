"""What clients get when the server ends, and what a hostile client cannot do to the others."""

import concurrent.futures
import json
import signal
import socket
import time

from conftest import MODEL, Server

MESSAGES = [{"role": "user", "content": "Tell a story."}]
LONG = {"num_predict": 100_000, "num_ctx": 2048, "temperature": 1}


def raw_request(path, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
            "Connection: close\r\n\r\n").encode() + data


def connect(server, receive_buffer=0):
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(60)
    client.connect((server.host.strip("[]"), server.port))
    return client


def read_reply(client):
    """Status and body, which must be whole."""
    text = b""
    while piece := client.recv(1 << 16):
        text += piece
    head, body = text.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b"content-length" in fields:
        assert len(body) == int(fields[b"content-length"])
        return int(head.split()[1]), body
    assert fields[b"transfer-encoding"] == b"chunked"
    whole = b""
    while True:
        size, body = body.split(b"\r\n", 1)
        if int(size, 16) == 0:
            assert body == b"\r\n"
            return int(head.split()[1]), whole
        whole += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]


DIALECTS = {
    "/api/chat": {"messages": MESSAGES, "options": LONG},
    "/api/generate": {"prompt": "Tell a story.", "options": LONG},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 100_000, "ignore_eos": True},
    "/v1/completions": {"prompt": "Tell a story.", "max_tokens": 100_000, "ignore_eos": True},
}


def check_end(path, stream, status, body):
    """An error in the dialect for what had not begun, else an end of what was there."""
    if status == 503:
        error = json.loads(body)["error"]
        text = error if path.startswith("/api/") else error["message"]
        assert text == "server busy: it is shutting down"
        return "refused"
    assert status == 200
    if not stream:
        reply = json.loads(body)
        assert reply.get("done") or reply["choices"][0]["finish_reason"]
    elif path.startswith("/api/"):
        last = json.loads(body.splitlines()[-1])
        assert last["done"] and last["done_reason"]
    else:
        assert body.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason":"' in body
    return "ended"


def test_everybody_gets_an_end_from_the_second_signal_at_once(home):
    server = Server(home, "--drain-seconds", "300")
    server.post("/api/generate", {"model": MODEL})
    # A prefill that takes seconds, 64 that run, and 200 behind them.
    kinds = [(path, stream) for path in DIALECTS for stream in (False, True)]
    asked = [("/api/generate", False, {"prompt": "one two three " * 2000, "raw": True,
                                       "options": {"num_ctx": 8192}})]
    asked += [(*kinds[i % len(kinds)], DIALECTS[kinds[i % len(kinds)][0]]) for i in range(264)]
    clients = []
    for path, stream, body in asked:
        clients.append(connect(server))
        clients[-1].sendall(raw_request(path, {"model": MODEL, "stream": stream, **body}))
    server.wait_for(lambda status: status["num_running"] + status["num_waiting"] >= 150, 120)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    ends = []
    for client, (path, stream, _) in zip(clients, asked):
        ends.append(check_end(path, stream, *read_reply(client)))
        client.close()
    assert server.process.wait(60) == 0
    assert time.monotonic() - began < 30
    assert "refused" in ends


def test_a_stuck_client_does_not_hold_the_end(home):
    """Many large prompts are being prepared, and somebody reads nothing."""
    server = Server(home, "--drain-seconds", "1")
    server.post("/api/generate", {"model": MODEL})
    clients = [connect(server, 4096) for _ in range(6)]
    for client in clients[:4]:
        client.sendall(raw_request("/api/generate", {"model": MODEL, "prompt": "word " * 4_000_000}))
    for client in clients[4:]:
        client.sendall(raw_request("/api/chat", {
            "model": MODEL, "messages": MESSAGES, "options": LONG, "logprobs": True,
            "top_logprobs": 20}))
    time.sleep(1)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 15


def memory_kb(server, field):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def test_light_routes_do_not_wait_for_large_prompts(home):
    server = Server(home)
    try:
        server.post("/api/generate", {"model": MODEL})
        before = memory_kb(server, "VmHWM")
        prompt = "word " * 6_200_000  # 31 MB
        body = raw_request("/api/generate", {"model": MODEL, "prompt": prompt, "raw": True})
        clients = [connect(server) for _ in range(8)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            pool.map(lambda client: client.sendall(body), clients)
            slowest = 0.0
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                began = time.monotonic()
                assert server.get("/api/tags")["models"]
                assert server.post("/api/show", {"model": MODEL})[0] == 200
                status, reply = server.post("/api/generate", {
                    "model": MODEL, "prompt": "x", "stream": False, "options": {"num_predict": 1}})
                assert status == 200, reply
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 3
        for client in clients:
            client.close()
        server.wait_until_idle(60)
        grown = (memory_kb(server, "VmHWM") - before) / 1024
        assert grown < 1200, f"{grown} MB for 8 prompts of 31 MB"
    finally:
        assert server.stop() == 0


def test_who_reads_nothing_costs_little(home):
    server = Server(home)
    try:
        server.post("/api/generate", {"model": MODEL})
        before = memory_kb(server, "VmRSS")
        clients = [connect(server, 4096) for _ in range(8)]
        for client in clients:
            client.sendall(raw_request("/api/chat", {
                "model": MODEL, "messages": MESSAGES, "options": LONG, "ignore_eos": True,
                "logprobs": True, "top_logprobs": 20}))
        # More than the kernel takes; or they have been cut already.
        server.wait_for(lambda status: status["models"][0]["engine"]["num_output_tokens"] >= 8 * 400
                        or status["num_running"] == 0, 240)
        # The cache's pages come with their first use.
        model = server.get("/api/sluice/status")["models"][0]
        engine = model["engine"]
        token_bytes = model["memory"]["cache"] / (16 * engine["num_blocks_total"])
        cache = token_bytes * (engine["num_output_tokens"] + engine["num_prompt_tokens"])
        grown = (memory_kb(server, "VmRSS") - before) / 1024 - cache / 2**20
        assert grown < 5 * len(clients)
        for client in clients:
            client.close()
        server.wait_until_idle(30)
    finally:
        assert server.stop() == 0
