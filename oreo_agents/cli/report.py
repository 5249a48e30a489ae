"""``oreo-agents report``."""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, parse_file, parse_positive, tell_next
from oreo_agents.errors import ConfigurationError


def add_report(commands: Commands) -> None:
    """Options of ``report``."""
    summary = (
        "write one self-contained HTML page about recorded episodes, or about two runs beside each other"
    )
    parser = add_command(commands, "report", run_report, summary)
    parser.add_argument("path", type=Path, help="a dataset of recorded episodes")
    parser.add_argument(
        "other", type=Path, nargs="?", help="another run of the same games, to be compared with it"
    )
    parser.add_argument(
        "--output", "-o", type=parse_file, default=Path("report.html"), help="default: %(default)s"
    )
    parser.add_argument(
        "--limit",
        type=parse_positive,
        default=500,
        metavar="N",
        help="games to look at, evenly spread, of two runs first those that came out differently; default: %(default)s",
    )


def run_report(args: argparse.Namespace) -> None:
    """Write the HTML report."""
    from oreo_envs.files import write_file

    from oreo_agents.dataset import load_trajectories
    from oreo_agents.report.html import ReportedRun, render_report

    paths = [args.path, *([args.other] if args.other else [])]
    episodes = [load_trajectories(path) for path in paths]
    runs = [ReportedRun(*of) for of in zip(name_runs(paths), episodes, strict=True)]
    page = render_report(runs, args.limit)
    write_file(args.output, page)
    told = " and ".join(f"{len(one)} episodes" for one in episodes)
    tell_next(f"{args.output}: {told}, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")


def name_runs(paths: list[Path]) -> list[str]:
    """What runs are called: by its path a single one; of two, by the last part of their paths that tells them apart.

    Raises:
        ConfigurationError: both are the same.
    """
    if len(paths) == 1:
        return [str(paths[0])]
    if paths[0].resolve() == paths[1].resolve():
        raise ConfigurationError(f"{paths[0]} would be compared with itself: name two runs")
    parts = [path.resolve().parts for path in paths]
    last = next(n for n in count(1) if parts[0][-n:] != parts[1][-n:])
    return [one[-last:][0] for one in parts]
