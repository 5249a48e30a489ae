"""Alfworld's names where alfworld or TextWorld is not installed: its environment, with games and batches of our own."""

from __future__ import annotations

import argparse
import copy
import importlib.abc
import importlib.machinery
import io
import json
import os
import random
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import numpy as np

from oreo_envs.alfworld.drop_in.collection import collect_game_files
from oreo_envs.alfworld.drop_in.play import LoadedGame, Play, load_game
from oreo_envs.alfworld.drop_in.usage import PLAN_NOTICE, USAGE, time_calls
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.places import data_root
from oreo_envs.errors import GameFileError, UnsupportedGameError

EXTENDED = re.compile(r"thor|hybrid|vision|agents\.(agent|controller|detector|eval|modules)\b", re.IGNORECASE)
"""What of alfworld takes more than its plain installation."""
EMBODIED = ("AlfredThorEnv", "AlfredHybrid")
PLAN = "extra.expert_plan"


def name_missing(what: str) -> str:
    """A sentence that says what something of alfworld's takes, which is not here."""
    package = "'alfworld[full]'" if EXTENDED.search(what) else "alfworld"
    return (
        f"{what} takes alfworld and TextWorld: pip install {package} (Python below 3.13, a C compiler); without them "
        "oreo_envs.alfworld.drop_in has AlfredTWEnv, get_environment and load_config"
    )


class AlfredTWEnv:
    """Alfworld's environment over its configuration, as far as that goes without TextWorld.

    Args:
        config: alfworld's configuration.
        train_eval: ``train``, ``eval_in_distribution`` or ``eval_out_of_distribution``.
    """

    def __init__(self, config: Mapping[str, Any], train_eval: str = "train") -> None:
        print("Initializing AlfredTWEnv...")
        self.config, self.train_eval = config, train_eval
        self.game_files: list[str] = []
        self.num_games = 0
        if config["env"]["goal_desc_human_anns_prob"] > 0:
            print(
                "Warning! Changing `goal_desc_human_anns_prob` should be done with the script `alfworld-generate`. "
                "Ignoring it and loading games as they are."
            )
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
        """An environment that plays the games in turn, ``batch_size`` at a time.

        Raises:
            NotImplementedError: a training method that alfworld does not have.
            ValueError: an expert that it does not have.
        """
        method = self.config["general"]["training_method"]
        if method not in ("dqn", "dagger"):
            raise NotImplementedError
        part = "rl" if method == "dqn" else "dagger"
        limit = self.config[part]["training"]["max_nb_steps_per_episode"]
        training = self.train_eval == "train"
        expert = self.config["env"]["expert_type"] if training and method == "dagger" else None
        if expert not in (None, "handcoded", "planner"):
            raise ValueError(
                f"Unknown type of AlfredExpert: {expert}.\nExpecting either 'handcoded' or 'planner'."
            )
        shuffle = training and self.config["env"]["domain_randomization"]
        return GameBatch(self.game_files, batch_size, limit, expert, shuffle)


def _read_if_there(path: str) -> str:
    return Path(path).read_text() if os.path.exists(path) else ""


