"""Success rates: an agent on a fixed list of games, with intervals."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.environments import MakeEnv, games_of
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.evaluation.results import Result, summarise_episodes
from oreo_agents.rollout.loop import Spread, Watch, look_away, rollout, stay_here, stop_alike
from oreo_agents.rollout.schedule import assign_games
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.agents.agent import Agent, Assignment, Decision


def pick_games(make_env: MakeEnv, n: int | None, seed: int = 0) -> list[int]:
    """Indices of ``n`` games: all of them in order, or a sample that depends on ``seed`` alone."""
    total = len(games_of(make_env()))
    if n is None or n >= total:
        if total > 100_000:
            raise ConfigurationError("this split has no end: say how many games with --episodes")
        return list(range(total))
    return random.Random(seed).sample(range(total), n)


def play_games(
    make_env: MakeEnv,
    agent: Agent,
    games: Sequence[int],
    seed: int = 0,
    slots: int = 64,
    watch: Watch = look_away,
    name: str = "",
    journal: TrajectoryWriter | None = None,
    spread: Spread = stay_here,
) -> list[Trajectory]:
    """One episode on each of ``games``, in their order; each has ``metadata["seconds"]``, its share of wall time.

    Args:
        make_env: the environment.
        agent: who plays.
        games: indices; one that stands twice is played twice, with other randomness.
        seed: of environment and agent.
        slots: episodes at once.
        watch: shows how it goes.
        name: under which name.
        journal: keeps finished episodes; those it has are not played again. Episodes that failed for reasons
            outside the policy are not kept, so that the next run tries them again.
        spread: where it happens: here, or where :meth:`oreo_agents.rollout.ray_pool.RayPool.spread` says.

    Raises:
        EpisodeError: the environment fails in the same way in the first episodes, all of them.
    """
    episodes = assign_games(games, seed)
    kept = {} if journal is None else {episode.seed: episode for episode in load_trajectories(journal.path)}
    waiting = [episode for episode in episodes if episode.seed not in kept]
    played = spread(_time_episodes)(make_env, waiting, agent, slots)
    if not kept:
        played = stop_alike(played, waiting)
    for trajectory in watch(played, len(waiting), name):
        kept[trajectory.seed] = trajectory
        if journal is not None and not trajectory.metadata.get("failed"):
            journal.append(trajectory)
    return [kept[episode.seed] for episode in episodes]


def _time_episodes(
    make_env: MakeEnv, episodes: Iterable[Assignment], agent: Agent, slots: int
) -> Iterator[Trajectory]:
    clock = _Clock(agent)
    for trajectory in rollout(make_env, episodes, clock, slots):
        seconds = clock.seconds.pop(trajectory.seed or 0)
        yield replace(trajectory, metadata={**trajectory.metadata, "seconds": seconds})


class _Clock:
    """An agent that divides the wall time of its decisions among the episodes they are for."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.name = agent, agent.name
        self.tokenizer_fingerprint, self.needs = agent.tokenizer_fingerprint, agent.needs
        self.prepare, self.follow = agent.prepare, agent.follow
        self.apart, self.cancel = getattr(agent, "apart", False), getattr(agent, "cancel", lambda: None)
        self._deciding, self._counting = 0, threading.Lock()
        self.seconds: dict[int, float] = {}
        self._episodes: dict[int, int] = {}

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        self.agent.begin(slots, assignments)
        seeds = [assignment.seed for assignment in assignments]
        self._episodes.update(zip(slots, seeds, strict=True))
        self.seconds.update(dict.fromkeys(seeds, 0.0))

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        start, together = time.perf_counter(), self._count(len(slots))
        try:
            decisions = self.agent.act_many(slots, observations, infos)
        finally:
            self._count(-len(slots))
        share = (time.perf_counter() - start) / together
        for slot in slots:
            self.seconds[self._episodes[slot]] += share
        return decisions

    def _count(self, change: int) -> int:
        """Of how many episodes decisions are waited for, from now on."""
        with self._counting:
            self._deciding += change
            return self._deciding


def evaluate(
    make_env: MakeEnv,
    agent: Agent,
    games: Sequence[int],
    method: str,
    seed: int = 0,
    slots: int = 64,
    watch: Watch = look_away,
    journal: TrajectoryWriter | None = None,
    partly: bool = False,
    spread: Spread = stay_here,
) -> tuple[Result, list[Trajectory]]:
    """Play every game once, or continue where ``journal`` stopped; the result and the episodes.

    Raises:
        EngineError: episodes could not be played for reasons outside the policy; with ``partly`` only if all of them.
        EpisodeError: see :func:`play_games`.
    """
    trajectories = play_games(make_env, agent, games, seed, slots, watch, method, journal, spread)
    result = summarise_episodes(trajectories, method)
    if result.errors and not partly:
        raise EngineError(result.describe_errors())
    return result, trajectories
