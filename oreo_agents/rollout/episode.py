"""An episode while it is played: the one place where a turn of it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from oreo_agents.errors import EpisodeError
from oreo_agents.trajectory import Action, Trajectory, Turn, name_outcome


class EpisodeBuilder:
    """One episode while it is played: takes what an environment returns, gives a :class:`Trajectory`."""

    __slots__ = (
        "_admissible",
        "_task",
        "_turns",
        "_won",
        "env_id",
        "failed",
        "metadata",
        "observation",
        "seed",
        "success_return",
    )

    def __init__(
        self,
        observation: str,
        info: Mapping[str, Any],
        env_id: str = "",
        seed: int | None = None,
        success_return: float | None = None,
    ) -> None:
        """Begin with what ``reset`` returned.

        Args:
            observation: the first.
            info: the first.
            env_id: of the environment.
            seed: that it was asked for with.
            success_return: from this return on it is won, where no info says ``won`` or ``success``; None: nobody
                knows what winning is. See :func:`find_success_return`.
        """
        self.env_id, self.failed = env_id, False
        self.success_return, self._won = success_return, read_success(info)
        self.observation, self._admissible, self.seed = observation, _read_commands(info), seed
        self._task = {name: str(info.get(name, "")) for name in ("game", "task", "task_type")}
        self._turns: list[Turn] = []
        self.metadata: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, action: str, observation: str, reward: Any, info: Mapping[str, Any]) -> None:
        """Add the action and what ``step`` returned for it.

        Raises:
            EpisodeError: that is nothing that could be stored; the episode has then ``failed``, and is none to keep.
        """
        if fault := find_fault(observation, reward):
            self.failed = True
            place = name_place(self.env_id, self._task["game"], self.seed, len(self) + 1)
            raise make_error(place, fault)
        if (won := read_success(info)) is not None:
            self._won = won
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
                drawn_logprobs=sampled.drawn_logprobs,
            )
        )
        self.observation, self._admissible = observation, _read_commands(info)

    def end(self, terminated: bool, truncated: bool, agent: str, tokenizer: str | None) -> Trajectory:
        """The finished episode; neither terminated nor truncated when it was abandoned."""
        return_ = sum(turn.reward for turn in self._turns)
        success = self._won
        if success is None and self.success_return is not None:
            success = return_ >= self.success_return
        return Trajectory(
            turns=tuple(self._turns),
            env_id=self.env_id,
            **self._task,
            seed=self.seed,
            agent=agent,
            tokenizer=tokenizer,
            terminated=bool(terminated),
            truncated=bool(truncated),
            final_observation=self.observation,
            metadata=self.metadata,
            outcome=name_outcome(success, return_),
        )


def find_fault(observation: Any, reward: Any) -> str:
    """Why what ``step`` returned cannot be stored; empty where it can."""
    if not isinstance(observation, str):
        return f"its observation is {type(observation).__name__}, and has to be a text"
    try:
        if not isinstance(reward, str) and math.isfinite(reward):
            return ""
    except (TypeError, ValueError, OverflowError):
        pass
    shown = repr(reward) if isinstance(reward, str) else str(reward)
    return f"its reward is {shown:.80}, and has to be a finite number"


def make_error(place: str, fault: str) -> EpisodeError:
    """What is raised for a fault of :func:`find_fault` at a :func:`name_place`."""
    error = EpisodeError(f"{place}: {fault}")
    error.cause = fault
    return error


def name_place(env_id: str, game: str, seed: int | None, step: int) -> str:
    """``clinic:Clinic-v0, seed 3, step 2``: where in an episode something is."""
    episode = game or ("" if seed is None else f"seed {seed}")
    return ", ".join(part for part in (env_id, episode, f"step {step}") if part)


def find_success_return(spec: Any) -> float | None:
    """From which return on an episode is won, by an environment's specification (Gymnasium's ``reward_threshold``)."""
    return getattr(spec, "reward_threshold", None)


def read_success(info: Mapping[str, Any]) -> bool | None:
    """Whether an environment says that the episode is won: ``info["won"]``, else ``info["success"]``."""
    said = info.get("won", info.get("success"))
    return None if said is None else bool(said)


def _read_commands(info: Mapping[str, Any]) -> tuple[str, ...] | None:
    commands = info.get("admissible_commands")
    return None if commands is None else tuple(commands)


_UNSAMPLED = Action("")
