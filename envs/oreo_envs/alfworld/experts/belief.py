"""What someone who read all observations so far knows: the task, and a belief of the room."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from oreo_envs.alfworld.rooms import APPLIANCES
from oreo_envs.alfworld.text import NOTHING_HAPPENS, Wording, split_command


@dataclass(frozen=True, slots=True)
class Task:
    """What a task sentence asks for, in the words of the sentence."""

    object: str
    place: str
    """A type of receptacle, or of lamp."""
    verb: str = ""
    """``clean``, ``heat``, ``cool`` or nothing."""
    count: int = 1
    lamp: bool = False

    @property
    def appliance(self) -> str:
        """The type of receptacle that ``verb`` needs."""
        return APPLIANCES.get(self.verb, "").lower()


_SENTENCES: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = (
    (re.compile(r"put a (?P<state>clean|hot|cool) (?P<object>\w+) in (?P<place>\w+)"), {}),
    (re.compile(r"(?P<verb>clean|heat|cool) some (?P<object>\w+) and put it in (?P<place>\w+)"), {}),
    (re.compile(r"(?:find|put) two (?P<object>\w+) (?:and put them )?in (?P<place>\w+)"), {"count": 2}),
    (re.compile(r"look at (?P<object>\w+) under the (?P<place>\w+)"), {"lamp": True}),
    (re.compile(r"examine the (?P<object>\w+) with the (?P<place>\w+)"), {"lamp": True}),
    (re.compile(r"put (?:a|some) (?P<object>\w+) (?:in|on) (?P<place>\w+)"), {}),
)

_VERBS = {"clean": "clean", "hot": "heat", "cool": "cool"}


def parse_task(sentence: str) -> Task | None:
    """Understand a task sentence; None if it has none of ALFWorld's forms."""
    for pattern, more in _SENTENCES:
        found = pattern.search(sentence)
        if found:
            words = found.groupdict()
            verb = words.get("verb") or _VERBS.get(words.get("state", ""), "")
            return Task(words["object"], words["place"], verb, **more)
    return None


_LISTED = re.compile(r"you see (.*?)\.(?:\n|$)")
_NAME = re.compile(r"a ([a-z]+ \d+)")
_ON = re.compile(r"On the ([a-z]+ \d+), you see (.*?)\.(?:\s|$)")
_OPEN = re.compile(r"The ([a-z]+ \d+) is open\. In it, you see (.*?)\.(?:\s|$)")
_CLOSED = re.compile(r"The ([a-z]+ \d+) is closed\.")
_FACING = re.compile(r"You are facing the (.*?)\. Next to it")
_CARRYING = re.compile(r"You are carrying: a ([a-z]+ \d+)\.")


def kind_of(name: str) -> str:
    """The type in a name: ``drawer`` of ``drawer 12``."""
    return name.rpartition(" ")[0]


@dataclass(slots=True)
class Belief:
    """What someone who read all observations so far knows of the room."""

    receptacles: list[str] = field(default_factory=list)
    """In the order of the opening."""
    contents: dict[str, list[str]] = field(default_factory=dict)
    """What was last seen in each receptacle that has been seen into."""
    closed: set[str] = field(default_factory=set)
    here: set[str] = field(default_factory=set)
    """Receptacles known to be within reach."""
    together: dict[str, set[str]] = field(default_factory=dict)
    """For a receptacle: those known to be reached from the same place, itself included."""
    held: str = ""
    done_to: dict[str, set[str]] = field(default_factory=dict)
    """For ``clean``, ``heat`` and ``cool``: the objects it was done to last."""
    lit: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    """Commands that did nothing since something last changed."""
    wording: Wording = "move"

    @classmethod
    def from_opening(cls, opening: str) -> Belief:
        """Read the list of receptacles."""
        listed = _LISTED.search(opening)
        return cls(receptacles=_NAME.findall(listed[1]) if listed else [])

    def update(self, command: str, observation: str) -> None:
        """Take in what a command led to."""
        if observation.strip() == NOTHING_HAPPENS:
            self._fail(command)
            return
        parsed = split_command(command)
        if parsed is not None:
            act = getattr(self, "_" + parsed.verb.replace(" ", "_"), None)
            if act is not None:
                self.failed.clear()
                act(parsed.first, parsed.second)
        self._see(observation)

    def _see(self, observation: str) -> None:
        for pattern in (_ON, _OPEN):
            for name, listed in pattern.findall(observation):
                self.contents[name] = _NAME.findall(listed)
                self.closed.discard(name)
        self.closed.update(_CLOSED.findall(observation))
        if facing := _FACING.search(observation):
            self._meet(re.findall(r"[a-z]+ \d+", facing[1]))
        if carrying := _CARRYING.search(observation):
            self.held = carrying[1]
        if "You are not carrying anything." in observation:
            self.held = ""
        if observation.startswith("You arrive at loc "):
            self.wording = "put"

    def _fail(self, command: str) -> None:
        self.failed.add(command)
        parsed = split_command(command)
        if parsed is None:
            return
        if parsed.verb == "go to" and parsed.first in self.receptacles and self.here:
            self._meet([parsed.first])  # one cannot walk to where one stands
        elif parsed.verb == "take":
            self._forget(parsed.first, parsed.second)

    def _meet(self, names: Iterable[str]) -> None:
        """These are within reach, and so from the same place as whatever else is."""
        self.here.update(names)
        for name in list(self.here):
            self.here |= self.together.get(name, set())
        for name in self.here:
            self.together[name] = self.here

    def _forget(self, thing: str, receptacle: str) -> None:
        if thing in self.contents.get(receptacle, ()):
            self.contents[receptacle].remove(thing)

    def _go_to(self, receptacle: str, _: str) -> None:
        self.here = set()
        self._meet([receptacle])

    def _open(self, receptacle: str, _: str) -> None:
        self._meet([receptacle])
        self.closed.discard(receptacle)

    def _close(self, receptacle: str, _: str) -> None:
        self._meet([receptacle])
        self.closed.add(receptacle)

    def _take(self, thing: str, receptacle: str) -> None:
        self._meet([receptacle])
        self.held = thing
        self._forget(thing, receptacle)

    def _move(self, thing: str, receptacle: str) -> None:
        self._meet([receptacle])
        self.held = ""
        if thing not in self.contents.setdefault(receptacle, []):
            self.contents[receptacle].append(thing)

    def _put(self, thing: str, receptacle: str) -> None:
        self.wording = "put"
        self._move(thing, receptacle)

    def _clean(self, thing: str, _: str) -> None:
        self.done_to.setdefault("clean", set()).add(thing)

    def _heat(self, thing: str, _: str) -> None:
        self.done_to.setdefault("heat", set()).add(thing)
        self.done_to.get("cool", set()).discard(thing)

    def _cool(self, thing: str, _: str) -> None:
        self.done_to.setdefault("cool", set()).add(thing)
        self.done_to.get("heat", set()).discard(thing)

    def _use(self, lamp: str, _: str) -> None:
        self.lit.add(lamp)

    def where(self, kind: str) -> Iterator[tuple[str, str]]:
        """(object, receptacle) of every object of a type that was seen lying somewhere, first seen first."""
        for receptacle, things in self.contents.items():
            for thing in things:
                if kind_of(thing) == kind:
                    yield thing, receptacle

    def of_kind(self, kind: str) -> list[str]:
        """The receptacles of a type, by number."""
        return sorted((name for name in self.receptacles if kind_of(name) == kind), key=number_of)


def number_of(name: str) -> int:
    """The number in a name: 12 of ``drawer 12``."""
    return int(name.rpartition(" ")[2])
