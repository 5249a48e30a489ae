"""Which arguments of a command are agents, data and outputs: what cannot be is refused before torch is loaded."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from oreo_agents.printable import make_printable


def mark_paths(parser: argparse.ArgumentParser, unless: str = "", **kinds: Iterable[str]) -> None:
    """Say which arguments are paths, by their names: ``agents`` that play, ``models`` to train from, recorded ``data``,
    and ``new_agents``, which are to be written; ``unless`` names an option with which none is used."""
    checks = {CHECKS[kind]: tuple(names) for kind, names in kinds.items()}

    def check(args: argparse.Namespace) -> None:
        if not (unless and getattr(args, unless)):
            _check_all(args, checks)

    parser.set_defaults(check_paths=check)


def check_nothing(args: argparse.Namespace) -> None:
    """Of a command without such paths."""


def _check_all(args: argparse.Namespace, checks: Mapping[Callable[[Any], None], Iterable[str]]) -> None:
    for check, names in checks.items():
        for name in names:
            given = getattr(args, name)
            for path in given if isinstance(given, list) else [] if given is None else [given]:
                check(path)


def _check_agent(name: Any) -> None:
    from oreo_agents.agents.scripted import SCRIPTED
    from oreo_agents.models.model_files import SHIPPED, require_name

    require_name(name, (*SCRIPTED, *SHIPPED))
    if str(name) not in SCRIPTED:
        _check_folder(name)


def _check_model(name: Any) -> None:
    from oreo_agents.models.start import FROM_SCRATCH, require_start

    require_start(name)
    if str(name) not in FROM_SCRATCH:
        _check_folder(name)


def _check_folder(name: Any) -> None:
    """One on the Hub is looked for when it is loaded."""
    from oreo_agents.models.agent_card import require_model
    from oreo_agents.models.model_files import find_shipped, may_be_hub_name

    folder = Path(find_shipped(name))
    if any((place / "config.json").is_file() for place in (folder, folder / "policy")):
        return  # which architecture it is, transformers knows
    if folder.exists() or not may_be_hub_name(str(name)):
        require_model(name)


def _check_data(path: Path) -> None:
    """Recorded episodes; what is read as one though it was recorded apart is named."""
    from oreo_agents.dataset.reader import find_datasets, load_trajectories

    episodes, names = load_trajectories(path), [folder.name for folder in find_datasets(path)]
    if len(names) < 2 or all(name.startswith("part-") for name in names):
        return
    environments = sorted({str((meta.env_spec or {}).get("id")) for meta in episodes.metas})
    mixed = f"; of several environments: {', '.join(environments)}" if len(environments) > 1 else ""
    line = f"{path}: {len(names)} datasets are read as one: {', '.join(names)}{mixed}"
    print(make_printable(line), file=sys.stderr)


def _check_new_agent(path: Path) -> None:
    from oreo_agents.models.agent_card import agent_folder

    agent_folder(path)


CHECKS: dict[str, Callable[[Any], None]] = {
    "agents": _check_agent,
    "models": _check_model,
    "data": _check_data,
    "new_agents": _check_new_agent,
}
