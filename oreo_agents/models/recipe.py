"""How an agent was trained, as it lies in its folder: the recipe, the log line by line, and its curves.

Values in, files out; knows nothing about training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from oreo_agents.errors import CheckpointError
from oreo_agents.formats import require_format
from oreo_agents.models.curves import draw_curves

RECIPE, LOG, CURVES = "recipe.json", "log.jsonl", "curves.png"
FORMAT = 1
HELD_OUT, TRAINED = "eval_explained_variance", "explained_variance"
"""Of the log: the share of the variance of returns that V explains, of held-out episodes and of those trained on."""
LITTLE = 0.05
"""An explained variance below which V tells episodes apart hardly better than a constant."""
ENOUGH = 100
"""Episodes of a training from which on its own explained variance means something."""


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """All that made an agent. Paths of the machine are not in it: it may be published."""

    method: str
    config: Mapping[str, Any]
    """Every option that is not transformers' default, by the field of :class:`oreo_agents.OreoConfig`."""
    base_model: Mapping[str, Any]
    """``name``, ``sha256`` of its weights where they are on this machine, and ``hub``, its name on the Hub or that of
    the model which it was trained from."""
    data: Mapping[str, Any]
    """``episodes``, ``sha256`` of what was trained on, and ``sources``: name, episodes and hash of each dataset."""
    steps: int
    """Optimizer steps."""
    seconds: float
    """Of training, evaluations included."""
    device: str
    processes: int = 1
    license: str | None = None
    lora: int | None = None
    """Rank of the adapters, where they alone were trained."""
    patience: int | None = None
    """Evaluations without a better one after which training was to end."""
    command: str = ""
    commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = ()
    """Every logged line; in a file of its own."""
    format: int = FORMAT

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The lines of the log that are evaluations."""
        return [line for line in self.log if any(name.startswith("eval_") for name in line)]

    def write(self, folder: Path) -> None:
        """Write it into an agent's folder."""
        written = {name: value for name, value in asdict(self).items() if name != "log"}
        (folder / RECIPE).write_text(json.dumps(written, indent=2) + "\n")
        (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in self.log))
        if self.log:
            draw_curves(self.log, folder / CURVES, self.method)


def explain_doubt(folder: str | Path) -> str | None:
    """Why nothing should be chosen by the critic of an agent's folder yet, where its training has measured that.

    On held-out episodes if there were some, else on :data:`ENOUGH` episodes or more that it was trained on.

    Raises:
        CheckpointError: the recipe is damaged.
    """
    recipe = read_recipe(folder)
    if recipe is None:
        return None
    found = [line[HELD_OUT] for line in recipe.log if HELD_OUT in line]
    of = "held-out returns"
    if not found and recipe.data["episodes"] >= ENOUGH:
        found, of = [line[TRAINED] for line in recipe.log if TRAINED in line], "returns"
    if not found or found[-1] >= LITTLE:
        return None
    return (
        f"the critic of {folder} explains next to nothing of the {of} (explained variance {found[-1]:.2g}): what it "
        "ranks first is as good as drawn by lot; choose greedy, or train again with more episodes, more steps, a "
        "higher --critic-learning-rate and --critic-warmup 0.25"
    )


def read_recipe(folder: str | Path) -> TrainingRecipe | None:
    """The recipe in an agent's folder, None where it has none.

    Raises:
        CheckpointError: it is damaged, or of a newer version.
    """
    path, log = Path(folder) / RECIPE, Path(folder) / LOG
    if not path.is_file():
        return None
    try:
        written = json.loads(path.read_text())
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        known = {one.name for one in fields(TrainingRecipe)}
        require_format(str(path), written["format"], FORMAT, CheckpointError)
        return TrainingRecipe(**{**{name: x for name, x in written.items() if name in known}, "log": lines})
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it") from error
