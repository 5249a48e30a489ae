"""What commands are told of TextWorld's games, they tell the next ones through datasets and agents."""

import json

import gymnasium as gym
import pytest
import textworld_games
from oreo_envs.catalog import describe, require_from_file

from oreo_agents import load_trajectories
from oreo_agents.cli import main
from oreo_agents.environments import games_of, keep_options, replay_environment
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.rollout.destination import list_spec_changes, spec_for

COINS = {"challenge": "coin_collector", "level": "2"}


@pytest.fixture(scope="module")
def coins(tmp_path_factory):
    """A dataset of one game of a challenge that was named in one word."""
    folder = tmp_path_factory.mktemp("coins") / "data"
    words = ["record", "--env", "OREO-TextWorld", "--games", "coin_collector/2", "--agent", "expert"]
    assert main([*words, "--env-options", "rewards=score", "-n", "1", "-o", str(folder)]) == 0
    return folder


def test_a_dataset_of_a_named_challenge_is_verified_and_replayed(coins):
    told = load_trajectories(coins).agreed("env_spec")["kwargs"]
    assert keep_options("OREO-TextWorld", told) == {**COINS, "rewards": "score"}
    assert main(["dataset", "verify", str(coins)]) == 0
    assert main(["replay", str(coins), "--verify"]) == 0


def test_so_is_one_that_has_the_word_itself(coins):
    """As versions before wrote it."""
    path = coins / "meta.json"
    kept = path.read_text()
    meta = json.loads(kept)
    meta["env_spec"]["kwargs"] = {"games": "coin_collector/2", "rewards": "score"}
    path.write_text(json.dumps(meta))
    try:
        assert main(["dataset", "verify", str(coins)]) == 0
        words = ["record", "--env", "OREO-TextWorld", "--games", "coin_collector/2", "--agent", "expert"]
        assert main([*words, "-n", "1", "-o", str(coins)]) == 0
    finally:
        path.write_text(kept)


def test_other_games_stand_for_the_challenge(tmp_path):
    file, spec = tmp_path / "a.z8", {"id": "OREO-TextWorld", "kwargs": {**COINS, "rewards": "score"}}
    textworld_games.write_program(file, textworld_games.READ)
    with replay_environment(spec, games=str(file)) as env:
        assert list(games_of(env).names) == ["a.z8"] and env.unwrapped.rewards == "score"
    with replay_environment(spec, split="test") as env:
        assert games_of(env).names[0] == "coin_collector/2/test/0"


def test_going_on_with_another_level_is_said(coins):
    options = {"rewards": "score", "max_episode_steps": 100, "expert": True}
    env = gym.make("OREO-TextWorld", games="coin_collector/3", **options)
    assert list_spec_changes(coins, spec_for(coins, env)) == ["level 2 then, 3 now"]


def test_whoever_records_in_python_leaves_the_same(tmp_path):
    env = gym.make("OREO-TextWorld", games="simple", split="test")
    assert spec_for(tmp_path / "new", env).kwargs == {"split": "test", "challenge": "simple"}


def test_a_word_from_a_file_opens_nothing(tmp_path, monkeypatch):
    """A challenge is played, and a place is what a file must not name."""
    asked = {"games": "cooking/recipe1+take1", "rewards": "score"}
    told = {"challenge": "cooking", "level": "recipe1+take1", "rewards": "score"}
    assert keep_options("OREO-TextWorld", asked) == told
    with replay_environment({"id": "OREO-TextWorld", "kwargs": asked}) as env:
        assert games_of(env).names[0] == "cooking/recipe1+take1+rooms1/train/0"
    (tmp_path / "cooking").mkdir()
    monkeypatch.chdir(tmp_path)
    assert describe("OREO-TextWorld").games.spell_options({"games": "cooking"}) == {"games": "cooking"}
    for place in ("cooking", "/", "cooking\0", "cooking/" + 5000 * "x", ["cooking"]):
        assert "games" not in keep_options("OREO-TextWorld", {"games": place})
        with pytest.raises((DatasetError, ConfigurationError)):
            replay_environment({"id": "OREO-TextWorld", "kwargs": {"games": place}})
    with pytest.raises(ConfigurationError, match="'games', which a file must not"):
        require_from_file("the file", "OREO-TextWorld", {"games": "cooking"})
