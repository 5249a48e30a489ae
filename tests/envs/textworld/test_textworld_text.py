"""What an agent reads is what the game says."""

import pytest
import textworld
from oreo_envs.textworld.text import clean_command, clean_feedback, is_interpreters_own, is_unparsable


def test_banner_status_line_and_prompt_are_left_out(apple):
    env = textworld.start(str(apple))
    raw = env.reset().raw
    assert "$$$$$$$" in raw and "-= Kitchen =-0/" in raw
    text = clean_feedback(raw)
    assert "$" not in text and "=-0/" not in text and not text.endswith(">")
    assert text.count("-= Kitchen =-") == 1
    assert text == text.strip() and "\n\n\n" not in text
    rest = raw[raw.index("-= Kitchen =-") :].partition("\n>")[0]
    assert " ".join(text[text.index("-= Kitchen =-") :].split()) == " ".join(rest.split())
    env.close()


def test_the_menu_after_the_end_is_left_out(apple):
    env = textworld.start(str(apple))
    env.reset()
    raw = env.step("take apple")[0].raw
    assert "Would you like to RESTART" in raw
    text = clean_feedback(raw)
    assert "*** The End ***" in text and "RESTART" not in text
    env.close()


@pytest.mark.parametrize(
    "command",
    [
        "save",
        "UNDO",
        " quit ",
        "take knife. save",
        "look then restart",
        "look, q",
        "tw-print state",
        "oops save",
    ],
)
def test_commands_of_the_interpreter_are_known(command):
    assert is_interpreters_own(command)


@pytest.mark.parametrize("command", ["look", "take short knife", "open door", "", "go north", "examine quit"])
def test_commands_of_the_game_are_let_through(command):
    assert not is_interpreters_own(command)


def test_a_command_is_one_line_of_ascii():
    assert clean_command("take\nthe\x00 apple\t\u00e9\ud800") == "take the? apple ??"
    assert clean_command("\\help me\\") == "?help me?"
    assert len(clean_command("look " * 1000)) <= 190


def test_what_was_not_understood_is_told(apple):
    env = textworld.start(str(apple))
    env.reset()
    assert is_unparsable(clean_feedback(env.step("frobnicate apple")[0].raw))
    assert not is_unparsable(clean_feedback(env.step("drop apple")[0].raw))
    env.close()
