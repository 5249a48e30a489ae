"""``oreo-agents iterate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, add_seed, mark_resumable, parse_positive
from oreo_agents.training.methods import METHODS


def add_iterate(commands: Commands) -> None:
    """Options of ``iterate``."""
    parser = add_command(commands, "iterate", run_iterate, "collect, train, evaluate, repeat; resumable")
    mark_resumable(parser)
    parser.add_argument(
        "--model", required=True, metavar="PATH", help="an agent or a causal LM to start from"
    )
    parser.add_argument("--method", choices=METHODS, default="oreo", help="default: %(default)s")
    parser.add_argument(
        "--iterations", type=parse_positive, default=3, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--rollouts", type=parse_positive, metavar="N", help="episodes a round")
    parser.add_argument("--keep-data", action="store_true", help="train on the episodes of all rounds so far")
    parser.add_argument("--env", default="OREO-ALFWorld", metavar="ID", help="this or OREO-Reasoning")
    parser.add_argument("--games", metavar="PATH", help="as for demo")
    parser.add_argument("--episodes", type=parse_positive, metavar="N", help="held-out games to evaluate on")
    parser.add_argument("--max-steps", type=parse_positive, metavar="N", help="step limit of an episode")
    parser.add_argument("--output", "-o", type=Path, required=True, help="the folder of the run")
    add_seed(parser)


def run_iterate(args: argparse.Namespace) -> int | None:
    """Iterate."""
    from oreo_agents import iterate

    return iterate.run(args)
