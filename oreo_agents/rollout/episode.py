"""An episode while it is played: the one place where a turn of it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oreo_agents.trajectory import Action, Trajectory, Turn


class EpisodeBuilder:
    """One episode while it is played: takes what an environment returns, gives a :class:`Trajectory`."""

    __slots__ = ("_admissible", "_task", "_turns", "metadata", "observation", "seed")

    def __init__(self, observation: str, info: Mapping[str, Any], seed: int | None = None) -> None:
        """Begin with what ``reset`` returned."""
        self.observation, self._admissible, self.seed = observation, _read_commands(info), seed
        self._task = {name: str(info.get(name, "")) for name in ("game", "task", "task_type")}
        self._turns: list[Turn] = []
        self.metadata: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, action: str, observation: str, reward: float, info: Mapping[str, Any]) -> None:
        """Add the action and what ``step`` returned for it."""
        sampled = action if isinstance(action, Action) else _UNSAMPLED
        self._turns.append(
            Turn(
                observation=self.observation,
                action=str(action) if isinstance(action, Action) else action,
                reward=float(reward),
                action_status=info.get("action_status"),
                token_ids=sampled.token_ids,
                logprobs=sampled.logprobs,
                value=sampled.value,
                candidates=sampled.candidates,
                admissible_commands=self._admissible,
                said=sampled.said,
            )
        )
        self.observation, self._admissible = observation, _read_commands(info)

    def end(
        self, terminated: bool, truncated: bool, env_id: str, agent: str, tokenizer: str | None
    ) -> Trajectory:
        """The finished episode; neither terminated nor truncated when it was abandoned."""
        return Trajectory(
            turns=tuple(self._turns),
            env_id=env_id,
            **self._task,
            seed=self.seed,
            agent=agent,
            tokenizer=tokenizer,
            terminated=bool(terminated),
            truncated=bool(truncated),
            final_observation=self.observation,
            metadata=self.metadata,
        )


def _read_commands(info: Mapping[str, Any]) -> tuple[str, ...] | None:
    commands = info.get("admissible_commands")
    return None if commands is None else tuple(commands)


_UNSAMPLED = Action("")
