import json
import re
import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.game_file import MAX_BYTES, load_game, parse_game
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.world import World
from oreo_envs.errors import GameFileError, UnsupportedGameError

TEXT = GeneratedGames("generated").text(3)
DATA = json.loads(TEXT)
PROBLEM = re.findall(r"[()]|[^\s()]+", DATA["pddl_problem"])


def parse_with(**changes):
    return parse_game(json.dumps(DATA | changes), "kitchen/changed")


def play(game, steps=15):
    """Play at random; whatever can be parsed must be playable."""
    world, random = World(game), Random(0)
    world.reset()
    for _ in range(steps):
        world.step(random.choice(world.admissible_commands()))


# ---------------------------------------------------------------- what a file says


def test_real_games_say_what_their_files_and_folders_say(seen_games):
    for index in range(0, len(seen_games), 7):
        game, data = seen_games[index], json.loads(seen_games.text(index))
        assert game.name == "/".join(seen_games.paths[index].parts[-3:-1])
        assert game.task_type == game.name.split("-")[0]
        assert game.task in data["grammar"]
        assert list(game.walkthrough) == data["walkthrough"]
        facts = data["pddl_problem"].split("(:init")[1].split("(:goal")[0]
        assert len(game.receptacles) == len(set(re.findall(r"\(receptacleType (\S+)", facts)))
        assert len(game.objects) == len(set(re.findall(r"\(objectType (\S+)", facts)))
        assert sum(mask.bit_count() for mask in game.start.inside) == facts.count("(inReceptacle ")


def test_names_count_down_in_sorted_order(seen_games):
    game = seen_games[0]
    drawers = [place for place in game.receptacles if place.type == "drawertype"]
    assert [place.id for place in drawers] == sorted(place.id for place in drawers)
    assert [place.name for place in drawers] == [f"drawer {n}" for n in range(len(drawers), 0, -1)]


def test_all_task_types_are_read(seen_games):
    assert {seen_games[index].task_type for index in range(len(seen_games))} == set(TASK_TYPES)


def test_both_wordings_are_recognised(seen_games, put_games):
    assert seen_games[0].wording == "move"
    assert put_games[0].wording == "put"
    assert not put_games[0].rules.has_help


def test_the_files_of_the_alfworld_package_are_recognised():
    info = pytest.importorskip("alfworld.info")
    domain = Path(info.ALFRED_PDDL_PATH).read_text()
    grammar = Path(info.ALFRED_TWL2_PATH).read_text().replace("UNKNOWN GOAL", "put a mug in desk")
    game = parse_with(pddl_domain=domain, grammar=grammar)
    assert game.task == "put a mug in desk."
    assert game.rules.clean_at == {"sinkbasintype"}


# ---------------------------------------------------------------- what is refused, and how


def test_other_rules_are_refused_with_the_way_out():
    for changes in (
        {"pddl_domain": DATA["pddl_domain"].replace("(not (holdsAny ?a))", "(holdsAny ?a)")},
        {"grammar": DATA["grammar"].replace("You close the", "You shut the")},
        {"pddl_problem": DATA["pddl_problem"].replace("(:goal", "(:goal (and) (:goal")},
    ):
        with pytest.raises(UnsupportedGameError, match='backend="textworld"'):
            parse_with(**changes)


def test_comments_and_spaces_do_not_make_other_rules():
    domain = "; a comment\n" + DATA["pddl_domain"].replace("\n", " \n  ")
    assert parse_with(pddl_domain=domain).objects == parse_with().objects


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        TEXT[: len(TEXT) // 2],
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 10_000,
        b"\xff\xfe",
    ],
    ids=range(10),
)
def test_what_is_not_a_json_object_is_refused(text):
    with pytest.raises(GameFileError, match="kitchen/broken"):
        parse_game(text, "kitchen/broken")


