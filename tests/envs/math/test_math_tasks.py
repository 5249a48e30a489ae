import gzip
import json
import sys
from types import SimpleNamespace

import pytest
import shared_data
from oreo_envs.errors import DataNotFoundError, OreoError, ProblemFileError
from oreo_envs.math import extract_answer, grade
from oreo_envs.math.problems.datasets import load_gsm8k, load_math

DATA = shared_data.DATA
needs_data = pytest.mark.skipif(
    not (DATA / "gsm8k").is_dir(), reason="needs GSM8K and MATH in ../shared/data beside the repository"
)

APPLES = {"question": "2 apples and 3 apples?", "answer": "2 + 3 = <<2+3=5>>5 apples.\n\nSo 5.\n#### 5"}
ROOTS = {
    "problem": "What is $x$?",
    "level": "Level 2",
    "type": "Algebra",
    "solution": r"We have $x^2 = 4.$ Since $x > 0$, we get $x = \boxed{2}$. Check it. Done.",
}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_gsm8k_rows_become_problems(tmp_path):
    write(tmp_path / "test.jsonl", APPLES, APPLES | {"question": "Again?"})
    problems = load_gsm8k(tmp_path, "test")
    assert problems.names == ("gsm8k/test/0", "gsm8k/test/1")
    assert problems[0].gold == "5" and problems[0].question == APPLES["question"]
    assert problems[0].solution == ("2 + 3 = 5 apples.", "So 5.", "#### 5")
    assert problems.is_right(problems[0], "5 apples") and not problems.is_right(problems[0], "6")


def test_math_rows_become_problems(tmp_path):
    other = {"problem": "Half?", "level": "Level ?", "type": "Prealgebra", "answer": r"\frac12", "index": 7}
    problems = load_math(write(tmp_path / "mine.jsonl", ROOTS, other))
    assert problems[0].solution == ("We have $x^2 = 4.$", r"Since $x > 0$, we get $x = \boxed{2}$.")
    assert (problems[0].gold, problems[0].level, problems[0].subject) == ("2", "Level 2", "Algebra")
    assert (problems[1].gold, problems[1].level, problems[1].solution) == (
        r"\frac12",
        "",
        (r"\boxed{\frac12}",),
    )


def test_compressed_or_not_file_or_folder(tmp_path):
    plain = write(tmp_path / "train.jsonl", APPLES)
    (tmp_path / "zipped").mkdir()
    packed = tmp_path / "zipped" / "train.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    assert len({load_gsm8k(source)[:] for source in (plain, tmp_path, packed, packed.parent)}) == 1


def test_blank_lines_and_a_byte_order_mark_are_no_problems(tmp_path):
    plain = write(tmp_path / "plain.jsonl", APPLES)
    odd = tmp_path / "odd.jsonl"
    odd.write_text("\n" + plain.read_text() + "  \n\n", encoding="utf-8-sig")
    assert load_gsm8k(odd)[:] == load_gsm8k(plain)[:]


def test_repeated_problems_come_once_and_rows_keep_their_numbers(tmp_path):
    problems = load_gsm8k(write(tmp_path / "a.jsonl", APPLES, APPLES, APPLES | {"question": "Other?"}))
    assert problems.names == ("gsm8k/train/0", "gsm8k/train/2")
    assert problems.row(2) == problems.index("gsm8k/train/2") == 1
    with pytest.raises(DataNotFoundError, match="gsm8k/train/1"):
        problems.row(1)


