"""How well a policy plays while it is trained, measured every so many steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.training.trainer import OreoTrainer


@dataclass(frozen=True, slots=True)
class Judging:
    """How a policy is judged while it is trained, and what follows from it."""

    play: Callable[[Any], Iterable[Trajectory]]
    """From an agent to its episodes in the games that judge it."""
    agent_of: Callable[[PreTrainedModel, PreTrainedTokenizerBase], Any]
    """The agent that a policy and its tokenizer make."""
    interval: Callable[[int, int], tuple[float, float]]
    """Of the success rate, from successes and episodes."""
    every: int = 100
    """Steps between two evaluations; another one follows the last step."""
    patience: int | None = None
    """End the training after so many evaluations without a higher success rate; in the end the best policy, and the
    critic it was trained with, are put back. None: train to the last step. A resumed training compares from there on;
    what was better before is not known to it."""
    watch: Callable[[int, Iterable[Trajectory]], Iterable[Trajectory]] | None = None
    """Sees the episodes of the policy of a step pass by."""


class EvaluateEvery(TrainerCallback):
    """Lets the policy, as it would be saved, play every so many steps and after the last, and logs its success rate.

    Logs ``eval_success``, ``eval_success_low`` and ``eval_success_high`` (the interval) and ``eval_episodes``. Without
    ``patience`` the training is the same with it as without.

    Args:
        trainer: whose policy plays.
        judging: where it plays, how often, and what follows.
    """

    def __init__(self, trainer: OreoTrainer, judging: Judging) -> None:
        self.trainer, self.judging = trainer, judging
        self.best, self.stale = -1.0, 0
        self.weights: dict[str, Tensor] | None = None

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Play, if it is time."""
        judging = self.judging
        if state.global_step % judging.every and state.global_step != state.max_steps:
            return
        agent = judging.agent_of(self.trainer.finish_policy(), self.trainer.tokenizer)
        episodes = judging.play(agent)
        if judging.watch:
            episodes = judging.watch(state.global_step, episodes)
        outcomes = [episode.success for episode in episodes if not episode.metadata.get("failed")]
        won, played = sum(outcomes), len(outcomes)
        low, high = judging.interval(won, played)
        rates = {"": won / max(played, 1), "_low": low, "_high": high}
        self.trainer.log({**{f"eval_success{end}": r for end, r in rates.items()}, "eval_episodes": played})
        if judging.patience is not None:
            (rate,) = broadcast_object_list([rates[""]])  # all processes stop, or none
            self._compare(rate)
            control.should_training_stop |= self.stale >= judging.patience

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Put the best policy back."""
        if self.weights is not None:
            self.trainer.trained.load_state_dict(self.weights)

    def _compare(self, rate: float) -> None:
        """Keep the weights of the best policy so far, and count the evaluations since."""
        self.stale += 1
        if rate > self.best:
            self.best, self.stale = rate, 0
            weights = self.trainer.trained.state_dict()
            self.weights = {name: x.detach().clone() for name, x in weights.items()}
