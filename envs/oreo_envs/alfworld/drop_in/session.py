"""What is counted, said and recorded of the games that a program plays through the drop-in."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from oreo_envs.alfworld.drop_in.play import Play
from oreo_envs.alfworld.text import Wording


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


class Session:
    """This process's plays.

    Attributes:
        wording: in which games are shown, if not in their own.
        recorder: keeps the episodes, if they are recorded.
        episodes, steps, seconds: counts, and the time spent in the environment.
        handed_over: games that TextWorld's own engine played.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._said: set[str] = set()
        self._open: WeakKeyDictionary[Any, RecordedEpisode] = WeakKeyDictionary()
        self.wording: Wording | None = None
        self.recorder: Recorder | None = None
        self.episodes = self.steps = self.handed_over = 0
        self.seconds = 0.0

    def begin_episode(self, player: Any, play: Play) -> None:
        """An environment begins a play."""
        self.end_episode(player)
        with self._lock:
            self.episodes += 1
        if self.recorder is None:
            return
        if not play.has_own_names:
            self.say_once("games whose things have other names than alfworld's are played and not recorded")
            return
        self._open[player] = self.recorder.begin(play, play.feedback, play.info)

    def add_step(self, player: Any, command: str, play: Play) -> None:
        """An environment has carried out a command."""
        with self._lock:
            self.steps += 1
        episode = self._open.get(player)
        if episode is not None:
            episode.add(command, play.feedback, float(play.won), play.info)
            if play.won:
                self.end_episode(player, terminated=True)

    def end_episode(self, player: Any, terminated: bool = False, truncated: bool = False) -> None:
        """An environment's episode is over, or is abandoned."""
        episode = self._open.pop(player, None)
        if episode is not None:
            episode.end(terminated, truncated)

    def close(self) -> None:
        """Keep what is being recorded."""
        for player in list(self._open):
            self.end_episode(player)
        if self.recorder is not None:
            self.recorder.close()
            self.recorder = None

    def hand_over(self, reason: Exception) -> None:
        """TextWorld's own engine plays a game."""
        with self._lock:
            self.handed_over += 1
        self.say_once(f"played by TextWorld's own engine: {reason}")

    def say_once(self, notice: str) -> None:
        """Warn of something, the first time."""
        with self._lock:
            new = notice not in self._said
            self._said.add(notice)
        if new:
            warnings.warn(notice, stacklevel=3)

    def spend(self, seconds: float) -> None:
        """Add time spent in the environment."""
        with self._lock:
            self.seconds += seconds


SESSION = Session()


def time_calls(method: Callable[..., Any]) -> Callable[..., Any]:
    """Add the time of a method's calls to the session's."""

    @wraps(method)
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            SESSION.spend(time.perf_counter() - start)

    return timed
