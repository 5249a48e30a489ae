"""Alfworld's names where alfworld or TextWorld is not installed: its environment, with games and batches of our own."""

from __future__ import annotations

import argparse
import copy
import importlib.abc
import os
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from oreo_envs.alfworld.drop_in.collection import collect_game_files
from oreo_envs.alfworld.drop_in.play import LoadedGame, Play, load_game
from oreo_envs.alfworld.drop_in.session import SESSION
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.places import data_root

MISSING = (
    "{} takes alfworld and TextWorld: pip install alfworld (Python below 3.13, a C compiler); without them "
    "oreo_envs.alfworld.drop_in has AlfredTWEnv alone"
)


class AlfredTWEnv:
    """Alfworld's environment over its configuration, as far as that goes without TextWorld.

    The expert type ``planner`` is one here; alfworld 0.4 gives its handcoded expert under that name, too.

    Args:
        config: alfworld's configuration.
        train_eval: ``train``, ``eval_in_distribution`` or ``eval_out_of_distribution``.
    """

    def __init__(self, config: Mapping[str, Any], train_eval: str = "train") -> None:
        print("Initializing AlfredTWEnv...")
        self.config, self.train_eval = config, train_eval
        self.game_files: list[str] = []
        self.num_games = 0
        self.collect_game_files()

    def collect_game_files(self, verbose: bool = False) -> None:
        """Find the games of the configuration."""
        collect_game_files(self, verbose)

    def get_game_logic(self) -> None:
        """Read the files that the configuration names, if they are there: every game has its own."""
        logic = self.config.get("logic", {})
        paths = {"pddl_domain": logic.get("domain", ""), "grammar": logic.get("grammar", "")}
        self.game_logic = {key: _read_if_there(os.path.expandvars(path)) for key, path in paths.items()}

    def init_env(self, batch_size: int) -> GameBatch:
        """An environment that plays the games in turn, ``batch_size`` at a time."""
        method = self.config["general"]["training_method"]
        if method not in ("dqn", "dagger"):
            raise NotImplementedError
        part = "rl" if method == "dqn" else "dagger"
        limit = self.config[part]["training"]["max_nb_steps_per_episode"]
        training = self.train_eval == "train"
        planned = method == "dagger" and training
        if planned and self.config["env"]["expert_type"] != "planner":
            raise ImportError(MISSING.format("the handcoded expert"))
        shuffle = training and self.config["env"]["domain_randomization"]
        return GameBatch(self.game_files, batch_size, limit, planned, shuffle)


