"""An expert that searches as a player must.

:class:`SearchingExpert` sees only text. It keeps a :class:`Belief` of the room, which every observation
updates, whoever acted; its next command follows from the task, the belief and its style. So it can take over
at any point of an episode, and it never raises: what it cannot understand it answers with ``look``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

from oreo_envs.alfworld.experts.belief import Belief, Task, kind_of, number_of, parse_task
from oreo_envs.alfworld.rooms import load_statistics
from oreo_envs.alfworld.text import format_put

Order = Literal["likely", "listed"]


# ---------------------------------------------------------------- where things are likely to be

_TELLTALES = (
    ("kitchen", ("fridge", "microwave", "stoveburner")),
    ("bathroom", ("toilet", "bathtubbasin", "toiletpaperhanger", "handtowelholder", "towelholder")),
    ("bedroom", ("bed",)),
)
_OPENING_COST = 2.0
"""Commands it takes to see into a closed receptacle, where one suffices for an open one."""


def _room_kind(receptacles: Iterable[str]) -> str:
    kinds = {kind_of(name) for name in receptacles}
    return next((room for room, signs in _TELLTALES if kinds.intersection(signs)), "living room")


@cache
def _find_likelihoods(room_kind: str, thing: str) -> Mapping[str, float]:
    """How often an object of a type lies in one receptacle of each type, in rooms of a kind."""
    objects = {name.lower(): entry for name, entry in load_statistics()["objects"][room_kind].items()}
    entry = objects.get(thing, {})
    rates = entry.get("target_place") or entry.get("place", {})
    return {receptacle.lower(): rate for receptacle, rate in rates.items()}


@cache
def _list_openable_types() -> frozenset[str]:
    return frozenset(name.lower() for name in load_statistics()["openable"])


@cache
def _list_accepted_types(receptacle: str) -> frozenset[str]:
    """The types of objects that a type of receptacle can hold."""
    contains = {name.lower(): things for name, things in load_statistics()["can_contain"].items()}
    return frozenset(thing.lower() for thing in contains.get(receptacle, ()))


# ---------------------------------------------------------------- the player


class _Choice(NamedTuple):
    """A command that would serve, and why."""

    command: str
    thought: str


def _name_any(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


_LOST = _Choice("look", "I do not know how to go on. I look around.")
_PARTICIPLES = {"clean": "cleaned", "heat": "heated", "cool": "cooled"}


class SearchingExpert:
    """Looks for what the task needs where it is likely to be, and remembers what it sees on the way.

    One rule decides each command: finish what the hands hold; else take a needed object whose place is known;
    else look into the next place that may hold one. Likely places come first, by how often objects of the
    type lie there per command spent (``order="likely"``), or as the opening lists them (``order="listed"``).
    :attr:`thought` says which of the rules it was, in a sentence or two.

    Args:
        seed: 0 is the plain style; every other seed prefers places differently, game by game.
        order: how to search.

    Example:
        >>> from oreo_envs.alfworld.generator.games import GeneratedGames
        >>> from oreo_envs.alfworld.world import World
        >>> world, expert = World(GeneratedGames()[0]), SearchingExpert()
        >>> observation = world.reset()
        >>> expert.reset(observation)
        >>> for _ in range(50):
        ...     observation = world.step(expert.act(observation))
        ...     if world.won:
        ...         break
        >>> world.won
        True
    """

    def __init__(self, seed: int = 0, order: Order = "likely") -> None:
        self.seed, self.order = seed, order
        self.reset("")

    def reset(self, observation: str, info: Mapping[str, Any] | None = None) -> None:
        """Start an episode with its opening observation; ``info`` is not looked at."""
        self._belief = Belief.from_opening(observation)
        self._task = parse_task(observation.rpartition("Your task is to: ")[2])
        self._room_kind = _room_kind(self._belief.receptacles)
        self._style = Random(f"{self.seed}/{observation}") if self.seed else None
        self._ranks: dict[str, list[str]] = {}
        self._awaited: str | None = None
        self.thought = ""

    def observe(self, action: str, observation: str) -> None:
        """Tell the expert what an action, its own or another's, led to."""
        self._awaited = None
        self._belief.update(str(action).strip(), observation)

    def act(self, observation: str, info: Mapping[str, Any] | None = None) -> str:
        """The next command.

        Where :meth:`observe` was not called since the last one, that command is taken to have been carried
        out, with ``observation`` as its result. ``info`` is not looked at.
        """
        if self._awaited is not None:
            self._belief.update(self._awaited, observation)
        failed = self._belief.failed
        self._awaited, self.thought = next((c for c in self._options() if c.command not in failed), _LOST)
        return self._awaited

    # ------------------------------------------------------------ decisions, best first

    def _options(self) -> Iterator[_Choice]:
        task, belief = self._task, self._belief
        if task is None:
            return
        if belief.held:
            if kind_of(belief.held) == task.object:
                yield from self._show_to_lamp(task) if task.lamp else self._process(task)
            yield from self._put_aside()
        for thing, receptacle in self._known_targets(task):
            why = f"I need {self._name_target(task)}, and {thing} is at {receptacle}."
            yield from self._within_reach(receptacle, f"take {thing} from {receptacle}", why)
        yield from self._search(task.object, f"I need {self._name_target(task)}.")

    def _process(self, task: Task) -> Iterator[_Choice]:
        """Clean, heat or cool the held object if need be, then put it where it belongs."""
        held = self._belief.held
        have = f"I have {held}."
        if task.verb and held not in self._belief.done_to.get(task.verb, ()):
            why = f"{have} It has to be {_PARTICIPLES[task.verb]} first."
            for appliance in self._nearest_first(self._belief.of_kind(task.appliance)):
                yield from self._beside(appliance, f"{task.verb} {held} with {appliance}", why)
        elif task.verb:
            have = f"I have {held}, and it has been {_PARTICIPLES[task.verb]}."
        for place in self._goals(task):
            why = f"{have} It belongs at {place}."
            yield from self._within_reach(place, format_put(held, place, self._belief.wording), why)
            yield _Choice(format_put(held, place, "put" if self._belief.wording == "move" else "move"), why)

    def _show_to_lamp(self, task: Task) -> Iterator[_Choice]:
        have = f"I have {self._belief.held}."
        lamps = list(self._belief.where(task.place))
        for lamp, receptacle in lamps:
            why = f"{have} The light of {lamp} at {receptacle} will do."
            yield from self._beside(receptacle, f"use {lamp}", why)
        if not lamps:
            yield from self._search(task.place, f"{have} Now I need {_name_any(task.place)}.")

    def _put_aside(self) -> Iterator[_Choice]:
        """Free the hands of an object that is not needed, as near as it can be done."""
        held, belief = self._belief.held, self._belief
        accepting = [
            name for name in belief.receptacles if kind_of(held) in _list_accepted_types(kind_of(name))
        ]
        accepting.sort(key=lambda name: (name not in belief.here, self._needs_opening(name)))
        for receptacle in accepting:
            why = f"I have {held}, which is of no use. I leave it at {receptacle}."
            yield from self._within_reach(receptacle, format_put(held, receptacle, belief.wording), why)

    def _name_target(self, task: Task) -> str:
        """What has to be found next: ``a mug``, or ``another mug`` where one of two is in its place."""
        placed = task.count == 2 and any(
            kind_of(at) == task.place for _, at in self._belief.where(task.object)
        )
        return f"another {task.object}" if placed else _name_any(task.object)

    def _known_targets(self, task: Task) -> list[tuple[str, str]]:
        """Objects to take, and from where: those within reach first, then as they were seen."""
        belief = self._belief
        done = self._goals(task)[:1] if task.count == 2 else []
        ready = belief.done_to.get(task.verb, set())
        known = [(thing, place) for thing, place in belief.where(task.object) if place not in done]
        return sorted(known, key=lambda at: (at[0] not in ready, at[1] not in belief.here))

    def _goals(self, task: Task) -> list[str]:
        """Where to put the object: beside one that is there already, else within reach, else by number."""
        belief = self._belief
        goals = self._nearest_first(belief.of_kind(task.place))
        if task.count == 2:
            beside = [place for _, place in belief.where(task.object) if place in goals]
            goals.sort(key=lambda place: -beside.count(place))
        return goals

    def _search(self, kind: str, need: str) -> Iterator[_Choice]:
        """See into the places not seen into yet; when there are none left, begin anew."""
        contents = self._belief.contents
        if all(place in contents for place in self._belief.receptacles):
            contents.clear()
        for place in [name for name in self._ranking(kind) if name not in contents]:
            why = f"{need} It may be at {place}."
            if self._needs_opening(place):
                yield from self._beside(place, f"open {place}", why)
            yield from self._beside(place, f"examine {place}", why)

    # ------------------------------------------------------------ getting there

    def _beside(self, receptacle: str, command: str, why: str) -> Iterator[_Choice]:
        if receptacle not in self._belief.here:
            yield _Choice(f"go to {receptacle}", why)
        yield _Choice(command, why)

    def _within_reach(self, receptacle: str, command: str, why: str) -> Iterator[_Choice]:
        """Walk there and open it first, where that is needed."""
        if receptacle not in self._belief.here:
            yield _Choice(f"go to {receptacle}", why)
        if receptacle in self._belief.closed:
            yield _Choice(f"open {receptacle}", why)
        yield _Choice(command, why)

    def _nearest_first(self, receptacles: list[str]) -> list[str]:
        return sorted(receptacles, key=lambda name: name not in self._belief.here)

    def _needs_opening(self, receptacle: str) -> bool:
        belief = self._belief
        unseen = kind_of(receptacle) in _list_openable_types() and receptacle not in belief.contents
        return receptacle in belief.closed or unseen

    # ------------------------------------------------------------ where to look first

    def _ranking(self, kind: str) -> list[str]:
        """All receptacles in the order in which to look for an object of a type."""
        if kind not in self._ranks:
            ranked = list(self._belief.receptacles)
            if self.order == "likely":
                worth = {place: self._worth(kind, place) for place in dict.fromkeys(map(kind_of, ranked))}
                ranked.sort(key=lambda name: (-worth[kind_of(name)], kind_of(name), number_of(name)))
            elif self._style:
                self._style.shuffle(ranked)
            self._ranks[kind] = ranked
        return self._ranks[kind]

    def _worth(self, kind: str, place: str) -> float:
        """Chance per command of finding an object in one receptacle of a type."""
        task = self._task
        if task and not task.lamp and not task.verb and place == task.place:
            return 0.0  # had it been there, the task would be done
        chance = _find_likelihoods(self._room_kind, kind).get(place, 0.0)
        preference = self._style.lognormvariate(0.0, 0.7) if self._style else 1.0
        return preference * chance / (_OPENING_COST if place in _list_openable_types() else 1.0)
