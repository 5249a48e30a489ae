"""Play games side by side on the native engine and in TextWorld, and report the first difference of each.

    python benchmarks/correctness/alfworld_parity.py --games train.tar.xz valid_seen.tar.xz --generated 200 --jobs 2

Each source is a group of its own in the results. Each game is walked at random from a seed made of its name:
admissible commands (verbs drawn evenly, so that rare ones occur), pieces of the walkthrough or of an errand with a
knife, near misses, nonsense. After every step the observation, the admissible commands, won and the reward must be
equal; the walk goes on after a win.

The run can be stopped and started again: games found equal are kept in a log and not played again. The summary
covers every game in the log that was walked with the same steps and seed.
"""

import argparse
import gc
import hashlib
import json
import multiprocessing
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any

from oreo_envs.alfworld.experts.planner import shortest_plan
from oreo_envs.alfworld.game import TASK_TYPES, Game
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.places import GENERATED_SPLITS
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.text import format_put, reword_command, split_command
from oreo_envs.alfworld.world import World, list_bits
from oreo_envs.errors import GameFileError
from oreo_envs.files import write_json
from quick_textworld import remember_parses
from varied_games import PackagedRules, VariedGames

from oreo_agents.provenance import find_commit

RESULTS = Path(__file__).parents[1] / "results" / "alfworld_parity.json"
LOG = Path("runs") / "alfworld_parity.jsonl"
NONSENSE = (
    "",
    " ",
    "xyzzy",
    "go to",
    "take",
    "look around",
    "examine",
    "put",
    "help me",
    "go to the moon 1",
    "LOOK",
)


class CommandSource:
    """Draws the commands of a walk; the same game, seed and answers give the same commands."""

    def __init__(self, game: Game, seed: int):
        self.random = Random(f"{seed}/{game.name}")
        self.game = game
        self.errand = slicing_errand(game, self.random) if self.random.random() < 0.4 else []
        self.plan = self.errand or list(game.walkthrough) or shortest_plan(World(game))

    def next(self, admissible: list[str]) -> str:
        """The next command, given what is admissible."""
        draw = self.random.random()
        if self.plan and draw < (0.6 if self.errand else 0.3):
            return self.plan.pop(0)
        if draw < 0.8:
            return self._admissible(admissible)
        return self._near_miss(admissible) if draw < 0.96 else self.random.choice(NONSENSE)

    def _admissible(self, admissible: list[str]) -> str:
        by_verb: dict[str, list[str]] = {}
        for command in admissible:
            by_verb.setdefault(command.split()[0] if " " in command else "", []).append(command)
        return self.random.choice(by_verb[self.random.choice(sorted(by_verb))])

    def _near_miss(self, admissible: list[str]) -> str:
        """A command that is wrong in one thing, or says the same in the other wording or spacing."""
        random, command = self.random, self._admissible(admissible)
        thing = random.choice((*self.game.objects, *self.game.receptacles)).name
        parsed = split_command(command)
        changes = [
            command.upper(),
            f"  {command} ",
            command[:-1],
            command + "0",
            f"examine {thing}",
            f"take {thing} from {random.choice(self.game.receptacles or self.game.objects).name}",
            f"use {thing}",
            reword_command(command, "put" if self.game.wording == "move" else "move"),
        ]
        if parsed and parsed.first:
            changes.append(command.replace(parsed.first, thing, 1))
        return random.choice(changes)


def slicing_errand(game: Game, random: Random) -> list[str]:
    """Fetch a knife, slice something, and warm, cool and wash the slice, examining it each time."""
    inside = [
        (found, place) for place in game.receptacles for found in list_bits(game.start.inside[place.index])
    ]
    knives = [pair for pair in inside if game.knives >> pair[0] & 1]
    targets = [pair for pair in inside if game.abilities["sliceable"] >> pair[0] & 1]
    if not (knives and targets):
        return []
    (knife, drawer), (target, table) = random.choice(knives), random.choice(targets)
    tool, slice = game.objects[knife].name, game.objects[target].name
    errand = [
        f"go to {drawer.name}",
        f"open {drawer.name}",
        f"take {tool} from {drawer.name}",
        f"go to {table.name}",
    ]
    errand += [f"open {table.name}", f"slice {slice} with {tool}", format_put(tool, table.name, game.wording)]
    errand += [f"take {slice} from {table.name}", f"examine {slice}"]
    appliances = {"microwavetype": "heat", "fridgetype": "cool", "sinkbasintype": "clean"}
    stations = [place for place in game.receptacles if place.type in appliances]
    for station in random.sample(stations, len(stations)):
        errand += [f"go to {station.name}", f"{appliances[station.type]} {slice} with {station.name}"]
        errand.append(f"examine {slice}")
    return errand


