"""Our environments in verifiers (``pip install "oreo-agents[verifiers]"``, 0.4 or newer).

verifiers finds an environment by the name of a module at the top level that exports it, so a file of yours does:

    from oreo_agents.doors.verifiers import VerifiersEnv, VerifiersTaskset

    __all__ = ["VerifiersEnv", "VerifiersTaskset"]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oreo_agents.doors.episode import TextEpisode
from oreo_agents.environments import DEFAULT_ID, environments, games_of
from oreo_agents.errors import ConfigurationError

try:
    import verifiers.v1 as vf
    from pydantic import Field
except ImportError as error:
    raise ConfigurationError("environments of verifiers need it: pip install 'verifiers>=0.4'") from error

ASKED = "You are playing a text game. Each of your replies is one command, in the words of the game, and nothing else."
"""The system's message, where ``--env.taskset.system-prompt`` names no other."""


class VerifiersConfig(vf.TasksetConfig):
    """Which environment, and over which games."""

    env_id: str = DEFAULT_ID
    options: dict[str, Any] = Field(default_factory=dict)
    """As for :func:`oreo_agents.environments.environments`."""


class GameData(vf.TaskData):
    """A game by its name."""

    game: str


class GameTask(vf.Task[GameData]):
    """One game; its reward is the environment's."""


class VerifiersTaskset(vf.Taskset[GameTask, VerifiersConfig]):
    """The games of an environment, a task each, in their order."""

    def __init__(self, config: VerifiersConfig) -> None:
        super().__init__(config)
        self.make = environments(config.env_id, **config.options)

    def load(self) -> Iterator[GameTask]:
        """A task for each game; they are made as they are asked for."""
        for name in games_of(self.make()).names:
            yield GameTask(GameData(name=name, game=name, system_prompt=ASKED), self.config.task)


class PlayerConfig(vf.EnvConfig):
    """Who plays: a chat without tools, in a process of this machine."""

    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime=vf.SubprocessConfig())


class VerifiersEnv(vf.Env[PlayerConfig]):
    """Observations are the user's messages, the replies to them commands; the reward is the episode's return."""

    async def run(self, task: GameTask, agents: vf.Agents) -> None:
        """Play the task's game once."""
        episode = TextEpisode(self.taskset.make)
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn(episode.begin(task.data.game))
            while not segment.terminated:
                observation = episode.act(segment.last_reply)
                if episode.ended:
                    break
                segment = await interaction.turn(observation)
        interaction.trace.record_reward("return", episode.return_)
        if episode.won is not None:
            interaction.trace.record_metric("won", float(episode.won))
        interaction.trace.record_metric("truncated", float(episode.truncated))
