"""``oreo-agents replay``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_named_environment,
    add_plain,
    fills_screen,
    parse_nonnegative,
    parse_positive,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import DatasetError


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
    parser.add_argument("--compare", type=Path, metavar="PATH", help="show PATH's run of the game beside")
    parser.add_argument(
        "--speed", type=parse_nonnegative, metavar="STEPS_PER_S", help="play by itself at this speed"
    )
    parser.add_argument("--verify", action="store_true", help="execute the actions again and compare")
    add_plain(parser)
    add_named_environment(parser)


def run_replay(args: argparse.Namespace) -> int:
    """Show recorded episodes; where there is no full screen to be had or wanted, print them."""
    from oreo_agents.terminal.cursor import Cursor
    from oreo_agents.terminal.replay import open_verifier, print_all, runs_by_game

    names = args.path.name, args.compare.name if args.compare else ""
    cursor = Cursor(select_episodes(args), runs_by_game(args.compare), names)
    cursor.episode = (args.episode or 1) - 1
    if cursor.episode >= len(cursor.episodes):
        raise DatasetError(
            f"--episode {args.episode}: {len(cursor.episodes)} episodes of {args.path} match: choose from 1 to that"
        )
    with open_verifier(cursor.episodes, args.verify, args.env) as found:
        if not fills_screen(args):
            cursor.check = found.result if found else None
            return print_all(cursor, single=args.episode is not None)
        cursor.check = found.so_far if found else None
        cursor.playing, cursor.speed = args.speed is not None, args.speed or cursor.speed
        from oreo_agents.terminal.replay_app import show_replay

        show_replay(cursor)
    return 0


def select_episodes(args: argparse.Namespace) -> Any:
    """The episodes that the options ask for.

    Raises:
        DatasetError: there are none.
    """
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.terminal.replay import contains_text

    conditions: dict[str, Any] = {"length": lambda lengths: lengths >= args.min_steps}
    if args.failed:
        conditions["success"] = False
    if args.task_type:
        conditions["predicate"] = lambda episode: args.task_type in episode.task_type
    episodes = load_trajectories(args.path).filter(**conditions)
    if args.search:
        episodes = episodes.filter(lambda episode: contains_text(episode, args.search))
    if not len(episodes):
        raise DatasetError(
            f"{args.path}: no episode meets the conditions; drop one of the filters{_list_types(args)}"
        )
    return episodes


def _list_types(args: argparse.Namespace) -> str:
    """The task types that there are, where one was asked for."""
    if not args.task_type:
        return ""
    from oreo_agents.dataset import load_trajectories

    types = sorted(set(load_trajectories(args.path).task_types))
    return f"; the task types here are {', '.join(types)}"
