"""``oreo-agents dataset`` and its own commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, add_game_source, parse_file


def add_dataset(commands: Commands) -> None:
    """Options of ``dataset`` and its own commands."""
    parser = commands.add_parser(
        "dataset", help="inspect, verify, merge, import and export recorded episodes"
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    info = add_command(verbs, "info", run_dataset_info, "count episodes, steps and successes")
    info.add_argument("path", type=Path)
    info.add_argument("--card", type=parse_file, metavar="FILE", help="also write the summary to this file")
    info.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    verify = add_command(verbs, "verify", run_dataset_verify, "check the files, and that each episode recurs")
    verify.add_argument("path", type=Path)
    verify.add_argument("--files-only", action="store_true", help="do not execute the actions again")
    add_game_source(verify)
    merge = add_command(verbs, "merge", run_dataset_merge, "one dataset out of several")
    merge.add_argument("paths", type=Path, nargs="+", metavar="path")
    merge.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    bring = add_command(verbs, "import", run_dataset_import, "read the episodes of another tool")
    bring.add_argument("path", type=Path)
    bring.add_argument("--format", required=True, help="eto, knowagent, sharegpt or tales")
    bring.add_argument(
        "--move", action="store_true", help="reword put X in/on Y to ALFWorld 0.4's move X to Y"
    )
    bring.add_argument("--licence", help="of the imported episodes, kept with them")
    bring.add_argument("--output", "-o", type=Path, required=True, help="the dataset to make or continue")
    export = add_command(verbs, "export", run_dataset_export, "write the episodes in another format")
    export.add_argument("path", type=Path)
    export.add_argument("--format", default="messages", help="default: %(default)s")
    export.add_argument("--output", "-o", type=Path, required=True)


def run_dataset_info(args: argparse.Namespace) -> int | None:
    """Summarise a dataset."""
    from oreo_agents.dataset import commands

    return commands.info(args.path, args.card, args.json)


def run_dataset_verify(args: argparse.Namespace) -> int | None:
    """Check a dataset."""
    from oreo_agents.dataset import commands

    return commands.verify(args.path, not args.files_only, args.split, args.games)


def run_dataset_merge(args: argparse.Namespace) -> int | None:
    """Merge datasets."""
    from oreo_agents.dataset import commands

    return commands.merge(args.paths, args.output)


def run_dataset_import(args: argparse.Namespace) -> int | None:
    """Import another tool's episodes."""
    from oreo_agents.dataset import commands

    return commands.import_(args.path, args.output, args.format, args.move, args.licence)


def run_dataset_export(args: argparse.Namespace) -> int | None:
    """Export a dataset."""
    from oreo_agents.dataset import commands

    return commands.export(args.path, args.output, args.format)
