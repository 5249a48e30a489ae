"""Environments of other people's, with what this project counts on: episodes by name, snapshots, a way to be random.

An environment that has a list of games keeps it (``games``, a sequence with ``names``, one of which ``reset`` takes as
``options["game"]``). One that has none plays an episode for each seed, and the episode is named after it. Knows nothing
about agents.
"""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from oreo_envs.errors import ConfigurationError, DataNotFoundError, EpisodeError, OreoError
from oreo_envs.named_games import NamedGames

MILLION = 1_000_000
SEEDS = {
    "train": range(MILLION),
    "dev": range(MILLION, 2 * MILLION),
    "test": range(2 * MILLION, 3 * MILLION),
    "all": range(3 * MILLION),
}
"""The seeds of each split: those to learn on are never judged on."""


class SeedNames(Sequence[str]):
    """``seed N`` for each of some seeds, made when asked for."""

    def __init__(self, seeds: range) -> None:
        self._seeds = seeds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, position: Any) -> Any:
        chosen = self._seeds[position]
        return list(map(name_seed, chosen)) if isinstance(chosen, range) else name_seed(chosen)


class SeedGames(NamedGames[int]):
    """The episodes of an environment without a list of games: one for each seed of a split."""

    noun = "episode"

    def __init__(self, split: str) -> None:
        self._seeds = SEEDS[split]
        self.names = SeedNames(self._seeds)

    def __getitem__(self, position: Any) -> Any:
        return self._seeds[position]

    def index(self, value: Any, *_: Any) -> int:
        """The position of an episode, given its name or its position."""
        if isinstance(value, str) and read_seed(value) in self._seeds:
            return self._seeds.index(read_seed(value))
        if isinstance(value, str):
            first, last = self._seeds[0], self._seeds[-1]
            raise DataNotFoundError(
                f"no episode here is named {value!r}: they are 'seed {first}' to 'seed {last}'"
            )
        return super().index(value)


class GamesApart(NamedGames[Any]):
    """The games of a list that is not divided by itself: every fifth is of ``test``, every tenth of ``dev``."""

    def __init__(self, games: Any, split: str) -> None:
        self._games, self._total = games, len(games.names)
        self._chosen = [position for position in range(self._total) if _split_of(position) == split]
        self.made_on_demand = getattr(games, "made_on_demand", True)
        if not self._chosen:
            raise DataNotFoundError(
                f"{self._total} games are too few to keep some for {split}: play all of them with --split all"
            )
        self.names = [games.names[position] for position in self._chosen]

    def __getitem__(self, position: Any) -> Any:
        return self._games[self._chosen[position]]

    def describe(self) -> str:
        """How many of how many."""
        return f"{len(self)} of the environment's {self._total} games"


def _split_of(position: int) -> str:
    return "test" if position % 5 == 4 else "dev" if position % 10 == 3 else "train"


def name_seed(seed: int) -> str:
    """What the episode of a seed is called where its environment has no other name for it."""
    return f"seed {seed}"


def read_seed(name: str) -> int:
    """The seed of the episode that :func:`name_seed` named.

    Raises:
        DataNotFoundError: it is no such name.
    """
    word, _, digits = name.partition(" ")
    if word != "seed" or not digits.isdecimal() or len(digits) > 18:
        raise DataNotFoundError(f"no episode is named {name!r}: without a list of games they are 'seed N'")
    return int(digits)


def describe_split(games: Any) -> str:
    """Which episodes these are, in words, where they are known by their seeds or by their places in a list."""
    if isinstance(games, SeedGames):
        return f"seeds {games[0]:,} to {games[len(games) - 1]:,}"
    if isinstance(games, GamesApart):
        return games.describe()
    return ""


def takes_option(spec: Any, name: str) -> bool:
    """Whether what makes an environment has an argument of that name; what is passed on unseen does not count."""
    creator = spec.entry_point
    creator = load_env_creator(creator) if isinstance(creator, str) else creator
    return name in signature(creator).parameters


