"""A training step asks its device for nothing: what the host must know is counted before a batch goes there."""

import dataclasses

import pytest
import torch
from host_reads import HostReads
from learning import EPISODES, LOSING, episode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from oreo_agents.errors import TrainingError
from oreo_agents.training import layouts
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.methods import METHODS
from oreo_agents.training.trainer import OreoTrainer

aten = torch.ops.aten
READING = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._local_scalar_dense.default,
    aten.repeat_interleave.Tensor,
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class BackwardReads(TorchDispatchMode):
    """What autograd runs by itself; all of it is on the device."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        by_mask = function in INDEXING and any(i is not None and i.dtype == torch.bool for i in args[1])
        if by_mask or function in READING:
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


class Watch(TrainerCallback):
    """Keeps what was read in the second step and the third: in the first, optimizers make what they keep."""

    def __init__(self, reads):
        self.reads, self.found = reads, []

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step > 1:
            self.found += self.reads.found
        self.reads.found.clear()


@pytest.fixture
def make(tmp_path, policy, tokenizer, chat, monkeypatch):
    monkeypatch.setattr(layouts, "LONG", 0)  # as on a device: fused attention, whatever the length

    def make(method, **options):
        episodes = [*EPISODES, episode(LOSING, won=False), *EPISODES]
        encoded = [chat.encode(one) for one in episodes]
        if METHODS[method].items in ("sampled", "groups", "valued", "compared"):
            encoded = [
                dataclasses.replace(one, recorded_logp=[-0.5 * a for a in one.action_mask]) for one in encoded
            ]
        config = OreoConfig(
            output_dir=str(tmp_path / "run"),
            method=method,
            use_cpu=True,
            report_to="none",
            max_steps=3,
            per_device_train_batch_size=4,
            micro_batch_tokens=600,
            logging_steps=100,
            save_strategy="no",
            max_length=10_000,
            **options,
        )
        return OreoTrainer(policy, config, encoded, processing_class=tokenizer)

    return make


def count_reads(trainer, monkeypatch):
    """Of two whole steps, up to where they would be logged."""
    backward = trainer.accelerator.backward
    with HostReads() as reads:

        def watched(loss, **options):
            with BackwardReads(reads.found):
                backward(loss, **options)

        monkeypatch.setattr(trainer.accelerator, "backward", watched)
        watch = Watch(reads)
        trainer.add_callback(watch)
        trainer.train()
    return watch.found


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_method_reads(make, method, monkeypatch):
    assert count_reads(make(method), monkeypatch) == []


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "packed"},
        {"critic": "shared", "observation_weight": 0.1},
        {"kl_target": 0.01, "target_decay": 0.9},
        {"muon": True, "bf16": True},
        {"regularizer": "sampled", "importance_weights": True},
        {"gradient_checkpointing": True, "gradient_accumulation_steps": 2},
    ],
    ids=lambda options: "-".join(options),
)
def test_no_option_makes_oreo_read(make, options, monkeypatch):
    assert count_reads(make("oreo", **options), monkeypatch) == []


def test_a_step_that_reads_is_found(make, monkeypatch):
    trainer = make("oreo")
    loss = type(trainer).compute_loss
    monkeypatch.setattr(
        type(trainer),
        "compute_loss",
        lambda self, model, micro: loss(self, model, micro) * float(micro["success"].all()),
    )
    assert set(count_reads(trainer, monkeypatch)) == {"__float__"}


def test_a_loss_that_is_no_number_is_told_with_its_step_when_others_are(make):
    class Break(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                trainer.policy.model.norm.weight.data.fill_(torch.nan)

    trainer = make("oreo")
    trainer.add_callback(Break())
    with pytest.raises(TrainingError, match="no number at step 1;"):
        trainer.train()
    assert trainer.state.global_step == 3
