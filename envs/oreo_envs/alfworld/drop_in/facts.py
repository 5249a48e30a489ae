"""What is true in a game, as the planner behind TextWorld tells it: facts that hold, and negations of lapsed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from oreo_envs.alfworld.pddl import PddlProblem
from oreo_envs.alfworld.world import Effect, World

Fact = tuple[str, ...]
"""A predicate and the ids it is about."""
Change = tuple[bool, Fact]
"""Whether a fact holds from now on, or lapses."""


def list_initial_facts(problem: PddlProblem) -> Iterator[Fact]:
    """All facts of a problem."""
    for predicate, rows in problem.facts.items():
        for ids in rows:
            yield (predicate, *ids)


def list_changes(world: World, agent: str, effect: Effect) -> list[Change]:
    """What an action that applies states, before it is carried out.

    An action also denies what did not hold, as its PDDL says: heating something denies that it is cool. It says
    nothing of what can never hold.
    """
    act, first, second = effect
    return _CHANGES[act.__name__](world, agent, first, second)


def _name_object(world: World, index: int) -> str:
    return world.game.objects[index].id


def _name_receptacle(world: World, index: int) -> str:
    return world.game.receptacles[index].id


def _name_place(world: World) -> str:
    return world.game.location_ids[world.location]


def _change_look(world: World, agent: str, _: int, __: int) -> list[Change]:
    return [(True, ("checked", _name_place(world)))]


def _change_self(world: World, agent: str, _: int, __: int) -> list[Change]:
    return [(True, ("checked", agent))]


def _change_examined_receptacle(world: World, agent: str, receptacle: int, _: int) -> list[Change]:
    return [(True, ("checked", _name_receptacle(world, receptacle)))]


def _change_examined_object(world: World, agent: str, held: int, _: int) -> list[Change]:
    return [(True, ("checked", _name_object(world, held)))]


def _change_place(world: World, agent: str, receptacle: int, _: int) -> list[Change]:
    there = world.game.location_ids[world.game.receptacles[receptacle].location]
    return [(False, ("atlocation", agent, _name_place(world))), (True, ("atlocation", agent, there))]


def _change_opened(world: World, agent: str, receptacle: int, _: int) -> list[Change]:
    place = _name_receptacle(world, receptacle)
    return [(True, ("opened", place)), (True, ("checked", place))]


def _change_closed(world: World, agent: str, receptacle: int, _: int) -> list[Change]:
    return [(False, ("opened", _name_receptacle(world, receptacle)))]


def _change_taken(world: World, agent: str, found: int, receptacle: int) -> list[Change]:
    thing = _name_object(world, found)
    return [
        (False, ("inreceptacle", thing, _name_receptacle(world, receptacle))),
        (True, ("holds", agent, thing)),
        (True, ("holdsany", agent)),
        (False, ("objectatlocation", thing, _name_place(world))),
    ]


def _change_put(world: World, agent: str, held: int, receptacle: int) -> list[Change]:
    thing = _name_object(world, held)
    return [
        (True, ("inreceptacle", thing, _name_receptacle(world, receptacle))),
        (True, ("objectatlocation", thing, _name_place(world))),
        (False, ("holds", agent, thing)),
        (False, ("holdsany", agent)),
    ]


def _change_clean(world: World, agent: str, held: int, _: int) -> list[Change]:
    return [(True, ("isclean", _name_object(world, held)))]


def _change_hot(world: World, agent: str, held: int, _: int) -> list[Change]:
    return [(True, ("ishot", _name_object(world, held))), *_deny_state(world, "coolable", "iscool", held)]


def _change_cool(world: World, agent: str, held: int, _: int) -> list[Change]:
    return [(True, ("iscool", _name_object(world, held))), *_deny_state(world, "heatable", "ishot", held)]


def _deny_state(world: World, ability: str, state: str, held: int) -> list[Change]:
    able = world.game.abilities[ability] >> held & 1
    return [(False, (state, _name_object(world, held)))] if able else []


def _change_lit(world: World, agent: str, lamp: int, _: int) -> list[Change]:
    return [(False, ("ison", _name_object(world, lamp))), (True, ("istoggled", _name_object(world, lamp)))]


def _change_sliced(world: World, agent: str, target: int, _: int) -> list[Change]:
    return [(True, ("issliced", _name_object(world, target)))]


_CHANGES: Mapping[str, Callable[[World, str, int, int], list[Change]]] = {
    "look": _change_look,
    "inventory": _change_self,
    "help": _change_self,
    "examine_receptacle": _change_examined_receptacle,
    "examine_object": _change_examined_object,
    "go_to": _change_place,
    "open": _change_opened,
    "close": _change_closed,
    "take": _change_taken,
    "place": _change_put,
    "clean_with": _change_clean,
    "heat_with": _change_hot,
    "cool_with": _change_cool,
    "use": _change_lit,
    "slice_with": _change_sliced,
}
"""By the name of the :class:`World`'s method; source: the effects of the actions in ``alfred.pddl``."""


class FactSet:
    """The facts of one play: those that hold, and the negations of those that have lapsed.

    TextWorld's planner keeps them in an order that differs from process to process; here they are in the order in which
    they came to hold.

    Args:
        problem: the room at the start.
        make: a fact object of the caller's, of a predicate and ids.
    """

    def __init__(self, problem: PddlProblem, make: Callable[[Fact], Any]) -> None:
        self._make = make
        self._facts = {fact: make(fact) for fact in list_initial_facts(problem)}

    def apply(self, changes: list[Change]) -> None:
        """Let facts hold or lapse."""
        for holds, fact in changes:
            denial = (f"not_{fact[0]}", *fact[1:])
            gone, new = (denial, fact) if holds else (fact, denial)
            self._facts.pop(gone, None)
            if new not in self._facts:
                self._facts[new] = self._make(new)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._facts.values())
