"""Game files: what an ALFWorld ``game.tw-pddl`` says, checked and turned into values.

A game file is JSON with four parts: the PDDL domain (the rules), the text grammar (the sentences), the PDDL
problem (this room and this task) and a walkthrough. Rules and sentences are the same few texts in every
ALFWorld game; the engine implements those and recognises them by fingerprint. Only the problem differs.

Nothing here is trusted: a file is refused with :class:`GameFileError` in time linear in its size.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from oreo_envs.alfworld.game import (
    ABILITIES,
    EMPTY_HANDS,
    NOWHERE,
    Game,
    Goal,
    Object,
    Receptacle,
    Rules,
    State,
)
from oreo_envs.alfworld.pddl import Facts, PddlProblem, parse_problem
from oreo_envs.alfworld.text import Wording
from oreo_envs.errors import GameFileError, UnsupportedGameError
from oreo_envs.files import read_file

MAX_BYTES = 4_000_000
"""Refuse larger files unread; ALFWorld's own have 60 to 130 thousand bytes."""

THINGS = ("object", "receptacle", "location")
_SINK_OR_BASIN = frozenset({"sinktype", "sinkbasintype"})

# sha256 of the domain without comments, lower-cased, with runs of white space as one blank
_KNOWN_DOMAINS = {
    # game files 2.1.3
    "54e29bce2933d7dc48c8665e02d86add1d4600082641fbf91807eeb151cb08fa": Rules(True, _SINK_OR_BASIN),
    # game files 2.1.1
    "2bb2c5c7591ba4452d38c74721bd09a10c9d72c9ec3f5b2fb7cd8f9b57ae6a64": Rules(False, _SINK_OR_BASIN),
    # alfred.pddl of alfworld 0.4
    "da18d44ab1bcf831f61e90b88a99ad5766d8bbb562b6f87839b4b6ace4f796fe": Rules(
        True, frozenset({"sinkbasintype"})
    ),
}

# sha256 of the grammar without the task, with runs of white space as one blank
_KNOWN_GRAMMARS: dict[str, Wording] = {
    "ebbfaa254bed54bf5ad713e2adec962547c5ed45042eb122c022642204a7ecca": "move",  # game files 2.1.3
    "d0ceb176e47b8ecf359c02e76cccd9c41ee8014f8600f271a93b01a5f6e2c18c": "move",  # alfred.twl2 of alfworld 0.4
    "01b08e82e84eaab5897d35b747cdba348fd67553971d82b781acb7891d5245c4": "put",  # game files 2.1.1
}


def load_game(path: Path, name: str) -> Game:
    """Read a game file. Raises GameFileError, or UnsupportedGameError if it is a game by other rules."""
    return parse_game(read_game_file(path), name, path)


def read_game_file(path: Path) -> bytes:
    """The content of a game file. Raises GameFileError if it cannot be read or is far too large."""
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise GameFileError(f"{path} is larger than {MAX_BYTES:,} bytes and so no game file.") from error
        raise GameFileError(f"{path} cannot be read: {error.strerror or error}.") from error


def game_name(path: Path) -> str:
    """ "<task folder>/<trial folder>" of a game file, as text: bytes that are not UTF-8 are escaped."""
    name = "/".join(path.parts[-3:-1]) or path.name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def parse_game(text: str | bytes, name: str, path: Path | None = None) -> Game:
    """Parse the JSON text of a game file; `name` and `path` are kept and used in error messages.

    Raises:
        GameFileError: it is not a game file, or a damaged one.
        UnsupportedGameError: a game by other rules, or with other sentences, than ALFWorld's own.
    """
    return parse_file(text, name, path)[0]


def parse_file(text: str | bytes, name: str, path: Path | None = None) -> tuple[Game, PddlProblem]:
    """As :func:`parse_game`, with the PDDL problem."""
    where = str(path or name)
    try:
        return _build_game(_read_json(text), name, path)
    except UnsupportedGameError as error:
        raise UnsupportedGameError(f'{where}: {error} Play it with backend="textworld".') from None
    except GameFileError as error:
        raise GameFileError(f"{where}: {error}") from None


def _read_json(text: str | bytes) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise GameFileError(f"{len(text):,} characters are too many for a game file (at most {MAX_BYTES:,}).")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GameFileError(f"not valid JSON ({error}); the file may be truncated, fetch it again.") from None
    if not isinstance(data, dict):
        raise GameFileError("its JSON is not an object with pddl_domain, grammar and pddl_problem.")
    return data


