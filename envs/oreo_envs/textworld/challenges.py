"""The games that TextWorld can make: challenges, what their levels ask, and which game a seed is.

Knows nothing about how games are made or played, and imports nothing of TextWorld's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from oreo_envs.errors import ConfigurationError

Challenge = Literal["cooking", "coin_collector", "treasure_hunter", "simple"]
SPLITS = ("train", "test", "unseen")
"""``test`` has other games than ``train``, drawn alike; ``unseen`` those of TextWorld's own test distribution."""
ROOMS = (1, 6, 9, 12)


class ChallengeKind(NamedTuple):
    """What one challenge of TextWorld's takes."""

    default: str
    """The level that is meant where none is named."""
    levels: str
    """How a level is written."""
    read: Callable[[str], Mapping[str, Any] | None]
    """The settings of TextWorld's generator for a level; None if it is none."""
    write: Callable[[Mapping[str, Any]], str]
    """The level of settings, in the one spelling that games are named with."""
    unseen: bool = False
    """Whether TextWorld has a test distribution for it."""


@dataclass(frozen=True, slots=True)
class MadeGame:
    """One game that TextWorld makes: the same on every machine with the same version of TextWorld.

    Attributes:
        challenge: which generator.
        level: what it asks, as :func:`parse_level` spells it.
        split: one of :data:`SPLITS`.
        number: which of the split's games.
    """

    challenge: Challenge
    level: str
    split: str
    number: int

    @property
    def name(self) -> str:
        """Such as ``cooking/recipe1+take1+rooms6/train/17``."""
        return f"{self.challenge}/{self.level}/{self.split}/{self.number}"

    @property
    def seed(self) -> int:
        """Of TextWorld's generator: even to learn on, odd to be judged on."""
        return 2 * self.number + (self.split != "train")

    @property
    def settings(self) -> dict[str, Any]:
        """Of TextWorld's generator."""
        settings = dict(KINDS[self.challenge].read(self.level) or {})
        if self.challenge == "cooking":
            settings |= {"split": "test" if self.split == "unseen" else "train", "recipe_seed": 0}
        if self.challenge == "simple":
            settings["test"] = self.split == "unseen"
        return settings


def parse_level(challenge: str, level: str | int | None = None) -> tuple[Challenge, str]:
    """A challenge and its level in the one spelling that games are named with.

    Raises:
        ConfigurationError: there is no such challenge, or no such level of it.

    >>> parse_level("cooking", "cut+recipe2+take1")
    ('cooking', 'recipe2+take1+cut+rooms1')
    """
    if challenge not in KINDS:
        raise ConfigurationError(f"there is no challenge {challenge!r}: choose one of {', '.join(KINDS)}")
    kind = KINDS[challenge]
    settings = kind.read(str(kind.default if level is None else level))
    if settings is None:
        raise ConfigurationError(f"{challenge} has no level {level!r}: {kind.levels}")
    return challenge, kind.write(settings)  # type: ignore[return-value]


def check_split(challenge: Challenge, split: str) -> None:
    """Whether a challenge has a split.

    Raises:
        ConfigurationError: it has not.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
    if split == "unseen" and not KINDS[challenge].unseen:
        raise ConfigurationError(f"TextWorld has no test distribution for {challenge}: take the split test")


# ---------------------------------------------------------------- levels

_COUNTED = {"recipe": range(1, 6), "take": range(6), "rooms": ROOMS}
_ASKED = ("open", "cook", "cut", "drop")
_PART = re.compile("([a-z]+)([0-9]{0,2})")


def _read_cooking(level: str) -> Mapping[str, Any] | None:
    settings: dict[str, Any] = {"recipe": 1, "take": 0, "go": 1} | dict.fromkeys(_ASKED, False)
    for part in level.split("+"):
        word, digits = found.groups() if (found := _PART.fullmatch(part)) else ("", "")
        if word in _ASKED and not digits:
            settings[word] = True
        elif word in _COUNTED and digits and int(digits) in _COUNTED[word]:
            settings["go" if word == "rooms" else word] = int(digits)
        else:
            return None
    return settings if settings["take"] <= settings["recipe"] else None


def _write_cooking(settings: Mapping[str, Any]) -> str:
    asked = [word for word in _ASKED if settings[word]]
    return "+".join(
        [f"recipe{settings['recipe']}", f"take{settings['take']}", *asked, f"rooms{settings['go']}"]
    )


def _read_number(first: int, last: int, level: str) -> Mapping[str, Any] | None:
    number = int(level) if level.isascii() and level.isdecimal() and len(level) < 4 else 0
    return {"level": number} if first <= number <= last else None


def _read_coins(level: str) -> Mapping[str, Any] | None:
    settings = _read_number(1, 300, level)
    if settings is None:
        return None
    distractors, length = divmod(settings["level"] - 1, 100)
    return settings if (distractors + 1) * (length + 1) <= 100 else None  # of rooms, in a z-machine's memory


def _read_simple(level: str) -> Mapping[str, Any] | None:
    rewards, _, goal = level.partition("+")
    known = rewards in ("dense", "balanced", "sparse") and goal in ("detailed", "brief", "none")
    return {"rewards": rewards, "goal": goal} if known else None


KINDS: Mapping[str, ChallengeKind] = {
    "cooking": ChallengeKind(
        "recipe1+take1+open+cook+cut+rooms6",
        "write what it asks with + between: recipe1 to recipe5 (ingredients), take0 to take5 (of them to be found), "
        "open, cook, cut, drop, rooms1, rooms6, rooms9 or rooms12",
        _read_cooking,
        _write_cooking,
        unseen=True,
    ),
    "coin_collector": ChallengeKind(
        "5",
        "1 to 100 have so many rooms in a row, 101 to 150 and 201 to 233 dead ends beside them",
        _read_coins,
        lambda settings: str(settings["level"]),
    ),
    "treasure_hunter": ChallengeKind(
        "5",
        "choose 1 to 30",
        lambda level: _read_number(1, 30, level),
        lambda settings: str(settings["level"]),
    ),
    "simple": ChallengeKind(
        "dense+detailed",
        "write dense, balanced or sparse (points), +, and detailed, brief or none (what the goal says)",
        _read_simple,
        lambda settings: f"{settings['rewards']}+{settings['goal']}",
        unseen=True,
    ),
}
