"""Trained agents on disk, one beside the other: how each was made, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.recipe import RECIPE, TrainingRecipe, read_recipe

DEPTH = 4
"""Of folders that are looked into."""


@dataclass(frozen=True, slots=True)
class Trained:
    """An agent that was trained here."""

    name: str
    """Its folder, as it was found."""
    recipe: TrainingRecipe

    @property
    def measured(self) -> Mapping[str, float]:
        """The numbers of the last evaluation, or of the log where there was none."""
        lines = self.recipe.evaluations or [line for line in self.recipe.log if "loss" in line]
        return {} if not lines else {name.removeprefix("eval_"): value for name, value in lines[-1].items()}

    def to_json(self) -> dict[str, Any]:
        """Everything, with the last of the log."""
        recipe = {name: value for name, value in asdict(self.recipe).items() if name != "log"}
        return {"folder": self.name, **recipe, "measured": dict(self.measured)}


def find_runs(folders: Sequence[Path], sort: str = "name") -> list[Trained]:
    """The agents in some folders and below them, in the order of a number or of their names.

    Raises:
        ConfigurationError: there are none.
        CheckpointError: the recipe of one is damaged.
    """
    found: dict[Path, Trained] = {}
    for folder in folders:
        patterns = ["/".join(["*"] * depth + [RECIPE]) for depth in range(DEPTH + 1)]
        for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
            recipe = read_recipe(path.parent)
            if recipe is not None and not path.parent.name.startswith("."):
                found.setdefault(path.parent.resolve(), Trained(str(path.parent), recipe))
    if not found:
        places = ", ".join(str(folder) for folder in folders)
        raise ConfigurationError(
            f"no trained agent with a {RECIPE} in {places}: train one with oreo-agents train"
        )
    if sort == "name":
        return sorted(found.values(), key=lambda run: run.name)
    return sorted(found.values(), key=lambda run: _rank_run(run, sort))


def list_differences(runs: Sequence[Trained]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, each with its value in every run."""
    columns = [
        {
            **run.recipe.config,
            "base_model": run.recipe.base_model["hub"] or run.recipe.base_model["name"],
            "data": str(run.recipe.data["sha256"])[:8],
        }
        for run in runs
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    values = {name: [column.get(name) for column in columns] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _rank_run(run: Trained, sort: str) -> tuple[bool, float]:
    """The best first, those without the number last."""
    value = run.recipe.seconds if sort == "seconds" else run.measured.get(sort)
    if value is None and sort == "success":  # where winning is not defined
        value = run.measured.get("return")
    return (value is None, 0.0 if value is None else -value if sort == "success" else value)
