"""The full-screen view around a :class:`~oreo_agents.terminal.cursor.Cursor`: keys in, pictures out."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.text import Text

from oreo_agents.printable import make_printable
from oreo_agents.terminal.cursor import Cursor

HELP = """\
right left    step forward, back
PgDn PgUp     ten steps
Home End      first step, last
up down       scroll a long text
] [           next episode, previous
f             next episode not won
12 Enter      go to step 12
/text Enter   search; n: again; Esc: leave it
space         play; + - speed
q             quit"""

REFRESH = 0.2
"""Seconds between looks at a verification that is under way."""


def show_screen(cursor: Cursor) -> None:
    """Take over the screen until the user quits."""
    Screen(cursor).run()


class Screen:
    """A view of a cursor that scrolls, and renders only what changed."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.scroll = 0
        self.help = False
        self._rendered: tuple[Any, list[str]] = (None, [])

    def lines(self, width: int) -> list[str]:
        """The whole view as lines of ANSI text, ``width`` columns wide."""
        cursor = self.cursor
        key = (cursor.episode, cursor.step, cursor.verdict(), self.help, width)
        if self._rendered[0] != key:
            view = Text(HELP) if self.help else cursor.view()
            self._rendered = key, render_ansi(view, width).splitlines()
        return self._rendered[1]

    def body(self, width: int, height: int) -> str:
        """The part of the view that is on the screen."""
        lines = self.lines(width)
        self.scroll = max(0, min(self.scroll, len(lines) - height))
        return "\n".join(lines[self.scroll : self.scroll + height])

    def footer(self, width: int, height: int) -> str:
        """The line at the bottom."""
        below = len(self.lines(width)) - height - self.scroll
        more = f"  down: {below} more lines" if below > 0 else ""
        return make_printable(self.cursor.status()) + more

    def key(self, act: Callable[[], Any]) -> None:
        """Carry out a key other than scrolling; what it leads to is shown from its top."""
        self.scroll, self.help, self.cursor.message = 0, False, ""
        act()

    def run(self) -> None:
        """Until the user quits."""
        from prompt_toolkit.application import Application
        from prompt_toolkit.formatted_text import ANSI
        from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window

        def size() -> tuple[int, int]:
            size = app.output.get_size()
            return size.columns, size.rows - 1

        windows = [
            Window(FormattedTextControl(lambda: ANSI(self.body(*size())))),
            Window(FormattedTextControl(lambda: self.footer(*size())), height=1, style="reverse"),
        ]
        app: Application[None] = Application(
            Layout(HSplit(windows)), key_bindings=self._bindings(), full_screen=True
        )
        app.run(pre_run=lambda: self._in_background(app))

    def _in_background(self, app: Any) -> None:
        async def play() -> None:
            while True:
                await asyncio.sleep(1 / self.cursor.speed)
                if self.cursor.playing:
                    self.key(self.cursor.tick)
                    app.invalidate()

        async def refresh() -> None:
            while True:
                await asyncio.sleep(REFRESH)
                if self.cursor.check is not None:
                    app.invalidate()

        app.create_background_task(play())
        app.create_background_task(refresh())

    def _bindings(self) -> Any:
        from prompt_toolkit.filters import Condition
        from prompt_toolkit.key_binding import KeyBindings

        cursor, bindings = self.cursor, KeyBindings()
        typing = Condition(lambda: cursor.typed.startswith("/"))

        def on(*keys: str, always: bool = False) -> Callable[[Callable[[], Any]], None]:
            def add(act: Callable[[], Any]) -> None:
                for key in keys:
                    bindings.add(key, filter=True if always else ~typing)(lambda event: self.key(act))

            return add

        on("right", "l")(lambda: cursor.move(1))
        on("left", "h")(lambda: cursor.move(-1))
        on("pagedown")(lambda: cursor.move(10))
        on("pageup")(lambda: cursor.move(-10))
        on("home", "g")(lambda: cursor.jump(0))
        on("end", "G")(lambda: cursor.jump(len(cursor.trajectory)))
        on("]")(lambda: cursor.change_episode(1))
        on("[")(lambda: cursor.change_episode(-1))
        on("f")(cursor.next_failure)
        on("n")(lambda: cursor.find(cursor.sought))
        on("space")(lambda: setattr(cursor, "playing", not cursor.playing))
        on("+")(lambda: setattr(cursor, "speed", min(cursor.speed * 2, 64)))
        on("-")(lambda: setattr(cursor, "speed", max(cursor.speed / 2, 0.25)))
        on("?")(lambda: setattr(self, "help", True))
        on("enter", always=True)(cursor.enter)
        on("escape", always=True)(lambda: setattr(cursor, "typed", ""))
        on("backspace", always=True)(lambda: setattr(cursor, "typed", cursor.typed[:-1]))
        for digit in "0123456789/":
            on(digit)(partial(cursor.type, digit))
        bindings.add("down", filter=~typing)(lambda event: self._scroll(1))
        bindings.add("up", filter=~typing)(lambda event: self._scroll(-1))
        bindings.add("<any>", filter=typing)(
            lambda event: cursor.type(event.data) if event.data.isprintable() else None  # else another key
        )
        bindings.add("q", filter=~typing)(lambda event: event.app.exit())
        bindings.add("c-c")(lambda event: event.app.exit())
        bindings.add("c-d")(lambda event: event.app.exit())
        return bindings

    def _scroll(self, lines: int) -> None:
        self.scroll += lines


def render_ansi(renderable: RenderableType, width: int) -> str:
    """ANSI text of a renderable, in colour unless NO_COLOR is set, in ASCII unless stdout can do more."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    colour: Literal["standard"] | None = None if os.environ.get("NO_COLOR") else "standard"
    console = Console(file=file, width=width, force_terminal=True, color_system=colour, legacy_windows=False)
    console.print(renderable)
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
