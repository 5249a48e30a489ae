import itertools
import json
import re
from importlib.resources import files

import pytest
from oreo_envs.alfworld import text

GRAMMAR = (files("oreo_envs.alfworld") / "assets" / "grammar.twl").read_text()
VIEWS = json.loads(re.search(r'"examineObject.feedback": (\[.*?\n        \])', GRAMMAR, re.S)[1])


def grammar_view(facts: set[str]) -> str:
    """The sentence of the first rule of ALFWorld's grammar whose condition holds."""
    for rule in VIEWS:
        conditions = re.findall(r"(\w+)\(", rule.get("condition", ""))
        if facts.issuperset(conditions):
            return rule["rhs"].replace("{o.name}", "pan 1")
    raise AssertionError("the last rule has no condition")


@pytest.mark.parametrize(
    "hot, cool, clean, sliced, sliceable, on", list(itertools.product([False, True], repeat=6))
)
def test_object_views_follow_the_grammar(hot, cool, clean, sliced, sliceable, on):
    qualities = {"ishot": hot, "iscool": cool, "isclean": clean, "issliced": sliced, "sliceable": sliceable}
    facts = {name for name, holds in qualities.items() if holds} | (
        {"toggleable", "istoggled"} if on else set()
    )
    assert text.describe_object("pan 1", hot, cool, clean, sliced, sliceable, on) == grammar_view(facts)


def test_the_help_text_is_the_grammars():
    listed = re.search(r"(Available commands:.*?)\"", GRAMMAR, re.S)[1].replace("\\n", "\n")
    assert listed == text.HELP


@pytest.mark.parametrize(
    "names, listed",
    [
        ([], "nothing"),
        (["mug 1"], "a mug 1"),
        (["mug 2", "mug 1"], "a mug 2, and a mug 1"),
        (["pan 1", "mug 2", "mug 1"], "a pan 1, a mug 2, and a mug 1"),
    ],
)
def test_lists(names, listed):
    assert text.enumerate_names(names) == listed


@pytest.mark.parametrize(
    "move, put",
    [
        ("move mug 1 to desk 2", "put mug 1 in/on desk 2"),
        ("go to desk 1", "go to desk 1"),
        ("move mug 1", "move mug 1"),
    ],
)
def test_wordings_translate_into_each_other(move, put):
    assert text.reword_command(move, "put") == put
    assert text.reword_command(put, "move") == move
    assert text.reword_command(move, "move") == move


@pytest.mark.parametrize(
    "command, known",
    [
        ("look", True),
        ("help", True),
        ("go to desk 1", True),
        ("go to desk 9", False),
        ("go to mug 1", False),
        ("examine mug 1", True),
        ("take mug 1 from desk 1", True),
        ("take mug 1", False),
        ("move mug 1 to desk 1", True),
        ("put mug 1 in/on desk 1", False),
        ("slice mug 1 with mug 1", True),
        ("slice mug 1 with desk 1", False),
        ("Look", False),
        ("", False),
    ],
)
def test_known_commands(command, known):
    assert text.is_command(command, {"mug 1"}, {"desk 1"}, "move") is known


def test_help_is_unknown_in_the_put_wording():
    assert not text.is_command("help", set(), set(), "put")
