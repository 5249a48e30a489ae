"""``oreo-agents dataset`` and its own commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_agents.cli.options import Commands, add_command, add_game_source, add_named_environment, parse_file
from oreo_agents.printable import print_line

NOTHING_REPLAYED = 3
"""Exit status of ``verify`` where the files are as they were written, and that is all that is known."""


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
    add_named_environment(verify)
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


def run_dataset_info(args: argparse.Namespace) -> None:
    """Print what a dataset contains as Markdown, or as JSON; also write the Markdown to a file."""
    import json
    import os

    from oreo_envs.files import write_file

    from oreo_agents.dataset.reader import load_trajectories
    from oreo_agents.report.dataset_card import describe_dataset, render_card

    dataset = load_trajectories(args.path)
    text = render_card(dataset, Path(os.path.abspath(args.path)).name).rstrip()
    if args.card is not None:
        write_file(args.card, text + "\n")
    print(json.dumps(describe_dataset(dataset).as_json(), indent=1) if args.json else text)


def run_dataset_verify(args: argparse.Namespace) -> int:
    """Check that every file is as written and, unless files alone are asked for, that every episode happens again.

    Returns 1, after naming the first difference, where one does not; 3 where only the files were checked, because the
    environment is of a module that the user has not named.
    """
    from oreo_agents.dataset.reader import load_trajectories
    from oreo_agents.environments import names_foreign, replay_environment
    from oreo_agents.rollout.verify import verify_episodes

    dataset = load_trajectories(args.path)
    dataset.check_files()
    print_line(f"{args.path}: {len(dataset)} episodes, every file as it was written")
    if args.files_only:
        return 0
    if foreign := names_foreign(dataset.agreed("env_spec"), args.env):
        named = foreign if ":" in foreign else f"MODULE:{foreign}"
        print_line(
            f"nothing was replayed: the episodes are of {foreign}, and a file never makes code run; "
            f"name it with --env {named}"
        )
        return NOTHING_REPLAYED
    env = replay_environment(dataset.agreed("env_spec"), args.split, args.games, args.wording, args.env)
    try:
        report = verify_episodes(dataset, env)
    finally:
        env.close()
    print_line(report)  # it quotes what was recorded
    return 0 if report.ok else 1


def run_dataset_merge(args: argparse.Namespace) -> None:
    """Write one new dataset with the episodes of several."""
    from oreo_agents.dataset.reader import merge_datasets

    merged = merge_datasets(args.paths, args.output)
    print_line(f"{args.output}: {len(merged)} episodes of {len(args.paths)} datasets")


def run_dataset_import(args: argparse.Namespace) -> None:
    """Import the episodes that another tool recorded."""
    from oreo_agents.dataset.importers import import_dataset

    count = import_dataset(args.path, args.output, args.format, args.move, args.licence)
    print_line(f"{args.output}: {count} episodes imported from {args.path}")


def run_dataset_export(args: argparse.Namespace) -> None:
    """Write a dataset in another tool's format."""
    from oreo_agents.dataset.exporters import export_dataset
    from oreo_agents.dataset.reader import load_trajectories

    dataset = load_trajectories(args.path)
    count = export_dataset(dataset, args.output, args.format)
    print_line(f"{args.output}: {count} rows ({args.format}) of {len(dataset)} episodes")
