"""What the full screens share: the panes' places, the curve that can be clicked on, the list of keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.styled import Styled
from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.widget import Widget
from textual.widgets import Footer, Static

from oreo_agents.evaluation.beliefs import list_values
from oreo_agents.evaluation.events import Event
from oreo_agents.terminal.curve import AXIS, draw_curve, locate_step
from oreo_agents.terminal.palette import COLOURS, Ground, find_ground, paint_console
from oreo_agents.terminal.transcript import STYLED, TranscriptPane
from oreo_agents.trajectory import Trajectory

WIDTHS = [(0, "-narrow"), (100, "-wide")]
"""Columns from which on the present step stands beside the transcript, not below it."""
HEIGHTS = [(0, "-low"), (24, "-high")]
"""Lines from which on there is room for the curve."""
KEYS = 12
"""Columns of the keys in their list."""
TRACKS: Mapping[Ground, str] = {"dark": "#333c47", "light": "#d5dae0"}
"""What scrollbars lie on: Textual cannot draw their ends on the terminal's own colour."""
LAYOUT = """
* { scrollbar-size-vertical: 1; }
#runs { layout: horizontal; width: 3fr; height: 1fr; }
#main { layout: horizontal; height: 1fr; }
#side { width: 2fr; height: 1fr; border-left: solid $border; padding: 0 1; }
#right { border-left: solid $border; }
.-narrow #main { layout: vertical; }
.-narrow #runs { width: 100%; height: 3fr; }
.-narrow #side { width: 100%; height: 2fr; border-left: none; border-top: solid $border; }
.-narrow CurvePane { height: 6; }
CurvePane.-bare { height: 2; }
.-low CurvePane { display: none; }
#status { height: 1; }
Input { border: none; height: 1; }
"""


def dress_app(app: App[None], ground: Ground | None) -> None:
    """Colours that are legible on the terminal's own ground; found by ``COLORFGBG`` where none is named."""
    ground = ground or find_ground(os.environ)
    paint_console(app.console, ground)
    colours = COLOURS[ground]
    bars = dict.fromkeys(("scrollbar", "scrollbar-hover", "scrollbar-active"), colours["dim"])
    tracks = dict.fromkeys(
        (f"scrollbar-background{state}" for state in ("", "-hover", "-active")), TRACKS[ground]
    )
    usual = BUILTIN_THEMES[f"ansi-{ground}"]
    told = {"border": colours["dim"], "footer-key-foreground": colours["magenta"], **bars, **tracks}
    app.register_theme(replace(usual, name="legible", variables={**usual.variables, **told}))
    app.theme = "legible"


class HelpScreen(Screen[None]):
    """The keys, and what the words mean; of a text in lines, those of a key have two spaces or more after it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "app.pop_screen", "back")]

    def __init__(self, keys: str) -> None:
        super().__init__()
        self.keys = keys

    def compose(self) -> ComposeResult:
        """A text that scrolls."""
        yield VerticalScroll(Static(Styled(Group(*map(_lay_out_line, self.keys.split("\n"))), STYLED)))
        yield Footer(show_command_palette=False)


def _lay_out_line(line: str) -> RenderableType:
    """A key beside its meaning, which stays in its column; of other lines the words."""
    key, gap, meaning = line.partition("  ")
    if not gap:
        return Text(line)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=KEYS)
    grid.add_column()
    grid.add_row(key, meaning.strip())
    return grid


class CurvePane(Widget):
    """V along the episode; a click goes to a step."""

    DEFAULT_CSS = "CurvePane { height: 8; }"

    def __init__(self) -> None:
        super().__init__()
        self.trajectory, self.step = Trajectory(()), 0
        self.events: Sequence[Event] = ()
        self.run_name = ""

    def show(self, trajectory: Trajectory, marked: Sequence[Event], step: int, run_name: str = "") -> None:
        """The curve of an episode, with what stands out in it and where one is; of two runs, with its name."""
        self.run_name = run_name
        self.trajectory, self.events, self.step = trajectory, marked, step
        self.set_class(all(value is None for value in list_values(trajectory)), "-bare")
        self.refresh()

    def render(self) -> Text:
        """The whole curve."""
        return draw_curve(self.trajectory, self.events, self.step, self.size, self.run_name)

    def on_click(self, event: events.Click) -> None:
        """Go there."""
        step = locate_step(self.trajectory, event.x - AXIS, max(self.size.width - AXIS, 8))
        self.post_message(TranscriptPane.Chosen(step))
