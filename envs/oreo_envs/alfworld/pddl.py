"""The PDDL problem of a game file: declared names, initial facts and the goal.

It reads exactly the shape that ALFWorld writes: typed names, flat facts over the predicates of the ALFRED
domain, and a goal. One pass over the tokens, no recursion, so time and memory are linear in the text.
"""

import re
from typing import NamedTuple

from oreo_envs.errors import GameFileError

PREDICATES = {
    "atlocation": ("agent", "location"),
    "receptacleatlocation": ("receptacle", "location"),
    "objectatlocation": ("object", "location"),
    "openable": ("receptacle",),
    "opened": ("receptacle",),
    "inreceptacle": ("object", "receptacle"),
    "isreceptacleobject": ("object",),
    "inreceptacleobject": ("object", "object"),
    "isreceptacleobjectfull": ("object",),
    "wasinreceptacle": ("object", "receptacle"),
    "checked": ("receptacle",),
    "examined": ("location",),
    "receptacletype": ("receptacle", "rtype"),
    "cancontain": ("rtype", "otype"),
    "objecttype": ("object", "otype"),
    "holds": ("agent", "object"),
    "holdsany": ("agent",),
    "holdsanyreceptacleobject": ("agent",),
    "full": ("receptacle",),
    "isclean": ("object",),
    "cleanable": ("object",),
    "ishot": ("object",),
    "heatable": ("object",),
    "iscool": ("object",),
    "coolable": ("object",),
    "pickupable": ("object",),
    "moveable": ("object",),
    "toggleable": ("object",),
    "ison": ("object",),
    "istoggled": ("object",),
    "sliceable": ("object",),
    "issliced": ("object",),
}
"""The predicates of the ALFRED domain, in lower case, with the kinds of their arguments."""

KINDS = frozenset({"agent", "location", "receptacle", "object", "rtype", "otype"})

Facts = dict[str, list[tuple[str, ...]]]


class PddlProblem(NamedTuple):
    """A PDDL problem; every name is in lower case, as the planner has it."""

    kinds: dict[str, str]
    """The kind of every declared name."""
    facts: Facts
    """Argument tuples of the initial facts, by predicate; every predicate is present."""
    goal: list[str]
    """The tokens of the (:goal ...) section."""


def parse_problem(text: str) -> PddlProblem:
    """Parse a PDDL problem. Raises GameFileError where it is not of the shape ALFWorld writes."""
    if ";" in text:
        text = re.sub(r";[^\n]*", "", text)
    tokens = text.lower().replace("(", " ( ").replace(")", " ) ").split()
    objects, init, goal = _find_sections(tokens)
    kinds = _read_declarations(tokens[objects + 2 : init - 1])
    return PddlProblem(kinds, _read_facts(tokens[init + 2 : goal - 1], kinds), tokens[goal:-1])


def _find_sections(tokens: list[str]) -> list[int]:
    """Positions of the brackets that open (:objects, (:init and (:goal, which must follow in this order."""
    if tokens[:3] != ["(", "define", "("] or tokens[-1] != ")":
        raise GameFileError("its PDDL problem is cut short, or is none.")
    starts = []
    position = 0
    for section in (":objects", ":init", ":goal"):
        try:
            position = tokens.index(section, position)
        except ValueError:
            raise GameFileError(f"its PDDL problem lacks the section {section}.") from None
        if tokens[position - 2 : position] != [")", "("]:
            raise GameFileError(f"its PDDL problem has no bracket before {section}.")
        starts.append(position - 1)
    return starts


def _read_declarations(tokens: list[str]) -> dict[str, str]:
    kinds: dict[str, str] = {}
    waiting: list[str] = []
    words = iter(tokens)
    for word in words:
        if word != "-":
            waiting.append(word)
            continue
        kind = next(words, "nothing")
        if kind not in KINDS:
            raise GameFileError(
                f"its PDDL problem declares {' '.join(waiting[:3])} as {kind!r}, an unknown type."
            )
        for name in waiting:
            if kinds.setdefault(name, kind) != kind:
                raise GameFileError(f"its PDDL problem declares {name!r} both as {kinds[name]} and {kind}.")
        waiting.clear()
    if waiting or "(" in kinds or ")" in kinds:
        raise GameFileError("the :objects of its PDDL problem are not a list of names and types.")
    return kinds


def _read_facts(tokens: list[str], kinds: dict[str, str]) -> Facts:
    facts: Facts = {predicate: [] for predicate in PREDICATES}
    words = iter(tokens)
    for opening in words:
        predicate, first, second = next(words, ""), next(words, ""), next(words, "")
        names: tuple[str, ...]
        found: tuple[str | None, ...]
        if second == ")":
            names, found, closing = (first,), (kinds.get(first),), second
        else:
            names, found, closing = (first, second), (kinds.get(first), kinds.get(second)), next(words, "")
        expected = PREDICATES.get(predicate)
        if opening != "(" or expected is None:
            raise GameFileError(f"its PDDL problem states the unknown fact {(opening + predicate)[:80]!r}.")
        if closing != ")" or found != expected:
            fact = f"{predicate} {' '.join(names)}"[:200]
            raise GameFileError(f"its PDDL problem states ({fact}) of undeclared, other or too many things.")
        facts[predicate].append(names)
    return facts
