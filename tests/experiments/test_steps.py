"""What the steps do with episodes and options, on examples that are written down."""

from dataclasses import replace

import pytest
from learning import EPISODES

from oreo_agents.agents.selection import Selection
from oreo_agents.experiments.steps import Trial, count_updates, cut_episode, summarise_at_limit
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.training.train import train
from oreo_agents.trajectory import Trajectory, Turn


def won_in(steps, terminated=True):
    turns = [Turn("o", "a", 0.0, "ok") for _ in range(steps - 1)] + [Turn("o", "a", 1.0, "ok")]
    return Trajectory(tuple(turns), task_type="kind", terminated=terminated, truncated=not terminated)


def test_a_time_out_is_never_a_success():
    assert cut_episode(won_in(40), 40).success
    assert not cut_episode(won_in(41), 40).success and len(cut_episode(won_in(41), 40)) == 40


def test_a_smaller_step_limit_is_read_from_the_same_episodes():
    trial = Trial("m", Selection(), (50, 40), 0, 1)
    episodes = [won_in(10), won_in(45)]
    full, less = (summarise_at_limit(episodes, limit, trial) for limit in trial.step_limits)
    assert (full.successes, less.successes) == (2, 1)
    assert (full.mean_steps, less.mean_steps, less.mean_steps_success) == (27.5, 25.0, 10.0)
    assert full.tokens_per_episode is not None and less.tokens_per_episode is None


def test_a_context_that_filled_up_later_did_not_end_the_shorter_episode():
    trial = Trial("m", Selection(), (50, 40), 0, 1)
    full = replace(won_in(45, terminated=False), metadata={"ended": "the context is full"})
    before = replace(won_in(30, terminated=False), metadata={"ended": "the context is full"})
    ended = [summarise_at_limit([full, before], limit, trial).ended_early for limit in trial.step_limits]
    assert ended == [{"the context is full": 2}, {"the context is full": 1}]
    broken = replace(won_in(45), metadata={"ended": "the server answers 500", "failed": True})
    assert list(summarise_at_limit([full, broken], 40, trial).errors.values()) == ["the server answers 500"]


@pytest.mark.parametrize(
    "options",
    [
        {"num_train_epochs": 1.5},
        {"num_train_epochs": 2.0, "gradient_accumulation_steps": 2},
        {"max_steps": 4, "num_train_epochs": 9.0},
    ],
)
def test_updates_are_counted_as_the_trainer_counts_them(policy, tokenizer, tmp_path, options):
    save_agent(tmp_path / "start", policy, tokenizer)
    options = {"per_device_train_batch_size": 2, "use_cpu": True, "bf16": False, **options}
    trainer = train("sft", EPISODES * 3, tmp_path / "start", tmp_path / "out", **options)
    assert trainer.state.global_step == count_updates(options, 9)
