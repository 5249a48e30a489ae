"""What a dataset contains, in numbers and as a Markdown card."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from oreo_agents.dataset.meta import Meta
from oreo_agents.dataset.reader import TrajectoryDataset
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.printable import make_printable
from oreo_agents.trajectory import CUT_TURNS, describe_cuts

HISTOGRAM_BINS = 10


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Episodes that have something in common."""

    name: str
    episodes: int
    successes: int | None
    """None where winning is not defined."""
    mean_return: float | None
    """None where a return is no finite number."""
    mean_length: float

    @property
    def success_rate(self) -> float | None:
        """Won episodes per episode."""
        return None if self.successes is None else self.successes / self.episodes


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset in numbers."""

    episodes: int
    turns: int
    games: int
    successes: int | None
    """None where winning is not defined."""
    mean_return: float | None
    """None where a return is no finite number."""
    terminated: int
    truncated: int
    cut_replies: int
    """Turns whose reply came to the limit on its tokens."""
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
    success = dataset.success if dataset.defines_success else dataset.column("success")
    returns, lengths = dataset.returns, dataset.lengths
    terminated = dataset.column("terminated").astype(bool)  # where the last step was both, it ended
    return DatasetInfo(
        episodes=len(dataset),
        turns=int(lengths.sum()),
        games=len(set(dataset.games)),
        successes=_count_won(success),
        mean_return=_average_returns(returns),
        terminated=int(terminated.sum()),
        truncated=int((dataset.column("truncated").astype(bool) & ~terminated).sum()),
        cut_replies=sum(map(_count_cut, dataset.column("metadata"))),
        task_types=_group_episodes(dataset.task_types, success, returns, lengths),
        agents=_group_episodes(dataset.agents, success, returns, lengths),
        returns=count_values(dataset.returns),
        lengths=count_values(lengths),
    )


def count_values(values: np.ndarray) -> dict[str, int]:
    """Count by value where there are at most ten of them, else in ten equal bins named ``low to high``."""
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        return {**count_values(finite), "no number": len(values) - len(finite)}
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
        f"# {_escape_markdown(name)}",
        f"{info.episodes:,} episodes, {info.turns:,} turns, {info.games:,} games; "
        f"{_format_score(info)}{' won' if info.successes is not None else ''}; "
        f"{info.terminated:,} terminated, {info.truncated:,} truncated.",
        describe_cuts(info.cut_replies, info.turns),
        *(_format_provenance(meta) for meta in dataset.metas),
        _group_table("task type", info.task_types),
        _group_table("agent", info.agents),
        _draw_bars("return", info.returns),
        _draw_bars("turns", info.lengths),
        "Read with `oreo_agents.load_trajectories(path)`, or as plain Parquet.",
    ]
    return make_printable("\n\n".join(section for section in sections if section) + "\n")


def _group_episodes(
    names: np.ndarray, success: np.ndarray, returns: np.ndarray, lengths: np.ndarray
) -> list[EpisodeGroup]:
    each = names.tolist()  # numpy takes a zero byte at the end of a text for padding, and finds it nowhere
    masks = {name: np.array([one == name for one in each], dtype=bool) for name in sorted(set(each), key=str)}
    return [
        EpisodeGroup(
            name=name,
            episodes=int(mask.sum()),
            successes=_count_won(success[mask]),
            mean_return=_average_returns(returns[mask]),
            mean_length=float(lengths[mask].mean()),
        )
        for name, mask in masks.items()
    ]


def _count_cut(metadata: str) -> int:
    return len(json.loads(metadata).get(CUT_TURNS, ())) if f'"{CUT_TURNS}"' in metadata else 0


def _count_won(success: np.ndarray) -> int | None:
    """How many; None where some episode does not say."""
    return None if any(one is None for one in success) else int(success.sum())


def _average_returns(returns: np.ndarray) -> float | None:
    if not len(returns):
        return 0.0
    return float(returns.mean()) if np.isfinite(returns).all() else None


def _front_matter(metas: tuple[Meta, ...], name: str) -> str:
    licences = sorted({meta.licence for meta in metas if meta.licence})
    lines = [f"pretty_name: {_quote_yaml(name)}", "tags: [offline-rl, text-environments]"]
    if len(licences) == 1:
        lines.insert(0, f"license: {_quote_yaml(licences[0].lower())}")
    return "\n".join(["---", *lines, "---"])


def _format_provenance(meta: Meta) -> str:
    said = {"author": meta.author, "licence": meta.licence}
    made = {"made with": ", ".join(f"{library} {version}" for library, version in meta.versions.items())}
    facts = {"environment": (meta.env_spec or {}).get("id"), "wording": meta.dialect, **said}
    lines = [_format_fact(what, value) for what, value in facts.items() if value]
    if meta.content_hash:
        lines.append(f"- content: `{meta.content_hash[:16].replace('`', '')}` (schema {meta.schema_version})")
    lines += [_format_fact(what, value) for what, value in {**made, **meta.metadata}.items() if value]
    return "\n".join(lines)


def _format_fact(what: str, value: Any) -> str:
    return f"- {_escape_markdown(what)}: {_escape_markdown(value)}"


def _escape_markdown(text: Any) -> str:
    """What a file says of itself, on one line, as text: it is no table, no link and no HTML."""
    return re.sub(r"([\\`|<>\]])", r"\\\1", " ".join(str(text).split()))


def _quote_yaml(text: str) -> str:
    """A text as YAML reads it: plain where nothing in it has a meaning there, else in double quotes."""
    return text if re.fullmatch(r"[A-Za-z][\w.-]*( [\w.-]+)*", text) else json.dumps(text)


def _group_table(title: str, groups: list[EpisodeGroup]) -> str:
    won = "won" if all(group.successes is not None for group in groups) else "won or return"
    lines = [f"| {title} | episodes | {won} | turns |", "|---|---:|---:|---:|"]
    for group in groups:
        rate = _format_score(group)
        lines.append(
            f"| {_escape_markdown(group.name or '(none)')} | {group.episodes:,} | {rate} | {group.mean_length:.1f} |"
        )
    return "\n".join(lines)


def _format_score(group: EpisodeGroup | DatasetInfo) -> str:
    """The share won with its interval; the mean return, where winning is not defined."""
    if not group.episodes:
        return "none"
    if group.successes is None:
        return (
            "mean return undefined" if group.mean_return is None else f"mean return {group.mean_return:.4g}"
        )
    low, high = wilson_interval(group.successes, group.episodes)
    return f"{group.successes / group.episodes:.1%} ({low:.1%} to {high:.1%})"


def _draw_bars(title: str, counts: dict[str, int]) -> str:
    most = max(counts.values(), default=1)
    lines = [f"| {title} | episodes | |", "|---|---:|---|"]
    lines += [f"| {name} | {count:,} | {'█' * round(20 * count / most)} |" for name, count in counts.items()]
    return "\n".join(lines)
