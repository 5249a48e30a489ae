import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from oreo_envs.math import extract_answer, grade
from oreo_envs.math.grading.exact import compare_answers, normalise_spelling


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She makes 9 * 2 = $18.\n#### 18", "18"),
        ("#### 1,234.\n", "1,234"),
        ("####18", "18"),
        ("#### 5\nwait\n#### 6", "6"),
        ("#### \n", None),
        ("#### Step 2: add\n3 + 4", None),
        (r"so \boxed{\frac{1}{\sqrt{2}}}.", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{1} or rather $\boxed{ 2 }$", "2"),
        (r"\boxed{x \in \{1, 2\}}", r"x \in \{1, 2\}"),
        (r"\boxed{\text{so } \boxed{5}}", "5"),
        (r"\boxed 7$", "7"),
        (r"\fbox{8}", "8"),
        (r"\boxed{3} and \boxed{never closed", None),  # what the last one said is not known
        (r"\boxed{}", None),
        ("<answer>1 2\n3 4</answer>", "1 2\n3 4"),
        ("The answer is 18.", "18"),
        ("So the final answer is: $\\frac12$, as we saw.", r"\frac12"),
        ("**Answer:** 3.5 hours", "3.5 hours"),
        ("The answer is \\(x = 5\\).", "x = 5"),
        ("The answer is (C)", "(C)"),
        ("The answer is Evelyn.", "Evelyn"),
        ("The answer is not known yet", None),
        ("The answer is the sum of all of those numbers", None),
        ("The answer is $5. No, the answer is $6.", "$6"),
        ("9 * 2 = 18", None),
        ("the boxed set has 4 apples", None),
        ("Answer: ", None),
        ("The answer is **42**.", "42"),
        ("The answer is -3, because 2 - 5 = -3", "-3"),
        ("", None),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer


EQUAL = [
    # numbers
    ("18", "18"), ("18.0", "18"), ("$18", "18"), (r"\$18.90", "18.9"), ("1,234", "1234"), ("007", "7"),
    (r"2,\!598,\!960", "2598960"), (r"20{,}000", "20000"), ("-0", "0"), ("\u22125", "-5"), ("+5", "5"),
    ("#### 57500", "57,500"), ("The answer is 18.", "#### 18"), (r"$\boxed{18}$", "18"),
    # fractions
    ("1/2", r"\frac12"), ("0.5", r"\frac{1}{2}"), (".5", r"\dfrac12"), (r"-\frac 32", "-1.5"),
    (r"\frac{-3}{2}", "-1.5"), ("2/4", "1/2"), (r"2\frac{1}{3}", "7/3"), ("1 1/2", r"\frac32"),
    (r"\tfrac{10}{4}", "2.5"), (r"\frac{12}{5,525}", "12/5525"),
    # per cent
    (r"50\%", "50"), ("50%", r"50\%"), ("0.5", r"50\%"), ("50 percent", r"50\%"), (r"50\%", r"\frac12"),
    # units
    ("18 dollars", "18"), ("440", r"440\text{ cm}^2"), (r"440\text{ cm}^2", "440 square cm"),
    ("120", r"120^\circ"), (r"120^{\circ}", "120 degrees"), (r"2\sqrt{3}", r"2\sqrt{3}\text{ cm}"),
    (r"5\,\text{cm}", "5"), (r"15\mbox{ cm}^2", "15"),
    # words
    ("evelyn", r"\text{Evelyn}"), ("C", r"\text{(C)}"), ("(C)", "C"), ("C, E", r"\text{E,C}"),
    ("1:03 p.m.", r"\text{1:03 PM}"), (r"\mbox{four}", "four"), ("no solution", r"\text{No solution}"),
    # numerals in a base
    ("20412_5", "20412_{5}"), ("20412", "20412_5"), (r"-37_8", r"-37_{8}"),
    # algebra
    (r"2\sqrt{2}", r"\sqrt{8}"), ("2*sqrt(2)", r"\sqrt8"), (r"\frac{\pi}{2}", r"\frac\pi2"),
    ("6\u03c0", r"6\pi"),
    ("x^2+2x+1", "(x+1)^2"), ("x**2 + 2*x + 1", "(x+1)^2"), ("a + c + b", "a + b + c"), ("3+4i", "4i+3"),
    (r"3^{2006}\cdot 3", "3^{2007}"), (r"\sin^2 t", r"1-\cos^2 t"), (r"\binom{5}{2}", "10"),
    ("5", "x=5"), ("x = 5", "5"), ("y = 2x+1", "2x+1=y"), ("x+1", "f(x)=x+1"),
    # sets, lists, tuples, intervals, matrices
    ("2,1", "1,2"), (r"\{2,1\}", r"\{1,2\}"), ("1,2", r"\{1,2\}"), (r"-5, -2, 7", r"7, -2, \text{ and } -5"),
    ("0.5, 1", r"\frac12, 1"), (r"\pm 2", "2,-2"), ("(1, 2)", r"\left(1,2\right)"),
    (r"(\frac12, 3)", "(0.5,3)"),
    (r"[4,\infty)\cup(-\infty,3]", r"(-\infty,3] \cup [4,\infty)"),
    ("(-oo, 3] U [4, oo)", r"(-\infty,3]\cup[4,\infty)"),
    (r"\begin{pmatrix} 1/2 \\ 3 \end{pmatrix}", r"\begin{pmatrix}0.5\\3\end{pmatrix}"),
]  # fmt: skip
DIFFERENT = [
    ("17", "18"), ("-18", "18"), ("1.8", "18"), ("180", "18"), ("1234", "1,243"), ("0.33", "1/3"),
    ("0.3333333", "1/3"),
    ("3 million", "3"), ("1/0", "2"), (r"5\%", r"0.05\%"), ("50", "0.5"), ("1:03 AM", r"\text{1:03 PM}"),
    ("seat", r"\text{east}"), ("D", r"\text{(C)}"), ("C", r"\text{C,E}"), ("odd", "even"),
    ("20412_6", "20412_5"), ("-37_2", "-37_8"), ("2", "2k"), ("9+6", "9c+6"), (r"36", r"36\pi"),
    ("3.14", r"\pi"),
    (r"\frac{1}{7^{98}}", r"\frac{1}{2^{98}}"), ("3-4i", "3+4i"), ("13", "x^2 + y^2 = 13"),
    ("y = 2x+2", "y = 2x+1"),
    ("(2,1)", "(1,2)"), ("[1,2]", "(1,2)"), ("[1,2)", "(1,2]"), ("8", "8,-112"), ("5 or 6", "6"),
    ("5, 6, 7", "5, 6"),
    (r"\begin{pmatrix}3\\1\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
    ("", "5"), ("5", ""), ("", ""), (None, "5"), ("   ", "5"), ("$$", "5"), ("\ufffd", "5"),
    ("x" * 5000, "x"),
]  # fmt: skip


@pytest.mark.parametrize(("prediction", "gold"), EQUAL)
def test_equal_answers(prediction, gold):
    assert grade(prediction, gold)


@pytest.mark.parametrize(("prediction", "gold"), DIFFERENT)
def test_different_answers(prediction, gold):
    assert not grade(prediction, gold)


@pytest.mark.parametrize(
    "gold", ["18", "1,234", "-3.5", r"\frac{3}{4}", r"25\%", r"\text{odd}", r"8\text{ meals}"]
)
def test_usual_answers_need_no_worker(gold):
    wrong = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), gold).replace("odd", "even")
    assert compare_answers(normalise_spelling(gold), normalise_spelling(gold)) is True
    assert compare_answers(normalise_spelling(wrong), normalise_spelling(gold)) is False


