"""Search over steps against a toy problem whose every value is known, and against hand-counted votes."""

import random

import pytest

from oreo_agents.inference.solution_search import beam_search, sample_solutions, search_solutions
from oreo_agents.inference.solutions import Solution, Step
from oreo_agents.inference.votes import majority_vote, value_vote

TARGET = (1, 0, 1, 1, 0, 1, 0, 0)


class Digits:
    """Write TARGET digit by digit; V is the exact chance that random digits finish it, given the digits so far."""

    def __init__(self, seed=0, digits=2):
        self.random, self.digits = random.Random(seed), digits
        self.calls = []

    def value(self, digits):
        right = tuple(digits) == TARGET[: len(digits)]
        return self.digits ** -(len(TARGET) - len(digits)) if right else 0.0

    def expand(self, solutions, n):
        self.calls.append((len(solutions), n))
        assert not any(solution.final for solution in solutions)
        return [[self.step(solution) for _ in range(n)] for solution in solutions]

    def step(self, solution):
        digits = [int(step.text) for step in solution.steps] + [self.random.randrange(self.digits)]
        return Step(str(digits[-1]), self.value(digits), final=len(digits) == len(TARGET))


def written(solution):
    return tuple(int(step.text) for step in solution.steps)


def success(search, trials=60):
    return sum(written(search(Digits(seed)).best) == TARGET for seed in range(trials)) / trials


def test_exact_values_lead_the_beam_to_the_answer():
    """Four samples miss the right one of two digits with 1/16, so seven rounds succeed with (15/16)^7 = 64 %."""
    assert success(lambda digits: beam_search(digits, 4)) == pytest.approx((15 / 16) ** 7, abs=0.2)
    assert success(lambda digits: beam_search(digits, 1)) < 0.1


def test_the_beam_beats_best_of_n_at_equal_budget():
    def best_of_n(digits):
        return sample_solutions(digits, n=16)

    assert beam_search(Digits(0), 4).sampled_steps <= best_of_n(Digits(0)).sampled_steps == 16 * len(TARGET)
    assert success(lambda digits: beam_search(digits, 4)) > success(best_of_n) + 0.3


def test_rounds_cost_beams_times_expansions():
    digits = Digits()
    found = beam_search(digits, beams=3, expansions=5)
    assert digits.calls[0] == (1, 15) and all(n == 5 and 1 <= kept <= 3 for kept, n in digits.calls[1:])
    assert found.sampled_steps == sum(kept * n for kept, n in digits.calls)


def test_equal_steps_are_kept_once():
    class Stubborn(Digits):
        def step(self, solution):
            return Step("7", 1.0, final=len(solution.steps) == 2)

    digits = Stubborn()
    (solution,) = beam_search(digits, 4).solutions
    assert solution.text == "7\n7\n7" and digits.calls == [(1, 16), (1, 4), (1, 4)]


def test_finished_solutions_keep_competing_and_the_better_one_wins():
    class EarlyOrLate:
        """Finish at once with V = 0.6, or go on: to 0.5 and then to 0.9."""

        def expand(self, solutions, n):
            later = {0: [Step("stop", 0.6, True), Step("go on", 0.5)], 1: [Step("end", 0.9, True)]}
            return [(later[len(solution.steps)] * n)[:n] for solution in solutions]

    found = beam_search(EarlyOrLate(), beams=2)
    assert [solution.text for solution in found.solutions] == ["go on\nend", "stop"]


def test_without_a_finished_solution_the_best_partial_one_is_returned():
    found = beam_search(Digits(1), 4, max_steps=2)
    assert not found.best.final and len(found.best.steps) == 2
    assert found.best.value == max(solution.value for solution in found.solutions)


def test_final_solutions_come_before_better_unfinished_ones():
    class Half:
        def expand(self, solutions, n):
            return [[Step("a", 0.1, True), Step("b", 0.9)] for _ in solutions]

    assert beam_search(Half(), 2, max_steps=1).best.text == "a"


def solved(answer, value):
    return Solution((Step(answer, value, True),))


@pytest.mark.parametrize(
    ("votes", "majority", "weighted"),
    [
        ([("8", 0.1), ("8", 0.2), ("9", 0.9)], "8", "9"),
        ([("8", 0.4), ("9", 0.5)], "9", "9"),
        ([("8", -3.0), ("8", -3.0), ("9", 0.1)], "8", "9"),
        ([("", 5.0), ("8", 0.1)], "8", "8"),
        ([("", 5.0)], None, None),
        ([], None, None),
    ],
)
def test_votes_by_hand(votes, majority, weighted):
    solutions = [solved(*vote) for vote in votes]
    assert majority_vote(solutions, lambda solution: solution.text or None) == majority
    assert value_vote(solutions, lambda solution: solution.text or None) == weighted


def rated(*rows):
    """Proposes one-step solutions with these values."""

    class Rated:
        def expand(self, solutions, n):
            assert len(solutions) == 1
            return [[Step(text, value, True) for text, value in rows[:n]]]

    return Rated()


def test_every_rule_takes_its_own_of_the_same_solutions():
    expander = rated(("a 1", 0.9), ("b 2", 0.4), ("c 2", 0.5), ("d 3", 0.8))
    answer = lambda solution: solution.text[-1]  # noqa: E731
    chosen = {
        rule: search_solutions(expander, rule, 2, answer).best.text
        for rule in ("best_of_n", "majority_vote", "value_vote")
    }
    assert chosen == {"best_of_n": "a 1", "majority_vote": "c 2", "value_vote": "a 1"}
    nobody = search_solutions(expander, "majority_vote", 2, lambda solution: None)
    assert nobody.best.text == "a 1"


@pytest.mark.parametrize("rule", ["beam", "best_of_n", "majority_vote", "value_vote"])
def test_no_rule_exceeds_the_beams_budget(rule):
    found = search_solutions(Digits(0), rule, 3, lambda solution: solution.text, max_steps=4)
    assert found.sampled_steps <= 4 * 3 * 3


def test_log_probability_weight_trades_value_against_likelihood():
    class Two:
        def expand(self, solutions, n):
            return [[Step("odd", 0.52, True, -4.0), Step("usual", 0.50, True, -0.5)] for _ in solutions]

    for weight, text in ((0.0, "odd"), (0.03, "usual")):
        assert beam_search(Two(), 1, logprob_weight=weight).best.text == text
        assert sample_solutions(Two(), 2, logprob_weight=weight).best.text == text
        solution = sample_solutions(Two(), 2, logprob_weight=weight).best
        assert solution.value in (0.50, 0.52)  # ranking leaves V alone
