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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from itertools import accumulate
from random import Random
from typing import Any, Literal, SupportsIndex, overload

from oreo_envs.alfworld.data import CACHED_GAMES
from oreo_envs.alfworld.game import TASK_TYPES, Game, parse_game
from oreo_envs.alfworld.planner import TREATMENTS, shortest_plan
from oreo_envs.alfworld.world import World
from oreo_envs.errors import DataNotFoundError, OreoError

Difficulty = Literal["easy", "normal", "hard"]

SPLITS = {"generated": "train", "generated_unseen": "unseen"}
"""Each split and the group of rooms it plays in; the groups share no room."""
ROOM_KINDS = ("kitchen", "living room", "bedroom", "bathroom")
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "normal", "hard")

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

APPLIANCES = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}
STARTS_OUTSIDE_GOAL = ("pick_and_place_simple", "pick_two_obj_and_place")
"""Tasks that a target could solve just by lying where it is."""
FLOOR = -1


# ---------------------------------------------------------------- what a game is made of


@dataclass(frozen=True, slots=True)
class Goal:
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
class Fixture:
    """A receptacle of a floor plan, in AI2-THOR's notation, e.g. ``Desk|+02.29|+00.01|-01.15``."""

    id: str
    type: str
    location: str
    openable: bool

    @property
    def position(self) -> tuple[float, float, float]:
        """Its x, y, z in metres."""
        x, y, z = self.id.split("|")[1:4]
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A floor plan: its receptacles, and which of them overlap in space."""

    number: int
    kind: str
    group: str
    weight: int
    """Number of real train games in it."""
    fixtures: tuple[Fixture, ...]
    overlaps: dict[int, tuple[tuple[int, float], ...]]
    """For a receptacle: others, with the probability that an object in it is in the other one too."""

    def indices(self, receptacle_type: str) -> list[int]:
        """The receptacles of a type."""
        return [i for i, fixture in enumerate(self.fixtures) if fixture.type == receptacle_type]


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

    goal: Goal
    task: str
    room: Room
    things: tuple[Thing, ...]
    cool: frozenset[str]
    start: str


# ---------------------------------------------------------------- assets


def _asset(name: str) -> str:
    return (files("oreo_envs.alfworld") / "assets" / name).read_text(encoding="utf-8")


@cache
def statistics() -> dict[str, Any]:
    """The measured frequencies and affordances; ``benchmarks/alfworld_statistics.py`` describes them."""
    return json.loads(_asset("statistics.json"))


@cache
def rooms() -> tuple[Room, ...]:
    """All 120 floor plans."""
    return tuple(_room(int(number), entry) for number, entry in json.loads(_asset("rooms.json")).items())


def _room(number: int, entry: dict[str, Any]) -> Room:
    overlaps: dict[int, tuple[tuple[int, float], ...]] = {}
    for first, second, probability in entry["overlaps"]:
        overlaps[first] = (*overlaps.get(first, ()), (second, probability))
    fixtures = tuple(_fixture(*receptacle) for receptacle in entry["receptacles"])
    return Room(number, entry["kind"], entry["group"], entry["weight"], fixtures, overlaps)


def _fixture(id: str, location: str, openable: int) -> Fixture:
    parts = id.split("|")
    kind = parts[4] if len(parts) > 4 else parts[0]  # Sink|x|y|z|SinkBasin
    return Fixture(id, kind, f"loc|{location}", bool(openable))


@lru_cache(maxsize=64)
def _goal_table(group: str, task_type: str, kinds: tuple[str, ...]) -> tuple[list[Goal], list[int]]:
    """The goals that some room of the group can host, with cumulative weights."""
    entries = [
        (Goal(task_type, kind, thing, place), weight)
        for kind, thing, place, weight in statistics()["tasks"][task_type]["goals"]
        if kind in kinds
    ]
    possible = [(goal, weight) for goal, weight in entries if _rooms_for(group, goal)]
    return [goal for goal, _ in possible], list(accumulate(weight for _, weight in possible))


@lru_cache(maxsize=4096)
def _rooms_for(group: str, goal: Goal) -> tuple[Room, ...]:
    """The rooms that have all that a goal needs."""
    return tuple(
        room for room in rooms() if room.group == group and room.kind == goal.kind and _can_host(room, goal)
    )


def _can_host(room: Room, goal: Goal) -> bool:
    if goal.task_type == "look_at_obj_in_light":
        furnished = bool(_places(room, goal.place, floor=False)[0])
    else:
        furnished = bool(room.indices(goal.place))
    if goal.task_type in TREATMENTS:
        furnished = furnished and bool(room.indices(APPLIANCES[TREATMENTS[goal.task_type]]))
    return furnished and bool(_target_places(room, goal, "normal")[0])


# ---------------------------------------------------------------- drawing a game

Weighted = tuple[tuple[int, ...], tuple[float, ...]]
"""Receptacles (or FLOOR) with cumulative weights."""


def _cumulative(weights: Iterable[tuple[int, float]]) -> Weighted:
    positive = [(place, weight) for place, weight in weights if weight > 0]
    return tuple(place for place, _ in positive), tuple(accumulate(weight for _, weight in positive))


@lru_cache(maxsize=16384)
def _places(room: Room, object_type: str, floor: bool = True) -> Weighted:
    """Where objects of a type lie in a room."""
    rates = statistics()["objects"][room.kind].get(object_type, {}).get("place", {})
    return _cumulative([*_rated(room, rates), (FLOOR, rates.get("floor", 0.0) if floor else 0.0)])


def _rated(room: Room, rates: dict[str, float]) -> list[tuple[int, float]]:
    return [(i, rates.get(fixture.type, 0.0)) for i, fixture in enumerate(room.fixtures)]


@lru_cache(maxsize=16384)
def _target_places(room: Room, goal: Goal, difficulty: Difficulty) -> Weighted:
    """Where the objects that the goal is about may lie: never where they would solve the task already."""
    allowed = _rated(room, statistics()["objects"][room.kind][goal.object]["target_place"])
    if goal.task_type in STARTS_OUTSIDE_GOAL:
        allowed = [(i, rate) for i, rate in allowed if room.fixtures[i].type != goal.place]
    wanted = {"easy": False, "hard": True}.get(difficulty)
    preferred = _cumulative((i, rate) for i, rate in allowed if room.fixtures[i].openable is wanted)
    return preferred if preferred[0] else _cumulative(allowed)


@lru_cache(maxsize=256)
def _count_table(kind: str) -> list[tuple[str, list[int]]]:
    """Each type of object with the cumulative weights of having 0, 1, 2, ... of it."""
    return [(name, list(accumulate(entry["count"]))) for name, entry in statistics()["objects"][kind].items()]


def _draw(rng: Random, goal: Goal, group: str, difficulty: Difficulty) -> Draft:
    hosts = _rooms_for(group, goal)
    room = rng.choices(hosts, [host.weight for host in hosts])[0]
    task = rng.choice(SENTENCES[goal.task_type]).format(object=goal.object.lower(), place=goal.place.lower())
    things: dict[str, Thing] = {}
    for thing in _draw_things(rng, room, goal, difficulty):
        things.setdefault(thing.id, thing)
    coolable = statistics()["flags"]["coolable"]
    cool = frozenset(
        thing.id
        for thing in things.values()
        if any(room.fixtures[i].type == "Fridge" for i in thing.inside)
        and thing.type in coolable
        and (thing.type != goal.object or goal.task_type != "pick_cool_then_place_in_recep")
        and rng.random() < statistics()["cool_in_fridge"]
    )
    return Draft(
        goal, task, room, tuple(sorted(things.values(), key=lambda t: t.id)), cool, _bare_location(rng, room)
    )


def _draw_things(rng: Random, room: Room, goal: Goal, difficulty: Difficulty) -> Iterator[Thing]:
    targets = _draw_target_count(rng, goal, difficulty)
    for _ in range(targets):
        yield _place(rng, room, goal.object, _target_places(room, goal, difficulty), goal)
    for name, cumulative in _count_table(room.kind):
        count = rng.choices(range(len(cumulative)), cum_weights=cumulative)[0]
        if name == goal.object:
            continue
        lamp = goal.task_type == "look_at_obj_in_light" and name == goal.place
        places = _places(room, name, floor=not lamp)
        for _ in range(max(count, 1) if lamp else count):
            if places[0]:
                yield _place(rng, room, name, places, goal)


def _draw_target_count(rng: Random, goal: Goal, difficulty: Difficulty) -> int:
    count = rng.choices(range(5), weights=statistics()["tasks"][goal.task_type]["targets"])[0]
    return {"easy": max(count, goal.needed + 1), "normal": count, "hard": goal.needed}[difficulty]


def _place(rng: Random, room: Room, name: str, places: Weighted, goal: Goal) -> Thing:
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


# ---------------------------------------------------------------- the file


def _pddl(id: str) -> str:
    """An id as the game files write it."""
    return id.replace("|", "_bar_").replace("+", "_plus_").replace("-", "_minus_").replace(".", "_dot_")


_INDENT = "\n        "

_GOAL_PLACE = """
        (:goal
            (and
                (exists (?r - receptacle)
                    (exists (?o - object)
                        (and
                            {conditions}
                        )
                    )
                )
            )
        )
    )
    """

_GOAL_TWO = """
        (:goal
                    (and
                        (exists (?r - receptacle)
                            (exists (?o1 - object)
                                (and
                                    (objectType ?o1 {object}Type)
                                    (receptacleType ?r {place}Type)
                                    (inReceptacle ?o1 ?r)
                                    (exists (?o2 - object)
                                        (and
                                            (not (= ?o1 ?o2))
                                            (objectType ?o2 {object}Type)
                                            (receptacleType ?r {place}Type)
                                            (inReceptacle ?o2 ?r)
                                        )
                                    )
                                )
                            )
                        )
                    )
                )
            )
            """

_GOAL_LIGHT = """
        (:goal
             (and
                 (exists (?ot - object
                          ?r - receptacle
                          ?a - agent
                          ?l - location)
                     (and
                         (objectType ?ot {place}Type)
                         (toggleable ?ot)
                         (isToggled ?ot)
                         (receptacleAtLocation ?r ?l)
                         (atLocation ?a ?l)
                         (inReceptacle ?ot ?r)
                     )
                 )
                 (exists (?o - object
                          ?a - agent)
                     (and
                         (objectType ?o {object}Type)
                         (holds ?a ?o)
                     )
                 )
             )
        )
    )
    """

_CONDITIONS = {
    "pick_and_place_simple": ("(inReceptacle ?o ?r)", "{types}"),
    "pick_clean_then_place_in_recep": ("(cleanable ?o)", "{types}", "(isClean ?o)", "(inReceptacle ?o ?r)"),
    "pick_heat_then_place_in_recep": ("(heatable ?o)", "{types}", "(isHot ?o)", "(inReceptacle ?o ?r)"),
    "pick_cool_then_place_in_recep": ("(coolable ?o)", "{types}", "(isCool ?o)", "(inReceptacle ?o ?r)"),
}


def _goal_text(goal: Goal) -> str:
    if goal.task_type == "look_at_obj_in_light":
        return _GOAL_LIGHT.format(object=goal.object, place=goal.place)
    if goal.task_type == "pick_two_obj_and_place":
        return _GOAL_TWO.format(object=goal.object, place=goal.place)
    line = "\n" + 28 * " "
    types = f"(objectType ?o {goal.object}Type){line}(receptacleType ?r {goal.place}Type)"
    return _GOAL_PLACE.format(conditions=line.join(_CONDITIONS[goal.task_type]).format(types=types))


@cache
def _declared_types() -> str:
    types = statistics()["types"]
    objects = _INDENT.join(f"{name} - object" for name in types["otype"])
    otypes = _INDENT.join(f"{name}Type - otype" for name in types["otype"])
    rtypes = _INDENT.join(f"{name}Type - rtype" for name in types["rtype"])
    return f"(:objects\nagent1 - agent\n{objects}\n{otypes}\n{rtypes}\n\n"


@lru_cache(maxsize=128)
def _room_facts(room: Room) -> tuple[str, str, dict[str, str]]:
    """The lines of a room: declarations, facts, and for each type of object what can contain it."""
    declared = _INDENT.join(f"{_pddl(fixture.id)} - receptacle" for fixture in room.fixtures)
    facts = [f"(receptacleType {_pddl(fixture.id)} {fixture.type}Type)" for fixture in room.fixtures]
    facts += [f"(openable {_pddl(fixture.id)})" for fixture in room.fixtures if fixture.openable]
    facts += [
        f"(receptacleAtLocation {_pddl(fixture.id)} {_pddl(fixture.location)})" for fixture in room.fixtures
    ]
    contain: dict[str, list[str]] = {}
    for receptacle in dict.fromkeys(fixture.type for fixture in room.fixtures):
        for name in statistics()["can_contain"].get(receptacle, ()):
            contain.setdefault(name, []).append(f"(canContain {receptacle}Type {name}Type)")
    return declared, _INDENT.join(facts), {name: _INDENT.join(lines) for name, lines in contain.items()}


@cache
def _abilities(object_type: str) -> tuple[str, ...]:
    return tuple(flag for flag, names in statistics()["flags"].items() if object_type in names)


def _thing_facts(draft: Draft) -> Iterator[str]:
    fixtures = [_pddl(fixture.id) for fixture in draft.room.fixtures]
    for thing in draft.things:
        id = _pddl(thing.id)
        yield f"(objectType {id} {thing.type}Type)"
        yield from (f"({ability} {id})" for ability in _abilities(thing.type))
        yield f"(objectAtLocation {id} {_pddl(thing.location)})"
        yield from (f"(inReceptacle {id} {fixtures[i]})" for i in thing.inside)
    yield from (f"(isCool {_pddl(id)})" for id in sorted(draft.cool))


def _problem_text(draft: Draft, name: str) -> str:
    receptacles, room_facts, contain = _room_facts(draft.room)
    locations = {fixture.location for fixture in draft.room.fixtures} | {
        thing.location for thing in draft.things
    }
    declared = [f"{_pddl(thing.id)} - object" for thing in draft.things] + [receptacles]
    declared += [f"{_pddl(location)} - location" for location in sorted(locations | {draft.start})]
    present = sorted({thing.type for thing in draft.things} & contain.keys())
    facts = [room_facts, *(contain[name] for name in present), f"(atLocation agent1 {_pddl(draft.start)})"]
    facts += _thing_facts(draft)
    return (
        f"\n(define (problem plan_{name})\n(:domain alfred)\n{_declared_types()}"
        f"{_INDENT}{_INDENT.join(declared)}{_INDENT})\n    \n\n(:init\n\n"
        f"{_INDENT}{_INDENT.join(facts)}{_INDENT})\n    \n{_goal_text(draft.goal)}"
    )


@cache
def _fixed_texts() -> tuple[str, str]:
    """Domain and grammar as JSON strings; the grammar still lacks its task."""
    return json.dumps(_asset("domain.pddl")), json.dumps(_asset("grammar.twl"))


def _file_text(draft: Draft, trial: str) -> str:
    """The whole file, with an empty walkthrough at its end."""
    domain, grammar = _fixed_texts()
    return (
        f'{{"pddl_domain": {domain}, "grammar": {grammar.replace("@TASK@", draft.task)}, '
        f'"pddl_problem": {json.dumps(_problem_text(draft, trial))}, "solvable": true, "walkthrough": []}}'
    )


# ---------------------------------------------------------------- the public side


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
        _check("split", [self.split], SPLITS)
        _check("task type", self.task_types, TASK_TYPES)
        _check("kind of room", self.room_kinds, ROOM_KINDS)
        _check("difficulty", [self.difficulty], DIFFICULTIES)
        impossible = set(self.task_types) - set(hosted_task_types(self.split, self.room_kinds))
        if impossible:
            kinds, tasks = " or ".join(self.room_kinds), ", ".join(sorted(impossible))
            raise OreoError(f"No {kinds} can host {tasks}; choose other tasks or rooms.")

    def name(self, index: int) -> str:
        """``<task folder>/<trial folder>`` of a game."""
        return f"{_folder(self._draft(index))}/{self._trial(index)}"

    def text(self, index: int) -> str:
        """The content of a game's file."""
        without_walkthrough = _file_text(self._draft(index), self._trial(index))
        plan = shortest_plan(World(parse_game(without_walkthrough, self._trial(index))))
        return without_walkthrough.removesuffix("[]}") + json.dumps(plan) + "}"

    def game(self, index: int) -> Game:
        """A game, as if parsed from its file."""
        draft, trial = self._draft(index), self._trial(index)
        game = parse_game(_file_text(draft, trial), f"{_folder(draft)}/{trial}")
        return replace(game, walkthrough=tuple(shortest_plan(World(game))))

    def _trial(self, index: int) -> str:
        return f"trial_g{index:06}" if self.seed == 0 else f"trial_g{self.seed}_{index:06}"

    def _draft(self, index: int) -> Draft:
        group = SPLITS[self.split]
        rng = Random(f"oreo/{self.split}/{self.seed}/{self.difficulty}/{index}")
        goals, weights = _goal_table(group, self._task_type(index), self.room_kinds)
        return _draw(rng, rng.choices(goals, cum_weights=weights)[0], group, self.difficulty)

    def _task_type(self, index: int) -> str:
        block, place = divmod(index, len(self.task_types))
        order = list(self.task_types)
        Random(f"oreo/{self.split}/{self.seed}/block/{block}").shuffle(order)
        return order[place]


