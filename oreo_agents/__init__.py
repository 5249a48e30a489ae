"""oreo_agents: offline RL for language agents in text environments (OREO, arXiv 2412.16145).

Importing this package registers the Gymnasium ids (``OREO-ALFWorld``, ...) and stays light:
torch, transformers and textworld are loaded only by the names that need them.
"""

import importlib as _importlib
import os as _os
import sys as _sys
import typing as _typing

try:
    import oreo_envs as oreo_envs
except KeyboardInterrupt:  # it takes a moment, in which the command line cannot yet say a word
    if _os.path.basename(_sys.argv[0]) == "oreo-agents":
        _sys.exit("interrupted")
    raise

if _typing.TYPE_CHECKING:
    from oreo_agents.agents.oreo import OreoAgent as OreoAgent
    from oreo_agents.dataset import TrajectoryDataset as TrajectoryDataset
    from oreo_agents.dataset import load_trajectories as load_trajectories
    from oreo_agents.experiments.train import EvalGames as EvalGames
    from oreo_agents.experiments.train import train as train
    from oreo_agents.language.prompt import Prompt as Prompt
    from oreo_agents.rollout.wrapper import RecordTrajectories as RecordTrajectories
    from oreo_agents.training.config import OreoConfig as OreoConfig
    from oreo_agents.training.trainer import OreoTrainer as OreoTrainer
    from oreo_agents.trajectory import Action as Action
    from oreo_agents.trajectory import Trajectory as Trajectory
    from oreo_agents.trajectory import Turn as Turn

    __version__: str

_HOMES = {
    "Action": "oreo_agents.trajectory",
    "EvalGames": "oreo_agents.experiments.train",
    "OreoAgent": "oreo_agents.agents.oreo",
    "OreoConfig": "oreo_agents.training.config",
    "OreoTrainer": "oreo_agents.training.trainer",
    "Prompt": "oreo_agents.language.prompt",
    "RecordTrajectories": "oreo_agents.rollout.wrapper",
    "Trajectory": "oreo_agents.trajectory",
    "TrajectoryDataset": "oreo_agents.dataset",
    "Turn": "oreo_agents.trajectory",
    "load_trajectories": "oreo_agents.dataset",
    "train": "oreo_agents.experiments.train",
}

__all__ = [
    "Action",
    "EvalGames",
    "OreoAgent",
    "OreoConfig",
    "OreoTrainer",
    "Prompt",
    "RecordTrajectories",
    "Trajectory",
    "TrajectoryDataset",
    "Turn",
    "load_trajectories",
    "train",
]


def __getattr__(name: str) -> _typing.Any:
    """Load a public name from its module when it is first asked for."""
    if name in _HOMES:
        return getattr(_importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("oreo-agents")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is to use."""
    return sorted([*__all__, "__version__", "__doc__", "__name__", "__file__", "__path__", "oreo_envs"])
