"""What follows from how well a policy plays while it is trained."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from torch import Tensor
from transformers import TrainerCallback

if TYPE_CHECKING:
    from oreo_agents.training.trainer import OreoTrainer

SUCCESS, RETURN = "eval_success", "eval_return"


class KeepBest(TrainerCallback):
    """Evaluates after the last step, too; with ``patience`` it ends the training when the success rate no longer rises,
    or the mean return, where winning is not defined.

    Args:
        trainer: whose policy plays, with ``play``.
        patience: end the training after so many evaluations without a higher success rate; in the end the best policy,
            and the critic it was trained with, are put back. None: train to the last step. A resumed training compares
            from there on; what was better before is not known to it.
    """

    def __init__(self, trainer: OreoTrainer, patience: int | None = None) -> None:
        self.trainer, self.patience = trainer, patience
        self.best, self.stale = -inf, 0
        self.weights: dict[str, Tensor] | None = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """A training that is gone on with evaluates as often as it is told now."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Evaluate, if this was the last step."""
        control.should_evaluate |= state.global_step == state.max_steps

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        """Keep the weights of the best policy so far, and count the evaluations since."""
        if self.patience is None or not metrics or RETURN not in metrics:
            return
        self.stale += 1
        score = metrics.get(SUCCESS, metrics[RETURN])
        if score > self.best:
            self.best, self.stale = score, 0
            weights = self.trainer.trained.state_dict()
            self.weights = {name: x.detach().clone() for name, x in weights.items()}
        control.should_training_stop |= self.stale >= self.patience

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Put the best policy back."""
        if self.weights is not None:
            self.trainer.trained.load_state_dict(self.weights)
