"""Evaluation on held-out episodes, against the same numbers from the whole model's logits, and Trainer's callbacks."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from learning import EPISODES, LOSING, WINNING, episode
from transformers import EarlyStoppingCallback, TrainerCallback

from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.errors import DatasetError
from oreo_agents.models.critic import Critic
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.trainer import OreoTrainer

OTHERS = [
    episode(WINNING[:4]),
    episode(LOSING[:2], won=False),
    episode(WINNING[3:], won=True),
    episode(LOSING, won=False),
]


@pytest.fixture
def make(tmp_path, policy, tokenizer, critic):
    def make(method="oreo", train=EPISODES, held_out=OTHERS, given=None, others=None, **options):
        defaults = {
            "max_steps": 4,
            "warmup_steps": 0,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "micro_batch_tokens": 200,
        }
        config = OreoConfig(
            str(tmp_path / "run"), method=method, use_cpu=True, disable_tqdm=True, **{**defaults, **options}
        )
        return OreoTrainer(
            copy.deepcopy(policy), config, train, held_out, tokenizer, critic=given, **(others or {})
        )

    return make


def test_predictions_are_those_of_the_whole_model_in_the_order_of_the_episodes(make, policy, critic, chat):
    trainer = make(given=copy.deepcopy(critic), per_device_eval_batch_size=3)
    found = trainer.predict(OTHERS)
    (logp, values), (returns, success) = found.predictions, found.label_ids
    assert success.tolist() == [one.success for one in OTHERS]
    for i, one in enumerate(map(chat.encode, OTHERS)):
        ids, mask = torch.tensor([one.input_ids]), torch.tensor(one.action_mask)
        whole = policy(ids).logits[0, :-1].log_softmax(-1)
        expected = whole[torch.arange(len(one) - 1), ids[0, 1:]][mask[1:]].detach().numpy()
        count = int(mask.sum())
        np.testing.assert_allclose(logp[i, :count], expected, atol=1e-5)
        np.testing.assert_allclose(values[i, :count], critic(ids)[0][mask].detach().numpy(), atol=1e-5)
        assert returns[i, :count].tolist() == [
            x for x, chosen in zip(one.returns, one.action_mask, strict=True) if chosen
        ]
        assert np.isnan(logp[i, count:]).all() and np.isnan(returns[i, count:]).all()


def test_losses_and_errors_do_not_depend_on_how_episodes_are_batched(make, critic):
    one = make(given=copy.deepcopy(critic), per_device_eval_batch_size=1).evaluate()
    all_ = make(given=copy.deepcopy(critic), micro_batch_tokens=10_000).evaluate()
    for name in (
        "loss",
        "policy_loss",
        "value_loss",
        "kl",
        "value_error",
        "explained_variance",
        "calibration_error",
    ):
        assert one[f"eval_{name}"] == pytest.approx(all_[f"eval_{name}"], rel=1e-4, abs=1e-6), name
    assert one["eval_kl"] == pytest.approx(0, abs=1e-6), "the policy is its own reference"


def test_the_value_error_is_the_distance_to_the_returns_before_anything_is_learnt(make):
    """A new critic says 0 and the log-ratio is 0: in the states where it learns, the error is that of the returns."""
    metrics = make("oreo-response").evaluate()
    won = sum(one.success for one in OTHERS) / len(OTHERS)
    assert metrics["eval_value_won"] == metrics["eval_value_lost"] == 0
    assert 0 < metrics["eval_value_error"] <= 1 and won == 0.5


def test_values_and_their_errors_are_in_the_unit_of_the_rewards(make):
    """Returns of 0 and 1, and the same as -5 and 5: a critic that is new says the lowest in both."""

    def pay(one):
        *earlier, last = one.turns
        return dataclasses.replace(
            one, turns=(*earlier, dataclasses.replace(last, reward=10 * last.reward - 5))
        )

    plain = make("oreo-response").evaluate()
    trainer = make("oreo-response", [pay(one) for one in EPISODES], [pay(one) for one in OTHERS])
    paid = trainer.evaluate()
    assert paid["eval_value_won"] == paid["eval_value_lost"] == -5
    for name in ("eval_value_error", "eval_calibration_error"):
        assert paid[name] == pytest.approx(10 * plain[name])
    (_, values), (returns, _) = (
        (found := trainer.predict([pay(one) for one in OTHERS])).predictions,
        found.label_ids,
    )
    assert {*returns[~np.isnan(returns)]} == {-5.0, 5.0} and {*values[~np.isnan(values)]} == {-5.0}


def test_evaluating_changes_nothing(make):
    plain = make(held_out=None)
    plain.train()
    judged = make(eval_strategy="steps", eval_steps=1, kl_target=None)
    judged.train()
    for name, weight in plain.trained.state_dict().items():
        assert torch.equal(weight, judged.trained.state_dict()[name]), name
    trained = [[line for line in t.state.log_history if "loss" in line] for t in (plain, judged)]
    clock = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
    assert [{k: v for k, v in x.items() if k not in clock} for x in trained[0]] == trained[1]
    evaluated = [line for line in judged.state.log_history if "eval_loss" in line]
    assert [line["step"] for line in evaluated] == [1, 2, 3, 4]
    assert not any("data_probability" in line for line in evaluated), "training's means are not in them"


def test_compute_metrics_gets_tokens_and_no_logits(make):
    def compute(found):
        logp, values = found.predictions
        returns, success = found.label_ids
        assert logp.shape == values.shape == returns.shape and len(success) == len(OTHERS)
        return {"mean_logp": float(np.nanmean(logp))}

    assert make(others={"compute_metrics": compute}).evaluate()["eval_mean_logp"] < 0


def test_early_stopping_and_the_best_checkpoint(make):
    """Transformers' own callback, on a number that grows worse from the start."""
    rates = iter([0.9, 0.5, 0.4, 0.3, 0.2, 0.1])
    saved = {}

    def compute(found):
        saved.setdefault(len(saved), copy.deepcopy(trainer.policy.state_dict()))
        return {"score": next(rates)}

    trainer = make(
        max_steps=6,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_score",
        greater_is_better=True,
        others={"compute_metrics": compute, "callbacks": [EarlyStoppingCallback(2)]},
    )
    trainer.train()
    assert trainer.state.global_step == 3 and trainer.state.best_metric == 0.9
    for name, weight in trainer.policy.state_dict().items():
        assert torch.equal(weight, saved[0][name]), name


