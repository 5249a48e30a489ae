"""Episodes in the formats of other tools: Hugging Face ``messages``, TRL's trainers, ShareGPT, Minari.

A file that exists is never overwritten, and a file appears whole or not at all.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from oreo_envs.catalog import list_ids
from oreo_envs.files import replace_file

from oreo_agents.dataset.reader import FindThought, TrajectoryDataset, make_messages
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.good import RULES, find_good, is_rule
from oreo_agents.trajectory import Trajectory

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

Row = dict[str, Any]
Messages = list[dict[str, str]]


def export_dataset(
    dataset: TrajectoryDataset,
    output: str | os.PathLike[str],
    format: str,
    good: str | None = None,
    find_thought: FindThought | None = None,
) -> int:
    """Write episodes in another tool's format; returns how many rows (for minari, episodes) were written.

    ======== ============================================================= =============================
    format   one row is                                                    read by
    ======== ============================================================= =============================
    messages an episode as chat messages, with game, agent, return, ...    ``datasets``
    sft      an episode as chat messages; with ``good`` a good one         ``trl.SFTTrainer``
    dpo      a good and another episode of one game, from where they part  ``trl.DPOTrainer``
    kto      an episode and whether it is good                             ``trl.KTOTrainer``
    sharegpt an episode as ``from``/``value`` conversation                 FastChat, ETO, LLaMA-Factory
    minari   an episode                                                    ``minari.load_dataset``
    ======== ============================================================= =============================

    Args:
        dataset: what to write.
        output: a ``.parquet``, ``.jsonl`` or ``.json`` file; for minari a dataset id such as
            ``oreo/alfworld/expert-v0``, which Minari keeps in its own folder.
        format: one of the above.
        good: which episodes are good, in ``sft``, ``dpo`` and ``kto``, as in training: ``success``, a return, or the
            best share by return, such as ``25%``; see :func:`oreo_agents.good.find_good`. None: won ones where all
            episodes say so, else the best quarter; ``sft`` then has all episodes.
        find_thought: with :func:`oreo_agents.language.reply.read_thought` thoughts are ``reasoning_content`` of a
            message, which chat templates of thinking models put where those have it, and ``content`` is the command
            alone. None: ``content`` is the whole reply, what was said and what other trainers then train on.

    Raises:
        ConfigurationError: unknown format or file ending; a format without good episodes or a place for thoughts, or
            no rule for good ones.
        DatasetError: nothing to write, the output exists, or it cannot be written.
    """
    if good is not None and not is_rule(good):
        raise ConfigurationError(f"good is {good!r}, it must be {RULES}")
    if good is not None and format in ("messages", "sharegpt", "minari"):
        raise ConfigurationError(f"{format} has every episode and makes no use of good: leave it out")
    if find_thought and format in ("sharegpt", "minari"):
        raise ConfigurationError(f"{format} has no place for thoughts: leave --thoughts-apart out")
    if format == "minari":
        return _export_minari(dataset, os.fspath(output))
    if format not in EXPORTERS:
        known = ", ".join(sorted([*EXPORTERS, "minari"]))
        raise ConfigurationError(f"there is no export format {format!r}; choose one of {known}")
    options: dict[str, Any] = {} if good is None else {"good": good}
    options |= {} if find_thought is None else {"find_thought": find_thought}
    return _write_rows(EXPORTERS[format](dataset, **options), Path(output), LACKING.get(format, ""))


# --------------------------------------------------------------------------------------------- rows


def to_messages(trajectory: Trajectory, find_thought: FindThought | None = None) -> Messages:
    """The episode as chat messages, as :func:`oreo_agents.dataset.reader.make_messages` makes them."""
    return make_messages(trajectory.turns, find_thought)


def _mark_good(dataset: TrajectoryDataset, good: str | None) -> tuple[TrajectoryDataset, list[bool]]:
    """The episodes in which something was done, and which of them are good."""
    acting = dataset.filter(length=lambda turns: turns > 0)
    won = acting.success.tolist() if acting.defines_success else None
    return acting, find_good(won, acting.returns.tolist(), good)


def message_rows(dataset: TrajectoryDataset, find_thought: FindThought | None = None) -> Iterator[Row]:
    """Every episode, with what one filters by."""
    defined, success = dataset.defines_success, dataset.success
    for episode, won in zip(dataset, success, strict=True):
        yield {
            "messages": to_messages(episode, find_thought),
            "game": episode.game,
            "task_type": episode.task_type,
            "agent": episode.agent,
            "env_id": episode.env_id,
            "rewards": list(episode.rewards),
            "return": episode.return_,
            "success": bool(won) if defined else episode.success,
        }


def sft_rows(
    dataset: TrajectoryDataset, good: str | None = None, find_thought: FindThought | None = None
) -> Iterator[Row]:
    """The episodes; with ``good``, the good ones."""
    acting, labels = _mark_good(dataset, good or "100%")
    for episode in acting[np.array(labels, dtype=bool)]:
        yield {"messages": to_messages(episode, find_thought)}


def kto_rows(
    dataset: TrajectoryDataset, good: str | None = None, find_thought: FindThought | None = None
) -> Iterator[Row]:
    """Prompt, completion and label: whether the episode is good."""
    acting, labels = _mark_good(dataset, good)
    for episode, label in zip(acting, labels, strict=True):
        prompt, *completion = to_messages(episode, find_thought)
        yield {"prompt": [prompt], "completion": completion, "label": label}


def dpo_rows(
    dataset: TrajectoryDataset, good: str | None = None, find_thought: FindThought | None = None
) -> Iterator[Row]:
    """A good and another episode of the same game: the history they share, and how each goes on.

    Every episode is used at most once; pairs that never part are left out.
    """
    acting, labels = _mark_good(dataset, good)
    outcomes: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for index, (game, label) in enumerate(zip(acting.games, labels, strict=True)):
        outcomes[game][not label].append(index)
    for better_ones, others in outcomes.values():
        for better, other in zip(better_ones, others, strict=False):
            yield from _pair_messages(*(to_messages(acting[one], find_thought) for one in (better, other)))


def sharegpt_rows(dataset: TrajectoryDataset) -> Iterator[Row]:
    """Conversations as ETO writes them; :func:`~oreo_agents.dataset.importers.import_sharegpt` reads them.

    Episodes without a turn are left out: nobody answers in them.
    """
    for index, episode in enumerate(dataset.filter(length=lambda turns: turns > 0)):
        messages = [*to_messages(episode), {"role": "user", "content": episode.final_observation}]
        said = [
            {"from": "gpt" if acts else "human", "loss": acts, "value": message["content"]}
            for message in messages
            for acts in [message["role"] == "assistant"]
        ]
        yield {
            "id": index,
            "name": episode.game,
            "agent": episode.agent,
            "reward": episode.return_,
            "conversations": said,
        }


EXPORTERS: dict[str, Callable[..., Iterator[Row]]] = {
    "dpo": dpo_rows,
    "kto": kto_rows,
    "messages": message_rows,
    "sft": sft_rows,
    "sharegpt": sharegpt_rows,
}


LACKING = {"dpo": ": it takes a good and another one of the same game (record --per-game N)"}
"""What to do where a format has no rows."""


def _pair_messages(better: Messages, other: Messages) -> Iterator[Row]:
    ways = zip(better, other, strict=False)
    parting = next((i for i, (ours, theirs) in enumerate(ways) if ours != theirs), 0)
    if parting % 2:  # an action, so the observation before it is shared
        yield {"prompt": better[:parting], "chosen": better[parting:], "rejected": other[parting:]}


# --------------------------------------------------------------------------------------------- files

_BATCH = 1000


def _write_rows(rows: Iterator[Row], path: Path, lacking: str) -> int:
    if path.suffix not in _WRITERS:
        endings = ", ".join(sorted(_WRITERS))
        raise ConfigurationError(f"{path}: its ending does not tell the file type; choose {endings}")
    if path.exists():
        raise DatasetError(f"{path}: exists already, and is not overwritten; choose another name")
    batches = iter(lambda: list(islice(rows, _BATCH)), [])
    first = next(batches, None)
    if first is None:
        raise DatasetError(f"{path}: no episodes to write in this format{lacking}")
    try:
        with replace_file(path) as temporary:
            return _WRITERS[path.suffix](_prepend_rows(first, batches), temporary)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror or error}), and nothing is left of it: choose another place, "
            "or free some space"
        ) from error


def _prepend_rows(first: list[Row], rest: Iterator[list[Row]]) -> Iterator[list[Row]]:
    yield first
    yield from rest


def _write_parquet(batches: Iterator[list[Row]], path: Path) -> int:
    first = pa.Table.from_pylist(next(batches))
    count = first.num_rows
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for batch in batches:
            writer.write_table(pa.Table.from_pylist(batch, first.schema))
            count += len(batch)
    return count


def _write_lines(batches: Iterator[list[Row]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch)
            count += len(batch)
    return count


def _write_array(batches: Iterator[list[Row]], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for batch in batches:
            for row in batch:
                file.write(("[\n" if count == 0 else ",\n") + json.dumps(row, ensure_ascii=False))
                count += 1
        file.write("\n]\n")
    return count


_WRITERS: dict[str, Callable[[Iterator[list[Row]], Path], int]] = {
    ".json": _write_array,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}


# --------------------------------------------------------------------------------------------- Minari


def _export_minari(dataset: TrajectoryDataset, dataset_id: str) -> int:
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise ConfigurationError("exporting to Minari needs it installed: pip install minari") from error
    import gymnasium as gym

    place = _find_minari_place(dataset_id)
    playable = dataset.filter(length=lambda turns: turns > 0)
    if not len(playable):
        raise DatasetError(f"{dataset_id}: no episodes to write in this format")
    longest, characters = _measure_texts(playable)
    space = gym.spaces.Text(max_length=longest, min_length=0, charset=characters)
    author = next((meta.author for meta in dataset.metas if meta.author), None)
    buffers = [EpisodeBuffer(**_minari_episode(i, episode)) for i, episode in enumerate(playable)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every description that is not given
        try:
            minari.create_dataset_from_buffers(
                dataset_id,
                buffers,
                env=_find_spec(dataset),
                observation_space=space,
                action_space=space,
                algorithm_name=", ".join(sorted(set(playable.agents))),
                author=author,
                description="Recorded by oreo-agents; infos are JSON texts, one per step after the reset.",
                data_format="parquet",
            )
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)  # it writes in place: what it began is no dataset
            if isinstance(error, Exception):
                raise DatasetError(
                    f"{dataset_id}: Minari does not take it ({error}), and nothing is left of it"
                ) from error
            raise
    return len(playable)


def _find_spec(dataset: TrajectoryDataset) -> EnvSpec | None:
    """The environment, for ``recover_environment``, if it is one of this package's: a file makes no other code run."""
    import gymnasium as gym

    known = dataset.agreed("env_spec")
    if known is None or known["id"] not in list_ids():
        return None
    spec = copy.copy(gym.spec(known["id"]))
    spec.kwargs = {**spec.kwargs, **known.get("kwargs", {})}
    spec.max_episode_steps = known.get("max_episode_steps")
    return spec


