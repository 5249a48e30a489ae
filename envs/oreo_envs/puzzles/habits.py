r"""A way to market with a hasty guide: the puzzle of which it is known what can be learnt from it, and how.

A way leads past the six places of :data:`PLACES` in random order. In each there are two commands, and a command gets
you past with its odds, whatever was done before; in every place one command is sure. The guide has a habit in each
place, which it follows with probability :data:`HABIT_SHARE` = 0.85. In five places the habit is the hasty command, with
odds of 0.6; in the sixth it is the sure one, so that always doing the opposite is no way out (it arrives in 60 %).

**The optimum.** The sure commands arrive always: 1. The habits alone arrive in 0.6^5 = 7.8 % of the ways, the guide
itself in (0.85 \* 0.6 + 0.15)^5 \* (0.85 + 0.15 \* 0.6) = 11.8 %, random commands in 0.8^6 = 26.2 %.

**Imitating successes does not change the mode.** Let a policy take the hasty command with probability p in some place,
after whatever history. How it falls is independent of all that happens elsewhere, so among the episodes that arrive the
hasty command was taken with probability 0.6 p / (0.6 p + 1 - p), which is above 1/2 wherever p > 1 / 1.6 = 0.625. At
p = 0.85 it is 0.77. The best imitation of successes, played greedily, therefore still follows every habit and arrives
in 7.8 % of the ways, as the best imitation of all episodes does, however many there are; a learner that errs in one of
the places comes to 13.0 %, in two to 21.6 %. Failures say what successes cannot: given a failure, the hasty command was
taken there for certain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import ClassVar, NamedTuple

from oreo_envs.named_games import SIZES, NamedGames, NumberedNames
from oreo_envs.puzzles.puzzle import Puzzle

HABIT_SHARE = 0.85
HASTY = 0.6


class Stop(NamedTuple):
    """Two ways past a place."""

    name: str
    habit: str
    other: str
    habit_odds: float
    other_odds: float

    @property
    def odds(self) -> Mapping[str, float]:
        """How likely each command is to get past."""
        return {self.habit: self.habit_odds, self.other: self.other_odds}

    @property
    def sure(self) -> str:
        """The command that always gets past."""
        return max(self.odds, key=self.odds.__getitem__)


PLACES = (
    Stop("river", "wade", "ferry", HASTY, 1.0),
    Stop("cliff", "climb", "detour", HASTY, 1.0),
    Stop("bog", "jump", "planks", HASTY, 1.0),
    Stop("bridge", "run", "creep", HASTY, 1.0),
    Stop("dog", "shove", "wait", HASTY, 1.0),
    Stop("gate", "open", "vault", 1.0, HASTY),
)


class WayPosition(NamedTuple):
    """How many places are behind, and whether the eggs are broken."""

    passed: int
    broken: bool


class Way(Puzzle[WayPosition]):
    """A way to market. Its luck is drawn with it, so that the same commands always lead to the same end."""

    kind = "habits"
    grammar = re.compile("|".join(command for place in PLACES for command in place.odds))
    habit_share = HABIT_SHARE
    task: ClassVar[str] = "Bring the eggs to market."  # type: ignore[misc]
    start: ClassVar[WayPosition] = WayPosition(0, False)  # type: ignore[misc]

    def __init__(self, name: str, random: Random) -> None:
        super().__init__(name)
        self.places = random.sample(PLACES, len(PLACES))
        self.luck = [random.random() for _ in PLACES]

    def __repr__(self) -> str:
        """Its name, its places and its luck."""
        return f"Way({self.name!r}, {[place.name for place in self.places]}, {self.luck})"

    def show(self, position: WayPosition) -> str:
        """The place that is ahead."""
        if position.broken:
            return "The eggs are broken."
        if self.is_solved(position):
            return "You are at the market."
        return f"A {self.places[position.passed].name}."

    def commands(self, position: WayPosition) -> Mapping[str, WayPosition]:
        """The two ways past the place."""
        if position.broken or self.is_solved(position):
            return {}
        passed, luck = position.passed, self.luck[position.passed]
        past, fallen = WayPosition(passed + 1, False), WayPosition(passed, True)
        return {
            command: past if luck < odds else fallen for command, odds in self.places[passed].odds.items()
        }

    def is_solved(self, position: WayPosition) -> bool:
        """At the market, with whole eggs."""
        return position.passed == len(self.places)

    def habit(self, position: WayPosition) -> str | None:
        """What the guide does without thinking."""
        return self.places[position.passed].habit if self.commands(position) else None

    def demonstrate(self, position: WayPosition) -> dict[str, float]:
        """The habit or the other command."""
        if not self.commands(position):
            return {}
        place = self.places[position.passed]
        return {place.habit: HABIT_SHARE, place.other: 1 - HABIT_SHARE}

    def _search(self, position: WayPosition) -> tuple[str, ...] | None:
        """The sure commands: it knows the odds, and not how they will fall."""
        return None if position.broken else tuple(place.sure for place in self.places[position.passed :])


class Ways(NamedGames[Way]):
    """Ways made on demand.

    Args:
        split: "train", "dev" or "test"; they have no way in common.
        seed: other seeds give other ways, and other names.
        size: how many; by default 10,000 to learn on and 1,000 otherwise.

    Raises:
        ValueError: there is no such split.
    """

    def __init__(self, split: str = "train", seed: int = 0, size: int | None = None) -> None:
        if split not in SIZES:
            raise ValueError(f"split={split!r} is none of {', '.join(map(repr, SIZES))}")
        variant = f"{split}-seed{seed}" if seed else split
        self.names = NumberedNames(f"habits/{variant}", SIZES[split] if size is None else size)

    def __getitem__(self, position):  # type: ignore[no-untyped-def]
        """A way, or several."""
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        name = self.names[position]
        return Way(name, Random(name))
