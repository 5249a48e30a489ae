"""One place says what is special about an environment, and it says the truth."""

import ast
import importlib
import inspect
from pathlib import Path

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the environments)
import pytest
from oreo_envs.catalog import (
    CATALOG,
    DEFAULT_ID,
    FOREIGN_SPLITS,
    HASHED,
    Entry,
    add_environment,
    content_hash,
    describe,
    list_demonstrated,
    list_splits,
    list_wordings,
)
from oreo_envs.errors import ConfigurationError, DataNotFoundError

from oreo_agents.agents.scripted import follows_plan
from oreo_agents.environments import environments, games_of, source_options

AGENT_SIDE = sorted((Path(__file__).resolve().parents[2] / "oreo_agents").rglob("*.py"))
IDS = [entry.id for entry in CATALOG]


def environment_class(entry):
    module, _, name = entry.entry_point.partition(":")
    return getattr(importlib.import_module(module), name)


def test_the_registered_ids_are_those_of_the_catalogue():
    assert sorted(IDS) == sorted(name for name in gym.registry if name.startswith("OREO-"))
    for entry in CATALOG:
        spec = gym.spec(entry.id)
        assert (spec.entry_point, spec.vector_entry_point) == (entry.entry_point, entry.vector_entry_point)
        assert spec.max_episode_steps == entry.max_episode_steps
        assert describe(entry.id) is describe(f"oreo_envs:{entry.id}") is entry


@pytest.mark.parametrize("entry", CATALOG, ids=IDS)
def test_an_entry_says_of_its_environment_what_is_so(entry):
    kind = environment_class(entry)
    options = inspect.signature(kind).parameters
    assert entry.games_argument in options
    assert entry.plans == ("expert" in options)
    assert entry.plans or not entry.demonstrates
    assert entry.branches == (hasattr(kind, "clone_state") and hasattr(kind, "restore_state"))
    assert bool(entry.wordings) == ("wording" in options) == hasattr(kind, "wording")
    assert set(entry.replay_options) <= set(options)
    assert set(entry.endless) <= set(entry.splits)
    assert entry.judging_split in (None, *entry.splits)
    assert entry.games.entry is entry


def test_what_is_named_in_words_is_there():
    assert hasattr(describe(DEFAULT_ID).make_expert(3), "act")
    with pytest.raises(ConfigurationError, match="OREO-GSM8K has no expert but its own plan"):
        describe("OREO-GSM8K").make_expert()
    assert list_demonstrated()[0] == DEFAULT_ID
    assert [entry.suffix for entry in map(describe, ("OREO-ALFWorld", "OREO-MATH"))] == ["", "-OREO-MATH"]
    assert describe("") is describe("OREO-ALFWorld")  # imported episodes name no environment
    real = ("train", "valid_train", "valid_seen", "valid_unseen")
    assert list_splits() == (*real, "generated", "generated_unseen", "test", "unseen", "dev", "all")
    assert list_wordings() == ("move", "put")


@pytest.mark.parametrize("entry", [entry for entry in CATALOG if entry.endless], ids=lambda entry: entry.id)
def test_an_endless_split_has_more_games_than_can_be_listed(entry):
    for split in entry.endless:
        assert len(gym.make(entry.id, split=split).unwrapped.games) == 1_000_000


def test_textworlds_challenges_are_divided_and_files_are_not(tmp_path):
    games = describe("OREO-TextWorld").games
    division = games.divide("cooking/take1+recipe1")
    learnt, judged = (
        gym.make("OREO-TextWorld", **games.options(half["split"], given=half["options"]))
        for half in (division.train, division.test)
    )
    names = {env.unwrapped.games.names[0] for env in (learnt, judged)}
    assert names == {f"cooking/recipe1+take1+rooms1/{split}/0" for split in ("train", "test")}
    (tmp_path / "game.z8").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="name a challenge"):
        games.divide(tmp_path)


class Counting(gym.Env):
    """A user's environment: no list of games, nothing in the catalogue."""

    observation_space = action_space = gym.spaces.Text(100)

    def __init__(self, start=0):
        self.start = start

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return str(self.start), {"action_status": "ok"}

    def step(self, action):
        return action, 0.0, False, False, {"action_status": "ok"}


def test_an_id_of_ones_own_has_the_defaults_and_works():
    gym.register("Counting-v0", Counting)
    try:
        assert describe("theirs:Counting-v0").foreign and describe("Counting-v0").splits == FOREIGN_SPLITS
        make_env = environments("Counting-v0", 2, start=7)
        env = make_env()
        assert env.reset()[0] == "7"
        assert [env.step("on")[3] for _ in range(2)] == [False, True]
        assert games_of(env).names[7] == "seed 7"
        with pytest.raises(ConfigurationError, match="Counting-v0 has no list of games"):
            games_of(gym.make("Counting-v0"))
        assert source_options("Counting-v0", None, "place") == {"games": "place"}
        assert follows_plan("expert", "Counting-v0")
    finally:
        del gym.registry["Counting-v0"]


