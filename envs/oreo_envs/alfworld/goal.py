"""How far a game's goal has come: its conditions one by one, as ALFRED counts them.

Only for people to look at; what wins is :attr:`oreo_envs.alfworld.world.World.won`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oreo_envs.alfworld.game import EMPTY_HANDS, Object, Receptacle
from oreo_envs.alfworld.world import World, list_bits


class Condition(NamedTuple):
    """Something that must hold in the end."""

    text: str
    met: bool


def list_conditions(world: World) -> list[Condition]:
    """The conditions of the goal with whether each holds now; the game is won when all do."""
    if world.game.goal.task_type == "look_at_obj_in_light":
        return _list_look_conditions(world)
    return _list_place_conditions(world)


def _list_look_conditions(world: World) -> list[Condition]:
    game, goal = world.game, world.game.goal
    holding = world.held != EMPTY_HANDS and bool(goal.objects >> world.held & 1)
    here = game.receptacles_at[world.location]
    lit = any(world.inside[receptacle] & goal.lamps & world.toggled for receptacle in here)
    thing, lamp = _name_kind(game.objects, goal.objects), _name_kind(game.objects, goal.lamps)
    return [Condition(f"{thing} in hand", holding), Condition(f"{lamp} here, turned on", lit)]


def _list_place_conditions(world: World) -> list[Condition]:
    game, goal = world.game, world.game.goal
    thing = _name_kind(game.objects, goal.objects)
    place = _name_kind(game.receptacles, sum(1 << target for target in goal.receptacles))
    if goal.count == 2:
        most = max((_count_inside(world, target, goal.objects) for target in goal.receptacles), default=0)
        return [
            Condition(f"one {thing} in {place}", most >= 1),
            Condition(f"two {thing} in one {place}", most >= 2),
        ]
    there = Condition(f"{thing} in {place}", _any_in_place(world, goal.objects))
    if not goal.quality:
        return [there]
    ready = goal.objects & getattr(world, goal.quality)
    return [
        Condition(f"{goal.quality} {thing}", bool(ready)),
        there,
        Condition(f"{goal.quality} {thing} in {place}", _any_in_place(world, ready)),
    ]


def _any_in_place(world: World, objects: int) -> bool:
    return any(_count_inside(world, target, objects) for target in world.game.goal.receptacles)


def _count_inside(world: World, receptacle: int, objects: int) -> int:
    return (world.inside[receptacle] & objects).bit_count()


def _name_kind(things: Sequence[Object] | Sequence[Receptacle], mask: int) -> str:
    """The common name of the things in a mask, without their numbers."""
    first = next(list_bits(mask), None)
    return "nothing here" if first is None else things[first].name.rpartition(" ")[0]
