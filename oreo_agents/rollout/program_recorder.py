"""Episodes of programs that know nothing of this package, as :mod:`oreo_envs.alfworld.drop_in` plays them."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import gymnasium as gym
from oreo_envs.alfworld.drop_in.play import ENV_ID, Play

from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import DatasetError
from oreo_agents.rollout.episode import EpisodeBuilder


class ProgramRecorder:
    """Records into one folder for each process and folder of games; together they are read as one dataset.

    Args:
        path: the folder of these.

    Raises:
        DatasetError: ``path`` is a dataset by itself.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if (self.path / "meta.json").exists():
            raise DatasetError(
                f"{path}: is a dataset that one program has written; record into another folder"
            )
        self._writers: dict[tuple[Path, str], TrajectoryWriter] = {}
        self._parents: list[Any] = []
        self._lock = Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def begin(self, play: Play, observation: str, info: dict[str, Any]) -> ProgramEpisode:
        """Begin an episode."""
        with self._lock:
            writer = self._open_writer(play)
        return ProgramEpisode(writer, self._lock, EpisodeBuilder(observation, info, ENV_ID))

    def close(self) -> None:
        """Close what is open."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _open_writer(self, play: Play) -> TrajectoryWriter:
        game = play.loaded.game
        games = game.path.parents[2] if game.path is not None else Path()
        key = games, game.wording
        if key not in self._writers:
            spec = copy.copy(gym.spec(ENV_ID))
            spec.kwargs = {**spec.kwargs, "games": str(games), "wording": game.wording}
            folder = self.path / f"{games.name}-{len(self._writers)}-{os.getpid()}"
            self._writers[key] = TrajectoryWriter(folder, env_spec=spec, dialect=game.wording)
        return self._writers[key]

    def _start_anew(self) -> None:
        """In a process that was forked: the open writers and their locks stay its parent's."""
        self._parents.append(self._writers)
        self._writers, self._lock = {}, Lock()


class ProgramEpisode:
    """An episode while a program plays it."""

    def __init__(self, writer: TrajectoryWriter, lock: Lock, episode: EpisodeBuilder) -> None:  # type: ignore[valid-type]
        self._writer, self._lock, self._episode = writer, lock, episode

    def add(self, action: str, observation: str, reward: float, info: dict[str, Any]) -> None:
        """Take what came of an action."""
        self._episode.add(action, observation, reward, info)

    def end(self, terminated: bool, truncated: bool) -> None:
        """Keep the episode, if anything was done in it."""
        if not len(self._episode):
            return
        agent = Path(sys.argv[0]).stem
        with self._lock:  # type: ignore[attr-defined]
            self._writer.append(self._episode.end(terminated, truncated, agent, None))
