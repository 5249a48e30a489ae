"""Measure the native ALFWorld engine, side by side with TextWorld on the same games in the same run.

    python benchmarks/speed/engine.py --games train.tar.xz

Times are CPU seconds of one process, so that other work on the machine disturbs little. A step includes the
admissible commands and whether the goal holds. The figures go to benchmarks/results/alfworld_speed.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import gymnasium as gym
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.world import World
from oreo_envs.files import write_json

RESULTS = Path(__file__).parents[1] / "results" / "alfworld_speed.json"
ENVIRONMENTS = (1, 4, 16, 64, 256, 1024)
EPISODE = 50


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """CPU seconds of one call."""
    started = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - started) / times


def walk(world: Any, steps: int, random: Random) -> None:
    """A random walk that reads the admissible commands and the goal at every step, in episodes of 50."""
    for step in range(steps):
        if step % EPISODE == 0:
            world.reset()
        commands = world.admissible_commands()
        world.step(commands[int(random.random() * len(commands))])
        world.won  # noqa: B018 (reading it is the point)


def native_row(content: str | bytes, name: str, steps: int) -> dict[str, float]:
    """Seconds for each operation of the native engine on one game."""
    world = World(parse_game(content, name))
    fresh = World(parse_game(content, name))
    return {
        "load": seconds(lambda: parse_game(content, name), 20),
        "load_and_reset": seconds(lambda: World(parse_game(content, name)).reset(), 20),
        "reset": seconds(world.reset, 1000),
        "step_in_first_episode": seconds(lambda: walk(fresh, EPISODE, Random(0))) / EPISODE,
        "step": seconds(lambda: walk(fresh, steps, Random(1))) / steps,
    }


def textworld_row(world: Any, content: str | bytes, name: str, steps: int) -> dict[str, float]:
    """The same for TextWorld, each operation once."""
    load = seconds(lambda: world.load(content, name))
    reset = seconds(world.reset)
    walked = seconds(lambda: walk(world, steps, Random(1)))  # resets once
    return {"load": load, "load_and_reset": load + reset, "reset": reset, "step": (walked - reset) / steps}


def compare_textworld(files: list[tuple[Any, str]], steps: int) -> list[dict[str, float]]:
    """A row per game; imports and first-time work are not measured."""
    from oreo_envs.alfworld.textworld_backend import TextWorldWorld

    world = TextWorldWorld()
    world.load(*files[0])
    return [textworld_row(world, *file, steps) for file in files]


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median over games of each operation."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def measure_opening(sources: list[str]) -> dict[str, float]:
    """Seconds to open an environment over all (unpacked) games, without and with an index."""
    games = find_games(games=sources)
    folders = sorted({str(path.parents[2]) for path in games.paths})
    kept = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        cold, warm = (_wall(lambda: gym.make("OREO-ALFWorld", games=folders)) for _ in range(2))
    os.environ.pop("XDG_CACHE_HOME")
    if kept is not None:
        os.environ["XDG_CACHE_HOME"] = kept
    return {"games": len(games), "cold": cold, "warm": warm}


def _wall(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_scaling(games: Games) -> list[dict[str, float]]:
    """Vector environments of growing size: steps per second, and the memory they add to the process."""
    rows = []
    for number in ENVIRONMENTS:
        before = _resident()
        envs = gym.make_vec("OREO-ALFWorld", num_envs=number, games=games)
        rounds = max(EPISODE, 4000 // number)
        spent = seconds(lambda envs=envs, rounds=rounds: play(envs, rounds))
        rows.append(
            {
                "environments": number,
                "steps_per_second": round(number * rounds / spent),
                "added_bytes": _resident() - before,
                "process_bytes": _resident(),
            }
        )
        envs.close()
    return rows


def play(envs: Any, rounds: int) -> None:
    """Random commands in all environments, games being loaded as episodes end."""
    random = Random(0)
    _, infos = envs.reset(seed=0)
    for _ in range(rounds):
        *_, infos = envs.step([random.choice(commands) for commands in infos["admissible_commands"]])


def _resident() -> int:
    """Resident memory of this process in bytes; 0 where /proc is missing."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", required=True, help="folders or archives of ALFWorld games")
    parser.add_argument("--count", type=int, default=6, help="games to play on both sides")
    parser.add_argument("--steps", type=int, default=20, help="steps of TextWorld per game")
    parser.add_argument("--native-steps", type=int, default=5000, help="steps of the native engine per game")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    games = find_games(games=options.games)
    indices = Random(0).sample(range(len(games)), min(options.count, len(games)))
    files = [(games.text(index), games.names[index]) for index in indices]
    native = medians([native_row(*file, options.native_steps) for file in files])
    scaling = measure_scaling(games)
    opening = measure_opening(options.games)
    reference = medians(compare_textworld(files, options.steps))
    result = {
        "what": "median CPU seconds per operation; ratio = TextWorld / native",
        "games_compared": len(indices),
        "native": native,
        "textworld": reference,
        "ratio": {key: round(reference[key] / native[key]) for key in reference},
        "native_steps_per_second": round(1 / native["step"]),
        "opening_seconds": opening,
        "scaling": scaling,
        "games": [Path(source).name for source in options.games],
        "machine": {
            "python": platform.python_version(),
            "system": platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {name: version(name) for name in ("alfworld", "gymnasium", "textworld")},
    }
    write_json(options.output, result)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