def _folder(draft: Draft) -> str:
    goal = draft.goal
    return f"{goal.task_type}-{goal.object}-None-{goal.place}-{draft.room.number}"


def _check(what: str, given: Sequence[str], known: Iterable[str]) -> None:
    unknown = [value for value in given if value not in known]
    if unknown or not given:
        raise OreoError(f"Unknown {what} {', '.join(map(repr, unknown))}; choose from {', '.join(known)}.")


def hosted_task_types(split: str, room_kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The task types that rooms of some kinds can host."""
    return tuple(task for task in TASK_TYPES if _goal_table(SPLITS[split], task, room_kinds)[0])


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
        self, split: str = "generated", recipe: Recipe | None = None, numbers: range | None = None
    ) -> None:
        """Games of ``recipe``, by default the plain one of ``split``, at some ``numbers``, by default all.

        Raises:
            OreoError: unknown split.
        """
        self.recipe = recipe or Recipe(split)
        self.numbers = range(self.LENGTH) if numbers is None else numbers
        self.names = LazyTexts(len(self.numbers), lambda position: self.recipe.name(self.numbers[position]))
        self.task_types = LazyTexts(
            len(self.numbers), lambda position: self.names[position].partition("-")[0]
        )
        self._kept: dict[int, Game] = {}

    def __deepcopy__(self, memo: object) -> GeneratedGames:
        return self  # immutable; Gymnasium copies an environment's arguments at every look at its spec

    def __reduce__(self) -> tuple[Any, ...]:
        return GeneratedGames, (self.recipe.split, self.recipe, self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, position: SupportsIndex) -> Game: ...
    @overload
    def __getitem__(self, position: slice) -> GeneratedGames: ...
    def __getitem__(self, position: SupportsIndex | slice) -> Game | GeneratedGames:
        if isinstance(position, slice):
            return GeneratedGames(recipe=self.recipe, numbers=self.numbers[position])
        number = self.numbers[position]
        game = self._kept.get(number)
        if game is None:
            if len(self._kept) >= self.KEPT:
                self._kept.clear()
            game = self._kept[number] = self.recipe.game(number)
        return game

    def __repr__(self) -> str:
        return f"GeneratedGames({self.recipe}, {self.numbers})"

    def text(self, position: int) -> str:
        """The content of a game's file."""
        return self.recipe.text(self.numbers[position])

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
