"""What a typed line does in a session, and whose turn it is. Knows nothing about terminals.

A line that is not one of the player's own words (``hint``, ``undo``, ...) goes to the game as it is. The
episode itself, with undo, is :class:`~oreo_agents.terminal.session.Session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from oreo_envs.suggestions import suggest_commands

from oreo_agents.printable import make_printable
from oreo_agents.terminal.agent_player import AgentPlayer
from oreo_agents.terminal.map import Contents, read_map
from oreo_agents.terminal.session import Session

WORDS = {
    "hint": "the expert's next command",
    "undo": "take the last command back",
    "goal": "the task again, and how far it is",
    "map": "what has been seen where",
    "commands": "everything that can be done now",
    "agent": "let the agent play on (with --agent)",
    "quit": "stop here",
    "?": "this list",
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What a line led to; one that only moved the game says nothing itself."""

    text: str | None = None
    style: str = ""
    """How rich shows ``text``."""
    places: Contents | None = None
    """The map, where that was asked for."""
    moved: bool = False
    """Whether the game stands elsewhere now."""


@dataclass
class Controls:
    """A session, and who plays it: a person, an agent, or both in turns.

    Args:
        session: the episode.
        player: an agent that plays from the beginning, until a person takes over.
    """

    session: Session
    player: AgentPlayer | None = None
    agents_turn: bool = field(init=False)
    left: bool = field(init=False, default=False)
    """Whether the person has stopped."""
    _refused: str = field(init=False, default="")
    """The line that was asked back just now."""

    def __post_init__(self) -> None:
        self.agents_turn = self.player is not None

    def enter(self, typed: str) -> Effect:
        """Carry out a line."""
        line = " ".join(typed.split())
        if line == "quit":
            self.left = True
        elif line == "agent" and self.player is not None:
            self.agents_turn = True
        elif line:
            asked = "" if line == self._refused else ask_back(self.session, line)
            self._refused = line if asked else ""
            return Effect(asked, "yellow") if asked else self._obey(line)
        return Effect()

    def let_agent_act(self) -> None:
        """One step of the agent's, unless a person takes over while it thinks; interrupted, nothing has happened."""
        assert self.player is not None
        action = self.player.act(self.session)
        if self.agents_turn:
            self.session.step(action, self.player.agent.name)

    def _obey(self, line: str) -> Effect:
        session = self.session
        if line == "hint":
            plan = session.info.get("expert_plan")
            return (
                Effect(f"The expert would: {plan[0]}", "magenta") if plan else Effect("No hint here.", "dim")
            )
        if line == "undo":
            return self._take_back()
        if line == "goal":
            return Effect(describe_goal(session))
        if line == "map":
            return Effect(places=read_map(session.observations))
        if line == "commands":
            return Effect("\n".join(session.info.get("admissible_commands", ())))
        if line == "agent":
            return Effect("There is no agent here: start with --agent.", "dim")
        if line == "?":
            return Effect("\n".join(f"{word:<9} {meaning}" for word, meaning in WORDS.items()))
        if session.over:
            return Effect("It is over. `undo` takes the last command back, `quit` leaves.", "dim")
        session.step(line)
        return Effect(moved=True)

    def _take_back(self) -> Effect:
        if not self.session.keeps_snapshots:
            return Effect("This environment cannot go back.", "dim")
        if not self.session.steps:
            return Effect("Nothing to undo.", "dim")
        self.session.undo()
        return Effect("Taken back.", "dim", moved=True)


def ask_back(session: Session, line: str) -> str:
    """What to ask instead of taking a step for a line that the game would not understand."""
    if line in WORDS or session.over or session.understands(line):
        return ""
    known = tuple(map(str, session.info.get("admissible_commands", ())))
    meant = suggest_commands(line.lower(), known) or get_close_matches(line, WORDS, 1)
    asked = (
        f"Did you mean: {', '.join(meant)}?" if meant else "Tab completes, `commands` lists what can be done."
    )
    return f"Not understood, no step taken. {asked} Type it again to say it all the same."


def describe_goal(session: Session) -> str:
    """The task, its conditions, what was earned, the steps left, and the length of the shortest way."""
    lines = [session.info.get("task") or session.opening[0]]
    lines += [f"{'[x]' if met else '[ ]'} {text}" for text, met in session.conditions]
    plan = session.info.get("expert_plan")
    if plan is not None:
        lines.append(f"{len(plan)} commands would do it from here.")
    if session.score is not None:
        lines.append("Reward: {:g}, return so far: {:g}.".format(*session.score))
    if session.steps_left is not None:
        lines.append(f"Steps left: {session.steps_left}.")
    return "\n".join(lines)


def list_completions(session: Session) -> Sequence[str]:
    """What Tab offers: the admissible commands that are safe to show, and the player's own words."""
    commands = map(str, session.info.get("admissible_commands", ()))
    return [*(command for command in commands if command == make_printable(command)), *WORDS]
