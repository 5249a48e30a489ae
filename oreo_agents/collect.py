"""Many games played and recorded: by a searching expert, shortest plans, random commands, mixtures, or a model.

The functions behind ``oreo-agents record``. Scripted players go one game after the other; a model plays many at
once through :mod:`oreo_agents.rollout`.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium as gym
import numpy as np
from oreo_envs.catalog import DEFAULT_ID, describe
from oreo_envs.errors import GameFileError

from oreo_agents.agents import SEARCHES
from oreo_agents.agents.scripted import follows_plan, planned
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.printable import printable
from oreo_agents.recorder import RecordTrajectories, dialect_of, spec_for
from oreo_agents.tokenizer import ENTITY

if TYPE_CHECKING:
    from oreo_agents.agents import Agent
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.dataset.store import TrajectoryWriter

AGENTS = ("expert", "shortest", "random")

_NAME = re.compile(ENTITY)
UNLIMITED = 100_000
"""So many games, and no more, are played without a limit; the generated splits have a million."""


@dataclass(slots=True)
class Summary:
    """What a recording came to."""

    path: Path
    episodes: int = 0
    successes: int = 0
    turns: int = 0
    already_there: int = 0
    """Episodes of this recording that an earlier run had made."""
    failed: int = 0
    """Episodes that could not be played for reasons outside the policy, and are not recorded."""
    reason: str = ""
    """Why the first of them could not."""
    seconds: float = 0.0

    @property
    def success_rate(self) -> float:
        """Won episodes of those played now."""
        return self.successes / self.episodes if self.episodes else 0.0

    @property
    def speed(self) -> float:
        """Episodes per second."""
        return self.episodes / max(self.seconds, 1e-9)

    def notes(self) -> str:
        """Success rate and speed."""
        return f"{self.success_rate:.1%} won  {self.speed:.1f} episodes/s"

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.episodes} episodes in {self.seconds:.1f} s "
            f"({self.speed:.0f}/s), {self.success_rate:.1%} won, "
            f"{self.turns / max(self.episodes, 1):.1f} turns each; {self.already_there} were there before"
            + (f"; {self.failed} could not be played: {printable(self.reason)}" if self.failed else "")
        )

    def fail(self, reason: str) -> None:
        """An episode could not be played."""
        self.failed += 1
        self.reason = self.reason or reason


def record(
    agent: str,
    path: str | os.PathLike[str],
    env_id: str = DEFAULT_ID,
    *,
    episodes_per_game: int = 1,
    epsilon: float = 0.0,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    limit: int | None = None,
    max_steps: int = 50,
    progress: bool = True,
    author: str | None = None,
    licence: str | None = None,
    **options: Any,
) -> Summary:
    """Play games and record every episode; run again, it continues where it stopped.

    Games come in a random order that depends on ``seed`` alone, each once before any comes again.

    Args:
        agent: ``expert`` (in ALFWorld :class:`oreo_envs.alfworld.experts.searching.SearchingExpert`, elsewhere the
            environment's own solution, such as GSM8K's worked ones), ``shortest`` (the environment's plan, which
            in ALFWorld knows where everything is) or ``random`` (uniform over the admissible commands).
        path: folder of the dataset. A shard of several writes to ``path/part-I-of-N``, and
            ``load_trajectories(path)`` reads all parts.
        env_id: a Gymnasium id of a text environment with a list of games.
        episodes_per_game: how often each game is played; the expert searches differently each time.
        epsilon: probability that a turn's command is replaced by another one: half of them random
            admissible commands, half near misses that do nothing. The agent then recovers. The replaced
            turns are listed in the trajectory's ``metadata["noise_turns"]``.
        seed: of everything random.
        shard: (i, n): play every n-th game, beginning with the i-th.
        limit: at most this many episodes of this shard, those recorded before included.
        max_steps: step limit of an episode.
        progress: show a progress bar with success rate and episodes per second.
        author: stored in the dataset.
        licence: stored in the dataset.
        options: of the environment, as for ``gym.make(env_id)``: ``split``, ``games``, ...

    Raises:
        ConfigurationError: unknown agent, numbers out of range, or a million games and no limit.
        DatasetError: ``path`` cannot be recorded into.
        DataNotFoundError: there are no such games.
        GameFileError: none of them can be opened; where some can, the others are counted as failed.
    """
    _check_player(agent, epsilon)
    _check_amounts(seed, shard, episodes_per_game, limit, max_steps)
    if follows_plan(agent, env_id):
        options["expert"] = True
    env = environments(env_id, max_steps, **options)()
    plan = _plan(games_of(env).names, episodes_per_game, seed, shard, limit)
    name = f"{agent}-epsilon{epsilon:g}" if epsilon else agent
    summary = Summary(_part(Path(path), shard))
    info = _opened(env, plan)
    if epsilon or agent == "random":
        _require_commands(env, info)
    recorder = RecordTrajectories(env, summary.path, agent=name, author=author, licence=licence)
    try:
        waiting = [(game, repeat) for game, repeat in plan if recorder.writer.count(game, name) <= repeat]
        summary.already_there = len(plan) - len(waiting)
        _play_all(recorder, partial(_player, agent, env_id), waiting, epsilon, seed, summary, progress)
    except BaseException:
        recorder.discard()  # a game that was interrupted is played again
        raise
    finally:
        recorder.close()
    return summary


def record_rollouts(
    agent: Agent,
    path: str | os.PathLike[str],
    env_id: str = DEFAULT_ID,
    *,
    episodes_per_game: int = 1,
    seed: int = 0,
    shard: tuple[int, int] = (0, 1),
    limit: int | None = None,
    max_steps: int = 50,
    slots: int = 64,
    progress: bool = True,
    **options: Any,
) -> Summary:
    """Let a model play games, many at once, and record what it sampled; resumes like :func:`record`.

    The dataset notes who an :class:`oreo_agents.OreoAgent` is, its weights and how it chooses, and takes no episodes
    of another one by the same name.

    Args:
        agent: who plays, e.g. an :class:`oreo_agents.OreoAgent` with ``select="sample"``.
        path: folder of the dataset.
        env_id: a Gymnasium id of a text environment with a list of games.
        episodes_per_game: how often each game is played.
        seed: of the order of the games, the environment and the sampling.
        shard: (i, n): play every n-th game, beginning with the i-th.
        limit: at most this many episodes of this shard, those recorded before included.
        max_steps: step limit of an episode.
        slots: episodes at once.
        progress: show a progress bar with success rate and episodes per second.
        options: of the environment, as for ``gym.make(env_id)``: ``split``, ``games``, ...

    Raises:
        ConfigurationError: there is no such environment, it has a million games and there is no limit, or numbers
            are out of range.
        DatasetError: ``path`` cannot be recorded into.
        DataNotFoundError: there are no such games.
        GameFileError: none of them can be opened; where some can, the others are counted as failed.
    """
    from oreo_agents.dataset.store import TrajectoryWriter
    from oreo_agents.rollout import Episode, rollout

    _check_amounts(seed, shard, episodes_per_game, limit, max_steps)
    make_env = environments(env_id, max_steps, **options)
    env = make_env()
    plan = _plan(games_of(env).names, episodes_per_game, seed, shard, limit)
    summary = Summary(_part(Path(path), shard))
    _opened(env, plan)
    dialect = dialect_of(env.unwrapped)
    metadata = _introduced(agent, summary.path)
    spec = spec_for(summary.path, env)
    with TrajectoryWriter(summary.path, env_spec=spec, metadata=metadata, dialect=dialect) as writer:
        waiting = _lacking(plan, seed, writer, agent.name)
        summary.already_there = len(plan) - len(waiting)
        episodes = [Episode(game, _episode_seed(seed, game, repeat)) for game, repeat in waiting]
        played = rollout(make_env, episodes, agent, slots)
        start = time.monotonic()
        for _, trajectory in zip(_shown(waiting, summary, progress), played, strict=True):
            if trajectory.metadata.get("failed"):  # no word on the policy; the next run tries it again
                summary.fail(trajectory.metadata["ended"])
                continue
            writer.append(trajectory)
            summary.episodes += 1
            summary.successes += trajectory.success
            summary.turns += len(trajectory)
            summary.seconds = time.monotonic() - start
    return summary


# --------------------------------------------------------------------------------------------- players


class Player(Protocol):
    """Chooses commands for one episode at a time."""

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """An episode begins."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next command."""

    def observe(self, action: str, observation: str) -> None:
        """What a command led to, the player's own or another."""


