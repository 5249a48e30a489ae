"""Trains in processes of torchrun, of which one is killed in the middle of the first attempt.

torchrun ... dies_once.py DATA MODEL OUTPUT
"""

import os
import signal
import sys

from transformers import TrainerCallback

from oreo_agents import train

STEP = 3


class DieOnce(TrainerCallback):
    """As a machine does that fails."""

    def on_step_end(self, args, state, control, **kwargs):
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"
        if first and os.environ["RANK"] == "1" and state.global_step == STEP:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    processes = int(os.environ.get("WORLD_SIZE", 1))
    train(
        *sys.argv[1:],
        "sft",
        callbacks=[DieOnce()],
        save_every=2,
        use_cpu=True,
        per_device_train_batch_size=4 // processes,
        learning_rate=1e-3,
        num_train_epochs=2,
        logging_steps=1,
    )
