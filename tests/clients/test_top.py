"""`sluice top` on a terminal: long lists, tiny screens, keys, and what it costs."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from conftest import clean_environment, program
from terminal import Terminal


class FakeServer:
    """Tells a status of so many requests, and remembers which it was asked to cancel."""

    def __init__(self, num_requests):
        fake = self
        self.cancelled = []
        requests = [{"id": 1, "number": 5000 + i, "request_id": f"req_{i}", "is_running": i == 0,
                     "queue_position": i, "num_prompt_tokens": 10, "num_output_tokens": i,
                     "age_ns": 10 ** 9, "client": "ann"} for i in range(num_requests)]
        status = json.dumps({
            "version": "1", "pid": 0, "models": [
                {"name": "m:1", "engine": {"num_running": 1, "num_waiting": num_requests - 1,
                                           "requests": requests}},
                {"name": "big:1", "is_loading": True, "load_progress": 0.25,
                 "num_waiting_for_load": 1}],
            "pending": [{"number": 9001, "request_id": "req_pending", "model": "big",
                         "client": "bob", "age_ns": 1}]}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.reply(status)

            def do_DELETE(self):
                fake.cancelled.append(self.path)
                self.reply(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def fake():
    server = FakeServer(200)
    yield server
    server.stop()


def end(top):
    top.type("q")
    assert top.wait() == 0


@pytest.mark.parametrize("size, shown", [((24, 80), 21), ((50, 200), 47), ((5, 20), 3)])
def test_a_long_list_is_scrolled(home, fake, size, shown):
    top = Terminal(home, "top", fake.url, "--interval", "100", size=size)
    top.read_until("q quit")
    top.type("\t")
    top.read_until(f"1-{shown} of 201")
    top.type("\x1b[6~")  # PgDn
    top.read_until(f"{shown + 1}-")
    top.type("\x1bOF")  # End
    top.read_until("9001")
    top.type("\x1bOA")  # Up
    top.type("\x1b")
    top.read_until("q quit")
    end(top)


def test_tab_goes_through_the_lists_and_help_says_so(home, fake):
    top = Terminal(home, "top", fake.url, "--interval", "100", size=(24, 80))
    top.read_until("q quit")
    for name in ("requests", "models", "threads", "processes"):
        top.type("\t")
        top.read_until(name)
    top.type("?")
    top.read_until("PgUp")
    top.type(" ")
    top.type("\x1b")
    top.read_until("q quit")
    end(top)


@pytest.mark.parametrize("number, path", [("5007", "req_7"), ("9001", "req_pending")])
def test_who_waits_is_cancelled_with_x(home, fake, number, path):
    top = Terminal(home, "top", fake.url, "--interval", "100", size=(24, 80))
    top.read_until("q quit")
    top.type("x")
    top.read_until("id:")
    top.type(number + "\r")
    top.read_until("is cancelled")
    assert fake.cancelled[-1] == f"/api/sluice/requests/{path}"
    end(top)


def test_lines_never_run_over_the_edge_of_a_tiny_screen(home, fake):
    top = Terminal(home, "top", fake.url, "--interval", "100", size=(5, 20))
    top.read_until("q quit")
    assert "out 0.0" in top.raw_output and "1 run, 200 wait" in top.raw_output
    end(top)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_top_takes_little_beside_many_processes(home, server):
    """Under 2% of a core on a machine of its own; here others run, too."""
    spawner = subprocess.Popen(
        [sys.executable, "-c",
         "import os, signal, sys\n"
         "for _ in range(500):\n"
         "  if os.fork() == 0: signal.pause()\n"
         "print('ready', flush=True)\nsys.stdin.read()\nos.killpg(0, signal.SIGKILL)"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert spawner.stdout.readline() == b"ready\n"
        with subprocess.Popen([program(), "top", server.url, "--json"], env=clean_environment(home),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as top:
            top.stdout.readline()  # it has started
            before, begin = cpu_seconds(top.pid), time.monotonic()
            for _ in range(6):
                assert json.loads(top.stdout.readline())["machine"]
            share = (cpu_seconds(top.pid) - before) / (time.monotonic() - begin)
            top.terminate()
        assert share < 0.06, f"{share:.1%} of a core"
    finally:
        spawner.stdin.close()
        spawner.wait(30)
