"""One row per episode: how a :class:`Trajectory` looks in JSON lines and in Parquet, and back, exactly.

Turns are stored as parallel lists, so any Parquet reader can show them. Knows nothing about files.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa

from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Candidate, Trajectory, Turn, name_outcome

SCHEMA_VERSION = 4
"""2 has what was said beside what was done, 3 the log-probabilities of what was drawn from beside those of all that the
policy could say, 4 the state in which a turn was taken; datasets of earlier versions are read as they are."""

_CANDIDATE = pa.struct(
    {"action": pa.string(), "logprob": pa.float64(), "value": pa.float64(), "said": pa.string()}
)

SCHEMA = pa.schema(
    {
        "env_id": pa.string(),
        "game": pa.string(),
        "task": pa.string(),
        "task_type": pa.string(),
        "seed": pa.int64(),
        "agent": pa.string(),
        "tokenizer": pa.string(),
        "terminated": pa.bool_(),
        "truncated": pa.bool_(),
        # derived, so that selecting episodes never reads their text; success is null where it is not defined
        "return": pa.float64(),
        "length": pa.int32(),
        "success": pa.bool_(),
        # one entry per turn
        "observations": pa.list_(pa.string()),
        "actions": pa.list_(pa.string()),
        "rewards": pa.list_(pa.float64()),
        "action_statuses": pa.list_(pa.string()),
        "token_ids": pa.list_(pa.list_(pa.int64())),
        "logprobs": pa.list_(pa.list_(pa.float64())),
        "drawn_logprobs": pa.list_(pa.list_(pa.float64())),
        "values": pa.list_(pa.float64()),
        "candidates": pa.list_(pa.list_(_CANDIDATE)),
        "admissible_commands": pa.list_(pa.list_(pa.string())),
        "said": pa.list_(pa.string()),
        "state_hashes": pa.list_(pa.string()),
        "final_observation": pa.string(),
        "metadata": pa.string(),
    }
)

COLUMNS = tuple(SCHEMA.names)

THIRD_SCHEMA = pa.schema([field for field in SCHEMA if field.name != "state_hashes"])
"""Of version 3."""

SECOND_SCHEMA = pa.schema([field for field in THIRD_SCHEMA if field.name != "drawn_logprobs"])
"""Of version 2."""

_FIRST_CANDIDATE = pa.struct([field for field in _CANDIDATE if field.name != "said"])
FIRST_SCHEMA = pa.schema(
    [
        field.with_type(pa.list_(pa.list_(_FIRST_CANDIDATE))) if field.name == "candidates" else field
        for field in SECOND_SCHEMA
        if field.name != "said"
    ]
)
"""Of version 1."""

EARLIER_SCHEMAS = (THIRD_SCHEMA, SECOND_SCHEMA, FIRST_SCHEMA)


def upgrade_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an earlier version as one of today: what nobody noted is null in every turn."""
    turns = row["candidates"]
    nothing = {name: [None] * len(turns) for name in COLUMNS if name not in row}
    if "said" not in row:
        turns = [[{**candidate, "said": None} for candidate in turn] for turn in turns]
    full = {**row, **nothing, "candidates": turns}
    return {name: full[name] for name in COLUMNS}


def upgrade_table(table: pa.Table) -> pa.Table:
    """A whole table of an earlier version as one of today, which is returned as it is."""
    if tuple(table.column_names) == COLUMNS:
        return table
    columns = dict(zip(table.column_names, table.columns, strict=True))
    if "said" not in columns:
        turns = table.column("candidates").combine_chunks()
        each = turns.values
        structs = [*each.values.flatten(), pa.nulls(len(each.values), pa.string())]
        each = pa.ListArray.from_arrays(
            each.offsets, pa.StructArray.from_arrays(structs, fields=list(_CANDIDATE))
        )
        columns["candidates"] = pa.ListArray.from_arrays(turns.offsets, each)
    nothing = [[None] * length for length in table.column("length").to_pylist()]
    for name in COLUMNS:
        if name not in columns:
            columns[name] = pa.array(nothing, SCHEMA.field(name).type)
    return pa.table([columns[name] for name in COLUMNS], schema=SCHEMA)


def to_row(trajectory: Trajectory) -> dict[str, Any]:
    """The episode as plain JSON values, one per column of :data:`SCHEMA`.

    Raises:
        DatasetError: a field holds something that could not be read back, such as an action that is no text.
    """
    try:
        return _make_row(trajectory)
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"an episode of {trajectory.game or 'an unnamed game'} cannot be stored: {error}"
        ) from error


