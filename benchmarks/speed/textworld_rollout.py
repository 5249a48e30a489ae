"""How long rollouts of the small decoder wait for TextWorld's games, beside what the decoder itself takes.

    python benchmarks/speed/textworld_rollout.py

In one run, on the same games and with the shipped start checkpoint, greedy: games that step side by side in their
worker processes, as every rollout plays them, and games that step one after the other. Wall time: of the decoder's
decisions, and of everything else, which is the environments. The games are made before; how long that takes is said
apart. Each is run ``--repeats`` times, in turn, and the fastest run counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
from oreo_envs.files import write_json

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.environments import environments, games_of
from oreo_agents.experiments.suite import STARTING_CHECKPOINT
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.provenance import collect_provenance
from oreo_agents.rollout.loop import rollout

LEVEL = "cooking/recipe1+take1+open+cook+cut+rooms6"


class TimedAgent(OreoAgent):
    """Counts the seconds that its decisions take."""

    seconds = 0.0

    def act_many(self, *arguments: Any) -> Any:
        """Decide, and look at the clock."""
        start = time.perf_counter()
        try:
            return super().act_many(*arguments)
        finally:
            self.seconds += time.perf_counter() - start


class OneAfterTheOther(gym.Wrapper):
    """Hides from the rollout that its games could step side by side."""

    @property
    def unwrapped(self) -> Any:
        """Itself, which begins nothing."""
        return self


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", default=LEVEL, help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--slots", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "textworld_speed.json"
    )
    args = parser.parse_args()
    make_env = environments("OREO-TextWorld", args.turns, games=args.games)
    games = games_of(make_env())
    start, missing = time.perf_counter(), sum(not games.is_made(number) for number in range(args.episodes))
    games.prepare(range(args.episodes))
    for number in range(args.episodes):
        games.path(number)
    made = {"games_made": missing, "making_seconds": time.perf_counter() - start}
    ways = {"side by side": make_env, "one after the other": lambda: OneAfterTheOther(make_env())}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, make in ways.items():
            runs[name].append(measure_rollout(make, args))
    fastest = {name: min(found, key=lambda run: run["seconds"]) for name, found in runs.items()}
    options = {name: value for name, value in vars(args).items() if name != "output"}
    write_json(args.output, {**collect_provenance(), **options, **made, "runs": fastest})
    for name, run in fastest.items():
        print(f"{name}: {run}")


def measure_rollout(make_env: Callable[[], Any], args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a rollout, of the decoder in it, and the share of the environments."""
    policy, tokenizer = load_policy(STARTING_CHECKPOINT)
    agent = TimedAgent(policy.eval(), tokenizer, max_new_tokens=16)
    start = time.perf_counter()
    episodes = [Assignment(number, number) for number in range(args.episodes)]
    turns = sum(len(played) for played in rollout(make_env, episodes, agent, args.slots))
    seconds = time.perf_counter() - start
    share = 1 - agent.seconds / seconds
    return {"turns": turns, "seconds": seconds, "decoder_seconds": agent.seconds, "environments_share": share}


if __name__ == "__main__":
    main()
