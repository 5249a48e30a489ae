"""Game files as ALFWorld's archives do not have them.

Real files start with every container shut, nothing hot, clean, sliced or lit, and each thing whole. The rules and the
sentences also cover the rest: a lamp that is on, an object in two places, a bowl with contents, a receptacle that is
nowhere, an agent that starts in front of something. And the alfworld package writes files with rules of its own.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.pddl import PREDICATES, parse_problem

MOVED = ("atlocation", "receptacleatlocation")
"""Predicates that give a thing its one place, which is changed, not added."""
ADDED = (
    *(
        "inreceptacle",
        "objectatlocation",
        "opened",
        "openable",
        "isclean",
        "ishot",
        "iscool",
        "issliced",
        "istoggled",
    ),
    *("ison", "isreceptacleobject", "inreceptacleobject", "cleanable", "heatable", "coolable", "sliceable"),
    *("toggleable", "pickupable", "cancontain", "wasinreceptacle", "checked", "full"),
)
DROPPED = ("inreceptacle", "objectatlocation", "openable", "pickupable", "cancontain", "isreceptacleobject")


class VariedGames:
    """`count` games of `games`, each with some initial facts added and others left out."""

    def __init__(self, games: "Games | PackagedRules", count: int, seed: int = 0):
        self.games, self.seed = games, seed
        self.picked = Random(seed).sample(range(len(games)), count)
        self.names = [f"{games.names[position]}-varied" for position in self.picked]

    def __len__(self) -> int:
        return len(self.picked)

    def text(self, index: int) -> str:
        """The content of a varied game file."""
        data = json.loads(self.games.text(self.picked[index]))
        data["pddl_problem"] = vary(data["pddl_problem"], Random(f"{self.seed}/{index}"))
        return json.dumps(data)


class PackagedRules:
    """Games with the rules and sentences that the installed alfworld package gives to the games it makes."""

    def __init__(self, games: Games):
        self.games = games
        self.names = [f"{name}-packaged" for name in games.names]

    def __len__(self) -> int:
        return len(self.names)

    def text(self, index: int) -> str:
        """The content of a game file."""
        from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

        data = json.loads(self.games.text(index))
        task = self.games[index].task.removesuffix(".")
        data["pddl_domain"] = Path(ALFRED_PDDL_PATH).read_text()
        data["grammar"] = Path(ALFRED_TWL2_PATH).read_text().replace("UNKNOWN GOAL", task)
        return json.dumps(data)


def vary(problem: str, random: Random) -> str:
    """A PDDL problem with some of its initial facts changed."""
    kinds, facts, _ = parse_problem(problem)
    things: dict[str, list[str]] = {}
    for name in sorted({name for rows in facts.values() for names in rows for name in names}):
        things.setdefault(kinds[name], []).append(name)
    for predicate in DROPPED:
        for names in random.sample(facts[predicate], min(len(facts[predicate]), random.randrange(4))):
            problem = _replace(problem, (predicate, *names), "")
    for predicate in MOVED:
        if random.random() < 0.3:
            thing, place = random.choice(facts[predicate])
            problem = _replace(
                problem,
                (predicate, thing, place),
                f"({predicate} {thing} {random.choice(things['location'])})",
            )
    added = "".join(f"\n ({' '.join(fact)})" for fact in _new_facts(things, random))
    return re.sub(r"\(\s*:init", lambda found: found[0] + added, problem, count=1, flags=re.IGNORECASE)


def _replace(problem: str, fact: tuple[str, ...], replacement: str) -> str:
    pattern = r"\(\s*" + r"\s+".join(map(re.escape, fact)) + r"\s*\)"
    return re.sub(pattern, replacement, problem, flags=re.IGNORECASE)


def _new_facts(things: dict[str, list[str]], random: Random) -> Iterator[tuple[str, ...]]:
    for predicate in ADDED:
        for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
            yield predicate, *(random.choice(things[kind]) for kind in PREDICATES[predicate])