class GameBatch:
    """A pool of games played in batches, as ``textworld.gym`` does.

    Args:
        gamefiles: paths of the pool.
        batch_size: games at a time.
        max_episode_steps: commands until a game is over, if there is a limit.
        expert: alfworld's name of the expert that infos tell the plans of. The planner is our own; of the handcoded
            one, infos say what it takes when they are asked for its plan.
        shuffle: whether numbers of things are drawn at random.
    """

    def __init__(
        self,
        gamefiles: Sequence[str],
        batch_size: int,
        max_episode_steps: int | None,
        expert: str | None = None,
        shuffle: bool = False,
    ) -> None:
        self.gamefiles, self.batch_size, self.max_episode_steps = gamefiles, batch_size, max_episode_steps
        self._expert = expert
        self._draw_order: Callable[[list[str]], None] | None = None
        if shuffle:  # a batch of one is played in the program's process, and draws from its random numbers
            self._draw_order = random.shuffle if batch_size == 1 else random.Random().shuffle
        self._games: list[_PlayedGame] = []
        if expert == "planner":
            USAGE.say_once(PLAN_NOTICE)
        elif expert is not None:
            USAGE.say_once(f"infos have no {PLAN} and no facts here: {name_missing('the handcoded expert')}")
        self.seed(1234)

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Begin the order of games again, from a seed."""
        self._pool = list(self.gamefiles)
        self._order = _draw_games(self._pool, np.random.RandomState(seed))
        return [seed]

    def skip(self, nb_games: int = 1) -> None:
        """Leave games out.

        Raises:
            FileNotFoundError: the pool is empty.
        """
        for _ in range(nb_games):
            self._draw_game()

    @time_calls
    def reset(self) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
        """Begin the next games of the pool.

        Raises:
            FileNotFoundError: the pool is empty, or a game is not there.
            UnsupportedGameError: a game by other rules than ALFWorld's.
            ValueError, KeyError, GameFileError: a damaged game file.
        """
        for game in self._games:
            USAGE.end_episode(game)
        files = [self._draw_game() for _ in range(self.batch_size)]
        self._games = [_PlayedGame(file, self._expert, self._draw_order) for file in files]
        self.last_commands: Sequence[str | None] = [None] * self.batch_size
        self._last = [(game.feedback, 0, False, game.infos(game.file)) for game in self._games]
        obs, _, _, infos = zip(*self._last, strict=True)
        self.obs = obs
        return obs, self._join_infos(infos)

    @time_calls
    def step(
        self, commands: Sequence[str]
    ) -> tuple[tuple[str, ...], tuple[int, ...], tuple[bool, ...], dict[str, list[Any]]]:
        """Carry out a command in each game; one that is over repeats what it has said last."""
        assert isinstance(commands, (list, tuple)), "Expected a list of commands."
        alone = self.batch_size == 1 and commands  # as in TextWorld, which then looks at the first one
        assert alone or len(commands) == self.batch_size, "Expected one action per environment."
        self.last_commands = commands
        for i, (game, command) in enumerate(zip(self._games, commands, strict=False)):
            if not self._last[i][2]:
                self._last[i] = game.step(command, self.max_episode_steps)
        obs, scores, dones, infos = zip(*self._last, strict=True)
        self.obs = obs
        return obs, scores, dones, self._join_infos(infos)

    def render(self, mode: str = "human") -> io.StringIO | str | None:
        """The last commands and what was said: printed ("human"), returned ("text") or in a file ("ansi")."""
        color = mode in ("human", "ansi") and "NO_COLOR" not in os.environ and sys.stdout.isatty()
        shown = []
        for command, observation in zip(self.last_commands, self.obs, strict=False):
            text = observation.rstrip() + "\n"
            if command is not None:
                text = (f"\033[33m> {command}\033[0m\n" if color else f"> {command}\n") + text
            if mode == "human":
                text = "\n".join("\n".join(textwrap.wrap(line, width=80)) for line in text.split("\n"))
            shown.append(text)
        file = io.StringIO() if mode in ("text", "ansi") else sys.stdout
        file.write("\n-----\n".join(shown) + "\n")
        if mode == "text":
            return cast(io.StringIO, file).getvalue()
        return cast(io.StringIO, file) if mode == "ansi" else None

    def close(self) -> None:
        """Nothing is open."""

    def _draw_game(self) -> str:
        if not self._pool:
            raise FileNotFoundError(
                "there are no games in the pool: see the folders in the configuration's dataset section"
            )
        return next(self._order)

    def _join_infos(self, infos: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        joined = {key: [info[key] for info in infos] for key in infos[0]}
        return _InfosWithoutExpert(joined) if self._expert == "handcoded" else joined


class _InfosWithoutExpert(dict[str, list[Any]]):
    """Infos that know what is missing from them."""

    def __missing__(self, key: str) -> NoReturn:
        if key in (PLAN, "facts"):
            raise ImportError(name_missing(f"infos[{key!r}], the handcoded expert,"))
        raise KeyError(key)


def _draw_games(files: list[str], rng: np.random.RandomState) -> Iterator[str]:
    while True:
        rng.shuffle(files)
        yield from files


class _PlayedGame:
    """A game of a batch while it is played."""

    def __init__(self, file: str, expert: str | None, draw_order: Callable[[list[str]], None] | None) -> None:
        self.file, self.steps = file, 0
        self._planned = expert == "planner"
        loaded = _load_file(file)
        self.play = Play(loaded, _draw_names(loaded, draw_order) if draw_order else loaded.names)
        USAGE.begin_episode(self, self.play)

    @property
    def feedback(self) -> str:
        return self.play.feedback

    def step(self, command: str, limit: int | None) -> tuple[str, int, bool, dict[str, Any]]:
        self.play.step(command)
        self.steps += 1
        USAGE.add_step(self, command, self.play)
        done = self.play.won or bool(limit and self.steps >= limit)
        if done:
            USAGE.end_episode(self, truncated=True)
        return self.feedback, int(self.play.won), done, self.infos()

    def infos(self, file: str | None = None) -> dict[str, Any]:
        """Alfworld tells the game's file at its start alone."""
        told = {"won": self.play.won, "admissible_commands": self.play.admissible_commands}
        if self._planned:
            told["policy_commands"] = told[PLAN] = self.play.plan
        told["extra.gamefile"] = file
        return told


