"""Our environments in TRL: what ``GRPOTrainer`` takes as ``environment_factory`` (TRL 1.8 or newer)."""

from __future__ import annotations

from typing import Any

from oreo_agents.doors.episode import TextEpisode
from oreo_agents.environments import MakeEnv
from oreo_agents.errors import ConfigurationError


class TRLEnvironment:
    """A game that a model plays by calling the tool ``act``; the reward is the episode's return.

    Rows of the data set name what is played, ``game`` (a name or a position) or ``seed``: the completions of a row are
    compared with one another, so they have to be of one game.

    Args:
        make: makes the environment; see :func:`oreo_agents.environments.environments`.

    >>> GRPOTrainer(..., environment_factory=partial(TRLEnvironment, environments("OREO-ALFWorld", split="train")))
    """

    def __init__(self, make: MakeEnv) -> None:
        self._episode = TextEpisode(make)

    def reset(self, game: str | int | None = None, seed: int | None = None, **row: Any) -> str:
        """Begin the row's game; its first observation stands at the end of the prompt.

        Raises:
            ConfigurationError: the row names neither a game nor a seed.
        """
        if game is None and seed is None:
            raise ConfigurationError(
                "GRPO compares completions of one game: give each row of train_dataset a 'game' or a 'seed'"
            )
        return self._episode.begin(game, seed)

    def act(self, command: str) -> str:
        """Do something in the game, and read what comes of it.

        Args:
            command: What to do, in the words of the game.

        Returns:
            What is to be seen now.
        """
        return self._episode.act(command)

    def get_reward(self) -> float:
        """The return of the episode so far."""
        return self._episode.return_


class TRLEnvironmentWithCommands(TRLEnvironment):
    """The same for a model that may ask which commands there are, in environments that list them."""

    def list_commands(self) -> str:
        """List the commands that can be carried out now, one a line.

        Returns:
            The commands.
        """
        return "\n".join(self._episode.info["admissible_commands"])
