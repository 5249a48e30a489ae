"""Episodes as the page's script shows them: values for JSON, small enough to be carried in one file."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from oreo_agents.evaluation.beliefs import (
    compute_advantage,
    explain_choice,
    merge_candidates,
    to_probability,
)
from oreo_agents.evaluation.events import find_difference, find_surprise, list_events
from oreo_agents.evaluation.results import TASK_TYPES
from oreo_agents.language.reply import read_thought
from oreo_agents.printable import make_printable
from oreo_agents.report.mathematics import typeset_text
from oreo_agents.trajectory import Candidate, Trajectory, Turn, describe_outcome

LONGEST, SHORTEST = 20_000, 100
"""Characters of a text that are carried: at most, and at least where there is too much of everything."""
MOST = 4_500_000
"""Bytes of the episodes in the page, so that it is below 5 MB."""


@dataclass(frozen=True, slots=True)
class ReportedGame:
    """A game as it was played in one run, or in two."""

    number: int
    """From 1, in the order of the runs."""
    sides: tuple[Trajectory | None, ...]

    @property
    def played(self) -> list[Trajectory]:
        """The episodes there are."""
        return [side for side in self.sides if side is not None]

    @property
    def difference(self) -> int | None:
        """Where two runs part."""
        return find_difference(*self.played) if len(self.played) == 2 else None

    @property
    def gap(self) -> float:
        """How far two runs are apart in what came of them."""
        if len(self.played) < 2:
            return 0.0
        one, other = self.played
        return abs(one.return_ - other.return_) + (one.success is not other.success)

    def to_json(self) -> dict[str, Any]:
        """Its texts printable, formulas set."""
        first = self.played[0]
        return {
            "number": self.number,
            "task": _clean_text(first.task or first.game),
            "kind": make_printable(TASK_TYPES.get(first.task_type, first.task_type)),
            "game": make_printable(first.game),
            "difference": self.difference,
            "sides": [None if side is None else _describe_episode(side) for side in self.sides],
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the page opens."""

    number: int
    step: int
    why: str


def choose_opening(entries: Sequence[ReportedGame], names: Sequence[str]) -> Opening | None:
    """The most telling episode; None without one.

    Of two runs, a game that came out differently, by the largest surprise, at the step where the two part. Of one run,
    the episode that was not won and in which V fell most, at that step; without such a fall, one that was not won;
    where all were won or winning is not defined, the largest surprise, else the lowest return.
    """
    apart = [entry for entry in entries if entry.gap and entry.difference is not None]
    if apart:
        chosen = max(apart, key=lambda entry: (entry.gap, _measure_surprise(entry)))
        return Opening(
            chosen.number, chosen.difference or 0, make_printable(_explain_difference(chosen, names))
        )
    lost = [entry for entry in entries if entry.played[0].success is False]
    falls = [(entry, fall) for entry in lost if (fall := find_surprise(entry.played[0], falls=True))]
    if falls:
        entry, fall = min(falls, key=lambda one: one[1].advantage or 0.0)
        why = f"Not won, and here V fell most: {fall.advantage:+.2f} at step {fall.step + 1}."
        return Opening(entry.number, fall.step, why)
    if lost:
        return Opening(lost[0].number, 0, "The first episode that was not won.")
    gains = [(entry, gain) for entry in entries if (gain := find_surprise(entry.played[0]))]
    if gains:
        entry, gain = max(gains, key=lambda one: abs(one[1].advantage or 0.0))
        why = f"The largest surprise: an advantage of {gain.advantage:+.2f} at step {gain.step + 1}."
        return Opening(entry.number, gain.step, why)
    if not entries:
        return None
    lowest = min(entries, key=lambda entry: entry.played[0].return_)
    return Opening(lowest.number, 0, "The episode with the lowest return.")


def pack_entries(entries: Sequence[ReportedGame], names: Sequence[str]) -> tuple[str, int]:
    """All that the script needs, as JSON, compressed, as letters and digits; and where texts are cut.

    They are cut after fewer and fewer characters until all of it fits, and say so; where they are short already, it may
    be larger than :data:`MOST`.

    Args:
        entries: what can be looked at.
        names: of the runs.
    """
    opening = choose_opening(entries, names)
    about = {"names": [*map(make_printable, names)], "opening": opening and asdict(opening)}
    written = {**about, "entries": [entry.to_json() for entry in entries]}
    longest = LONGEST
    while True:
        text = json.dumps(_cut_texts(written, longest), separators=(",", ":"), allow_nan=False)
        packed = b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
        if len(packed) <= MOST or longest <= SHORTEST:
            return packed, longest
        share = max(0.5, 0.9 * MOST / len(packed))
        longest = max(int(share * min(longest, _measure_longest(written))), SHORTEST)


