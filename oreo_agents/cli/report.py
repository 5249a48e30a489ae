"""``oreo-agents report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, parse_file, parse_positive, tell_next


def add_report(commands: Commands) -> None:
    """Options of ``report``."""
    parser = add_command(commands, "report", run_report, "write one self-contained HTML page about a dataset")
    parser.add_argument("path", type=Path, help="a dataset of recorded episodes")
    parser.add_argument(
        "--output", "-o", type=parse_file, default=Path("report.html"), help="default: %(default)s"
    )
    parser.add_argument(
        "--limit",
        type=parse_positive,
        default=500,
        metavar="N",
        help="episodes to look at, evenly spread; default: %(default)s",
    )


def run_report(args: argparse.Namespace) -> None:
    """Write the HTML report."""
    from oreo_envs.files import write_file

    from oreo_agents.dataset import load_trajectories
    from oreo_agents.report.html import report_page

    episodes = load_trajectories(args.path)
    page = report_page(str(args.path), episodes, args.limit)
    write_file(args.output, page)
    count = min(len(episodes), args.limit)
    tell_next(f"{args.output}: {len(episodes)} episodes, {count} of them to look at; open it in a browser")
