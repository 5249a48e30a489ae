"""The line that a person types commands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


def find_agreement(texts: Sequence[str]) -> str:
    """The longest beginning that all of them have.

    >>> find_agreement(["go to desk 1", "go to drawer 2"])
    'go to d'
    """
    first, last = min(texts, default=""), max(texts, default="")
    differ = (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differ, len(first))]


class CommandLine(Input):
    """One line with completion and with the lines before it.

    Tab completes as far as the commands agree, then goes through them; what was typed stays what is matched.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete"),
        Binding("up", "recall(-1)", "history", key_display="\u2191\u2193"),
        Binding("down", "recall(1)", show=False),
        Binding("ctrl+c", "clear_line", "clear", key_display="^c"),
        Binding("ctrl+d", "delete_right", "leave", key_display="^d"),
    ]

    class Entered(Message):
        """A line was said; the widget is empty again."""

        def __init__(self, line: str) -> None:
            super().__init__()
            self.line = line

    class Left(Message):
        """End of input: Ctrl-D or Ctrl-C on an empty line."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id, select_on_focus=False)
        self.known: Sequence[str] = ()
        """What can be said."""
        self.lines: list[str] = []
        """What was said."""
        self._line = 0
        self._shown: tuple[str, str] | None = None
        """What Tab made of what was typed: both."""

    @property
    def typed(self) -> str:
        """What was typed, without what Tab made of it."""
        return self._shown[0] if self._shown and self._shown[1] == self.value else self.value

    @property
    def matches(self) -> list[str]:
        """What can be said and begins as what was typed."""
        return [known for known in self.known if known.startswith(self.typed)]

    async def _on_key(self, event: events.Key) -> None:
        """Keys that are bound are obeyed here, in their order: Textual would let letters that follow overtake them."""
        for binding in self._bindings.key_to_bindings.get(event.key, ())[-1:]:
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)

    def _on_hide(self, event: events.Hide) -> None:
        """Out of sight for a moment, as while the screen changes its size, it goes on taking keys."""
        event.prevent_default()

    async def action_submit(self) -> None:
        """Say it; what comes after Enter belongs to the next line."""
        line, self.value = self.value, ""
        if line.strip():
            if self.lines[-1:] != [line]:
                self.lines.append(line)
            self.post_message(self.Entered(line))
        self._line = len(self.lines)

    def action_clear_line(self) -> None:
        """An empty line is the end of input."""
        if self.value:
            self.value = ""
        else:
            self.post_message(self.Left())

    def action_complete(self) -> None:
        """Complete as far as is clear, then one match after the other."""
        typed, matches = self.typed, self.matches
        agreed = find_agreement(matches)
        if self.value == typed and len(agreed) > len(typed):
            self._write(agreed)
        elif matches:
            after = matches.index(self.value) + 1 if self.value in matches else 0
            chosen = matches[after % len(matches)]
            self._write(chosen)
            self._shown = typed, chosen

    def action_recall(self, by: int) -> None:
        """A line before, or after; after the last an empty one."""
        self._line = max(0, min(self._line + by, len(self.lines)))
        self._write(self.lines[self._line] if self._line < len(self.lines) else "")

    def action_delete_right(self) -> None:
        """Ctrl-D on an empty line is the end of input."""
        if self.value:
            super().action_delete_right()
        else:
            self.post_message(self.Left())

    def _write(self, line: str) -> None:
        self.value = line
        self.cursor_position = len(line)
