"""New ALFWorld games without end: the default data, which needs no download.

A generated game is an ordinary ``game.tw-pddl`` text in the format of the 2.1.3 files, so everything that
plays the real games plays it too. It follows from (split, seed, index) alone, on any machine:

    task and goal ──► a room that has what the goal needs ──► objects in it ──► walkthrough ──► JSON text

Goals, objects and places are drawn with the frequencies of the real train split. Those, the floor plans of
AI2-THOR and the domain and grammar texts that every game embeds lie in ``assets`` (facts and texts of ALFRED
and ALFWorld, MIT licence; ``benchmarks/alfworld_statistics.py`` wrote them).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, SupportsIndex, overload

from oreo_envs.alfworld.experts.planner import shortest_plan
from oreo_envs.alfworld.game import TASK_TYPES, Game
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.games import CACHED_GAMES
from oreo_envs.alfworld.generator.draw import Difficulty, Draft, draw_game, hosted_task_types, weigh_goals
from oreo_envs.alfworld.generator.game_text import format_game
from oreo_envs.alfworld.rooms import ROOM_KINDS, SPLITS
from oreo_envs.alfworld.text import Wording
from oreo_envs.alfworld.world import World
from oreo_envs.errors import DataNotFoundError, OreoError

DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "normal", "hard")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What games to make.

    Each run of ``len(task_types)`` consecutive indices holds every task type once, in a random order.

    Raises:
        OreoError: for an unknown split, task type, room kind or difficulty, or when no room of the kinds
        asked
            for can host a task.
    """

    split: str = "generated"
    seed: int = 0
    task_types: tuple[str, ...] = TASK_TYPES
    room_kinds: tuple[str, ...] = ROOM_KINDS
    difficulty: Difficulty = "normal"
    """``easy``: a spare target object, all in the open; ``hard``: no spare, shut away where possible."""

    def __post_init__(self) -> None:
        _check_known("split", [self.split], SPLITS)
        _check_known("task type", self.task_types, TASK_TYPES)
        _check_known("kind of room", self.room_kinds, ROOM_KINDS)
        _check_known("difficulty", [self.difficulty], DIFFICULTIES)
        impossible = set(self.task_types) - set(hosted_task_types(self.split, self.room_kinds))
        if impossible:
            kinds, tasks = " or ".join(self.room_kinds), ", ".join(sorted(impossible))
            raise OreoError(f"No {kinds} can host {tasks}; choose other tasks or rooms.")

    def name(self, index: int) -> str:
        """``<task folder>/<trial folder>`` of a game."""
        return f"{_name_folder(self._draft(index))}/{self._trial(index)}"

    def text(self, index: int) -> str:
        """The content of a game's file."""
        without_walkthrough = format_game(self._draft(index), self._trial(index))
        plan = shortest_plan(World(parse_game(without_walkthrough, self._trial(index))))
        return without_walkthrough.removesuffix("[]}") + json.dumps(plan) + "}"

    def game(self, index: int) -> Game:
        """A game, as if parsed from its file."""
        draft, trial = self._draft(index), self._trial(index)
        game = parse_game(format_game(draft, trial), f"{_name_folder(draft)}/{trial}")
        return replace(game, walkthrough=tuple(shortest_plan(World(game))))

    def _trial(self, index: int) -> str:
        return f"trial_g{index:06}" if self.seed == 0 else f"trial_g{self.seed}_{index:06}"

    def _draft(self, index: int) -> Draft:
        group = SPLITS[self.split]
        rng = Random(f"oreo/{self.split}/{self.seed}/{self.difficulty}/{index}")
        goals, weights = weigh_goals(group, self._task_type(index), self.room_kinds)
        return draw_game(rng, rng.choices(goals, cum_weights=weights)[0], group, self.difficulty)

    def _task_type(self, index: int) -> str:
        block, place = divmod(index, len(self.task_types))
        order = list(self.task_types)
        Random(f"oreo/{self.split}/{self.seed}/block/{block}").shuffle(order)
        return order[place]


def _name_folder(draft: Draft) -> str:
    goal = draft.goal
    return f"{goal.task_type}-{goal.object}-None-{goal.place}-{draft.room.number}"


