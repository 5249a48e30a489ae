"""What the full screens share: the panes' places, the curve that can be clicked on, the list of keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from oreo_agents.evaluation.events import Event
from oreo_agents.terminal.curve import AXIS, draw_curve, locate_step
from oreo_agents.terminal.transcript import TranscriptPane
from oreo_agents.trajectory import Trajectory

WIDTHS = [(0, "-narrow"), (100, "-wide")]
"""Columns from which on the present step stands beside the transcript, not below it."""
HEIGHTS = [(0, "-low"), (24, "-high")]
"""Lines from which on there is room for the curve."""
LAYOUT = """
#runs { layout: horizontal; width: 3fr; height: 1fr; }
#main { layout: horizontal; height: 1fr; }
#side { width: 2fr; height: 1fr; border-left: solid ansi_bright_black; padding: 0 1; scrollbar-size-vertical: 1; }
.-narrow #main { layout: vertical; }
.-narrow #runs { width: 100%; height: 3fr; }
.-narrow #side { width: 100%; height: 2fr; border-left: none; border-top: solid ansi_bright_black; }
.-narrow CurvePane { height: 6; }
.-low CurvePane { display: none; }
#status { height: 1; }
Input { border: none; height: 1; }
"""


class HelpScreen(Screen[None]):
    """The keys, and what the words mean."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "app.pop_screen", "back")]

    def __init__(self, keys: str) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        """A text that scrolls."""
        yield VerticalScroll(Static(Text(self.keys)))
        yield Footer(show_command_palette=False)


class CurvePane(Widget):
    """V along the episode; a click goes to a step."""

    DEFAULT_CSS = "CurvePane { height: 8; }"

    def __init__(self) -> None:
        super().__init__()
        self.trajectory, self.step = Trajectory(()), 0
        self.events: Sequence[Event] = ()

    def show(self, trajectory: Trajectory, marked: Sequence[Event], step: int) -> None:
        """The curve of an episode, with what stands out in it and where one is."""
        self.trajectory, self.events, self.step = trajectory, marked, step
        self.refresh()

    def render(self) -> Text:
        """The whole curve."""
        return draw_curve(self.trajectory, self.events, self.step, *self.size)

    def on_click(self, event: events.Click) -> None:
        """Go there."""
        step = locate_step(self.trajectory, event.x - AXIS, max(self.size.width - AXIS, 8))
        self.post_message(TranscriptPane.Chosen(step))
