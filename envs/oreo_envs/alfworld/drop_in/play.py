"""A game of ALFWorld as TextWorld's engine plays it, without TextWorld: under any names, with all that it tells."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from oreo_envs.alfworld.drop_in.facts import Change, list_changes
from oreo_envs.alfworld.experts.planner import shortest_plan
from oreo_envs.alfworld.game import Game
from oreo_envs.alfworld.game_file import game_name, parse_file, read_game_file
from oreo_envs.alfworld.pddl import PddlProblem
from oreo_envs.alfworld.text import Wording
from oreo_envs.alfworld.world import World

ENV_ID = "OREO-ALFWorld"
"""The environment of this package in which the same games are played."""
KEPT_GAMES = 256
_PUT_DOWN = {"move": "move {o} to {r}", "put": "put {o} in/on {r}"}
_TEMPLATES = (
    "clean {o} with {r}",
    "close {r}",
    "cool {o} with {r}",
    "examine {o}",
    "examine {r}",
    "go to [{r.name | receptacleatlocation(r:receptacle, lend:location)}]",
    "heat {o} with {r}",
    "inventory",
    "look",
    "open {r}",
    "put {outero} in {r}",
    "put {o} into {outero}",
    "slice {co} with {ko}",
    "take {outerr} from {r}",
    "take {o} from {r}",
    "use {o}",
)
"""The commands of ALFWorld's grammars, as their ``template`` lines have them."""


@cache
def list_templates(wording: Wording) -> tuple[str, ...]:
    """The templates of a grammar's commands, sorted."""
    return tuple(sorted([*_TEMPLATES, _PUT_DOWN[wording], *["help"] * (wording == "move")]))


@dataclass(frozen=True, eq=False)
class LoadedGame:
    """A game with what TextWorld tells of it beside what the engine needs."""

    game: Game
    """Under the names that alfworld's Demangler gives."""
    problem: PddlProblem

    @cached_property
    def agent(self) -> str:
        """The id of the agent."""
        return next(id for id, kind in self.problem.kinds.items() if kind == "agent")

    @cached_property
    def names(self) -> dict[str, str]:
        """What alfworld's Demangler calls each thing and each location."""
        game = self.game
        things = {thing.id: thing.name for thing in game.objects}
        places = {place.id: place.name for place in game.receptacles}
        return things | places | dict(zip(game.location_ids, game.location_names, strict=True))

    @cached_property
    def entities(self) -> dict[str, str]:
        """The kind of every id that a fact names."""
        kinds = self.problem.kinds
        return {id: kinds[id] for rows in self.problem.facts.values() for ids in rows for id in ids}


def load_game(
    source: str | os.PathLike[str] | Mapping[str, Any], wording: Wording | None = None
) -> LoadedGame:
    """A game by its file or its content, in its own wording or another one.

    Raises:
        OSError: there is no such file.
        GameFileError: it is damaged; UnsupportedGameError: it is a game by other rules.
    """
    if isinstance(source, Mapping):
        return _word_game(*parse_file(json.dumps(source), "game"), wording)
    status = os.stat(source)
    return _load_file(os.path.abspath(source), wording, status.st_size, status.st_mtime_ns)


@lru_cache(KEPT_GAMES)
def _load_file(path: str, wording: Wording | None, size: int, changed: int) -> LoadedGame:
    file = Path(path)
    return _word_game(*parse_file(read_game_file(file), game_name(file), file), wording)


def _word_game(game: Game, problem: PddlProblem, wording: Wording | None) -> LoadedGame:
    return LoadedGame(game.reword(wording or game.wording), problem)


class Play:
    """A play of a game, from its start.

    Args:
        loaded: the game.
        names: what each id of :attr:`LoadedGame.entities` is called.

    Attributes:
        has_own_names: whether things are called as alfworld's Demangler calls them.
        feedback: what was said last.
        moves: commands that did something.
        changes: facts that these have stated, in order.
    """

    def __init__(self, loaded: LoadedGame, names: Mapping[str, str]) -> None:
        self.loaded = loaded
        self.has_own_names = all(names[id] == name for id, name in loaded.names.items())
        self.world = World(loaded.game if self.has_own_names else loaded.game.rename(names))
        self.feedback = self.world.opening()
        self.moves = 0
        self.changes: list[Change] = []

    def step(self, command: str) -> None:
        """Carry out a command."""
        effect = self.world.find_effect(command.strip())
        if effect is not None:
            self.changes += list_changes(self.world, self.loaded.agent, effect)
            self.moves += 1
        self.feedback = self.world.step(command)

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""
        return self.world.won

    @property
    def admissible_commands(self) -> list[str]:
        """The commands that would do something now, sorted."""
        return self.world.admissible_commands()

    @property
    def info(self) -> dict[str, Any]:
        """What ``OREO-ALFWorld`` tells of this state in its info."""
        world, game = self.world, self.loaded.game
        return {
            "admissible_commands": self.admissible_commands,
            "won": world.won,
            "task": game.task,
            "task_type": game.task_type,
            "game": game.name,
            "action_status": world.action_status,
        }

    @property
    def plan(self) -> list[str]:
        """Commands that win from here, none if it is won or cannot be won any more."""
        return shortest_plan(self.world)
