"""``oreo-agents play``: a person, an agent, or both in turns play one episode in the terminal.

A line that is not one of the player's own words (``hint``, ``undo``, ...) goes to the game as it is. The
episode itself, with undo, is :class:`~oreo_agents.terminal.session.Session`.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from oreo_envs.suggestions import suggest_commands
from rich.console import Console, RenderableType
from rich.text import Text

from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.printable import make_printable
from oreo_agents.rollout.destination import dialect_of, spec_for
from oreo_agents.terminal.agent_player import AgentPlayer
from oreo_agents.terminal.map import map_table, read_map
from oreo_agents.terminal.panel import Beside, Panel
from oreo_agents.terminal.session import Session
from oreo_agents.terminal.views import make_text, render_decision
from oreo_agents.trajectory import describe_outcome, format_steps

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


LONGEST_PAUSE = 1_000_000_000
"""Seconds; the clock cannot sleep for much longer."""


def play_session(
    session: Session,
    console: Console,
    read: Callable[[], str],
    player: AgentPlayer | None = None,
    pause: float = 0.0,
) -> None:
    """Let the agent play, where there is one, and ask for commands while it does not.

    Ends when the episode is over or the person stops (``quit``, end of input, Ctrl-C).
    """
    console.print(render_scene(session, console))
    console.print(
        Text("Type a command; Tab completes, ? lists more." if player is None else TAKE_OVER, "dim")
    )
    agents_turn, refused = player is not None, ""
    while not session.over:
        if agents_turn and player is not None:
            agents_turn = watch_agent(session, console, player, pause)
            continue
        try:
            line = " ".join(read().split())
        except (EOFError, KeyboardInterrupt):
            break
        if line == "quit":
            break
        if line == "agent" and player is not None:
            agents_turn = True
        elif line:
            asked = "" if line == refused else ask_back(session, line)
            refused = line if asked else ""
            if asked:
                console.print(make_text(asked, "yellow", console.options.ascii_only))
            else:
                console.print(answer_line(session, line, console))
    console.print(render_outcome(session))


TAKE_OVER = "Press Ctrl-C to take over; then `agent` gives back."


def watch_agent(session: Session, console: Console, player: AgentPlayer, pause: float) -> bool:
    """Let an agent play, with a pause in seconds after each step; False when a person takes over (Ctrl-C)."""
    try:
        while not session.over:
            session.step(player.act(session), player.agent.name)
            console.print(
                render_decision(session.trajectory(), len(session.steps) - 1, console.options.ascii_only)
            )
            console.print(render_scene(session, console))
            if not session.over:
                time.sleep(min(pause, LONGEST_PAUSE))
    except KeyboardInterrupt:
        console.print(Text("\nYou play now; `agent` gives back.", "bold"))
        return False
    return True


def ask_back(session: Session, line: str) -> str:
    """What to ask instead of taking a step for a line that the game would not understand."""
    if line in WORDS or session.understands(line):
        return ""
    known = tuple(map(str, session.info.get("admissible_commands", ())))
    meant = suggest_commands(line.lower(), known) or get_close_matches(line, WORDS, 1)
    asked = (
        f"Did you mean: {', '.join(meant)}?" if meant else "Tab completes, `commands` lists what can be done."
    )
    return f"Not understood, no step taken. {asked} The same again is said all the same."


def answer_line(session: Session, line: str, console: Console) -> RenderableType:
    """What a line typed by the player leads to."""
    ascii_only = console.options.ascii_only
    own: dict[str, Callable[[], RenderableType]] = {
        "hint": lambda: render_hint(session, ascii_only),
        "undo": lambda: take_back(session, console),
        "goal": lambda: render_goal(session, ascii_only),
        "map": lambda: map_table(read_map(session.observations)),
        "commands": lambda: make_text("\n".join(session.info.get("admissible_commands", ())), "", ascii_only),
        "agent": lambda: Text("There is no agent here: start with --agent.", "dim"),
        "?": lambda: make_text("\n".join(f"{word:<9} {meaning}" for word, meaning in WORDS.items())),
    }
    if line in own:
        return own[line]()
    session.step(line)
    return render_scene(session, console)


def render_scene(session: Session, console: Console) -> RenderableType:
    """What was said last, beside the goal."""
    ascii_only = console.options.ascii_only
    text = make_text(session.observation.strip(), ascii_only=ascii_only)
    suggestions = session.info.get("suggestions")
    if suggestions:
        text.append_text(make_text(f"\nDid you mean: {', '.join(suggestions)}?", "yellow", ascii_only))
    left = session.max_steps - len(session.steps)
    return Beside(text, Panel(session.info.get("task", ""), session.conditions, left))


def render_hint(session: Session, ascii_only: bool = False) -> Text:
    """The expert's next command."""
    plan = session.info.get("expert_plan")
    return (
        make_text(f"The expert would: {plan[0]}", "magenta", ascii_only)
        if plan
        else Text("No hint here.", "dim")
    )


