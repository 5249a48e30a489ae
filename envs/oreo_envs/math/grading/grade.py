r"""Decide whether an answer is right.

The usual answers (numbers, fractions, percentages, words) are compared exactly and at once; everything else
goes to math-verify in a worker process with a hard deadline, so no expression can hang or kill the caller.
``grade`` may be called from any thread. Knows nothing about problems or environments.
"""

from __future__ import annotations

from oreo_envs.math.grading.exact import compare_answers, normalise_spelling
from oreo_envs.math.grading.extraction import extract_answer
from oreo_envs.workers import WorkerFailure, WorkerPool

DEADLINE_SECONDS = 1.0
MAX_ANSWER_CHARS = 2_000
"""No answer is longer; what is, is wrong (the longest of MATH has 159 characters)."""

WORKERS = WorkerPool(size=2)


def grade(prediction: str | None, gold: str, *, deadline: float = DEADLINE_SECONDS) -> bool:
    r"""Whether ``prediction`` gives the answer ``gold``.

    Both may be bare answers (``\frac12``) or texts that state one (``... #### 18``). Spelling does not count
    (spaces, ``\left``, ``\dfrac``, ``\text``, currency, thousands separators), and units are ignored:
    ``18 dollars`` is 18. A percentage equals its number and its value (50 % is 50 and 0.5). Decimals
    are exact: 0.33 is not 1/3. The order of a list does not count, the order of a tuple does.

    Args:
        prediction: the answer to grade; None and "" are wrong.
        gold: the reference answer; nothing equals an empty one.
        deadline: CPU seconds that a comparison by math-verify may take; a longer one counts as unequal.

    Raises:
        ImportError: math-verify is not installed and the answers are no plain numbers or words.

    >>> grade("so the answer is 1/2.", r"\frac12"), grade("1,234", "1243")
    (True, False)
    """
    given, expected = _read_answer(prediction or ""), _read_answer(gold)
    if not given or not expected or max(len(given), len(expected)) > MAX_ANSWER_CHARS:
        return False
    verdict = compare_answers(given, expected)
    return verdict if verdict is not None else _compare_in_worker(given, expected, deadline)


def _read_answer(text: str) -> str:
    answer = extract_answer(text) or text
    return normalise_spelling(answer) if len(answer) <= 2 * MAX_ANSWER_CHARS else answer


def _compare_in_worker(given: str, expected: str, deadline: float) -> bool:
    try:
        return WORKERS.call(
            "oreo_envs.math.grading.equivalence:is_equivalent", given, expected, deadline=deadline
        )
    except WorkerFailure:
        return False
