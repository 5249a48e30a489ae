"""``oreo-agents replay``: step through recorded episodes, or print them where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from rich.console import RenderableType
from rich.text import Text

from oreo_agents.environments import replay_environment
from oreo_agents.rollout.verify import Deviation, replay
from oreo_agents.terminal.cursor import Cursor
from oreo_agents.terminal.palette import Ground, open_console
from oreo_agents.terminal.views import SideBySide, Transcript
from oreo_agents.trajectory import Trajectory


def contains_text(trajectory: Trajectory, text: str) -> bool:
    """Whether ``text`` occurs in anything said or done, in any case."""
    texts = [trajectory.task, trajectory.game, trajectory.final_observation]
    for turn in trajectory.turns:
        texts += (turn.observation, turn.action)
    return text.casefold() in "\n".join(texts).casefold()


class Verifier:
    """Plays episodes again, each once and when it is first asked for, beside whatever else goes on."""

    def __init__(self, env: gym.Env) -> None:
        self.env, self.pool = env, ThreadPoolExecutor(max_workers=1)
        self._running: dict[int, Future[Sequence[Deviation]]] = {}

    def result(self, place: int, trajectory: Trajectory) -> Sequence[Deviation]:
        """What came out otherwise in the episode at ``place``; waits until that is known."""
        return self._start(place, trajectory).result()

    def so_far(self, place: int, trajectory: Trajectory) -> Sequence[Deviation] | None:
        """The same without waiting: None while it is not known."""
        running = self._start(place, trajectory)
        return running.result() if running.done() else None

    def _start(self, place: int, trajectory: Trajectory) -> Future[Sequence[Deviation]]:
        if place not in self._running:
            self._running[place] = self.pool.submit(lambda: list(replay(self.env, trajectory)))
        return self._running[place]


@contextmanager
def open_verifier(episodes: Any, wanted: bool, named: Sequence[str] = ()) -> Iterator[Verifier | None]:
    """A verifier in the environment that the episodes were recorded in, if one is wanted.

    Args:
        episodes: a dataset.
        wanted: whether there is to be one.
        named: ids of environments that the user named, with their modules.
    """
    if not wanted:
        yield None
        return
    env = replay_environment(episodes.agreed("env_spec"), named=named)
    found = Verifier(env)
    try:
        yield found
    finally:
        found.pool.shutdown(cancel_futures=True)
        env.close()


def print_all(cursor: Cursor, single: bool, ground: Ground | None = None) -> int:
    """Print whole episodes, one or all; 1 if one of them did not happen again."""
    console = open_console(ground)
    same = True
    for place in [cursor.episode] if single else range(len(cursor.episodes)):
        cursor.episode = place
        for renderable in render_steps(cursor):
            console.print(renderable)
        console.print(Text(cursor.conclusion()), "", sep="\n")
        same = same and not cursor.differences()
    return 0 if same else 1


def render_steps(cursor: Cursor) -> Iterator[RenderableType]:
    """All steps of an episode, beside those of another run where there is one."""
    trajectory, other = cursor.trajectory, cursor.other
    if other is None:
        yield Transcript(trajectory)
        return
    for step in range(max(len(trajectory), len(other)) + 1):
        yield SideBySide((trajectory, other), cursor.titles, step)
        yield Text()
