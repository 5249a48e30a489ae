"""Pre-train the language model that the demo starts from: it learns what ALFWorld's rooms answer, not how to win.

    python benchmarks/train_start.py          # writes runs/start/start; copied to oreo_agents/assets/start

Every second command in its 24,000 episodes is a slip: a random one, one about the wrong thing, one that has just
failed. All tokens count alike, slips and answers included, as in the pre-training of any language model, so it knows
which commands fail, and it plays as badly as what it has read. Twenty minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from oreo_envs.alfworld.sources import find_games

from oreo_agents.collect import record
from oreo_agents.dataset import load_trajectories
from oreo_agents.train import train
from oreo_agents.trajectory import Trajectory

GAMES = slice(900_000)
"""The last hundred thousand training games are for choosing settings."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/start"), help="default: %(default)s")
    output = parser.parse_args().output
    games = find_games("generated")[GAMES]
    record("expert", output / "play", games=games, epsilon=0.5, max_steps=30, limit=24_000, seed=100)
    episodes = [everything(episode) for episode in load_trajectories(output / "play")]
    train("sft", episodes, "small", output / "start", observation_weight=1.0, seed=100)


def everything(episode: Trajectory) -> Trajectory:
    """The episode with its slips unmarked, so that they are learnt too."""
    return replace(episode, metadata={})


if __name__ == "__main__":
    main()