def take_back(session: Session, console: Console) -> RenderableType:
    """Take a step back, and say where that leads."""
    if not session.keeps_snapshots:
        return Text("This environment cannot go back.", "dim")
    if not session.steps:
        return Text("Nothing to undo.", "dim")
    session.undo()
    console.print(Text("Taken back.", "dim"))
    return render_scene(session, console)


def render_goal(session: Session, ascii_only: bool = False) -> Text:
    """The task, its conditions, the steps left, and the length of the shortest way."""
    lines = [session.info.get("task") or session.opening[0]]
    lines += [f"{'[x]' if met else '[ ]'} {text}" for text, met in session.conditions]
    plan = session.info.get("expert_plan")
    if plan is not None:
        lines.append(f"{len(plan)} commands would do it from here.")
    lines.append(f"Steps left: {session.max_steps - len(session.steps)}.")
    return make_text("\n".join(lines), "", ascii_only)


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


@contextmanager
def open_recording(path: Path | None, session: Session) -> Iterator[TrajectoryWriter | None]:
    """The dataset at ``path``, held from before the first step; a new one stays only if it gets an episode.

    Raises:
        DatasetError: it cannot be recorded into, or holds episodes of another environment.
    """
    if path is None:
        yield None
        return
    new = not path.exists()
    dialect = dialect_of(session.env.unwrapped)
    with TrajectoryWriter(path, env_spec=spec_for(path, session.env), dialect=dialect) as writer:
        try:
            yield writer
        finally:
            if new and not len(writer):
                shutil.rmtree(path)


def keep_episode(
    session: Session, writer: TrajectoryWriter | None, player: AgentPlayer | None, console: Console
) -> None:
    """Append the episode to the dataset, if there is one and anything was done."""
    if writer is None or not session.steps:
        return
    writer.append(session.trajectory(player.agent.tokenizer_fingerprint if player else None))
    console.print(make_text(f"Recorded in {writer.path}.", "dim"))


def make_reader(session: Session, console: Console) -> Callable[[], str]:
    """Asks for one line: with completion and history on a terminal; what comes from a pipe is shown.

    Bytes that are no text arrive as surrogates, which no dataset can hold, and leave as question marks.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return lambda: echo_line(_replace_surrogates(input()), console)
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    completer = WordCompleter(lambda: list_completions(session), sentence=True)
    prompt: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
    return lambda: _replace_surrogates(prompt.prompt("> "))


def _replace_surrogates(line: str) -> str:
    return line.encode(errors="replace").decode()


def echo_line(line: str, console: Console) -> str:
    """Show a line that nobody typed."""
    console.print(make_text(f"> {line}", "bold", console.options.ascii_only))
    return line


def list_completions(session: Session) -> Sequence[str]:
    """What Tab offers: the admissible commands that are safe to show, and the player's own words."""
    commands = map(str, session.info.get("admissible_commands", ()))
    return [*(command for command in commands if command == make_printable(command)), *WORDS]