class PlanFollower:
    """Follows ``info["expert_plan"]``, which is made anew after every step; looks where there is none."""

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The first command of the plan."""
        return planned(info)

    def observe(self, action: str, observation: str) -> None:
        """Nothing to remember."""


class RandomCommands:
    """Chooses uniformly among the admissible commands."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """Any admissible command."""
        return self._random.choice(info["admissible_commands"])

    def observe(self, action: str, observation: str) -> None:
        """Nothing to remember."""


class Noise:
    """Replaces commands now and then, by ones the player did not want."""

    def __init__(self, epsilon: float, random: Random) -> None:
        self.epsilon, self._random = epsilon, random
        self._offered: set[str] = set()
        self._missed: str | None = None  # the last slip, if it was a miss: a stubborn player tries again

    def disturb(self, command: str, admissible: Sequence[str]) -> str:
        """``command`` itself, or with probability epsilon another one."""
        self._offered.update(admissible)
        if self._random.random() >= self.epsilon:
            self._missed = None
            return command
        others = [other for other in admissible if other != command]
        pools = [others, self._near_misses(admissible), [self._missed] if self._missed else []]
        slip = self._random.choice(self._random.choice([pool for pool in pools if pool]))
        self._missed = None if slip in admissible else slip
        return slip

    def _near_misses(self, admissible: Sequence[str]) -> list[str]:
        """Commands that do nothing now: with a wrong name, about things elsewhere, or a number too high."""
        wrong = self._misnamed(8) + _beyond_the_last(admissible)
        return [miss for miss in wrong if miss not in admissible] + sorted(
            self._offered.difference(admissible)
        )

    def _misnamed(self, n: int) -> list[str]:
        """Commands of this episode, any verb as likely as another, with one name exchanged for another."""
        by_verb: dict[str, list[str]] = {}
        for command in sorted(self._offered):
            by_verb.setdefault(command.partition(" ")[0], []).append(command)
        names = sorted(set(_NAME.findall(" ".join(self._offered))))
        choose = self._random.choice
        commands = [choose(by_verb[choose(list(by_verb))]) for _ in range(n)]
        return [c.replace(choose(_NAME.findall(c)), choose(names)) for c in commands if _NAME.search(c)]


def _beyond_the_last(commands: Sequence[str]) -> list[str]:
    """``go to drawer 4`` where ``go to drawer 3`` has the highest number, and so on."""
    last: dict[str, int] = {}
    for command in commands:
        stem, _, number = command.rpartition(" ")
        if number.isdecimal():
            last[stem] = max(last.get(stem, 0), int(number))
    return [f"{stem} {number + 1}" for stem, number in last.items()]


# --------------------------------------------------------------------------------------------- playing


def _play_all(
    recorder: RecordTrajectories,
    new_player: Callable[[int, Random], Player],
    waiting: Sequence[tuple[str, int]],
    epsilon: float,
    seed: int,
    summary: Summary,
    progress: bool,
) -> None:
    begin = time.perf_counter()
    for game, repeat in _shown(waiting, summary, progress):
        episode_seed = _episode_seed(seed, game, repeat)
        random = Random(episode_seed)
        player = new_player(seed + repeat, random)
        try:
            won, turns = _play(recorder, player, Noise(epsilon, random), game, episode_seed)
        except GameFileError as error:
            summary.fail(str(error))
            continue
        summary.episodes += 1
        summary.successes += won
        summary.turns += turns
        summary.seconds = time.perf_counter() - begin


def _play(env: RecordTrajectories, player: Player, noise: Noise, game: str, seed: int) -> tuple[bool, int]:
    """Play one episode; whether it was won, and in how many turns."""
    observation, info = env.reset(seed=seed, options={"game": game})
    player.reset(observation, info)
    turns, noisy, won, ended = 0, [], False, False
    while not ended:
        wanted = player.act(observation, info)
        action = noise.disturb(wanted, info.get("admissible_commands", ()))
        if action != wanted:
            noisy.append(turns)
            env.annotate(noise_turns=noisy)
        observation, _, won, truncated, info = env.step(action)
        player.observe(action, observation)
        turns, ended = turns + 1, won or truncated
    return won, turns


def _player(agent: str, env_id: str, style: int, random: Random) -> Player:
    if agent == "random":
        return RandomCommands(random)
    if follows_plan(agent, env_id):
        return PlanFollower()
    return describe(env_id).make_expert(style)


def _plan(
    names: Sequence[str], episodes_per_game: int, seed: int, shard: tuple[int, int], limit: int | None
) -> list[tuple[str, int]]:
    """(game, how often it was played before) of every episode of a shard, in the order of play."""
    if limit is None and len(names) > UNLIMITED:
        raise ConfigurationError(f"there are {len(names):,} games: say how many episodes to record")
    index, count = shard
    order = np.random.default_rng(seed).permutation(len(names))[index::count]  # of up to a million games
    episodes = ((names[game], repeat) for repeat in range(episodes_per_game) for game in order)
    if not len(order):
        raise ConfigurationError(f"shard {index}/{count} is empty: there are {len(names)} games")
    return list(islice(episodes, limit))


def _lacking(
    plan: Sequence[tuple[str, int]], seed: int, writer: TrajectoryWriter, agent: str
) -> list[tuple[str, int]]:
    """What of a plan is still to be played: many at once do not end in order, so an interruption leaves gaps."""
    from oreo_agents.dataset import load_trajectories

    there = load_trajectories(writer.path)
    known = set(zip(there.games, there.agents, there.column("seed"), strict=True))
    counts = Counter(game for game, _ in plan)
    counts.subtract({game: writer.count(game, agent) for game in counts})
    lacking = []
    for game, repeat in reversed(plan):
        if counts[game] > 0 and (game, agent, _episode_seed(seed, game, repeat)) not in known:
            counts[game] -= 1
            lacking.append((game, repeat))
    return lacking[::-1]


def _introduced(agent: Agent, path: Path) -> dict[str, str]:
    """What a dataset notes of a model that plays for it: its name does not tell it from others of that name.

    Raises:
        DatasetError: the dataset at ``path`` has another one's episodes under its name.
    """
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.dataset.store import meta_so_far

    if not isinstance(agent, OreoAgent):
        return {}
    role, who = f"player {agent.name}", _description(agent)
    known = meta_so_far(path).metadata.get(role, who)
    if known != who:
        raise DatasetError(
            f"{path}: holds episodes of another {agent.name!r} ({known}; this one: {who}); "
            "record into another folder"
        )
    return {role: who}


def _description(agent: OreoAgent) -> str:
    """What decides, by a digest of the weights that does not depend on their type in memory, and how it does."""
    from oreo_agents.inference.endpoint import Endpoint

    served = isinstance(agent.policy, Endpoint)
    models: list[Any] = [None if served else agent.policy, agent.critic if agent.select in SEARCHES else None]
    digest = hashlib.sha256()
    for model in filter(None, models):
        for weights in model.parameters():
            digest.update(weights.detach().cpu().float().contiguous().numpy())
    told = [f"weights {digest.hexdigest()[:16]}", *([f"model {agent.policy.model}"] if served else [])]
    options = ("select", "k", "temperature", "logprob_weight", "max_new_tokens")
    return ", ".join([*told, *(f"{option} {getattr(agent, option)}" for option in options)])


def _episode_seed(seed: int, game: str, repeat: int) -> int:
    return zlib.crc32(f"{seed}/{game}/{repeat}".encode())


def _opened(env: gym.Env, plan: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The info of the first game of a plan whose file is sound; GameFileError where none is."""
    broken = GameFileError()
    for game, _ in plan:
        try:
            return env.reset(options={"game": game})[1]
        except GameFileError as error:
            broken = error
    raise broken


