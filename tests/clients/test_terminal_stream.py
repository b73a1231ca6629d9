"""What a person sees and types while a reply comes, against a server that sends what a test says."""

import http.server
import json
import os
import queue
import signal
import termios
import threading
import time

import pytest

from terminal import PROMPT, Terminal

CHINESE = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往"


class FakeServer:
    """Loads at once; a chat's reply is what say() puts in, until say(None)."""

    def __init__(self):
        self.pieces = queue.Queue()
        self.asked = queue.Queue()  # the messages of each request
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(200)
                self.end_headers()

            def do_GET(self):
                self.send_response(404)
                self.end_headers()

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()
                if self.path == "/api/chat":
                    fake.asked.put(body["messages"])
                    while (piece := fake.pieces.get()) is not None:
                        self.line({"message": {"content": piece}, "done": False})
                self.line({"message": {"content": ""}, "done": True})

            def line(self, value):
                self.wfile.write(json.dumps(value).encode() + b"\n")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_port}"

    def say(self, *pieces):
        for piece in pieces:
            self.pieces.put(piece)

    def last_message(self):
        return self.asked.get(timeout=30)[-1]["content"]


@pytest.fixture
def fake():
    server = FakeServer()
    yield server
    server.say(None)
    server.server.shutdown()
    server.server.server_close()


def open_chat(home, fake, **options):
    chat = Terminal(home, "run", "m", host=fake.host, **options)
    chat.read_until(PROMPT)
    return chat


def ask(chat, fake, text="hi"):
    chat.type(text + "\r")
    assert fake.last_message() == text


def close(chat):
    chat.type("/bye\r")
    assert chat.wait() == 0


def test_a_paste_of_several_lines_is_one_message(home, fake):
    chat = open_chat(home, fake)
    chat.type("so: \x1b[200~first\r  second\r\n\tthird\n\x1b[201~!\r")
    fake.say("ok", None)
    assert fake.last_message() == "so: first\n  second\n\tthird!"
    chat.read_until(PROMPT)
    chat.type("\x1b[A\r")  # from the history, as it was
    fake.say("ok", None)
    assert fake.last_message() == "so: first\n  second\n\tthird!"
    chat.read_until(PROMPT)
    close(chat)
    again = open_chat(home, fake)  # from the history's file
    again.type("\x1b[A\x1b[A\r")
    fake.say("ok", None)
    assert fake.last_message() == "so: first\n  second\n\tthird!"
    again.read_until(PROMPT)
    close(again)


def test_a_history_that_is_no_file_holds_nobody_up(tmp_path, fake):
    (tmp_path / ".sluice").mkdir()
    os.mkfifo(tmp_path / ".sluice/history")
    chat = open_chat(tmp_path, fake)
    ask(chat, fake)
    fake.say("ok", None)
    chat.read_until(PROMPT)
    close(chat)


def test_a_long_paste_comes_through_whole(home, fake):
    chat = open_chat(home, fake)
    text = "\n".join(f"line {i} of a long text, mit Umlauten: äöü" for i in range(400))
    for start in range(0, len(text), 1000):  # a terminal's buffer is small
        begin = "\x1b[200~" if start == 0 else ""
        chat.type(begin + text[start:start + 1000].replace("\n", "\r"))
        chat.drain(0.05)
    chat.type("\x1b[201~\r")
    chat.drain(0.5)
    assert fake.last_message() == text
    fake.say("ok", None)
    chat.read_until(PROMPT)
    close(chat)


def test_keys_typed_during_a_reply_wait_for_the_next_line(home, fake):
    chat = open_chat(home, fake)
    ask(chat, fake)
    fake.say("one ")
    chat.read_until("one ")
    chat.type("next\x1b[A\x07 line\r")
    time.sleep(0.3)
    fake.say("two", None)
    assert chat.read_until(PROMPT).split() == ["two", ">>>"]
    chat.read_until("next line")
    chat.type("!\r")
    assert fake.last_message() == "next line!"
    fake.say("ok", None)
    chat.read_until(PROMPT)
    close(chat)


def test_ctrl_c_stops_the_reply_and_leaves_no_mark_in_it(home, fake):
    chat = open_chat(home, fake)
    ask(chat, fake)
    fake.say("one ")
    chat.read_until("one ")
    chat.type("\x03")
    assert "^C" not in chat.read_until(PROMPT)
    fake.say(None)
    close(chat)


def test_chinese_streams_and_breaks_by_columns(home, fake):
    chat = open_chat(home, fake, size=(24, 21))
    ask(chat, fake)
    fake.say(CHINESE[:3])
    chat.read_until(CHINESE[:3], seconds=10)  # without a space or newline after it
    fake.say(CHINESE[3:], None)
    text = CHINESE[:3] + chat.read_until(PROMPT)
    assert text.replace("\r", "").split("\n")[:2] == [CHINESE[:10], CHINESE[10:]]
    close(chat)


def test_a_new_size_is_seen_during_a_reply(home, fake):
    chat = open_chat(home, fake, size=(24, 60))
    ask(chat, fake)
    fake.say("abc " * 10 + "\n")
    chat.read_until("\n" + "abc " * 10 + "\r\n")
    chat.resize(24, 21)
    fake.say("abc " * 10, None)
    lines = chat.read_until(PROMPT).replace("\r", "").split("\n")
    assert lines[0].rstrip() == "abc abc abc abc abc" and lines[1].rstrip() == lines[0].rstrip()
    close(chat)


def test_a_new_size_is_seen_while_a_line_is_typed(home, fake):
    chat = open_chat(home, fake, size=(24, 60))
    chat.type("hello")
    chat.read_until("hello")
    chat.resize(24, 30)
    chat.read_until(">>> hello")
    chat.type("\r")
    assert fake.last_message() == "hello"
    fake.say("ok", None)
    chat.read_until(PROMPT)
    close(chat)


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
MODES = termios.ECHO | termios.ICANON | termios.ISIG


def end_by(number, terminal):
    """The signal ends the program, and leaves the terminal as it was before it."""
    terminal.kill(number)
    assert terminal.wait() == -number
    assert terminal.modes_at_end & MODES == MODES


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(home, fake, number):
    chat = open_chat(home, fake)
    assert chat.local_modes() & MODES != MODES
    end_by(number, chat)
    assert chat.raw_output.rstrip().endswith("\x1b[?2004l")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_during_a_reply_leaves_the_terminal_as_it_was(home, fake, number):
    chat = open_chat(home, fake)
    ask(chat, fake)
    fake.say("one ")
    chat.read_until("one ")
    end_by(number, chat)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_the_terminal_of_top_as_it_was(home, number):
    top = Terminal(home, "top", "127.0.0.1:1")
    top.read_until("q quit")
    assert top.local_modes() & MODES != MODES
    end_by(number, top)
    assert "\x1b[?1049l" in top.raw_output


def test_top_fits_a_small_screen_and_uses_a_large_one(home, server):
    small = Terminal(home, "top", server.url, size=(10, 40))
    small.read_until("tokens/s: in")
    small.read_until("q quit")
    small.type("q")
    assert small.wait() == 0
    large = Terminal(home, "top", server.url, size=(50, 200))
    large.read_until("CPU %")
    large.type("s")
    large.read_until("ag")  # of "age", the next order: only what changes is written
    large.type("/")
    large.read_until("filter:")
    for letter in "anq":  # here q is a letter
        large.type(letter)
        large.read_until(letter)
    large.type("\r")
    large.read_until("x cancel")
    large.type("q")
    assert large.wait() == 0
