"""A whole episode that scrolls, of which only what is on the screen is ever rendered."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from oreo_agents.evaluation.beliefs import compute_advantage
from oreo_agents.evaluation.events import Event, list_events
from oreo_agents.printable import make_printable
from oreo_agents.terminal.excerpt import cut_text
from oreo_agents.terminal.views import choose_style, make_text
from oreo_agents.trajectory import Trajectory, describe_outcome

LINES = 12
"""Lines of one observation, if nothing else is said."""
GUTTER = 7
KEPT = 500
"""Rendered steps that are kept."""
WHEEL = 3
"""Lines that the wheel scrolls."""
STYLED = Style(bold=False)
"""Nothing, said: where NO_COLOR is set, Textual takes every segment to have a style."""
MARK_STYLES = {"won": "bold green", "surprise": "bold yellow", "invalid": "bold red"}


class TranscriptPane(Widget):
    """An episode with its steps below each other; the one being looked at is always seen after :meth:`show`."""

    DEFAULT_CSS = "TranscriptPane { width: 1fr; height: 1fr; }"

    class Chosen(Message):
        """A step was clicked on."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, id: str, lines: int = LINES) -> None:
        super().__init__(id=id)
        self.lines = lines
        self.trajectory, self.step = Trajectory(()), 0
        self.events: dict[int, list[Event]] = {}
        self.difference: int | None = None
        self.title = ""
        self.goes_on = False
        self.sought = ""
        self._top = (0, 0)
        self._blocks: dict[tuple[int, bool], list[Strip]] = {}

    def show(
        self,
        trajectory: Trajectory,
        step: int,
        difference: int | None = None,
        title: str = "",
        goes_on: bool = False,
        sought: str = "",
    ) -> None:
        """Look at a step of an episode.

        Args:
            trajectory: the episode.
            step: from 0; one past the last is the end.
            difference: the step at which another run parts from it.
            title: above it.
            goes_on: the episode is still being played; one that goes on from the last shown stays where it is.
            sought: what is marked wherever it occurs, in any case.
        """
        if trajectory is not self.trajectory:
            if not goes_on or trajectory.turns[: len(self.trajectory)] != self.trajectory.turns:
                self._top = (0, 0)
            self.events = {}
            for event in list_events(trajectory):
                self.events.setdefault(event.step, []).append(event)
        if trajectory is not self.trajectory or (difference, sought) != (self.difference, self.sought):
            self._blocks.clear()
        self.trajectory, self.step = trajectory, min(step, len(trajectory))
        self.difference, self.title, self.goes_on, self.sought = difference, title, goes_on, sought
        self._reveal()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of what is on the screen."""
        width = self.size.width
        if self.title and y == 0:
            title = Segment(make_text(self.title).plain, Style(bold=True, underline=True))
            return Strip([title]).adjust_cell_length(width, STYLED)
        found = self._locate_line(y)
        return Strip.blank(width, STYLED) if found is None else found[1]

    def on_resize(self) -> None:
        """Lines break elsewhere."""
        self._blocks.clear()
        self._top = (self._top[0], 0)
        self._reveal()
        self.refresh()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel."""
        self._scroll(WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel."""
        self._scroll(-WHEEL)

    def on_click(self, event: events.Click) -> None:
        """Choose the step under the mouse."""
        found = self._locate_line(event.y)
        if found is not None:
            self.post_message(self.Chosen(found[0]))

    @property
    def _rows(self) -> int:
        return max(self.size.height - bool(self.title), 1)

    def _locate_line(self, y: int) -> tuple[int, Strip] | None:
        """The step and the line at a height of the widget."""
        step, skipped = self._top
        y += skipped - bool(self.title)
        while step <= len(self.trajectory):
            lines = self._render_step(step)
            if y < len(lines):
                return step, lines[y]
            y -= len(lines)
            step += 1
        return None

    def _scroll(self, lines: int) -> None:
        last = self._walk((len(self.trajectory) + 1, 0), -self._rows)
        self._top = min(self._walk(self._top, lines), last)
        self.refresh()

    def _walk(self, place: tuple[int, int], lines: int) -> tuple[int, int]:
        """So many lines further down, or up; never above the first or below the last."""
        step, line = place[0], place[1] + lines
        while line < 0 and step > 0:
            step -= 1
            line += len(self._render_step(step))
        while step <= len(self.trajectory) and line >= len(self._render_step(step)):
            line -= len(self._render_step(step))
            step += 1
        return step, max(line, 0)

    def _reveal(self) -> None:
        """Scroll as little as shows the whole step; a far one gets a third of the screen above it."""
        here = (self.step, 0)
        bottom = self._walk(self._top, self._rows) if here >= self._top else self._top
        if here >= self._top and self._walk(here, len(self._render_step(self.step))) <= bottom:
            return
        last = self._walk((len(self.trajectory) + 1, 0), -self._rows)
        self._top = max(min(self._walk(here, -self._rows // 3), last), (0, 0))

    def _render_step(self, step: int) -> list[Strip]:
        key = step, step == self.step
        if key not in self._blocks:
            if len(self._blocks) >= KEPT:
                self._blocks.clear()
            self._blocks[key] = list(self._draw_step(step))
        return self._blocks[key]

    def _draw_step(self, step: int) -> Iterator[Strip]:
        inner = max(self.size.width - GUTTER, 8)
        console = self.app.console
        options = console.options.update(width=inner, height=None)
        gutter = Style(bold=True, reverse=True) if step == self.step else console.get_style("dim")
        last = "now" if self.goes_on else "end"
        number = f"{step + 1 if step < len(self.trajectory) else last:>{GUTTER - 2}}"
        lines = console.render_lines(self._describe_step(step, inner), options, style=STYLED)
        for row, line in enumerate(lines):
            label = number if row == 0 else " " * (GUTTER - 2)
            yield Strip([Segment(label, gutter), Segment("  ", STYLED), *line], GUTTER + inner)
        yield Strip.blank(GUTTER + inner, STYLED)

    def _describe_step(self, step: int, width: int) -> RenderableType:
        trajectory = self.trajectory
        parts: list[RenderableType] = []
        if step == self.difference:
            parting = Text("first difference", "bold magenta")
            parting.stylize("reverse")
            parts.append(parting)
        if step == len(trajectory):
            parts += self._fold_text(trajectory.final_observation, width)
            if not self.goes_on:
                outcome = f"bold {choose_style(trajectory.success)}"
                parts.append(Text(describe_outcome(trajectory), outcome))
            return Group(*parts)
        turn = trajectory.turns[step]
        action = self._mark(make_text(cut_text(turn.action, 4 * width), "bold cyan"))
        parts += [*self._fold_text(turn.observation, width), Text.assemble(("> ", "bold cyan"), action)]
        facts = Text(style="dim")
        if turn.value is not None:
            facts.append(f"V {turn.value:.2f}  ")
        gain = compute_advantage(trajectory, step)
        if gain is not None:
            facts.append(f"advantage {gain:+.2f}  ")
        if step < len(players := trajectory.metadata.get("players", ())):
            facts.append(f"{make_printable(str(players[step]))}  ")
        for event in self.events.get(step, ()):
            facts.append(f"{event.kind}  ", MARK_STYLES[event.kind])
        return Group(*parts, facts) if facts else Group(*parts)

    def _fold_text(self, text: str, width: int) -> Iterator[Text]:
        """A text in at most so many lines, and what says that there is more."""
        text, most = text.strip(), self.lines
        excerpt = "\n".join(text[: most * width].split("\n")[:most])
        if excerpt:
            yield self._mark(make_text(excerpt))
        if is_folded(text, width, most):
            yield Text(f"... {len(text) - len(excerpt):,} more characters: see beside", "dim")

    def _mark(self, text: Text) -> Text:
        if self.sought:
            text.highlight_words([self.sought], "reverse", case_sensitive=False)
        return text


def is_folded(text: str, width: int, most: int = LINES) -> bool:
    """Whether a transcript of at most so many lines a text shows less than the whole."""
    return len(text) > most * width or text.count("\n") >= most
