"""Recording vector environments, in each of Gymnasium's autoreset modes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from oreo_envs.catalog import describe

from oreo_agents.errors import EpisodeError
from oreo_agents.rollout.destination import (
    SeedSource,
    dialect_of,
    find_spec,
    name_environment,
    name_episode,
    open_writer,
)
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return


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
        self.writer = open_writer(env, path, author, licence)
        self._env_id = name_environment(env)
        self._seeds = SeedSource()
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
            self._episodes[index] = self._begin(observations[index], info_of(infos, index), seeds[index])
        return observations, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take a step in every environment and remember it; ends of episodes write them.

        Raises:
            EpisodeError: a reward is no finite number, or an observation no text; that episode is not stored.
        """
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        failures: list[EpisodeError] = []
        for index, action in enumerate(actions):
            outcome = observations[index], rewards[index], terminated[index], truncated[index]
            try:
                self._add(index, action, *outcome, info_of(infos, index))
            except EpisodeError as error:  # the others go on
                failures.append(error)
        if failures:
            raise failures[0]
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
                self._episodes[index] = self._begin(observation, info)
        elif not (terminated or truncated):
            episode.add(action, observation, reward, info)
        elif self._mode is AutoresetMode.SAME_STEP:  # observation and info are the next episode's already
            episode.add(action, info["final_obs"], reward, info.get("final_info", {}))
            self._finish(index, terminated, truncated)
            self._episodes[index] = self._begin(observation, info)
        else:
            episode.add(action, observation, reward, info)
            self._finish(index, terminated, truncated)

    def _begin(self, observation: str, info: dict[str, Any], seed: int | None = None) -> EpisodeBuilder:
        named, threshold = name_episode(info, seed), find_success_return(find_spec(self.env))
        return EpisodeBuilder(observation, named, self._env_id, seed, threshold)

    def _dialect(self) -> str | None:
        """As :func:`dialect_of`; environments in other processes are asked where it is known that they answer."""
        envs: Any = self.env.unwrapped
        if hasattr(envs, "envs"):
            return dialect_of(envs.envs[0].unwrapped)
        spec = self.env.spec
        if self._wording is None and spec is not None and describe(spec.id).wordings:
            self._wording = envs.get_attr("wording")[0]
        return self._wording

    def _finish(self, index: int, terminated: bool, truncated: bool) -> None:
        episode, self._episodes[index] = self._episodes[index], None
        if episode and not episode.failed:
            self.writer.append(episode.end(terminated, truncated, self.agent, self.tokenizer))


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
