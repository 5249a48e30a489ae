r"""How reliable and how fast math grading is: every gold answer of GSM8K and MATH, and corrupted copies.

    python benchmarks/correctness/math_grading.py --data DIR

DIR holds the folders gsm8k/ and math/, each with train.jsonl and test.jsonl (.gz or not). A corrupted copy
has one digit replaced, chosen by seed 0. "symbolic" switches the exact comparison off, so that math-verify
judges every answer on its own. The four rows of MATH that the environment leaves out (two without an
answer, one repeated, one that is also a test problem) are left out here. Rates and costs count the CPU time of
one thread and its worker processes, as the deadline does; rates include the start of a worker. Everything is
written to benchmarks/results/math_grading.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oreo_envs.files import write_json
from oreo_envs.math import grade
from oreo_envs.math.grading.exact import normalise_spelling
from oreo_envs.math.grading.grade import WORKERS
from oreo_envs.math.problems.datasets import load_gsm8k, load_math
from oreo_envs.math.problems.problem import Problem
from oreo_envs.workers import WorkerFailure

RESULTS = Path(__file__).parents[1] / "results" / "math_grading.json"
# Why an answer is not equal to itself, or equals its corrupted copy.
EXPLANATIONS = {
    r"\approx 8.24 \text{ mph}": "math-verify does not parse \\approx; equal by spelling",
    r"\dfrac{1}{29,\!322,\!216}": "a thousands separator inside a fraction; equal as an exact number",
    r"\dfrac{2469}{20,\!000}": "a thousands separator inside a fraction; equal as an exact number",
    r"\frac{12}{5,\!525}": "a thousands separator inside a fraction; equal as an exact number",
    r"05\!:\!00": "a time of day; equal by spelling",
    r"\begin{pmatrix} 1 & -1 \\ 1 & \phantom -1 \end{pmatrix}": "\\phantom; equal by spelling",
    r"0.56 = 56\%": "two forms of one number; only the last one is compared",
    r"\$\dfrac23 \approx \$0.67": "an exact and a rounded form; math-verify compares the exact one",
}
MONSTERS = {
    "tower of exponents": "9^{9^{9^{9^{9}}}}",
    "1 MB of nested braces": r"\boxed{" + "{" * 500_000 + "}" * 500_000 + "}",
    "1 MB of digits": "1" * 1_000_000,
    "factorial of a tower": "10^{10^{10}}!",
}

Pair = tuple[Problem, str]


def symbolic(prediction: str, gold: str) -> bool:
    """Grade by math-verify alone."""
    answers = normalise_spelling(prediction), normalise_spelling(gold)
    try:
        return WORKERS.call("oreo_envs.math.grading.equivalence:is_equivalent", *answers, deadline=5.0)
    except WorkerFailure:
        return False


def measure(pairs: Iterable[Pair], grader: Callable[[str, str], bool], expected: bool) -> dict[str, Any]:
    """Grade every pair; count, rate, and list what came out otherwise than expected."""
    pairs = list(pairs)
    start = cpu_seconds()
    verdicts = [grader(answer, problem.gold or "") for problem, answer in pairs]
    seconds = cpu_seconds() - start
    exceptions = [
        {"problem": problem.name, "gold": problem.gold, "graded": answer, "why": explain(problem)}
        for (problem, answer), verdict in zip(pairs, verdicts, strict=True)
        if verdict is not expected
    ]
    return {
        "graded": len(pairs),
        "as_expected": len(pairs) - len(exceptions),
        "per_core_minute": round(len(pairs) / seconds * 60),
        "exceptions": exceptions,
    }


def cpu_seconds() -> float:
    """CPU time of this process and of its workers, which are ended so that theirs is counted."""
    WORKERS.close()
    return sum(os.times()[:4])


def explain(problem: Problem) -> str:
    return EXPLANATIONS.get(problem.gold or "", "unexplained")


def corrupted(problems: Iterable[Problem]) -> Iterable[Pair]:
    """Each answer that has a digit, with one digit replaced by another."""
    rng = random.Random(0)
    for problem in problems:
        gold = problem.gold or ""
        places = [place for place, character in enumerate(gold) if character in "0123456789"]
        if places:
            place = rng.choice(places)
            digit = rng.choice([digit for digit in "0123456789" if digit != gold[place]])
            yield problem, gold[:place] + digit + gold[place + 1 :]


def cost_of_monsters() -> dict[str, float]:
    """CPU seconds that pathological expressions cost, with the deadline of 1 s; a worker's start is taken off."""
    start = cpu_seconds()
    assert grade(r"\sqrt8", r"2\sqrt2")
    usual = cpu_seconds() - start
    costs = {}
    for name, monster in MONSTERS.items():
        start = cpu_seconds()
        assert grade(r"\sqrt8", r"2\sqrt2")
        assert not grade(monster, r"\sqrt7")
        costs[name] = round(cpu_seconds() - start - usual, 2)
    return costs


def run(data: Path) -> dict[str, Any]:
    gsm8k = [*load_gsm8k(data / "gsm8k", "train"), *load_gsm8k(data / "gsm8k", "test")]
    math = [*load_math(data / "math", "train"), *load_math(data / "math", "test")]
    return {
        "gsm8k, solutions against gold": measure(((p, "\n".join(p.solution)) for p in gsm8k), grade, True),
        "gsm8k, corrupted copies": measure(((p, f"#### {c}") for p, c in corrupted(gsm8k)), grade, False),
        "math, gold against itself": measure(((p, rf"\boxed{{{p.gold}}}") for p in math), grade, True),
        "math, gold against itself, symbolic": measure(((p, p.gold or "") for p in math), symbolic, True),
        "math, corrupted copies": measure(corrupted(math), grade, False),
        "CPU seconds for pathological expressions": cost_of_monsters(),
        "versions": {name: version(name) for name in ("math-verify", "latex2sympy2_extended", "sympy")},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Grade every gold answer of GSM8K and MATH.")
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/ and math/")
    results = run(parser.parse_args().data)
    write_json(RESULTS, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
