"""Pre-train the language model that the demo starts from: it learns what ALFWorld's rooms answer, not how to win.

    python benchmarks/make_assets/train_start.py          # writes runs/start/start; copied to oreo_agents/assets/start

Every second command in its 24,000 episodes is a slip: a random one, one about the wrong thing, one that has just
failed. All tokens count alike, slips and answers included, as in the pre-training of any language model, so it knows
which commands fail, and it plays as badly as what it has read. Twenty minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.stages import Stages
from oreo_agents.experiments.steps import read_episodes
from oreo_agents.experiments.suite import Demonstrations, GameSet, Suite
from oreo_agents.terminal.suite_progress import SHOWN
from oreo_agents.training.train import train
from oreo_agents.trajectory import Trajectory

SEED = 100
PLAY = Suite(
    "start",
    methods={},
    train=GameSet("generated", first=900_000),  # the last hundred thousand are for choosing settings
    tests={"generated_unseen": GameSet("generated_unseen")},
    seeds=(SEED,),
    step_limits=(30,),
    demonstrations=Demonstrations(24_000, epsilon=0.5),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/start"), help="default: %(default)s")
    output = parser.parse_args().output
    (play,) = Plan(PLAY, find_arenas(PLAY), views=SHOWN).demonstrations(SEED)
    episodes = [unmark_slips(episode) for episode in read_episodes([Stages(output).run(play)])]
    train("sft", episodes, "new-small", output / "start", observation_weight=1.0, seed=SEED)


def unmark_slips(episode: Trajectory) -> Trajectory:
    """The episode with its slips unmarked, so that they are learnt too."""
    return replace(episode, metadata={})


if __name__ == "__main__":
    main()
