"""Environments of other people's, with what this project counts on: episodes by name, snapshots, a way to be random.

An environment that has a list of games keeps it (``games``, a sequence with ``names``, one of which ``reset`` takes as
``options["game"]``). One that has none plays an episode for each seed, and the episode is named after it: what an
episode is called is what was asked for, and never what the environment says of it. Knows nothing about agents.
"""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit

from oreo_envs.errors import ConfigurationError, DataNotFoundError, EpisodeError, OreoError
from oreo_envs.infos import read_success, read_texts
from oreo_envs.named_games import NamedGames

MILLION = 1_000_000
SEEDS = {
    "train": range(MILLION),
    "dev": range(MILLION, 2 * MILLION),
    "test": range(2 * MILLION, 3 * MILLION),
    "all": range(3 * MILLION),
}
"""The seeds of each split: those to learn on are never judged on."""

_WORDLESS = (
    spaces.Box,
    spaces.Dict,
    spaces.Discrete,
    spaces.Graph,
    spaces.MultiBinary,
    spaces.MultiDiscrete,
    spaces.OneOf,
    spaces.Sequence,
    spaces.Tuple,
)
"""Of Gymnasium's spaces all but that of texts; one of the environment's own may have texts."""

_COUNTING = (OrderEnforcing, PassiveEnvChecker, TimeLimit)
"""The wrappers that ``gym.make`` adds: what they know of an episode are flags and counts among their attributes."""


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


class ListedGames(NamedGames[Any]):
    """The games of an environment's list, known by their names, as nobody knows what else tells one from another.

    A list that is not divided by itself is divided here: every fifth is of ``test``, every tenth of ``dev``.
    """

    def __init__(self, games: Any, split: str) -> None:
        self._games, self._total = games, len(games.names)
        every = range(self._total)
        self._chosen: Sequence[int] = (
            every if split == "all" else [position for position in every if _split_of(position) == split]
        )
        self.made_on_demand = getattr(games, "made_on_demand", True)
        if self._total and not self._chosen:
            raise DataNotFoundError(
                f"{self._total} games are too few to keep some for {split}: play all of them with --split all"
            )
        self.names = [games.names[position] for position in self._chosen]
        if not all(isinstance(name, str) for name in self.names):
            raise ConfigurationError("games have to be named by texts: give games.names one text a game")

    def __getitem__(self, position: Any) -> Any:
        return self._games[self._chosen[position]]

    def text(self, position: int) -> str:
        """What stands for a game in a hash: an object of somebody else's may print as its address."""
        return self.names[position]

    def describe(self) -> str:
        """How many of how many, where these are not all."""
        return f"{len(self)} of the environment's {self._total} games" if len(self) < self._total else ""


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
    if not names_seed(name):
        raise DataNotFoundError(f"no episode is named {name!r}: without a list of games they are 'seed N'")
    return int(name.partition(" ")[2])


def names_seed(name: str) -> bool:
    """Whether it is a name that :func:`name_seed` gives."""
    word, _, digits = name.partition(" ")
    return word == "seed" and digits.isdecimal() and len(digits) <= 18


