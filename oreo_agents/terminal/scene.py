"""What there is to see of a session between two commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from oreo_agents.terminal.controls import list_completions
from oreo_agents.terminal.map import Contents, read_carried, read_map, read_place
from oreo_agents.terminal.session import Session
from oreo_agents.terminal.views import make_text
from oreo_agents.trajectory import Trajectory, describe_outcome, format_steps


@dataclass(frozen=True, slots=True)
class Scene:
    """A session as it stands: it stays the same while the session goes on."""

    trajectory: Trajectory
    """So far."""
    players: Sequence[str]
    """Who did each step."""
    over: bool
    outcome: Text
    conditions: Sequence[tuple[str, bool]]
    steps_left: int | None
    score: tuple[float, float] | None
    """The newest reward and the return so far, where there are rewards before the end."""
    suggestions: Sequence[str]
    """What a command that failed may have meant."""
    completions: Sequence[str]
    places: Contents
    """The map; empty where the texts are not ALFWorld's."""
    place: str
    """Where the player stands, as far as the texts say."""
    carried: Sequence[str]


def look_around(session: Session) -> Scene:
    """The session as it stands."""
    said = session.observations
    return Scene(
        trajectory=session.trajectory(),
        players=tuple(step.player for step in session.steps),
        over=session.over,
        outcome=render_outcome(session),
        conditions=tuple(session.conditions),
        steps_left=session.steps_left,
        score=session.score,
        suggestions=tuple(map(str, session.info.get("suggestions") or ())),
        completions=tuple(list_completions(session)),
        places=read_map(said),
        place=read_place(said),
        carried=read_carried(said),
    )


def render_outcome(session: Session) -> Text:
    """How it ended."""
    played = session.trajectory()
    if session.over and played.success is None:
        return Text(f"Over: {describe_outcome(played)}.", "bold")
    if played.success:
        return Text(f"Won in {format_steps(len(session.steps))}.", "bold green")
    if session.over:
        lost = Text(f"Over after {format_steps(len(session.steps))}, not won.", "bold red")
        gold = session.info.get("gold")
        return lost if gold is None else lost.append_text(make_text(f" The answer is {gold}."))
    return Text(f"Stopped after {format_steps(len(session.steps))}.", "dim")
