"""The episode loop: many episodes at once, one agent, trajectories out.

Knows nothing about how an agent decides or where trajectories go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from oreo_envs.errors import GameFileError

from oreo_agents.agents.agent import Agent, Decision
from oreo_agents.trajectory import Trajectory, Turn


@dataclass(frozen=True, slots=True)
class Episode:
    """What to play: a game by index or name, and the seed of environment and agent."""

    game: int | str
    seed: int


class _Running:
    """One slot's episode while it lasts."""

    def __init__(self, env: gym.Env[str, str], episode: Episode) -> None:
        self.env, self.episode = env, episode
        self.turns: list[Turn] = []
        self.tokens = {"prompt": 0, "generated": 0, "critic": 0}
        self.metadata: dict[str, Any] = {"tokens": self.tokens}
        self.terminated = self.truncated = False
        try:
            self.observation, self.info = env.reset(seed=episode.seed, options={"game": episode.game})
        except GameFileError as error:
            self.observation, self.info = "", {"game": _name(env, episode.game)}
            self.metadata |= {"ended": str(error), "failed": True}
            self.truncated = True

    def step(self, decision: Decision) -> bool:
        """Play the decision; True when the episode is over."""
        self._count(decision)
        if decision.end:
            self.metadata["ended"] = decision.end
            self.metadata |= {"failed": True} if decision.failed else {}
            self.truncated = True
            return True
        action, before = decision.action, self.observation
        self.observation, reward, self.terminated, self.truncated, info = self.env.step(action)
        self.turns.append(
            Turn(
                before,
                str(action),
                float(reward),
                info.get("action_status"),
                action.token_ids,
                action.logprobs,
                action.value,
                action.candidates,
            )
        )
        self.info = info
        return self.terminated or self.truncated

    def _count(self, decision: Decision) -> None:
        self.tokens["prompt"] += decision.prompt_tokens
        self.tokens["generated"] += decision.generated_tokens
        self.tokens["critic"] += decision.critic_tokens
        if decision.simulated_steps:
            before = self.metadata.get("simulated_steps", 0)
            self.metadata["simulated_steps"] = before + decision.simulated_steps

    def trajectory(self, agent: Agent) -> Trajectory:
        spec = self.env.unwrapped.spec
        return Trajectory(
            turns=tuple(self.turns),
            env_id=spec.id if spec else "",
            game=self.info.get("game", ""),
            task=self.info.get("task", ""),
            task_type=self.info.get("task_type", ""),
            seed=self.episode.seed,
            agent=agent.name,
            tokenizer=agent.tokenizer_fingerprint,
            terminated=self.terminated,
            truncated=self.truncated,
            final_observation=self.observation,
            metadata=self.metadata,
        )


def rollout(
    make_env: Callable[[], gym.Env[str, str]], episodes: Iterable[Episode], agent: Agent, slots: int = 64
) -> Iterator[Trajectory]:
    """Play ``episodes``, up to ``slots`` at once, and yield each as it ends (so not in order).

    A slot whose episode ends takes the next one at once; the model never waits for the longest episode. An agent that
    cannot go on ends its episode, not the others: ``metadata["ended"]`` then has the reason, and
    ``metadata["failed"]`` is there if the policy is not to blame. So does a game whose file is damaged.

    Args:
        make_env: builds one environment; called at most ``slots`` times.
        episodes: what to play.
        agent: who plays.
        slots: episodes at once.
    """
    waiting = list(episodes)[::-1]
    slots = min(slots, len(waiting))
    if slots == 0:
        return
    envs = [make_env() for _ in range(slots)]
    try:
        agent.prepare(slots)
        running: dict[int, _Running] = {}
        while waiting or running:
            free = [slot for slot in range(slots) if slot not in running][: len(waiting)]
            running.update((slot, _Running(envs[slot], waiting.pop())) for slot in free)
            agent.begin(free, [running[slot].episode.seed for slot in free])
            for slot in [slot for slot in free if running[slot].truncated]:  # its game does not open
                yield running.pop(slot).trajectory(agent)
            for slot in _step(agent, dict(sorted(running.items()))) if running else ():
                yield running.pop(slot).trajectory(agent)
    finally:
        for env in envs:
            env.close()


def _step(agent: Agent, running: Mapping[int, _Running]) -> Sequence[int]:
    """Advance every running episode by one action; the slots that ended."""
    episodes = list(running.values())
    infos: list[Mapping[str, Any]] = [episode.info for episode in episodes]
    decisions = agent.act_many(list(running), [episode.observation for episode in episodes], infos)
    return [
        slot for (slot, run), decision in zip(running.items(), decisions, strict=True) if run.step(decision)
    ]


def _name(env: gym.Env[str, str], game: Any) -> str:
    """Of a game that was asked for by name or position."""
    names = getattr(getattr(env.unwrapped, "games", None), "names", None)
    return names[game] if names and isinstance(game, int) else str(game)
