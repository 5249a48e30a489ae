"""The full-screen view around :class:`~oreo_agents.terminal.controls.Controls`: a person and an agent play in it.

The session and the agent are touched by one thread alone, one job after the other, so that the screen answers
while an agent thinks; what is shown is always a :class:`~oreo_agents.terminal.scene.Scene`, which no job changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from oreo_agents.evaluation.events import list_events
from oreo_agents.language.reply import read_thought
from oreo_agents.terminal.command_line import CommandLine
from oreo_agents.terminal.controls import WORDS, Controls, Effect
from oreo_agents.terminal.excerpt import cut_step, cut_text
from oreo_agents.terminal.map import map_table, render_place
from oreo_agents.terminal.palette import Ground
from oreo_agents.terminal.panel import Panel
from oreo_agents.terminal.panes import HEIGHTS, LAYOUT, WIDTHS, CurvePane, HelpScreen, dress_app
from oreo_agents.terminal.scene import Scene, look_around
from oreo_agents.terminal.session import HUMAN
from oreo_agents.terminal.transcript import GUTTER, STYLED, TranscriptPane, is_folded
from oreo_agents.terminal.views import make_text, render_decision

HELP = """\
You play
Enter        say the line to the game, or one of the words below
Tab          complete; again: the next that fits
up down      lines before
Ctrl-C       clear the line; on an empty one: leave
Ctrl-D       leave

An agent plays
space        pause, and go on
right        one step
+ -          faster, slower
Ctrl-C       take over; the word `agent` gives back
q            leave

Always
PgUp PgDn    look at the step before, after
Ctrl-T       thoughts shown or folded (t while an agent plays)
Ctrl-Up/Dn   scroll what stands beside the transcript
F1           this list
Mouse: click on a step, the curve, a key below; the wheel scrolls.

Words
"""
HELP += "\n".join(f"{word:<12} {meaning}" for word, meaning in WORDS.items())
HELP += """