@pytest.mark.parametrize(
    ("load", "rows", "message"),
    [
        (load_gsm8k, [APPLES, "{not json"], "row 2 is not JSON"),
        (load_gsm8k, ["[" * 100_000], "row 1 is not JSON"),
        (load_gsm8k, [APPLES, "[1, 2]"], "row 2 is not a JSON object"),
        (load_gsm8k, [{"question": "?"}], 'row 1: its "answer" is missing'),
        (load_gsm8k, [{"question": "?", "answer": 5}], 'row 1: its "answer" is not a text'),
        (load_gsm8k, [{"answer": "#### 5"}], 'row 1: its "question" is missing'),
        (load_gsm8k, [{"question": " ", "answer": "#### 5"}], 'row 1: its "question" is empty'),
        (
            load_gsm8k,
            [APPLES, APPLES, {"question": "?", "answer": "5"}],
            'row 3: .* does not end in "#### N"',
        ),
        (load_gsm8k, [{"question": "?", "answer": "#### "}], 'row 1: .* does not end in "#### N"'),
        (load_gsm8k, [{"question": "?" * 30_000, "answer": "#### 5"}], "more than 20,000 characters"),
        (load_gsm8k, [], "no problems"),
        (load_math, [ROOTS, {"problem": "?"}], "row 2: it has neither"),
        (load_math, [{"problem": "?", "answer": " "}], "row 1: it has neither"),
        (load_math, [{"problem": "?", "solution": "It is 5."}], "row 1: it has neither"),
        (load_math, [{"problem": "?", "answer": None}], 'row 1: its "answer" is missing'),
    ],
)
def test_bad_rows_are_named(tmp_path, load, rows, message):
    path = write(tmp_path / "train.jsonl", *rows)
    with pytest.raises(ProblemFileError, match=message) as error:
        load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(json.dumps(APPLES).encode() * 50, mtime=0)[:-9],
        b"not gzip at all",
        gzip.compress(b'{"question": "\xff\xfe"}', mtime=0),
        gzip.compress(json.dumps(APPLES).encode() + b"\n", mtime=0)[:20] + b"\0" * 40,
    ],
)
def test_damaged_archives_are_named(tmp_path, content):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ProblemFileError, match=r"cannot be read past row 0 .*copy it again") as error:
        load_gsm8k(path)
    assert str(path) in str(error.value)


def test_missing_data_is_named(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"has no test\.jsonl"):
        load_gsm8k(tmp_path, "test")
    with pytest.raises(DataNotFoundError, match="does not exist"):
        load_math(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="'train', 'test'"):
        load_gsm8k(tmp_path, "valid")


@pytest.mark.parametrize("value", ["gsm8k/train/7", "", "x" * 1000, 2, -1, 10**30])
def test_missing_problems_are_named(tmp_path, value):
    problems = load_gsm8k(write(tmp_path / "a.jsonl", APPLES, APPLES | {"question": "Other?"}))
    with pytest.raises(DataNotFoundError, match=r"no problem"):
        problems.index(value)


def test_without_data_the_hub_is_asked(monkeypatch):
    asked = []

    def load_dataset(repository, config, split):
        asked.append((repository, config, split))
        return [APPLES]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert load_gsm8k(split="test").names == ("gsm8k/test/0",)
    assert asked == [("openai/gsm8k", "main", "test")]


def test_without_the_hub_the_error_says_what_to_do(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("offline\nlong trace")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataNotFoundError, match=r"openai/gsm8k cannot be downloaded \(offline\); pass data="):
        load_gsm8k()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataNotFoundError, match="pip install datasets"):
        load_math()


@needs_data
def test_all_of_gsm8k_grades_itself_and_nothing_else():
    problems = [*load_gsm8k(DATA / "gsm8k", "train"), *load_gsm8k(DATA / "gsm8k", "test")]
    assert len(problems) == 8_792
    for problem in problems:
        gold = problem.gold
        assert grade(problem.solution[-1], gold) and grade(f"... #### {gold}.00", gold), problem.name
        for wrong in (f"{gold}1", f"{gold}.5", f"{gold[:-1]}{9 - int(gold[-1])}", f"-{gold}1"):
            assert not grade(f"#### {wrong}", gold), (problem.name, wrong)


@needs_data
def test_all_of_math_states_and_grades_itself():
    train, test = load_math(DATA / "math", "train"), load_math(DATA / "math", "test")
    assert (len(train), len(test)) == (7_496, 5_000)
    left_out = set(range(7_500)) - {int(name.rpartition("/")[2]) for name in train.names}
    assert left_out == {959, 2948, 5341, 5343}
    assert not {p.question for p in train} & {p.question for p in test}
    assert all(grade(extract_answer(p.solution[-1]), p.gold) for p in [*train, *test])
    assert [p.name for p in train if not p.level] == ["math/train/2773", "math/train/2832"]


def test_errors_are_of_the_projects_tree():
    assert issubclass(ProblemFileError, OreoError)