def _check_known(what: str, given: Sequence[str], known: Iterable[str]) -> None:
    unknown = [value for value in given if value not in known]
    if unknown or not given:
        raise OreoError(f"Unknown {what} {', '.join(map(repr, unknown))}; choose from {', '.join(known)}.")


def generate_game(index: int, split: str = "generated") -> str:
    """The JSON text of game number ``index`` of a generated split, an ordinary ``game.tw-pddl``.

    Raises:
        OreoError: for a split that is not ``generated`` or ``generated_unseen``.
    """
    return Recipe(split).text(index)


class GeneratedGames(Sequence[Game]):
    """A split of generated games, made when asked for; the last few are kept.

    >>> games = GeneratedGames("generated_unseen")
    >>> len(games), games.index(games[7].name)
    (1000000, 7)
    """

    made_on_demand = True
    LENGTH = 1_000_000
    KEPT = CACHED_GAMES

    def __init__(
        self,
        split: str = "generated",
        recipe: Recipe | None = None,
        numbers: range | None = None,
        wording: Wording = "move",
    ) -> None:
        """Games of ``recipe``, by default the plain one of ``split``, at some ``numbers``, by default all.

        Raises:
            OreoError: unknown split.
        """
        self.recipe = recipe or Recipe(split)
        self.numbers = range(self.LENGTH) if numbers is None else numbers
        self.wording: Wording = wording
        self.names = LazyTexts(len(self.numbers), lambda position: self.recipe.name(self.numbers[position]))
        self.task_types = LazyTexts(
            len(self.numbers), lambda position: self.names[position].partition("-")[0]
        )
        self._kept: dict[int, Game] = {}

    def __deepcopy__(self, memo: object) -> GeneratedGames:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __reduce__(self) -> tuple[Any, ...]:
        return GeneratedGames, (self.recipe.split, self.recipe, self.numbers, self.wording)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, position: SupportsIndex) -> Game: ...
    @overload
    def __getitem__(self, position: slice) -> GeneratedGames: ...
    def __getitem__(self, position: SupportsIndex | slice) -> Game | GeneratedGames:
        if isinstance(position, slice):
            return GeneratedGames(recipe=self.recipe, numbers=self.numbers[position], wording=self.wording)
        number = self.numbers[position]
        game = self._kept.get(number)
        if game is None:
            if len(self._kept) >= self.KEPT:
                self._kept.clear()
            game = self._kept[number] = self.recipe.game(number).reword(self.wording)
        return game

    def __repr__(self) -> str:
        return f"GeneratedGames({self.recipe}, {self.numbers})"

    def text(self, position: int) -> str:
        """The content of a game's file."""
        return self.recipe.text(self.numbers[position])

    def reword(self, wording: Wording) -> GeneratedGames:
        """The same games, shown as files of that generation of ALFWorld's."""
        if wording == self.wording:
            return self
        return GeneratedGames(recipe=self.recipe, numbers=self.numbers, wording=wording)

    def index(self, value: Any, *_: Any) -> int:  # type: ignore[override]
        """Position of a game given by its name, its position or itself.

        Raises:
            DataNotFoundError: there is no such game here.
        """
        if isinstance(value, SupportsIndex) and not isinstance(value, bool):
            if -len(self) <= value.__index__() < len(self):
                return range(len(self))[value]
        else:
            name = value.name if isinstance(value, Game) else str(value)
            trial = name.rpartition("_")[2].removeprefix("g")
            if trial.isdecimal() and len(trial) < 10 and int(trial) in self.numbers:
                position = self.numbers.index(int(trial))
                if self.names[position] == name:
                    return position
        raise DataNotFoundError(f"There is no game {str(value)!r} among these {len(self):,} generated games.")


class LazyTexts(Sequence[str]):
    """A sequence of strings, each worked out when asked for."""

    def __init__(self, length: int, make: Callable[[int], str]) -> None:
        self._positions, self._make = range(length), make

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, position: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: SupportsIndex | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self._make(i) for i in self._positions[position]]
        return self._make(self._positions[position])
