r"""Problems with their answers: GSM8K and MATH from JSONL files or the Hugging Face Hub.

A set of problems is a sequence; ``names`` are stable (``gsm8k/test/17`` is row 17, counted from 0, of the
test file) and ``index`` finds them. Knows nothing about episodes; :mod:`oreo_envs.math.problems.procedural` makes
problems instead of reading them.

MATH has oddities, handled here. Train rows 5341 and 5343 have no answer, 959 repeats 925, and 2948 is also
test problem 4656: these four are left out of the train split. Two rows have the level ``Level ?``, shown
as "". GSM8K's solutions lose their calculator annotations (``<<2*3=6>>``).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from oreo_envs.errors import DataNotFoundError, ProblemFileError
from oreo_envs.files import open_file
from oreo_envs.math.grading.extraction import extract_answer, states_answer
from oreo_envs.math.grading.grade import grade
from oreo_envs.math.problems.problem import SPLITS, PathLike, Problem, Problems, Split
from oreo_envs.math.problems.steps import GSM8K_DELIMITERS, MATH_DELIMITERS, split_steps

MAX_PROBLEM_CHARS = 20_000


class ReadProblems(Problems):
    """Problems in memory, graded by :func:`oreo_envs.math.grade`."""

    made_on_demand = False

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = tuple(problems)
        self.names = tuple(problem.name for problem in self._problems)

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, position: Any) -> Any:
        return self._problems[position]

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether ``answer`` equals the gold answer."""
        return problem.gold is not None and grade(answer, problem.gold)


def load_gsm8k(data: PathLike | None = None, split: Split = "train") -> ReadProblems:
    """Read GSM8K: rows with ``question`` and ``answer``, a worked solution that ends in ``#### N``.

    Args:
        data: a JSONL file, or a folder with ``train.jsonl`` and ``test.jsonl``, each ``.gz`` or not.
            None downloads the dataset from the Hugging Face Hub.
        split: "train" or "test"; for a single file, only a name.

    Raises:
        DataNotFoundError: there is no such file, or the Hub cannot be read.
        ProblemFileError: the file is damaged, or a row is not a problem.
    """
    return _load_split("gsm8k", data, split, ("openai/gsm8k", "main"), _gsm8k_problem)


def load_math(data: PathLike | None = None, split: Split = "train") -> ReadProblems:
    r"""Read MATH: rows with ``problem``, ``level``, ``type``, and ``answer`` or ``solution``.

    A ``solution`` states its answer in ``\boxed{...}``. Arguments and errors: see :func:`load_gsm8k`.
    """
    return _load_split("math", data, split, ("DigitalLearningGmbH/MATH-lighteval", "default"), _math_problem)


# ------------------------------------------------------------------------------------------- one row

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
# First 16 hexadecimal digits of the SHA-256 of the question, white space normalised.
_WITHOUT_ANSWER = {"79595ba3b4cfcfe2", "81a7fe8e017d681c"}
_TRAIN_ROWS_OF_THE_TEST_SPLIT = {"98fc77ec11ec6bfc"}

Row = Mapping[str, Any]


def _gsm8k_problem(name: str, row: Row) -> Problem:
    answer = _require_text(row, "answer")
    worked, marker, gold = answer.rpartition("####")
    if not marker or not gold.strip():
        raise ValueError('its "answer" does not end in "#### N"')
    steps = split_steps(_ANNOTATION.sub("", worked), GSM8K_DELIMITERS)
    gold = gold.strip()
    return Problem(
        name,
        _require_text(row, "question"),
        gold,
        worked_solution(steps, f"#### {gold}"),
        "gsm8k",
        "",
        "gsm8k",
    )


def _math_problem(name: str, row: Row) -> Problem | None:
    question = _require_text(row, "problem")
    digest = hashlib.sha256(" ".join(question.split()).encode("utf-8", "replace")).hexdigest()[:16]
    if digest in _WITHOUT_ANSWER or (digest in _TRAIN_ROWS_OF_THE_TEST_SPLIT and "/train/" in name):
        return None
    worked = _require_text(row, "solution") if row.get("solution") else ""
    gold = (_require_text(row, "answer") if "answer" in row else extract_answer(worked) or "").strip()
    if not gold:
        raise ValueError('it has neither an "answer" nor a "solution" with \\boxed{...}')
    level, subject = (str(row.get(key) or "") for key in ("level", "type"))
    steps = worked_solution(split_steps(worked, MATH_DELIMITERS), rf"\boxed{{{gold}}}")
    return Problem(
        name, question, gold, steps, subject or "math", "" if level.endswith("?") else level, subject
    )


