"""Measure the real ALFWorld train games, and write what the generator draws from.

    python benchmarks/make_assets/alfworld_statistics.py --games DIR/json_2.1.1/train

writes, beside the generator (``envs/oreo_envs/alfworld/assets``):

- ``domain.pddl``, ``grammar.twl``: the texts that every 2.1.3 game embeds (ALFWorld, MIT licence), the task
  sentence replaced by ``@TASK@``;
- ``rooms.json``: the receptacles of all 120 floor plans, with the place where each is reached. 108 are
  measured from the games; the 12 that ALFRED keeps for its unseen splits come from the layout files of the
  ``alfworld`` package, with the few kinds of receptacles that those files leave out added;
- ``statistics.json``: how many objects of each type a kind of room has, and where they lie; goals;
  affordances.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[2] / "envs" / "oreo_envs" / "alfworld" / "assets"
KINDS = {0: "kitchen", 2: "living room", 3: "bedroom", 4: "bathroom"}
HELD_OUT = (2, 13, 21)
"""Numbers, within each kind, of the measured rooms that the training rooms leave out: typical ones."""
ALFRED_UNSEEN = (9, 10, 29, 215, 219, 226, 308, 315, 325, 404, 424, 425)
AVERAGE_WEIGHT = 33
"""Of rooms whose share of the games is not known: the train games per room."""
STARTS_OUTSIDE_GOAL = ("pick_and_place_simple", "pick_two_obj_and_place")
OPENABLE = ("Cabinet", "Drawer", "Fridge", "Microwave", "Safe")
FLAGS = ("pickupable", "isReceptacleObject", "cleanable", "heatable", "coolable", "toggleable", "sliceable")
LEFT_OUT_OF_LAYOUTS = {
    "kitchen": {"StoveBurner": 4, "CoffeeMachine": 1, "Toaster": 1, "GarbageCan": 1},
    "living room": {"GarbageCan": 1},
    "bedroom": {"GarbageCan": 1},
    "bathroom": {
        "GarbageCan": 1,
        "Toilet": 1,
        "HandTowelHolder": 1,
        "TowelHolder": 1,
        "ToiletPaperHanger": 1,
    },
}
TASK_SENTENCE = re.compile(r'(?<=Your task is to: ).*?(?=")')


def plain(identifier: str) -> str:
    """An id as AI2-THOR writes it, e.g. ``Cabinet|+00.41|+00.48|-01.15``."""
    for code, sign in (("_bar_", "|"), ("_plus_", "+"), ("_minus_", "-"), ("_dot_", ".")):
        identifier = identifier.replace(code, sign)
    return identifier


class Game:
    """The facts of one real game that matter here."""

    def __init__(self, path: Path) -> None:
        data = json.loads(path.read_text())
        self.domain, self.grammar = data["pddl_domain"], data["grammar"]
        folder = path.parent.parent.name
        self.task_type, self.object, _, self.receptacle, room = folder.split("-")
        self.room = int(room)
        self.kind = KINDS[self.room // 100]
        problem = data["pddl_problem"]
        start = problem.index("(:init")
        self.facts: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
        for fact in re.findall(r"\((\w+(?: [\w-]+)+)\s*\)", problem[start : problem.index("(:goal")]):
            predicate, *arguments = fact.split()
            self.facts[predicate].append(tuple(arguments))
        self.header = problem[:start]
        self.object_type = {o: t.removesuffix("Type") for o, t in self.facts["objectType"]}
        self.receptacle_type = {r: t.removesuffix("Type") for r, t in self.facts["receptacleType"]}
        self.inside: defaultdict[str, list[str]] = defaultdict(list)
        for o, r in self.facts["inReceptacle"]:
            self.inside[o].append(r)


def measured_rooms(games: list[Game]) -> dict[int, dict[str, Any]]:
    """Receptacles, places and overlapping receptacles of each room that occurs in ``games``."""
    by_room: defaultdict[int, list[Game]] = defaultdict(list)
    for game in games:
        by_room[game.room].append(game)
    return {number: measured_room(by_room[number]) for number in sorted(by_room)}


def measured_room(games: list[Game]) -> dict[str, Any]:
    """One room; ``overlaps``: [receptacle, another, P(an object of the first is also in the other)]."""
    at = sorted(games[0].facts["receptacleAtLocation"])
    order = {receptacle: i for i, (receptacle, _) in enumerate(at)}
    alone, both = Counter[int](), Counter[tuple[int, int]]()
    for receptacles in (rs for game in games for rs in game.inside.values()):
        first, *others = sorted(order[receptacle] for receptacle in receptacles)
        alone[first] += 1
        both.update((first, other) for other in others)
    overlaps = [[i, j, round(n / alone[i], 3)] for (i, j), n in sorted(both.items()) if n > 1]
    openable = {r for (r,) in games[0].facts["openable"]}
    receptacles = [[plain(r), plain(l).removeprefix("loc|"), int(r in openable)] for r, l in at]
    return {"weight": len(games), "receptacles": receptacles, "overlaps": overlaps}


def layout_room(number: int) -> dict[str, Any]:
    """A room of the alfworld package's layout files, with the kinds of receptacles that they leave out."""
    rng = random.Random(number)
    spec = find_spec("alfworld")
    assert spec and spec.origin, "the alfworld package is needed for the rooms that ALFRED holds out"
    layout_file = Path(spec.origin).parent / "gen" / "layouts" / f"FloorPlan{number}-openable.json"
    layout: dict[str, list[float]] = json.loads(layout_file.read_text())
    at = {
        r: f"{round(4 * x)}|{round(4 * z)}|{int(angle) // 90}|{int(tilt)}"
        for r, (x, z, angle, tilt) in layout.items()
    }
    present = Counter(receptacle.split("|")[0] for receptacle in at)
    for kind, count in LEFT_OUT_OF_LAYOUTS[KINDS[number // 100]].items():
        base = rng.choice(sorted(layout.values()))
        for i in range(max(0, count - present[kind])):
            x, z = base[0] + 0.3 * (i % 2), base[1] + 0.4 + 0.3 * (i // 2)
            at[f"{kind}|{x:+06.2f}|{0.9:+06.2f}|{z:+06.2f}"] = (
                f"{round(4 * base[0])}|{round(4 * base[1]) + 1}|{int(base[2]) // 90}|60"
            )
    receptacles = [[r, l, int(r.split("|")[0] in OPENABLE)] for r, l in sorted(at.items())]
    return {"weight": AVERAGE_WEIGHT, "receptacles": receptacles, "overlaps": []}


def object_statistics(games: list[Game]) -> dict[str, Any]:
    """Per object type: how often a room has 0, 1, 2, ... of it, and its rate in receptacles of each type."""
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for game in games:
        for name, count in Counter(game.object_type.values()).items():
            counts[name][count] += 1
    places, target_places = Rates(), Rates()
    for game in games:
        for o, name in game.object_type.items():
            first = min(game.inside.get(o, ()), default="")
            where = game.receptacle_type.get(first, "floor")
            if name != game.object:
                places.add(name, where, game.receptacle_type.values())
            elif where != "floor":
                impossible = game.receptacle if game.task_type in STARTS_OUTSIDE_GOAL else None
                possible = [kind for kind in game.receptacle_type.values() if kind != impossible]
                target_places.add(name, where, possible)
    return {
        name: {
            "count": [len(games) - seen.total(), *(seen[n] for n in range(1, max(seen) + 1))],
            "place": places.of(name),
            "target_place": target_places.of(name),
        }
        for name, seen in sorted(counts.items())
    }


class Rates:
    """How many objects of a type lie in a receptacle of a type, per object and receptacle."""

    def __init__(self) -> None:
        self._placed: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._available: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, name: str, where: str, receptacles: Iterable[str]) -> None:
        """Count an object that lies somewhere, and where it could have been."""
        self._placed[name][where] += 1
        self._available[name].update([*receptacles, "floor"])

    def of(self, name: str) -> dict[str, float]:
        """The rate for each type of receptacle, and for the floor."""
        available = self._available[name]
        return {where: round(n / available[where], 5) for where, n in sorted(self._placed[name].items())}


def goal_statistics(games: list[Game]) -> dict[str, Any]:
    """Per task type: how often each (room kind, object, place) occurs; how often 0 to 4 such objects."""
    goals: defaultdict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)
    targets: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for game in games:
        goals[game.task_type][game.kind, game.object, game.receptacle] += 1
        targets[game.task_type][min(4, list(game.object_type.values()).count(game.object))] += 1
    return {
        task: {
            "goals": [[*goal, n] for goal, n in sorted(goals[task].items())],
            "targets": [targets[task][n] for n in range(5)],
        }
        for task in sorted(goals)
    }


def affordances(games: list[Game]) -> dict[str, Any]:
    """What holds for every object or receptacle of a type."""
    flags: dict[str, list[str]] = {}
    for flag in FLAGS:
        names = {game.object_type[o] for game in games for (o,) in game.facts[flag] if o in game.object_type}
        flags[flag] = sorted(names - {"Footstool"})
    contains: defaultdict[str, set[str]] = defaultdict(set)
    for game in games:
        for receptacle, name in game.facts["canContain"]:
            contains[receptacle.removesuffix("Type")].add(name.removesuffix("Type"))
    fridge = [o for game in games for o, rs in game.inside.items() if any("Fridge" in r for r in rs)]
    cooled = sum(len(game.facts["isCool"]) for game in games)
    return {
        "flags": flags,
        "openable": OPENABLE,
        "can_contain": {r: sorted(names) for r, names in sorted(contains.items())},
        "cool_in_fridge": round(cooled / len(fridge), 4),
    }


def declared_types(game: Game) -> dict[str, list[str]]:
    """The type names that every game declares, in the order of the files."""
    names = re.findall(r"(\w+) - (otype|rtype)", game.header)
    return {
        kind: [name.removesuffix("Type") for name, k in names if k == kind] for kind in ("otype", "rtype")
    }


def rooms_table(measured: dict[int, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """All 120 floor plans, each in the group ``train`` or ``unseen``."""
    rooms = measured | {number: layout_room(number) for number in ALFRED_UNSEEN}
    return {
        str(number): {
            "kind": KINDS[number // 100],
            "group": "unseen" if number in ALFRED_UNSEEN or number % 100 in HELD_OUT else "train",
            **rooms[number],
        }
        for number in sorted(rooms)
    }


def one_line_each(table: dict[str, Any]) -> str:
    """JSON with one top-level entry a line, which diffs well."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in table.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", type=Path, required=True, help="folder of the real train split")
    games = [Game(path) for path in sorted(parser.parse_args().games.glob("*/*/game.tw-pddl"))]
    by_kind = {kind: [game for game in games if game.kind == kind] for kind in KINDS.values()}
    statistics = {
        "types": declared_types(games[0]),
        **affordances(games),
        "tasks": goal_statistics(games),
        "objects": {kind: object_statistics(some) for kind, some in by_kind.items()},
    }
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "domain.pddl").write_text(games[0].domain)
    (ASSETS / "grammar.twl").write_text(TASK_SENTENCE.sub("@TASK@", games[0].grammar))
    (ASSETS / "rooms.json").write_text(one_line_each(rooms_table(measured_rooms(games))))
    (ASSETS / "statistics.json").write_text(one_line_each(statistics))


if __name__ == "__main__":
    main()
