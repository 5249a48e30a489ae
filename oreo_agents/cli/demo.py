"""``oreo-agents demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, add_seed, mark_resumable, parse_positive


def add_demo(commands: Commands) -> None:
    """Options of ``demo``."""
    parser = add_command(commands, "demo", run_demo, "the whole path: record, train, evaluate, one table")
    mark_resumable(parser)
    parser.add_argument("--env", default="OREO-ALFWorld", metavar="ID", help="this or OREO-Reasoning")
    parser.add_argument(
        "--games", metavar="PATH", help="real games: a folder or archive of them; in OREO-Reasoning a task"
    )
    parser.add_argument("--output", "-o", type=Path, help="default: runs/demo, or runs/demo-ID")
    parser.add_argument("--from-scratch", action="store_true", help="ignore the shipped starting checkpoint")
    parser.add_argument("--episodes", type=parse_positive, metavar="N", help="held-out games to evaluate on")
    add_seed(parser)


def run_demo(args: argparse.Namespace) -> int | None:
    """Record, train and evaluate, end to end."""
    from oreo_agents import demo

    return demo.run(args)