def test_every_hook_of_a_callback_is_called(make):
    called = []

    class Listener(TrainerCallback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                called.append(name)
            return super().__getattribute__(name)

    make(eval_strategy="epoch", save_strategy="epoch", others={"callbacks": [Listener()]}).train()
    assert {
        "on_train_begin",
        "on_step_end",
        "on_log",
        "on_evaluate",
        "on_prediction_step",
        "on_save",
        "on_train_end",
    } <= set(called)


def test_several_held_out_datasets_by_name(make):
    metrics = make(held_out={"all": OTHERS, "won": [one for one in OTHERS if one.success]}).evaluate()
    assert "eval_all_value_error" in metrics and "eval_won_value_error" in metrics
    assert "eval_won_value_lost" not in metrics and "eval_all_value_lost" in metrics


@pytest.mark.parametrize("method", ["sft", "rejection", "kto", "dpo"])
def test_methods_without_a_critic_are_judged_by_their_own_loss(make, method):
    metrics = make(method).evaluate()
    assert np.isfinite(metrics["eval_loss"]) and "eval_value_error" not in metrics


def test_games_give_a_success_rate(make):
    def play(networks):
        assert isinstance(OreoAgent(*networks).critic, Critic)
        return EPISODES

    metrics = make(held_out=None, others={"play": play}).evaluate()
    assert metrics["eval_success"] == pytest.approx(1 / 3) and metrics["eval_episodes"] == 3


def test_nothing_to_evaluate_on_is_said(make):
    with pytest.raises(DatasetError, match="there are no episodes to judge on"):
        make(held_out=[])
