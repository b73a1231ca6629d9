"""What a server, a model or a file says is shown, never obeyed by the terminal."""

import http.server
import json
import os
import pty
import subprocess
import threading

import pytest

from conftest import clean_environment, program

EVIL = "x\x1b]0;title\x07\x1b[2J\u009b31m\u202e\r\n\x7fy"
FORBIDDEN = ("\x1b", "\x07", "\u009b", "\u202e", "\r", "\x7f")
MODEL = {"name": EVIL, "model": EVIL, "digest": EVIL, "size": 7, "size_vram": 0,
         "modified_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00Z",
         "context_length": 8,
         "details": {"format": "gguf", "family": EVIL, "parameter_size": EVIL,
                     "quantization_level": EVIL}}
SHOW = {"license": EVIL, "modelfile": EVIL, "parameters": f"stop   {EVIL}", "template": EVIL,
        "system": EVIL, "details": MODEL["details"], "capabilities": ["completion", EVIL],
        "model_info": {"general.architecture": EVIL, EVIL: EVIL, "n": 7},
        "tensors": [{"name": EVIL, "type": EVIL, "shape": [1]}]}
STATUS = {"version": EVIL, "pid": 1, "models": [
    {"name": EVIL, "backend": EVIL, "quantization": EVIL, "expires_at": "2026-01-01T" + EVIL,
     "engine": {"num_running": 1, "requests": [{"id": 1, "is_running": True}]}}]}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self):
        self.reply(200, b"")

    def do_GET(self):
        replies = {"/api/tags": {"models": [MODEL], "unreadable": [{"name": EVIL, "reason": EVIL}]},
                   "/api/ps": {"models": [MODEL]},
                   "/api/version": {"version": EVIL}, "/api/sluice/status": STATUS}
        if self.path in replies:
            return self.reply(200, replies[self.path])
        return self.reply(404, {"error": EVIL})

    def do_DELETE(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/show":
            return self.reply(200, SHOW)
        if self.path == "/api/generate" and b"good" in body:
            lines = [{"response": EVIL + "\n", "done": False}, {"response": "", "done": True}]
            return self.reply(200, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        return self.reply(500, {"error": EVIL})

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def assert_harmless(text, allowed=()):
    for character in FORBIDDEN:
        if character not in allowed:
            assert character not in text, repr(text)


@pytest.mark.parametrize("arguments", [
    ["list"], ["ps"], ["show", "m"], ["show", "m", "--verbose"], ["rm", "m"], ["stop", "m"],
    ["run", "m", "bad"], ["loadtest", "--test", "output", "--words", "5"],
    ["loadtest", "--test", "output", "--words", "5", "--no-warm-up"],
    ["loadtest", "--test", "mixed", "--count", "1", "--no-warm-up", "--requests", "1"],
    ["top", "--once"], ["top", "--once", "--json"], [EVIL], ["show", EVIL],
])
def test_nothing_reaches_the_terminal_raw(home, url, arguments):
    env = dict(clean_environment(home), SLUICE_HOST=url)
    done = subprocess.run([program(), *arguments], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    text = (done.stdout + done.stderr).decode()
    assert text
    assert_harmless(text)


@pytest.mark.parametrize("arguments", [
    ["show", "m", "--license"], ["show", "m", "--modelfile"], ["show", "m", "--template"],
    ["run", "m", "good"]])
def test_texts_are_exact_in_a_file_and_harmless_on_a_terminal(home, url, arguments):
    env = dict(clean_environment(home), SLUICE_HOST=url, TERM="xterm")
    done = subprocess.run([program(), *arguments], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    assert done.stdout.decode().startswith(EVIL)
    main, side = pty.openpty()
    process = subprocess.Popen([program(), *arguments], env=env, stdin=subprocess.DEVNULL,
                               stdout=side, stderr=subprocess.DEVNULL)
    os.close(side)
    text = b""
    try:
        while piece := os.read(main, 65536):
            text += piece
    except OSError:
        pass  # closed at the other side
    assert process.wait(30) == 0
    text = text.decode()
    assert "\\x1b]0;title\\x07" in text and "\\u202e" in text
    assert_harmless(text.replace("\r\n", "\n"))
