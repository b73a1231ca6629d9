"""The chat in a real (pseudo) terminal."""

import time

import pytest

from conftest import MODEL, run_sluice
from terminal import PROMPT, Terminal


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
        chat.read_until(PROMPT)  # what comes earlier loses its line's end
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


@pytest.mark.parametrize("typed, told", [
    ("/set parameter nosuch 1", "there is no option 'nosuch'"),
    ("/set parameter top_k many", "must be a number"),
    ("/set think", "does not support thinking"),
    ("/set think sideways", "think"),
])
def test_what_cannot_be_set_is_told_at_once(chat, typed, told):
    chat.type(typed + "\n")
    answer = chat.read_until(PROMPT)
    assert "Error: " in answer and told in answer and "Set " not in answer.partition("\n")[2]
    chat.type("Go on.\n")  # and the chat is as it was
    assert "Error" not in chat.read_until(PROMPT)
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_flags_that_the_model_cannot_follow_end_the_chat_at_once(home):
    for flag in ("--format=yaml", "--think=true"):
        terminal = Terminal(home, "run", MODEL, flag)
        terminal.read_until("Error: ")
        assert terminal.wait() == 1


def test_a_conversation_is_saved_and_loaded_again(home):
    terminal = Terminal(home, "run", MODEL, "--option", "num_predict=4")
    terminal.read_until(PROMPT)
    for typed, shown in (("/set parameter seed 7", "Set parameter"),
                         ("/set system Be brief.", "Set system message."),
                         ("/save", "Usage:"),
                         ("remember the word okapi", ""),
                         ("/save kept:1", "Created new model 'kept:1'"),
                         ("/save ../x", "invalid model name"),
                         ("/load kept:1", ">>> remember the word okapi"),
                         ("/show system", "Be brief."),
                         ("/load kpet:1", "Couldn't find model 'kpet:1'")):
        terminal.type(typed + "\n")
        terminal.read_until(shown) if shown else None
        terminal.read_until(PROMPT)
    terminal.type("/bye\n")
    assert terminal.wait() == 0
    modelfile = run_sluice("show", "kept:1", "--modelfile", home=home).stdout
    assert "MESSAGE user remember the word okapi" in modelfile and "seed 7" in modelfile
    run_sluice("rm", "kept:1", home=home)


def test_a_chat_asks_once_what_its_model_is(home, server):
    before = len(server.log)
    terminal = Terminal(home, "run", MODEL, host=f"{server.host}:{server.port}")
    terminal.read_until(PROMPT)
    assert sum("path=/api/show" in line for line in server.log[before:]) == 1
    terminal.type("/bye\n")
    assert terminal.wait() == 0
