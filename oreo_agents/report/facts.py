"""By what a run was made: agent, how it chose, checkpoint, data, commit and date, as far as its dataset says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from oreo_agents.dataset.meta import Meta
from oreo_agents.report.summary import Summary

Fact = tuple[str, str]
"""What it is about, and what is so."""

PLAYER = "player "
"""What begins the key under which a dataset notes who a model is; see
:func:`oreo_agents.rollout.destination.introduce_player`."""


def list_facts(summary: Summary, metas: Sequence[Meta]) -> list[Fact]:
    """What a page says of a run; what nobody noted is left out."""
    facts = [("agent", ", ".join(sorted(filter(None, summary.agents))))]
    for meta in metas:
        facts += _list_players(meta)
    facts.append(("environment", ", ".join(sorted(filter(None, summary.environments)))))
    for meta in metas:
        facts += _list_sources(meta)
    return [(name, value) for name, value in dict.fromkeys(facts) if value]


def _list_players(meta: Meta) -> Iterator[Fact]:
    """``weights 12ab, select best_of_k, k 5, temperature 1.0`` as a fact each."""
    for role, said in meta.metadata.items():
        if not role.startswith(PLAYER):
            continue
        for one in str(said).split(", "):
            name, _, value = one.partition(" ")
            yield ("checkpoint (digest of what decides)" if name == "weights" else name, value or "yes")


def _list_sources(meta: Meta) -> Iterator[Fact]:
    options = (meta.env_spec or {}).get("kwargs") or {}
    for name, value in options.items():
        if isinstance(value, (str, int, float)):
            yield name, str(value)
    yield "wording", meta.dialect or ""
    yield "data", f"{meta.content_hash[:16]} (schema {meta.schema_version})" if meta.content_hash else ""
    for name, value in meta.metadata.items():
        if isinstance(value, (str, int, float)) and not name.startswith(PLAYER):
            yield name, str(value)
    yield "made with", _join_pairs(meta.versions.items())
    yield "author", meta.author or ""
    yield "licence", meta.licence or ""


def _join_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}" for name, version in pairs if version != "absent")
