"""An episode as every framework plays it: a text out, a text in, and what it was worth."""

from __future__ import annotations

from typing import Any

from gymnasium.error import ResetNeeded

from oreo_agents.environments import MakeEnv
from oreo_agents.rollout.episode import EpisodeBuilder, find_success_return


class TextEpisode:
    """Episodes of one environment, one after another; observations are the environment's own, byte for byte.

    Args:
        make: makes the environment; see :func:`oreo_agents.environments.environments`.
    """

    def __init__(self, make: MakeEnv) -> None:
        self.env = make()
        self._episode = EpisodeBuilder("", {})
        self.info: dict[str, Any] = {}
        self.reward = 0.0
        """Of the newest step."""
        self.truncated = False
        """Whether it was broken off, as at the step limit."""
        self.ended = True

    def begin(self, game: str | int | None = None, seed: int | None = None) -> str:
        """Begin an episode, and read the first observation.

        Args:
            game: its name or position; None: a random one.
            seed: of all that is random.

        Raises:
            DataNotFoundError: there is no such game.
        """
        self.ended = True  # where the game cannot be begun, there is no episode
        observation, self.info = self.env.reset(seed=seed, options=None if game is None else {"game": game})
        spec = self.env.unwrapped.spec
        env_id, threshold = spec.id if spec else "", find_success_return(spec)
        self._episode = EpisodeBuilder(observation, self.info, env_id, seed, threshold)
        self.reward, self.truncated, self.ended = 0.0, False, False
        return observation

    def act(self, command: str) -> str:
        """Carry out a command, and read what comes of it.

        Raises:
            EpisodeError: the environment cannot go on, or what it answers is nothing that could be stored.
            gymnasium.error.ResetNeeded: the episode is over, or none was begun.
        """
        if self.ended:
            raise ResetNeeded("The episode is over: no more commands.")
        observation, reward, terminated, truncated, self.info = self.env.step(command)
        self._episode.add(command, observation, reward, self.info)
        self.reward = float(reward)
        self.truncated = bool(truncated)
        self.ended = bool(terminated or truncated)
        return observation

    @property
    def turns(self) -> int:
        """How many commands were carried out."""
        return len(self._episode)

    @property
    def return_(self) -> float:
        """The sum of the rewards so far."""
        return self._episode.return_

    @property
    def won(self) -> bool | None:
        """Whether the game is won, as a recording of it would say; None: nobody knows."""
        return self._episode.success
