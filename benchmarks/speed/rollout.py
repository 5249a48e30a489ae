"""Rollouts with caches kept across turns, against a loop that calls ``generate`` on the whole history each turn.

    python benchmarks/speed/rollout.py                        # the shipped start checkpoint
    python benchmarks/speed/rollout.py --model smollm2-135m   # that shape with random weights: few games, slow

In one run, on the same model and games: greedy with the plain loop, greedy and best-of-8 with
:class:`oreo_agents.OreoAgent`. The games are ones that greedy decoding does not win within the limit, so every episode
has the same number of turns; the critic is a copy of the policy with V = 0, so best-of-8 pays for its candidates and
values but plays the greedy action, and all three play the same episodes. Each is run ``--repeats`` times, in turn, and
the fastest run counts. On a CPU one thread is used and its processor time counted, so that other programs on the
machine do not; on a GPU, wall time.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from oreo_envs.files import write_json

from oreo_agents.agents.agent import Agent, Assignment, Decision
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.environments import environments
from oreo_agents.experiments.suite import STARTING_CHECKPOINT
from oreo_agents.language.chat import Chat
from oreo_agents.models.agent_folder import load_policy
from oreo_agents.models.critic import Critic
from oreo_agents.models.decoder import best_device
from oreo_agents.rollout.loop import rollout
from oreo_agents.trajectory import Action, Trajectory

K = 8
ACTION_TOKENS = 8


class PlainLoop:
    """Keeps token histories and generates from the whole of each, in one left-padded batch per turn."""

    name, needs = "plain loop", frozenset[str]()

    def __init__(self, policy: Any, chat: Chat) -> None:
        self.policy, self.chat = policy, chat
        self.tokenizer_fingerprint = chat.fingerprint

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once."""
        self._histories: list[list[int]] = [[] for _ in range(slots)]

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``."""
        for slot in slots:
            self._histories[slot] = []

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation."""
        histories = [self._histories[slot] for slot in slots]
        for history, text in zip(histories, observations, strict=True):
            history.extend(self.chat.reply(text) if history else self.chat.opening(text))
        decisions = []
        for history, ids in zip(histories, self._generate(histories), strict=True):
            decisions.append(
                Decision(Action(self.chat.understand(ids).action, tuple(ids)), len(history), len(ids))
            )
            history.extend(ids)
        return decisions

    def _generate(self, histories: Sequence[Sequence[int]]) -> list[list[int]]:
        width, device = max(map(len, histories)), self.policy.device
        ids = torch.tensor([[0] * (width - len(h)) + list(h) for h in histories], device=device)
        mask = torch.tensor([[0] * (width - len(h)) + [1] * len(h) for h in histories], device=device)
        out = self.policy.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=ACTION_TOKENS,
            do_sample=False,
            use_cache=True,
            eos_token_id=self.chat.end_id,
            pad_token_id=0,
        )[:, width:].tolist()
        return [row[: row.index(self.chat.end_id) + 1] if self.chat.end_id in row else row for row in out]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="start", help="start, smollm2-135m or a checkpoint; default: start"
    )
    parser.add_argument("--episodes", type=int, default=32, help="default: %(default)s")
    parser.add_argument("--turns", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=16, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--output", type=Path, help="default: results/rollout_speed_MODEL.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    policy, tokenizer = build(args.model)
    chat, critic = Chat(tokenizer), Critic.from_policy(policy)
    greedy = OreoAgent(policy, tokenizer, max_new_tokens=ACTION_TOKENS)
    best = OreoAgent(policy, tokenizer, critic, "best_of_k", k=K, max_new_tokens=ACTION_TOKENS)
    make_env = environments(max_steps=args.turns, split="generated_unseen")
    games = long_games(make_env, greedy, args)
    agents: dict[str, Agent] = {
        "plain loop, greedy": PlainLoop(policy, chat),
        "cached, greedy": greedy,
        f"cached, best-of-{K}": best,
    }
    result = {**describe(args, policy), **compare(make_env, agents, games, args)}
    write_json(
        args.output or Path(__file__).parents[1] / "results" / f"rollout_speed_{args.model}.json", result
    )
    for key, value in result.items():
        print(f"{key}: {value}")


def build(name: str) -> tuple[Any, Any]:
    """A policy and a tokenizer; for ``smollm2-135m`` that model's shape and vocabulary size, weights random."""
    policy, tokenizer = load_policy(STARTING_CHECKPOINT if name in ("start", "smollm2-135m") else name)
    if name == "smollm2-135m":
        config = transformers.LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        torch.manual_seed(0)
        policy = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    return policy.to(best_device()).eval(), tokenizer


def long_games(make_env: Callable[[], Any], agent: Agent, args: argparse.Namespace) -> list[Assignment]:
    """The first games that greedy decoding plays to the limit of turns."""
    found: dict[int, Assignment] = {}
    for start in range(0, 100 * args.episodes, args.episodes):
        tried = [Assignment(game, game) for game in range(start, start + args.episodes)]
        for trajectory in rollout(make_env, tried, agent, args.batch):
            if len(trajectory) == args.turns and not trajectory.success:
                found[trajectory.seed or 0] = Assignment(trajectory.seed or 0, trajectory.seed or 0)
        if len(found) >= args.episodes:
            break
    return [found[game] for game in sorted(found)][: args.episodes]


def compare(
    make_env: Callable[[], Any], agents: dict[str, Agent], games: list[Assignment], args: argparse.Namespace
) -> dict[str, Any]:
    """Each agent on the same games, ``repeats`` times in turn; the fastest run of each."""
    clock = time.perf_counter if best_device().type == "cuda" else time.process_time
    runs: dict[str, list[tuple[float, list[Trajectory]]]] = {name: [] for name in agents}
    for _ in range(args.repeats):
        for name, agent in agents.items():
            start = clock()
            episodes = list(rollout(make_env, games, agent, args.batch))
            runs[name].append((clock() - start, episodes))
    fastest = {name: min(tried, key=lambda run: run[0]) for name, tried in runs.items()}
    plain, greedy, best = (measure(*run) for run in fastest.values())
    same = [agreement(fastest["plain loop, greedy"][1], fastest[name][1]) for name in list(agents)[1:]]
    return {
        "agents": dict(zip(agents, (plain, greedy, best), strict=True)),
        "greedy_over_plain_loop": greedy["episodes_per_minute"] / plain["episodes_per_minute"],
        f"cost_of_best_of_{K}_over_greedy": best["seconds_per_turn"] / greedy["seconds_per_turn"],
        "actions_equal_to_plain_loop": dict(zip(list(agents)[1:], same, strict=True)),
    }


def measure(seconds: float, episodes: list[Trajectory]) -> dict[str, float]:
    """What one run came to."""
    turns = sum(map(len, episodes))
    generated = sum(episode.metadata["tokens"]["generated"] for episode in episodes)
    return {
        "episodes": len(episodes),
        "turns": turns,
        "seconds": seconds,
        "episodes_per_minute": 60 * len(episodes) / seconds,
        "seconds_per_turn": seconds / turns,
        "generated_tokens_per_second": generated / seconds,
    }


def agreement(some: list[Trajectory], others: list[Trajectory]) -> float:
    """The share of actions, up to and including an episode's first difference, that are the same."""
    same = total = 0
    theirs = {episode.seed: episode for episode in others}
    for episode in some:
        for mine, other in zip(episode.turns, theirs[episode.seed].turns, strict=False):
            total += 1
            if mine.token_ids != other.token_ids:
                break
            same += 1
    return same / total


def describe(args: argparse.Namespace, policy: Any) -> dict[str, Any]:
    """What was measured, on what."""
    return {
        "model": args.model,
        "parameters": sum(p.numel() for p in policy.parameters()),
        "dtype": str(policy.dtype),
        "device": str(policy.device),
        "threads": torch.get_num_threads(),
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "batch": args.batch,
        "turns_per_episode": args.turns,
    }


if __name__ == "__main__":
    main()
