"""The table and the differences, from runs whose outcomes are written down."""

from dataclasses import replace

import pytest

from oreo_agents.agents.selection import Selection
from oreo_agents.evaluation.comparison import (
    Run,
    Setting,
    average_rounds,
    average_runs,
    compare_rows,
    compare_runs,
    settle_runs,
)
from oreo_agents.evaluation.results import Count, Result
from oreo_agents.evaluation.statistics import paired_difference, wilson_interval


def run(
    policy, seed, won, select="greedy", k=1, round=None, name=None, mean_steps_success=8.0, no_repeat=False
):
    selection = Selection(select, k, no_repeat=no_repeat)
    result = Result(
        method=name or (policy if k == 1 else f"{policy} {selection.title}"),
        by_task_type={"kind": Count(4, 2)},
        invalid_action_rate=0.1,
        mean_steps=10.0,
        mean_steps_success=mean_steps_success,
        tokens_per_episode=100.0,
        ended_early={},
        errors={},
        games=tuple("abcd"),
        won=tuple(one == "1" for one in won),
    )
    return Run(Setting("seen", 50, policy, selection, round), seed, None, result)


RUNS = [
    run("sft", 0, "1000"),
    run("oreo", 0, "1110"),
    run("oreo", 0, "1111", "best_of_k", 5),
    run("sft", 1, "1100"),
    run("oreo", 1, "1100"),
    run("oreo", 1, "0111", "best_of_k", 5),
]


def test_a_row_is_the_mean_over_seeds():
    rows = {row.method: row for row in average_runs(RUNS)}
    assert list(rows) == ["sft", "oreo", "oreo best-of-5"]
    oreo = rows["oreo"]
    assert (oreo.n, oreo.successes, oreo.per_seed, oreo.seeds) == (8, 5, (0.75, 0.5), (0, 1))
    low, high = oreo.interval95
    assert low < 5 / 8 < high
    assert oreo.by_task_type == {"kind": Count(8, 4)}


def test_differences_are_paired_by_game_and_seed():
    found = {(one.a, one.b): one for one in compare_rows(RUNS)}
    assert set(found) == {("oreo", "sft"), ("oreo best-of-5", "sft"), ("oreo best-of-5", "oreo")}
    expected = paired_difference([[1, 1, 1, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 1, 0, 0]])
    assert found["oreo", "sft"].difference == expected and expected.mean == 0.25


def test_who_is_told_the_admissible_commands_is_compared_with_others_who_are():
    told = [
        run(policy, 0, won, select, k, name=f"{policy} {select}")
        for policy, won, select, k in (
            ("sft", "1100", "constrained", 1),
            ("oreo", "1110", "constrained", 1),
            ("oreo", "1111", "constrained_best_of_k", 3),
        )
    ]
    found = {(one.a, one.b): one.difference.mean for one in compare_rows([RUNS[0], RUNS[1], *told])}
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
    found = {(one.a, one.b): one for one in compare_rows(RUNS[:-2])}
    assert found["oreo", "sft"].seeds == (0,) and found["oreo", "sft"].difference.mean == 0.5
    assert compare_rows([RUNS[0], RUNS[4]]) == []  # no seed in common


def test_different_games_cannot_be_paired():
    other = replace(RUNS[1], result=replace(RUNS[1].result, games=tuple("abce")))
    with pytest.raises(ValueError, match="different games"):
        compare_runs([RUNS[0]], [other])


def test_rounds_count_the_last_one():
    runs = [run("io", 0, "1000", round=1), run("io", 0, "1100", round=2), run("io", 0, "1110")]
    found = [(row.setting.round, row.success_rate) for row in average_rounds([*RUNS, *runs])]
    assert found == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert [row.method for row in average_runs(runs)] == ["io"]


def test_every_iterated_method_has_rounds_of_its_own():
    long = [run("long", 0, "1000", round=i) for i in (1, 2)] + [run("long", 0, "1100")]
    short = [run("short", 0, "1000", round=1), run("short", 0, "1110")]
    found = [(row.setting.policy, row.setting.round) for row in average_rounds([*long, *short])]
    assert sorted(found) == [("long", 1), ("long", 2), ("long", 3), ("short", 1), ("short", 2)]


