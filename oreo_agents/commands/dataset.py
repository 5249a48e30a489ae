"""``oreo-agents dataset``: each function is one of its commands, prints, and returns its exit status."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from oreo_envs.files import write_file

from oreo_agents.dataset.exporters import export_dataset
from oreo_agents.dataset.importers import import_dataset
from oreo_agents.dataset.reader import load_trajectories, merge_datasets
from oreo_agents.dataset.verify import replay_environment, verify_episodes
from oreo_agents.printable import printable
from oreo_agents.report.dataset_card import describe_dataset, render_card


def run_info(args: argparse.Namespace) -> int:
    """Print what a dataset contains as Markdown, or as JSON; also write the Markdown to a file."""
    dataset = load_trajectories(args.path)
    text = render_card(dataset, Path(os.path.abspath(args.path)).name).rstrip()
    if args.card is not None:
        write_file(args.card, text + "\n")
    print(json.dumps(describe_dataset(dataset).as_json(), indent=1) if args.json else text)
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check that every file is as written and, unless files alone are asked for, that every episode happens again.

    Returns 1, after naming the first difference, where one does not.
    """
    dataset = load_trajectories(args.path)
    dataset.check_files()
    print(f"{args.path}: {len(dataset)} episodes, every file as it was written")
    if args.files_only:
        return 0
    env = replay_environment(dataset.agreed("env_spec"), args.split, args.games)
    try:
        report = verify_episodes(dataset, env)
    finally:
        env.close()
    print(printable(str(report)))  # it quotes what was recorded
    return 0 if report.ok else 1


def run_merge(args: argparse.Namespace) -> int:
    """Write one new dataset with the episodes of several."""
    merged = merge_datasets(args.paths, args.output)
    print(f"{args.output}: {len(merged)} episodes of {len(args.paths)} datasets")
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Import the episodes that another tool recorded."""
    count = import_dataset(args.path, args.output, args.format, args.move, args.licence)
    print(f"{args.output}: {count} episodes imported from {args.path}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write a dataset in another tool's format."""
    dataset = load_trajectories(args.path)
    count = export_dataset(dataset, args.output, args.format)
    print(f"{args.output}: {count} rows ({args.format}) of {len(dataset)} episodes")
    return 0
