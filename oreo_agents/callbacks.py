"""What a Trainer tells the terminal while it trains, and how well its policy plays. A pipe gets plain lines instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list
from rich.text import Text
from torch import Tensor
from transformers import TrainerCallback

from oreo_agents.evaluation.statistics import wilson
from oreo_agents.terminal.live import Tally
from oreo_agents.terminal.progress import progress_bar
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.trainer import OreoTrainer

SHOWN = {"loss": "loss", "value_loss": "value", "kl": "KL", "explained_variance": "EV", "learning_rate": "lr"}
"""What of a log line is shown, and what it is called."""


class TrainingProgress(TrainerCallback):
    """A bar with losses, tokens/s and time left; below it how the policy played when it last did.

    Args:
        name: shown in front, the method's name.
    """

    def __init__(self, name: str) -> None:
        self.name, self.tally = name, Tally()
        self.values: dict[str, float] = {}
        self.speed, self.evaluated = 0.0, ""
        self.bar = progress_bar(self._lines)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Open the bar."""
        self.start, self.seen_before = time.monotonic(), state.num_input_tokens_seen
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Advance the bar."""
        seen = state.num_input_tokens_seen - self.seen_before
        self.speed = seen / (time.monotonic() - self.start)
        self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Take the newest losses."""
        values = {label: float(logs[key]) for key, label in SHOWN.items() if logs and key in logs}
        if values:
            self.values |= values
            self._tell(f"{self.name} {state.global_step}/{state.max_steps}  {self._losses()}")

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Close the bar."""
        self.bar.stop()

    def show_evaluation(self, step: int, tally: Tally) -> None:
        """Show how the policy of a step plays."""
        self.tally, self.evaluated = tally, f"policy of step {step}:"
        self._tell(f"{self.name} {step}  {tally.success()}")

    def _losses(self) -> str:
        return "  ".join(f"{label} {value:.4g}" for label, value in self.values.items())

    def _tell(self, line: str) -> None:
        if self.bar.disable:
            self.bar.console.print(Text(line), soft_wrap=True)

    def _lines(self) -> Iterator[Text]:
        yield Text(f"{self._losses()}  {self.speed:,.0f} tok/s".strip())
        if self.evaluated:
            yield Text(self.evaluated, "dim")
        yield from self.tally.lines()


class EvaluateEvery(TrainerCallback):
    """Lets the policy play, greedily, every so many steps and after the last, and logs its success rate.

    Logs ``eval_success``, ``eval_success_low`` and ``eval_success_high`` (95 % Wilson interval) and
    ``eval_episodes``. Without ``patience`` the training is the same with it as without.

    Args:
        trainer: whose policy plays.
        play: plays the games that judge it.
        steps: between two evaluations.
        progress: where to show them.
        patience: end the training after so many evaluations without a higher success rate; in the end the best
            policy, and the critic it was trained with, are put back. None: train to the last step. A resumed
            training compares from there on; what was better before is not known to it.
        max_new_tokens: an action is cut after this many tokens.
    """

    def __init__(
        self,
        trainer: OreoTrainer,
        play: Callable[[OreoAgent], Iterable[Trajectory]],
        steps: int,
        progress: TrainingProgress | None = None,
        patience: int | None = None,
        max_new_tokens: int = 32,
    ) -> None:
        self.trainer, self.play, self.steps, self.progress = trainer, play, steps, progress
        self.max_new_tokens = max_new_tokens
        self.patience, self.best, self.stale = patience, -1.0, 0
        self.weights: dict[str, Tensor] | None = None

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Play, if it is time."""
        if state.global_step % self.steps and state.global_step != state.max_steps:
            return
        from oreo_agents.agents.oreo import OreoAgent

        tally, trainer = Tally(), self.trainer
        agent = OreoAgent(trainer.policy, trainer.tokenizer, max_new_tokens=self.max_new_tokens)
        for trajectory in self.play(agent):
            tally.add(trajectory)
        if self.progress:
            self.progress.show_evaluation(state.global_step, tally)
        won, played = tally.won.total(), tally.played.total()
        low, high = wilson(won, played)
        rates = {"": won / max(played, 1), "_low": low, "_high": high}
        self.trainer.log({**{f"eval_success{end}": r for end, r in rates.items()}, "eval_episodes": played})
        if self.patience is not None:
            (rate,) = broadcast_object_list([rates[""]])  # all processes stop, or none
            self._compare(rate)
            control.should_training_stop |= self.stale >= self.patience

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
