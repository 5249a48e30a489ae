"""What ``oreo-agents dataset`` does: each function is one command, prints, and returns its exit status."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from oreo_agents.dataset.card import dataset_card, dataset_info
from oreo_agents.dataset.exporters import export as export_dataset
from oreo_agents.dataset.importers import IMPORTERS, PathLike, reword_to_move
from oreo_agents.dataset.schema import to_row, to_table
from oreo_agents.dataset.store import TrajectoryWriter
from oreo_agents.dataset.verify import replay_environment
from oreo_agents.dataset.verify import verify as verify_episodes
from oreo_agents.dataset.view import concatenate, load_trajectories
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.printable import printable
from oreo_agents.trajectory import Trajectory


def info(path: PathLike, card: PathLike | None = None, as_json: bool = False) -> int:
    """Print what a dataset contains as Markdown, or as JSON; also write the Markdown to the file ``card``."""
    dataset = load_trajectories(path)
    text = dataset_card(dataset, Path(os.path.abspath(path)).name).rstrip()
    if card is not None:
        Path(card).write_text(text + "\n", encoding="utf-8")
    print(json.dumps(dataset_info(dataset).as_json(), indent=1) if as_json else text)
    return 0


def verify(path: PathLike, replay: bool = True, split: str | None = None, games: Any = None) -> int:
    """Check that every file is as written and, with ``replay``, that every episode happens again.

    Returns 1, after naming the first difference, where one does not.

    Raises:
        DatasetError: a file is damaged.
    """
    dataset = load_trajectories(path)
    dataset.check_files()
    print(f"{path}: {len(dataset)} episodes, every file as it was written")
    if not replay:
        return 0
    env = replay_environment(dataset.agreed("env_spec"), split, games)
    try:
        report = verify_episodes(dataset, env)
    finally:
        env.close()
    print(printable(str(report)))  # it quotes what was recorded
    return 0 if report.ok else 1


def merge(paths: Sequence[PathLike], output: PathLike) -> int:
    """Write one new dataset with the episodes of several, all or none.

    Raises:
        DatasetError: a source is damaged, or ``output`` holds something already.
    """
    folder = Path(output)
    partial = folder / ".partial"
    if folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - {partial}):
        raise DatasetError(f"{output}: is there already; merge into a new folder")
    merged = concatenate(*(load_trajectories(path) for path in paths))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        merged.save(partial)
        for file in sorted(partial.iterdir(), key=lambda file: file.name == "meta.json"):
            file.rename(folder / file.name)  # meta.json last: what has none is no dataset
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{output}: {len(merged)} episodes of {len(paths)} datasets")
    return 0


def export(path: PathLike, output: PathLike, format: str = "messages") -> int:
    """Write a dataset in another tool's format; see :func:`oreo_agents.dataset.exporters.export`."""
    dataset = load_trajectories(path)
    count = export_dataset(dataset, output, format)
    print(f"{os.fspath(output)}: {count} rows ({format}) of {len(dataset)} episodes")
    return 0


def import_(
    source: PathLike, output: PathLike, format: str, move: bool = False, licence: str | None = None
) -> int:
    """Import the episodes that another tool recorded, all or none; ``move`` rewords them as ALFWorld 0.4 does.

    Args:
        source: a file, for tales also a folder.
        output: folder of the dataset to make or to continue.
        format: one of :data:`~oreo_agents.dataset.importers.IMPORTERS`.
        move: reword to the ``move`` games' wording, and record what was rewritten.
        licence: of the imported episodes, stored in the dataset.

    Raises:
        ConfigurationError: there is no such format.
        DatasetError: ``source`` cannot be read, a record in it is no episode, or ``output`` does not take them.
    """
    if format not in IMPORTERS:
        known = ", ".join(sorted(IMPORTERS))
        raise ConfigurationError(f"there is no import format {format!r}; choose one of {known}")
    episodes: Iterator[Trajectory] = IMPORTERS[format](source)
    metadata: dict[str, Any] = {"imported_from": Path(source).name, "format": format}
    if move:
        episodes = map(reword_to_move, episodes)
        metadata["reworded"] = "put X in/on Y -> move X to Y, with ALFWorld 0.4's opening and arrivals"
    imported = to_table([to_row(episode) for episode in episodes])  # all of them, before anything is written
    if not len(imported):
        raise DatasetError(f"{source}: holds no episodes")
    dialect = "move" if move else None
    with TrajectoryWriter(output, licence=licence, metadata=metadata, dialect=dialect) as writer:
        writer.append_table(imported)
    print(f"{os.fspath(output)}: {len(imported)} episodes imported from {source}")
    return 0
