"""An episode while it is played: the one place where a turn of it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

from oreo_envs.infos import read_success, read_texts

from oreo_agents.errors import EpisodeError
from oreo_agents.trajectory import CUT_TURNS, NOISE_TURNS, TEXT_ONLY, Action, Trajectory, Turn, name_outcome


class EpisodeBuilder:
    """One episode while it is played: takes what an environment returns, gives a :class:`Trajectory`."""

    __slots__ = (
        "_task",
        "_turns",
        "_won",
        "admissible",
        "env_id",
        "failed",
        "metadata",
        "observation",
        "seed",
        "state_hash",
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

        Raises:
            EpisodeError: the info has something in a form that cannot be stored.
        """
        self.env_id, self.failed, self.seed = env_id, False, seed
        self.success_return = success_return
        self._won: bool | None = None
        self._task = {name: str(info.get(name, "")) for name in ("game", "task", "task_type")}
        self._turns: list[Turn] = []
        self.metadata: dict[str, Any] = {}
        self._read(observation, info)

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, action: str, observation: str, reward: Any, info: Mapping[str, Any]) -> None:
        """Add the action and what ``step`` returned for it.

        Raises:
            EpisodeError: that is nothing that could be stored; the episode has then ``failed``, and is none to keep.
        """
        before, offered, state = self.observation, self.admissible, self.state_hash
        if fault := find_fault(observation, reward):
            self._fail(fault, len(self) + 1)
        self._read(observation, info, len(self) + 1)
        sampled = action if isinstance(action, Action) else _UNSAMPLED
        self._note(sampled)
        self._turns.append(
            Turn(
                observation=before,
                action=str(action) if isinstance(action, Action) else action,
                reward=float(reward),
                action_status=info.get("action_status"),
                token_ids=sampled.token_ids,
                logprobs=sampled.logprobs,
                value=sampled.value,
                candidates=sampled.candidates,
                admissible_commands=offered,
                said=sampled.said,
                drawn_logprobs=sampled.drawn_logprobs,
                state_hash=state,
            )
        )

    @property
    def return_(self) -> float:
        """The sum of the rewards so far."""
        return sum((turn.reward for turn in self._turns), 0.0)

    @property
    def success(self) -> bool | None:
        """Whether it is won, as the last info that tells says, else as the return does; None: nobody knows."""
        if self._won is None and self.success_return is not None:
            return self.return_ >= self.success_return
        return self._won

    def end(self, terminated: bool, truncated: bool, agent: str, tokenizer: str | None) -> Trajectory:
        """The finished episode; neither terminated nor truncated when it was abandoned.

        ``tokenizer`` is left out where all of it is known as text alone.
        """
        if TEXT_ONLY in self.metadata and all(turn.token_ids is None for turn in self._turns):
            tokenizer = None
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
            outcome=name_outcome(self.success, self.return_),
        )

    def _read(self, observation: str, info: Mapping[str, Any], step: int = 0) -> None:
        """Take in what was said last."""
        try:
            commands, won = read_texts(info), read_success(info)
        except ValueError as error:
            self._fail(str(error), step)
        self.observation, self.admissible = observation, None if commands is None else tuple(commands)
        self._won = self._won if won is None else won
        state_hash = info.get("state_hash")
        self.state_hash = state_hash if isinstance(state_hash, str) else None

    def _note(self, action: Action) -> None:
        """Keep what is to be known of how the action of the next turn came about."""
        for name, so in ((CUT_TURNS, action.cut), (NOISE_TURNS, action.noise)):
            if so:
                self.metadata.setdefault(name, []).append(len(self))
        if action.text_only:
            self.metadata[TEXT_ONLY] = True

    def _fail(self, fault: str, step: int) -> NoReturn:
        self.failed = True
        raise EpisodeError.at(self.env_id, self._task["game"], self.seed, step, fault)


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


def find_success_return(spec: Any) -> float | None:
    """From which return on an episode is won, by an environment's specification (Gymnasium's ``reward_threshold``)."""
    return getattr(spec, "reward_threshold", None)


_UNSAMPLED = Action("")
