"""What all of them have in common."""

import importlib
import sys

import gymnasium as gym
import numpy as np
import pytest
from oreo_envs.spaces import Text

from oreo_agents.doors.episode import TextEpisode
from oreo_agents.environments import environments
from oreo_agents.errors import ConfigurationError


@pytest.mark.parametrize(
    ("door", "package"), [("gem", "gem"), ("openenv", "openenv"), ("verifiers", "verifiers")]
)
def test_a_framework_that_is_missing_is_named_with_the_remedy(door, package, monkeypatch):
    monkeypatch.delitem(sys.modules, f"oreo_agents.doors.{door}", raising=False)
    for name in [package, *(one for one in sys.modules if one.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=f"pip install .*{package}"):
        importlib.import_module(f"oreo_agents.doors.{door}")


class Counted(gym.Env):
    """What it says of an episode are numbers of numpy's, and it knows success, not won."""

    observation_space = action_space = Text()

    def reset(self, *, seed=None, options=None):
        return "Guess.", {}

    def step(self, action):
        right = np.bool_(action == "right")
        return "So.", np.float32(right), right, np.bool_(False), {"success": right}


def test_an_episode_says_in_plain_values_how_it_ended():
    episode = TextEpisode(Counted)
    episode.begin()
    assert (episode.won, episode.ended) == (None, False)
    episode.act("wrong"), episode.act("right")
    told = (episode.reward, episode.return_, episode.won, episode.ended, episode.truncated)
    assert told == (1.0, 1.0, True, True, False)
    assert [type(value) for value in told] == [float, float, bool, bool, bool]


def test_a_win_is_what_a_recording_of_it_would_say():
    """Said once, it is not forgotten; and it is a return, where the registration names one."""

    class Once(Counted):
        def step(self, action):
            observation, reward, won, truncated, info = super().step(action)
            return observation, reward, action == "leave", truncated, info if won else {}

    episode = TextEpisode(Once)
    episode.begin()
    episode.act("right"), episode.act("leave")
    assert (episode.won, episode.ended) == (True, True)
    make = environments("text_environments:Goal-v0")
    won = {}
    for seed in range(6):
        episode = TextEpisode(make)
        waiting = int(episode.begin(seed=seed).split()[-1].rstrip("."))
        for command in [*["up"] * (waiting if seed % 2 else 0), "open"]:
            episode.act(command)
        won[seed % 2] = episode.won
    assert won == {0: False, 1: True}


def test_an_environment_of_your_own_is_played_by_its_seeds():
    name = "text_environments:Lift-v0"
    episode, env = TextEpisode(environments(name)), gym.make(name)
    opening, _ = env.reset(seed=5)
    assert opening == episode.begin(seed=5) == episode.begin("seed 5") == episode.begin(5)
    rewards = 0
    for command in ("up", "sing", "open"):
        observation, reward, *_ = env.step(command)
        rewards += reward
        assert (episode.act(command), episode.reward, episode.return_) == (observation, reward, rewards)
    assert episode.ended and rewards != 0
