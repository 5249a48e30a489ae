"""The list of episodes, narrowed while one types."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from oreo_agents.terminal.entries import OUTCOMES, ListedEpisode
from oreo_agents.terminal.transcript import STYLED
from oreo_agents.terminal.views import choose_style, make_text
from oreo_agents.trajectory import UNDEFINED, format_steps

SHOWN = 300
"""Characters of a task that a line may need."""


class EntryList(ScrollView, can_focus=False):
    """A line for each episode; only those on the screen are rendered."""

    DEFAULT_CSS = "EntryList { height: 1fr; }"

    class Opened(Message):
        """An episode was clicked on."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[ListedEpisode] = []
        self.at = 0

    def show(self, entries: list[ListedEpisode], at: int) -> None:
        """List these, the one at ``at`` marked and in sight."""
        self.entries, self.at = entries, max(0, min(at, len(entries) - 1))
        self.virtual_size = Size(1, len(entries))  # a line is cut where the screen ends
        if not self.scroll_offset.y <= self.at < self.scroll_offset.y + self.size.height:
            self.scroll_to(y=self.at - self.size.height // 2, animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One episode."""
        place, width = y + self.scroll_offset.y, self.size.width
        if place >= len(self.entries):
            return Strip.blank(width, STYLED)
        entry = self.entries[place]
        base = Style(reverse=place == self.at)
        styled = self.app.console.get_style
        number = Segment(f"{entry.place + 1:>6}  ", base + styled("dim"))
        outcome = Segment(f"{entry.outcome:<12.12}", base + styled(choose_style(entry.success)))
        about = "  ".join(filter(None, (entry.task[:SHOWN], entry.game[:SHOWN], entry.agent[:SHOWN])))
        line = Segment(f"{format_steps(entry.steps):>12}  {make_text(about).plain}".replace("\n", " "), base)
        return Strip([number, outcome, line]).adjust_cell_length(width, base)

    def on_click(self, event: events.Click) -> None:
        """Open the episode under the mouse."""
        place = event.y + self.scroll_offset.y
        if place < len(self.entries):
            self.at = place
            self.post_message(self.Opened())


class EpisodeScreen(Screen["int | None"]):
    """Choose an episode; leaves with its place, or None."""

    DEFAULT_CSS = "EpisodeScreen Static { height: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open", priority=True),
        Binding("tab", "outcome", "all, won, not won", priority=True),
        Binding("up", "move(-1)", "choose", key_display="\u2191\u2193"),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-20)", show=False),
        Binding("pagedown", "move(20)", show=False),
        Binding("escape", "leave", "back"),
    ]

    def __init__(self, entries: list[ListedEpisode], at: int) -> None:
        super().__init__()
        self.all, self.at, self.outcome = entries, at, OUTCOMES[0]

    def compose(self) -> ComposeResult:
        """A heading, the words looked for, the list."""
        yield Static(id="heading")
        yield Input(placeholder="words of task, game, type, agent", id="words")
        yield EntryList()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show all of them."""
        self.query_one(Input).focus()
        self.call_after_refresh(self._narrow)

    @on(Input.Changed)
    def _narrow(self) -> None:
        words = self.query_one(Input).value
        shown = [entry for entry in self.all if entry.meets(self.outcome, words)]
        at = next((row for row, entry in enumerate(shown) if entry.place >= self.at), 0)
        self.query_one(EntryList).show(shown, at)
        undefined = self.outcome != OUTCOMES[0] and all(entry.success is None for entry in self.all)
        outcome = UNDEFINED if undefined else f"outcome: {self.outcome}"
        self.query_one("#heading", Static).update(
            make_text(f"{len(shown)} of {len(self.all)} episodes  {outcome}", "bold")
        )

    def action_outcome(self) -> None:
        """The next outcome."""
        self.outcome = OUTCOMES[(OUTCOMES.index(self.outcome) + 1) % len(OUTCOMES)]
        self._narrow()

    def action_move(self, by: int) -> None:
        """Mark another one."""
        listed = self.query_one(EntryList)
        listed.show(listed.entries, listed.at + by)

    @on(EntryList.Opened)
    def action_open(self) -> None:
        """Leave with the marked one."""
        listed = self.query_one(EntryList)
        if listed.entries:
            self.dismiss(listed.entries[listed.at].place)

    def action_leave(self) -> None:
        """Leave without one."""
        self.dismiss(None)
