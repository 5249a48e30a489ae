"""One maker for every environment: the list of games is looked up once, and mistakes are said in a sentence."""

import gymnasium as gym
import pytest
from learning import ToyRoom
from oreo_envs.catalog import require_from_file

from oreo_agents.environments import (
    environments,
    games_of,
    identify_play,
    judging_options,
    source_options,
)
from oreo_agents.errors import ConfigurationError


@pytest.mark.parametrize(
    ("env_id", "options"),
    [("OREO-ALFWorld", {"split": "generated"}), ("OREO-Reasoning", {"task": "chain_sum"})],
)
def test_environments_share_their_games_and_nothing_else(env_id, options):
    make_env = environments(env_id, 3, **options)
    first, second = make_env(), make_env()
    assert games_of(first) is games_of(second)
    opening, _ = first.reset(options={"game": 0})
    other, _ = second.reset(options={"game": 1})
    assert opening != other == gym.make(env_id, **options).reset(options={"game": 1})[0]
    first.step("look")
    assert [second.step("look")[3] for _ in range(3)] == [False, False, True]  # its own limit of three steps


@pytest.mark.parametrize(
    ("env_id", "split", "games", "expected"),
    [
        ("OREO-ALFWorld", "train", None, {"split": "train"}),
        ("OREO-ALFWorld", None, "rooms", {"games": "rooms"}),
        ("OREO-GSM8K", "test", "folder", {"split": "test", "data": "folder"}),
        ("OREO-Reasoning", None, "chain_sum", {"task": "chain_sum"}),
        ("their:Env-v0", None, "x", {"games": "x"}),
    ],
)
def test_split_and_games_by_the_names_each_environment_has_for_them(env_id, split, games, expected):
    assert source_options(env_id, split, games) == expected


def test_held_out_games_judge_where_nobody_says_which(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert judging_options("OREO-ALFWorld") == {"split": "generated_unseen"}
    (tmp_path / "valid_seen").mkdir()
    assert judging_options("OREO-ALFWorld") == {"split": "valid_seen"}
    assert judging_options("OREO-ALFWorld", games="rooms") == {"games": "rooms"}
    assert judging_options("OREO-ALFWorld", split="train") == {"split": "train"}
    for env_id in (
        "OREO-GSM8K",
        "OREO-MATH",
        "OREO-Reasoning",
        "OREO-Habits",
        "OREO-Puzzles",
        "OREO-TextWorld",
    ):
        assert judging_options(env_id) == {"split": "test"}, env_id
    assert judging_options("OREO-GSM8K", games="folder") == {"split": "test", "data": "folder"}
    assert judging_options("their:Env-v0", games="x") == {"split": "test", "games": "x"}


@pytest.mark.parametrize(
    ("env_id", "known", "left"),
    [
        ("OREO-GSM8K", {"granularity": "response"}, {"granularity": "response", "data": "x"}),
        ("OREO-Puzzles", {"task": "jugs", "size": 9}, {"task": "x"}),
        ("OREO-TextWorld", {"challenge": "simple", "rewards": "score"}, {"rewards": "score", "games": "x"}),
        ("their:Env-v0", {"games": "hard", "floors": 3}, {"games": "x", "floors": 3}),
    ],
)
def test_other_games_leave_what_says_nothing_of_games(env_id, known, left):
    assert source_options(env_id, None, "x", known=known) == left
    assert source_options(env_id, known=known) == known


def test_a_word_tells_games_of_somebody_else_apart_and_a_place_those_of_ours():
    """Episodes that are known by their seeds have the same names, and so the same hash, whatever the word is."""
    easy, hard = (identify_play("their:Env-v0", {"games": word}, "hash") for word in ("easy", "hard"))
    assert easy != hard
    here, there = (identify_play("OREO-ALFWorld", {"games": place}, "hash") for place in ("a", "b"))
    assert here == there


def test_which_games_nobody_chose_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    for _ in range(3):
        gym.make("OREO-ALFWorld")
    (said,) = [record.getMessage() for record in caplog.records if record.name.startswith("oreo_envs")]
    assert said == f"OREO-ALFWorld: games are generated, {tmp_path} has none; split= or games= chooses others"
    caplog.clear()
    gym.make("OREO-ALFWorld", split="generated")
    assert not caplog.records


def test_a_wording_is_for_environments_that_have_several():
    assert source_options("OREO-ALFWorld", "train", wording="put") == {"split": "train", "wording": "put"}
    for env_id in ("OREO-GSM8K", "their:Env-v0"):
        with pytest.raises(ConfigurationError, match=f"{env_id} cannot show .* wording 'put': leave it out"):
            source_options(env_id, wording="put")
    with pytest.raises(ConfigurationError, match="wording 'puts': choose move or put"):
        source_options("OREO-ALFWorld", wording="puts")


@pytest.mark.parametrize(
    ("env_id", "options", "said"),
    [
        ("OREO-Nowhere", {}, "OREO-Nowhere"),
        ("no_such_package:Env-v0", {}, "no_such_package"),
        ("OREO-ALFWorld", {"colour": "red"}, "colour"),
        ("OREO-Reasoning", {"split": "valid_seen"}, "valid_seen"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(env_id, options, said):
    with pytest.raises(ConfigurationError, match=said):
        environments(env_id, **options)


def test_an_environment_without_games_is_refused():
    class Single(ToyRoom):
        games = None

    with pytest.raises(ConfigurationError, match="Single has no list of games"):
        games_of(Single())


def test_patience_ends_an_episode_that_is_stuck():
    env = environments(split="generated", patience=2)()
    _, info = env.reset(seed=3)
    useful = next(c for c in info["admissible_commands"] if c.startswith("go to"))
    ended = [env.step(action)[3] for action in ("fly", useful, "fly", "fly")]
    assert ended == [False, False, False, True]
    env.reset(seed=3)
    assert not env.step("fly")[3]


def test_patience_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="patience=0"):
        environments(split="generated", patience=0)


@pytest.mark.parametrize(
    ("env_id", "options", "said"),
    [
        ("canary:Thing-v0", {}, "a file never makes code run.*--env module:Id"),
        ("Nobody-v0", {}, "a file never makes code run"),
        ("CartPole-v1", {}, "a file never makes code run"),
        ("GymV26Environment-v0", {"env_id": "canary:Thing-v0"}, "a file never makes code run"),
        ("OREO-ALFWorld", {"backend": "textworld"}, "option 'backend', which a file must not"),
        ("OREO-TextWorld", {"game": "a.z8"}, "option 'game', which a file must not.*--games"),
        (["OREO-ALFWorld"], {}, "is no environment with options"),
        ("OREO-ALFWorld", ["split"], "is no environment with options"),
    ],
)
def test_a_file_chooses_among_what_is_registered(env_id, options, said):
    with pytest.raises(ConfigurationError, match=said):
        require_from_file("the file", env_id, options)


def test_what_the_user_named_a_file_may_have():
    require_from_file("the file", "OREO-ALFWorld", {"split": "train", "games": "anywhere"})
    require_from_file("the file", "Thing-v0", {"any": 1}, ["canary:Thing-v0"])
    require_from_file("the file", "OREO-ALFWorld", {"backend": "textworld"}, ["OREO-ALFWorld"])


def test_an_environment_with_and_without_its_module_is_one():
    from oreo_agents.environments import unite_ids

    several = ["Lift-v0", "shop:Shop-v0", "shop.envs:Shop-v0", "lift:Lift-v0", "other:Lift-v0", "Echo-v0"]
    assert unite_ids(several) == ["Echo-v0", "lift:Lift-v0", "other:Lift-v0", "shop:Shop-v0"]