def _make_row(trajectory: Trajectory) -> dict[str, Any]:
    turns = trajectory.turns
    return {
        "env_id": _check_text(trajectory.env_id),
        "game": _check_text(trajectory.game),
        "task": _check_text(trajectory.task),
        "task_type": _check_text(trajectory.task_type),
        "seed": _convert_optional(_to_integer, trajectory.seed),
        "agent": _check_text(trajectory.agent),
        "tokenizer": _convert_optional(_check_text, trajectory.tokenizer),
        "terminated": bool(trajectory.terminated),
        "truncated": bool(trajectory.truncated),
        "return": float(trajectory.return_),
        "length": len(turns),
        "success": _convert_optional(bool, trajectory.success),
        "observations": _check_texts([turn.observation for turn in turns]),
        "actions": _check_texts([turn.action for turn in turns]),
        "rewards": _to_floats([turn.reward for turn in turns]),
        "action_statuses": [_convert_optional(_check_text, turn.action_status) for turn in turns],
        "token_ids": [_convert_optional(_to_integers, turn.token_ids) for turn in turns],
        "logprobs": [_convert_optional(_to_floats, turn.logprobs) for turn in turns],
        "drawn_logprobs": [_convert_optional(_to_floats, turn.drawn_logprobs) for turn in turns],
        "values": [_convert_optional(float, turn.value) for turn in turns],
        "candidates": [[_make_candidate_row(candidate) for candidate in turn.candidates] for turn in turns],
        "admissible_commands": [_convert_optional(_check_texts, turn.admissible_commands) for turn in turns],
        "said": [_convert_optional(_check_text, turn.said) for turn in turns],
        "state_hashes": [_convert_optional(_check_text, turn.state_hash) for turn in turns],
        "final_observation": _check_text(trajectory.final_observation),
        "metadata": json.dumps(dict(trajectory.metadata), ensure_ascii=False),
    }


def from_row(row: Mapping[str, Any]) -> Trajectory:
    """The episode that :func:`to_row` was given.

    Raises:
        DatasetError: the row was made by something else.
    """
    try:
        return _make_trajectory(row)
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise DatasetError(f"a row that is no recorded episode: {error!r}") from error


def _make_trajectory(row: Mapping[str, Any]) -> Trajectory:
    if row["success"] not in (True, False, None):
        raise ValueError(f"success is {row['success']!r}")
    return Trajectory(
        turns=tuple(map(_make_turn, *(row[name] for name in _TURN_COLUMNS))),
        env_id=row["env_id"],
        game=row["game"],
        task=row["task"],
        task_type=row["task_type"],
        seed=row["seed"],
        agent=row["agent"],
        tokenizer=row["tokenizer"],
        terminated=row["terminated"],
        truncated=row["truncated"],
        final_observation=row["final_observation"],
        metadata=json.loads(row["metadata"]),
        outcome=name_outcome(row["success"], sum(row["rewards"])),
    )


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """What ``table.to_pylist()`` gives, in a fraction of its time."""
    columns = [_list_values(column.combine_chunks()) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _list_values(values: pa.Array) -> list[Any]:
    kind, count = values.type, len(values)
    if values.null_count == count:
        return [None] * count
    if pa.types.is_list(kind):
        offsets = values.offsets.to_numpy()
        inner = _list_values(values.values.slice(offsets[0], offsets[-1] - offsets[0]))
        lists: list[Any] = [inner[a:b] for a, b in pairwise((offsets - offsets[0]).tolist())]
        known = values.is_valid().to_numpy(zero_copy_only=False).tolist() if values.null_count else None
        return [one if there else None for one, there in zip(lists, known, strict=True)] if known else lists
    if pa.types.is_string(kind) or (pa.types.is_primitive(kind) and not values.null_count):
        return values.to_numpy(zero_copy_only=False).tolist()
    return values.to_pylist()


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table.

    Raises:
        DatasetError: a row was not made by :func:`to_row`.
    """
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except (pa.ArrowException, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise DatasetError(f"rows that are not recorded episodes: {error}") from error


_TURN_COLUMNS = (
    "observations",
    "actions",
    "rewards",
    "action_statuses",
    "token_ids",
    "logprobs",
    "drawn_logprobs",
    "values",
    "candidates",
    "admissible_commands",
    "said",
    "state_hashes",
)


def _make_turn(
    observation: str,
    action: str,
    reward: float,
    action_status: str | None,
    token_ids: list[int] | None,
    logprobs: list[float] | None,
    drawn_logprobs: list[float] | None,
    value: float | None,
    candidates: list[dict[str, Any]],
    admissible_commands: list[str] | None,
    said: str | None,
    state_hash: str | None,
) -> Turn:
    return Turn(  # by position: of this there are millions
        observation,
        action,
        reward,
        action_status,
        None if token_ids is None else tuple(token_ids),
        None if logprobs is None else tuple(logprobs),
        value,
        tuple([Candidate(**candidate) for candidate in candidates]) if candidates else (),
        None if admissible_commands is None else tuple(admissible_commands),
        said,
        None if drawn_logprobs is None else tuple(drawn_logprobs),
        state_hash,
    )


def _make_candidate_row(candidate: Candidate) -> dict[str, Any]:
    return {
        "action": _check_text(candidate.action),
        "logprob": _convert_optional(float, candidate.logprob),
        "value": _convert_optional(float, candidate.value),
        "said": _convert_optional(_check_text, candidate.said),
    }


# A value of the wrong type must fail here, in append: once in the journal it would block its compaction.


def _convert_optional(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _check_text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {value!r}")
    return value


def _check_texts(values: Iterable[str]) -> list[str]:
    texts = list(values)
    "".join(texts)  # raises TypeError on anything but text
    return texts


def _to_integer(value: int) -> int:
    return _to_integers([value])[0]


def _to_integers(values: Iterable[int]) -> list[int]:
    return array("q", values).tolist()


def _to_floats(values: Iterable[float]) -> list[float]:
    return array("d", values).tolist()
