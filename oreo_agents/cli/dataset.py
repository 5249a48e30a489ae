"""``oreo-agents dataset`` and its own commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_game_source,
    add_named_environment,
    add_seed,
    parse_file,
    parse_positive,
    spell_command,
    tell_next,
)
from oreo_agents.errors import ConfigurationError
from oreo_agents.printable import print_line

if TYPE_CHECKING:
    from oreo_agents.dataset.reader import TrajectoryDataset
    from oreo_agents.trajectory import Trajectory

SURPRISE = "-log p of an action's token when it was sampled, the mean in nats; episodes without are left out"
NOTHING_REPLAYED = 3
"""Exit status of ``verify`` where the files are as they were written, and that is all that is known."""


def add_dataset(commands: Commands) -> None:
    """Options of ``dataset`` and its own commands."""
    parser = commands.add_parser(
        "dataset", help="inspect, verify, filter, split, sample, merge, import and export recorded episodes"
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
    add_game_source(verify, "the dataset's")
    merge = add_command(verbs, "merge", run_dataset_merge, "one dataset out of several")
    merge.add_argument("paths", type=Path, nargs="+", metavar="path")
    merge.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    some = add_command(
        verbs, "filter", run_dataset_filter, "the episodes that meet every condition, as a new dataset"
    )
    some.add_argument("path", type=Path)
    some.add_argument("--outcome", choices=("won", "lost"))
    for name, what in (("return", "the sum of rewards"), ("steps", "turns"), ("surprise", SURPRISE)):
        some.add_argument(f"--min-{name}", type=float, metavar="X", help=f"of {what}")
        some.add_argument(f"--max-{name}", type=float, metavar="X", help="likewise")
    some.add_argument("--task-type", metavar="TEXT", help="only types that contain this, such as heat")
    some.add_argument("--task", metavar="TEXT", help="only tasks that contain this, such as mug")
    some.add_argument("--agent", nargs="+", metavar="NAME", help="who played")
    some.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    parts = add_command(verbs, "split", run_dataset_split, "two datasets with no game in common")
    parts.add_argument("path", type=Path)
    parts.add_argument(
        "--share",
        type=float,
        default=0.9,
        metavar="X",
        help="of the games, in the first; default: %(default)s",
    )
    add_seed(parts)
    parts.add_argument(
        "--output", "-o", type=Path, nargs=2, required=True, metavar=("A", "B"), help="two new folders"
    )
    drawn = add_command(verbs, "sample", run_dataset_sample, "random episodes, as a new dataset")
    drawn.add_argument("path", type=Path)
    drawn.add_argument("--count", "-n", type=parse_positive, required=True, metavar="N")
    drawn.add_argument(
        "--by",
        choices=("uniform", "success", "return", "length"),
        default="uniform",
        help="which are likelier: won ones only, those with more return, shorter ones; default: %(default)s",
    )
    add_seed(drawn)
    drawn.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    bring = add_command(verbs, "import", run_dataset_import, "read the episodes of another tool")
    bring.add_argument("path", type=Path)
    bring.add_argument(
        "--format", required=True, help="messages, sharegpt, agenttraj, eto, knowagent or tales"
    )
    bring.add_argument(
        "--move", action="store_true", help="reword put X in/on Y to ALFWorld 0.4's move X to Y"
    )
    bring.add_argument("--licence", help="of the imported episodes, kept with them")
    bring.add_argument("--output", "-o", type=Path, required=True, help="a new folder")
    export = add_command(verbs, "export", run_dataset_export, "write the episodes in another format")
    export.add_argument("path", type=Path)
    export.add_argument(
        "--format",
        default="messages",
        help="messages, sft, dpo, kto, sharegpt or minari; default: %(default)s",
    )
    export.add_argument(
        "--good",
        metavar="RULE",
        help="which episodes are good: won ones (success), those of a return from X on (X), or the best share by "
        "return (25%%); dpo prefers these, kto labels them, and sft then has them alone; default: success where it is "
        "defined, else 25%%; sft has all",
    )
    export.add_argument(
        "--thoughts-apart",
        action="store_true",
        help="thoughts become reasoning_content of a message, for chat templates that have a place for it, and content "
        "is the command alone; default: content is the whole reply",
    )
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
    tell_next(
        f"{args.output}: {len(merged)} episodes of {len(args.paths)} datasets",
        spell_command("dataset", "info", args.output),
    )


def run_dataset_filter(args: argparse.Namespace) -> None:
    """Write the episodes that meet every condition."""
    from oreo_agents.dataset.reader import load_trajectories, write_dataset

    conditions: dict[str, Any] = {}
    if args.outcome:
        conditions["success"] = args.outcome == "won"
    for name, column in (("return", "return_"), ("steps", "length")):
        low, high = getattr(args, f"min_{name}"), getattr(args, f"max_{name}")
        if low is not None or high is not None:
            conditions[column] = lambda x, low=low, high=high: _is_between(x, low, high)
    if args.agent:
        conditions["agent"] = args.agent
    dataset = load_trajectories(args.path)
    for column in ("task_type", "task"):
        if (text := getattr(args, column)) is not None:
            conditions[column] = lambda values, text=text: [text in str(value) for value in values]
    chosen = dataset.filter(**conditions)
    if args.min_surprise is not None or args.max_surprise is not None:
        chosen = chosen.filter(lambda one: _is_surprising(one, args.min_surprise, args.max_surprise))
    write_dataset(chosen, args.output)
    _tell_made(args.output, chosen, dataset)


def _is_between(x: Any, low: float | None, high: float | None) -> Any:
    return (x >= (float("-inf") if low is None else low)) & (x <= (float("inf") if high is None else high))


def _is_surprising(episode: Trajectory, low: float | None, high: float | None) -> bool:
    return (found := episode.surprise) is not None and _is_between(found, low, high)


def run_dataset_split(args: argparse.Namespace) -> None:
    """Write two datasets with no game in common."""
    from oreo_agents.dataset.reader import load_trajectories, require_new, write_dataset

    dataset = load_trajectories(args.path)
    if args.output[0].resolve() == args.output[1].resolve():
        raise ConfigurationError("--output names one folder twice: name two")
    for output in args.output:  # before the first is written
        require_new(output)
    for output, part in zip(args.output, dataset.split(args.share, args.seed), strict=True):
        write_dataset(part, output)
        print_line(f"{output}: {len(part)} episodes of {len(set(part.games))} games")
    tell_next(
        "no game is in both",
        spell_command(
            "train",
            "--data",
            args.output[0],
            "--eval-data",
            args.output[1],
            "--model",
            "MODEL",
            "-o",
            "AGENT",
        ),
    )


def run_dataset_sample(args: argparse.Namespace) -> None:
    """Write episodes drawn at random."""
    from oreo_agents.dataset.reader import load_trajectories, write_dataset

    dataset = load_trajectories(args.path)
    chosen = dataset.sample(args.count, args.seed, args.by)
    write_dataset(chosen, args.output)
    _tell_made(args.output, chosen, dataset)


def _tell_made(output: Path, chosen: TrajectoryDataset, dataset: TrajectoryDataset) -> None:
    won = f", {int(chosen.success.sum())} won" if chosen.defines_success else ""
    tell_next(
        f"{output}: {len(chosen)} of {len(dataset)} episodes{won}",
        spell_command("dataset", "info", output),
        spell_command("replay", output),
    )


def run_dataset_import(args: argparse.Namespace) -> None:
    """Import the episodes that another tool recorded."""
    import json

    from oreo_agents.dataset.importers import import_dataset
    from oreo_agents.dataset.reader import load_trajectories

    count = import_dataset(args.path, args.output, args.format, args.move, args.licence)
    imported = load_trajectories(args.output)
    played_here = any(imported.column("env_id"))  # then they can be played again
    if instructed := sum("instructions" in json.loads(text) for text in imported.column("metadata")):
        print_line(
            f"{instructed} begin with instructions, which are kept as metadata: what a model is told is its --prompt"
        )
    tell_next(
        f"{args.output}: {count} episodes imported from {args.path}",
        spell_command("dataset", "verify", args.output, "--games", "DIR")
        if played_here
        else spell_command("train", "--data", args.output, "--model", "MODEL", "-o", "AGENT"),
        spell_command("replay", args.output),
    )


def run_dataset_export(args: argparse.Namespace) -> None:
    """Write a dataset in another tool's format."""
    from oreo_agents.dataset.exporters import export_dataset
    from oreo_agents.dataset.reader import load_trajectories
    from oreo_agents.language.reply import read_thought

    dataset = load_trajectories(args.path)
    find_thought = read_thought if args.thoughts_apart else None
    count = export_dataset(dataset, args.output, args.format, args.good, find_thought)
    tell_next(f"{args.output}: {count} rows ({args.format}) of {len(dataset)} episodes")
