"""The table of methods: what it names exists, and who chooses a method chooses from it."""

import dataclasses
import inspect

import pytest
import torch
from learning import EPISODES

from oreo_agents.cli.program import build_parser
from oreo_agents.training import losses, objectives
from oreo_agents.training.batches import collate_items
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.methods import METHODS, Objective
from oreo_agents.training.trainer import OreoTrainer


def choices(command, argument):
    (commands,) = (action for action in build_parser()._actions if isinstance(action.choices, dict))
    (found,) = (one for one in commands.choices[command]._actions if argument in one.option_strings)
    return tuple(found.choices)


@pytest.mark.parametrize("command", ["train", "iterate"])
def test_the_command_line_offers_every_method(command):
    assert choices(command, "--method") == tuple(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_names_exists(method):
    objective = METHODS[method]
    assert inspect.isfunction(getattr(losses, objective.policy_loss))
    assert objective.states in objectives.STATES and objective.items in objectives.ITEMS


def squared_log_ratio(rho, action_mask, beta):
    """A loss that is not there yet."""
    return beta * losses.masked_mean(rho**2, action_mask)


def test_a_new_method_takes_one_entry(tmp_path, monkeypatch, policy, tokenizer, chat):
    monkeypatch.setattr(losses, "squared_log_ratio", squared_log_ratio, raising=False)
    monkeypatch.setitem(METHODS, "new", Objective("as an example", "squared_log_ratio", beta=0.5))
    config = OreoConfig(output_dir=str(tmp_path), method="new", use_cpu=True)
    trainer = OreoTrainer(policy, config, [chat.encode(one) for one in EPISODES], processing_class=tokenizer)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    (micro,) = collate_items(trainer.train_dataset, 0, 10_000)
    loss, out = trainer.compute_loss(trainer.trained, micro, return_outputs=True)
    per_episode = [
        sum(r**2 for r in rho[mask].tolist()) / int(mask.sum())
        for rho, mask in zip(out["rho"], micro["action_mask"], strict=True)
    ]
    assert loss.item() == pytest.approx(0.5 * sum(per_episode) / len(per_episode), rel=1e-4)
    assert choices("train", "--method")[-1] == "new" and trainer.critic is None


def test_a_loss_may_ask_for_what_there_is_and_nothing_else(tmp_path, monkeypatch, policy, tokenizer, chat):
    monkeypatch.setattr(losses, "odd", lambda rho, moon: rho.sum(), raising=False)
    monkeypatch.setitem(
        METHODS, "odd", dataclasses.replace(METHODS["dpo"], policy_loss="odd", items="episodes")
    )
    config = OreoConfig(output_dir=str(tmp_path), method="odd", use_cpu=True)
    trainer = OreoTrainer(policy, config, [chat.encode(one) for one in EPISODES], processing_class=tokenizer)
    (micro,) = collate_items(trainer.train_dataset, 0, 10_000)
    with pytest.raises(KeyError, match="moon"):
        trainer.compute_loss(trainer.trained, micro)
