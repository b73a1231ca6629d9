"""The program in a pseudo-terminal."""

import os
import pty
import re
import resource
import select
import signal
import termios
import time

from conftest import clean_environment, program

PROMPT = ">>> "


def screen_of(output):
    """The lines that a person sees after `output`, of a program that writes over its own lines."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece.startswith("\x1b["):
            count = int(re.sub(r"\D", "", piece) or 1)
            if piece[-1] == "A":
                row = max(0, row - count)
            elif piece[-1] in "KJ":
                lines[row] = lines[row][:column]
                if piece[-1] == "J":
                    del lines[row + 1:]
        else:
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece):]
            column += len(piece)
    return [line.rstrip() for line in lines]


class Terminal:
    def __init__(self, home, *arguments, host="127.0.0.1:1", size=(24, 80)):
        env = dict(clean_environment(home), SLUICE_HOST=host, TERM="xterm")
        env.pop("COLUMNS", None)
        env.pop("LINES", None)
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            termios.tcsetwinsize(0, size)
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # a background job's
                signal.signal(number, signal.SIG_DFL)
            os.execve(program(), [program(), *arguments], env)
        self.screen = ""
        self.raw_output = ""
        self.modes_at_end = None

    def kill(self, number):
        os.kill(self.pid, number)

    def resize(self, rows, columns):
        termios.tcsetwinsize(self.descriptor, (rows, columns))

    def local_modes(self):
        return termios.tcgetattr(self.descriptor)[3]

    def read_until(self, text, seconds=60):
        """What came up to and with `text`, without escape sequences."""
        deadline = time.monotonic() + seconds
        while text not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.screen!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.take()
        before, _, self.screen = self.screen.partition(text)
        # The prompt is there a moment before keys are keys: until then Ctrl-C and Ctrl-D are the
        # terminal's own.
        while text == PROMPT and termios.tcgetattr(self.descriptor)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the terminal stays in line mode"
            time.sleep(0.005)
        return before + text

    def take(self):
        data = os.read(self.descriptor, 65536).decode(errors="replace")
        self.raw_output += data
        self.screen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data)

    def drain(self, seconds):
        """Takes what comes in the next seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.descriptor], [], [], left)[0]:
                self.take()

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def wait(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.descriptor], [], [], 0.05)[0]:
                try:
                    self.take()
                except OSError:
                    pass  # the other side is closed
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.modes_at_end = self.local_modes()
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError("the program did not end")
