"""The chat in a real (pseudo) terminal."""

import os
import pty
import re
import select
import signal
import termios
import time

import pytest

from conftest import MODEL, clean_environment, program


PROMPT = ">>> "


class Terminal:
    def __init__(self, home, *arguments, host="127.0.0.1:1"):
        env = dict(clean_environment(home), SLUICE_HOST=host, TERM="xterm", COLUMNS="80")
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(program(), [program(), *arguments], env)
        self.screen = ""

    def read_until(self, text, seconds=60):
        """What came up to and with `text`, without escape sequences."""
        deadline = time.monotonic() + seconds
        while text not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.screen!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                data = os.read(self.descriptor, 65536).decode(errors="replace")
                self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data)
        before, _, self.screen = self.screen.partition(text)
        # The prompt is there a moment before keys are keys: until then Ctrl-C and Ctrl-D are the
        # terminal's own.
        while text == PROMPT and termios.tcgetattr(self.descriptor)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the terminal stays in line mode"
            time.sleep(0.005)
        return before + text

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def wait(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.descriptor], [], [], 0.05)[0]:
                try:
                    os.read(self.descriptor, 65536)
                except OSError:
                    pass  # the other side is closed
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("the chat did not end")


@pytest.fixture
def chat(home):
    terminal = Terminal(home, "run", MODEL, "--option", "num_predict=24")
    terminal.read_until(PROMPT)
    return terminal


def test_chat_answers_and_bye_ends_it(chat):
    chat.type("Say something.\n")
    chat.read_until(PROMPT)
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_ctrl_d_ends_it(chat):
    chat.type("\x04")
    assert chat.wait() == 0


def test_ctrl_c_at_the_prompt_gives_a_hint_and_goes_on(chat):
    chat.type("\x03")
    chat.read_until("/bye to exit")
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_ctrl_c_stops_the_reply_and_not_the_program(home):
    terminal = Terminal(home, "run", MODEL, "--option", "num_predict=100000", "--option",
                        "num_ctx=4096")
    terminal.read_until(PROMPT)
    terminal.type("Count from one to a thousand, one number a line.\n")
    time.sleep(1.0)
    terminal.type("\x03")
    terminal.read_until(">>> ", seconds=20)
    terminal.type("/bye\n")
    assert terminal.wait() == 0


def test_commands_of_the_chat(chat):
    for typed, shown in (("/?", "/bye"), ("/set parameter seed 7", "Set parameter 'seed' to '7'"),
                         ("/set system Be brief.", "Set system message."),
                         ("/show info", "architecture"), ("/clear", "Cleared session context"),
                         ("/nonsense", "Unknown command '/nonsense'")):
        chat.type(typed + "\n")
        chat.read_until(shown)
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_three_quotes_take_several_lines(chat):
    chat.type('"""first line\n')
    chat.read_until("... ")
    chat.type('second line"""\n')
    chat.read_until(PROMPT)
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_history_is_kept_for_the_next_chat(home):
    for _ in range(2):
        terminal = Terminal(home, "run", MODEL, "--option", "num_predict=2")
        terminal.read_until(PROMPT)
        terminal.type("a line to remember\n")
        terminal.read_until(PROMPT)
        terminal.type("/bye\n")
        assert terminal.wait() == 0
    terminal = Terminal(home, "run", MODEL, "--option", "num_predict=2")
    terminal.read_until(PROMPT)
    terminal.type("\x1b[A\x1b[A")  # up twice: /bye, then the line
    terminal.read_until("a line to remember")
    terminal.type("\x03\x04")
    terminal.wait()
