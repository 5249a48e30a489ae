"""Success rates: an agent on a fixed list of games, with intervals, as data and as a file.

A result is a plain dict (see :func:`summarise`); report/ turns it into tables and plots.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreo_agents.environments import MakeEnv, environments, games_of, source_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.rollout import Episode, rollout
from oreo_agents.statistics import wilson
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.agents import Agent

Result = dict[str, Any]


def pick_games(make_env: MakeEnv, n: int | None, seed: int = 0) -> list[int]:
    """Indices of ``n`` games: all of them in order, or a sample that depends on ``seed`` alone."""
    total = len(games_of(make_env()))
    if n is None or n >= total:
        if total > 100_000:
            raise ConfigurationError("this split has no end: say how many games with --episodes")
        return list(range(total))
    return random.Random(seed).sample(range(total), n)


def play(
    make_env: MakeEnv, agent: Agent, games: Sequence[int], seed: int = 0, slots: int = 64, progress: str = ""
) -> list[Trajectory]:
    """One episode on each of ``games``, in their order.

    Args:
        make_env: the environment.
        agent: who plays.
        games: indices; one that stands twice is played twice, with other randomness.
        seed: of environment and agent.
        slots: episodes at once.
        progress: name of a live view; none if empty.
    """
    episodes = [Episode(game, seed * 1_000_003 + i) for i, game in enumerate(games)]
    played = rollout(make_env, episodes, agent, slots)
    if progress:
        from oreo_agents.terminal.live import watch

        played = watch(played, len(episodes), progress)
    order = {episode.seed: i for i, episode in enumerate(episodes)}
    return sorted(played, key=lambda trajectory: order[trajectory.seed or 0])


def evaluate(
    make_env: MakeEnv,
    agent: Agent,
    games: Sequence[int],
    method: str,
    seed: int = 0,
    slots: int = 64,
    progress: bool = True,
) -> tuple[Result, list[Trajectory]]:
    """Play every game once; the result and the episodes."""
    start = time.monotonic()
    trajectories = play(make_env, agent, games, seed, slots, method if progress else "")
    return summarise(trajectories, method, time.monotonic() - start), trajectories


def summarise(trajectories: Sequence[Trajectory], method: str, seconds: float) -> Result:
    """What a set of episodes comes to.

    Returns:
        ``method``, ``n``, ``successes``, ``success_rate``, ``wilson95``, ``by_task_type``,
        ``invalid_action_rate`` (of all actions), ``mean_steps``, ``mean_steps_success``,
        ``tokens_per_episode`` (read and generated, policy and critic), ``seconds_per_episode`` (wall time
        over episodes, many at once), ``games`` and ``won`` (in the order played, for paired comparisons).
    """
    n = len(trajectories)
    if n == 0:
        raise ConfigurationError("there are no episodes to summarise: ask for at least one game")
    won = [trajectory.success for trajectory in trajectories]
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    lengths = [len(trajectory) for trajectory in trajectories]
    by_type: dict[str, dict[str, int]] = defaultdict(lambda: {"n": 0, "successes": 0})
    for trajectory in trajectories:
        by_type[trajectory.task_type]["n"] += 1
        by_type[trajectory.task_type]["successes"] += trajectory.success
    tokens = sum(sum(trajectory.metadata.get("tokens", {}).values()) for trajectory in trajectories)
    return {
        "method": method,
        "n": n,
        "successes": sum(won),
        "success_rate": sum(won) / n,
        "wilson95": list(wilson(sum(won), n)),
        "by_task_type": dict(sorted(by_type.items())),
        "invalid_action_rate": sum(turn.action_status not in (None, "ok") for turn in turns)
        / max(len(turns), 1),
        "mean_steps": sum(lengths) / n,
        "mean_steps_success": sum(length for length, w in zip(lengths, won, strict=True) if w)
        / max(sum(won), 1),
        "tokens_per_episode": tokens / n,
        "seconds_per_episode": seconds / n,
        "games": [trajectory.game for trajectory in trajectories],
        "won": won,
    }


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def load_agent(name: str, select: str = "greedy", k: int = 1) -> Agent:
    """A scripted agent by name (``expert``, ``random``), or the trained one at a path."""
    from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent

    if name in SCRIPTED:
        return ScriptedAgent(name)
    from oreo_agents.agents.oreo import OreoAgent

    return OreoAgent.from_pretrained(name, select=select, k=k)


def run(args: argparse.Namespace) -> int:
    """``oreo-agents eval``."""
    from rich.console import Console

    from oreo_agents.agents.scripted import follows_plan
    from oreo_agents.report.tables import success_table

    options = source_options(args.env, args.split, args.games)
    if follows_plan(args.agent, args.env):
        options["expert"] = True
    make_env = environments(args.env, args.max_steps, **options)
    games = pick_games(make_env, args.episodes, args.seed)
    ks = args.k if args.select == "best_of_k" else [1]
    results = []
    for k in ks:
        agent = load_agent(args.agent, args.select, k)
        label = f"{agent.name} best-of-{k}" if args.select == "best_of_k" else f"{agent.name} {args.select}"
        result, _ = evaluate(make_env, agent, games, label, args.seed, args.num_envs)
        results.append(
            {**result, "select": args.select, "k": k, "split": args.split, "max_steps": args.max_steps}
        )
        if args.output:
            write_json(args.output, results)
    Console().print(success_table(results))
    return 0
