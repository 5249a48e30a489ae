"""Running a program through the drop-in, with all processes that it starts."""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from oreo_envs.alfworld.drop_in.installation import install, uninstall
from oreo_envs.alfworld.drop_in.usage import COUNTS_FOLDER, Counts

OPTIONS = "OREO_DROP_IN"
"""The environment variable from which processes learn how to install the drop-in."""
CHILD_START = Path(__file__).with_name("child_start")


def install_from_environment() -> None:
    """Install the drop-in as in the process that has started this one."""
    install(**json.loads(os.environ[OPTIONS]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program that the arguments name, and say at the end what it has played."""
    parser = argparse.ArgumentParser(
        prog="python -m oreo_envs.alfworld.drop_in",
        usage="%(prog)s [--record DIR] [--wording put|move] (PROGRAM.py | -m PACKAGE) [ARGUMENT ...]",
        description="Run a program that is written for alfworld or TextWorld; ALFWorld's games are played natively.",
    )
    parser.add_argument(
        "--record", metavar="DIR", help="add the episodes it plays to the dataset in this folder"
    )
    parser.add_argument(
        "--wording", choices=["put", "move"], help="how games are shown; default: each in its own"
    )
    parser.add_argument(
        "-m", dest="package", action="store_true", help="the program is a package or a module"
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if not args.program:
        parser.error("a program is missing")
    if not args.package and not Path(args.program[0]).exists():
        parser.error(f"there is no program {args.program[0]}")
    options = {"record": args.record and os.path.abspath(args.record), "wording": args.wording}
    with tempfile.TemporaryDirectory() as counts:
        os.environ |= {OPTIONS: json.dumps(options), COUNTS_FOLDER: counts}
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(CHILD_START), os.environ.get("PYTHONPATH")])
        )
        install(**options)
        try:
            _run_program(args.program, args.package)
        finally:
            uninstall()
            _print_counts(Path(counts))


def _run_program(program: Sequence[str], package: bool) -> None:
    sys.argv = list(program)
    if package:
        sys.path[0] = os.getcwd()
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(program[0]))
        runpy.run_path(program[0], run_name="__main__")


def _print_counts(folder: Path) -> None:
    counts = Counts()
    for file in folder.glob("*.json"):
        counts += Counts(**json.loads(file.read_text()))
    other = f"; {counts.handed_over} games by TextWorld's own engine" * bool(counts.handed_over)
    print(
        f"oreo_envs.alfworld.drop_in: {counts.episodes} episodes, {counts.steps} steps, "
        f"{counts.seconds:.2f} s in the environment{other}",
        file=sys.stderr,
    )