class ForeignEnv(gym.Wrapper):
    """Any text environment as this project's agents play it.

    Adds ``games``; ``reset(options={"game": name_or_position})`` for episodes that are known by their seeds alone;
    ``info["game"]`` and ``info["action_space"]``; and snapshots, :meth:`clone_state` and :meth:`restore_state`, for
    environments without their own: copies of it, or where it cannot be copied its actions played again from its seed.
    Where its ``reset`` or ``step`` raises, that is an :class:`~oreo_envs.errors.EpisodeError`; the next ``reset`` may
    go well.

    Args:
        env: observations and actions are texts.
        split: of the seeds, or of a list of games that is not divided: a key of :data:`SEEDS`.

    Raises:
        ConfigurationError: observations or actions are no text, or the games that it lists have no names.
        DataNotFoundError: there are too few games to be divided.
    """

    def __init__(self, env: gym.Env[str, str], split: str = "all") -> None:
        super().__init__(env)
        if isinstance(env.action_space, Box | Discrete | MultiBinary | MultiDiscrete):
            raise ConfigurationError(
                f"{_name_class(env)} takes actions of {type(env.action_space).__name__}, not text: choose a text "
                "environment, or wrap it in one (gymnasium.ActionWrapper) that understands words"
            )
        own = getattr(env.unwrapped, "games", None)
        if own is not None and not hasattr(own, "names"):
            raise ConfigurationError(
                f"{_name_class(env)} has games without names: give them names, one text a game, or leave games out"
            )
        self.games: Any = (
            SeedGames(split) if own is None else own if split == "all" else GamesApart(own, split)
        )
        self._drawn = np.random.default_rng()
        self._name = ""
        self._opening: tuple[int | None, dict[str, Any] | None] = None, None
        self._actions: list[str] = []
        self._copies: bool | None = None

    @property
    def spec(self) -> Any:
        """The environment's: this wrapper says nothing of the games."""
        return self.env.spec

    @spec.setter
    def spec(self, value: Any) -> None:
        self.env.unwrapped.spec = value

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode: that of ``options["game"]``, or of ``seed``.

        Raises:
            ConfigurationError: the observation is no text.
            EpisodeError: the environment's code has failed.
        """
        options = dict(options or {})
        if (game := options.pop("game", None)) is not None:
            if not isinstance(self.games, SeedGames):
                options["game"] = game if isinstance(game, str) else self.games.names[game]
            else:
                seed = read_seed(game) if isinstance(game, str) else self.games[self.games.index(game)]
        if seed is None:
            seed = int(self._drawn.integers(2**31))
        self._opening, self._actions = (seed, options or None), []
        self._name = name_seed(seed)
        with self._blaming("reset", "observation, info"):
            observation, info = self.env.reset(seed=seed, options=options or None)
            info = self._complete(info)
        if not isinstance(observation, str):
            raise ConfigurationError(
                f"{_name_class(self.env)} answers with {type(observation).__name__}, not with text: "
                "choose a text environment, or wrap it in one that puts its observations into words"
            )
        return observation, info

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """As the environment's; EpisodeError where its code has failed."""
        self._actions.append(action)
        with self._blaming("step", "observation, reward, terminated, truncated, info"):
            observation, reward, terminated, truncated, info = self.env.step(action)
            info = self._complete(info)
        return observation, reward, terminated, truncated, info

    def clone_state(self) -> Any:
        """A snapshot of the episode."""
        kept = self._opening, tuple(self._actions), self._name
        if self._copies is None:
            self._copies = _can_be_copied(self.env)
        return kept, copy.deepcopy(self.env) if self._copies else None

    def restore_state(self, state: Any) -> None:
        """Go back to a snapshot; it can be used again."""
        (self._opening, actions, self._name), snapshot = state
        self._actions = list(actions)
        if snapshot is not None:
            self.env = copy.deepcopy(snapshot)
        else:
            seed, options = self._opening
            with self._blaming("reset or step", "the usual values"):
                self.env.reset(seed=seed, options=options)
                for action in actions:
                    self.env.step(action)

    @contextmanager
    def _blaming(self, asked: str, answer: str) -> Iterator[None]:
        """Turn what the environment's code raises into an EpisodeError that says where."""
        try:
            yield
        except OreoError:
            raise
        except Exception as error:
            place = _find_place(error, self.env)
            said = f"{type(error).__name__}: {error}".removesuffix(": ")
            if place is None and isinstance(error, TypeError | ValueError):
                cause = f"its {asked} has to return {answer} ({said})"
            else:
                cause = f"its {asked} raised {said}{f' ({place})' if place else ''}"
            step = f", step {len(self._actions)}" if self._actions else ""
            spec = self.env.unwrapped.spec
            name = spec.id if spec else _name_class(self.env)
            episode = (self._opening[1] or {}).get("game", self._name)
            failed = EpisodeError(f"{name}, {episode}{step}: {cause}")
            failed.cause = cause
            raise failed from error

    def _complete(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"game": self._name, **info, "action_space": self.env.action_space}


def _can_be_copied(env: Any) -> bool:
    try:
        copy.deepcopy(env)
    except Exception:
        return False
    return True


def _find_place(error: Exception, env: gym.Env) -> str | None:
    """The last line of the environment's own package that an error came through; None: of none."""
    layers: list[Any] = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    own = {type(layer).__module__.partition(".")[0] for layer in layers} - {"gymnasium"}
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] in own:
            found = f"{os.path.basename(frame.f_code.co_filename)}, line {line}, in {frame.f_code.co_name}"
    return found


def _name_class(env: gym.Env) -> str:
    return type(env.unwrapped).__name__
