"""A drawn game in the format of the 2.1.3 game files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache, lru_cache

from oreo_envs.alfworld.generator.draw import Draft, DraftGoal
from oreo_envs.alfworld.rooms import Room, load_statistics, read_asset


def _mangle_id(id: str) -> str:
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


def _goal_text(goal: DraftGoal) -> str:
    if goal.task_type == "look_at_obj_in_light":
        return _GOAL_LIGHT.format(object=goal.object, place=goal.place)
    if goal.task_type == "pick_two_obj_and_place":
        return _GOAL_TWO.format(object=goal.object, place=goal.place)
    line = "\n" + 28 * " "
    types = f"(objectType ?o {goal.object}Type){line}(receptacleType ?r {goal.place}Type)"
    return _GOAL_PLACE.format(conditions=line.join(_CONDITIONS[goal.task_type]).format(types=types))


@cache
def _declared_types() -> str:
    types = load_statistics()["types"]
    objects = _INDENT.join(f"{name} - object" for name in types["otype"])
    otypes = _INDENT.join(f"{name}Type - otype" for name in types["otype"])
    rtypes = _INDENT.join(f"{name}Type - rtype" for name in types["rtype"])
    return f"(:objects\nagent1 - agent\n{objects}\n{otypes}\n{rtypes}\n\n"


@lru_cache(maxsize=128)
def _room_facts(room: Room) -> tuple[str, str, dict[str, str]]:
    """The lines of a room: declarations, facts, and for each type of object what can contain it."""
    declared = _INDENT.join(f"{_mangle_id(fixture.id)} - receptacle" for fixture in room.fixtures)
    facts = [f"(receptacleType {_mangle_id(fixture.id)} {fixture.type}Type)" for fixture in room.fixtures]
    facts += [f"(openable {_mangle_id(fixture.id)})" for fixture in room.fixtures if fixture.openable]
    facts += [
        f"(receptacleAtLocation {_mangle_id(fixture.id)} {_mangle_id(fixture.location)})"
        for fixture in room.fixtures
    ]
    contain: dict[str, list[str]] = {}
    for receptacle in dict.fromkeys(fixture.type for fixture in room.fixtures):
        for name in load_statistics()["can_contain"].get(receptacle, ()):
            contain.setdefault(name, []).append(f"(canContain {receptacle}Type {name}Type)")
    return declared, _INDENT.join(facts), {name: _INDENT.join(lines) for name, lines in contain.items()}


@cache
def _list_abilities(object_type: str) -> tuple[str, ...]:
    return tuple(flag for flag, names in load_statistics()["flags"].items() if object_type in names)


def _thing_facts(draft: Draft) -> Iterator[str]:
    fixtures = [_mangle_id(fixture.id) for fixture in draft.room.fixtures]
    for thing in draft.things:
        id = _mangle_id(thing.id)
        yield f"(objectType {id} {thing.type}Type)"
        yield from (f"({ability} {id})" for ability in _list_abilities(thing.type))
        yield f"(objectAtLocation {id} {_mangle_id(thing.location)})"
        yield from (f"(inReceptacle {id} {fixtures[i]})" for i in thing.inside)
    yield from (f"(isCool {_mangle_id(id)})" for id in sorted(draft.cool))


def _problem_text(draft: Draft, name: str) -> str:
    receptacles, room_facts, contain = _room_facts(draft.room)
    locations = {fixture.location for fixture in draft.room.fixtures} | {
        thing.location for thing in draft.things
    }
    declared = [f"{_mangle_id(thing.id)} - object" for thing in draft.things] + [receptacles]
    declared += [f"{_mangle_id(location)} - location" for location in sorted(locations | {draft.start})]
    present = sorted({thing.type for thing in draft.things} & contain.keys())
    facts = [
        room_facts,
        *(contain[name] for name in present),
        f"(atLocation agent1 {_mangle_id(draft.start)})",
    ]
    facts += _thing_facts(draft)
    return (
        f"\n(define (problem plan_{name})\n(:domain alfred)\n{_declared_types()}"
        f"{_INDENT}{_INDENT.join(declared)}{_INDENT})\n    \n\n(:init\n\n"
        f"{_INDENT}{_INDENT.join(facts)}{_INDENT})\n    \n{_goal_text(draft.goal)}"
    )


@cache
def _fixed_texts() -> tuple[str, str]:
    """Domain and grammar as JSON strings; the grammar still lacks its task."""
    return json.dumps(read_asset("domain.pddl")), json.dumps(read_asset("grammar.twl"))


def format_game(draft: Draft, trial: str) -> str:
    """The whole file, with an empty walkthrough at its end."""
    domain, grammar = _fixed_texts()
    return (
        f'{{"pddl_domain": {domain}, "grammar": {grammar.replace("@TASK@", draft.task)}, '
        f'"pddl_problem": {json.dumps(_problem_text(draft, trial))}, "solvable": true, "walkthrough": []}}'
    )
