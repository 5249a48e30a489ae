"""``oreo-agents runs``: the trained agents in some folders, one beside the other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command


def add_runs(commands: Commands) -> None:
    """Options of ``runs``."""
    parser = add_command(commands, "runs", run_runs, "list trained agents, and compare how they were made")
    parser.add_argument(
        "folders", type=Path, nargs="*", default=[Path()], metavar="FOLDER", help="default: this one"
    )
    parser.add_argument(
        "--sort",
        choices=("name", "success", "value_error", "seconds"),
        default="name",
        help="default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run_runs(args: argparse.Namespace) -> None:
    """Find the agents and show what differs between them."""
    from oreo_agents.experiments.runs import find_runs, find_unfinished

    runs = find_runs(args.folders, args.sort)
    if args.json:
        print(json.dumps([run.to_json() for run in runs], indent=2))
        return
    from rich.console import Console

    from oreo_agents.report.tables import TrainedTable

    if runs:
        Console().print(TrainedTable(runs))
    if unfinished := find_unfinished(args.folders):
        print(f"not ended, and gone on with by the same command: {', '.join(unfinished)}")
