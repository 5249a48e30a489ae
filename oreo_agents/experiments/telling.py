"""Stages that tell whoever runs them how far they are, in whatever process they are done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from transformers import TrainerCallback

from oreo_agents.experiments.stages import tell_progress
from oreo_agents.experiments.steps import Views
from oreo_agents.trajectory import Trajectory


def tell_episodes(played: Iterable[Trajectory], total: int, name: str) -> Iterator[Trajectory]:
    """Yield episodes as they end, and tell how many have."""
    for done, trajectory in enumerate(played, 1):
        tell_progress(done, total)
        yield trajectory


class TellSteps(TrainerCallback):
    """Tells how many steps of a training are done.

    Args:
        name: the method's; the stage's is told.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Tell it."""
        tell_progress(state.global_step, state.max_steps)


TOLD = Views(tell_episodes, TellSteps)