def _require_commands(env: gym.Env, info: Mapping[str, Any]) -> None:
    if "admissible_commands" not in info:
        raise ConfigurationError(
            f"random and epsilon choose among admissible commands; {type(env.unwrapped).__name__} lists none"
        )


def _part(path: Path, shard: tuple[int, int]) -> Path:
    """Where a shard is recorded; DatasetError where readers of ``path`` would not see all that is there then."""
    index, count = shard
    if count > 1 and (path / "meta.json").exists():
        raise DatasetError(f"{path}: is a dataset without shards; record shards into another folder")
    if count == 1 and (part := next(path.glob("part-*-of-*/meta.json"), None)):
        raise DatasetError(
            f"{path}: holds shards ({part.parent.name}); continue one of them, or record into another folder"
        )
    return path if count == 1 else path / f"part-{index}-of-{count}"


def _check_player(agent: str, epsilon: float) -> None:
    if agent not in AGENTS:
        raise ConfigurationError(f"there is no scripted agent {agent!r}; choose one of {', '.join(AGENTS)}")
    if not 0 <= epsilon < 1 or (epsilon and agent == "random"):
        raise ConfigurationError(
            f"epsilon={epsilon:g} for {agent}: choose 0 <= epsilon < 1, and 0 for random, which is all noise"
        )


def _check_amounts(
    seed: int, shard: tuple[int, int], episodes_per_game: int, limit: int | None, max_steps: int
) -> None:
    if seed < 0:
        raise ConfigurationError(f"seed is {seed}, it must be at least 0")
    if not 0 <= shard[0] < shard[1]:
        raise ConfigurationError(f"shard {shard[0]}/{shard[1]}: shards of n are numbered 0/n to n-1/n")
    if min(episodes_per_game, max_steps, 1 if limit is None else limit) < 1:
        raise ConfigurationError("episodes per game, limit and max steps must be at least 1")
    if limit is not None and limit > sys.maxsize:
        raise ConfigurationError(
            f"limit is {limit:,}, more than can be counted: leave it out to play all games"
        )


def _shown(waiting: Sequence[tuple[str, int]], summary: Summary, progress: bool) -> Iterable[tuple[str, int]]:
    """The episodes to play, while a progress bar shows what ``summary`` says."""
    if not progress:
        return waiting
    from oreo_agents.progress import track

    return track(waiting, len(waiting), "recording", summary.notes)
