"""Train the agent ``small`` that the package carries, on generated rooms alone, and judge it.

    python benchmarks/train_small.py                   # writes runs/small/agent; copied to oreo_agents/assets/small
    python benchmarks/train_small.py --games DIR       # judges it on the games of suite alfworld-small, too

Imitation: 60,000 expert episodes in generated rooms, 15 % of the turns slips that are recovered from but not imitated;
one pass from the demo's language model. Then OREO: one pass over 4,000 episodes that this policy sampled, exploring.
An hour on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from oreo_envs.alfworld.sources import find_games

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.bench.games import find
from oreo_agents.bench.reading import load_suite
from oreo_agents.collect import record, record_rollouts
from oreo_agents.dataset import load_trajectories
from oreo_agents.demo import STARTING_CHECKPOINT
from oreo_agents.environments import environments
from oreo_agents.evaluation import evaluate, write_json
from oreo_agents.train import train

GAMES = slice(900_000)
"""The last hundred thousand training games are for choosing settings."""

EPISODES, ROLLOUTS = 60_000, 4_000
IMITATION = {"learning_rate": 3e-3, "muon": True, "observation_weight": 0.2, "seed": 1}
OREO = {
    "learning_rate": 1e-4,
    "critic_learning_rate": 1e-3,
    "critic_warmup": 0.25,
    "alpha": 0.002,
    "after_action": "answer",
    "observation_weight": 0.3,
    "per_device_train_batch_size": 16,
    "seed": 0,
}
SEARCH = {"select": "best_of_k", "k": 5, "temperature": 1.0, "logprob_weight": 0.03}
RESULTS = Path(__file__).parent / "results" / "small.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", type=Path, help="ALFWorld's games, as bench takes them with --data")
    parser.add_argument("--agent", help="judge this one, such as small, and train none")
    parser.add_argument("--output", type=Path, default=Path("runs/small"), help="default: %(default)s")
    args = parser.parse_args()
    arenas = {"generated_unseen": find_games("generated_unseen")[:200]}
    if args.games:
        real = find(load_suite("alfworld-small"), args.games).tests
        arenas |= {name: found.options["games"] for name, found in real.items()}
    agent = args.agent or make(args.output)
    ways: list[dict[str, Any]] = [{"select": "greedy"}, SEARCH]
    write_json(RESULTS, [judge(agent, name, found, way) for name, found in arenas.items() for way in ways])


def make(output: Path) -> Path:
    """Train it under ``output``; episodes and agents that are there already are used."""
    played, policy, explored, agent = (
        output / name for name in ("demonstrations", "policy", "rollouts", "agent")
    )
    games = find_games("generated")[GAMES]
    record("expert", played, games=games, epsilon=0.15, limit=EPISODES, seed=1)
    if not policy.is_dir():
        train("sft", list(load_trajectories(played)), STARTING_CHECKPOINT, policy, **IMITATION)
    player = OreoAgent.from_pretrained(
        policy, select="sample", temperature=1.4, max_new_tokens=8, name="policy"
    )
    record_rollouts(player, explored, games=games, limit=ROLLOUTS, seed=3, slots=100, patience=12)
    if not agent.is_dir():
        train("oreo", list(load_trajectories(explored)), policy, agent, **OREO)
    return agent


def judge(agent: str | Path, arena: str, games, way: dict[str, Any]) -> dict:
    """Success in one set of games, 50 steps."""
    player = OreoAgent.from_pretrained(agent, max_new_tokens=8, name="small", dtype="float32", **way)
    label = f"small {way['select']}"
    result, _ = evaluate(environments(games=games), player, list(range(len(games))), label, 0, 100)
    low, high = result["wilson95"]
    print(
        f"{arena}, {way['select']}: {result['success_rate']:.1%} [{low:.1%}, {high:.1%}] of {result['n']} games"
    )
    return {**result, **way, "arena": arena}


if __name__ == "__main__":
    main()
