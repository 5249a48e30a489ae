"""Measure programs for alfworld on the drop-in, side by side with TextWorld on the same games in the same run.

    python benchmarks/speed/drop_in.py --games valid_seen.tar.xz

Measured are a loop as ReAct's over as many games as ALFWorld's unseen split has, from the making of the environment to
the last command; ``init_env(32)`` with a reset and 50 steps, and these by themselves; and the scan of 8,810 folders,
as many as ALFWorld's train split has, by ``AlfredTWEnv(config, "train")``. Imports, the same on both sides, are told
by themselves. Each side begins with nothing loaded and no index. The figures go to benchmarks/results/drop_in.json.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "correctness"))

from drop_in_parity import Scene, find_walkthrough, make_config, write_sources
from oreo_envs.alfworld import drop_in
from oreo_envs.files import write_json

from oreo_agents.provenance import find_commit

RESULTS = Path(__file__).parents[1] / "results" / "drop_in.json"
TARGETS = {"react": 200.0, "batch": 500.0}
SECOND_SCAN = 0.5
FOLDERS = 8810
BATCH, STEPS = 32, 50


@contextlib.contextmanager
def begin_anew() -> Iterator[None]:
    """An empty cache, and no lines of the programs' own."""
    from oreo_envs.alfworld.drop_in import play

    play._load_file.cache_clear()
    kept = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as cache, contextlib.ExitStack() as stack:
        os.environ["XDG_CACHE_HOME"] = cache
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if kept is not None:
                os.environ["XDG_CACHE_HOME"] = kept


def measure(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds on the clock, and of all processes that took part and have ended."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return {"wall": time.perf_counter() - started, "cpu": sum(os.times()[:4]) - before}


def make_env(scene: Scene) -> Any:
    """Alfworld's environment over a scene's games."""
    from alfworld.agents.environment import get_environment

    return get_environment("AlfredTWEnv")(make_config(scene), train_eval="eval_out_of_distribution")


def play_as_react(scene: Scene) -> None:
    """ReAct's loop: each game once, its walkthrough after a look and a thought."""
    env = make_env(scene).init_env(batch_size=1)
    for _ in scene.games:
        _, infos = env.reset()
        for command in ("look", "think: I need to find it.", *find_walkthrough(infos["extra.gamefile"][0])):
            _, _, dones, infos = env.step([command])
            if dones[0]:
                break
        assert infos["won"][0]
    env.close()


def compare_react(scene: Scene, played: int) -> dict[str, Any]:
    """ReAct's loop over all games; TextWorld's time is scaled up where it plays fewer."""
    fewer = Scene(scene.games[:played], scene.folder)
    for path in map(str, scene.games):
        find_walkthrough(path)
    with begin_anew():
        theirs = measure(lambda: play_as_react(fewer))
    with begin_anew(), drop_in.installed():
        ours = measure(lambda: play_as_react(scene))
    scale = len(scene.games) / played
    return {
        "games": len(scene.games),
        "games_textworld_played": played,
        "textworld": {key: spent * scale for key, spent in theirs.items()},
        "native": ours,
        "ratio": {key: theirs[key] * scale / ours[key] for key in ours},
    }


def compare_batches(scene: Scene) -> dict[str, Any]:
    """``init_env(32)`` with a reset and 50 steps at random; of its parts the clock's time."""
    rows: dict[str, dict[str, float]] = {}
    for side, place in (("textworld", contextlib.nullcontext()), ("native", drop_in.installed())):
        parts: dict[str, float] = {}
        with begin_anew(), place:
            rows[side] = measure(lambda parts=parts: play_batch(scene, parts)) | parts
    return rows | {"ratio": {key: spent / rows["native"][key] for key, spent in rows["textworld"].items()}}


def play_batch(scene: Scene, parts: dict[str, float]) -> None:
    """Play a batch to the step limit, and note the seconds of its parts."""
    draw = Random(0)
    env = make_env(scene).init_env(batch_size=BATCH)
    started = time.perf_counter()
    _, infos = env.reset()
    parts["first_reset"] = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(STEPS):
        *_, infos = env.step([draw.choice(offered) for offered in infos["admissible_commands"]])
    parts["step"] = (time.perf_counter() - started) / STEPS
    del env  # and its processes


def write_folders(folder: Path) -> None:
    """Folders as of ALFWorld's train split, with small files."""
    game = json.dumps(
        {"pddl_domain": "", "grammar": "", "pddl_problem": "", "solvable": True, "walkthrough": []}
    )
    trial = json.dumps({"task_type": "pick_and_place_simple", "pddl_params": {}})
    for number in range(FOLDERS):
        place = folder / f"pick_and_place_simple-Mug-None-Shelf-{number // 3}" / f"trial_{number}"
        place.mkdir(parents=True)
        (place / "game.tw-pddl").write_text(game)
        (place / "traj_data.json").write_text(trial)


def compare_scans() -> dict[str, Any]:
    """The scan of a large split: alfworld's own, and the first and the second here."""
    from alfworld.agents.environment import get_environment

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_folders(folder)
        config = make_config(Scene([], folder))
        scan = lambda: get_environment("AlfredTWEnv")(config, "train")  # noqa: E731
        with begin_anew():
            seconds = {"alfworld": measure(scan)}
        with begin_anew(), drop_in.installed():
            seconds |= {"first": measure(scan), "second": measure(scan)}
    return {"folders": FOLDERS, **seconds}


def measure_imports() -> float:
    """Seconds until alfworld and TextWorld are imported, the first time in this process."""
    started = time.perf_counter()
    import alfworld.agents.environment.alfred_tw_env  # noqa: F401

    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", nargs="+", required=True, help="folders or archives of ALFWorld games")
    parser.add_argument("--count", type=int, default=134, help="games of ReAct's loop")
    parser.add_argument("--textworld-games", type=int, help="games of it that TextWorld plays; default: all")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    result: dict[str, Any] = {"what": "seconds of programs for alfworld; ratio = TextWorld / drop-in"}
    result["imports"] = measure_imports()
    result["scan"] = compare_scans()
    with tempfile.TemporaryDirectory() as place:
        games = write_sources(options.games, options.count, 0, Path(place))
        scene = Scene(games, Path(place))
        result["batch"] = compare_batches(scene)
        result["react"] = compare_react(scene, options.textworld_games or len(games))
    met = {name: result[name]["ratio"]["wall"] >= target for name, target in TARGETS.items()}
    met["scan"] = result["scan"]["second"]["wall"] < SECOND_SCAN
    result |= {
        "targets": {**TARGETS, "scan": SECOND_SCAN},
        "met": met,
        "games": [Path(source).name for source in options.games],
        "commit": find_commit(),
        "machine": {
            "python": platform.python_version(),
            "system": platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {name: version(name) for name in ("alfworld", "textworld")},
    }
    write_json(options.output, result)
    print(json.dumps(result, indent=2))
    return int(not all(met.values()))


if __name__ == "__main__":
    sys.exit(main())
