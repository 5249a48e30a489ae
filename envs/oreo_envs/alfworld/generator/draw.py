"""Drawing a game: a goal, a room that can host it, and things in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Literal

from oreo_envs.alfworld.experts.planner import TREATMENTS
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.alfworld.rooms import APPLIANCES, SPLITS, Fixture, Room, load_rooms, load_statistics

Difficulty = Literal["easy", "normal", "hard"]

SENTENCES = {
    "pick_and_place_simple": ("put a {object} in {place}.", "put some {object} on {place}."),
    "look_at_obj_in_light": ("look at {object} under the {place}.", "examine the {object} with the {place}."),
    "pick_clean_then_place_in_recep": (
        "put a clean {object} in {place}.",
        "clean some {object} and put it in {place}.",
    ),
    "pick_heat_then_place_in_recep": (
        "put a hot {object} in {place}.",
        "heat some {object} and put it in {place}.",
    ),
    "pick_cool_then_place_in_recep": (
        "put a cool {object} in {place}.",
        "cool some {object} and put it in {place}.",
    ),
    "pick_two_obj_and_place": ("put two {object} in {place}.", "find two {object} and put them in {place}."),
}
"""The wordings of the real games, which use each about equally often."""

STARTS_OUTSIDE_GOAL = ("pick_and_place_simple", "pick_two_obj_and_place")
"""Tasks that a target could solve just by lying where it is."""

FLOOR = -1


@dataclass(frozen=True, slots=True)
class DraftGoal:
    """What to do, with which type of object and with which type of receptacle (or lamp)."""

    task_type: str
    kind: str
    object: str
    place: str

    @property
    def needed(self) -> int:
        """How many objects it takes."""
        return 2 if self.task_type == "pick_two_obj_and_place" else 1


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, the receptacles it is in (none: it stands or lies on the floor), and where it is reached."""

    id: str
    type: str
    inside: tuple[int, ...]
    location: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A complete game before it is written down."""

    goal: DraftGoal
    task: str
    room: Room
    things: tuple[Thing, ...]
    cool: frozenset[str]
    start: str


@lru_cache(maxsize=64)
def weigh_goals(group: str, task_type: str, kinds: tuple[str, ...]) -> tuple[list[DraftGoal], list[int]]:
    """The goals that some room of the group can host, with cumulative weights."""
    entries = [
        (DraftGoal(task_type, kind, thing, place), weight)
        for kind, thing, place, weight in load_statistics()["tasks"][task_type]["goals"]
        if kind in kinds
    ]
    possible = [(goal, weight) for goal, weight in entries if _rooms_for(group, goal)]
    return [goal for goal, _ in possible], list(accumulate(weight for _, weight in possible))


@lru_cache(maxsize=4096)
def _rooms_for(group: str, goal: DraftGoal) -> tuple[Room, ...]:
    """The rooms that have all that a goal needs."""
    return tuple(
        room
        for room in load_rooms()
        if room.group == group and room.kind == goal.kind and _can_host(room, goal)
    )


def _can_host(room: Room, goal: DraftGoal) -> bool:
    """Asked of every goal and room before the first game: of the types of receptacles, which are few."""
    objects = load_statistics()["objects"][room.kind]
    if goal.task_type == "look_at_obj_in_light":
        furnished = _has_rate(room.types, objects.get(goal.place, {}).get("place", {}))
    else:
        furnished = goal.place in room.types
    if goal.task_type in TREATMENTS:
        furnished = furnished and APPLIANCES[TREATMENTS[goal.task_type]] in room.types
    outside = room.types - {goal.place} if goal.task_type in STARTS_OUTSIDE_GOAL else room.types
    return furnished and _has_rate(outside, objects[goal.object]["target_place"])


def _has_rate(types: Iterable[str], rates: dict[str, float]) -> bool:
    return any(rates.get(one, 0.0) > 0 for one in types)


Weighted = tuple[tuple[int, ...], tuple[float, ...]]
"""Receptacles (or FLOOR) with cumulative weights."""


def _accumulate_weights(weights: Iterable[tuple[int, float]]) -> Weighted:
    positive = [(place, weight) for place, weight in weights if weight > 0]
    return tuple(place for place, _ in positive), tuple(accumulate(weight for _, weight in positive))


@lru_cache(maxsize=16384)
def _weigh_places(room: Room, object_type: str, floor: bool = True) -> Weighted:
    """Where objects of a type lie in a room."""
    rates = load_statistics()["objects"][room.kind].get(object_type, {}).get("place", {})
    return _accumulate_weights(
        [*_rate_fixtures(room, rates), (FLOOR, rates.get("floor", 0.0) if floor else 0.0)]
    )


def _rate_fixtures(room: Room, rates: dict[str, float]) -> list[tuple[int, float]]:
    return [(i, rates.get(fixture.type, 0.0)) for i, fixture in enumerate(room.fixtures)]


@lru_cache(maxsize=16384)
def _target_places(room: Room, goal: DraftGoal, difficulty: Difficulty) -> Weighted:
    """Where the objects that the goal is about may lie: never where they would solve the task already."""
    allowed = _rate_fixtures(room, load_statistics()["objects"][room.kind][goal.object]["target_place"])
    if goal.task_type in STARTS_OUTSIDE_GOAL:
        allowed = [(i, rate) for i, rate in allowed if room.fixtures[i].type != goal.place]
    wanted = {"easy": False, "hard": True}.get(difficulty)
    preferred = _accumulate_weights((i, rate) for i, rate in allowed if room.fixtures[i].openable is wanted)
    return preferred if preferred[0] else _accumulate_weights(allowed)


@lru_cache(maxsize=256)
def _count_table(kind: str) -> list[tuple[str, list[int]]]:
    """Each type of object with the cumulative weights of having 0, 1, 2, ... of it."""
    return [
        (name, list(accumulate(entry["count"]))) for name, entry in load_statistics()["objects"][kind].items()
    ]


def draw_game(rng: Random, goal: DraftGoal, group: str, difficulty: Difficulty) -> Draft:
    """A game for a goal, in one of the rooms of a group that can host it."""
    hosts = _rooms_for(group, goal)
    room = rng.choices(hosts, [host.weight for host in hosts])[0]
    task = rng.choice(SENTENCES[goal.task_type]).format(object=goal.object.lower(), place=goal.place.lower())
    things: dict[str, Thing] = {}
    for thing in _draw_things(rng, room, goal, difficulty):
        things.setdefault(thing.id, thing)
    coolable = load_statistics()["flags"]["coolable"]
    cool = frozenset(
        thing.id
        for thing in things.values()
        if any(room.fixtures[i].type == "Fridge" for i in thing.inside)
        and thing.type in coolable
        and (thing.type != goal.object or goal.task_type != "pick_cool_then_place_in_recep")
        and rng.random() < load_statistics()["cool_in_fridge"]
    )
    return Draft(
        goal, task, room, tuple(sorted(things.values(), key=lambda t: t.id)), cool, _bare_location(rng, room)
    )


def _draw_things(rng: Random, room: Room, goal: DraftGoal, difficulty: Difficulty) -> Iterator[Thing]:
    targets = _draw_target_count(rng, goal, difficulty)
    for _ in range(targets):
        yield _place_thing(rng, room, goal.object, _target_places(room, goal, difficulty), goal)
    for name, cumulative in _count_table(room.kind):
        count = rng.choices(range(len(cumulative)), cum_weights=cumulative)[0]
        if name == goal.object:
            continue
        lamp = goal.task_type == "look_at_obj_in_light" and name == goal.place
        places = _weigh_places(room, name, floor=not lamp)
        for _ in range(max(count, 1) if lamp else count):
            if places[0]:
                yield _place_thing(rng, room, name, places, goal)


def _draw_target_count(rng: Random, goal: DraftGoal, difficulty: Difficulty) -> int:
    count = rng.choices(range(5), weights=load_statistics()["tasks"][goal.task_type]["targets"])[0]
    return {"easy": max(count, goal.needed + 1), "normal": count, "hard": goal.needed}[difficulty]


def _place_thing(rng: Random, room: Room, name: str, places: Weighted, goal: DraftGoal) -> Thing:
    chosen = rng.choices(places[0], cum_weights=places[1])[0]
    if chosen == FLOOR:
        return Thing(
            _thing_id(rng, name, rng.choice(room.fixtures), 1.0), name, (), _bare_location(rng, room)
        )
    fixture = room.fixtures[chosen]
    inside = [chosen]
    for other, probability in room.overlaps.get(chosen, ()):
        solves = name == goal.object and room.fixtures[other].type == goal.place
        if rng.random() < probability and not solves:
            inside.append(other)
    return Thing(_thing_id(rng, name, fixture, 0.3), name, tuple(inside), fixture.location)


def _thing_id(rng: Random, name: str, near: Fixture, spread: float) -> str:
    x, y, z = near.position
    x, y, z = x + rng.uniform(-spread, spread), y + rng.uniform(0.0, 0.1), z + rng.uniform(-spread, spread)
    return f"{name}|{x:+06.2f}|{y:+06.2f}|{z:+06.2f}"


def _bare_location(rng: Random, room: Room) -> str:
    """A place to stand at where there is no receptacle."""
    taken = {fixture.location for fixture in room.fixtures}
    while True:
        _, x, z, _, _ = rng.choice(room.fixtures).location.split("|")
        near_x, near_z = int(x) + rng.randint(-3, 3), int(z) + rng.randint(-3, 3)
        location = f"loc|{near_x}|{near_z}|{rng.randrange(4)}|30"
        if location not in taken:
            return location


def hosted_task_types(split: str, room_kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The task types that rooms of some kinds can host."""
    return tuple(task for task in TASK_TYPES if weigh_goals(SPLITS[split], task, room_kinds)[0])