V is what the critic expects the rest of the episode to bring. \
The advantage is what an action changed in V."""

READ = 40
"""Lines of what the game says at once; of more, the rest stands beside."""
MANY = 10
"""Lines from which on an answer stands in columns."""
LONG = 0.5
"""Seconds from which on a thought is said to go on."""
SLOWEST = 64.0
"""Seconds between two steps, if nobody asked for more."""
LONGEST_PAUSE = 1_000_000.0
"""Seconds; the clock of the event loop goes no further."""
USUAL = "Type a command; Tab completes, ? lists more."


def show_play(controls: Controls, pause: float = 0.0, ground: Ground | None = None) -> None:
    """Take over the screen until the person leaves.

    Args:
        controls: the session, and who plays.
        pause: seconds between an agent's steps.
        ground: the terminal's background.

    Raises:
        OreoError: what an agent or the environment raised.
    """
    app = PlayApp(controls, pause, ground)
    try:
        app.run()
    finally:
        controls.agents_turn = False  # what it is thinking is not played
        app.hand.shutdown(cancel_futures=True)
    if app.failure is not None:
        raise app.failure


class PlayApp(App[None]):
    """The transcript on the left, goal, place, the step's beliefs and the map on the right, V and the line below."""

    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False
    CSS = (
        LAYOUT
        + """
    #runs { width: 5fr; }
    #side { width: 4fr; }
    CurvePane { height: 6; }
    CurvePane.-bare { display: none; }
    #answer { height: auto; max-height: 40%; border-top: solid $border; padding: 0 1; }
    #status, #choices { padding: 0 1; height: 1; }
    #line { height: 1; }
    #prompt { width: 3; padding: 0 0 0 1; }
    #typed { width: 1fr; padding: 0; }
    """
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1,question_mark", "help", "keys", key_display="F1"),
        Binding("space", "pause", "pause"),
        Binding("right", "advance", "step", key_display="\u2192"),
        Binding("ctrl+c", "take_over", "take over", key_display="^c", priority=True),
        Binding("ctrl+c", "go_back", show=False, priority=True),
        Binding("q,ctrl+d", "leave", "leave", key_display="q"),
        Binding("plus", "pace(0.5)", "faster", key_display="+"),
        Binding("minus", "pace(2)", "slower", key_display="-"),
        Binding("pageup", "look(-1)", show=False, priority=True),
        Binding("pagedown", "look(1)", show=False, priority=True),
        Binding("ctrl+t,t", "thoughts", "thoughts", key_display="^t"),
        Binding("ctrl+up", "scroll(-2)", show=False),
        Binding("ctrl+down", "scroll(2)", show=False),
    ]
    WATCHING: ClassVar[set[str]] = {"pause", "advance", "pace", "take_over"}
    """What there is to do only while an agent plays."""

    def __init__(self, controls: Controls, pause: float, ground: Ground | None = None) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS, self.VERTICAL_BREAKPOINTS = WIDTHS, HEIGHTS
        dress_app(self, ground)
        self.controls, self.pause = controls, pause
        self.hand = ThreadPoolExecutor(max_workers=1)
        self.scene: Scene = look_around(controls.session)
        self.answer = Effect()
        self.failure: Exception | None = None
        self.paused = False
        self.folded = True
        self.looked: int | None = None
        """The step being looked at; None: the newest."""
        self._jobs = 0
        self._began = 0.0
        self._wait: Any = None

    def compose(self) -> ComposeResult:
        """The panes, what was answered, and the line to type on."""
        with Container(id="main"):
            with Container(id="runs"):
                yield TranscriptPane(id="left", lines=READ)
            with VerticalScroll(id="side", can_focus=False):
                yield Static(id="step")
        yield CurvePane()
        with VerticalScroll(id="answer", can_focus=False):
            yield Static(id="said")
        yield Static(id="status")
        with Horizontal(id="line"):
            yield Static("> ", id="prompt")
            yield CommandLine(id="typed")
        yield Static(id="choices")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Show what there is; an agent begins."""
        self.call_after_refresh(self._show)
        self._go_on(self.pause)

    def on_resize(self) -> None:
        """What is folded depends on the width."""
        self.call_after_refresh(self._show)

    # ---------------------------------------------------------------- jobs

    def _order(self, job: Callable[[], Effect | None]) -> None:
        """Have something done in the session, after all that was ordered before."""

        def carry_out() -> tuple[Effect | None, Scene]:
            return job(), look_around(self.controls.session)

        if not self._jobs:
            self._began = time.monotonic()
            self.set_timer(LONG, self._show_status)
        self._jobs += 1
        done = asyncio.wrap_future(self.hand.submit(carry_out))
        self.run_worker(self._take_in(done))

    async def _take_in(self, done: asyncio.Future[tuple[Effect | None, Scene]]) -> None:
        try:
            answer, scene = await done
        except Exception as error:  # it is the caller's, once the screen is the terminal's again
            self.failure = error
            self.exit()
            return
        finally:
            self._jobs -= 1
        self.scene = scene
        if answer is not None:
            self.answer = answer
            self.looked = None
        if self.controls.left:
            self.exit()
        else:
            self._go_on(self.pause if answer is None else 0)
            self._show()

    def _go_on(self, pause: float) -> None:
        """The agent's next step, after so many seconds, where it is its turn."""
        if self._wait is not None:
            self._wait.stop()
        if self.watching and not (self.paused or self.scene.over or self._jobs):
            self._wait = self.set_timer(min(max(pause, 0.001), LONGEST_PAUSE), self._let_agent_act)

    def _let_agent_act(self) -> None:
        if self.watching and not (self.scene.over or self._jobs):
            self._order(self.controls.let_agent_act)

    # ---------------------------------------------------------------- keys

    @property
    def watching(self) -> bool:
        """Whether an agent plays."""
        return self.controls.agents_turn

    @property
    def panes(self) -> Screen[Any]:
        """The screen of the panes, which may lie under another."""
        return self.screen_stack[0]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The keys of the panes are not those of the list of keys; an agent's are there while it plays."""
        here, ended = self.screen is self.panes, self.watching and self.scene.over
        if action == "go_back":  # a line being typed has its own Ctrl-C
            return ended or not here
        if action in self.WATCHING and (ended or not self.watching):
            return False
        if action == "thoughts" and not any(map(read_thought, self.scene.trajectory.turns)):
            return False
        return here or action in ("pop_screen", "help_quit")

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(HelpScreen(HELP))

    def action_pause(self) -> None:
        """The agent waits, or goes on at once."""
        self.paused = not self.paused
        self._go_on(0)
        self._show()

    def action_advance(self) -> None:
        """One step of the agent's, which then waits."""
        self.paused = True
        self._let_agent_act()
        self._show()

    def action_pace(self, factor: float) -> None:
        """Longer pauses, or shorter ones."""
        self.pause = min(max(self.pause, 0.1) * factor, max(SLOWEST, self.pause))
        self._show()

    def action_look(self, by: int) -> None:
        """At the step before, or after; past the last at what goes on."""
        steps = len(self.scene.trajectory)
        at = max(0, (steps if self.looked is None else self.looked) + by)
        self._look_at(at)

    def action_thoughts(self) -> None:
        """Fold or unfold."""
        self.folded = not self.folded
        self._show()

    def action_scroll(self, lines: int) -> None:
        """What stands beside."""
        self.panes.query_one("#side", VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """The end of it."""
        self.exit()

    def action_take_over(self) -> None:
        """A person plays instead of the agent, whatever it is thinking."""
        self.controls.agents_turn, self.paused = False, False
        self.answer = Effect("You play now; `agent` gives back.", "bold")
        self._show()

    def action_go_back(self) -> None:
        """From the list of keys, or from a game that is over."""
        if self.screen is self.panes:
            self.exit()
        else:
            self.screen.dismiss()

    @property
    def _line(self) -> CommandLine:
        return self.panes.query_one("#typed", CommandLine)

    @on(CommandLine.Entered)
    def _enter(self, message: CommandLine.Entered) -> None:
        line = message.line.encode(errors="replace").decode()
        self._order(lambda: self.controls.enter(line))

    @on(Input.Changed, "#typed")
    def _show_choices(self) -> None:
        line = self._line
        width = max(self.size.width - 2, 8)
        shown = Text("  ").join(make_text(cut_text(one, width)) for one in line.matches[:width])
        shown.style, shown.no_wrap, shown.overflow = "dim", True, "ellipsis"
        usual = Text(USUAL, "dim", no_wrap=True, overflow="ellipsis")
        self.panes.query_one("#choices", Static).update(Styled(shown if line.typed else usual, STYLED))

    @on(CommandLine.Left)
    def _leave(self) -> None:
        self.exit()

    @on(TranscriptPane.Chosen)
    def _choose(self, message: TranscriptPane.Chosen) -> None:
        self._look_at(message.step)

    def _look_at(self, step: int) -> None:
        self.looked = step if step < len(self.scene.trajectory) else None
        self.panes.query_one("#side", VerticalScroll).scroll_home(animate=False)
        self._show()

    # ---------------------------------------------------------------- pictures

    def _show(self) -> None:
        scene, steps = self.scene, len(self.scene.trajectory)
        at = steps if self.looked is None else self.looked
        pane = self.panes.query_one("#left", TranscriptPane)
        pane.show(scene.trajectory, at, goes_on=not scene.over)
        self.panes.query_one("#step", Static).update(Styled(Group(*self._describe(at)), STYLED))
        curve = self.panes.query_one(CurvePane)
        curve.show(scene.trajectory, list_events(scene.trajectory), at)
        said = Group(*self._describe_answer())
        self.panes.query_one("#said", Static).update(Styled(said, STYLED))
        self.panes.query_one("#answer").styles.display = "block" if said.renderables else "none"
        self._show_status()
        self._show_line()

    def _show_line(self) -> None:
        """The line to type on, while there is somebody to type on it."""
        line = self._line
        line.known = self.scene.completions
        for name in ("#line", "#choices"):
            self.panes.query_one(name).styles.display = "none" if self.watching else "block"
        self.panes.set_focus(None if self.watching else line)
        self._show_choices()
        self.panes.refresh_bindings()

    def _show_status(self) -> None:
        if not self.screen_stack:  # a timer, while it all ends
            return
        state = self._describe_state()
        status = self.panes.query_one("#status", Static)
        status.styles.display = "block" if state else "none"
        status.update(Styled(state, STYLED))

    def _describe_state(self) -> Text:
        """How it ended, who plays, what takes long; nothing where a person is asked."""
        if self.scene.over:
            return self.scene.outcome
        slow = self._jobs > 0 and time.monotonic() - self._began >= LONG
        if not self.watching:
            return Text("One moment: what was begun goes on ..." if slow else "", "dim")
        assert self.controls.player is not None
        state = "is paused" if self.paused else f"plays, {self.pause:g} s between steps"
        return make_text(
            f"{self.controls.player.agent.name} {state}{'; it thinks ...' if slow else ''}", "dim"
        )

    def _describe_answer(self) -> Iterator[RenderableType]:
        """What came of the last line."""
        answer = self.answer
        if answer.text:
            lines = [make_text(line, answer.style) for line in answer.text.split("\n")]
            yield Columns(lines, padding=(0, 3), column_first=True) if len(lines) > MANY else Group(*lines)
        if answer.places is not None:
            yield map_table(answer.places)
        if self.scene.suggestions and answer.moved:
            yield make_text(f"Did you mean: {', '.join(self.scene.suggestions)}?", "yellow")

    def _describe(self, at: int) -> Iterator[RenderableType]:
        """The goal and how far it is; what was believed in a step; the map."""
        narrow = self.panes.has_class("-narrow")
        goal, believed = list(self._describe_goal(narrow)), list(self._describe_step(at))
        seen: list[RenderableType] = [map_table(self.scene.places)] if self.scene.places else []
        parts = [believed, goal, seen] if narrow and self.watching else [goal, believed, seen]
        for number, part in enumerate(filter(None, parts)):
            if number:
                yield Text()
            yield from part

    def _describe_goal(self, narrow: bool) -> Iterator[RenderableType]:
        """With where the player is and what it carries, as far as the texts say."""
        scene = self.scene
        where = render_place(scene.place, scene.carried, bool(scene.places))
        goal = Panel(scene.trajectory.task, scene.conditions, scene.steps_left, scene.score)
        if narrow:
            width = self.panes.query_one("#side").content_size.width
            yield make_text(cut_text(scene.trajectory.task, width), "bold")
            yield goal.lines(width, False)
            yield Text("  ").join(where)
        else:
            yield goal.column(False)
            yield from where

    def _describe_step(self, at: int) -> Iterator[RenderableType]:
        """What was believed and done in a step; of the newest, where an agent did it."""
        trajectory = self.scene.trajectory
        ended = at == len(trajectory)
        step = at - 1 if ended else at
        if not ended or (step >= 0 and self.scene.players[step] != HUMAN):
            yield Text(f"step {step + 1}", "bold")
            unfold = ("t" if self.watching else "Ctrl-T") if self.folded else ""
            yield render_decision(cut_step(trajectory, step), step, unfold=unfold)
        text = trajectory.final_observation if ended else trajectory.turns[at].observation
        if is_folded(text.strip(), self.panes.query_one("#left").size.width - GUTTER, READ):
            yield Text("what is said", "bold")
            yield make_text(cut_text(text))
