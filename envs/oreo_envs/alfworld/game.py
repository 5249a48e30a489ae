"""A game as values: the room, its things and the goal, shared by all the worlds that play it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from oreo_envs.alfworld.text import Wording, reword_command

MEMO_LIMIT = 256
"""Entries of a game's memo; one takes about 1 kB."""

EMPTY_HANDS = -1
NOWHERE = -1
ABILITIES = ("heatable", "coolable", "cleanable", "sliceable", "toggleable", "pickupable")

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)


class Rules(NamedTuple):
    """What distinguishes the known PDDL domains from each other."""

    has_help: bool
    clean_at: frozenset[str]
    """Receptacle types at which objects can be cleaned."""


@dataclass(frozen=True, slots=True)
class Object:
    """A thing of the room that is not a receptacle; ``index`` is its bit in every mask of objects."""

    index: int
    id: str
    name: str
    type: str
    is_container: bool


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A place for objects; ``index`` is its bit in every mask of receptacles."""

    index: int
    id: str
    name: str
    type: str
    location: int
    openable: bool
    accepts: int
    """Mask of the objects it can contain."""


class State(NamedTuple):
    """Everything that changes during an episode; sets of objects and receptacles are bit masks."""

    location: int
    held: int
    """Index of the held object, or EMPTY_HANDS."""
    opened: int
    hot: int
    cool: int
    clean: int
    sliced: int
    toggled: int
    inside: tuple[int, ...]
    """Objects in or on each receptacle."""
    nearby: tuple[int, ...]
    """Objects at each location."""
    taken: tuple[int, ...]
    """Objects taken from each receptacle and not put back."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What wins: `count` qualified objects in one of the receptacles, or one held near a lit lamp."""

    task_type: str
    objects: int
    """Mask of the objects that qualify by type and ability."""
    receptacles: tuple[int, ...] = ()
    count: int = 1
    quality: str = ""
    """The mask of :class:`State` in which they must be: hot, cool, clean, or none."""
    lamps: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Game:
    """A parsed game: immutable, and shared by all the worlds that play it."""

    name: str
    path: Path | None
    task: str
    wording: Wording
    rules: Rules
    solvable: bool
    walkthrough: tuple[str, ...]
    objects: tuple[Object, ...]
    receptacles: tuple[Receptacle, ...]
    location_ids: tuple[str, ...]
    location_names: tuple[str, ...]
    receptacles_at: tuple[tuple[int, ...], ...]
    openable_at: tuple[int, ...]
    """Mask of the openable receptacles at each location."""
    abilities: dict[str, int]
    """Mask of objects for each of ABILITIES."""
    knives: int
    contents: dict[int, tuple[int, ...]]
    """Objects inside other objects (a bowl's contents); nothing changes them."""
    goal: Goal
    start: State
    effects: dict[str, Any] = field(default_factory=dict, repr=False)
    """Commands that worlds of this game have found to apply somewhere, with what they do."""
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What worlds of this game have already worked out; see :meth:`remember`."""

    @property
    def names(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names of all objects and of all receptacles."""
        names = self.memo.get("names")
        if names is None:
            objects = frozenset(thing.name for thing in self.objects)
            names = self.remember("names", (objects, frozenset(place.name for place in self.receptacles)))
        return names

    @property
    def task_type(self) -> str:
        """One of ALFWorld's six task types."""
        return self.goal.task_type

    def rename(self, names: Mapping[str, str]) -> Game:
        """The same game, its things called otherwise: ``names`` has one for the id of each."""
        objects = tuple(replace(thing, name=names[thing.id]) for thing in self.objects)
        receptacles = tuple(replace(place, name=names[place.id]) for place in self.receptacles)
        places = tuple(names[id] for id in self.location_ids)
        return replace(
            self, objects=objects, receptacles=receptacles, location_names=places, effects={}, memo={}
        )

    def reword(self, wording: Wording) -> Game:
        """The same game as a file of that generation of ALFWorld's words it; itself, where it is worded so already.

        It shares with this game only what never changes.
        """
        if wording == self.wording:
            return self
        return replace(
            self,
            wording=wording,
            rules=self.rules._replace(has_help=wording == "move"),
            walkthrough=tuple(reword_command(command, wording) for command in self.walkthrough),
            effects={},
            memo={},
        )

    def remember(self, key: Any, value: Any) -> Any:
        """Keep something that follows from the game and the key; a full memo starts anew."""
        if len(self.memo) >= MEMO_LIMIT:
            self.memo.clear()
        self.memo[key] = value
        return value
