"""``oreo-agents replay``: step through recorded episodes.

:class:`Cursor` is where one is and where a key leads; :func:`show` is the screen around it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from rich.console import Console, RenderableType

from oreo_agents.errors import DatasetError
from oreo_agents.terminal.views import SideBySide, StepView, Transcript
from oreo_agents.trajectory import Trajectory

HELP = "left/right step  PgUp/PgDn 10  Home/End  [ ] episode  N Enter: go to step N  / search  n next  "
HELP += "space play  + - speed  q quit"


@dataclass
class Cursor:
    """An episode out of several, and a step of it. Moves never leave the range."""

    episodes: Sequence[Trajectory]
    others: dict[str, Trajectory] = field(default_factory=dict)
    """Runs to show beside, by game."""
    episode: int = 0
    step: int = 0
    speed: float = 2.0
    """Steps per second while playing."""
    playing: bool = False
    typed: str = ""
    """A step number or, after ``/``, a text being typed."""
    sought: str = ""
    notes: dict[int, str] = field(default_factory=dict)
    """A remark about an episode, e.g. whether it happened again."""
    _open: tuple[int, Trajectory] | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The episode being looked at, read once."""
        if self._open is None or self._open[0] != self.episode:
            self._open = self.episode, self.episodes[self.episode]
        return self._open[1]

    def move(self, steps: int) -> None:
        """Go forward, or back with a negative number."""
        self.jump(self.step + steps)

    def jump(self, step: int) -> None:
        """Go to a step, counted from 0; one past the last shows the end."""
        self.step = max(0, min(step, len(self.trajectory)))

    def change_episode(self, by: int) -> None:
        """Go to the beginning of another episode."""
        self.episode = max(0, min(self.episode + by, len(self.episodes) - 1))
        self.step = 0

    def find(self, text: str) -> bool:
        """Go to the next step, from the one after this, whose texts contain ``text``; False if none does."""
        self.sought = text
        turns, wanted = self.trajectory.turns, text.casefold()
        following = [*range(self.step + 1, len(turns)), *range(min(self.step + 1, len(turns)))]
        for step in following:
            if wanted in turns[step].observation.casefold() or wanted in turns[step].action.casefold():
                self.step = step
                return True
        return False

    def tick(self) -> None:
        """One step of playing; stops at the end."""
        self.move(1)
        self.playing = self.step < len(self.trajectory)

    def type(self, text: str) -> None:
        """Add to what is being typed; ``/`` begins a search anew."""
        self.typed = text if text == "/" else self.typed + text

    def enter(self) -> None:
        """Carry out what was typed: a search, or a jump to a step counted from 1."""
        typed, self.typed = self.typed, ""
        if typed.startswith("/"):
            self.find(typed[1:] or self.sought)
        elif typed:
            self.jump(int(typed) - 1)

    def view(self) -> RenderableType:
        """What to show."""
        other = self.others.get(self.trajectory.game)
        return (
            SideBySide(self.trajectory, other, self.step) if other else StepView(self.trajectory, self.step)
        )

    def status(self) -> str:
        """The line at the bottom."""
        if self.typed:
            return self.typed
        place = f"episode {self.episode + 1}/{len(self.episodes)}"
        playing = f"playing {self.speed:g}/s" if self.playing else ""
        return "  ".join(filter(None, (place, playing, self.notes.get(self.episode, ""), HELP)))


def run(args: argparse.Namespace) -> int:
    """``oreo-agents replay``."""
    cursor = Cursor(select(args), _runs_by_game(args.compare))
    cursor.episode = min((args.episode or 1) - 1, len(cursor.episodes) - 1)
    if args.verify:
        cursor.notes = verify(args, cursor.episodes)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return print_all(cursor, single=args.episode is not None)
    cursor.playing, cursor.speed = args.speed is not None, args.speed or cursor.speed
    show(cursor)
    return 0


def select(args: argparse.Namespace) -> Any:
    """The episodes that the options ask for.

    Raises:
        DatasetError: there are none.
    """
    from oreo_agents.dataset import load_trajectories

    conditions: dict[str, Any] = {"length": lambda lengths: lengths >= args.min_steps}
    if args.failed:
        conditions["success"] = False
    if args.task_type:
        conditions["predicate"] = lambda episode: args.task_type in episode.task_type
    episodes = load_trajectories(args.path).filter(**conditions)
    if args.search:
        episodes = episodes.filter(lambda episode: contains(episode, args.search))
    if not len(episodes):
        raise DatasetError(f"{args.path}: no episode meets the conditions; drop one of the filters")
    return episodes


