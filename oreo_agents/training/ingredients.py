"""What a training is made from, as plain values, and in which of them two trainings differ; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oreo_agents.errors import CheckpointError
from oreo_agents.models.model_files import AGENT
from oreo_agents.models.recipe import TrainingRecipe, read_recipe
from oreo_agents.training.options import OPTIONS

WATCHED = frozenset(
    ("save_strategy", "save_steps", "save_total_limit", "report_to", "push_to_hub", "hub_model_id", "license")
)
"""What may change from one call to the next: it makes no other agent."""

JUDGED = frozenset(("eval_strategy", "eval_steps", "do_eval", "patience"))
"""How a training is judged on its way, which may change where it goes on."""


def list_ingredients(recipe: TrainingRecipe) -> dict[str, Any]:
    """What an agent was made from."""
    model = dict(recipe.base_model)
    return {
        **recipe.config,
        "method": recipe.method,
        "lora": recipe.lora,
        "patience": recipe.patience,
        "model": {"name": model.get("hub") or model.get("name"), "weights": model.get("sha256")},
        "data": {"episodes": recipe.data.get("episodes"), "sha256": recipe.data.get("sha256")},
    }


def list_changes(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    ignored: frozenset[str] = WATCHED,
    whole: bool = False,
) -> list[str]:
    """What is not as it was, each in words; unless it is the ``whole``, what ``now`` lacks is not known."""
    names = dict.fromkeys([*now, *(before if whole else ())])
    told = {
        name: (_find_value(before, name), _find_value(now, name)) for name in names if name not in ignored
    }
    return [_describe_change(name, *values) for name, values in told.items() if values[0] != values[1]]


def _find_value(ingredients: Mapping[str, Any], name: str) -> Any:
    """An option that is not listed is at its default."""
    option = OPTIONS.get(name)
    return ingredients.get(name, option.default if option else None)


def _describe_change(name: str, before: Any, now: Any) -> str:
    if name == "data" and isinstance(before, Mapping):
        counts = before["episodes"], now["episodes"]
        return (
            "the episodes are others"
            if counts[0] == counts[1]
            else "{} episodes then, {} now".format(*counts)
        )
    if name == "model" and isinstance(before, Mapping):
        names = before["name"], now["name"]
        return (
            f"{names[1]} has other weights"
            if names[0] == names[1]
            else "model {} then, {} now".format(*names)
        )
    option = OPTIONS.get(name)
    called = option.flag.removeprefix("--").replace("-", "_") if option else name
    return f"{called} {_show_value(before)} then, {_show_value(now)} now"


def _show_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def find_finished(output: str | Path, given: Mapping[str, Any]) -> TrainingRecipe | None:
    """The recipe of the agent that is in a folder already, where it may be that of the training that is asked for; None
    where there is no agent.

    Args:
        output: the folder.
        given: what is known so far of the training.

    Raises:
        CheckpointError: it is another's, or its recipe is not known.
    """
    if not (Path(output) / AGENT).is_file():
        return None
    recipe = read_recipe(output)
    refuse_other(output, recipe, given)
    return recipe


def refuse_other(
    output: str | Path, recipe: TrainingRecipe | None, now: Mapping[str, Any], whole: bool = False
) -> None:
    """Raise CheckpointError unless an agent was made from these things."""
    ignored = WATCHED | {"data"} if whole else WATCHED  # episodes are compared when they are read
    changes = [] if recipe is None else list_changes(list_ingredients(recipe), now, ignored, whole)
    if recipe is None or changes:
        why = f" ({'; '.join(changes)})" if changes else ""
        raise CheckpointError(
            f"{output} holds an agent already{why}: choose another folder, or replace it with --overwrite"
        )
