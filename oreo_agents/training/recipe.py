"""All that made an agent, gathered from its trainer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainingArguments

from oreo_agents.models.card import data_hash
from oreo_agents.models.model_files import find_shipped, identify_model, may_be_hub_name
from oreo_agents.models.recipe import TrainingRecipe, read_recipe
from oreo_agents.models.start import FROM_SCRATCH
from oreo_agents.provenance import collect_provenance
from oreo_agents.training.batches import Items
from oreo_agents.training.datasets import Source
from oreo_agents.training.options import OPTIONS

if TYPE_CHECKING:
    from oreo_agents.training.config import OreoConfig

PRIVATE = {"output_dir", "hub_token", "logging_dir", "local_rank", "use_cpu", "disable_tqdm", "method"} | {
    "dataloader_pin_memory"
}
"""Fields that say nothing of the agent, or too much of who made it."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a training starts from."""

    name: str
    sha256: str | None = None
    hub: str | None = None


def describe_base(model: Any, config: OreoConfig) -> Base:
    """The starting point of a training, before the training may replace it; weights are hashed in one process."""
    path = os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "name_or_path", "")
    name = path if isinstance(path, str) else ""
    folder = Path(find_shipped(name))
    if name in FROM_SCRATCH:
        return Base(f"{name} (a new decoder)")
    if not name or not folder.is_dir():
        return Base(name, hub=name if may_be_hub_name(name) else None)
    folder = folder.parent if folder.name == "policy" and (folder.parent / "agent.json").is_file() else folder
    before = read_recipe(folder)
    digest = identify_model(folder) if config.process_index == 0 else None
    return Base(folder.name, digest, before.base_model.get("hub") if before else None)


def make_recipe(
    args: OreoConfig,
    base: Base,
    items: Items,
    sources: Sequence[Source],
    log: Sequence[Mapping[str, Any]],
    **done: Any,
) -> TrainingRecipe:
    """The recipe of an agent; ``done`` are further fields, what came of the training."""
    origin = collect_provenance()
    digests = items.list_digests()
    return TrainingRecipe(
        method=args.method,
        config=list_settings(args),
        base_model=asdict(base),
        data={
            "episodes": len(digests),
            "sha256": data_hash(digests),
            "sources": [asdict(source) for source in sources],
        },
        device=str(args.device),
        processes=args.world_size,
        command=_shorten_paths(origin["command"]),
        commit=origin["commit"],
        versions=origin["versions"],
        machine=origin["machine"],
        log=log,
        **done,
    )


def list_settings(config: OreoConfig) -> dict[str, Any]:
    """Own options, and those of transformers' that are not their default, as JSON values."""
    defaults = {one.name: one.default for one in fields(TrainingArguments) if one.default is not MISSING}
    made = config.to_dict()
    return {
        name: value
        for name, value in made.items()
        if name not in PRIVATE
        and (name in OPTIONS or (name in defaults and value not in (None, defaults[name])))
        and isinstance(value, str | int | float | bool | None)
    }


def _shorten_paths(command: str) -> str:
    """The command without the place of its folders on this machine."""
    for place, short in ((f"{Path.cwd()}/", ""), (f"{Path.home()}/", "~/")):
        command = command.replace(place, short) if len(place) > 2 else command
    return command
