"""The full-screen view around a :class:`~oreo_agents.terminal.cursor.Cursor`: keys and mouse in, pictures out.

Textual lives here and in the widgets beside; nothing of this is imported where episodes are printed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from oreo_agents.evaluation.events import EventKind
from oreo_agents.printable import make_printable
from oreo_agents.terminal.cursor import Cursor
from oreo_agents.terminal.episode_list import EpisodeScreen
from oreo_agents.terminal.excerpt import CANDIDATES, cut_step, cut_text
from oreo_agents.terminal.map import map_table, read_carried, read_map, read_place, render_place
from oreo_agents.terminal.palette import Ground
from oreo_agents.terminal.panes import HEIGHTS, LAYOUT, WIDTHS, CurvePane, HelpScreen, dress_app
from oreo_agents.terminal.transcript import GUTTER, STYLED, TranscriptPane, is_folded
from oreo_agents.terminal.views import (
    make_text,
    render_decision,
    render_deviation,
    render_header,
    render_progress,
)
from oreo_agents.trajectory import Trajectory

HELP = """\
right left    step forward, back
PgDn PgUp     ten steps
Home End      first step, last
up down       scroll a long text
] [           next episode, previous
f             next episode not won
e             list of episodes, with filters
w W           next win, previous
s S           next surprise, previous
x X           next invalid command, previous
d             where two runs part (--compare)
c             other run shown or not
t             thoughts shown or folded
12 Enter      go to step 12
/text Enter   search; n: again; Esc: leave it
y             copy the step (where OSC 52 is allowed)
space         play; + - speed
q             quit

Mouse: click on a step, the curve, a key below; the wheel scrolls.

V is what the critic expects the rest of the episode to bring. \
The advantage is what an action changed in V; a surprise is an advantage \
of a fifth of V's range or more. An invalid command is one that the \
environment did not understand or that changed nothing."""

BESIDE = 76
"""Columns from which on the steps of two runs stand beside each other."""
SURVEYED = 500
"""Steps up to which the map is read from the texts: a key is answered at once in any episode."""
LEGIBLE = 10_000
"""Characters of a text that are looked at for it."""
COPIED = 50_000
"""Characters that are copied at most: more than terminals take."""
REFRESH = 0.2
"""Seconds between looks at a verification that is under way."""


def show_replay(cursor: Cursor, ground: Ground | None = None) -> None:
    """Take over the screen until the user quits; ``ground`` is the terminal's background."""
    ReplayApp(cursor, ground).run()


class ReplayApp(App[None]):
    """Transcripts on the left, the present step on the right, V below; one above the other on a narrow screen."""

    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False
    CSS = LAYOUT + "#typed { display: none; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "keys", key_display="?"),
        Binding("q,ctrl+d", "quit", "quit", key_display="q"),
        Binding("right,l", "do('move', 1)", "step", key_display="\u2190\u2192"),
        Binding("left,h", "do('move', -1)", show=False),
        Binding("right_square_bracket", "do('change_episode', 1)", "episode", key_display="[]"),
        Binding("left_square_bracket", "do('change_episode', -1)", show=False),
        Binding("e", "episodes", "list"),
        Binding("slash", "type('/')", "search", key_display="/", priority=True),
        Binding("w", "event('won', 1)", "win"),
        Binding("s", "event('surprise', 1)", "surprise"),
        Binding("x", "event('invalid', 1)", "invalid"),
        Binding("W", "event('won', -1)", show=False),
        Binding("S", "event('surprise', -1)", show=False),
        Binding("X", "event('invalid', -1)", show=False),
        Binding("pagedown", "do('move', 10)", show=False),
        Binding("pageup", "do('move', -10)", show=False),
        Binding("home,g", "do('jump', 0)", show=False),
        Binding("end,G", "end", show=False),
        Binding("f", "do('next_failure')", show=False),
        Binding("n", "again", show=False),
        Binding("y", "copy", show=False),
        Binding("d", "do('jump_difference')", show=False),
        Binding("c", "compare", show=False),
        Binding("t", "thoughts", show=False),
        Binding("space", "play", show=False),
        Binding("plus", "do('change_speed', 2)", show=False),
        Binding("minus", "do('change_speed', 0.5)", show=False),
        Binding("down", "scroll(1)", show=False),
        Binding("up", "scroll(-1)", show=False),
        Binding("escape", "leave", show=False),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        *(Binding(digit, f"type('{digit}')", show=False, priority=True) for digit in "0123456789"),
    ]

    def __init__(self, cursor: Cursor, ground: Ground | None = None) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS, self.VERTICAL_BREAKPOINTS = WIDTHS, HEIGHTS
        dress_app(self, ground)
        self.cursor = cursor
        self.compares = True
        self.folded = True

    def compose(self) -> ComposeResult:
        """The panes, and a line to type in that is hidden until it is wanted."""
        with Container(id="main"):
            with Container(id="runs"):
                yield TranscriptPane(id="left")
                yield TranscriptPane(id="right")
            with VerticalScroll(id="side", can_focus=False):
                yield Static(id="step")
        yield CurvePane()
        yield Static(id="status")
        yield Input(id="typed")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """What goes on by itself begins."""
        self.set_timer(1 / self.cursor.speed, self._tick)
        if self.cursor.check is not None:
            self.set_interval(REFRESH, self._show)
        self.call_after_refresh(self._show)

    def on_resize(self) -> None:
        """What is folded depends on the width."""
        self.call_after_refresh(self._show)

    # ---------------------------------------------------------------- keys

    @property
    def panes(self) -> Screen[Any]:
        """The screen of the panes, which may lie under another."""
        return self.screen_stack[0]

    @property
    def typing(self) -> bool:
        """Whether keys are text."""
        return self.panes.focused is self.panes.query_one("#typed", Input)  # its has_focus lags behind

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the panes are not those of the other screens, nor of a line being typed.

        What begins such a line is looked at before the others, so that the rest of what is typed finds it there.
        """
        if action == "type" and self.typing:
            return False
        return self.screen is self.panes or action in ("interrupt", "quit", "pop_screen", "help_quit")

    def action_do(self, name: str, *argument: Any) -> None:
        """A move of the cursor, with one argument at most: Textual hands on no more."""
        self._act(lambda: getattr(self.cursor, name)(*argument))

    def action_event(self, kind: EventKind, by: int) -> None:
        """The next of what stands out, or the last."""
        self._act(lambda: self.cursor.jump_event(kind, by))

    def action_end(self) -> None:
        """The end of the episode."""
        self._act(lambda: self.cursor.jump(len(self.cursor.trajectory)))

    def action_again(self) -> None:
        """The next place of what was sought."""
        self._act(lambda: self.cursor.find(self.cursor.sought))

    def action_copy(self) -> None:
        """What was seen and done in this step goes to the terminal's clipboard."""

        def copy() -> None:
            run, step = self.cursor.trajectory, min(self.cursor.step, len(self.cursor.trajectory))
            turn = run.turns[step] if step < len(run) else None
            text = (
                f"{turn.observation.strip()}\n> {turn.action}\n"
                if turn
                else f"{run.final_observation.strip()}\n"
            )
            self.copy_to_clipboard(cut_text(make_printable(text), COPIED))
            self.cursor.message = "copied"

        self._act(copy)

    def action_play(self) -> None:
        """Begin to play, or stop."""
        self._act(lambda: setattr(self.cursor, "playing", not self.cursor.playing))

    def action_compare(self) -> None:
        """The other run appears or goes."""
        self.compares = not self.compares
        self._act(lambda: None)

    def action_thoughts(self) -> None:
        """Fold or unfold."""
        self.folded = not self.folded
        self._act(lambda: None)

    def action_scroll(self, lines: int) -> None:
        """A long text beside."""
        self.panes.query_one("#side", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(HelpScreen(HELP))

    def action_episodes(self) -> None:
        """The list."""

        def choose(place: int | None) -> None:
            if place is not None:
                self._act(lambda: self.cursor.change_episode(place - self.cursor.episode))

        self.push_screen(EpisodeScreen(self.cursor.entries, self.cursor.episode), choose)

    def action_type(self, text: str) -> None:
        """Begin to type a search or a number."""
        typed = self.panes.query_one("#typed", Input)
        typed.value = text
        typed.styles.display = "block"
        typed.select_on_focus = False
        self.panes.set_focus(typed)  # at once: what follows may be in the same read
        typed.cursor_position = len(text)

    def action_leave(self) -> None:
        """Type no more."""
        typed = self.panes.query_one("#typed", Input)
        typed.styles.display = "none"
        self.panes.set_focus(None)

    def action_interrupt(self) -> None:
        """Ctrl-C: leaves another screen, or what is being typed, else the program."""
        if self.screen is not self.panes:
            self.screen.dismiss()
        elif self.typing:
            self.action_leave()
        else:
            self.exit()

    @on(Input.Submitted, "#typed")
    def _enter(self, event: Input.Submitted) -> None:
        self.action_leave()
        self._act(lambda: self.cursor.enter(event.value))

    @on(TranscriptPane.Chosen)
    def _choose(self, message: TranscriptPane.Chosen) -> None:
        self._act(lambda: self.cursor.jump(message.step))

    def _tick(self) -> None:
        if self.cursor.playing:
            self._act(self.cursor.tick)
        self.set_timer(1 / self.cursor.speed, self._tick)

    # ---------------------------------------------------------------- pictures

    def _act(self, act: Callable[[], Any]) -> None:
        """Carry out a key; what it leads to is shown from its top."""
        self.cursor.message = ""
        act()
        self.panes.query_one("#side", VerticalScroll).scroll_home(animate=False)
        self._show()

    def _show(self) -> None:
        cursor = self.cursor
        other = cursor.other if self.compares else None
        parting = cursor.difference if other else None
        titles = cursor.titles if other else ("", "")
        left, right = (
            self.panes.query_one("#left", TranscriptPane),
            self.panes.query_one("#right", TranscriptPane),
        )
        left.show(cursor.trajectory, cursor.step, parting, titles[0], sought=cursor.sought)
        right.styles.display = "block" if other else "none"
        if other:
            right.show(other, cursor.step, parting, titles[1], sought=cursor.sought)
        self.panes.query_one("#step", Static).update(
            Styled(self._describe(other, left.size.width - GUTTER), STYLED)
        )
        self.panes.query_one(CurvePane).show(cursor.trajectory, cursor.events, cursor.step, titles[0])
        self.panes.query_one("#status", Static).update(make_text(cut_text(cursor.status(), 500)))

    def _describe(self, other: Trajectory | None, width: int) -> RenderableType:
        cursor = self.cursor
        if other is None:
            run = self._describe_run(cursor.trajectory, width)
            header = render_header(cut_step(cursor.trajectory, len(cursor.trajectory)), cursor.step)
            surroundings = _describe_surroundings(cursor.trajectory, cursor.step)
            return Group(*self._deviations(), header, Text(), *run, *surroundings)
        task = make_text(cut_text(cursor.trajectory.task or cursor.trajectory.game), "bold")
        runs: list[RenderableType] = [
            Group(
                make_text(name, "bold underline"),
                render_progress(run, cursor.step),
                *self._describe_run(run, width),
                Text(),
            )
            for name, run in zip(cursor.titles, (cursor.trajectory, other), strict=True)
        ]
        if self.panes.query_one("#side").size.width >= BESIDE:
            grid = Table.grid(expand=True, padding=(0, 2))
            for _ in runs:
                grid.add_column(ratio=1)
            grid.add_row(*runs)
            runs = [grid]
        return Group(*self._deviations(), task, *runs)

    def _describe_run(self, trajectory: Trajectory, width: int) -> list[RenderableType]:
        step = min(self.cursor.step, len(trajectory))
        run = cut_step(trajectory, step)
        parts: list[RenderableType] = []
        ended = step == len(trajectory)
        text = run.final_observation if ended else run.turns[step].observation
        if not ended:
            parts.append(render_decision(run, step, unfold="t" if self.folded else ""))
            more = len(trajectory.turns[step].candidates) - CANDIDATES
            parts += [Text(f"... {more} more candidates", "dim")] if more > 0 else []
        if is_folded(text.strip(), width):
            parts += [*([Text()] if parts else []), Text("what it saw", "bold"), make_text(text)]
        return parts

    def _deviations(self) -> list[Text]:
        found = self.cursor.deviations()
        return [render_deviation(replace(one, replayed=cut_text(one.replayed))) for one in found]


def _describe_surroundings(run: Trajectory, step: int) -> list[RenderableType]:
    """Where the player is, what it carries and the map, where the texts of an episode of usual length tell."""
    if step > SURVEYED:
        return []
    said = [turn.observation[:LEGIBLE] for turn in run.turns[: step + 1]]
    if step >= len(run):
        said.append(run.final_observation[:LEGIBLE])
    places = read_map(said)
    if not places:
        return []
    return [
        Text(),
        *render_place(read_place(said), read_carried(said), known=True),
        Text(),
        map_table(places),
    ]