def _find_minari_place(dataset_id: str) -> Path:
    """The folder that Minari will keep a new dataset in.

    Raises:
        ConfigurationError: that is no name of a dataset.
        DatasetError: there is one of that name.
    """
    from minari.storage import get_dataset_path

    if not re.fullmatch(r"([\w-]+/)*[\w-]+-v\d+", dataset_id):
        raise ConfigurationError(
            f"{dataset_id!r} is no name of a Minari dataset: choose one with a version, such as oreo/alfworld/expert-v0"
        )
    place = Path(get_dataset_path(dataset_id))
    if place.exists():
        raise DatasetError(f"{dataset_id}: exists already in {place.parent}; choose another name or version")
    return place


def _minari_episode(number: int, episode: Trajectory) -> Row:
    """Minari's columns; infos are JSON texts, because it keeps no lists of varying length."""
    last = len(episode) - 1
    infos = {
        "admissible_commands": [json.dumps(turn.admissible_commands) for turn in episode.turns] + ["null"],
        "action_status": ["", *(turn.action_status or "" for turn in episode.turns)],
        "game": [episode.game] * (len(episode) + 1),
    }
    return {
        "id": number,
        "seed": episode.seed,
        "observations": [*(turn.observation for turn in episode.turns), episode.final_observation],
        "actions": [str(turn.action) for turn in episode.turns],
        "rewards": list(episode.rewards),
        "terminations": [episode.terminated and step == last for step in range(len(episode))],
        "truncations": [not episode.terminated and step == last for step in range(len(episode))],
        "infos": infos,
    }


def _measure_texts(dataset: TrajectoryDataset) -> tuple[int, str]:
    """The longest text, and the characters of all of them."""
    longest, characters = 1, set("a")
    for episode in dataset:
        texts = [episode.final_observation, *(message["content"] for message in to_messages(episode))]
        longest = max(longest, *map(len, texts))
        characters.update(*texts)
    return longest, "".join(sorted(characters))
