"""What recording costs: overhead per step, bulk writing, and reading of large datasets.

    python benchmarks/speed/record.py [--episodes N] [--output FILE]

The overhead is measured against an environment that only returns prepared answers of ALFWorld's size, so that
the recorder's own time is left; compaction to Parquet is included. Times are CPU times, which a busy machine
inflates less than wall time; only the expert's recording is wall time.
"""

import argparse
import json
import platform
import resource
import tempfile
import time
from pathlib import Path

import gymnasium as gym
import pyarrow as pa
from oreo_envs.files import write_json
from oreo_envs.spaces import Text

from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.rollout.wrapper import RecordTrajectories

RESULTS = Path(__file__).parents[1] / "results" / "record_speed.json"
STEPS = 17  # mean length of a realistic ALFWorld episode


class Scripted(gym.Env):
    """Plays back one recorded episode, whatever the agent does."""

    observation_space, action_space = Text(), Text()

    def __init__(self, answers):
        self.answers = answers
        self.games = 0

    def reset(self, *, seed=None, options=None):
        """The opening."""
        super().reset(seed=seed)
        self.steps, self.games = 0, self.games + 1
        observation, info = self.answers[0]
        return observation, {**info, "game": f"game-{self.games}"}

    def step(self, action):
        """The next answer."""
        self.steps += 1
        observation, info = self.answers[self.steps % len(self.answers)]
        return observation, 0.0, False, self.steps == STEPS, info


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--episodes", type=int, default=3553, help="default: %(default)s")
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="episodes of the large dataset; default: %(default)s"
    )
    parser.add_argument("--split", help="also record every game of this split with the expert")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parents[1] / "results" / "record_speed.json"
    )
    args = parser.parse_args()
    results = {"python": platform.python_version(), "pyarrow": pa.__version__, "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as folder:
        answers = prepared_answers(Path(folder))
        results["overhead"] = measure_overhead(Path(folder), answers, args.episodes)
        results["bulk"] = measure_bulk(Path(folder), args.episodes)
        results["large"] = measure_large(Path(folder), args.large)
        if args.split:
            results["expert"] = measure_expert(Path(folder), args.split)
    print(json.dumps(results, indent=1))
    write_json(args.output, results)


def prepared_answers(folder):
    """Observations and infos of a long generated episode."""
    once = {"schedule": Schedule(limit=1), "max_steps": STEPS}
    record(ScriptedAgent("random"), folder / "source", split="generated", **once)
    (episode,) = load_trajectories(folder / "source")
    return [
        (
            turn.observation,
            {
                "admissible_commands": list(turn.admissible_commands),
                "action_status": "ok",
                "task": episode.task,
                "task_type": episode.task_type,
            },
        )
        for turn in episode.turns
    ]


def play(env, episodes):
    """Seconds of CPU time for many episodes."""
    begin = time.process_time()
    for _ in range(episodes):
        env.reset()
        for _ in range(STEPS):
            env.step("go to drawer 1")
    env.close()
    return time.process_time() - begin


def measure_overhead(folder, answers, episodes):
    bare = play(Scripted(answers), episodes)
    recorded = play(RecordTrajectories(Scripted(answers), folder / "overhead"), episodes)
    return {
        "episodes": episodes,
        "steps": episodes * STEPS,
        "commands_per_step": sum(len(info["admissible_commands"]) for _, info in answers) / len(answers),
        "microseconds_per_step": round((recorded - bare) / (episodes * STEPS) * 1e6, 1),
    }


def measure_bulk(folder, episodes):
    trajectories = list(load_trajectories(folder / "overhead"))
    begin = time.process_time()
    with TrajectoryWriter(folder / "bulk") as writer:
        for trajectory in trajectories:
            writer.append(trajectory)
    written = time.process_time()
    dataset = load_trajectories(folder / "bulk")
    for _ in dataset:
        pass
    read = time.process_time()
    size = sum(file.stat().st_size for file in (folder / "bulk").glob("*.parquet"))
    return {
        "episodes": episodes,
        "episodes_written_per_second": round(episodes / (written - begin)),
        "episodes_read_per_second": round(episodes / (read - written)),
        "bytes_per_episode": round(size / episodes),
    }


def measure_large(folder, episodes):
    """A dataset of many copies of the same episodes: what opening, columns and random access cost."""
    source = load_trajectories(folder / "bulk")
    with TrajectoryWriter(folder / "large") as writer:
        while len(writer) < episodes:
            source.save_to(writer)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    dataset = load_trajectories(folder / "large")
    opened = time.process_time()
    won = dataset.filter(success=False, length=STEPS)
    first, _ = won.split(0.9)
    selected = time.process_time()
    chosen = first.shuffle(1)
    for index in range(200):
        chosen[index]
    accessed = time.process_time()
    return {
        "episodes": len(dataset),
        "seconds_to_open": round(opened - begin, 3),
        "seconds_to_filter_and_split": round(selected - opened, 2),
        "milliseconds_per_random_access": round((accessed - selected) / 200 * 1e3, 2),
        "additional_memory_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
    }


def measure_expert(folder, split):
    begin = time.perf_counter()
    recording = record(ScriptedAgent("expert"), folder / "expert", split=split)
    return {
        "split": split,
        "episodes": recording.episodes,
        "turns": recording.turns,
        "success_rate": round(recording.success_rate, 4),
        "seconds": round(time.perf_counter() - begin, 1),
    }


if __name__ == "__main__":
    main()
