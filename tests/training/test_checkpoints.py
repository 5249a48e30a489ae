"""A checkpoint that is damaged, or made to harm, is refused in a sentence, before a step is taken with it."""

import copy
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from learning import EPISODES
from safetensors import SafetensorError

from oreo_agents.errors import CheckpointError
from oreo_agents.language.chat import Chat
from oreo_agents.models.decoder import small_decoder
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.trainer import OreoTrainer


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    """Where a training of two steps left a checkpoint of the first, and what makes such a training."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    policy = small_decoder(tokenizer, hidden_size=64, layers=2)
    encoded = [Chat(tokenizer).encode(episode) for episode in EPISODES]

    def make(output=folder / "again"):
        options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "disable_tqdm": True}
        config = OreoConfig(output_dir=str(output), use_cpu=True, report_to=[], **options)
        return OreoTrainer(copy.deepcopy(policy), config, encoded, processing_class=tokenizer)

    make(folder / "run").train()
    return folder / "run" / "checkpoint-1", make


@pytest.fixture
def copied(run, tmp_path):
    return Path(shutil.copytree(run[0], tmp_path / "checkpoint-1"))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def change_json(name, **values):
    def change(folder):
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return change


def change_tensors(name, change):
    def write(folder):
        values = torch.load(folder / name, weights_only=False)
        torch.save(change(values), folder / name)

    return write


def resize(state):
    for values in state["state"].values():
        values["exp_avg"] = torch.zeros(3)
    return state


def reword(state):
    for group in state["param_groups"]:
        group["lr"] = "fast"
    return state


def truncate(name):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:8])


HARM = {
    "half a state": truncate("trainer_state.json"),
    "half an optimizer": truncate("optimizer.pt"),
    "half a schedule": truncate("scheduler.pt"),
    "half a generator": truncate("rng_state.pth"),
    "half an alpha": truncate("oreo.json"),
    "half the weights": truncate("policy/model.safetensors"),
    "a list for a state": lambda folder: (folder / "trainer_state.json").write_text("[1]"),
    "steps before the first": change_json("trainer_state.json", global_step=-4),
    "steps in words": change_json("trainer_state.json", global_step="1"),
    "alpha in words": change_json("oreo.json", alpha={"a": 1}),
    "another shape": change_tensors("optimizer.pt", resize),
    "a rate in words": change_tensors("optimizer.pt", reword),
    "no optimizer's": change_tensors("optimizer.pt", lambda state: [1, 2]),
    "a schedule that hides its method": change_tensors("scheduler.pt", lambda s: {**s, "get_lr": 5}),
    "a generator of another kind": change_tensors("rng_state.pth", lambda s: {**s, "cpu": torch.zeros(3)}),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_damaged_checkpoint_is_one_sentence(run, copied, harm):
    harm(copied)
    with pytest.raises(CheckpointError, match=r"(checkpoint-1.*delete it|no usable model at .*checkpoint-1)"):
        run[1]().train(resume_from_checkpoint=str(copied))


def test_a_newer_checkpoint_is_refused_by_name(run, copied):
    change_json("oreo.json", format=2)(copied)
    with pytest.raises(CheckpointError, match=r"oreo\.json is of format 2, of a newer oreo-agents"):
        run[1]().train(resume_from_checkpoint=str(copied))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_does_not_run(run, copied, name, tmp_path):
    (copied / name).write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    torch.save({"state": Bomb(tmp_path / "ran")}, copied / name) if name == "optimizer.pt" else None
    with pytest.raises(CheckpointError, match="delete it"):
        run[1]().train(resume_from_checkpoint=str(copied))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"),
        OSError(28, "No space left on device"),
        Exception("No space left on device (os error 28)"),
    ],
    ids=["safetensors", "torch", "os", "tokenizers"],
)
def test_a_full_disk_is_one_sentence(run, tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    trainer = run[1](tmp_path / "run")
    monkeypatch.setattr(trainer.policy, "save_pretrained", fail)
    with pytest.raises(CheckpointError, match=r"checkpoint-1 cannot be written .*free some space"):
        trainer.train()
    assert not (tmp_path / "run" / "checkpoint-1").exists()