def contains(trajectory: Trajectory, text: str) -> bool:
    """Whether ``text`` occurs in anything said or done, in any case."""
    texts = [trajectory.task, trajectory.game, trajectory.final_observation]
    for turn in trajectory.turns:
        texts += (turn.observation, turn.action)
    return text.casefold() in "\n".join(texts).casefold()


def verify(args: argparse.Namespace, episodes: Any) -> dict[int, str]:
    """For each episode, whether its actions lead to the same observations again."""
    from oreo_agents.dataset.verify import replay, replay_environment

    env = replay_environment(episodes.agreed("env_spec"))
    try:
        first = (next(replay(env, trajectory), None) for trajectory in episodes)
        return {
            index: f"differs at step {found.step} ({found.what})"
            if found
            else "verified: happened again exactly"
            for index, found in enumerate(first)
        }
    finally:
        env.close()


def print_all(cursor: Cursor, single: bool) -> int:
    """Print transcripts: of one episode or of all."""
    console = Console()
    for index in [cursor.episode] if single else range(len(cursor.episodes)):
        console.print(
            Transcript(cursor.episodes[index]), cursor.notes.get(index, ""), "", sep="\n", markup=False
        )
    return 1 if any(note.startswith("differs") for note in cursor.notes.values()) else 0


def render(renderable: RenderableType, width: int) -> str:
    """ANSI text of a renderable, in colour unless NO_COLOR is set, in ASCII unless stdout can do more."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    colour: Literal["standard"] | None = None if "NO_COLOR" in os.environ else "standard"
    console = Console(file=file, width=width, force_terminal=True, color_system=colour, legacy_windows=False)
    console.print(renderable)
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def show(cursor: Cursor) -> None:
    """Take over the screen until the user quits."""
    from prompt_toolkit.application import Application
    from prompt_toolkit.formatted_text import ANSI
    from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window

    def body() -> ANSI:
        return ANSI(render(cursor.view(), app.output.get_size().columns))

    def footer() -> str:
        return cursor.status()

    windows = [
        Window(FormattedTextControl(body)),
        Window(FormattedTextControl(footer), height=1, style="reverse"),
    ]
    app: Application[None] = Application(
        Layout(HSplit(windows)), key_bindings=_bindings(cursor), full_screen=True
    )
    app.run(pre_run=lambda: _play_in_background(app, cursor))


def _play_in_background(app: Any, cursor: Cursor) -> None:
    import asyncio

    async def play() -> None:
        while True:
            await asyncio.sleep(1 / cursor.speed)
            if cursor.playing:
                cursor.tick()
                app.invalidate()

    app.create_background_task(play())


def _bindings(cursor: Cursor) -> Any:
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()
    typing = Condition(lambda: cursor.typed.startswith("/"))

    def on(*keys: str, **when: Any) -> Callable[[Callable[[], Any]], None]:
        def add(move: Callable[[], Any]) -> None:
            for key in keys:
                bindings.add(key, filter=when.get("filter", ~typing))(lambda event: move())

        return add

    on("right", "l", "j")(lambda: cursor.move(1))
    on("left", "h", "k")(lambda: cursor.move(-1))
    on("pagedown")(lambda: cursor.move(10))
    on("pageup")(lambda: cursor.move(-10))
    on("home", "g")(lambda: cursor.jump(0))
    on("end", "G")(lambda: cursor.jump(len(cursor.trajectory)))
    on("]")(lambda: cursor.change_episode(1))
    on("[")(lambda: cursor.change_episode(-1))
    on("n")(lambda: cursor.find(cursor.sought))
    on("space")(lambda: setattr(cursor, "playing", not cursor.playing))
    on("+")(lambda: setattr(cursor, "speed", min(cursor.speed * 2, 64)))
    on("-")(lambda: setattr(cursor, "speed", max(cursor.speed / 2, 0.25)))
    on("enter", filter=Condition(lambda: True))(cursor.enter)
    on("backspace", filter=Condition(lambda: True))(lambda: setattr(cursor, "typed", cursor.typed[:-1]))
    for digit in "0123456789/":
        on(digit)(partial(cursor.type, digit))
    bindings.add("<any>", filter=typing)(lambda event: cursor.type(event.data))
    bindings.add("q", filter=~typing)(lambda event: event.app.exit())
    bindings.add("c-c")(lambda event: event.app.exit())
    bindings.add("c-d")(lambda event: event.app.exit())
    return bindings


def _runs_by_game(path: Any) -> dict[str, Trajectory]:
    if path is None:
        return {}
    from oreo_agents.dataset import load_trajectories

    return {trajectory.game: trajectory for trajectory in load_trajectories(path)}
