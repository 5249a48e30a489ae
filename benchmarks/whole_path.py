"""The demo's comparison over several seeds: SFT, its continuation, rejection sampling, OREO, OREO best-of-5.

    python benchmarks/whole_path.py                                # generated rooms, 3 seeds
    python benchmarks/whole_path.py --games DIR --seeds 0          # ALFWorld's own train and valid_seen
    python benchmarks/whole_path.py --env OREO-Reasoning --seeds 0 # sums, one operation a step

Every seed is one run of ``oreo-agents demo`` (the same stages, resumable) under ``runs/whole_path``. Prints and
writes one table per method over all seeds, and the differences to the SFT start, paired on the same games.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from oreo_envs.catalog import DEFAULT_ID, describe
from rich.console import Console

from oreo_agents.bench.provenance import commit
from oreo_agents.bench.results import by_task_type
from oreo_agents.demo import setting, whole_path
from oreo_agents.evaluation import write_json
from oreo_agents.report.tables import to_markdown
from oreo_agents.statistics import paired_difference, wilson


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", default=DEFAULT_ID, metavar="ID", help="or OREO-Reasoning")
    parser.add_argument("--games", help="folder or archive of real games; default: generated ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/whole_path"), help="default: %(default)s")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/whole_path_*.json")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the demo's Recipe"
    )
    args = parser.parse_args()
    fields = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in args.set)}
    names = {"arithmetic": "math", "household": "real" if args.games else "generated"}
    name = names[describe(args.env).demo]
    arena, recipe = setting(args.env, args.games)
    runs = {}
    for seed in args.seeds:
        recipe = replace(recipe, seed=seed, **fields)
        runs[seed] = whole_path(arena, args.output / f"{name}-{seed}", recipe, Console(stderr=True))
    pooled = [pool([run[i] for run in runs.values()]) for i in range(len(runs[args.seeds[0]]))]
    summary = {
        "command": "python benchmarks/whole_path.py " + " ".join(sys.argv[1:]),
        "commit": commit(),
        "versions": {name: version(name) for name in ("torch", "transformers", "gymnasium")},
        "machine": f"{platform.machine()}, no GPU",
        "recipe": {**asdict(recipe), "seed": args.seeds},
        "arena": pooled[0]["arena"],
        "methods": pooled,
        "difference_to_sft": {p["method"]: difference(runs, i) for i, p in enumerate(pooled) if i},
        "runs": runs,
    }
    path = args.results or Path(__file__).parent / "results" / f"whole_path_{name}.json"
    write_json(path, summary)
    print(to_markdown(pooled))
    for method, found in summary["difference_to_sft"].items():
        low, high = found["interval95"]
        print(f"{method} minus SFT: {100 * found['mean']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")
    print(f"written to {path}")


def pool(results: list[dict]) -> dict:
    """One method over all seeds: counts add up, rates are averaged over runs of equal size."""
    n, successes = sum(r["n"] for r in results), sum(r["successes"] for r in results)
    mean = {
        name: sum(r[name] for r in results) / len(results)
        for name in ("invalid_action_rate", "mean_steps", "mean_steps_success", "tokens_per_episode")
    }
    return {
        "method": results[0]["method"],
        "arena": results[0]["arena"],
        "n": n,
        "successes": successes,
        "success_rate": successes / n,
        "wilson95": list(wilson(successes, n)),
        "per_seed": [r["success_rate"] for r in results],
        "by_task_type": by_task_type(results),
        **mean,
    }


def difference(runs: dict[int, list[dict]], i: int) -> dict:
    """Success of method ``i`` minus the SFT start, paired on games; bootstrap over games and seeds."""
    sft, other = ([run[j]["won"] for run in runs.values()] for j in (0, i))
    found = paired_difference(other, sft)
    return {"mean": found.mean, "interval95": [found.low, found.high]}


if __name__ == "__main__":
    main()
