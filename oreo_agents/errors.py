"""The errors of the agent side; they extend the tree in :mod:`oreo_envs.errors`.

OreoError
├── ConfigurationError        the environment side raises it, too, and defines it
├── EpisodeError              likewise; costs its episode alone
├── DatasetError              recorded episodes that cannot be read, or must not be written
├── CheckpointError           a folder that is not a policy, critic or agent checkpoint
├── EngineError               text could not be generated: a server out of reach, or one that answers nonsense
└── TrainingError             training cannot go on
"""

from oreo_envs.errors import ConfigurationError as ConfigurationError
from oreo_envs.errors import EpisodeError as EpisodeError
from oreo_envs.errors import OreoError as OreoError


class DatasetError(OreoError):
    """Recorded episodes cannot be read, or writing would damage what is there."""


class CheckpointError(OreoError):
    """A path does not hold the checkpoint it should."""


class EngineError(OreoError):
    """Text could not be generated, for reasons outside this program."""


class TrainingError(OreoError):
    """Training cannot go on; what was saved before is intact."""
