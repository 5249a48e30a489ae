"""``oreo-agents inspect``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_game_options,
    add_prompt,
    add_trust,
    parse_file,
    parse_positive,
    read_source,
    settle_environment,
    tell_next,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.printable import make_printable

if TYPE_CHECKING:
    import gymnasium as gym

    from oreo_agents.agents.agent import Assignment
    from oreo_agents.language.prompt import Prompt
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
        "--data",
        type=Path,
        metavar="PATH",
        help="recorded episodes; default: one that the expert plays now, or the model where there is none",
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
    if args.data is None:  # else nothing is played
        settle_environment(args, args.model)
    prompt = find_prompt(args.model, args.prompt)
    trajectory = _find_episode(args, prompt)
    prompt = prompt.in_environment(args.env or trajectory.env_id)
    inspection = inspect_episode(args.model, trajectory, prompt)
    title = f"{args.model}: {trajectory.task or trajectory.game}"
    if args.html:
        from oreo_envs.files import write_file

        from oreo_agents.report.inspection import render_inspection_page

        write_file(args.html, render_inspection_page(title, inspection))
        tell_next(f"{args.html}: {len(inspection.tokens)} tokens; open it in a browser")
        return
    from oreo_agents.terminal.inspection import render_inspection
    from oreo_agents.terminal.palette import open_console

    console = open_console(highlight=False, soft_wrap=not args.tokens)
    console.print(render_inspection(inspection, args.tokens, console.options.ascii_only))


def _find_episode(args: argparse.Namespace, prompt: Prompt) -> Trajectory:
    """The recorded one that the options name, or one that the expert plays now, with its thoughts where it has some and
    the prompt has a place for them; the model where there is no expert.
    """
    if args.data is not None:
        from oreo_agents.dataset import load_trajectories

        episodes = load_trajectories(args.data)
        if args.episode > len(episodes):
            raise DatasetError(f"{args.data} has {len(episodes)} episodes: choose --episode from 1 to that")
        return episodes[args.episode - 1]
    from oreo_agents.agents.agent import Assignment, options_for
    from oreo_agents.agents.load import load_agent
    from oreo_agents.agents.scripted import has_thoughts
    from oreo_agents.environments import environments
    from oreo_agents.rollout.loop import rollout

    thoughts = has_thoughts("expert", args.env) and prompt.in_environment(args.env).takes_thoughts
    player = load_agent("expert", env_id=args.env, thoughts=thoughts)
    options = read_source(args)
    make_env = environments(args.env, args.max_steps, **{**options, **options_for(player)})
    chosen = Assignment(args.episode - 1, args.seed)
    if "expert_plan" in player.needs and "expert_plan" not in _open_game(make_env(), chosen):
        player = load_agent(args.model, env_id=args.env, prompt=args.prompt)
        told = "--data FOLDER shows a recorded episode"
        print(make_printable(f"{args.env} has no expert: {player.name} plays; {told}"), file=sys.stderr)
    (episode,) = rollout(make_env, [chosen], player)
    return episode


def _open_game(env: gym.Env[str, str], chosen: Assignment) -> Mapping[str, Any]:
    """What an environment tells at the beginning of a game."""
    info = env.reset(seed=chosen.seed, options={"game": chosen.game})[1]
    env.close()
    return info
