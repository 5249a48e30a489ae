"""Recording is a wrapper: the agent and the environment behave as if it were not there.

Knows nothing about files; :class:`~oreo_agents.dataset.TrajectoryWriter` does that.
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from oreo_agents.rollout.destination import (
    SeedSource,
    dialect_of,
    name_environment,
    name_episode,
    open_writer,
)
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return
from oreo_agents.rollout.vector_wrapper import RecordVectorTrajectories


class RecordTrajectories(gym.Wrapper, RecordConstructorArgs):
    """Record every episode of a text environment, or of a vector of them, to a dataset.

    An unseeded ``reset`` draws a seed, uses it and stores it; the draws follow from the last seed given, so
    seeded programs stay reproducible. An episode whose game the environment does not name is called after its seed.
    Actions that are :class:`~oreo_agents.trajectory.Action` have their token ids, log-probabilities, value and
    candidates stored. An episode that is abandoned by ``reset`` or ``close`` is stored as neither terminated nor
    truncated, unless ``discard`` came first. ``close`` compacts the dataset.

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
        self.writer = open_writer(env, path, author, licence)
        self._env_id = name_environment(env)
        self._seeds = SeedSource()
        self._episode: EpisodeBuilder | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Store what was going on, and begin an episode."""
        self._finish(False, False)
        seed = self._seeds.next(seed)
        observation, info = self.env.reset(seed=seed, options=options)
        self.writer.set_dialect(dialect_of(self.env.unwrapped))
        named, threshold = name_episode(info, seed, options), find_success_return(self.env.spec)
        self._episode = EpisodeBuilder(observation, named, self._env_id, seed, threshold)
        if options and "game" not in info:
            self._episode.metadata["options"] = options
        return observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take a step and remember it; the end of the episode writes it.

        Raises:
            EpisodeError: the reward is no finite number, or the observation no text; the episode is not stored.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._episode is not None:
            self._episode.add(action, observation, reward, info)
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
        if episode and not episode.failed:
            self.writer.append(episode.end(terminated, truncated, self.agent, self.tokenizer))
