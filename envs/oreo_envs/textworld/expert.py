"""An expert that plays from what can be read: TextWorld's cooking games, and its treasure hunts.

It remembers rooms, what lies in them and what it carries, from what the game says, whoever acted; so it can take over
at any point of an episode. It never looks at ``info``, and what it does not understand it answers with ``look``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
COOKED = {"fry": "fried", "roast": "roasted", "grill": "grilled"}
CUT = {"slice": "sliced", "dice": "diced", "chop": "chopped"}
APPLIANCES = {"fry": "stove", "roast": "oven", "grill": "BBQ"}
BOOKS = ("cookbook", "recipe book")

_TITLE = re.compile(r"-= (.+?) =-")
_RECIPE = re.compile(r"Ingredients:\s*\n(.*?)\n\s*Directions:\s*\n(.*)", re.DOTALL)
_CLOSED_FIRST = re.compile(r"You have to (?:open|unlock) (?:the )?(.+?)(?: with the (.+?))? first")
_FRIDGE = re.compile(r"\b(fridge|refrigerator)\b")
_HUNTED = re.compile(
    r"\b(?:retrieve|take|pick-up|pick|get|grab|recover|lift|collect|find|locate) (?:up )?(?:the |an? )?([a-z' -]+?)"
    r"(?= from\b| that\b| in\b| on\b| inside\b| within\b| off\b| located\b|[.,;]|$)",
    re.IGNORECASE,
)
_CONTAINER = re.compile(
    r"\bclosed ([a-z' -]+?)(?=[,.!;]| in | nearby| right | here| just | over | leading|$)", re.IGNORECASE
)


@dataclass
class Place:
    """What is known of a room."""

    exits: dict[str, str | None]
    """By direction, where it leads; None where nobody has gone yet."""
    text: str = ""
    taken: set[str] = field(default_factory=set)
    """What the text speaks of and is no longer there."""
    opened: set[str] = field(default_factory=set)

    def mentions(self, thing: str) -> bool:
        """Whether a thing is there, as far as is known."""
        return thing not in self.taken and bool(re.search(rf"\b{re.escape(thing)}\b", self.text))


class TextWorldExpert:
    """Finds the kitchen, reads the cookbook, gathers, cooks, cuts, prepares the meal and eats it.

    In games without a cookbook it looks for what the opening asks to take, and takes it.

    Args:
        seed: 0 tries directions as they are named; every other seed in an order of its own, game by game.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.reset("")

    def reset(self, observation: str, info: Mapping[str, Any] | None = None) -> None:
        """Start an episode with its opening observation; ``info`` is not looked at."""
        self._places: dict[str, Place] = {}
        self._here = ""
        self._style = Random(f"{self.seed}/{observation}") if self.seed else None
        self._next: list[str] = []
        self._held: set[str] = set()
        self._states: dict[str, set[str]] = {}
        self._full = self._counted = self._gathered = False
        self._recipe: dict[str, list[str]] | None = None
        opening = observation.partition("-= ")[0]
        self._cooks = any(book in opening for book in BOOKS)
        self._hunted = [] if self._cooks else [name.lower() for name in _HUNTED.findall(opening)]
        self._read("", observation)

    def observe(self, action: str, observation: str) -> None:
        """Tell the expert what an action, its own or another's, led to."""
        action = " ".join(str(action).split())
        if self._next and self._next[0] == action:
            self._next.pop(0)
        else:
            self._next.clear()
        self._read(action, observation)

    def act(self, observation: str, info: Mapping[str, Any] | None = None) -> str:
        """The next command; ``info`` is not looked at."""
        if not self._next:
            self._next.append(next(self._cook() if self._cooks else self._hunt(), "look"))
        return self._next[0]

    # ------------------------------------------------------------ what is read

    def _read(self, action: str, text: str) -> None:
        verb, _, rest = action.partition(" ")
        if titles := _TITLE.findall(text):
            self._enter(titles[-1], text.rpartition("=-")[2], rest if verb == "go" else "")
        elif self._here:
            self._change(verb, rest, text)
        if recipe := _RECIPE.search(text):
            self._recipe = {name: [] for line in recipe[1].splitlines() if (name := line.strip())}
            for line in recipe[2].splitlines():
                step, _, name = line.strip().partition(" the ")
                if name in self._recipe:
                    self._recipe[name].append(step)

    def _enter(self, title: str, text: str, direction: str) -> None:
        place = self._places.setdefault(title, Place({}))
        place.text, place.taken = text, set()
        named = [word for word in re.findall(r"\b(north|south|east|west)\b", text) if word not in place.exits]
        if self._style:
            self._style.shuffle(named)
        place.exits.update(dict.fromkeys(named))
        if direction in OPPOSITE and self._here and self._here != title:
            self._places[self._here].exits[direction] = title
            place.exits[OPPOSITE[direction]] = self._here
        self._here = title

    def _change(self, verb: str, rest: str, text: str) -> None:
        place = self._places[self._here]
        thing = rest.partition(" from ")[0].partition(" with ")[0]
        if blocked := _CLOSED_FIRST.search(text):
            door, key = blocked[1], blocked[2]
            self._next = [f"unlock {door} with {key}"] if key else []
            if verb == "go" and door in place.opened and not key:
                place.exits.pop(rest, None)  # it does not open
            elif verb == "go":
                self._next += [f"open {door}", f"go {rest}"]
        elif verb == "go":
            place.exits.pop(rest, None)
        elif verb in ("take", "get", "pick"):
            self._full = "too many" in text
            if re.match(r"\W*You (?:take|pick up)", text):
                self._held.add(thing)
                place.taken.add(thing)
            elif not self._full:
                place.taken.add(thing)
        elif verb in ("drop", "put", "insert"):
            thing = re.split(r" (?:on|into|in) ", thing)[0]
            self._held.discard(thing)
            self._full = False
            place.taken.discard(thing)
            place.text += f" {thing}."
        elif verb == "open":
            place.opened.add(thing)
            place.text += " " + text
        elif verb == "inventory":
            self._count(text)
        elif verb in ("cook", *CUT) and (done := re.search(r"You (\w+) the", text)):
            self._states.setdefault(thing, set()).add(CUT.get(done[1], done[1]))
        elif verb == "prepare" and "Adding the meal" in text:
            self._held = {"meal"}

    def _count(self, text: str) -> None:
        """Take in what the inventory says."""
        self._counted = True
        listed = text.partition("carrying:")[2].rstrip(". \n")
        self._held = set()
        for item in re.split(r",| and ", listed):
            words = item.split()[1:]
            states = {word for word in words if word in {*COOKED.values(), *CUT.values(), "raw", "burned"}}
            if name := " ".join(word for word in words if word not in states):
                self._held.add(name)
                self._states.setdefault(name, set()).update(states)

    # ------------------------------------------------------------ what to do

    def _cook(self) -> Iterator[str]:
        """What would be sensible now, the best first."""
        if not self._counted:
            yield "inventory"
        if "meal" in self._held:
            yield "eat meal"
        if self._recipe is None:
            yield from (
                f"examine {book}" for book in BOOKS if self._places_with(book) and self._is_here(book)
            )
            yield from self._go_to(*BOOKS)
            yield from self._explore()
            return
        yield from self._gather()
        if not self._gathered:
            self._gathered = True
            yield "inventory"  # what is cooked or cut already must not be cooked or cut again
        for name, steps in self._recipe.items():
            for step in steps:
                if step in COOKED and COOKED[step] not in self._states.get(name, ()):
                    yield from self._obtain(name)
                    yield from self._go_to(APPLIANCES[step])
                    yield f"cook {name} with {APPLIANCES[step]}"
        for name, steps in self._recipe.items():
            for step in steps:
                if step in CUT and CUT[step] not in self._states.get(name, ()):
                    yield from self._obtain(name)
                    yield from self._obtain("knife", sparing=name)
                    yield f"{step} {name} with knife"
        for name in self._recipe:
            yield from self._obtain(name)
        yield from self._go_to("stove")
        yield "prepare meal"

    def _gather(self) -> Iterator[str]:
        """Until all ingredients have once been held together."""
        assert self._recipe is not None
        missing = [name for name in self._recipe if name not in self._held]
        if self._gathered or not missing:
            return
        place = self._places[self._here]
        for name in missing:
            if place.mentions(name):
                yield from self._obtain(name)
        if (fridge := _FRIDGE.search(place.text)) and fridge[1] not in place.opened:
            yield f"open {fridge[1]}"
        for name in missing:
            if self._places_with(name):
                yield from self._obtain(name)
        yield from self._explore()

    def _obtain(self, name: str, sparing: str = "") -> Iterator[str]:
        """Take a thing, letting go of something else where the hands are full."""
        if name in self._held:
            return
        yield from self._go_to(name)
        if self._full:
            needed = self._recipe or {}
            rest = [thing for thing in self._held if thing not in (name, sparing)]
            yield from (f"drop {thing}" for thing in sorted(rest, key=lambda thing: thing in needed))
        yield f"take {name}"

    def _hunt(self) -> Iterator[str]:
        """Take what is looked for where it is; else look further."""
        wanted = [name for name in self._hunted if name not in self._held]
        for name in reversed(wanted):
            if self._is_here(name):
                yield f"take {name}"
        place = self._places.get(self._here, Place({}))
        for name in _CONTAINER.findall(place.text):
            if f"{name} leading" not in place.text and name not in place.opened:
                yield f"open {name}"
        yield from self._explore()

    def _is_here(self, thing: str) -> bool:
        return self._here in self._places_with(thing)

    def _places_with(self, thing: str) -> list[str]:
        return [title for title, place in self._places.items() if place.mentions(thing)]

    def _go_to(self, *things: str) -> Iterator[str]:
        """A step of the shortest known way to where one of them is, if it is elsewhere."""
        titles = {title for thing in things for title in self._places_with(thing)}
        if titles and self._here not in titles:
            yield from self._walk(lambda title, _: title in titles)
        elif not titles:
            yield from self._explore()

    def _explore(self) -> Iterator[str]:
        """A step of the shortest way to where nobody has gone yet."""
        yield from self._walk(lambda _, way: way is None)

    def _walk(self, reached: Any) -> Iterator[str]:
        if not self._here:
            return
        ways: deque[tuple[str, str]] = deque([(self._here, "")])
        seen = {self._here}
        while ways:
            title, first = ways.popleft()
            for direction, target in self._places[title].exits.items():
                step = first or f"go {direction}"
                if target is None:
                    if reached("", None):
                        yield step
                        return
                elif target not in seen:
                    if reached(target, target):
                        yield step
                        return
                    seen.add(target)
                    ways.append((target, step))
