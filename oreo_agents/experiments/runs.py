"""Trained agents on disk, one beside the other: how each was made, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oreo_agents.errors import ConfigurationError
from oreo_agents.models.model_files import CHECKPOINTS
from oreo_agents.models.recipe import RECIPE, TrainingRecipe, read_recipe
from oreo_agents.training.options import BATCHES, OPTIONS

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
        """The newest numbers of the evaluations, and of the log where they have none."""
        logged = [line for line in self.recipe.log if "loss" in line][-1:]
        lines = [*logged, *self.recipe.evaluations[-1:]]
        return {name.removeprefix("eval_"): value for line in lines for name, value in line.items()}

    @property
    def model(self) -> str:
        """The name of the model that it was trained from."""
        base = self.recipe.base_model
        return str(base.get("hub") or base.get("name") or "?").removesuffix(" (a new decoder)").split("/")[-1]

    @property
    def data(self) -> str:
        """The names of the datasets that it was trained on."""
        named = [str(one.get("name")) for one in self.recipe.data.get("sources", ()) if one.get("name")]
        return "+".join(named) or str(self.recipe.data.get("sha256"))[:8]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the last of the log."""
        recipe = {name: value for name, value in asdict(self.recipe).items() if name != "log"}
        return {"folder": self.name, **recipe, "measured": dict(self.measured)}


def find_runs(folders: Sequence[Path], sort: str = "name") -> list[Trained]:
    """The agents in some folders and below them, in the order of a number or of their names.

    Raises:
        ConfigurationError: there are none in one of the folders, nor one whose training has not ended.
        CheckpointError: the recipe of one is damaged.
    """
    found: dict[Path, Trained] = {}
    empty = []
    for folder in folders:
        for path in _list_below(folder, RECIPE):
            recipe = read_recipe(path.parent)
            if recipe is not None and not path.parent.name.startswith("."):
                found[path.parent.resolve()] = Trained(str(path.parent), recipe)
        if not any(path.is_relative_to(folder.resolve()) for path in found) and not find_unfinished([folder]):
            empty.append(str(folder))
    if empty:
        raise ConfigurationError(
            f"no trained agent with a {RECIPE} in {', '.join(empty)}: train one with oreo-agents train"
        )
    if sort == "name":
        return sorted(found.values(), key=lambda run: run.name)
    return sorted(found.values(), key=lambda run: _rank_run(run, sort))


def find_unfinished(folders: Sequence[Path]) -> list[str]:
    """The agents in some folders and below them whose training was interrupted and can be gone on with."""
    names = [str(path) for folder in folders for path in _list_below(folder, f"*{CHECKPOINTS}")]
    return [name.removesuffix(CHECKPOINTS) for name in dict.fromkeys(names)]


def _list_below(folder: Path, name: str) -> list[Path]:
    patterns = ["/".join(["*"] * depth + [name]) for depth in range(DEPTH + 1)]
    return sorted(path for pattern in patterns for path in folder.glob(pattern))


def list_differences(runs: Sequence[Trained]) -> dict[str, list[Any]]:
    """The options that are not the same in all runs, as the command line calls them, each with its value in every run;
    those left out that other columns show or that make no other agent."""
    columns = [run.recipe.config for run in runs]
    known = [name for name, option in OPTIONS.items() if option.group not in (None, BATCHES)] + ["seed"]
    names = [name for name in known if name != "max_steps" and any(name in column for column in columns)]
    values = {name: [column.get(name) for column in columns] for name in names}
    return {
        OPTIONS[name].flag.removeprefix("--").replace("-", "_"): row
        for name, row in values.items()
        if any(value != row[0] for value in row)
    }


def _rank_run(run: Trained, sort: str) -> tuple[bool, float]:
    """The best first, those without the number last."""
    value = run.recipe.seconds if sort == "seconds" else run.measured.get(sort)
    if value is None and sort == "success":  # where winning is not defined
        value = run.measured.get("return")
    return (value is None, 0.0 if value is None else -value if sort == "success" else value)