def _explain_difference(entry: ReportedGame, names: Sequence[str]) -> str:
    won = [name for name, side in zip(names, entry.sides, strict=True) if side and side.success]
    parting = f"the two runs part at step {(entry.difference or 0) + 1}."
    if len(won) == 1:
        return f"Only {won[0]} won this game; {parting}"
    return f"The game with the largest difference in return; {parting}"


def _measure_surprise(entry: ReportedGame) -> float:
    found = [event.advantage or 0.0 for side in entry.played if (event := find_surprise(side))]
    return max(map(abs, found), default=0.0)


def _describe_episode(trajectory: Trajectory) -> dict[str, Any]:
    marks: dict[int, list[str]] = {}
    for event in list_events(trajectory):
        marks.setdefault(event.step, []).append(event.kind)
    surprise = find_surprise(trajectory)
    return {
        "agent": make_printable(trajectory.agent),
        "won": trajectory.success,
        "return": _round_finite(trajectory.return_),
        "outcome": describe_outcome(trajectory),
        "ended": make_printable(str(trajectory.metadata.get("ended", ""))),
        "cost": _describe_cost(trajectory),
        "surprise": _round_finite(surprise.advantage if surprise else None),
        "end": _clean_text(trajectory.final_observation),
        "steps": [
            {**_describe_turn(trajectory, step), "marks": marks.get(step, [])}
            for step in range(len(trajectory))
        ],
    }


def _describe_cost(trajectory: Trajectory) -> str:
    """Tokens, where the rollout counted them."""
    tokens = trajectory.metadata.get("tokens")
    names = {"prompt": "read", "generated": "written", "critic": "judged"}
    if not isinstance(tokens, dict):
        return ""
    told = [
        f"{tokens[key]:,} {name}"
        for key, name in names.items()
        if isinstance(tokens.get(key), int) and tokens[key]
    ]
    return f"tokens: {', '.join(told)}" if told else ""


def _describe_turn(trajectory: Trajectory, step: int) -> dict[str, Any]:
    turn = trajectory.turns[step]
    said = None if turn.logprobs is None else to_probability(sum(turn.logprobs))
    return {
        "observation": _clean_text(turn.observation),
        "thought": _clean_text(read_thought(turn)),
        "action": _clean_text(turn.action),
        "reward": _round_finite(turn.reward),
        "status": make_printable(turn.action_status or ""),
        "probability": _round_finite(said),
        "value": _round_finite(turn.value),
        "advantage": _round_finite(compute_advantage(trajectory, step)),
        "why": explain_choice(turn),
        "candidates": [_describe_candidate(turn, one, times) for one, times in merge_candidates(turn)],
    }


def _describe_candidate(turn: Turn, candidate: Candidate, times: int) -> dict[str, Any]:
    return {
        "action": _clean_text(candidate.action),
        "times": times,
        "probability": _round_finite(to_probability(candidate.logprob)),
        "value": _round_finite(candidate.value),
        "chosen": candidate.action == turn.action,
    }


def _clean_text(text: str) -> Any:
    """Printable; with its formulas set, unless it is so long that it will be cut."""
    text = make_printable(text.strip())
    return typeset_text(text) if len(text) <= LONGEST else text


def _cut_texts(value: Any, longest: int) -> Any:
    """A JSON value with every text in it cut after so many characters."""
    if isinstance(value, str):
        left_out = len(value) - longest
        return f"{value[:longest]}\n[{left_out:,} more characters]" if left_out > 0 else value
    if isinstance(value, list):
        return [_cut_texts(one, longest) for one in value]
    return {key: _cut_texts(one, longest) for key, one in value.items()} if isinstance(value, dict) else value


def _measure_longest(value: Any) -> int:
    """Characters of the longest text in a JSON value."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_measure_longest, inner), default=0)


def _round_finite(value: float | None) -> float | None:
    return round(value, 3) if value is not None and isfinite(value) else None
