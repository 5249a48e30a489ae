"""What a Trainer tells the terminal while it trains, and how well its policy plays. A pipe gets plain lines instead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from rich.progress import TaskID
from rich.text import Text
from transformers import TrainerCallback

from oreo_agents.terminal.live import Tally
from oreo_agents.terminal.progress import progress_bar
from oreo_agents.trajectory import Trajectory

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
        self.step = 0
        self.speed, self.evaluated = 0.0, ""
        self.bar = progress_bar(self._lines)
        self.encoding: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar, however the training has ended."""
        self.bar.stop()

    def on_encode(self, done: int, total: int) -> None:
        """Show how many episodes have become tokens, where that takes more than a moment."""
        if self.encoding is None and done < total:
            self.encoding = self.bar.add_task("encoding", total=total)
            self.bar.start()
            self._tell(f"encoding {total} episodes")
        if self.encoding is not None:
            self.bar.update(self.encoding, completed=done)
            if done == total:
                self.bar.remove_task(self.encoding)
                self.encoding = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        """Open the bar; say where an interrupted training goes on."""
        if state.global_step:
            line = f"{self.name}: resuming at step {state.global_step} of {state.max_steps}"
            self.bar.console.print(Text(line), soft_wrap=True)
        self.start, self.seen_before = time.monotonic(), state.num_input_tokens_seen
        self.task = self.bar.add_task(self.name, total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """Advance the bar."""
        seen = state.num_input_tokens_seen - self.seen_before
        self.speed = seen / (time.monotonic() - self.start)
        self.step = state.global_step
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

    def watch(self, episodes: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """Show how the policy has played once its episodes have passed by."""
        tally = Tally()
        for episode in episodes:
            tally.add(episode)
            yield episode
        self.tally, self.evaluated = tally, f"policy of step {self.step}:"
        self._tell("  ".join(filter(None, (f"{self.name} {self.step}", tally.success(), tally.cuts()))))

    def _losses(self) -> str:
        return "  ".join(f"{label} {value:.4g}" for label, value in self.values.items())

    def _tell(self, line: str) -> None:
        if self.bar.disable:
            self.bar.console.print(Text(line), soft_wrap=True)

    def _lines(self) -> Iterator[Text]:
        yield Text(f"{self._losses()}  {self.speed:,.0f} tok/s".strip())
        if self.evaluated:
            line = f"{self.evaluated} {self.tally.success()}"
            yield Text(line, "bold", no_wrap=True, overflow="ellipsis")
        yield from islice(self.tally.lines(), 1, None)  # success is told