def compare(reference: Any, content: str | bytes, name: str, steps: int, seed: int) -> dict[str, Any]:
    """Walk one game on both sides; ``difference`` is None or tells the first one with its history.

    A game that one side cannot load is not walked: ``not_loaded`` says why.
    """
    started = time.perf_counter()
    row: dict[str, Any] = {"game": name, "not_loaded": None, "steps": 0, "won_steps": 0, "difference": None}
    try:
        game = parse_game(content, name)
        row |= {"task_type": game.task_type, "wording": game.wording}
        reference.load(content, name)
    except GameFileError as error:
        row["not_loaded"] = str(error).removeprefix(f"{name}: ")
    else:
        row |= walk(World(game), reference, CommandSource(game, seed), steps)
    return row | {"seconds": round(time.perf_counter() - started, 2)}


def walk(native: World, reference: Any, commands: CommandSource, steps: int) -> dict[str, Any]:
    """Give both sides the same commands until they differ."""
    history: list[str] = []
    verbs: Counter[str] = Counter()
    won = 0
    difference = _differ(native, reference, native.reset(), reference.reset(), rewarded=False)
    while difference is None and len(history) < steps:
        command = commands.next(native.admissible_commands())
        history.append(command)
        observations = native.step(command), reference.step(command)
        difference = _differ(native, reference, *observations)
        won += native.won
        if native.action_status == "ok":
            verbs[command.split()[0]] += 1
    if difference is not None:
        difference["history"] = history
    return {"steps": len(history), "won_steps": won, "verbs": dict(verbs), "difference": difference}


def _differ(
    native: World, reference: Any, ours: str, theirs: str, rewarded: bool = True
) -> dict[str, Any] | None:
    pairs = {
        "observation": (ours, theirs),
        "admissible_commands": (native.admissible_commands(), reference.admissible_commands()),
        "won": (native.won, reference.won),
        "action_status": (native.action_status, reference.action_status),
    }
    if rewarded:
        pairs["reward"] = (float(native.won), reference.score)
    for what, (native_value, reference_value) in pairs.items():
        if native_value != reference_value:
            return {"what": what, "native": native_value, "textworld": reference_value}
    return None


# ---------------------------------------------------------------- many games

Source = Games | VariedGames | PackagedRules
Place = tuple[str, int]
"""A group of games and a position in it."""

_worker: dict[str, Any] = {}


def _start_worker(groups: Mapping[str, Source], steps: int, seed: int) -> None:
    from oreo_envs.alfworld.textworld_backend import TextWorldWorld

    remember_parses()
    gc.set_threshold(1_000_000)  # else collecting garbage takes half the time of TextWorld's planner
    _worker.update(reference=TextWorldWorld(), groups=groups, steps=steps, seed=seed)


def _work(place: Place) -> dict[str, Any]:
    group, index = place
    games = _worker["groups"][group]
    row = compare(
        _worker["reference"], games.text(index), games.names[index], _worker["steps"], _worker["seed"]
    )
    return {"group": group, "file": fingerprint(games, index)} | row


def run(
    groups: Mapping[str, Source], places: list[Place], steps: int, seed: int, jobs: int
) -> Iterator[dict[str, Any]]:
    """Compare games in worker processes, renewed now and then because TextWorld leaks."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, _start_worker, (groups, steps, seed), maxtasksperchild=400) as pool:
        yield from pool.imap_unordered(_work, places)


def find_groups(sources: Iterable[str], generated: int, varied: int) -> dict[str, Source]:
    """The games of each folder, file or archive, by its name, generated ones, and variations of them all."""
    groups = {Path(source).name.partition(".")[0]: find_games(None, [source], True) for source in sources}
    for split in GENERATED_SPLITS if generated else ():
        groups[split] = GeneratedGames(split)[: generated // len(GENERATED_SPLITS)]
    if generated:
        groups["generated, rules of the alfworld package"] = PackagedRules(groups["generated"])
    variations = {f"{name}, varied": VariedGames(games, varied) for name, games in groups.items() if varied}
    return groups | variations


def choose(games: Source, count: int | None, seed: int) -> list[int]:
    """`count` games with the task types taken in turn, or all of them."""
    by_type: dict[str, list[int]] = {}
    order = list(range(len(games)))
    Random(seed).shuffle(order)
    for index in order:
        by_type.setdefault(games.names[index].partition("-")[0], []).append(index)
    turns = [group[turn] for turn in range(len(order)) for group in by_type.values() if turn < len(group)]
    return turns[:count]


def choose_in_turn(groups: Mapping[str, Source], count: int | None, seed: int) -> list[Place]:
    """`count` games of each group or all of them, the groups taken in turn."""
    chosen = [[(name, index) for index in choose(games, count, seed)] for name, games in groups.items()]
    return [place for turn in zip_longest(*chosen) for place in turn if place is not None]


def summarise(rows: Iterable[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """The figures to record."""
    rows = list(rows)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return {
        "what": "native engine against TextWorld, step by step",
        "command": command_line(options),
        **count(rows),
        "groups": {name: count(group) for name, group in sorted(groups.items())},
        "games_by_commit": dict(Counter(row["commit"] for row in rows)),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("alfworld", "textworld", "fast-downward-textworld")},
    }


def count(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of some games together."""
    walked = [row for row in rows if was_walked(row)]
    verbs: Counter[str] = Counter()
    for row in walked:
        verbs.update(row["verbs"])
    return {
        "games": len(rows),
        "compared": len(walked),
        "not_loaded": dict(Counter(row["not_loaded"] for row in rows if not was_walked(row))),
        "steps": sum(row["steps"] for row in walked),
        "won_steps": sum(row["won_steps"] for row in walked),
        "differences": sum(row["difference"] is not None for row in walked),
        "games_by_task_type": {kind: sum(row["task_type"] == kind for row in walked) for kind in TASK_TYPES},
        "games_by_wording": dict(sorted(Counter(row["wording"] for row in walked).items())),
        "carried_out_by_verb": dict(sorted(verbs.items())),
    }