@pytest.mark.parametrize(
    "monster",
    [
        "9^{9^{9^{9^{9}}}}",
        "{" * 1_000_000,
        r"\boxed{" + "{" * 500_000 + "}" * 500_000 + "}",
        r"\boxed{" * 100_000,
        "####" * 200_000,
        "the answer is " * 50_000,
        "answer" + " " * 500_000,
        "(" * 900 + "1" + ")" * 900,
        r"\frac{" * 300,
        "1" * 1_000_000,
        "10^{10^{10}}!",
    ],
    ids=lambda monster: monster[:12],
)
def test_no_expression_costs_more_than_the_deadline(monster):
    assert grade(r"\sqrt{28}/2", r"\sqrt7")  # a worker is there and warm
    start = time.perf_counter()
    assert not grade(monster, r"\sqrt{7}", deadline=0.5)
    assert time.perf_counter() - start < 3.5  # half a second; on a busy machine up to five times that
    assert grade(r"\sqrt{28}/2", r"\sqrt7") and not grade(r"\sqrt{28}", r"\sqrt7")


def test_threads_grade_at_once_and_get_their_own_verdicts():
    main = threading.get_ident()
    jobs = [(rf"\sqrt{{{4 * n}}}", rf"2\sqrt{{{n if n % 3 else n + 1}}}", bool(n % 3)) for n in range(2, 40)]

    def verdict(job):
        assert threading.get_ident() != main
        return grade(job[0], job[1], deadline=20) == job[2]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(verdict, jobs))


def test_grading_needs_no_main_guard_and_imports_nothing_heavy(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import oreo_envs\n"
        "from oreo_envs.math import grade\n"
        "print(grade('1/2', '0.5'), grade(r'\\sqrt8', r'2\\sqrt2'), 'sympy' in sys.modules)\n"
    )
    finished = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (finished.stdout, finished.stderr) == ("True True False\n", "")
