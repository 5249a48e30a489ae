"""Our environments behind OpenEnv's server (``pip install "oreo-agents[openenv]"``)."""

from __future__ import annotations

from functools import partial
from typing import Any

from oreo_agents.doors.episode import TextEpisode
from oreo_agents.environments import MakeEnv, games_of
from oreo_agents.errors import ConfigurationError

try:
    from openenv.core.env_server import Action, Environment, Observation, State, create_app
except ImportError as error:
    raise ConfigurationError("serving with OpenEnv needs it: pip install openenv") from error


class Command(Action):
    """What a client does."""

    command: str


class Sight(Observation):
    """What it sees then; ``done`` and ``reward`` are OpenEnv's own."""

    text: str
    admissible_commands: list[str] | None = None
    won: bool | None = None
    truncated: bool = False


class OpenEnvEnvironment(Environment[Command, Sight, State]):
    """The episodes of one session. ``reset`` takes ``seed=`` or ``game=``, a name or a position.

    Args:
        make: makes the environment; see :func:`oreo_agents.environments.environments`.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, make: MakeEnv) -> None:
        super().__init__()
        self._episode = TextEpisode(make)
        self._id: str | None = None

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, game: str | int | None = None
    ) -> Sight:
        """Begin an episode."""
        self._id = episode_id
        return self._show(self._episode.begin(game, seed))

    def step(self, action: Command, timeout_s: float | None = None) -> Sight:
        """Carry out a command; after the end that is an error."""
        return self._show(self._episode.act(action.command), self._episode.reward)

    @property
    def state(self) -> State:
        """How far the episode is, of which game it is, and how many games there are."""
        played = {"step_count": self._episode.turns, "game": self._episode.info.get("game")}
        return State(episode_id=self._id, **played, games=len(games_of(self._episode.env).names))

    def _show(self, text: str, reward: float | None = None) -> Sight:
        info = self._episode.info
        return Sight(
            text=text,
            admissible_commands=info.get("admissible_commands"),
            won=self._episode.won,
            truncated=self._episode.truncated,
            done=self._episode.ended,
            reward=reward,
            metadata={name: x for name, x in info.items() if isinstance(x, str | int | float)},
        )


def make_app(make: MakeEnv, max_sessions: int = 64) -> Any:
    """The server, an ASGI application: ``uvicorn.run(make_app(environments("OREO-ALFWorld")))``.

    Args:
        make: makes the environment of each session.
        max_sessions: at the same time.
    """
    name = getattr(make().unwrapped.spec, "id", None)
    make_environment = partial(OpenEnvEnvironment, make)
    return create_app(make_environment, Command, Sight, env_name=name, max_concurrent_envs=max_sessions)
