"""Recording is a wrapper: the agent and the environment behave as if it were not there.

Knows nothing about files; :class:`~oreo_agents.dataset.TrajectoryWriter` does that.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from oreo_envs.catalog import describe

from oreo_agents.dataset.meta import meta_so_far
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Action, Trajectory, Turn


class EpisodeBuilder:
    """One episode while it is played: takes what an environment returns, gives a :class:`Trajectory`."""

    __slots__ = ("_admissible", "_task", "_turns", "metadata", "observation", "seed")

    def __init__(self, observation: str, info: Mapping[str, Any], seed: int | None = None) -> None:
        """Begin with what ``reset`` returned."""
        self.observation, self._admissible, self.seed = observation, _admissible(info), seed
        self._task = {name: str(info.get(name, "")) for name in ("game", "task", "task_type")}
        self._turns: list[Turn] = []
        self.metadata: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, action: str, observation: str, reward: float, info: Mapping[str, Any]) -> None:
        """Add the action and what ``step`` returned for it."""
        sampled = action if isinstance(action, Action) else _UNSAMPLED
        self._turns.append(
            Turn(
                observation=self.observation,
                action=str(action) if isinstance(action, Action) else action,
                reward=float(reward),
                action_status=info.get("action_status"),
                token_ids=sampled.token_ids,
                logprobs=sampled.logprobs,
                value=sampled.value,
                candidates=sampled.candidates,
                admissible_commands=self._admissible,
            )
        )
        self.observation, self._admissible = observation, _admissible(info)

    def end(
        self, terminated: bool, truncated: bool, env_id: str, agent: str, tokenizer: str | None
    ) -> Trajectory:
        """The finished episode; neither terminated nor truncated when it was abandoned."""
        return Trajectory(
            turns=tuple(self._turns),
            env_id=env_id,
            **self._task,
            seed=self.seed,
            agent=agent,
            tokenizer=tokenizer,
            terminated=bool(terminated),
            truncated=bool(truncated),
            final_observation=self.observation,
            metadata=self.metadata,
        )


def _admissible(info: Mapping[str, Any]) -> tuple[str, ...] | None:
    commands = info.get("admissible_commands")
    return None if commands is None else tuple(commands)


_UNSAMPLED = Action("")


class RecordTrajectories(gym.Wrapper, RecordConstructorArgs):
    """Record every episode of a text environment, or of a vector of them, to a dataset.

    An unseeded ``reset`` draws a seed, uses it and stores it; the draws follow from the last seed given, so
    seeded programs stay reproducible. Actions that are :class:`~oreo_agents.trajectory.Action` have their
    token ids, log-probabilities, value and candidates stored. An episode that is abandoned by ``reset`` or
    ``close`` is stored as neither terminated nor truncated, unless ``discard`` came first. ``close`` compacts the
    dataset.

    >>> env = RecordTrajectories(gym.make("OREO-ALFWorld"), "episodes", agent="me")  # doctest: +SKIP

    Args:
        env: observations and actions are text. For a ``VectorEnv`` the result is a
            :class:`RecordVectorTrajectories`.
        path: folder of the dataset; one that exists is continued.
        agent: who plays, stored with each episode.
        tokenizer: fingerprint of the tokenizer and chat template behind the actions' token ids.
        author: stored in the dataset's ``meta.json``.
        licence: stored in the dataset's ``meta.json``.

    Raises:
        DatasetError: ``path`` cannot be recorded into, or holds episodes of another environment.
    """

    def __new__(cls, env: gym.Env | VectorEnv, *args: Any, **kwargs: Any) -> Any:
        """Choose the variant for vector environments."""
        if isinstance(env, VectorEnv):
            return RecordVectorTrajectories(env, *args, **kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        env: gym.Env,
        path: str | os.PathLike[str],
        agent: str = "",
        tokenizer: str | None = None,
        author: str | None = None,
        licence: str | None = None,
    ) -> None:
        described = {"agent": agent, "tokenizer": tokenizer, "author": author, "licence": licence}
        RecordConstructorArgs.__init__(self, **{"path": str(path), **described})  # type: ignore[arg-type]
        super().__init__(env)
        self.agent, self.tokenizer = agent, tokenizer
        self.writer = _writer(env, path, author, licence)
        self._env_id = _env_id(env)
        self._seeds = _Seeds()
        self._episode: EpisodeBuilder | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Store what was going on, and begin an episode."""
        self._finish(False, False)
        seed = self._seeds.next(seed)
        observation, info = self.env.reset(seed=seed, options=options)
        self.writer.set_dialect(dialect_of(self.env.unwrapped))
        self._episode = EpisodeBuilder(observation, info, seed)
        if options and "game" not in info:
            self._episode.metadata["options"] = options
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take a step and remember it; the end of the episode writes it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._episode is not None:
            self._episode.add(action, observation, float(reward), info)
            if terminated or truncated:
                self._finish(terminated, truncated)
        return observation, reward, terminated, truncated, info  # type: ignore[return-value]

    def annotate(self, **metadata: Any) -> None:
        """Add JSON values to the metadata of the episode in progress; call it before the last step."""
        if self._episode is not None:
            self._episode.metadata.update(metadata)

    def discard(self) -> None:
        """Forget the episode in progress: what is left of it is not stored."""
        self._episode = None

    def close(self) -> None:
        """Store what was going on, compact the dataset and close the environment."""
        try:
            self._finish(False, False)
        finally:
            self.writer.close()
            self.env.close()

    def _finish(self, terminated: bool, truncated: bool) -> None:
        episode, self._episode = self._episode, None
        if episode:
            self.writer.append(episode.end(terminated, truncated, self._env_id, self.agent, self.tokenizer))


