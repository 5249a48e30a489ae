"""The journal: episodes that are in no shard yet, a JSON line each."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from oreo_envs.files import open_file

from oreo_agents.dataset.meta import read_meta
from oreo_agents.dataset.schema import COLUMNS, EARLIER_SCHEMAS, upgrade_row
from oreo_agents.errors import DatasetError


def read_journal(path: Path, skip_damaged: bool = False) -> tuple[list[dict[str, Any]], int]:
    """The rows of a journal, and the byte at which they end: a torn last line lies behind it.

    Raises:
        DatasetError: a line before the last is damaged, and ``skip_damaged`` does not ask for a warning.
    """
    try:
        with open_file(path) as file:
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is torn
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    rows = [_parse_row(line) for line in lines]
    for damaged in [number for number, row in enumerate(rows, start=1) if row is None]:
        message = f"{path}: line {damaged} is damaged"
        if not skip_damaged:
            raise DatasetError(f"{message}; load_trajectories(path, skip_damaged=True) reads the rest")
        warnings.warn(f"{message}, left out", stacklevel=2)
    return [row for row in rows if row is not None], sum(len(line) + 1 for line in lines)


def read_pending_rows(path: Path, skip_damaged: bool = False) -> list[dict[str, Any]]:
    """Rows that are in a journal and in no shard yet; safe to call while a writer is at work."""
    # Journals are read before meta.json: one that vanishes in between is then listed there as a shard.
    journals = sorted(path.glob("journal-*.jsonl"), key=number_of)
    pending = [(number_of(journal), read_journal(journal, skip_damaged)[0]) for journal in journals]
    compacted = len(read_meta(path).shards)
    return [row for number, rows in pending if number >= compacted for row in rows]


def encode_row(row: dict[str, Any]) -> bytes:
    """A row as a line. Raises DatasetError where it cannot be stored."""
    try:
        return json.dumps(row, ensure_ascii=False, check_circular=False).encode() + b"\n"
    except (TypeError, ValueError) as error:  # e.g. a lone surrogate
        raise DatasetError(f"an episode of {row['game']!r} cannot be stored: {error}") from error


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(row, dict) and list(row) in [schema.names for schema in EARLIER_SCHEMAS]:
        return _upgrade_row(row)
    return row if isinstance(row, dict) and tuple(row) == COLUMNS else None


def _upgrade_row(row: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return upgrade_row(row)
    except TypeError:  # a damaged line that happens to have the columns
        return None


def number_of(journal: Path) -> int:
    """Which shard a journal will become; -1 where its name does not tell."""
    digits = journal.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