def _build_game(data: dict[str, Any], name: str, path: Path | None) -> tuple[Game, PddlProblem]:
    rules = _recognise_domain(_require_text(data, "pddl_domain"))
    wording, task = _recognise_grammar(_require_text(data, "grammar"))
    if wording == "move" and not rules.has_help:
        raise UnsupportedGameError("its domain lacks the help action of its grammar.")
    if wording == "put" and rules.has_help:
        raise UnsupportedGameError("its grammar lacks the help action of its domain.")
    solvable = data.get("solvable", True)
    walkthrough = data.get("walkthrough") or []
    if not isinstance(solvable, bool):
        raise GameFileError('"solvable" is neither true nor false.')
    if not isinstance(walkthrough, list) or not all(isinstance(command, str) for command in walkthrough):
        raise GameFileError('"walkthrough" is not a list of commands.')
    problem = parse_problem(_require_text(data, "pddl_problem"))
    game = Game(
        name=name,
        path=path,
        task=task,
        wording=wording,
        rules=rules,
        solvable=solvable,
        walkthrough=tuple(walkthrough),
        **_read_room(problem),
    )
    return game, problem


def _require_text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise GameFileError(f'"{key}" is missing or not a text.')
    if not value.isascii():
        raise GameFileError(f'"{key}" holds characters outside ASCII.')
    return value


_recognised_domains: dict[bytes, Rules] = {}
_recognised_grammars: dict[bytes, Wording] = {}
_TASK_PREFIX = '"rhs": "Your task is to: '
_TASK_FORBIDDEN = frozenset(';|"<>[]#{}\\')