def _load_file(file: str) -> LoadedGame:
    """A game; where its file is damaged, the errors are those that TextWorld raises, as far as they can be known."""
    try:
        return load_game(file, USAGE.wording)
    except UnsupportedGameError as error:
        error.add_note(name_missing("such a game"))
        raise
    except GameFileError as error:
        try:
            content = json.loads(Path(file).read_text())
            _ = content["pddl_domain"], content["grammar"], content["pddl_problem"]
        except Exception as theirs:
            theirs.add_note(str(error))
            raise theirs from None
        raise


def _draw_names(loaded: LoadedGame, draw_order: Callable[[list[str]], None]) -> dict[str, str]:
    """Names as alfworld's Demangler draws them, from the same random numbers."""
    names, ids = loaded.names, sorted(loaded.entities)
    draw_order(ids)
    left: dict[str, list[str]] = {}
    for id in sorted(names):
        left.setdefault(_cut_number(names[id]), []).append(names[id])
    return {id: left[_cut_number(names[id])].pop(0) for id in ids if id in names}


def _cut_number(name: str) -> str:
    return name.rpartition(" ")[0]


def get_environment(env_type: str) -> type[AlfredTWEnv]:
    """Alfworld's environment of a name.

    Raises:
        ImportError: it takes alfworld.
        NotImplementedError: alfworld has none of that name.
    """
    if env_type == "AlfredTWEnv":
        return AlfredTWEnv
    if env_type in EMBODIED:
        raise ImportError(name_missing(env_type))
    raise NotImplementedError(f"Environment {env_type} is not implemented.")


def load_config() -> Any:
    """The configuration that the command line names, with what ``-p`` changes, as alfworld's own function has it."""
    import yaml

    parser = argparse.ArgumentParser()
    parser.add_argument("config_file", help="path to config file")
    parser.add_argument("-p", "--params", nargs="+", metavar="my.setting=value", default=[])
    args = parser.parse_args()
    assert os.path.exists(args.config_file), "Invalid config file"
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
    "alfworld.info": {},
}


class StandIns(importlib.abc.MetaPathFinder):
    """Modules under alfworld's names; the others of alfworld's, and TextWorld, say what they take."""

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
        self._root = None if "ALFWORLD_DATA" in os.environ else str(data_root())
        if self._root is not None:
            os.environ["ALFWORLD_DATA"] = self._root
        for name in ("alfworld", "alfworld.info"):
            vars(self._modules[name])["ALFWORLD_DATA"] = os.environ["ALFWORLD_DATA"]

    def take_out(self) -> None:
        """Take the names away, and the setting."""
        sys.meta_path.remove(self)
        for name, module in self._before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
        if self._root is not None and os.environ.get("ALFWORLD_DATA") == self._root:
            del os.environ["ALFWORLD_DATA"]

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> None:
        """Say what a module takes that nobody has found."""
        if name == "textworld":
            raise ModuleNotFoundError(name_missing("a program that uses TextWorld itself"), name=name)
        if name.startswith(
            "alfworld."
        ):  # an error about the module itself would not get through `from ... import`
            raise ModuleNotFoundError(name_missing(name), name="alfworld")


def _make_module(name: str, content: Mapping[str, Any]) -> ModuleType:
    """A module; as a package, it has the finders asked for whatever is imported from it and not there."""

    def find_missing(attribute: str) -> NoReturn:
        special = attribute.startswith("__")
        raise AttributeError(attribute if special else name_missing(f"{name}.{attribute}"))

    module = ModuleType(name, "Stands in for alfworld's module, which is not installed.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    vars(module).update(copy.copy(content), __path__=[], __getattr__=find_missing)
    return module
