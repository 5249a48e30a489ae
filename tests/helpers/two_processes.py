"""Trains a few steps in one or several processes and writes losses and weights; run by training/test_distributed.py.

python two_processes.py FOLDER PROCESSES METHOD...
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import DistributedType, PartialState
from learning import EPISODES, random_decoder
from torch.distributed.fsdp import FSDPModule

from oreo_agents.language.chat import Chat
from oreo_agents.language.learnt_tokenizer import learn_tokenizer
from oreo_agents.models.start import texts_of
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.trainer import OreoTrainer


class InOrder(OreoTrainer):
    """Takes the episodes in their order: the same global batches however many processes share them."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer_for(folder, processes, method, config_class=OreoConfig, **options):
    tokenizer = learn_tokenizer(texts_of(EPISODES))
    chat = Chat(tokenizer)
    config = config_class(
        output_dir=str(folder / f"run-{method}-{processes}"),
        method=method,
        use_cpu=True,
        per_device_train_batch_size=4 // processes,
        micro_batch_tokens=300,  # the processes' batches fall into different numbers of micro-batches
        learning_rate=1e-3,
        warmup_steps=0,
        logging_steps=1,
        max_steps=3,
        disable_tqdm=True,
        **options,
    )
    episodes = [chat.encode(episode) for episode in EPISODES * 4]
    return InOrder(random_decoder("qwen3", len(tokenizer)), config, episodes, processing_class=tokenizer)


def log_lines(folder, processes, method):
    """The trainer's own log of three steps."""
    trainer = trainer_for(folder, processes, method)
    assert not trainer.is_fsdp_enabled
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


class Sharded(OreoConfig):
    """Makes accelerate shard: with the same configuration it otherwise falls back to replicas where there is no GPU."""

    def __post_init__(self):
        super().__post_init__()
        PartialState().distributed_type = DistributedType.MULTI_GPU


def sharded_run(folder, processes):
    """Three steps under FSDP2 with a checkpoint after the second, the agent, and the same resumed from there."""
    config_class = Sharded if processes > 1 else OreoConfig
    options = {"save_strategy": "steps", "save_steps": 2, "config_class": config_class}
    trainer = trainer_for(folder, processes, "oreo", **options)
    assert trainer.is_fsdp_enabled == (processes > 1)
    trainer.train()
    if processes > 1:
        wrapped = [m for m in trainer.model_wrapped.modules() if isinstance(m, FSDPModule)]
        layers = [*trainer.policy.model.layers, *trainer.critic.backbone.layers]
        assert set(layers) < set(wrapped)
        for layer in trainer.reference.model.model.layers:
            held = sum(weight.to_local().numel() for weight in layer.parameters())
            assert held <= sum(weight.numel() for weight in layer.parameters()) / processes * 1.1
    trainer.save_agent(folder / f"agent-{processes}")
    resumed = trainer_for(folder, processes, "oreo", **options)
    resumed.train(resume_from_checkpoint=str(folder / f"run-oreo-{processes}" / "checkpoint-2"))
    resumed.save_agent(folder / f"resumed-{processes}")


def main(folder, processes, methods):
    sharded_run(folder / "sharded", processes)
    lines = {method: log_lines(folder, processes, method) for method in methods}
    if processes == 1 or dist.get_rank() == 0:
        (folder / f"losses-{processes}.json").write_text(json.dumps(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
