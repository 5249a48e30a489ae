"""``oreo-agents doctor``."""

from __future__ import annotations

import argparse
import sys

from oreo_agents.cli.options import Commands, add_command
from oreo_agents.printable import print_line


def add_doctor(commands: Commands) -> None:
    """Options of ``doctor``."""
    parser = add_command(commands, "doctor", run_doctor, "check the installation and the game data")
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="URL",
        help="also look for this server; several times",
    )


def run_doctor(args: argparse.Namespace) -> int:
    """Check installation and data; 1 if something is wrong."""
    from oreo_agents.cli.installation import check_installation

    print("looking: torch is loaded and the engine is timed, which can take a minute", file=sys.stderr)
    wrong = False
    for check in check_installation(endpoints=args.endpoint):
        remedy = f"\n{'':>22}mend: {check.remedy}" if check.remedy else ""
        print_line(f"{check.status:>6}  {check.name:<13} {check.finding}{remedy}")
        wrong |= check.status == "wrong"
    return int(wrong)
