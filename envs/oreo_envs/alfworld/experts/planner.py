"""The shortest plan from any state, for one who knows the whole room.

A plan is a choice: which objects to handle, at which appliance, for which receptacle, and where to drop what
is in the way. Given the choice, the commands follow. So all sensible choices are written out as commands,
and the shortest list that really wins in the engine is the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

from oreo_envs.alfworld.game import EMPTY_HANDS, NOWHERE
from oreo_envs.alfworld.text import format_put
from oreo_envs.alfworld.world import World, list_bits

TREATMENTS = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
}
"""The verb, where a task asks for more than bringing the object."""


def shortest_plan(world: World) -> list[str]:
    """The fewest commands that win from the present state, which is left as it is.

    Empty if the game is won already, or cannot be won, as when the hands hold something that fits nowhere.
    """
    if world.won:
        return []
    trial = World(world.game)
    for commands in sorted(_propose_plans(world), key=len):
        trial.restore_state(world.clone_state())
        for done, command in enumerate(commands, start=1):
            trial.step(command)
            if trial.won:
                return commands[:done]
    return []


def _propose_plans(world: World) -> Iterator[list[str]]:
    for start in _free_hands(world):
        yield from _plan_lighting(start) if world.game.goal.lamps else _plan_placing(start)


class _Walk:
    """Commands written so far, and what they change that later commands depend on."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.commands: list[str] = []
        self.location, self.opened, self.held = world.location, world.opened, world.held
        self.moved: dict[int, int] = {}
        """Where objects have been put."""

    def copy(self) -> _Walk:
        other = _Walk(self.world)
        other.commands = list(self.commands)
        other.location, other.opened, other.held = self.location, self.opened, self.held
        other.moved = dict(self.moved)
        return other

    def visit(self, receptacle: int) -> str:
        """Go there unless it is within reach; returns its name."""
        there = self.world.game.receptacles[receptacle]
        if there.location != self.location:
            self.commands.append(f"go to {there.name}")
            self.location = there.location
        return there.name

    def reach_into(self, receptacle: int) -> str:
        """Go there and open it if need be; returns its name."""
        name = self.visit(receptacle)
        if self.world.game.receptacles[receptacle].openable and not self.opened >> receptacle & 1:
            self.commands.append(f"open {name}")
            self.opened |= 1 << receptacle
        return name

    def take(self, thing: int, source: int) -> None:
        self.commands.append(f"take {self.world.game.objects[thing].name} from {self.reach_into(source)}")
        self.held = thing

    def put(self, receptacle: int) -> None:
        name, place = self.world.game.objects[self.held].name, self.reach_into(receptacle)
        self.commands.append(format_put(name, place, self.world.game.wording))
        self.moved[self.held], self.held = receptacle, EMPTY_HANDS

    def treat(self, verb: str, appliance: int) -> None:
        name = self.world.game.objects[self.held].name
        self.commands.append(f"{verb} {name} with {self.visit(appliance)}")

    def sources(self, thing: int) -> list[int]:
        """The receptacles an object can be taken from; closed ones only where all are closed."""
        if thing in self.moved:
            return [self.moved[thing]]
        game, inside = self.world.game, self.world.inside
        found = [r.index for r in game.receptacles if r.location != NOWHERE and inside[r.index] >> thing & 1]
        return [r for r in found if not self.world.is_closed(r)] or found


def _free_hands(world: World) -> Iterator[_Walk]:
    """The ways to begin: as things are, or rid of what is held."""
    yield _Walk(world)
    if world.held == EMPTY_HANDS:
        return
    game = world.game
    accepting = [r for r in game.receptacles if r.location != NOWHERE and r.accepts >> world.held & 1]
    accepting.sort(key=lambda r: world.is_closed(r.index))
    visited_anyway = {world.location, *(game.receptacles[r].location for r in _list_stations(world))}
    per_location = {r.location: r for r in reversed(accepting) if r.location in visited_anyway}
    for receptacle in [*per_location.values(), *accepting[:1]]:
        walk = _Walk(world)
        walk.put(receptacle.index)
        yield walk


