"""A short training; in processes of a launcher, one of them is killed in the middle of the first attempt.

LAUNCHER dies_once.py DATA MODEL OUTPUT
"""

import os
import signal
import sys
from pathlib import Path

from transformers import TrainerCallback

from oreo_agents import train

KILLED_AFTER = 3


class DieOnce(TrainerCallback):
    """As a machine does that fails."""

    def on_step_end(self, args, state, control, **kwargs):
        died = Path(f"{sys.argv[3]}.died")  # counts of attempts differ from machine to machine
        if os.environ["RANK"] == "1" and state.global_step == KILLED_AFTER and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def train_shortly(data, model, output, processes=1, callbacks=()):
    """Four optimizer steps, a checkpoint after two."""
    train(
        data,
        model,
        output,
        "sft",
        callbacks=callbacks,
        save_every=2,
        use_cpu=True,
        bf16=False,  # the default where a CPU has it; a batch and its halves would then differ
        per_device_train_batch_size=4 // processes,
        learning_rate=1e-3,
        num_train_epochs=2,
        logging_steps=1,
    )


if __name__ == "__main__":
    train_shortly(*sys.argv[1:], processes=int(os.environ["WORLD_SIZE"]), callbacks=[DieOnce()])
