"""Trains a few steps in one or several processes and writes losses and weights; run by test_distributed.py.

python two_processes.py FOLDER PROCESSES METHOD...
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from learning import EPISODES, random_decoder

from oreo_agents.batches import collate
from oreo_agents.chat import Chat
from oreo_agents.tokenizer import learn_tokenizer
from oreo_agents.train import texts_of
from oreo_agents.trainer import OreoConfig, OreoTrainer


class InOrder(OreoTrainer):
    """Takes the episodes in their order: the same global batches however many processes share them."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer_for(folder, processes, method):
    tokenizer = learn_tokenizer(texts_of(EPISODES))
    chat = Chat(tokenizer)
    config = OreoConfig(
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
    )
    episodes = [chat.encode(episode) for episode in EPISODES * 4]
    return InOrder(random_decoder("qwen3", len(tokenizer)), tokenizer, config, episodes)


def log_lines(folder, processes, method):
    """The trainer's own log of three steps."""
    trainer = trainer_for(folder, processes, method)
    trainer.train()
    return [line for line in trainer.state.log_history if "loss" in line]


def sharded_step(folder, processes):
    """One update of a model whose parameters are sharded (FSDP2), and the checkpoint of it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    trainer = trainer_for(folder, processes, "oreo")
    if processes > 1:
        mesh = init_device_mesh("cpu", (processes,))
        for trunk in (trainer.policy.model, trainer.critic.backbone):
            for layer in trunk.layers:
                fully_shard(layer, mesh=mesh)
        fully_shard(trainer.trained, mesh=mesh)
    share = 4 // processes
    rank = dist.get_rank() if processes > 1 else 0
    batch = collate(trainer.train_dataset[rank * share : (rank + 1) * share], 0, 300)
    trainer.training_step(trainer.trained, batch)
    trainer.create_optimizer().step()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(trainer.trained, options=options)
    if rank == 0:
        trainer._save(str(folder / f"sharded-{processes}"), weights)


def main(folder, processes, methods):
    lines = {method: log_lines(folder, processes, method) for method in methods}
    sharded_step(folder, processes)
    if processes == 1 or dist.get_rank() == 0:
        (folder / f"losses-{processes}.json").write_text(json.dumps(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