def _list_stations(world: World) -> list[int]:
    """Receptacles with an object that the goal is about."""
    wanted = world.game.goal.objects | world.game.goal.lamps
    return [r.index for r in world.game.receptacles if world.inside[r.index] & wanted]


def _list_targets(start: _Walk) -> list[int]:
    """The objects that qualify and can be had."""
    game = start.world.game
    wanted = list_bits(game.goal.objects & game.abilities["pickupable"])
    return [thing for thing in wanted if thing == start.held or start.sources(thing)]


def _fetch_object(start: _Walk, thing: int) -> Iterator[_Walk]:
    """The walks that have an object in hand."""
    if start.held == thing:
        yield start.copy()
    elif start.held == EMPTY_HANDS:
        for source in start.sources(thing):
            walk = start.copy()
            walk.take(thing, source)
            yield walk


def _plan_lighting(start: _Walk) -> Iterator[list[str]]:
    world = start.world
    for thing in _list_targets(start):
        for lamp in list_bits(world.game.goal.lamps):
            for stand in start.sources(lamp):
                for walk in _fetch_object(start, thing):
                    walk.visit(stand)
                    if not world.toggled >> lamp & 1:
                        walk.commands.append(f"use {world.game.objects[lamp].name}")
                    yield walk.commands


def _plan_placing(start: _Walk) -> Iterator[list[str]]:
    world, goal = start.world, start.world.game.goal
    targets = _list_targets(start)
    for place in _choose_places(start, targets):
        there = [t for t in list_bits(world.inside[place] & goal.objects) if t != start.held]
        missing = max(1, goal.count - len(there)) if goal.count > 1 else 1
        elsewhere = [t for t in targets if goal.count == 1 or t not in there]
        for chosen in permutations(elsewhere, missing):
            if start.held in (EMPTY_HANDS, chosen[0]):
                yield from _plan_deliveries(start, chosen, place)


def _plan_deliveries(start: _Walk, things: Iterable[int], place: int) -> Iterator[list[str]]:
    """The plans that bring objects to a receptacle one after another, each treated on the way if need be."""
    world, walks = start.world, [start]
    for thing in things:
        walks = [
            walk
            for before in walks
            for at_hand in _fetch_object(before, thing)
            for walk in _treat_object(at_hand, thing)
        ]
        for walk in walks:
            if world.inside[place] >> thing & 1:  # still there, where receptacles overlap
                yield list(walk.commands)
            walk.put(place)
    for walk in walks:
        yield walk.commands


def _treat_object(walk: _Walk, thing: int) -> Iterator[_Walk]:
    world = walk.world
    verb = TREATMENTS.get(world.task_type, "")
    done = {"": -1, "clean": world.clean, "heat": world.hot, "cool": world.cool}[verb]
    if done >> thing & 1:
        yield walk
        return
    for appliance in _list_appliances(world, verb):
        other = walk.copy()
        other.treat(verb, appliance)
        yield other


def _list_appliances(world: World, verb: str) -> list[int]:
    kinds = {"clean": world.game.rules.clean_at, "heat": {"microwavetype"}, "cool": {"fridgetype"}}.get(
        verb, set()
    )
    return [r.index for r in world.game.receptacles if r.type in kinds and r.location != NOWHERE]


def _choose_places(start: _Walk, targets: list[int]) -> list[int]:
    """The receptacles worth considering: of those on nobody's way, one open and one closed."""
    world, game = start.world, start.world.game
    receptacles = game.receptacles
    possible = [r for r in game.goal.receptacles if receptacles[r].location != NOWHERE]
    stops = [source for thing in targets for source in start.sources(thing) if thing != start.held]
    stops += _list_appliances(world, TREATMENTS.get(world.task_type, ""))
    near = {start.location, *(receptacles[stop].location for stop in stops)}
    special = [r for r in possible if receptacles[r].location in near or world.inside[r] & game.goal.objects]
    plain = [r for r in possible if r not in special]
    closed = [r for r in plain if world.is_closed(r)]
    return special + [r for r in plain if r not in closed][:1] + closed[:1]
