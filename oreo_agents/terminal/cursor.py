"""Where one is in recorded episodes, and where a key leads. Knows nothing about terminals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType

from oreo_agents.rollout.verify import Deviation
from oreo_agents.terminal.views import SideBySide, StepView, render_deviation
from oreo_agents.trajectory import Trajectory

Check = Callable[[int, Trajectory], "Sequence[Deviation] | None"]
"""What came out otherwise when an episode (its place, itself) was played again; None while that is not known."""


@dataclass
class Cursor:
    """An episode out of several, and a step of it. Moves never leave the range."""

    episodes: Sequence[Trajectory]
    others: dict[str, Trajectory] = field(default_factory=dict)
    """Runs to show beside, by game."""
    check: Check | None = None
    episode: int = 0
    step: int = 0
    speed: float = 2.0
    """Steps per second while playing."""
    playing: bool = False
    typed: str = ""
    """A step number or, after ``/``, a text being typed."""
    sought: str = ""
    message: str = ""
    """What came of the last key, until the next."""
    _open: tuple[int, Trajectory] | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The episode being looked at, read once."""
        if self._open is None or self._open[0] != self.episode:
            self._open = self.episode, self.episodes[self.episode]
        return self._open[1]

    @property
    def other(self) -> Trajectory | None:
        """Another run of the same game."""
        return self.others.get(self.trajectory.game)

    def move(self, steps: int) -> None:
        """Go forward, or back with a negative number."""
        self.jump(self.step + steps)

    def jump(self, step: int) -> None:
        """Go to a step, counted from 0; one past the last shows the end."""
        longest = max(len(self.trajectory), len(self.other) if self.other else 0)
        self.step = max(0, min(step, longest))

    def change_episode(self, by: int) -> None:
        """Go to the beginning of another episode."""
        self.episode = max(0, min(self.episode + by, len(self.episodes) - 1))
        self.step = 0

    def next_failure(self) -> bool:
        """Go to the next episode that was not won; False if none follows."""
        for place in range(self.episode + 1, len(self.episodes)):
            if self.episodes[place].success is False:
                self.change_episode(place - self.episode)
                return True
        self.message = "no further episode that was not won"
        return False

    def find(self, text: str) -> bool:
        """Go to the next step, from the one after this, whose texts contain ``text``; False if none does."""
        self.sought = text
        turns, wanted = self.trajectory.turns, text.casefold()
        following = [*range(self.step + 1, len(turns)), *range(min(self.step + 1, len(turns)))]
        for step in following:
            if wanted in turns[step].observation.casefold() or wanted in turns[step].action.casefold():
                self.step = step
                return True
        self.message = f"{text!r} is not in this episode"
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

    def differences(self) -> Sequence[Deviation] | None:
        """What came out otherwise when this episode was played again; None where that is not known."""
        return self.check(self.episode, self.trajectory) if self.check else None

    def view(self) -> RenderableType:
        """What to show: the step, beside another run's where there is one, and how a replay differed."""
        trajectory, other = self.trajectory, self.other
        scene: RenderableType = (
            SideBySide(trajectory, other, self.step)
            if other
            else StepView(trajectory, min(self.step, len(trajectory)))
        )
        here = [found for found in self.differences() or () if _seen_at(found) == self.step]
        return Group(scene, *map(render_deviation, here))

    def verdict(self) -> str:
        """Whether the episode happened again; empty where nobody asked."""
        if self.check is None:
            return ""
        found = self.differences()
        if found is None:
            return "verifying ..."
        if not found:
            return "verified: happened again exactly"
        return f"differs at step {found[0].step} ({found[0].what})"

    def status(self) -> str:
        """The line at the bottom."""
        if self.typed:
            return self.typed
        place = f"episode {self.episode + 1}/{len(self.episodes)}"
        playing = f"playing {self.speed:g}/s" if self.playing else ""
        return "  ".join(filter(None, (place, self.message, playing, self.verdict(), "? keys")))


def _seen_at(found: Deviation) -> int:
    """The step, from 0, that shows it: an observation stands before the next action, all else beside its own."""
    return found.step if found.what in ("observation", "game") else found.step - 1
