"""What is counted, said and recorded of the games that a program plays through the drop-in."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from oreo_envs.alfworld.drop_in.play import Play
from oreo_envs.alfworld.text import Wording

COUNTS_FOLDER = "OREO_DROP_IN_COUNTS"
"""The environment variable that names the folder in which processes leave their counts."""
PLAN_NOTICE = (
    "policy_commands and the planner expert's plans are oreo_envs' own: they win in the fewest commands, and may be "
    "other ones than Fast Downward's"
)


class RecordedEpisode(Protocol):
    """An episode while it is recorded."""

    def add(self, action: str, observation: str, reward: float, info: dict[str, Any]) -> None:
        """Take what came of an action."""

    def end(self, terminated: bool, truncated: bool) -> None:
        """Keep the episode; neither is true of one that was abandoned."""


class Recorder(Protocol):
    """Keeps episodes."""

    def begin(self, play: Play, observation: str, info: dict[str, Any]) -> RecordedEpisode:
        """Begin an episode."""

    def close(self) -> None:
        """Nothing more comes."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was played.

    Attributes:
        episodes, steps, seconds: counts, and the time spent in the environment.
        handed_over: games that TextWorld's own engine played.
    """

    episodes: int = 0
    steps: int = 0
    handed_over: int = 0
    seconds: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.episodes + other.episodes,
            self.steps + other.steps,
            self.handed_over + other.handed_over,
            self.seconds + other.seconds,
        )


_ONE_STEP = Counts(steps=1)


class Usage:
    """This process's plays.

    Attributes:
        wording: in which games are shown, if not in their own.
        recorder: keeps the episodes, if they are recorded.
        counts: what was played so far.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._turn = RLock()
        self._said: set[str] = set()
        self._open: WeakKeyDictionary[Any, RecordedEpisode] = WeakKeyDictionary()
        self._unfinished: set[RecordedEpisode] = set()
        self.wording: Wording | None = None
        self.recorder: Recorder | None = None
        self.counts = Counts()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def begin_episode(self, player: Any, play: Play) -> None:
        """An environment begins a play."""
        self.end_episode(player)
        self._count(Counts(episodes=1))
        self.report()
        if self.recorder is None:
            return
        if not play.has_own_names:
            self.say_once("games whose things have other names than alfworld's are played and not recorded")
            return
        self._end_lost()
        episode = self.recorder.begin(play, play.feedback, play.info)
        with self._lock:
            self._open[player] = episode
            self._unfinished.add(episode)

    def add_step(self, player: Any, command: str, play: Play) -> None:
        """An environment has carried out a command."""
        self._count(_ONE_STEP)
        episode = self._open.get(player)
        if episode is not None:
            episode.add(command, play.feedback, float(play.won), play.info)
        if play.won:
            self.end_episode(player, terminated=True)

    def end_episode(self, player: Any, terminated: bool = False, truncated: bool = False) -> None:
        """An environment's episode is over, or is abandoned."""
        with self._lock:
            episode = self._open.pop(player, None)
            self._unfinished -= {episode}
        if episode is not None:
            episode.end(terminated, truncated)
        if terminated or truncated:
            self.report()  # the process may be killed, as Ray's workers are in the end

    def close(self) -> None:
        """Keep what is being recorded."""
        for player in list(self._open):
            self.end_episode(player)
        self._end_lost()
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None
        self.report()

    def _end_lost(self) -> None:
        """Keep the episodes of environments that are no more."""
        with self._lock:
            lost = self._unfinished.difference(self._open.values())
            self._unfinished -= lost
        for episode in lost:
            episode.end(False, False)

    def report(self) -> None:
        """Write the counts for the process that has started this one, if it asked for them."""
        folder = os.environ.get(COUNTS_FOLDER)
        if folder and self.counts.episodes:
            with suppress(OSError):
                Path(folder, f"{os.getpid()}.json").write_text(json.dumps(asdict(self.counts)))

    def hand_over(self, reason: Exception) -> None:
        """TextWorld's own engine plays a game."""
        self._count(Counts(handed_over=1))
        self.say_once(f"played by TextWorld's own engine, as others like it will be: {reason}", "hand_over")

    def say_once(self, notice: str, subject: str | None = None) -> None:
        """Warn of something, the first time that it or its subject comes up."""
        with self._lock:
            new = (subject or notice) not in self._said
            self._said.add(subject or notice)
        if new:
            warnings.warn(notice, stacklevel=3)

    def take_turns(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that one thread calls at a time."""

        @wraps(function)
        def wait(*args: Any, **kwargs: Any) -> Any:
            with self._turn:
                return function(*args, **kwargs)

        return wait

    def spend(self, seconds: float) -> None:
        """Add time spent in the environment."""
        self._count(Counts(seconds=seconds))

    def _count(self, more: Counts) -> None:
        with self._lock:
            self.counts += more

    def _start_anew(self) -> None:
        """In a process that was forked: what is open is its parent's."""
        self._lock = Lock()
        self._turn = RLock()
        self._open, self._unfinished = WeakKeyDictionary(), set()
        self.counts = Counts()


USAGE = Usage()


def time_calls(method: Callable[..., Any]) -> Callable[..., Any]:
    """Add the time of a method's calls to the usage."""

    @wraps(method)
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            USAGE.spend(time.perf_counter() - start)

    return timed
