"""Train the policy that the demo starts from, and print its success in rooms it was not trained in.

    python benchmarks/train_start.py          # writes runs/start/sft; copied to oreo_agents/assets/start

16,000 expert episodes in generated rooms, 15 % of the turns slips that are recovered from but not imitated, two
passes, about ten minutes on two cores.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from oreo_agents.demo import Arena, Recipe, Stages, Steps

RECIPE = Recipe(seed=100, demonstrations=16_000, sft_epochs=2, observation_weight=0.0, from_scratch=True)


def main() -> None:
    output = Path("runs/start")
    output.mkdir(parents=True, exist_ok=True)
    steps = Steps(Arena.choose(None), RECIPE, Stages(output, Console(stderr=True)))
    policy = steps.imitate()
    result = steps.judge("SFT", policy, "greedy")
    low, high = result["wilson95"]
    print(f"{policy}: {result['success_rate']:.1%} [{low:.1%}, {high:.1%}] of {result['n']} games")


if __name__ == "__main__":
    main()