def _read_if_there(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ""


class GameBatch:
    """A pool of games played in batches, as ``textworld.gym`` does.

    Args:
        gamefiles: paths of the pool.
        batch_size: games at a time.
        max_episode_steps: commands until a game is over.
        planned: whether infos have ``extra.expert_plan``.
        shuffle: whether numbers of things are drawn at random.
    """

    def __init__(
        self,
        gamefiles: Sequence[str],
        batch_size: int,
        max_episode_steps: int,
        planned: bool = False,
        shuffle: bool = False,
    ) -> None:
        self.gamefiles, self.batch_size = gamefiles, batch_size
        self.max_episode_steps, self.planned, self.shuffle = max_episode_steps, planned, shuffle
        self.seed(1234)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Begin the order of games again, from a seed."""
        self._order = _draw_games(list(self.gamefiles), np.random.RandomState(seed))
        return [seed]

    def skip(self, nb_games: int = 1) -> None:
        """Leave games out."""
        for _ in range(nb_games):
            next(self._order)

    def reset(self) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
        """Begin the next games of the pool."""
        if not self.gamefiles:
            raise FileNotFoundError("there are no games in the pool: see the configuration's dataset paths")
        files = [next(self._order) for _ in range(self.batch_size)]
        self._games = [_Game(file, self.planned, self.shuffle) for file in files]
        self.last_commands: Sequence[str | None] = [None] * self.batch_size
        self._last = [(game.feedback, 0, False, game.infos(game.file)) for game in self._games]
        obs, _, _, infos = zip(*self._last, strict=True)
        self.obs = obs
        return obs, _join_infos(infos)

    def step(
        self, commands: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...], dict[str, list[Any]]]:
        """Carry out a command in each game; one that is over repeats what it has said last."""
        assert isinstance(commands, (list, tuple)), "Expected a list of commands."
        assert len(commands) == len(self._games), "Expected one action per environment."
        self.last_commands = commands
        for i, (game, command) in enumerate(zip(self._games, commands, strict=True)):
            if not self._last[i][2]:
                self._last[i] = game.step(command, self.max_episode_steps)
        obs, scores, dones, infos = zip(*self._last, strict=True)
        self.obs = obs
        return obs, scores, dones, _join_infos(infos)

    def render(self, mode: str = "human") -> str | None:
        """The last commands and what was said, printed or, in the modes "text" and "ansi", returned."""
        said = [
            (f"> {command}\n" if command is not None else "") + observation.rstrip() + "\n"
            for command, observation in zip(self.last_commands, self.obs, strict=True)
        ]
        text = "\n-----\n".join(said) + "\n"
        if mode == "human":
            print(text, end="")
            return None
        return text

    def close(self) -> None:
        """Nothing is open."""


def _draw_games(files: list[str], rng: np.random.RandomState) -> Iterator[str]:
    while True:
        rng.shuffle(files)
        yield from list(files)


def _join_infos(infos: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [info[key] for info in infos] for key in infos[0]}


class _Game:
    def __init__(self, file: str, planned: bool, shuffle: bool) -> None:
        self.file, self.planned, self.steps = file, planned, 0
        loaded = load_game(file, SESSION.wording)
        self.play = Play(loaded, _name_things(loaded, shuffle))
        SESSION.begin_episode(self, self.play)

    @property
    def feedback(self) -> str:
        return self.play.feedback

    def step(self, command: str, limit: int) -> tuple[str, int, bool, dict[str, Any]]:
        self.play.step(command)
        self.steps += 1
        SESSION.add_step(self, command, self.play)
        done = self.play.won or self.steps >= limit
        if done:
            SESSION.end_episode(self, truncated=True)
        return self.feedback, int(self.play.won), done, self.infos()

    def infos(self, file: str | None = None) -> dict[str, Any]:
        """What alfworld's environment tells; the file when the game begins, and None from then on."""
        told = {"won": self.play.won, "admissible_commands": self.play.admissible_commands}
        told["extra.gamefile"] = file
        if self.planned:
            told["extra.expert_plan"] = self.play.plan
        return told


def _name_things(loaded: LoadedGame, shuffle: bool) -> dict[str, str]:
    """As alfworld's Demangler names things."""
    names = loaded.names
    if not shuffle:
        return names
    ids = sorted(names)
    random.shuffle(ids)
    numbers: dict[str, list[str]] = {}
    for id in sorted(names):
        numbers.setdefault(names[id].rsplit(" ", 1)[0], []).append(names[id])
    return {id: numbers[names[id].rsplit(" ", 1)[0]].pop() for id in ids}


def get_environment(env_type: str) -> type[AlfredTWEnv]:
    """Alfworld's environment of a name."""
    if env_type == "AlfredTWEnv":
        return AlfredTWEnv
    raise ImportError(MISSING.format(env_type))


def load_config() -> Any:
    """The configuration that the command line names, with what ``-p`` changes, as alfworld's own function has it."""
    import yaml

    parser = argparse.ArgumentParser()
    parser.add_argument("config_file", help="path to config file")
    parser.add_argument("-p", "--params", nargs="+", metavar="my.setting=value", default=[])
    args = parser.parse_args()
    with open(args.config_file) as file:
        config = yaml.safe_load(file)
    for param in args.params:
        name, value = param.split("=")
        *parts, last = name.split(".")
        setting = config
        for part in parts:
            setting = setting[part]
        setting[last] = value
    return config


def _find_missing(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ImportError(MISSING.format(name))


_CONTENT: dict[str, dict[str, Any]] = {
    "alfworld": {},
    "alfworld.agents": {},
    "alfworld.agents.environment": {"AlfredTWEnv": AlfredTWEnv, "get_environment": get_environment},
    "alfworld.agents.environment.alfred_tw_env": {
        "AlfredTWEnv": AlfredTWEnv,
        "TASK_TYPES": dict(enumerate(TASK_TYPES, start=1)),
    },
    "alfworld.agents.modules": {},
    "alfworld.agents.modules.generic": {"load_config": load_config},
}


class StandIns(importlib.abc.MetaPathFinder):
    """Modules under alfworld's names; the others of alfworld's modules say what they take."""

    def __init__(self) -> None:
        self._modules = {name: _make_module(name, content) for name, content in _CONTENT.items()}
        for name, module in self._modules.items():
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(self._modules[parent], child, module)

    def put_in(self) -> None:
        """Let alfworld's names be imported. As alfworld does, this sets ``ALFWORLD_DATA``."""
        self._before = {name: sys.modules.get(name) for name in self._modules}
        sys.modules.update(self._modules)
        sys.meta_path.append(self)
        os.environ.setdefault("ALFWORLD_DATA", str(data_root()))

    def take_out(self) -> None:
        """Take the names away."""
        sys.meta_path.remove(self)
        for name, module in self._before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> None:
        """Say what a module takes that nobody has found."""
        if name.startswith("alfworld."):
            raise ModuleNotFoundError(MISSING.format(name), name=name)


def _make_module(name: str, content: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(name, "Stands in for alfworld's module, which is not installed.")
    vars(module).update(copy.copy(content), __path__=[], __getattr__=_find_missing)
    return module
