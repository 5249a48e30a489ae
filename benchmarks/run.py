"""``oreo-agents bench`` with its results beside this file: ``python benchmarks/run.py --suite NAME [--seeds ...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oreo_agents.cli import main

RESULTS = Path(__file__).parent / "results"


def with_results(arguments: list[str]) -> list[str]:
    """The arguments, with a place for the result file unless they name one."""
    if any(argument.split("=")[0] in ("--results", "-h", "--help") for argument in arguments):
        return arguments
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--suite", default="smoke")
    suite = parser.parse_known_args(arguments)[0].suite
    return [*arguments, "--results", str(RESULTS / f"{Path(suite).stem}.json")]


if __name__ == "__main__":
    sys.exit(main(["bench", *with_results(sys.argv[1:])]))