def was_walked(row: dict[str, Any]) -> bool:
    """Whether both sides could load the game."""
    return bool(row["steps"] or row["difference"])


def command_line(options: argparse.Namespace) -> str:
    """The command as it would be typed next to the data."""
    words = ["python benchmarks/correctness/alfworld_parity.py"]
    words += ["--games", *(Path(source).name for source in options.games)] if options.games else []
    numbers = ("generated", "varied", "count", "steps", "seed")
    words += [f"--{name} {value}" for name in numbers if (value := getattr(options, name)) is not None]
    return " ".join(words)


def fingerprint(games: Source, index: int) -> str:
    """Short hash of a game file; names do not tell apart the two wordings of a game."""
    content = games.text(index)
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


def read_log(log: Path, steps: int, seed: int) -> dict[str, dict[str, Any]]:
    """The games walked before in the same way, by fingerprint."""
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["file"]: row for row in rows if (row["walk"], row["seed"]) == (steps, seed)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", default=[], help="folders, game files or archives")
    parser.add_argument("--generated", type=int, default=0, help="that many generated games besides")
    parser.add_argument(
        "--varied", type=int, default=0, help="that many variations of the games of each source"
    )
    parser.add_argument(
        "--count", type=int, help="compare that many games of each source, task types in turn (default: all)"
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after that time; start again to go on")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the summary goes")
    parser.add_argument("--log", type=Path, default=LOG, help="where finished games are kept")
    options = parser.parse_args()

    groups = find_groups(options.games, options.generated, options.varied)
    rows = read_log(options.log, options.steps, options.seed)
    equal = {file for file, row in rows.items() if was_walked(row) and row["difference"] is None}
    places = choose_in_turn(groups, options.count, options.seed)
    todo = [(name, index) for name, index in places if fingerprint(groups[name], index) not in equal]
    print(f"{len(rows)} games compared before, {len(todo)} to go; log: {options.log}", flush=True)
    started, same = time.monotonic(), {"commit": find_commit(), "walk": options.steps, "seed": options.seed}
    options.log.parent.mkdir(parents=True, exist_ok=True)
    with options.log.open("a") as file:
        for row in run(groups, todo, options.steps, options.seed, options.jobs):
            rows[row["file"]] = row | same
            file.write(json.dumps(row | same) + "\n")
            file.flush()
            report(row, len(rows))
            if options.minutes and time.monotonic() - started > options.minutes * 60:
                break
    summary = summarise(rows.values(), options)
    write_json(options.output, summary)
    print(json.dumps(summary, indent=2))
    return 1 if summary["differences"] else 0


def report(row: dict[str, Any], number: int) -> None:
    """One line for a game, or the whole story of a difference."""
    if row["not_loaded"]:
        print(f"{number:5d}  not walked: {row['not_loaded']}  {row['game']}", flush=True)
    elif row["difference"] is None:
        print(
            f"{number:5d}  equal in {row['steps']} steps  {row['seconds']:5.1f} s  {row['game']}", flush=True
        )
    else:
        print(
            f"{number:5d}  DIFFERENCE  {row['game']}\n{json.dumps(row['difference'], indent=2)}", flush=True
        )


if __name__ == "__main__":
    sys.exit(main())
