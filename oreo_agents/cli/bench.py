"""``oreo-agents bench``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import (
    Commands,
    add_command,
    mark_resumable,
    parse_file,
    parse_positive,
    parse_seed,
)


def add_bench(commands: Commands) -> None:
    """Options of ``bench``."""
    parser = add_command(
        commands, "bench", run_bench, "run a benchmark suite, or go on with it; one result file"
    )
    mark_resumable(parser)
    parser.add_argument(
        "--suite", default="smoke", metavar="NAME", help="or a TOML file; default: %(default)s"
    )
    parser.add_argument(
        "--seeds", type=parse_seed, nargs="+", metavar="N", help="of training; default: the suite's"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the suite's")
    parser.add_argument("--model", metavar="PATH", help="to start from; default: the suite's")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="games or problems; default: $ALFWORLD_DATA, else alfworld's cache",
    )
    parser.add_argument(
        "--jobs", type=parse_positive, default=1, metavar="N", help="stages at once; default: 1"
    )
    parser.add_argument("--output", "-o", type=Path, metavar="DIR", help="default: runs/bench/SUITE")
    parser.add_argument("--results", type=parse_file, metavar="FILE", help="default: results/SUITE.json")


def run_bench(args: argparse.Namespace) -> int | None:
    """Run a suite."""
    from oreo_agents.bench import run

    return run.run(args)
