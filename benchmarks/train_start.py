"""Train the policy that the demo starts from, and print its success in rooms it was not trained in.

    python benchmarks/train_start.py          # writes runs/start/start; copied to oreo_agents/assets/start

16,000 expert episodes in generated rooms, 15 % of the turns slips that are recovered from but not imitated, two
passes over the actions, then two that predict observations too; twenty minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from oreo_agents.dataset import load_trajectories
from oreo_agents.demo import Arena, Recipe, Stages, Steps
from oreo_agents.train import train

RECIPE = Recipe(seed=100, demonstrations=16_000, sft_epochs=2, observation_weight=0.0, from_scratch=True)


def main() -> None:
    output = Path("runs/start")
    output.mkdir(parents=True, exist_ok=True)
    steps = Steps(Arena.alfworld(None), RECIPE, Stages(output, Console(stderr=True)))
    first = steps.imitate()
    policy = output / "start"
    episodes = list(load_trajectories(steps.demonstrations))
    train(
        "sft",
        episodes,
        first,
        policy,
        seed=101,
        num_train_epochs=2,
        learning_rate=1e-3,
        observation_weight=0.2,
    )
    result = steps.judge("SFT", policy, "greedy")
    low, high = result["wilson95"]
    print(f"{policy}: {result['success_rate']:.1%} [{low:.1%}, {high:.1%}] of {result['n']} games")


if __name__ == "__main__":
    main()