def test_a_seed_without_success_does_not_shorten_the_others_wins():
    runs = [run("m", 0, "1110"), run("m", 1, "0000", mean_steps_success=0.0)]
    runs += [run("m", 2, "1000", mean_steps_success=12.0)]
    (row,) = average_runs(runs)
    assert row.mean_steps_success == pytest.approx((3 * 8 + 12) / 4)


def test_what_was_not_measured_is_not_written():
    (row,) = average_runs([RUNS[0]])
    for value in (row, RUNS[0].result):
        written = value.to_json()
        assert "tokens_per_episode" in written and "seconds_per_episode" not in written


def test_who_does_not_repeat_is_compared_with_who_does_not_either():
    """And a critic with the control that needs none, among as many candidates."""
    k5 = {"k": 5, "no_repeat": True}
    runs = [
        *(run("sft", 0, "1000"), run("sft", 0, "1100", **k5), run("sft", 0, "1100", k=3, no_repeat=True)),
        *(run("oreo", 0, "1000"), run("oreo", 0, "1110", **k5)),
        *(run("oreo", 0, "1010", "best_of_k", 5), run("oreo", 0, "1111", "best_of_k", **k5)),
    ]
    assert {(one.a, one.b): one.difference.mean for one in compare_rows(runs)} == {
        ("oreo", "sft"): 0,
        ("sft no-repeat-5", "sft"): 0.25,
        ("sft no-repeat-3", "sft"): 0.25,
        ("oreo no-repeat-5", "sft no-repeat-5"): 0.25,
        ("oreo no-repeat-5", "oreo"): 0.5,
        ("oreo best-of-5", "sft"): 0.25,
        ("oreo best-of-5", "oreo"): 0.25,
        ("oreo best-of-5", "oreo no-repeat-5"): -0.25,
        ("oreo best-of-5 no-repeat", "sft no-repeat-5"): 0.5,
        ("oreo best-of-5 no-repeat", "oreo no-repeat-5"): 0.25,
    }


def test_rows_and_runs_say_rule_temperature_and_weight():
    chosen = Selection("best_of_k", 5, temperature=2.0, logprob_weight=0.03)
    one = run("oreo", 0, "1111")
    of = replace(one.setting, selection=chosen, critic="iql")
    for written in (
        replace(one, setting=of).to_json(),
        average_runs([replace(one, setting=of)])[0].to_json(),
    ):
        assert (written["select"], written["k"]) == ("best_of_k", 5)
        assert (written["temperature"], written["logprob_weight"]) == (2.0, 0.03)
        assert written["rule"] == (
            "the highest V + 0.03 log pi among the greedy command and 4 samples at temperature 2"
        )
        assert (written["no_repeat"], written["critic"]) == (False, "iql")
    plain = one.to_json()
    assert (plain["temperature"], plain["logprob_weight"]) == (None, None)


def silent(one):
    """The same run, of which no episode said whether it was won."""
    counts = {"kind": Count(4, None)}
    result = replace(one.result, won=None, returns=(-1.0,) * 4, by_task_type=counts)
    return replace(one, result=result)


def test_who_never_wins_where_others_do_has_won_nothing():
    lost = silent(run("sft", 0, "0000"))
    first, second = settle_runs([lost, run("oreo", 0, "1110")])
    assert (
        first.result.won == (False,) * 4
        and first.result.mean_return == -1
        and second.result.success_rate == 0.75
    )
    assert first.result.by_task_type == {"kind": Count(4, 0)}
    (difference,) = compare_rows([first, second])
    assert (difference.measure, difference.difference.mean) == ("success", 0.75)
    assert settle_runs([lost]) == [lost], "where nobody wins, nobody knows whether winning is defined"


def test_no_win_in_several_seeds_is_no_certainty():
    (row,) = average_runs([run("sft", 0, "0000"), run("sft", 1, "0000")])
    assert row.interval95 == wilson_interval(0, 8) and row.interval95[1] > 0.3
