"""The errors of the environment side, one class per boundary that can break.

    OreoError                     everything this project raises on purpose
    ├── ConfigurationError        options that contradict each other or name something unknown
    ├── DataNotFoundError         no games / problems where they were looked for
    ├── ProblemFileError          a file of math problems is damaged, or a row of it is not a problem
    └── EpisodeError              one episode cannot be played, and others can
        └── GameFileError         one game file is not what it claims to be
            └── UnsupportedGameError  a healthy game that the native engine does not implement

Each message names the thing and the remedy; the command line prints it alone and exits with status 2.
"""

from __future__ import annotations


class OreoError(Exception):
    """Base class of every error raised on purpose by oreo_envs and oreo_agents."""


class ConfigurationError(OreoError):
    """Options contradict each other, or name something that does not exist."""


class DataNotFoundError(OreoError):
    """No games or problems were found where they were looked for."""


class EpisodeError(OreoError):
    """An episode cannot be begun, or not gone on with, for reasons outside whoever plays it; others can."""

    cause = ""
    """What is wrong whichever episode it is, where the environment's code is to blame; else empty."""

    @classmethod
    def at(cls, env_id: str, game: str, seed: int | None, step: int, cause: str) -> EpisodeError:
        """What is raised where the code of an environment is to blame: ``lift:Lift-v0, seed 3, step 2: its ...``.

        Args:
            env_id: of the environment.
            game: what is played; empty where an episode is its seed.
            seed: of the episode, if it had one.
            step: in which it happened; 0 is the beginning.
            cause: what is wrong.
        """
        episode = game or ("" if seed is None else f"seed {seed}")
        place = ", ".join(part for part in (env_id, episode, f"step {step}" if step else "") if part)
        error = cls(f"{place}: {cause}")
        error.cause = cause
        return error


class GameFileError(EpisodeError):
    """A game file (or archive of them) is damaged, incomplete or not a game at all."""


class ProblemFileError(OreoError):
    """A file of math problems is damaged, or a row of it is not a problem."""


class UnsupportedGameError(GameFileError):
    """A valid game whose domain or grammar the native engine does not implement."""