def describe_split(games: Any) -> str:
    """Which episodes these are, in words, where they are known by their seeds or by their places in a list."""
    if isinstance(games, SeedGames):
        return f"seeds {games[0]:,} to {games[len(games) - 1]:,}"
    if isinstance(games, ListedGames):
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
    ``info["game"]``, what the episode is called, and ``info["action_space"]``; and snapshots, :meth:`clone_state` and
    :meth:`restore_state`. Commands and plans become lists of texts, and ``won`` True or False. Where its ``reset`` or
    ``step`` raises, or its info has something else, that is an :class:`~oreo_envs.errors.EpisodeError`; the next
    ``reset`` may go well.

    Args:
        env: observations and actions are texts.
        split: of the seeds, or of a list of games that is not divided: a key of :data:`SEEDS`.

    Raises:
        ConfigurationError: observations or actions are no text, or the games that it lists have no names.
        DataNotFoundError: there are too few games to be divided.
    """

    def __init__(self, env: gym.Env[str, str], split: str = "all") -> None:
        super().__init__(env)
        if isinstance(env.action_space, _WORDLESS):
            raise ConfigurationError(
                f"{_name_class(env)} takes actions of {type(env.action_space).__name__}, not text: choose a text "
                "environment, or wrap it in one (gymnasium.ActionWrapper) that understands words"
            )
        own = getattr(env.unwrapped, "games", None)
        if own is not None and not hasattr(own, "names"):
            raise ConfigurationError(
                f"{_name_class(env)} has games without names: give them names, one text a game, or leave games out"
            )
        self.games: NamedGames[Any] = SeedGames(split) if own is None else ListedGames(own, split)
        self._drawn = np.random.default_rng()
        self._name = ""
        self._opening: tuple[int | None, dict[str, Any] | None] = None, None
        self._actions: list[str] = []
        self._by_copies: bool | None = None

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
        """Begin an episode: that of ``options["game"]``, or of ``seed``, which chooses a game where there is a list.

        Raises:
            ConfigurationError: the observation is no text.
            EpisodeError: the environment's code has failed.
        """
        options = dict(options or {})
        game = options.pop("game", None)
        if isinstance(self.games, SeedGames) and game is not None:
            seed = read_seed(game) if isinstance(game, str) else self.games[self.games.index(game)]
        if seed is None:
            seed = int(self._drawn.integers(2**31))
        if isinstance(self.games, SeedGames):
            self._name = name_seed(seed)
        else:
            if game is None:
                game = int(np.random.default_rng(seed).integers(len(self.games)))
            self._name = game if isinstance(game, str) else self.games.names[self.games.index(game)]
            options["game"] = self._name
        self._opening, self._actions = (seed, options or None), []
        with self._blaming("reset", "observation, info"):
            observation, info = self.env.reset(seed=seed, options=options or None)
            told = dict(info)
        told = self._complete(told)
        if not isinstance(observation, str):
            raise ConfigurationError(
                f"{_name_class(self.env)} answers with {type(observation).__name__}, not with text: "
                "choose a text environment, or wrap it in one that puts its observations into words"
            )
        return observation, told

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """As the environment's; EpisodeError where its code has failed."""
        self._actions.append(action)
        with self._blaming("step", "observation, reward, terminated, truncated, info"):
            observation, reward, terminated, truncated, info = self.env.step(action)
            told = dict(info)
        return observation, reward, terminated, truncated, self._complete(told)

    def clone_state(self) -> Any:
        """A snapshot of the episode: by the environment's own ``clone_state()`` where nothing but ``gym.make`` has put
        wrappers around it, else a copy of it all. Where it cannot be copied, or has snapshots of its own, and may so
        know of a state that copies would share, it is all that was done since the reset.

        Raises:
            EpisodeError: the environment's code has failed.
        """
        kept, own = (self._opening, tuple(self._actions), self._name), self.env.unwrapped
        layers = list_layers(self.env)[:-1]
        if _keeps_snapshots(own):
            if not all(type(layer) in _COUNTING for layer in layers):
                return kept, None
            counts = [{name: x for name, x in vars(layer).items() if name != "env"} for layer in layers]
            with self._blaming("clone_state", "a snapshot"):
                return kept, (own.clone_state(), counts)  # type: ignore[attr-defined]
        if self._by_copies is None:
            self._by_copies = _can_be_copied(self.env)
        return kept, copy.deepcopy(self.env) if self._by_copies else None

    def restore_state(self, state: Any) -> None:
        """Go back to a snapshot; it can be used again.

        Raises:
            EpisodeError: the environment's code has failed.
        """
        (self._opening, actions, self._name), snapshot = state
        self._actions = list(actions)
        if isinstance(snapshot, gym.Env):
            self.env = copy.deepcopy(snapshot)
        elif snapshot is not None:
            inner, counts = snapshot
            with self._blaming("restore_state", "nothing"):
                self.env.unwrapped.restore_state(inner)  # type: ignore[attr-defined]
            for layer, counted in zip(list_layers(self.env), counts, strict=False):
                vars(layer).update(counted)
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
            place = find_place(error, list_packages(self.env))
            said = describe_error(error)
            if place is None and isinstance(error, TypeError | ValueError):
                cause = f"its {asked} has to return {answer} ({said})"
            else:
                cause = f"its {asked} raised {said}{f' ({place})' if place else ''}"
            raise self._make_error(cause) from error

    def _make_error(self, cause: str) -> EpisodeError:
        spec = self.env.unwrapped.spec
        env_id = spec.id if spec else _name_class(self.env)
        return EpisodeError.at(env_id, self._name, None, len(self._actions), cause)

    def _complete(self, info: dict[str, Any]) -> dict[str, Any]:
        """An info in the form that everybody counts on."""
        try:
            told = {key: read_texts(info, key) for key in ("admissible_commands", "expert_plan")}
            known = {**told, "won": read_success(info)}
        except ValueError as error:
            raise self._make_error(str(error)) from error
        for key, value in known.items():
            if value is not None:
                info[key] = value
            else:
                info.pop(key, None)
        return {**info, "game": self._name, "action_space": self.env.action_space}


def list_layers(env: gym.Env) -> list[gym.Env]:
    """An environment's wrappers, the outermost first, and itself."""
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def list_packages(env: gym.Env) -> set[str]:
    """The packages whose code an environment and its wrappers are."""
    return {type(layer).__module__.partition(".")[0] for layer in list_layers(env)} - {"gymnasium"}


def find_place(error: BaseException, packages: Container[str]) -> str | None:
    """The last line of some packages that an error came through, or that could not be read; None: of none."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] in packages:
            found = f"{os.path.basename(frame.f_code.co_filename)}, line {line}, in {frame.f_code.co_name}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{os.path.basename(error.filename)}, line {error.lineno}"
    return found


def describe_error(error: BaseException) -> str:
    """What was raised: ``KeyError: 'a'``."""
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {said}".removesuffix(": ")


def _keeps_snapshots(env: gym.Env) -> bool:
    return hasattr(env, "clone_state") and hasattr(env, "restore_state")


def _can_be_copied(env: Any) -> bool:
    try:
        copy.deepcopy(env)
    except Exception:
        return False
    return True


def _name_class(env: gym.Env) -> str:
    return type(env.unwrapped).__name__
