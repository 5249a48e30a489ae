"""Train the agent ``small`` that the package carries, on generated rooms alone, and judge it: suite ``small-agent``.

    python benchmarks/make_assets/train_small.py                # writes runs/small/seed-0/oreo
    python benchmarks/make_assets/train_small.py --games DIR    # judges it on the games of suite alfworld-small, too

Imitation: 60,000 expert episodes in generated rooms, 15 % of the turns slips that are recovered from but not imitated;
one pass from the demo's language model. Then OREO: one pass over 4,000 episodes that this policy sampled, exploring.
An hour on one core. The agent is kept as ``oreo_agents/assets/small``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from oreo_envs.files import write_json
from rich.console import Console

from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.stages import Stage, Stages
from oreo_agents.experiments.suite import Demonstrations
from oreo_agents.experiments.suite_file import load_suite
from oreo_agents.experiments.verdicts import Judgement
from oreo_agents.models.model_files import SHIPPED
from oreo_agents.terminal.suite_progress import SHOWN, print_stages

RESULTS = Path(__file__).parents[1] / "results" / "small.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", type=Path, help="ALFWorld's games, as bench takes them with --data")
    parser.add_argument("--agent", help="judge this one, such as small, and train none")
    parser.add_argument("--output", type=Path, default=Path("runs/small"), help="default: %(default)s")
    args = parser.parse_args()
    suite = load_suite("small-agent")
    if args.agent:
        model = str(SHIPPED.get(args.agent, args.agent))
        suite = replace(suite, model=model, demonstrations=Demonstrations(episodes=0))
    plan = Plan(suite, find_arenas(suite, args.games), views=SHOWN)
    (seed,) = suite.seeds
    agents = (
        {"small": plan.sft(seed)}
        if args.agent
        else {"sft": plan.sft(seed), "small": plan.agent("oreo", seed)}
    )
    stages = Stages(args.output, print_stages(Console(stderr=True), args.output))
    ways = [("greedy", 1), *(("best_of_k", k) for k in suite.search.ks if k > 1)]
    write_json(
        RESULTS,
        [
            judge(stages, plan, name, agent, test, select, k)
            for test in plan.arenas.tests
            for name, agent in agents.items()
            for select, k in ways
            if name == "small" or k == 1  # before OREO there is no critic
        ],
    )


def judge(
    stages: Stages, plan: Plan, name: str, agent: Stage, test: str, select: str, k: int
) -> dict[str, Any]:
    """Success in one set of games."""
    selection = plan.selection(select, k)
    trial = plan.trial(f"{name} {select}", selection, plan.suite.seeds[0])
    judged = plan.judgement(f"judged/{name}-{test}-{select}-{k}", plan.arenas.tests[test], trial, agent)
    ((max_steps, result),) = Judgement.read(stages.run(judged)).results.items()
    low, high = result.interval95
    print(f"{name}, {test}, {select}: {result.success_rate:.1%} [{low:.1%}, {high:.1%}] of {result.n} games")
    return {**result.to_json(), **selection.to_json(), "max_steps": max_steps, "arena": test}


if __name__ == "__main__":
    main()
