"""What this project expects of a text environment, as a function to call on your own.

>>> check_text_env(lambda: gym.make("OREO-ALFWorld", split="generated"), ["look", "inventory", "nonsense"])
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env


def check_text_env(make: Callable[[], gym.Env[str, str]], actions: Sequence[str], seed: int = 7) -> None:
    """Check an environment against the contract of text environments.

    Texts in and out; rewards of 1.0 or 0.0, and an end with every win; equal seeds and actions give equal
    episodes; infos keep their keys; a step before the first reset, or after a terminal one, raises; Gymnasium's
    own checker is content without a warning.

    Args:
        make: makes a new environment.
        actions: commands to try, in this order, until they or the episode end.
        seed: what to reset with.

    Raises:
        AssertionError: saying what does not hold.
    """
    _check_gymnasium(make())
    env = make()
    try:
        env.step(actions[0])
    except ResetNeeded:
        pass
    else:
        raise AssertionError("a step before the first reset() must raise gymnasium.error.ResetNeeded")
    episode = _play_actions(env, actions, seed)
    assert episode == _play_actions(env, actions, seed), (
        "a second episode with the same seed and actions differs"
    )
    assert episode == _play_actions(make(), actions, seed), (
        "a new environment with the same seed and actions differs"
    )
    env.close()


def _check_gymnasium(env: gym.Env[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def _play_actions(env: gym.Env[str, str], actions: Sequence[str], seed: int) -> list[Any]:
    observation, info = env.reset(seed=seed)
    assert isinstance(observation, str), f"reset() observed a {type(observation).__name__}, not a str"
    keys = set(info)
    episode: list[Any] = [(observation, info)]
    for action in actions:
        outcome = env.step(action)
        observation, reward, terminated, truncated, info = outcome
        assert isinstance(observation, str), f"step() observed a {type(observation).__name__}, not a str"
        assert reward in (0.0, 1.0), f"the reward {reward!r} is neither 0.0 nor 1.0"
        assert reward == 0.0 or terminated, "a reward of 1.0 must come with the end of the episode"
        assert keys <= set(info), f"step() lost the info {sorted(keys - set(info))}"
        episode.append(outcome)
        if terminated:
            _check_over(env, action)
        if terminated or truncated:
            break
    return episode


def _check_over(env: gym.Env[str, str], action: str) -> None:
    try:
        env.step(action)
    except ResetNeeded:
        return
    raise AssertionError("a step after the end must raise gymnasium.error.ResetNeeded")
