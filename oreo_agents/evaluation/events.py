"""What stands out in an episode, and where two episodes part: pure functions of trajectories."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from oreo_agents.evaluation.beliefs import compute_advantage, list_values
from oreo_agents.trajectory import Trajectory

SURPRISE = 0.2
"""An advantage of this share of the range of V, which is taken to span at least 0 to 1, is a surprise."""

EventKind = Literal["won", "surprise", "invalid"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that stands out at one step, counted from 0."""

    step: int
    kind: EventKind
    advantage: float | None = None
    """Of a surprise."""


def list_events(trajectory: Trajectory) -> list[Event]:
    """Wins, surprises and invalid commands, in the order in which they came.

    The last step of an episode that was won is its win. A surprise is an advantage, for better or worse, of at least
    :data:`SURPRISE` of the range of V. A command is invalid where ``action_status`` says anything but ``ok`` or, where
    the environment says nothing, where the observation after it is the one before it, letter by letter; an empty one is
    no answer at all, as in mathematics.
    """
    threshold = SURPRISE * _measure_range(trajectory)
    events = []
    for step in range(len(trajectory)):
        if _is_invalid(trajectory, step):
            events.append(Event(step, "invalid"))
        gain = compute_advantage(trajectory, step)
        if gain is not None and abs(gain) >= threshold:
            events.append(Event(step, "surprise", gain))
    if trajectory.success and len(trajectory):
        events.append(Event(len(trajectory) - 1, "won"))
    return events


def find_surprise(trajectory: Trajectory, falls: bool = False) -> Event | None:
    """The greatest advantage of an episode, for better or worse; None without a finite one.

    Args:
        trajectory: the episode.
        falls: only those below 0.
    """
    gains = [(step, compute_advantage(trajectory, step)) for step in range(len(trajectory))]
    known = [(step, gain) for step, gain in gains if gain is not None and isfinite(gain)]
    chosen = [(step, gain) for step, gain in known if gain < 0 or not falls]
    step, gain = max(chosen, key=lambda one: abs(one[1]), default=(0, None))
    return None if gain is None else Event(step, "surprise", gain)


def find_difference(left: Trajectory, right: Trajectory) -> int | None:
    """The first step at which two episodes differ in what was seen or done; None where they are the same.

    The step after the last is one: one episode may end where the other goes on, or they may end differently.
    """
    pairs = zip(left.turns, right.turns, strict=False)
    for step, (one, other) in enumerate(pairs):
        if one.observation != other.observation or one.action != other.action:
            return step
    same = len(left) == len(right) and left.final_observation == right.final_observation
    return None if same else min(len(left), len(right))


def _measure_range(trajectory: Trajectory) -> float:
    known = [value for value in list_values(trajectory) if value is not None and isfinite(value)]
    return max(1.0, *known) - min(0.0, *known) if known else 1.0


def _is_invalid(trajectory: Trajectory, step: int) -> bool:
    turn = trajectory.turns[step]
    if turn.action_status is not None:
        return turn.action_status != "ok"
    following = trajectory.turns[step + 1].observation if step + 1 < len(trajectory) else None
    return bool(following) and turn.observation == following
