"""What is played: which games, how often, in which order, with which seeds."""

from __future__ import annotations

import sys
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil

import numpy as np

from oreo_agents.agents.agent import Assignment
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import ConfigurationError
from oreo_agents.trajectory import Trajectory

UNLIMITED = 100_000
"""So many games, and no more, are played without a limit; the generated splits have a million."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """All games in a random order that depends on ``seed`` alone, each once before any comes again.

    Of games without end, as many are played as the limit allows, each ``episodes_per_game`` times.

    Raises:
        ConfigurationError: a number is out of range.
    """

    episodes_per_game: int = 1
    """How often each game is played; the searching expert searches differently each time."""
    seed: int = 0
    """Of everything random."""
    shard: tuple[int, int] = (0, 1)
    """(i, n): every n-th game, beginning with the i-th."""
    limit: int | None = None
    """At most this many episodes of the shard."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigurationError(f"seed is {self.seed}, it must be at least 0")
        if not 0 <= self.shard[0] < self.shard[1]:
            raise ConfigurationError(
                f"shard {self.shard[0]}/{self.shard[1]}: shards of n are numbered 0/n to n-1/n"
            )
        if min(self.episodes_per_game, 1 if self.limit is None else self.limit) < 1:
            raise ConfigurationError("episodes per game and limit must be at least 1")
        if self.limit is not None and self.limit > sys.maxsize:
            raise ConfigurationError(
                f"limit is {self.limit:,}, more than can be counted: leave it out to play all games"
            )

    def assign(self, games: Sequence[str]) -> list[Assignment]:
        """Every episode of the shard, in the order of play.

        Args:
            games: the names of all games.

        Raises:
            ConfigurationError: there are no games for this shard, or a million of them and no limit.
        """
        if self.limit is None and len(games) > UNLIMITED:
            raise ConfigurationError(f"there are {len(games):,} games: say how many episodes to record")
        index, count = self.shard
        order = np.random.default_rng(self.seed).permutation(len(games))[
            index::count
        ]  # of up to a million games
        if not len(order):
            raise ConfigurationError(f"shard {index}/{count} is empty: there are {len(games)} games")
        if self.limit is not None and len(games) > UNLIMITED:  # else no game would ever come again
            order = order[: ceil(self.limit / self.episodes_per_game)]
        episodes = (
            self._assignment(games[game], repeat)
            for repeat in range(self.episodes_per_game)
            for game in order
        )
        return list(islice(episodes, self.limit))

    def _assignment(self, game: str, repeat: int) -> Assignment:
        seed = zlib.crc32(f"{self.seed}/{game}/{repeat}".encode())
        return Assignment(game, seed, style=self.seed + repeat)


EVERY_GAME_ONCE = Schedule()


def assign_games(games: Sequence[int], seed: int) -> list[Assignment]:
    """One episode on each of ``games``, in their order; a game that stands twice is played with other randomness."""
    return [Assignment(game, seed * 1_000_003 + i) for i, game in enumerate(games)]


def restore_order(played: Iterable[Trajectory], plan: Sequence[Assignment]) -> Iterator[Trajectory]:
    """Episodes in the order of the plan that they are of, each as soon as it and all before it have ended."""
    upcoming, ended = 0, dict[tuple[object, int | None], deque[Trajectory]]()
    for trajectory in played:
        ended.setdefault((trajectory.game, trajectory.seed), deque()).append(trajectory)
        while upcoming < len(plan) and (name := (plan[upcoming].game, plan[upcoming].seed)) in ended:
            upcoming += 1
            first = ended[name].popleft()
            if not ended[name]:
                del ended[name]
            yield first
    for rest in ended.values():  # an environment that calls a game by another name than its list does
        yield from rest


def list_lacking(plan: Sequence[Assignment], writer: TrajectoryWriter, agent: str) -> list[Assignment]:
    """What of a plan is still to be played: many at once do not end in order, so an interruption leaves gaps."""
    from oreo_agents.dataset import load_trajectories

    there = load_trajectories(writer.path)
    known = set(zip(there.games, there.agents, there.column("seed"), strict=True))
    counts = Counter(episode.game for episode in plan)
    counts.subtract({game: writer.count(str(game), agent) for game in counts})
    lacking = []
    for episode in reversed(plan):
        if counts[episode.game] > 0 and (episode.game, agent, episode.seed) not in known:
            counts[episode.game] -= 1
            lacking.append(episode)
    return lacking[::-1]
