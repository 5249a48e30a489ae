"""``oreo-agents inspect``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_game_options,
    add_prompt,
    add_trust,
    parse_file,
    parse_positive,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError, DatasetError

if TYPE_CHECKING:
    from oreo_agents.trajectory import Trajectory


def add_inspect(commands: Commands) -> None:
    """Options of ``inspect``."""
    parser = add_command(
        commands,
        "inspect",
        run_inspect,
        "what a model reads of an episode and what it learns, token by token",
    )
    mark_paths(parser, agents=["model"], data=["data"])
    parser.add_argument("model", metavar="NAME_OR_PATH", help="small, an agent's folder or a causal LM")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="recorded episodes; default: one that the expert plays now"
    )
    parser.add_argument(
        "--episode", type=parse_positive, default=1, metavar="N", help="which of them; default: the first"
    )
    add_prompt(parser)
    add_trust(parser)
    parser.add_argument("--tokens", action="store_true", help="a row for each token: id, part, return, V")
    parser.add_argument("--html", type=parse_file, metavar="FILE", help="write a page instead")
    add_game_options(parser)


def run_inspect(args: argparse.Namespace) -> None:
    """Show an episode as a model reads it."""
    from oreo_agents.agents.load import find_prompt
    from oreo_agents.agents.scripted import SCRIPTED
    from oreo_agents.evaluation.inspection import inspect_episode

    if args.model in SCRIPTED:
        raise ConfigurationError(f"{args.model} has no model and reads nothing: name an agent or a causal LM")
    prompt, trajectory = find_prompt(args.model, args.prompt).in_environment(args.env), _find_episode(args)
    inspection = inspect_episode(args.model, trajectory, prompt)
    title = f"{args.model}: {trajectory.task or trajectory.game}"
    if args.html:
        from oreo_envs.files import write_file

        from oreo_agents.report.inspection import render_inspection_page

        write_file(args.html, render_inspection_page(title, inspection))
        tell_next(f"{args.html}: {len(inspection.tokens)} tokens; open it in a browser")
        return
    from rich.console import Console

    from oreo_agents.terminal.inspection import render_inspection

    console = Console(highlight=False, soft_wrap=not args.tokens)
    console.print(render_inspection(inspection, args.tokens, console.options.ascii_only))


def _find_episode(args: argparse.Namespace) -> Trajectory:
    """The recorded one that the options name, or one that the expert plays now."""
    if args.data is not None:
        from oreo_agents.dataset import load_trajectories

        episodes = load_trajectories(args.data)
        if args.episode > len(episodes):
            raise DatasetError(f"{args.data} has {len(episodes)} episodes: choose --episode from 1 to that")
        return episodes[args.episode - 1]
    from oreo_agents.agents.agent import Assignment, options_for
    from oreo_agents.agents.load import load_agent
    from oreo_agents.environments import environments, source_options
    from oreo_agents.rollout.loop import rollout

    expert = load_agent("expert", env_id=args.env)
    options = source_options(args.env, args.split, args.games, args.wording)
    make_env = environments(args.env, args.max_steps, **options, **options_for(expert))
    (episode,) = rollout(make_env, [Assignment(args.episode - 1, args.seed)], expert)
    return episode
