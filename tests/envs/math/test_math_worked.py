"""Worked solutions against arithmetic done by Python, and by hand."""

from fractions import Fraction

import pytest
from oreo_envs.math.problems.procedural import ProceduralProblems
from oreo_envs.math.problems.worked import evaluation_steps


@pytest.mark.parametrize(
    ("expression", "steps"),
    [
        ("205 - 838 + 505", ("205 - 838 = -633", "-633 + 505 = -128")),
        ("2 + 3 * (4 - 6)", ("4 - 6 = -2", "3 * -2 = -6", "2 + -6 = -4")),
        ("-(2 + 3) * 2", ("2 + 3 = 5", "-(5) = -5", "-5 * 2 = -10")),
        ("10 / 4", ("10 / 4 = 2.5",)),
        ("0.1 + 0.2", ("0.1 + 0.2 = 0.3",)),
        ("100 - 100", ("100 - 100 = 0",)),
        ("7", ()),
        ("1 / 3", ()),
        ("1 / 0", ()),
        ("9 ** 9 ** 9", ()),
        ("x + 1", ()),
        ("True + 1", ()),
        ("2 +", ()),
        ("(" * 5000, ()),
        ("", ()),
    ],
)
def test_one_operation_a_step(expression, steps):
    assert evaluation_steps(expression) == steps


@pytest.mark.parametrize("task", ["chain_sum", "decimal_chain_sum", "basic_arithmetic", "products"])
def test_every_step_is_true_and_the_last_gives_the_answer(task):
    for problem in ProceduralProblems(task, size=60):
        *worked, final = problem.solution
        for step in worked:
            left, right = step.split(" = ")
            assert abs(eval(left) - float(right)) <= 1e-9 * max(1, abs(float(right)))
        assert final == f"#### {problem.gold}"
        assert not worked or Fraction(worked[-1].split(" = ")[1]) == Fraction(problem.gold)
