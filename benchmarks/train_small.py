"""Train the agent ``small`` that the package carries, on generated rooms alone, and judge it.

    python benchmarks/train_small.py                   # writes runs/small/agent; copied to oreo_agents/assets/small
    python benchmarks/train_small.py --games DIR       # judges it on ALFWorld's valid_seen under DIR, too

30,000 expert episodes in generated rooms, 15 % of the turns slips that are recovered from but not imitated; one pass
from the demo's language model. Twenty minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from oreo_envs.alfworld.data import find_games

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.collect import record
from oreo_agents.dataset import load_trajectories
from oreo_agents.demo import STARTING_CHECKPOINT
from oreo_agents.environments import environments
from oreo_agents.evaluation import evaluate, write_json
from oreo_agents.train import train

GAMES = slice(900_000)
"""The last hundred thousand training games are for choosing settings."""

EPISODES = 30_000
RESULTS = Path(__file__).parent / "results" / "small.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", type=Path, help="folder or archive of ALFWorld's valid_seen games")
    parser.add_argument("--output", type=Path, default=Path("runs/small"), help="default: %(default)s")
    args = parser.parse_args()
    played, agent = args.output / "demonstrations", args.output / "agent"
    games = find_games("generated")[GAMES]
    record("expert", played, games=games, epsilon=0.15, limit=EPISODES, seed=1)
    if not agent.is_dir():
        options = {"learning_rate": 3e-3, "muon": True, "observation_weight": 0.2, "seed": 1}
        train("sft", list(load_trajectories(played)), STARTING_CHECKPOINT, agent, **options)
    arenas = {"generated_unseen": find_games("generated_unseen")[:200]}
    if args.games:
        arenas["ALFWorld valid_seen"] = find_games(games=args.games)
    write_json(RESULTS, [judge(agent, name, found) for name, found in arenas.items()])


def judge(agent: Path, arena: str, games) -> dict:
    """Greedy success in one set of games, 50 steps."""
    player = OreoAgent.from_pretrained(agent, max_new_tokens=8, name="small")
    result, _ = evaluate(environments(games=games), player, list(range(len(games))), "small", 0, 100)
    low, high = result["wilson95"]
    print(f"{arena}: {result['success_rate']:.1%} [{low:.1%}, {high:.1%}] of {result['n']} games")
    return {**result, "arena": arena}


if __name__ == "__main__":
    main()