def test_one_entry_is_a_new_environment(monkeypatch):
    from oreo_envs import catalog

    monkeypatch.setattr(catalog, "_known", dict(catalog._known))
    entry = Entry(id="OREO-Counting", entry_point=f"{__name__}:Counting", games_argument="start")
    try:
        add_environment(entry)
        assert describe("OREO-Counting") is entry
        assert environments("OREO-Counting", **source_options("OREO-Counting", None, 3))().reset()[0] == "3"
    finally:
        del gym.registry["OREO-Counting"]


def test_where_the_games_of_a_split_lie_below_a_data_folder():
    gsm8k = describe("OREO-GSM8K").games
    assert gsm8k.options("test", Path("data")) == {"split": "test", "data": Path("data/gsm8k")}
    assert gsm8k.options("test", Path("data"), given={"data": "mine"}) == {"split": "test", "data": "mine"}
    assert gsm8k.options("train") == {"split": "train"}
    reasoning = describe("OREO-Reasoning").games
    given = {"task": "chain_sum"}
    assert reasoning.options("test", Path("data"), given=given) == {"split": "test", **given}
    with pytest.raises(ConfigurationError, match="OREO-GSM8K has no rooms"):
        gsm8k.options("test", rooms=["7"])
    assert [gsm8k.default_split(), gsm8k.rooms_outside("train")] == [None, frozenset()]
    with pytest.raises(ConfigurationError, match="OREO-GSM8K does not say how to divide"):
        gsm8k.divide(None)


def test_rooms_of_alfworlds_games(tmp_path):
    from oreo_envs.alfworld.games import room_of
    from oreo_envs.alfworld.install import write_games
    from oreo_envs.alfworld.sources import GameFiles

    write_games(tmp_path / "train", 24)
    games = describe("OREO-ALFWorld").games
    whole = games.options("train", tmp_path)["games"]
    assert isinstance(whole, GameFiles) and len(whole) == 24
    rooms = sorted({room_of(name) for name in whole.names})
    here = games.options("train", tmp_path, rooms=rooms[:2])["games"]
    elsewhere = games.options("train", tmp_path, left_out=rooms[:2])["games"]
    assert {room_of(name) for name in here.names} == set(rooms[:2])
    assert sorted((*here.names, *elsewhere.names)) == sorted(whole.names)
    assert not set(here.names) & set(elsewhere.names)
    with pytest.raises(ConfigurationError, match="no games in rooms 9999"):
        games.options("train", tmp_path, rooms=["9999"])
    with pytest.raises(DataNotFoundError, match="None of these 24 games"):
        games.options("train", tmp_path, left_out=rooms)
    apart = games.rooms_outside("generated")
    assert len(apart) == 24 and not apart & set(rooms)
    division = games.divide(tmp_path / "train")
    named = division.test["rooms"]
    learnt, judged = (
        games.options("train", given=half["options"], **chosen)["games"]
        for half, chosen in ((division.train, {"left_out": named}), (division.test, {"rooms": named}))
    )
    assert set(judged.rooms) == set(named) and not set(learnt.rooms) & set(judged.rooms)


def test_files_are_hashed_whole_and_games_made_on_demand_by_their_first():
    class Listed(list):
        names = tuple(f"game {i}" for i in range(2 * HASHED))

    class Read(Listed):
        made_on_demand = False

    def hashed(kind, last):
        return content_hash(kind([*range(2 * HASHED - 1), last]), range(2 * HASHED))

    assert hashed(Listed, 0) == hashed(Listed, 1)
    assert hashed(Read, 0) != hashed(Read, 1)
    for env_id, made in (("OREO-ALFWorld", True), ("OREO-Reasoning", True)):
        split = "generated" if env_id == "OREO-ALFWorld" else "test"
        assert gym.make(env_id, split=split).unwrapped.games.made_on_demand is made


@pytest.mark.parametrize("path", AGENT_SIDE, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_agent_side_decides_nothing_by_an_id(path):
    """Ids stand in prose and, in importers, on what files of ALFWorld become."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    ids = [node.value for node in nodes if isinstance(node, ast.Constant) and node.value in IDS]
    assert ids == (["OREO-ALFWorld"] if path.name == "importers.py" else [])
    for node in nodes:
        names = {getattr(one, "id", getattr(one, "attr", None)) for one in ast.walk(node)}
        if isinstance(node, ast.Compare):
            assert not names & {"ALFWORLD", "DEFAULT_ID", "ENV_ID"}, ast.unparse(node)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            assert not names & {"GameFiles", "GeneratedGames", "ProceduralProblems", "ReadProblems"}