@pytest.mark.parametrize("key", ["pddl_domain", "grammar", "pddl_problem"])
@pytest.mark.parametrize("value", [None, 3, [], {"a": 1}, "\ud800", ""])
def test_missing_or_wrong_parts_are_refused(key, value):
    with pytest.raises(GameFileError, match="kitchen/changed"):
        parse_with(**{key: value})


@pytest.mark.parametrize(
    "old, new, reason",
    [
        (r"agent1 - agent", "", "agent1"),
        (r"\(atLocation [^)]*\)", "", "agent"),
        (r"\(:goal.*", ")", ":goal"),
        (r"\(:init", "(:begin", ":init"),
        (r"\(pickupable ", "(edible ", "edible"),
        (r"\(pickupable (\S+)\)", r"(pickupable \1 \1)", "pickupable"),
        (r"\(inReceptacle (\S+) (\S+)\)", r"(inReceptacle \2 \1)", "inreceptacle"),
        (r"\(objectType (\S+) (\S+)\)", r"(objectType \1 NoSuchType)", "nosuchtype"),
    ],
)
def test_damaged_problems_are_refused_with_the_reason(old, new, reason):
    problem, changed = re.subn(old, new, DATA["pddl_problem"], count=1, flags=re.S)
    assert changed
    with pytest.raises(GameFileError, match=reason):
        parse_with(pddl_problem=problem)


def test_huge_files_are_refused_at_once(tmp_path):
    path = tmp_path / "game.tw-pddl"
    path.write_bytes(b"(" * 100_000_000)
    started = time.perf_counter()
    with pytest.raises(GameFileError, match="larger"):
        load_game(path, "kitchen")
    with pytest.raises(GameFileError, match="kitchen"):
        parse_game("(" * 100_000_000, "kitchen")
    assert time.perf_counter() - started < 2


def test_parsing_takes_linear_time():
    brackets = "(define (problem p) (:objects " + "(" * (MAX_BYTES // 2 - 1000)
    started = time.perf_counter()
    with pytest.raises(GameFileError):
        parse_with(pddl_problem=brackets)
    assert time.perf_counter() - started < 5


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(GameFileError, match="cannot be read"):
        load_game(tmp_path / "none.tw-pddl", "kitchen")
    with pytest.raises(GameFileError, match="cannot be read"):
        load_game(tmp_path, "kitchen")


# ---------------------------------------------------------------- thousands of damaged files

TOKENS = st.one_of(
    st.sampled_from(PROBLEM), st.sampled_from(["(", ")", "-", ":goal", ":init", ";", "", "not", "é"])
)
EDITS = st.lists(
    st.tuples(st.integers(0, len(PROBLEM) - 1), st.sampled_from(["put", "insert", "drop", "swap"]), TOKENS),
    min_size=1,
    max_size=6,
)


@settings(max_examples=1500, deadline=None)
@given(EDITS)
def test_edited_problems_play_or_are_refused(edits):
    tokens = list(PROBLEM)
    for position, edit, token in edits:
        position %= len(tokens)
        if edit == "put":
            tokens[position] = token
        elif edit == "insert":
            tokens.insert(position, token)
        elif edit == "drop":
            del tokens[position]
        else:
            tokens[position - 1], tokens[position] = tokens[position], tokens[position - 1]
    try:
        game = parse_with(pddl_problem=" ".join(tokens))
    except GameFileError:
        return
    play(game)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(DATA)), JSON_VALUES, min_size=1), st.booleans())
def test_files_with_other_values_play_or_are_refused(changes, drop):
    changed = {key: value for key, value in DATA.items() if key not in changes} if drop else DATA | changes
    try:
        game = parse_game(json.dumps(changed), "kitchen/changed")
    except GameFileError:
        return
    play(game)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(TEXT)), st.integers(0, 400), st.binary(max_size=20))
def test_files_with_other_bytes_play_or_are_refused(start, length, replacement):
    content = TEXT.encode()
    try:
        game = parse_game(content[:start] + replacement + content[start + length :], "kitchen/changed")
    except GameFileError:
        return
    play(game)
