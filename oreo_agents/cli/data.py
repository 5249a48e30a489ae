"""``oreo-agents data``."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.interrupted import mark_resumable
from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_seed,
    parse_positive,
    show_progress,
    spell_command,
    tell_next,
)


def add_data(commands: Commands) -> None:
    """Options of ``data``."""
    parser = add_command(commands, "data", run_data, "download, unpack or generate games")
    mark_resumable(parser, lambda args: "run the same command again to go on")
    parser.add_argument("--from", dest="source", type=Path, metavar="PATH", help="a local folder or archive")
    parser.add_argument("--output", "-o", type=Path, help="default: $ALFWORLD_DATA, else alfworld's cache")
    verbs = parser.add_subparsers(metavar="VERB")
    new = add_command(verbs, "generate", run_data_generate, "write new solvable games, as game files")
    new.add_argument("--count", type=parse_positive, required=True, metavar="N")
    new.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    new.add_argument("--split", choices=("generated", "generated_unseen"), default="generated")
    new.add_argument(
        "--task", action="append", metavar="TYPE", help="a task type; may be repeated; default: all"
    )
    new.add_argument(
        "--room", action="append", metavar="KIND", help="e.g. kitchen; may be repeated; default: all"
    )
    new.add_argument("--difficulty", choices=("easy", "normal", "hard"), default="normal")
    add_seed(new)


def run_data(args: argparse.Namespace) -> None:
    """Put ALFWorld's games where the environments find them."""
    from oreo_envs.alfworld.install import download_games, unpack_games

    if args.source:
        folder = unpack_games(args.source, args.output)
    else:
        with show_progress("downloading") as progress:
            folder = download_games(args.output, progress)
    tell_next(f"ALFWorld's games are in {folder}", "play", "record -o runs/expert")


def run_data_generate(args: argparse.Namespace) -> None:
    """Write new games."""
    from oreo_envs.alfworld.install import write_games

    with show_progress("generating") as progress:
        folder = write_games(
            args.output, args.count, args.split, args.seed, args.task, args.room, args.difficulty, progress
        )
    then = spell_command("record", "--games", folder, "-o", "runs/expert")
    tell_next(f"{args.count} games are in {folder}", then)