class RecordVectorTrajectories(VectorWrapper, RecordConstructorArgs):
    """:class:`RecordTrajectories` for vector environments, in each of Gymnasium's autoreset modes.

    Episodes that the environment starts by itself are stored without a seed, because nobody outside knows
    it; their game is still in the info.
    """

    def __init__(
        self,
        env: VectorEnv,
        path: str | os.PathLike[str],
        agent: str = "",
        tokenizer: str | None = None,
        author: str | None = None,
        licence: str | None = None,
    ) -> None:
        described = {"agent": agent, "tokenizer": tokenizer, "author": author, "licence": licence}
        RecordConstructorArgs.__init__(self, **{"path": str(path), **described})  # type: ignore[arg-type]
        super().__init__(env)
        self.agent, self.tokenizer = agent, tokenizer
        self.writer = _writer(env, path, author, licence)
        self._env_id = _env_id(env)
        self._seeds = _Seeds()
        self._mode = AutoresetMode((env.metadata or {}).get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._wording: str | None = None
        self._episodes: list[EpisodeBuilder | None] = [None] * env.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every environment, or in those that ``options["reset_mask"]`` names."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = self._seeds.spread(seed, self.num_envs)
        for index in np.flatnonzero(mask).tolist():
            self._finish(index, False, False)
        observations, infos = self.env.reset(seed=seeds, options=options)  # type: ignore[arg-type]
        self.writer.set_dialect(self._dialect())
        for index in np.flatnonzero(mask).tolist():
            self._episodes[index] = EpisodeBuilder(observations[index], info_of(infos, index), seeds[index])
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every environment and remember it; ends of episodes write them."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        for index, action in enumerate(actions):
            outcome = observations[index], rewards[index], terminated[index], truncated[index]
            self._add(index, action, *outcome, info_of(infos, index))
        return observations, rewards, terminated, truncated, infos

    def annotate(self, index: int, **metadata: Any) -> None:
        """Add JSON values to the metadata of the episode in progress in environment ``index``."""
        episode = self._episodes[index]
        if episode is not None:
            episode.metadata.update(metadata)

    def close(self, **kwargs: Any) -> None:
        """Store what was going on, compact the dataset and close the environments."""
        try:
            for index in range(self.num_envs):
                self._finish(index, False, False)
        finally:
            self.writer.close()
            self.env.close(**kwargs)

    def _add(
        self,
        index: int,
        action: str,
        observation: str,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: dict[str, Any],
    ) -> None:
        episode = self._episodes[index]
        if episode is None:  # this step was the autoreset, which ignores the action
            if self._mode is AutoresetMode.NEXT_STEP:
                self._episodes[index] = EpisodeBuilder(observation, info)
        elif not (terminated or truncated):
            episode.add(action, observation, reward, info)
        elif self._mode is AutoresetMode.SAME_STEP:  # observation and info are the next episode's already
            episode.add(action, info["final_obs"], reward, info.get("final_info", {}))
            self._finish(index, terminated, truncated)
            self._episodes[index] = EpisodeBuilder(observation, info)
        else:
            episode.add(action, observation, reward, info)
            self._finish(index, terminated, truncated)

    def _dialect(self) -> str | None:
        """As :func:`dialect_of`; environments in other processes are asked where it is known that they answer."""
        envs: Any = self.env.unwrapped
        if hasattr(envs, "envs"):
            return dialect_of(envs.envs[0].unwrapped)
        spec = self.env.spec
        if self._wording is None and spec is not None and describe(spec.id).worded:
            self._wording = envs.get_attr("wording")[0]
        return self._wording

    def _finish(self, index: int, terminated: bool, truncated: bool) -> None:
        episode, self._episodes[index] = self._episodes[index], None
        if episode:
            self.writer.append(episode.end(terminated, truncated, self._env_id, self.agent, self.tokenizer))


def info_of(infos: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The info of one environment, out of the info of a vector environment."""
    return {
        name: info_of(values, index) if isinstance(values, dict) else values[index]
        for name, values in infos.items()
        if not name.startswith("_") and infos.get(f"_{name}", _ALWAYS)[index]
    }


class _Always:
    def __getitem__(self, index: int) -> bool:
        return True


_ALWAYS = _Always()


class _Seeds:
    """Draws a seed where none was given; the draws follow from the last given one."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng()

    def next(self, seed: int | None) -> int:
        if seed is not None:
            self._generator = np.random.default_rng(seed)
            return seed
        return int(self._generator.integers(2**31))

    def spread(self, seed: int | Sequence[int | None] | None, count: int) -> list[int]:
        """One seed per environment, as Gymnasium's vector environments derive them."""
        if seed is None:
            return [self.next(None) for _ in range(count)]
        if isinstance(seed, (int, np.integer)):
            self.next(int(seed))
            return [int(seed) + index for index in range(count)]
        return [self.next(one) for one in seed]


def _writer(
    env: Any, path: str | os.PathLike[str], author: str | None, licence: str | None
) -> TrajectoryWriter:
    return TrajectoryWriter(path, env_spec=spec_for(path, env), author=author, licence=licence)


def spec_for(path: str | os.PathLike[str], env: Any) -> EnvSpec | None:
    """``env.spec`` as the dataset at ``path`` keeps it: a split that nobody asked for depends on the data found, and
    is named in it.

    Raises:
        DatasetError: the dataset is of another environment, or of other games and nobody asked for these.
    """
    stored = meta_so_far(Path(path)).env_spec or {}
    if env.spec is None:
        return None
    if stored.get("id", env.spec.id) != env.spec.id:
        raise DatasetError(f"{path}: is of {stored['id']}, not {env.spec.id}; record into another folder")
    entry = describe(env.spec.id)
    if any(env.spec.kwargs.get(name) is not None for name in ("split", entry.games_argument)):
        return env.spec
    split = entry.games.default_split()
    if split is None:
        return env.spec
    kept = stored.get("kwargs") or {}
    before = kept.get(entry.games_argument) or kept.get("split") or split
    if before != split:
        raise DatasetError(
            f"{path}: is of {before!r}, and {split!r} is what is played here where neither split nor games are "
            "named: name them, or record into another folder"
        )
    spec = copy.copy(env.spec)
    spec.kwargs = {**spec.kwargs, "split": split}
    return spec


def dialect_of(env: Any) -> str | None:
    """How an environment words commands, where that can differ from game to game; else None."""
    return getattr(env, "wording", None)


def _env_id(env: Any) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
