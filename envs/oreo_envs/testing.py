"""What this project expects of a text environment, as a function to call on your own.

>>> check_text_env(lambda: gym.make("OREO-ALFWorld", split="generated"), ["look", "inventory", "nonsense"])
"""

import warnings
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from oreo_envs.infos import read_success, read_texts


def check_text_env(
    make: Callable[[], gym.Env[str, str]], actions: Sequence[str], seed: int = 7, after_end: bool = True
) -> None:
    """Check an environment against the contract of text environments.

    Texts in and out; rewards that are finite numbers; equal seeds and actions give equal episodes; infos keep their
    keys, commands in them are a list of texts, and a win is True or False; a step before the first reset, or after a
    terminal one, raises; Gymnasium's own checker is content without a warning. What need not hold but is missed where
    it is not there is said by :func:`list_missing`.

    Args:
        make: makes a new environment, with its own step limit, as ``gym.make`` does.
        actions: commands to try, in this order, until they or the episode end.
        seed: what to reset with.
        after_end: whether a step after the end has to raise, which Gymnasium leaves open.

    Raises:
        AssertionError: saying what does not hold, and why it matters.
    """
    _check_space(make(), actions, seed)
    _check_gymnasium(make())
    env = make()
    try:
        env.step(actions[0])
    except ResetNeeded:
        pass
    else:
        raise AssertionError(
            "a step before the first reset() must raise gymnasium.error.ResetNeeded, or a program that forgets the "
            "reset goes on in an episode that nobody began: gym.make(...) sees to it"
        )
    episode = _play_actions(env, actions, seed, after_end)
    assert episode == _play_actions(env, actions, seed, after_end), (
        "a second episode with the same seed and actions differs: an episode is its seed, and nothing recorded could "
        "be verified or played again; draw from self.np_random alone, after super().reset(seed=seed)"
    )
    assert episode == _play_actions(make(), actions, seed, after_end), (
        "a new environment with the same seed and actions differs: episodes are played in many copies at once; keep "
        "nothing outside the object, and do not depend on the order of sets or on hash()"
    )
    env.close()


def _check_space(env: gym.Env[str, str], actions: Sequence[str], seed: int) -> None:
    """Gymnasium's own space of texts has letters and digits alone unless told otherwise."""
    space = env.observation_space
    seen = [env.reset(seed=seed)[0]]
    for action in actions if isinstance(space, gym.spaces.Text) else ():
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(observation)
        if terminated or truncated:
            break
    env.close()
    for text in seen:
        if isinstance(space, gym.spaces.Text) and isinstance(text, str) and text not in space:
            strange = "".join(sorted(set(text) - space.character_set))
            why = (
                f"its charset has no {strange!r}"
                if strange
                else f"{len(text)} characters are too many or too few"
            )
            raise AssertionError(
                f"the observation {text[:60]!r} is not in the observation_space {space}: {why}; take "
                "oreo_envs.spaces.Text(), which has all texts, or name every character as charset="
            )


def _check_gymnasium(env: gym.Env[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def _play_actions(env: gym.Env[str, str], actions: Sequence[str], seed: int, after_end: bool) -> list[Any]:
    observation, info = env.reset(seed=seed)
    assert isinstance(observation, str), (
        f"reset() observed a {type(observation).__name__}, not a str: a language model reads text; put it into words"
    )
    keys = set(info)
    _check_info("reset", info)
    episode: list[Any] = [(observation, info)]
    for action in actions:
        outcome = env.step(action)
        observation, reward, terminated, truncated, info = outcome
        assert isinstance(observation, str), (
            f"step() observed a {type(observation).__name__}, not a str: a language model reads text; put it into words"
        )
        assert isfinite(reward), (
            f"the reward {reward!r} is no finite number: nothing could be learnt from its return"
        )
        assert keys <= set(info), (
            f"step() lost the info {sorted(keys - set(info))}: what an agent was told once it is shown in every turn"
        )
        _check_info("step", info)
        episode.append(outcome)
        if terminated and after_end:
            _check_over(env, action)
        if terminated or truncated:
            break
    return episode


def _check_info(asked: str, info: dict[str, Any]) -> None:
    assert isinstance(info, dict), f"the info of {asked}() is {type(info).__name__}, and has to be a dict"
    if fault := _find_fault(info):
        raise AssertionError(
            f"{asked}(): {fault}; such an episode is not kept, as nobody could read it alike"
        )


def _find_fault(info: dict[str, Any]) -> str:
    try:
        read_texts(info), read_texts(info, "expert_plan"), read_success(info)
    except ValueError as error:
        return str(error)
    return ""


def _check_over(env: gym.Env[str, str], action: str) -> None:
    try:
        env.step(action)
    except ResetNeeded:
        return
    raise AssertionError(
        "a step after the end must raise gymnasium.error.ResetNeeded, or the rewards of a game that is over are "
        "counted; Gymnasium leaves this open, and nothing here steps on: after_end=False does not ask for it"
    )


MISSED = {
    "admissible_commands": "without it constrained choosing and prompts that list commands are not to be had, and "
    "random players draw from the action space",
    "won": "if no step says it either (the one that ends an episode is enough; or success, or a reward_threshold of "
    "the registration), returns are reported, not success rates",
    "action_status": "without it a command counts as failed if the observation stays as it was",
    "task": "without it tables and replays name an episode by its game",
    "expert_plan": "without it there is no expert to imitate",
}
"""Keys of ``info`` that agents make use of, and what it means that one is not there."""


def list_missing(env: gym.Env[str, str], seed: int = 7) -> list[str]:
    """What an environment could say and does not, a sentence each with why it matters; it works without. What it says
    in a form that nobody can read comes first.

    Args:
        env: a text environment, as ``gym.make`` makes it.
        seed: what to reset with.
    """
    _, info = env.reset(seed=seed)
    said = {key for key, value in info.items() if value is not None}
    told = said | (
        {"won"} if "success" in said or (env.spec and env.spec.reward_threshold is not None) else set()
    )
    found = [fault] if (fault := _find_fault(info)) else []
    found += [f"info has no {key}: {why}" for key, why in MISSED.items() if key not in told]
    if env.spec is None or env.spec.max_episode_steps is None:
        found.append("it is registered without max_episode_steps: episodes end after 50 steps")
    return found