def _hash_text(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _recognise_domain(domain: str) -> Rules:
    digest = _hash_text(domain)
    if digest not in _recognised_domains:
        normal = " ".join(re.sub(r";[^\n]*", "", domain).lower().split())
        known = _KNOWN_DOMAINS.get(_hash_text(normal).hex())
        if known is None:
            raise UnsupportedGameError("its PDDL domain is none of ALFWorld's.")
        _recognised_domains[digest] = known
    return _recognised_domains[digest]


def _recognise_grammar(grammar: str) -> tuple[Wording, str]:
    before, found, rest = grammar.partition(_TASK_PREFIX)
    task, closed, after = rest.partition('"')
    if not (found and closed):
        raise UnsupportedGameError("its text grammar is none of ALFWorld's.")
    digest = _hash_text(before + "\0" + after)
    if digest not in _recognised_grammars:
        normal = " ".join((before + _TASK_PREFIX + closed + after).split())
        known = _KNOWN_GRAMMARS.get(_hash_text(normal).hex())
        if known is None:
            raise UnsupportedGameError("its text grammar is none of ALFWorld's.")
        _recognised_grammars[digest] = known
    if not task.isprintable() or not _TASK_FORBIDDEN.isdisjoint(task):
        raise UnsupportedGameError("its task line uses characters that the grammar gives a meaning.")
    return _recognised_grammars[digest], task


_QUALITIES = {"heatable": "hot", "coolable": "cool", "cleanable": "clean"}

_PLACE = (
    "( :goal ( and ( exists ( ?r - receptacle ) ( exists ( ?o - object ) ( and ( {able} ?o ) "
    "( objecttype ?o $ ) ( receptacletype ?r $ ) ( {state} ?o ) ( inreceptacle ?o ?r ) ) ) ) ) )"
)

# the six goals, with $ for each object or receptacle type: task type, ability it asks for
_GOALS = {
    "( :goal ( and ( exists ( ?r - receptacle ) ( exists ( ?o - object ) ( and ( inreceptacle ?o ?r ) "
    "( objecttype ?o $ ) ( receptacletype ?r $ ) ) ) ) ) )": ("pick_and_place_simple", None),
    _PLACE.format(able="cleanable", state="isclean"): ("pick_clean_then_place_in_recep", "cleanable"),
    _PLACE.format(able="heatable", state="ishot"): ("pick_heat_then_place_in_recep", "heatable"),
    _PLACE.format(able="coolable", state="iscool"): ("pick_cool_then_place_in_recep", "coolable"),
    "( :goal ( and ( exists ( ?r - receptacle ) ( exists ( ?o1 - object ) ( and ( objecttype ?o1 $ ) "
    "( receptacletype ?r $ ) ( inreceptacle ?o1 ?r ) ( exists ( ?o2 - object ) ( and ( not ( = ?o1 ?o2 ) ) "
    "( objecttype ?o2 $ ) ( receptacletype ?r $ ) ( inreceptacle ?o2 ?r ) ) ) ) ) ) ) )": (
        "pick_two_obj_and_place",
        None,
    ),
    "( :goal ( and ( exists ( ?ot - object ?r - receptacle ?a - agent ?l - location ) ( and "
    "( objecttype ?ot $ ) ( toggleable ?ot ) ( istoggled ?ot ) ( receptacleatlocation ?r ?l ) "
    "( atlocation ?a ?l ) ( inreceptacle ?ot ?r ) ) ) ( exists ( ?o - object ?a - agent ) ( and "
    "( objecttype ?o $ ) ( holds ?a ?o ) ) ) ) )": ("look_at_obj_in_light", None),
}


def _read_goal(tokens: list[str], kinds: dict[str, str]) -> tuple[str, str | None, list[str]]:
    """Task type, ability and the object and receptacle types of a goal in the order they are written."""
    types = [token for token in tokens if kinds.get(token) in ("otype", "rtype")]
    pattern = " ".join(["$" if kinds.get(token) in ("otype", "rtype") else token for token in tokens])
    known = _GOALS.get(pattern)
    if known is None:
        raise UnsupportedGameError("its goal is none of ALFWorld's six.")
    task_type, ability = known
    if task_type == "pick_two_obj_and_place" and types[:2] != types[2:]:
        raise UnsupportedGameError("its goal asks for two objects of different types.")
    return task_type, ability, types


def _number_names(facts: Facts, kinds: dict[str, str]) -> dict[str, str]:
    """Human names of the things that occur in facts, as alfworld's Demangler(shuffle=False) gives them.

    Numbers count down: of the ids that share a name, the first in sorted order gets the highest.
    """
    of_things = chain.from_iterable(rows for predicate, rows in facts.items() if predicate != "cancontain")
    ids = sorted([id for id in set(chain.from_iterable(of_things)) if kinds[id] in THINGS])
    stems = {}
    for id in ids:
        stem, found, _ = id.partition("_bar_")
        if found:
            stems[id] = stem + "basin" if "basin" in id else stem
    left = Counter(stems.values())
    names = {}
    for id in ids:
        if id in stems:
            names[id] = f"{stems[id]} {left[stems[id]]}"
            left[stems[id]] -= 1
        else:
            names[id] = _demangle_id(id) + " "
    return names


def _demangle_id(id: str) -> str:
    """An id as the Demangler spells it where it has no ``_bar_``."""
    return id.replace("_minus_", "-").replace("_plus_", "+").replace("_dot_", ".").replace("_comma_", ",")


class _Index:
    """The names of a problem's things and their positions in the tuples of a Game."""

    def __init__(self, problem: PddlProblem):
        self.names = _number_names(problem.facts, problem.kinds)
        ids: dict[str, list[str]] = {kind: [] for kind in THINGS}
        for id in self.names:  # in sorted order
            ids[problem.kinds[id]].append(id)
        self.objects = {id: index for index, id in enumerate(ids["object"])}
        self.receptacles = {id: index for index, id in enumerate(ids["receptacle"])}
        self.locations = {id: index for index, id in enumerate(ids["location"])}


def _read_room(problem: PddlProblem) -> dict[str, Any]:
    """The parts of a Game that its PDDL problem tells."""
    facts = problem.facts
    start = _map_facts(facts, "atlocation", "location")
    if len(start) != 1 or list(problem.kinds.values()).count("agent") != 1:
        raise GameFileError("it needs exactly one agent, at one location.")
    if facts["holds"] or facts["holdsany"]:
        raise UnsupportedGameError("its agent starts with an object in hand.")
    index = _Index(problem)
    object_types = _map_facts(facts, "objecttype", "type")
    of_type: dict[str, int] = {}
    for id, kind in object_types.items():
        of_type[kind] = of_type.get(kind, 0) | 1 << index.objects[id]
    abilities = {ability: _make_mask(facts, ability, index.objects) for ability in ABILITIES}
    receptacles = _make_receptacles(facts, index, of_type)
    here: list[list[int]] = [[] for _ in index.locations]
    for receptacle in receptacles:
        if receptacle.location != NOWHERE:
            here[receptacle.location].append(receptacle.index)
    (start_location,) = start.values()
    return {
        "objects": _make_objects(facts, index, object_types),
        "receptacles": receptacles,
        "location_ids": tuple(index.locations),
        "location_names": tuple(index.names[id] for id in index.locations),
        "receptacles_at": tuple(map(tuple, here)),
        "openable_at": tuple(
            _unite_masks(1 << i for i in indices if receptacles[i].openable) for indices in here
        ),
        "abilities": abilities,
        "knives": of_type.get("knifetype", 0) | of_type.get("butterknifetype", 0),
        "contents": _list_contents(facts, index),
        "goal": _make_goal(_read_goal(problem.goal, problem.kinds), of_type, abilities, receptacles),
        "start": _make_start(facts, index, index.locations[start_location]),
    }


def _make_objects(facts: Facts, index: _Index, types: dict[str, str]) -> tuple[Object, ...]:
    containers = {id for (id,) in facts["isreceptacleobject"]}
    return tuple(
        Object(position, id, index.names[id], types.get(id, ""), id in containers)
        for id, position in index.objects.items()
    )


def _make_receptacles(facts: Facts, index: _Index, of_type: dict[str, int]) -> tuple[Receptacle, ...]:
    types = _map_facts(facts, "receptacletype", "type")
    places = _map_facts(facts, "receptacleatlocation", "location")
    openable = {id for (id,) in facts["openable"]}
    accepted: dict[str, int] = {}
    for receptacle_type, object_type in facts["cancontain"]:
        accepted[receptacle_type] = accepted.get(receptacle_type, 0) | of_type.get(object_type, 0)
    return tuple(
        Receptacle(
            index=position,
            id=id,
            name=index.names[id],
            type=types.get(id, ""),
            location=index.locations[places[id]] if id in places else NOWHERE,
            openable=id in openable,
            accepts=accepted.get(types.get(id, ""), 0),
        )
        for id, position in index.receptacles.items()
    )


def _make_start(facts: Facts, index: _Index, location: int) -> State:
    inside = [0] * len(index.receptacles)
    for id, receptacle in facts["inreceptacle"]:
        inside[index.receptacles[receptacle]] |= 1 << index.objects[id]
    nearby = [0] * len(index.locations)
    for id, place in facts["objectatlocation"]:
        nearby[index.locations[place]] |= 1 << index.objects[id]
    return State(
        location=location,
        held=EMPTY_HANDS,
        opened=_make_mask(facts, "opened", index.receptacles),
        hot=_make_mask(facts, "ishot", index.objects),
        cool=_make_mask(facts, "iscool", index.objects),
        clean=_make_mask(facts, "isclean", index.objects),
        sliced=_make_mask(facts, "issliced", index.objects),
        toggled=_make_mask(facts, "istoggled", index.objects),
        inside=tuple(inside),
        nearby=tuple(nearby),
        taken=(0,) * len(inside),
    )


def _list_contents(facts: Facts, index: _Index) -> dict[int, tuple[int, ...]]:
    contents: dict[int, list[int]] = {}
    for inner, outer in sorted(set(facts["inreceptacleobject"])):
        contents.setdefault(index.objects[outer], []).append(index.objects[inner])
    return {outer: tuple(inner) for outer, inner in contents.items()}


def _map_facts(facts: Facts, predicate: str, what: str) -> dict[str, str]:
    """A binary predicate as a mapping. Raises UnsupportedGameError if it is not one."""
    mapping: dict[str, str] = {}
    for key, value in facts[predicate]:
        if mapping.setdefault(key, value) != value:
            raise UnsupportedGameError(f"{key!r} has more than one {what}.")
    return mapping


def _make_mask(facts: Facts, predicate: str, positions: dict[str, int]) -> int:
    """The bits of the things of which a unary predicate holds."""
    return _unite_masks(1 << positions[id] for (id,) in facts[predicate])


def _make_goal(
    goal: tuple[str, str | None, list[str]],
    of_type: dict[str, int],
    abilities: dict[str, int],
    receptacles: tuple[Receptacle, ...],
) -> Goal:
    task_type, ability, types = goal
    if task_type == "look_at_obj_in_light":
        lamp_type, object_type = types
        return Goal(
            task_type, of_type.get(object_type, 0), lamps=of_type.get(lamp_type, 0) & abilities["toggleable"]
        )
    qualified = of_type.get(types[0], 0) & (abilities[ability] if ability else -1)
    targets = tuple(receptacle.index for receptacle in receptacles if receptacle.type == types[1])
    count = 2 if task_type == "pick_two_obj_and_place" else 1
    return Goal(task_type, qualified, targets, count, quality=_QUALITIES.get(ability or "", ""))


def _unite_masks(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
