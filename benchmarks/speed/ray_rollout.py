"""What Ray costs for each episode, and what a second worker brings where an episode takes a while.

    python benchmarks/speed/ray_rollout.py

In one run, with an environment whose step keeps a core busy: episodes that take no time, played in this process and by
one worker, whose difference is what Ray costs; and episodes of ``--seconds``, played by one worker and by
``--workers``. Workers are started before; how long that takes is said apart. Each is run ``--repeats`` times, in turn,
and the fastest run counts.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import gymnasium as gym
from oreo_envs.files import write_json

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.environments import environments
from oreo_agents.provenance import collect_provenance
from oreo_agents.rollout.loop import Spread, rollout, stay_here
from oreo_agents.rollout.ray_pool import RayPool

ID = "ray_rollout:Busy-v0"
TEXT = gym.spaces.Text(100)


class Busy(gym.Env[str, str]):
    """One step, which takes so many seconds of a core."""

    observation_space = action_space = TEXT

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[str, dict]:
        """Begin."""
        return "It is late.", {"admissible_commands": ["sleep"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict]:
        """Keep a core busy."""
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return "It is early.", 1.0, True, False, {"admissible_commands": ["sleep"]}


if "Busy-v0" not in gym.registry:  # this file is both the program and a module
    gym.register("Busy-v0", Busy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ray", default="local", help="the cluster; default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.05, help="of an episode; default: %(default)s")
    parser.add_argument("--episodes", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "ray_rollout.json"
    )
    args = parser.parse_args()
    agent = partial(ScriptedAgent, "random", ID)
    runs: dict[str, list[float]] = {}
    starts: dict[str, float] = {}
    for _ in range(args.repeats):
        runs.setdefault("here, no time", []).append(measure_play(stay_here, 0.0, args.episodes))
        for workers in (1, args.workers):
            start = time.perf_counter()
            with RayPool(args.ray, workers) as pool:
                spread = pool.spread(agent)
                measure_play(spread, 0.0, 8 * workers)  # whoever starts late is waited for
                starts[f"{workers} workers"] = time.perf_counter() - start
                if workers == 1:
                    runs.setdefault("1 worker, no time", []).append(measure_play(spread, 0.0, args.episodes))
                found = measure_play(spread, args.seconds, args.episodes)
                runs.setdefault(f"{workers} workers", []).append(found)
    fastest = {name: min(found) / args.episodes for name, found in runs.items()}
    told = {
        "ray_seconds_per_episode": fastest["1 worker, no time"] - fastest["here, no time"],
        "times_the_throughput": fastest["1 workers"] / fastest[f"{args.workers} workers"],
        "start_seconds": starts,
    }
    options = {name: value for name, value in vars(args).items() if name != "output"}
    write_json(args.output, {**collect_provenance(), **options, **told, "seconds_per_episode": fastest})
    print(fastest, told, sep="\n")


def measure_play(spread: Spread, seconds: float, episodes: int) -> float:
    """Seconds that so many episodes take, one after the other in each worker."""
    make_env = environments(ID, seconds=seconds, split="train")
    games = [Assignment(f"seed {number}", number) for number in range(episodes)]
    start = time.perf_counter()
    played = list(spread(rollout)(make_env, games, ScriptedAgent("random", ID), 1))
    assert len(played) == episodes
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
