"""Problems made on demand by reasoning-gym: over a hundred kinds, seeded, nothing to download.

The splits come from different seeds. A task's own scorer decides what is right, because many
tasks have several right answers; it runs in a worker process with a deadline, as some scorers evaluate what
they are given. Importing this module takes reasoning-gym's two seconds; :mod:`oreo_envs.math.env` does so
only when such an environment is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from json import dumps, loads
from typing import Any

import reasoning_gym
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS

from oreo_envs.errors import DataNotFoundError
from oreo_envs.math.grading.extraction import extract_answer, states_answer
from oreo_envs.math.grading.grade import DEADLINE_SECONDS, WORKERS, grade
from oreo_envs.math.problems.datasets import worked_solution
from oreo_envs.math.problems.problem import Problem, Problems
from oreo_envs.math.problems.steps import split_steps
from oreo_envs.math.problems.worked import evaluation_steps
from oreo_envs.named_games import SIZES, NumberedNames
from oreo_envs.workers import WorkerFailure

SEED_OFFSETS = {"train": 0, "dev": 2_000_000_000, "test": 1_000_000_000}
"""A problem's seed is its dataset's seed plus its number, so this keeps the splits apart."""

_PLAIN = re.compile(r"-?\d+|True|False")
"""Answers that leave nothing to judge; some scorers take any word for False, or -5 for 5."""

Config = Mapping[str, Any]


class ProceduralProblems(Problems):
    """Problems of one reasoning-gym task.

    Args:
        task: a task of reasoning-gym, for instance ``gsm_symbolic`` or ``chain_sum``.
        split: "train", "dev" or "test".
        seed: other seeds give other problems, and other names.
        size: how many; by default 10,000 to train on and 1,000 otherwise.
        config: the task's own options, for instance ``{"max_terms": 3}``.

    Raises:
        DataNotFoundError: there is no such task.
        ValueError: the task does not take this configuration.
    """

    def __init__(
        self,
        task: str,
        split: str = "train",
        seed: int = 0,
        size: int | None = None,
        config: Config | None = None,
    ) -> None:
        if split not in SEED_OFFSETS:
            raise ValueError(f"split={split!r} is none of {', '.join(map(repr, SEED_OFFSETS))}")
        self.task = task
        self._made_with = task, split, seed, size, config
        self.config = dict(config or {}) | {"seed": seed + SEED_OFFSETS[split]}
        self._dataset = _make_dataset(task, self.config | {"size": SIZES[split] if size is None else size})
        variant = "".join(
            [split, f"-seed{seed}" if seed else "", f"-{_hash_config(config)}" if config else ""]
        )
        self.names = NumberedNames(f"{task}/{variant}", len(self._dataset))
        self.entry = lru_cache(maxsize=64)(self._dataset.__getitem__)
        """reasoning-gym's own record of the problem at a position."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_with  # some tasks of reasoning-gym cannot be pickled

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        entry = self.entry(position)
        gold = None if entry["answer"] is None else str(entry["answer"])
        difficulty = entry["metadata"].get("difficulty")
        return Problem(
            name=self.names[position],
            question=entry["question"],
            gold=gold,
            solution=() if gold is None else _write_solution(gold, entry["metadata"]),
            kind=self.task,
            level=str(difficulty) if isinstance(difficulty, int | float) else "",
            subject=self._dataset.category,
        )

    def is_right(self, problem: Problem, answer: str) -> bool:
        """Whether the task's scorer gives full marks; an integer, True or False is compared without it."""
        if answer == problem.gold:
            return True
        if problem.gold is not None and _PLAIN.fullmatch(problem.gold):
            return grade(answer, problem.gold)
        entry = self.entry(self.index(problem.name))
        try:
            score = WORKERS.call(
                f"{__name__}:score_answer", self.task, self.config, answer, entry, deadline=DEADLINE_SECONDS
            )
        except WorkerFailure:
            return False
        return score >= 1.0


def task_names() -> list[str]:
    """The tasks there are; ``composite`` is left out, which only mixes others."""
    return sorted(set(DATASETS) - {"composite"})


def score_answer(task: str, config: Config, answer: str, entry: dict[str, Any]) -> float:
    """What ``task`` itself gives ``answer``, from 0.0 to 1.0."""
    return float(_make_scorer(task, dumps(config, sort_keys=True)).score_answer(answer, entry))


@lru_cache(maxsize=16)
def _make_scorer(task: str, config: str) -> ProceduralDataset:
    return _make_dataset(task, loads(config) | {"size": 1})


def _make_dataset(task: str, config: Config) -> ProceduralDataset:
    if task not in task_names():
        raise DataNotFoundError(f"reasoning-gym has no task {task!r}; it has {', '.join(task_names())}")
    try:
        return reasoning_gym.create_dataset(task, **config)
    except (AssertionError, TypeError, ValueError) as fault:
        raise ValueError(f"the task {task!r} does not take {dict(config)!r}: {fault}") from fault


def _write_solution(gold: str, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The task's own worked solution, or its expression evaluated; where neither leads to gold, only gold."""
    final = f"#### {gold}"
    if extract_answer(final) != gold or not states_answer(final):
        final = f"<answer>{gold}</answer>"
    if "answer_cot" in metadata:
        return worked_solution(split_steps(metadata["answer_cot"]), final)
    steps = evaluation_steps(str(metadata.get("expression", "")))
    value = steps[-1].rpartition(" = ")[2] if steps else ""
    return worked_solution(steps if value and grade(value, gold) else (), final)


def _hash_config(config: Config | None) -> str:
    return sha256(dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:8]
