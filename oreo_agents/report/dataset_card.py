"""What a dataset contains, in numbers and as a Markdown card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from oreo_agents.dataset.meta import Meta
from oreo_agents.dataset.reader import TrajectoryDataset
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.printable import make_printable

HISTOGRAM_BINS = 10


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes that have something in common."""

    name: str
    episodes: int
    successes: int
    mean_length: float

    @property
    def success_rate(self) -> float:
        """Won episodes per episode."""
        return self.successes / self.episodes


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset in numbers."""

    episodes: int
    turns: int
    games: int
    successes: int
    terminated: int
    truncated: int
    task_types: list[EpisodeGroup]
    agents: list[EpisodeGroup]
    returns: dict[str, int]
    """Episodes by return; in ten bins where there are more than ten returns."""
    lengths: dict[str, int]
    """Episodes by number of turns, in at most ten bins."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def describe_dataset(dataset: TrajectoryDataset) -> DatasetInfo:
    """Count without reading any episode's text."""
    success, lengths = dataset.success, dataset.lengths
    return DatasetInfo(
        episodes=len(dataset),
        turns=int(lengths.sum()),
        games=len(set(dataset.games)),
        successes=int(success.sum()),
        terminated=int(dataset.column("terminated").astype(bool).sum()),
        truncated=int(dataset.column("truncated").astype(bool).sum()),
        task_types=_group_episodes(dataset.task_types, success, lengths),
        agents=_group_episodes(dataset.agents, success, lengths),
        returns=count_values(dataset.returns),
        lengths=count_values(lengths),
    )


def count_values(values: np.ndarray) -> dict[str, int]:
    """Count by value where there are at most ten of them, else in ten equal bins named ``low to high``."""
    distinct = np.unique(values)
    if len(distinct) <= HISTOGRAM_BINS:
        return {f"{value:g}": int((values == value).sum()) for value in distinct}
    counts, edges = np.histogram(values, HISTOGRAM_BINS)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return dict(zip(names, counts.tolist(), strict=True))


def render_card(dataset: TrajectoryDataset, name: str) -> str:
    """A Markdown page that describes a dataset, with the front matter of the Hugging Face Hub."""
    info = describe_dataset(dataset)
    sections = [
        _front_matter(dataset.metas, name),
        f"# {name}",
        f"{info.episodes:,} episodes, {info.turns:,} turns, {info.games:,} games; "
        f"{_format_rate(info.successes, info.episodes)} won; "
        f"{info.terminated:,} terminated, {info.truncated:,} truncated.",
        *(_format_provenance(meta) for meta in dataset.metas),
        _group_table("task type", info.task_types),
        _group_table("agent", info.agents),
        _draw_bars("return", info.returns),
        _draw_bars("turns", info.lengths),
        "Read with `oreo_agents.load_trajectories(path)`, or as plain Parquet.",
    ]
    return make_printable("\n\n".join(section for section in sections if section) + "\n")


def _group_episodes(names: np.ndarray, success: np.ndarray, lengths: np.ndarray) -> list[EpisodeGroup]:
    masks = {name: names == name for name in sorted(set(names), key=str)}
    return [
        EpisodeGroup(name, int(mask.sum()), int(success[mask].sum()), float(lengths[mask].mean()))
        for name, mask in masks.items()
    ]


def _front_matter(metas: tuple[Meta, ...], name: str) -> str:
    licences = sorted({meta.licence for meta in metas if meta.licence})
    lines = [f"pretty_name: {name}", "tags: [offline-rl, text-environments]"]
    if len(licences) == 1:
        lines.insert(0, f"license: {licences[0].lower()}")
    return "\n".join(["---", *lines, "---"])


def _format_provenance(meta: Meta) -> str:
    content = f"`{meta.content_hash[:16]}` (schema {meta.schema_version})" if meta.content_hash else None
    facts = {
        "environment": (meta.env_spec or {}).get("id"),
        "wording": meta.dialect,
        "author": meta.author,
        "licence": meta.licence,
        "content": content,
        "made with": ", ".join(f"{library} {version}" for library, version in meta.versions.items()),
        **meta.metadata,
    }
    return "\n".join(f"- {what}: {value}" for what, value in facts.items() if value)


def _group_table(title: str, groups: list[EpisodeGroup]) -> str:
    lines = [f"| {title} | episodes | won | turns |", "|---|---:|---:|---:|"]
    for group in groups:
        rate = _format_rate(group.successes, group.episodes)
        lines.append(f"| {group.name or '(none)'} | {group.episodes:,} | {rate} | {group.mean_length:.1f} |")
    return "\n".join(lines)


def _format_rate(successes: int, episodes: int) -> str:
    if not episodes:
        return "none"
    low, high = wilson_interval(successes, episodes)
    return f"{successes / episodes:.1%} ({low:.1%} to {high:.1%})"


def _draw_bars(title: str, counts: dict[str, int]) -> str:
    most = max(counts.values(), default=1)
    lines = [f"| {title} | episodes | |", "|---|---:|---|"]
    lines += [f"| {name} | {count:,} | {'█' * round(20 * count / most)} |" for name, count in counts.items()]
    return "\n".join(lines)
