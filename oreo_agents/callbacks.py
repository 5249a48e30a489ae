"""What a Trainer tells the terminal while it trains: loss, speed and time left. A pipe gets plain lines instead."""

from __future__ import annotations

import time

from rich.text import Text
from transformers import TrainerCallback

from oreo_agents.progress import progress_bar


class TrainingProgress(TrainerCallback):
    """A bar with loss, tokens/s and time left.

    Args:
        name: shown in front, the method's name.
    """

    def __init__(self, name: str) -> None:
        self.name, self.bar = name, progress_bar()

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Open the bar."""
        self.start, self.notes = time.monotonic(), ""
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Advance the bar."""
        speed = state.num_input_tokens_seen / (time.monotonic() - self.start)
        self.bar.update(self.task, completed=state.global_step, notes=f"{self.notes} {speed:,.0f} tok/s")

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        """Take the newest losses."""
        shown = {"loss": "loss", "value_loss": "value", "kl": "KL", "explained_variance": "EV"}
        values = {label: float(logs[key]) for key, label in shown.items() if logs and key in logs}
        if values:
            self.notes = "  ".join(f"{label} {value:.4g}" for label, value in values.items())
            if self.bar.disable:
                self.bar.console.print(
                    Text(f"{self.name} {state.global_step}/{state.max_steps}  {self.notes}")
                )

    def on_train_end(self, args, state, control, **kwargs) -> None:
        """Close the bar."""
        self.bar.stop()
