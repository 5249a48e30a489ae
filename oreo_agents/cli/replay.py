"""``oreo-agents replay``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_looks,
    add_named_environment,
    fills_screen,
    parse_nonnegative,
    parse_positive,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

    from oreo_agents.dataset import TrajectoryDataset
    from oreo_agents.trajectory import Trajectory


def add_replay(commands: Commands) -> None:
    """Options of ``replay``."""
    parser = add_command(commands, "replay", run_replay, "step through recorded episodes")
    mark_paths(parser, data=["path", "compare"])
    parser.add_argument("path", type=Path, help="a dataset of recorded episodes")
    parser.add_argument("--episode", type=parse_positive, metavar="N", help="open the N-th matching episode")
    parser.add_argument("--failed", action="store_true", help="only episodes that were not won")
    parser.add_argument("--task-type", metavar="TYPE", help="only episodes whose task type contains this")
    parser.add_argument(
        "--min-steps", type=parse_positive, default=1, metavar="N", help="only episodes that long"
    )
    parser.add_argument("--search", metavar="TEXT", help="only episodes whose text contains this")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="PATH",
        help="show PATH's run of the game beside, the k-th with the k-th",
    )
    parser.add_argument(
        "--speed", type=parse_nonnegative, metavar="STEPS_PER_S", help="play by itself at this speed"
    )
    parser.add_argument("--verify", action="store_true", help="execute the actions again and compare")
    add_looks(parser)
    add_named_environment(parser)


def run_replay(args: argparse.Namespace) -> int:
    """Show recorded episodes; where there is no full screen to be had or wanted, print them."""
    from oreo_agents.terminal.cursor import Cursor
    from oreo_agents.terminal.replay import open_verifier, print_all

    cursor = Cursor(**choose_runs(args))
    cursor.episode = (args.episode or 1) - 1
    if cursor.episode >= len(cursor.episodes):
        raise DatasetError(
            f"--episode {args.episode}: {len(cursor.episodes)} episodes of {args.path} match: choose from 1 to that"
        )
    with open_verifier(cursor.episodes, args.verify, args.env) as found:
        if not fills_screen(args):
            cursor.check = found.result if found else None
            return print_all(cursor, args.episode is not None, args.theme)
        cursor.check = found.so_far if found else None
        cursor.playing, cursor.speed = args.speed is not None, args.speed or cursor.speed
        from oreo_agents.terminal.replay_app import show_replay

        show_replay(cursor, args.theme)
    return 0


def choose_runs(args: argparse.Namespace) -> dict[str, Any]:
    """The episodes that the options ask for, and those that belong beside them, as a ``Cursor`` takes them.

    Raises:
        DatasetError: there are none.
    """
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.evaluation.pairs import find_partners

    dataset = load_trajectories(args.path)
    places = find_episodes(dataset, args)
    if not len(places):
        raise DatasetError(
            f"{args.path}: no episode meets the conditions; drop one of the filters{_list_types(dataset, args)}"
        )
    if args.compare is None:
        return {"episodes": dataset[places]}
    others = load_trajectories(args.compare)
    partners = find_partners(
        dataset.games.tolist(), others.games.tolist()
    )  # of all: which one it is, no filter changes
    return {
        "episodes": dataset[places],
        "others": others,
        "partners": [partners[place] for place in places],
        "names": (args.path.name, args.compare.name),
    }


def find_episodes(dataset: TrajectoryDataset, args: argparse.Namespace) -> np.ndarray:
    """The places, from 0, of the episodes that the options ask for."""
    from oreo_agents.terminal.replay import contains_text

    conditions: dict[str, Any] = {"length": lambda lengths: lengths >= args.min_steps}
    if args.failed:
        conditions["success"] = False

    def is_wanted(episode: Trajectory) -> bool:
        typed = not args.task_type or args.task_type in episode.task_type
        return typed and (not args.search or contains_text(episode, args.search))

    return dataset.where(is_wanted if args.task_type or args.search else None, **conditions)


def _list_types(dataset: TrajectoryDataset, args: argparse.Namespace) -> str:
    """The task types that there are, where one was asked for."""
    if not args.task_type:
        return ""
    return f"; the task types here are {', '.join(sorted(set(dataset.task_types)))}"
