"""The table and the differences, from runs whose outcomes are written down."""

from dataclasses import replace

import pytest
from learning import EPISODES

from oreo_agents.agents.selection import Selection
from oreo_agents.evaluation.statistics import paired_difference
from oreo_agents.experiments.steps import Trial, count_updates, cut_episode, summarise_at_limit
from oreo_agents.experiments.verdicts import average_rounds, average_runs, compare_rows, compare_runs
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.training.train import train
from oreo_agents.trajectory import Trajectory, Turn

ABOUT = {
    "invalid_action_rate": 0.1,
    "mean_steps": 10.0,
    "mean_steps_success": 8.0,
    "tokens_per_episode": 100.0,
    "by_task_type": {"kind": {"n": 4, "successes": 2}},
}


def run(policy, seed, won, select="greedy", k=1, round=None, test="seen"):
    label = policy if k == 1 else f"{policy} best-of-{k}"
    about = {"policy": policy, "method": label, "select": select, "k": k, "round": round, "seed": seed}
    counts = {"n": len(won), "successes": won.count("1"), "success_rate": won.count("1") / len(won)}
    return {**ABOUT, **about, **counts, "test": test, "max_steps": 50, "won": won, "games": list("abcd")}


RUNS = [
    run("sft", 0, "1000"),
    run("oreo", 0, "1110"),
    run("oreo", 0, "1111", "best_of_k", 5),
    run("sft", 1, "1100"),
    run("oreo", 1, "1100"),
    run("oreo", 1, "0111", "best_of_k", 5),
]


def test_a_row_is_the_mean_over_seeds():
    rows = {row["method"]: row for row in average_runs(RUNS)}
    assert list(rows) == ["sft", "oreo", "oreo best-of-5"]
    oreo = rows["oreo"]
    assert (oreo["n"], oreo["successes"], oreo["per_seed"], oreo["seeds"]) == (8, 5, [0.75, 0.5], [0, 1])
    low, high = oreo["interval95"]
    assert low < 5 / 8 < high
    assert oreo["by_task_type"] == {"kind": {"n": 8, "successes": 4}}


def test_differences_are_paired_by_game_and_seed():
    found = {(one["a"], one["b"]): one for one in compare_rows(RUNS)}
    assert set(found) == {("oreo", "sft"), ("oreo best-of-5", "sft"), ("oreo best-of-5", "oreo")}
    expected = paired_difference([[1, 1, 1, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 0, 0]])
    assert found["oreo", "sft"]["interval95"] == [expected.low, expected.high]
    assert found["oreo", "sft"]["mean"] == expected.mean == 0.25


def test_who_is_told_the_admissible_commands_is_compared_with_others_who_are():
    told = [run("sft", 0, "1100", "constrained"), run("oreo", 0, "1110", "constrained")]
    judged = run("oreo", 0, "1111", "constrained_best_of_k", 3)
    named = [{**one, "method": f"{one['policy']} {one['select']}"} for one in [*told, judged]]
    found = {(one["a"], one["b"]): one["mean"] for one in compare_rows([RUNS[0], RUNS[1], *named])}
    assert found == {
        ("oreo", "sft"): 0.5,
        ("sft constrained", "sft"): 0.25,
        ("oreo constrained", "sft constrained"): 0.25,
        ("oreo constrained", "oreo"): 0.0,
        ("oreo constrained_best_of_k", "sft constrained"): 0.5,
        ("oreo constrained_best_of_k", "oreo constrained"): 0.25,
    }


def test_the_order_of_runs_does_not_matter():
    assert sorted(map(str, compare_rows(RUNS[::-1]))) == sorted(map(str, compare_rows(RUNS)))


def test_seeds_that_only_one_side_has_are_left_out():
    found = {(one["a"], one["b"]): one for one in compare_rows(RUNS[:-2])}
    assert found["oreo", "sft"]["seeds"] == [0] and found["oreo", "sft"]["mean"] == 0.5


def test_different_games_cannot_be_paired():
    other = {**RUNS[1], "games": list("abce")}
    with pytest.raises(ValueError, match="different games"):
        compare_runs([RUNS[0]], [other])


def test_rounds_count_the_last_one():
    runs = [run("io", 0, "1000", round=1), run("io", 0, "1100", round=2), run("io", 0, "1110")]
    found = [(row["round"], row["success_rate"]) for row in average_rounds([*RUNS, *runs])]
    assert found == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert [row["method"] for row in average_runs(runs)] == ["io"]


def test_every_iterated_method_has_rounds_of_its_own():
    long = [run("long", 0, "1000", round=i) for i in (1, 2)] + [run("long", 0, "1100")]
    short = [run("short", 0, "1000", round=1), run("short", 0, "1110")]
    found = [(row["policy"], row["round"]) for row in average_rounds([*long, *short])]
    assert sorted(found) == [("long", 1), ("long", 2), ("long", 3), ("short", 1), ("short", 2)]


def test_a_seed_without_success_does_not_shorten_the_others_wins():
    runs = [run("m", 0, "1110"), {**run("m", 1, "0000"), "mean_steps_success": 0.0}]
    runs += [{**run("m", 2, "1000"), "mean_steps_success": 12.0}]
    (row,) = average_runs(runs)
    assert row["mean_steps_success"] == pytest.approx((3 * 8 + 12) / 4)


def won_in(steps, terminated=True):
    turns = [Turn("o", "a", 0.0, "ok") for _ in range(steps - 1)] + [Turn("o", "a", 1.0, "ok")]
    return Trajectory(tuple(turns), task_type="kind", terminated=terminated, truncated=not terminated)


def test_a_time_out_is_never_a_success():
    assert cut_episode(won_in(40), 40).success
    assert not cut_episode(won_in(41), 40).success and len(cut_episode(won_in(41), 40)) == 40
    assert not cut_episode(won_in(10, terminated=False), 40).success  # a reward, but no end


def test_a_smaller_step_limit_is_read_from_the_same_episodes():
    trial = Trial("m", Selection(), (50, 40), 0, 1)
    episodes = [won_in(10), won_in(45)]
    full, less = (summarise_at_limit(episodes, limit, trial) for limit in trial.step_limits)
    assert (full["successes"], less["successes"]) == (2, 1)
    assert (full["mean_steps"], less["mean_steps"], less["mean_steps_success"]) == (27.5, 25.0, 10.0)
    assert "tokens_per_episode" in full and "tokens_per_episode" not in less


def test_a_context_that_filled_up_later_did_not_end_the_shorter_episode():
    trial = Trial("m", Selection(), (50, 40), 0, 1)
    full = replace(won_in(45, terminated=False), metadata={"ended": "the context is full"})
    before = replace(won_in(30, terminated=False), metadata={"ended": "the context is full"})
    ended = [summarise_at_limit([full, before], limit, trial)["ended_early"] for limit in trial.step_limits]
    assert ended == [{"the context is full": 2}, {"the context is full": 1}]
    broken = replace(won_in(45), metadata={"ended": "the server answers 500", "failed": True})
    assert list(summarise_at_limit([full, broken], 40, trial)["errors"].values()) == [
        "the server answers 500"
    ]


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
