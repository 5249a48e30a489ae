"""What is shown of a text that is longer than a screen: its beginning, and a word on the rest."""

from __future__ import annotations

from dataclasses import replace

from oreo_agents.trajectory import Trajectory, Turn

SHOWN = 2_000
"""Characters of one text that a step shows."""
LINES = 100
"""Lines of one text that a step shows."""
CANDIDATES = 20
"""Candidates that a step shows."""
CANDIDATE = 200
"""Characters of a candidate that was not chosen."""


def cut_text(text: str, limit: int = SHOWN) -> str:
    """``text``, or its first ``limit`` characters, in at most :data:`LINES` lines, and how many there are besides.

    >>> cut_text("abcdef", 4)
    'abcd ... (2 more characters)'
    """
    shown = "\n".join(text[:limit].split("\n")[:LINES])
    rest = len(text) - len(shown)
    return text if not rest else f"{shown} ... ({rest:,} more character{'s' if rest > 1 else ''})"


def cut_step(trajectory: Trajectory, step: int) -> Trajectory:
    """The episode with its own texts and those of one step cut, which is as fast to show as any."""
    turns = trajectory.turns
    if step < len(turns):
        turns = (*turns[:step], _cut_turn(turns[step]), *turns[step + 1 :])
    task, game, agent, final = map(
        cut_text, (trajectory.task, trajectory.game, trajectory.agent, trajectory.final_observation)
    )
    return replace(trajectory, turns=turns, task=task, game=game, agent=agent, final_observation=final)


def _cut_turn(turn: Turn) -> Turn:
    chosen_first = sorted(turn.candidates, key=lambda candidate: candidate.action != turn.action)
    limits = [SHOWN if one.action == turn.action else CANDIDATE for one in chosen_first[:CANDIDATES]]
    return replace(
        turn,
        observation=cut_text(turn.observation),
        action=cut_text(turn.action),
        action_status=turn.action_status and cut_text(turn.action_status, 80),
        said=None if turn.said is None else cut_text(turn.said),
        candidates=tuple(
            replace(one, action=cut_text(one.action, limit))
            for one, limit in zip(chosen_first, limits, strict=False)
        ),
    )
