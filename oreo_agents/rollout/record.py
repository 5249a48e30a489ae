"""Games played by an agent and recorded: the function behind ``oreo-agents record``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from oreo_envs.catalog import describe
from oreo_envs.errors import EpisodeError

from oreo_agents.agents.agent import Agent, Assignment, options_for
from oreo_agents.dataset.writer import TrajectoryWriter, require_dialect
from oreo_agents.environments import MakeEnv, choose_environment, environments, games_of, source_options
from oreo_agents.errors import ConfigurationError
from oreo_agents.printable import make_printable
from oreo_agents.rollout.destination import (
    dialect_of,
    introduce_player,
    list_spec_changes,
    place_shard,
    spec_for,
)
from oreo_agents.rollout.loop import (
    ALIKE,
    Spread,
    Watch,
    look_away,
    raise_alike,
    rollout,
    stay_here,
    stop_alike,
)
from oreo_agents.rollout.schedule import EVERY_GAME_ONCE, Schedule, list_lacking, restore_order
from oreo_agents.trajectory import Trajectory, count_cut, describe_cuts

AT_ONCE = 64
"""Episodes that a model plays at once."""


@dataclass(slots=True)
class Recording:
    """What a recording came to."""

    path: Path
    episodes: int = 0
    successes: int = 0
    undefined: int = 0
    """Of the episodes played now, those of which the environment did not say whether they were won."""
    mean_return: float = 0.0
    turns: int = 0
    cut: int = 0
    """Turns whose reply was cut at the limit on its tokens."""
    already_there: int = 0
    """Episodes of this recording that an earlier run had made."""
    of_others: int = 0
    """Episodes that somebody else, or the same player otherwise, had recorded into the dataset before."""
    others: tuple[str, ...] = ()
    """Who these players are."""
    changes: tuple[str, ...] = ()
    """In what the environment is not as it was when the dataset was begun."""
    failed: int = 0
    """Episodes that could not be played for reasons outside the policy, and are not recorded."""
    reason: str = ""
    """Why the first of them could not."""
    seconds: float = 0.0

    @property
    def defines_success(self) -> bool:
        """Whether the environment has said of an episode played now whether it was won; those of which it said nothing
        were not."""
        return not self.episodes or self.undefined < self.episodes

    @property
    def success_rate(self) -> float:
        """Won episodes of those played now."""
        return self.successes / self.episodes if self.episodes else 0.0

    def __str__(self) -> str:
        if not self.episodes and not self.failed:
            return f"{self.path}: all {self.already_there} episodes were there before"
        return (
            f"{self.path}: {self.episodes} episodes in {self.seconds:.1f} s "
            f"({self.episodes / max(self.seconds, 1e-9):.3g}/s), {self._describe_success()}, "
            f"{self.turns / max(self.episodes, 1):.1f} turns each"
            + (f"; {self.already_there} were there before" if self.already_there else "")
            + (f"; beside {self.of_others} of {', '.join(self.others)}" if self.of_others else "")
            + (f"; other options than before: {', '.join(self.changes)}" if self.changes else "")
            + (f"; {cuts}" if (cuts := describe_cuts(self.cut, self.turns)) else "")
            + (f"; {self.failed} could not be played: {make_printable(self.reason)}" if self.failed else "")
        )

    def _describe_success(self) -> str:
        return (
            f"{self.success_rate:.1%} won" if self.defines_success else f"mean return {self.mean_return:.3g}"
        )

    def fail(self, reason: str) -> None:
        """An episode could not be played."""
        self.failed += 1
        self.reason = self.reason or reason

    def add(self, trajectory: Trajectory) -> None:
        """An episode was played and recorded."""
        self.episodes += 1
        self.successes += bool(trajectory.success)
        self.undefined += trajectory.success is None
        self.mean_return += (trajectory.return_ - self.mean_return) / self.episodes
        self.turns += len(trajectory)
        self.cut += count_cut(trajectory)


def record(
    agent: Agent,
    path: str | os.PathLike[str],
    env_id: str | None = None,
    *,
    schedule: Schedule = EVERY_GAME_ONCE,
    slots: int | None = None,
    max_steps: int | None = None,
    watch: Watch = look_away,
    spread: Spread = stay_here,
    author: str | None = None,
    licence: str | None = None,
    **options: Any,
) -> Recording:
    """Let an agent play games and record every episode; run again, it continues where it stopped.

    Episodes are recorded in the order of the schedule, however many are played at once and wherever, so that the same
    schedule makes the same dataset. One that has ended before others that come before it waits for them in memory.

    The dataset notes who an :class:`oreo_agents.OreoAgent` is, its weights and how it chooses, and takes no episodes
    of another one by the same name.

    Args:
        agent: who plays; see :func:`oreo_agents.agents.load.load_agent`.
        path: folder of the dataset. A shard of several writes to ``path/part-I-of-N``, and
            ``load_trajectories(path)`` reads all parts.
        env_id: a Gymnasium id of a text environment; without a list of games, an episode is its seed. None: where the
            agent was trained, if that is one of this package's environments, else ALFWorld.
        schedule: what is played; episodes recorded before count towards its limit.
        slots: episodes at once, of each worker where there are several. By default a model, whose actions have token
            ids, plays 64; others play one after the other.
        max_steps: step limit of an episode; None: the environment's.
        watch: shows how it goes, such as :func:`oreo_agents.terminal.live.watch_episodes`.
        spread: where it happens: here, or where :meth:`oreo_agents.rollout.ray_pool.RayPool.spread` says.
        author: stored in the dataset.
        licence: stored in the dataset.
        options: of the environment, as for :func:`oreo_agents.environments.environments`: ``split``, ``games``,
            ``patience``, ...; what the agent needs to be told is added.

    Raises:
        ConfigurationError: there is no such environment, it does not tell what the agent needs, numbers are out of
            range, or there are a million games and no limit.
        DatasetError: ``path`` cannot be recorded into, or its wording is another one than a game's.
        DataNotFoundError: there are no such games.
        EpisodeError: none of the games can be opened, or an environment fails in the same way in all of the first
            episodes; where some can be played, the others are counted as failed.
    """
    if max_steps is not None and max_steps < 1:
        raise ConfigurationError("max steps must be at least 1")
    if env_id is None:
        learnt = getattr(agent, "environments", {})
        env_id, known = choose_environment(f"{agent.name} was trained in", learnt)
        games = options.get(describe(env_id).games_argument)
        options = source_options(env_id, games=games, known=known) | options
    if describe(env_id).foreign:
        options.setdefault("split", "train")
    make_env = environments(env_id, max_steps, **{**options, **options_for(agent)})
    env = make_env()
    plan = schedule.assign(games_of(env).names)
    recording = Recording(place_shard(Path(path), schedule.shard))
    _require_commands(agent, env, _open_first(env, plan))
    spec = spec_for(recording.path, env)
    recording.changes = tuple(list_spec_changes(recording.path, spec))
    description: dict[str, Any] = {
        "env_spec": spec,
        "author": author,
        "licence": licence,
    }
    dialect = dialect_of(env.unwrapped)
    description |= {"metadata": introduce_player(agent, recording.path), "dialect": dialect}
    slots = slots or (1 if agent.tokenizer_fingerprint is None else AT_ONCE)
    with TrajectoryWriter(recording.path, **description) as writer:
        waiting = list_lacking(plan, writer, agent.name)
        recording.already_there = len(plan) - len(waiting)
        recording.of_others = len(writer) - writer.count(agent=agent.name)
        recording.others = tuple(name for name in writer.list_agents() if name != agent.name)
        make_worded = partial(_make_worded, make_env, recording.path, dialect)
        played = spread(rollout)(make_worded, waiting, agent, slots)
        if not recording.already_there:
            played = stop_alike(played, waiting)
        watched = watch(played, len(waiting), "recording")
        start = time.perf_counter()
        for trajectory in restore_order(watched, waiting):
            if trajectory.metadata.get("failed"):  # no word on the policy; the next run tries it again
                recording.fail(trajectory.metadata["ended"])
                continue
            writer.append(trajectory)
            recording.add(trajectory)
            recording.seconds = time.perf_counter() - start
    return recording


def _make_worded(make_env: MakeEnv, path: Path, dialect: str | None) -> gym.Env[str, str]:
    return _OneWording(make_env(), path, dialect)


class _OneWording(gym.Wrapper):
    """Lets no game be played whose wording is not the dataset's."""

    def __init__(self, env: gym.Env[str, str], path: Path, dialect: str | None) -> None:
        super().__init__(env)
        self._path, self._dialect = path, dialect

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode; DatasetError if its wording is another one."""
        opening = self.env.reset(seed=seed, options=options)
        require_dialect(self._path, self._dialect, dialect_of(self.env.unwrapped))
        return opening


def _open_first(env: gym.Env, plan: Sequence[Assignment]) -> dict[str, Any]:
    """The info of the first game of a plan that can be begun; EpisodeError where none can."""
    broken, causes = EpisodeError(), list[str]()
    for episode in plan:
        try:
            return env.reset(options={"game": episode.game})[1]
        except EpisodeError as error:
            broken = error
            causes.append(error.cause)
            if len(causes) == ALIKE and len(set(causes)) == 1 and error.cause:
                raise_alike(str(error))
    raise broken


def _require_commands(agent: Agent, env: gym.Env, info: Mapping[str, Any]) -> None:
    chooses = "admissible_commands" in agent.needs
    if chooses and not info.get("admissible_commands") and "action_space" not in info:
        raise ConfigurationError(
            f"random and epsilon choose among admissible commands; {type(env.unwrapped).__name__} lists none"
        )
