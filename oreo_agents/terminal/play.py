"""``oreo-agents play`` line by line: what is said is printed, and a command asked for below it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.text import Text

from oreo_agents.terminal.controls import Controls, Effect, list_completions
from oreo_agents.terminal.map import map_table
from oreo_agents.terminal.panel import Beside, Panel
from oreo_agents.terminal.scene import render_outcome
from oreo_agents.terminal.session import Session
from oreo_agents.terminal.views import make_text, render_decision

LONGEST_PAUSE = 1_000_000_000
"""Seconds; the clock cannot sleep for much longer."""
TAKE_OVER = "Press Ctrl-C to take over; then `agent` gives back."


def play_session(controls: Controls, console: Console, read: Callable[[], str], pause: float = 0.0) -> None:
    """Let the agent play, where there is one, and ask for commands while it does not.

    Ends when the episode is over or the person stops (``quit``, end of input, Ctrl-C).
    """
    session = controls.session
    console.print(render_scene(session, console))
    console.print(
        Text("Type a command; Tab completes, ? lists more." if controls.player is None else TAKE_OVER, "dim")
    )
    while not (session.over or controls.left):
        if controls.agents_turn:
            watch_agent(controls, console, pause)
            continue
        try:
            line = read()
        except (EOFError, KeyboardInterrupt):
            break
        print_answer(controls.enter(line), session, console)
    console.print(render_outcome(session))


def watch_agent(controls: Controls, console: Console, pause: float) -> None:
    """Let the agent play, with a pause in seconds after each step, until a person takes over (Ctrl-C)."""
    session = controls.session
    try:
        while not session.over:
            controls.let_agent_act()
            console.print(
                render_decision(session.trajectory(), len(session.steps) - 1, console.options.ascii_only)
            )
            console.print(render_scene(session, console))
            if not session.over:
                time.sleep(min(pause, LONGEST_PAUSE))
    except KeyboardInterrupt:
        console.print(Text("\nYou play now; `agent` gives back.", "bold"))
        controls.agents_turn = False


def print_answer(answer: Effect, session: Session, console: Console) -> None:
    """Print what a line led to."""
    if answer.text is not None:
        console.print(make_text(answer.text, answer.style, console.options.ascii_only))
    if answer.places is not None:
        console.print(map_table(answer.places))
    if answer.moved:
        console.print(render_scene(session, console))


def render_scene(session: Session, console: Console) -> RenderableType:
    """What was said last, beside the goal."""
    ascii_only = console.options.ascii_only
    text = make_text(session.observation.strip(), ascii_only=ascii_only)
    suggestions = session.info.get("suggestions")
    if suggestions:
        text.append_text(make_text(f"\nDid you mean: {', '.join(suggestions)}?", "yellow", ascii_only))
    task = session.info.get("task", "")
    return Beside(text, Panel(task, session.conditions, session.steps_left, session.score))


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
