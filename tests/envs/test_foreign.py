"""Environments of other people's: what they are called, what they say, and going back in them."""

import re

import gymnasium as gym
import numpy as np
import odd_environments
import pytest
from odd_environments import BAD, GOOD, NAMES
from oreo_envs.foreign import ForeignEnv
from oreo_envs.testing import check_text_env, list_missing

from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError, EpisodeError
from oreo_agents.rollout.verify import verify_episodes
from oreo_agents.rollout.wrapper import RecordTrajectories

MODULE = "odd_environments"
SNAPSHOTS = ["Dial-v0", "Dial-spelt-v0", "Dial-counted-v0"]


@pytest.mark.parametrize("kind", ["Named", "Listed"])
@pytest.mark.parametrize("name", NAMES)
def test_an_episode_is_called_as_it_was_asked_for(tmp_path, capsys, kind, name):
    """Whatever the environment calls it: it happens again, and is not recorded twice."""
    env, path = f"{MODULE}:{kind}-{name}-v0", str(tmp_path / "d")
    for _ in range(2):
        assert main(["record", "--env", env, "--agent", "random", "-n", "4", "-o", path]) == 0
        names = load_trajectories(path).games.tolist()
        assert len(names) == 4 and all(
            one.startswith("word " if kind == "Listed" else "seed ") for one in names
        )
    capsys.readouterr()
    assert main(["dataset", "verify", path, "--env", env]) == 0
    assert "4 of 4 episodes" in capsys.readouterr().out


def test_a_seed_chooses_among_the_games_of_the_split():
    env = environments(f"{MODULE}:Listed-silent-v0", split="test")()
    drawn = {env.reset(seed=seed)[1]["game"] for seed in range(20)}
    assert drawn == set(games_of(env).names) == {"word 4", "word 9"}
    assert env.reset(seed=3)[1]["game"] == env.reset(seed=3)[1]["game"]


def test_what_a_program_recorded_under_the_environments_own_name_happens_again(tmp_path):
    with RecordTrajectories(gym.make("Named-zork-v0"), tmp_path / "d", agent="me") as env:
        for seed in (3, 4):
            env.reset(seed=seed)
            env.step("up"), env.step("open")
    recorded = load_trajectories(tmp_path / "d")
    assert recorded.games.tolist() == ["Zork", "Zork"]
    assert verify_episodes(recorded, environments(f"{MODULE}:Named-zork-v0")()).ok


def test_games_that_print_as_addresses_are_the_same_games():
    from oreo_envs.catalog import content_hash

    def hashed(split):
        games = games_of(environments(f"{MODULE}:Listed-silent-v0", split=split)())
        return content_hash(games, range(len(games)))

    assert hashed("train") == hashed("train") != hashed("test")


@pytest.mark.parametrize("names", [[1, 2, 3], None])
def test_games_without_names_that_are_texts_are_refused(names):
    class Numbered(odd_environments.Listed):
        def __init__(self):
            super().__init__()
            self.games = type("Games", (), {} if names is None else {"names": names})()

    with pytest.raises(ConfigurationError, match=r"one text a game"):
        ForeignEnv(Numbered())


@pytest.mark.parametrize("kind", GOOD)
def test_what_can_be_understood_is_recorded_in_one_form(tmp_path, kind):
    env, path = f"{MODULE}:Odd-{kind}-v0", str(tmp_path / "d")
    play = ["record", "--env", env, "--agent", "random", "-n", "4"]
    assert main([*play, "-o", path]) == 0
    assert main(["dataset", "verify", path, "--env", env]) == 0
    episode = load_trajectories(path)[0]
    wanted = {"tuple": ("up", "open"), "set": ("down", "open", "up"), "array": ("up", "open", "down")}
    assert episode.turns[0].admissible_commands == wanted.get(
        kind, None if kind == "none" else ("down", "open", "up")
    )
    assert episode.success is (True if kind.startswith("won") else None)
    assert not any("has to be" in line for line in list_missing(gym.make(f"Odd-{kind}-v0")))


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_understood_is_said_where_it_is_played_and_where_it_is_checked(tmp_path, capsys, kind):
    told, message = BAD[kind]
    play = ["record", "--env", f"{MODULE}:Odd-{kind}-v0", "--agent", "random", "-n", "4"]
    assert main([*play, "-o", str(tmp_path / "d")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said and f"{MODULE}:Odd-{kind}-v0, seed " in said
    with pytest.raises(EpisodeError, match=message) as failed:
        environments(f"{MODULE}:Odd-{kind}-v0")().reset(seed=1)
    assert failed.value.cause
    assert re.search(message, list_missing(gym.make(f"Odd-{kind}-v0"))[0])
    with pytest.raises(AssertionError, match=message):
        check_text_env(lambda: gym.make(f"Odd-{kind}-v0"), ["up"], after_end=False)
    if "expert_plan" not in told:  # which no recording has
        env = RecordTrajectories(gym.make(f"Odd-{kind}-v0"), tmp_path / "mine")
        with pytest.raises(EpisodeError, match=message):
            env.reset(seed=1)


def test_an_info_that_goes_wrong_later_costs_its_episode():
    env = environments(f"{MODULE}:Odd-tuple-v0")()
    env.reset(seed=1)
    env.unwrapped.told = {"won": np.array([1, 0])}
    with pytest.raises(EpisodeError, match=r"Odd-tuple-v0, seed 1, step 1: its info\['won'\] is ndarray"):
        env.step("up")
    env.unwrapped.told = {}
    assert env.reset(seed=2)[1]["game"] == "seed 2"


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_branches_of_an_environment_with_snapshots_lead_where_playing_leads(name):
    make = environments(f"{MODULE}:{name}", branches=True)
    env, plain = make(), environments(f"{MODULE}:{name}")()
    (_, info), _ = env.reset(seed=3), plain.reset(seed=3)
    for action in "abab":
        tried = info["branch"].step(action)
        info["branch"].step("b").step("a")  # nor does the step limit count them
        *played, info = env.step(action)
        assert played == list(plain.step(action)[:4])
        assert (tried.observation, tried.reward, tried.ended) == (*played[:2], played[3])
    assert played[3]  # the limit of 4
    assert bool(env.unwrapped.snapshots) == (name == "Dial-v0")


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_branch_that_breaks_down_leaves_the_episode_as_it_was(name):
    env = environments(f"{MODULE}:{name}", branches=True)()
    env.reset(seed=3)
    *_, info = env.step("a")
    with pytest.raises(
        EpisodeError, match=rf"{name}, seed 3, step 2: its step raised RuntimeError: the dial is"
    ):
        info["branch"].step("c")
    observation, _, _, truncated, info = env.step("b")
    assert observation.endswith("1 2.") and not truncated and info["branch"].turns == 2


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Dict({"verb": odd_environments.LETTERS}),
        gym.spaces.Tuple([odd_environments.LETTERS]),
        gym.spaces.Sequence(odd_environments.LETTERS),
        gym.spaces.OneOf([odd_environments.LETTERS]),
        gym.spaces.Discrete(3),
    ],
    ids=lambda space: type(space).__name__,
)
def test_actions_that_are_no_text_are_refused(space):
    env = odd_environments.Odd()
    env.action_space = space
    with pytest.raises(ConfigurationError, match=f"takes actions of {type(space).__name__}, not text"):
        ForeignEnv(env)
