"""``oreo-agents play``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_envs.catalog import describe

from oreo_agents.cli.options import (
    Commands,
    add_command,
    add_endpoint,
    add_game_options,
    add_looks,
    add_prompt,
    add_selection,
    add_trust,
    fills_screen,
    open_endpoint,
    parse_nonnegative,
    read_choice,
    read_source,
    refuse_choice,
    settle_environment,
    tell_loading,
)
from oreo_agents.cli.paths import mark_paths
from oreo_agents.errors import ConfigurationError

if TYPE_CHECKING:
    import gymnasium as gym
    from rich.console import Console

    from oreo_agents.agents.agent import Agent
    from oreo_agents.inference.endpoint import Endpoint
    from oreo_agents.terminal.controls import Controls

ENDLESS = 1_000_000_000
"""Gymnasium's step limit cannot be undone, so the session counts its own."""

SEARCHED = 4_000
"""Games looked at for a task type: all of ALFWorld's train split; of the million generated ones, enough."""


def add_play(commands: Commands) -> None:
    """Options of ``play``."""
    parser = add_command(commands, "play", run_play, "play a game in the terminal, or watch an agent play")
    mark_paths(parser, agents=["agent"])
    add_game_options(parser, seed=None)
    parser.add_argument("--game", metavar="NAME", help="one game by name, path or index")
    parser.add_argument(
        "--task-type", metavar="TYPE", help="a random game whose type contains this, such as heat"
    )
    parser.add_argument(
        "--agent",
        metavar="NAME_OR_PATH",
        help="expert, shortest, demonstrator, random, small or a trained agent's folder",
    )
    add_selection(parser, "greedy")
    add_prompt(parser)
    add_trust(parser)
    parser.add_argument(
        "--pause", type=parse_nonnegative, default=1.0, metavar="S", help="seconds between its steps"
    )
    parser.add_argument("--record", type=Path, metavar="PATH", help="append the episode to this dataset")
    add_looks(parser)
    add_endpoint(parser)


def run_play(args: argparse.Namespace) -> None:
    """Play one episode."""
    settle_environment(args, args.agent)
    with open_endpoint(args, args.agent or "") as endpoint:
        _play_game(args, choose_agent(args, endpoint))


def _play_game(args: argparse.Namespace, agent: Agent | None) -> None:
    import secrets

    from oreo_agents.environments import find_registered_limit, find_step_limit
    from oreo_agents.terminal.agent_player import AgentPlayer
    from oreo_agents.terminal.controls import Controls
    from oreo_agents.terminal.palette import open_console
    from oreo_agents.terminal.recording import keep_episode, open_recording
    from oreo_agents.terminal.session import Session

    env = make_env(args, agent)
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    try:
        known = args.max_steps or find_registered_limit(args.env)
        limit, tells_limit = known or find_step_limit(args.env), known is not None
        session = Session(env, limit, seed, choose_game(env, args, seed), tells_limit)
        console = open_console(args.theme, highlight=False)
        with open_recording(args.record, session) as writer:
            player = None if agent is None else AgentPlayer(agent, seed)
            try:
                show_game(Controls(session, player), console, args)
            finally:
                keep_episode(session, writer, player, console)
    finally:
        env.close()


def show_game(controls: Controls, console: Console, args: argparse.Namespace) -> None:
    """On a full screen; where there is none to be had or wanted, line by line."""
    if fills_screen(args):
        from oreo_agents.terminal.play_app import show_play
        from oreo_agents.terminal.scene import render_outcome

        show_play(controls, args.pause, args.theme)
        console.print(render_outcome(controls.session))
    else:
        from oreo_agents.terminal.play import make_reader, play_session

        play_session(controls, console, make_reader(controls.session, console), args.pause)


def make_env(args: argparse.Namespace, agent: Agent | None) -> gym.Env:
    """The environment that the options name, with what the agent needs, and hints where it can give them."""
    from oreo_agents.agents.agent import options_for
    from oreo_agents.environments import environments

    needs = options_for(agent) if agent else {}
    needs |= {"expert": True} if describe(args.env).plans else {}
    options = read_source(args)
    return environments(args.env, ENDLESS, success_return=args.success_return, **{**options, **needs})()


def choose_game(env: gym.Env, args: argparse.Namespace, seed: int) -> dict[str, Any] | None:
    """Options of the reset; None leaves the choice to the seed.

    Raises:
        ConfigurationError: no game has that task type.
    """
    if args.game is not None:
        return {"game": int(args.game) if args.game.isdecimal() else args.game}
    if args.task_type is None:
        return None
    task_types = getattr(getattr(env.unwrapped, "games", None), "task_types", ())
    found = set()
    for position in range(seed, seed + min(len(task_types), SEARCHED)):
        kind = task_types[position % len(task_types)]
        if args.task_type in kind:
            return {"game": position % len(task_types)}
        found.add(kind)
    there = (
        f"choose one of {', '.join(sorted(found))}"
        if found
        else "leave out --task-type, games here have none"
    )
    raise ConfigurationError(f"no game here has the task type {args.task_type!r}: {there}")


def choose_agent(args: argparse.Namespace, endpoint: Endpoint | None) -> Agent | None:
    """The agent that the options name."""
    if args.agent is None:
        if endpoint is not None:
            raise ConfigurationError("--endpoint plays for an agent: name it, too (--agent)")
        return None
    from oreo_agents.agents.scripted import SCRIPTED

    if args.agent in SCRIPTED:
        refuse_choice(args)
    else:
        tell_loading(args.agent)
    from oreo_agents.agents.load import load_agent

    choosing = {"select": args.select, "k": args.k, **read_choice(args)}
    return load_agent(args.agent, endpoint, env_id=args.env, prompt=args.prompt, **choosing)
