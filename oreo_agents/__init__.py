"""oreo_agents: offline RL for language agents in text environments (OREO, arXiv 2412.16145).

Importing this package registers the Gymnasium ids (``OREO-ALFWorld``, ...) and stays light:
torch, transformers and textworld are loaded only by the names that need them.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import oreo_envs as oreo_envs
except KeyboardInterrupt:  # it takes a moment, in which the command line cannot yet say a word
    if os.path.basename(sys.argv[0]) == "oreo-agents":
        sys.exit("interrupted")
    raise

if TYPE_CHECKING:
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.rollout.wrapper import RecordTrajectories
    from oreo_agents.training.config import OreoConfig
    from oreo_agents.training.trainer import OreoTrainer
    from oreo_agents.trajectory import Action, Trajectory, Turn

_HOMES = {
    "Action": "oreo_agents.trajectory",
    "OreoAgent": "oreo_agents.agents.oreo",
    "OreoConfig": "oreo_agents.training.config",
    "OreoTrainer": "oreo_agents.training.trainer",
    "RecordTrajectories": "oreo_agents.rollout.wrapper",
    "Trajectory": "oreo_agents.trajectory",
    "Turn": "oreo_agents.trajectory",
    "load_trajectories": "oreo_agents.dataset",
}

__all__ = [
    "Action",
    "OreoAgent",
    "OreoConfig",
    "OreoTrainer",
    "RecordTrajectories",
    "Trajectory",
    "Turn",
    "load_trajectories",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
