"""The README of a trained agent: what it is, how it was made, from which data. Plain values in, Markdown out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from huggingface_hub import ModelCardData

from oreo_agents.models.recipe import TrainingRecipe
from oreo_agents.trajectory import format_steps

TEXT = """
# {title}

A language agent trained with `{method}` by oreo_agents (OREO, arXiv 2412.16145). `policy/` is a Hugging Face causal LM
with its tokenizer{critic}.{beside}

```python
from oreo_agents import OreoAgent

agent = OreoAgent.from_pretrained("PATH")
```
"""
TAGS = ["text-environments", "offline-rl", "oreo"]
LAST = 5
"""So many evaluations are shown; all are in the log."""


def model_card(
    title: str, has_critic: bool, card: Mapping[str, Any], recipe: TrainingRecipe | None = None
) -> str:
    """Markdown with the Hub's header, a row for each value of ``card``, also of nested ones, and the recipe."""
    text = TEXT.format(
        title=title,
        method=card.get("method", "unknown"),
        critic=", `critic/` the value function that judges its actions" if has_critic else "",
        beside=" `recipe.json` and `log.jsonl` say how it was made." if recipe else "",
    )
    told = {"trained in": ", ".join(card["environments"])} if card.get("environments") else {}
    text += _format_table(
        _flatten_card({k: x for k, x in card.items() if k not in ("environments", "format")} | told)
    )
    if recipe is not None:
        text += (
            "\n## How it was made\n" + _format_table(_describe_recipe(recipe)) + _format_evaluations(recipe)
        )
    return f"---\n{_make_header(recipe).to_yaml()}\n---\n{text}"


def _make_header(recipe: TrainingRecipe | None) -> ModelCardData:
    if recipe is None:
        return ModelCardData(library_name="oreo_agents", tags=TAGS)
    return ModelCardData(
        library_name="oreo_agents",
        tags=TAGS,
        base_model=recipe.base_model.get("hub"),
        license=recipe.license or "unknown",
        datasets=sorted({one["name"] for one in recipe.data["sources"] if one["name"]}) or None,
    )


def _describe_recipe(recipe: TrainingRecipe) -> Iterable[tuple[str, str]]:
    base, data = recipe.base_model, recipe.data
    yield "base model", " ".join(filter(None, (base["hub"] or base["name"], base["sha256"]))) or "unknown"
    yield "data", f"{data['episodes']} episodes, sha256 {data['sha256']}"
    for source in data["sources"]:
        yield (
            "dataset",
            f"{source['name']}, {source['episodes']} episodes, content {source['sha256'] or 'not hashed'}",
        )
    yield "command", f"`{recipe.command}`"
    yield "commit", str(recipe.commit or "not a checkout")
    yield (
        "trained",
        f"{format_steps(recipe.steps)} in {recipe.seconds:.0f} s on {recipe.processes} x {recipe.device}",
    )
    yield "versions", ", ".join(f"{name} {version}" for name, version in recipe.versions.items())
    yield "config", " ".join(f"{name}={value}" for name, value in recipe.config.items() if value is not None)


def _format_evaluations(recipe: TrainingRecipe) -> str:
    lines = recipe.evaluations[-LAST:]
    if not lines:
        return ""
    skipped = ("runtime", "per_second")
    names = [name for name in lines[-1] if name.startswith("eval_") and not name.endswith(skipped)]
    rows = [
        "| step | " + " | ".join(name.removeprefix("eval_") for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    rows += [
        f"| {line['step']} | " + " | ".join(f"{line.get(n, 0):.4g}" for n in names) + " |" for line in lines
    ]
    return "\n## Evaluations while it was trained\n\n" + "\n".join(rows) + "\n"


def _format_table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n| | |\n|---|---|\n" + "".join(
        f"| {name} | {value} |\n" for name, value in ((name, _escape_cell(value)) for name, value in rows)
    )


def _escape_cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _flatten_card(card: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in card.items():
        if isinstance(value, Mapping):
            yield from _flatten_card(value)
        else:
            yield name, str(value)


def data_hash(digests: Iterable[bytes]) -> str:
    """SHA-256 of what was trained on, from the digests of its episodes, whatever their order."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
