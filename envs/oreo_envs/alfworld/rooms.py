"""The floor plans and measured frequencies behind the generated games, as ``assets`` has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

SPLITS = {"generated": "train", "generated_unseen": "unseen"}
"""Each split and the group of rooms it plays in; the groups share no room."""

ROOM_KINDS = ("kitchen", "living room", "bedroom", "bathroom")
APPLIANCES = {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"}


@dataclass(frozen=True, slots=True)
class Fixture:
    """A receptacle of a floor plan, in AI2-THOR's notation, e.g. ``Desk|+02.29|+00.01|-01.15``."""

    id: str
    type: str
    location: str
    openable: bool

    @property
    def position(self) -> tuple[float, float, float]:
        """Its x, y, z in metres."""
        x, y, z = self.id.split("|")[1:4]
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A floor plan: its receptacles, and which of them overlap in space."""

    number: int
    kind: str
    group: str
    weight: int
    """Number of real train games in it."""
    fixtures: tuple[Fixture, ...]
    overlaps: dict[int, tuple[tuple[int, float], ...]]
    """For a receptacle: others, with the probability that an object in it is in the other one too."""
    types: frozenset[str]
    """Of its receptacles."""

    def indices(self, receptacle_type: str) -> list[int]:
        """The receptacles of a type."""
        return [i for i, fixture in enumerate(self.fixtures) if fixture.type == receptacle_type]


def read_asset(name: str) -> str:
    """The text of a file in ``assets``."""
    return (files("oreo_envs.alfworld") / "assets" / name).read_text(encoding="utf-8")


@cache
def load_statistics() -> dict[str, Any]:
    """The measured frequencies and affordances; ``benchmarks/alfworld_statistics.py`` describes them."""
    return json.loads(read_asset("statistics.json"))


@cache
def load_rooms() -> tuple[Room, ...]:
    """All 120 floor plans."""
    return tuple(
        _parse_room(int(number), entry) for number, entry in json.loads(read_asset("rooms.json")).items()
    )


def _parse_room(number: int, entry: dict[str, Any]) -> Room:
    overlaps: dict[int, tuple[tuple[int, float], ...]] = {}
    for first, second, probability in entry["overlaps"]:
        overlaps[first] = (*overlaps.get(first, ()), (second, probability))
    fixtures = tuple(_parse_fixture(*receptacle) for receptacle in entry["receptacles"])
    types = frozenset(fixture.type for fixture in fixtures)
    return Room(number, entry["kind"], entry["group"], entry["weight"], fixtures, overlaps, types)


def _parse_fixture(id: str, location: str, openable: int) -> Fixture:
    parts = id.split("|")
    kind = parts[4] if len(parts) > 4 else parts[0]  # Sink|x|y|z|SinkBasin
    return Fixture(id, kind, f"loc|{location}", bool(openable))