def _require_text(row: Row, key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f'its "{key}" is {"missing" if value is None else "not a text"}')
    if key != "answer" and not value.strip():
        raise ValueError(f'its "{key}" is empty')
    if len(value) > MAX_PROBLEM_CHARS:
        raise ValueError(f'its "{key}" has more than {MAX_PROBLEM_CHARS:,} characters')
    return value


def worked_solution(steps: Iterable[str], final: str) -> tuple[str, ...]:
    """The steps up to the first that states an answer; ``final`` instead of that one if it states another."""
    steps = [step.strip() for step in steps if step.strip()]
    before = tuple(takewhile(lambda step: not states_answer(step), steps))
    stating = steps[len(before)] if len(before) < len(steps) else final
    return (*before, stating if extract_answer(stating) == extract_answer(final) else final)


# ------------------------------------------------------------------------------------------- many rows

LINE = 1 << 24
"""Characters of a line that is still read."""
_DAMAGE = (OSError, EOFError, UnicodeDecodeError, zlib.error)
Reader = Callable[[str, Row], Problem | None]


def _load_split(
    dataset: str, data: PathLike | None, split: str, hub: tuple[str, str], read: Reader
) -> ReadProblems:
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is none of {', '.join(map(repr, SPLITS))}")
    source, rows = _hub_rows(*hub, split) if data is None else _file_rows(Path(data), split)
    problems: dict[str, Problem] = {}
    for number, row in enumerate(rows):
        try:
            problem = read(f"{dataset}/{split}/{number}", row)
        except ValueError as fault:
            raise ProblemFileError(f"{source}, row {number + 1}: {fault}") from fault
        if problem is not None:
            problems.setdefault(" ".join(problem.question.split()), problem)
    if not problems:
        raise ProblemFileError(f"{source} has no problems; it should have one JSON object per line")
    return ReadProblems(problems.values())


def _file_rows(data: Path, split: str) -> tuple[str, Iterator[Row]]:
    candidates = [data, *(data / f"{split}.jsonl{suffix}" for suffix in ("", ".gz"))]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        what = f"has no {split}.jsonl or {split}.jsonl.gz" if data.is_dir() else "does not exist"
        raise DataNotFoundError(f"{data} {what}: pass data= a JSONL file, or a folder with one per split")
    return str(path), _parse_lines(path)


def _parse_lines(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with open_file(path) as file:
            source: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            lines = io.TextIOWrapper(source, encoding="utf-8-sig")
            for number, line in enumerate(iter(lambda: lines.readline(LINE), ""), start=1):
                if len(line) == LINE:
                    raise OSError(f"a line has more than {LINE:,} characters")
                if line.strip():
                    yield _json_object(line, f"{path}, row {number}")
    except _DAMAGE as damage:
        reason = f"{type(damage).__name__}: {damage}"
        raise ProblemFileError(
            f"{path} cannot be read past row {number} ({reason}); copy it again"
        ) from damage


def _json_object(line: str, place: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as fault:
        raise ProblemFileError(f"{place} is not JSON; every line must be one JSON object") from fault
    if not isinstance(row, dict):
        raise ProblemFileError(f"{place} is not a JSON object")
    return row


def _hub_rows(repository: str, config: str, split: str) -> tuple[str, Iterable[Row]]:
    remedy = "pass data= a JSONL file or folder to read it without the Hub"
    try:
        from datasets import load_dataset
    except ImportError as missing:
        raise DataNotFoundError(
            f"reading {repository} from the Hugging Face Hub needs `pip install datasets`; or {remedy}"
        ) from missing
    try:
        return repository, load_dataset(repository, config, split=split)
    except Exception as failure:  # the Hub's clients raise errors of many libraries
        reason = str(failure).partition("\n")[0] or type(failure).__name__
        raise DataNotFoundError(f"{repository} cannot be downloaded ({reason}); {remedy}") from failure
