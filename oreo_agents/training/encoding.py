"""Recorded episodes as token columns: at once where they are few, otherwise on all cores, once a machine.

What was encoded is kept below the cache folder under a name that stands for the episodes, the tokenizer, the prompt,
the discount and the code that encodes; it is memory-mapped, so that a process holds of it what it reads. Another
process that needs it meanwhile waits for it. What nobody has used for a month is removed. Knows nothing about models.
"""

from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from oreo_envs.files import (
    cache_root,
    hash_file,
    hash_json,
    lock_folder,
    make_temporary_folder,
    put_folder,
    remove_path,
)
from oreo_envs.workers import Worker, WorkerFailure, count_cores

from oreo_agents import trajectory
from oreo_agents.dataset.reader import TrajectoryDataset
from oreo_agents.errors import ConfigurationError, DatasetError, OreoError
from oreo_agents.language import encoded
from oreo_agents.language.chat import Chat
from oreo_agents.language.encoded import EncodedEpisode, EncodedEpisodes, gather_episodes
from oreo_agents.language.prompt import Prompt
from oreo_agents.trajectory import Trajectory, settle_success

WORTH_KEEPING = 20_000
"""Turns from which on a dataset is encoded on all cores and kept; fewer take seconds, in this process."""
PART = 256
"""Episodes that are encoded at a time."""
MOST_SECONDS = 3600.0
"""Of CPU time for one of these parts."""
UNUSED_S = 30 * 86_400

Follow = Callable[[int, int], None]
"""Is told how many episodes are encoded, and of how many."""
Environments = Sequence[tuple[str, Prompt]]
"""Ids, and a prompt each."""


def encode_episodes(
    episodes: Sequence[Trajectory | EncodedEpisode],
    chat: Chat,
    follow: Follow = lambda done, total: None,
    discount: float = 1.0,
    environments: Environments = (),
) -> EncodedEpisodes:
    """The episodes as token columns; those that are encoded already are taken as they are.

    A warning says how many are not what a model has sampled, but the text of it.

    Args:
        episodes: in the order in which they are wanted.
        chat: of the model's tokenizer and prompt.
        follow: is told how far it is.
        discount: what later rewards count, see :meth:`oreo_agents.trajectory.Trajectory.returns_to_go`.
        environments: prompts of those in which another one is read than ``chat`` has; recorded datasets say where
            their episodes were played.

    Raises:
        DatasetError: an episode was sampled with another tokenizer or prompt, or one that is encoded already is to be
            discounted.
        ConfigurationError: the cache folder cannot be written.
    """
    if environments and isinstance(episodes, TrajectoryDataset):
        return _encode_apart(episodes, chat, follow, discount, environments)
    if isinstance(episodes, TrajectoryDataset) and episodes.lengths.sum() >= WORTH_KEEPING:
        stored, places = episodes.sort_stored()
        found = _open_kept(stored, chat, follow, discount)[places]
    else:
        found = encoded.join_columns(_encode_parts(episodes, chat, follow, discount))
    found = _settle_outcomes(episodes, found)
    if spelt := int(found.facts["text_only"].sum()):
        warnings.warn(
            f"{spelt} of {len(found)} episodes were played through a server that gave no token ids: they are trained "
            "on as text, which may be spelt with other tokens than were sampled",
            stacklevel=2,
        )
    return found


def _settle_outcomes(
    episodes: Sequence[Trajectory | EncodedEpisode] | TrajectoryDataset, found: EncodedEpisodes
) -> EncodedEpisodes:
    """Where environments say of some episodes whether they were won, as of :func:`settle_success` of all."""
    said = found.facts["success"]
    if (said >= 0).all() or (said < 0).all():
        return found
    if isinstance(episodes, TrajectoryDataset):
        env_ids = episodes.column("env_id").tolist()
    else:
        env_ids = [one.env_id if isinstance(one, Trajectory) else "" for one in episodes]
    settled = settle_success(env_ids, [None if one < 0 else bool(one) for one in said])
    return found.with_success(np.array([-1 if one is None else one for one in settled], dtype=said.dtype))


def _encode_apart(
    episodes: TrajectoryDataset, chat: Chat, follow: Follow, discount: float, environments: Environments
) -> EncodedEpisodes:
    """Those of each environment with its prompt; their order stays."""
    env_ids, prompts = episodes.env_ids, dict(environments)
    which = np.array([env_id if env_id in prompts else "" for env_id in env_ids], dtype=object)
    made, places, done = [], [], 0
    for env_id in sorted(set(which)):
        chosen = np.flatnonzero(which == env_id)
        one = Chat(chat.tokenizer, prompts[env_id]) if env_id else chat

        def told(part: int, _: int, before: int = done) -> None:
            follow(before + part, len(episodes))

        made.append(encode_episodes(cast(Any, episodes[chosen]), one, told, discount))
        places.append(chosen)
        done += len(chosen)
    return encoded.join_columns(made)[np.argsort(np.concatenate(places))]


def _encode_parts(
    episodes: Sequence[Trajectory | EncodedEpisode] | TrajectoryDataset,
    chat: Chat,
    follow: Follow,
    discount: float,
) -> Iterator[EncodedEpisodes]:
    """In this process."""
    for start in range(0, len(episodes), PART):
        part = list(episodes[start : start + PART])
        played = [one for one in part if isinstance(one, Trajectory)]
        if discount != 1 and len(played) < len(part):
            raise DatasetError("episodes that are encoded already cannot be discounted: give trajectories")
        made = chat.encode_many(played, discount)
        if len(played) < len(part):
            others = gather_episodes(one for one in part if isinstance(one, EncodedEpisode))
            order = np.argsort([isinstance(one, EncodedEpisode) for one in part], kind="stable").argsort()
            made = encoded.join_columns([made, others])[order]
        yield made
        follow(start + len(part), len(episodes))


# --- kept ---------------------------------------------------------------------------------------------------------


def _open_kept(episodes: TrajectoryDataset, chat: Chat, follow: Follow, discount: float) -> EncodedEpisodes:
    """The columns of these episodes, which the first process that asks for them makes."""
    folder = cache_root() / "encoded" / _name_columns(episodes, chat, discount)
    try:
        with lock_folder(folder.parent, f".{folder.name}.lock", wait=True):
            try:
                found = encoded.open_columns(folder)
            except (OSError, ValueError, DatasetError):  # none yet, or damaged
                _remove_unused(folder.parent)
                with make_temporary_folder(folder) as new:
                    encoded.write_columns(_encode_on_all_cores(episodes, chat, follow, discount), new)
                    put_folder(new, folder)
                found = encoded.open_columns(folder)
            os.utime(folder)
            return found
    except OSError as error:
        raise ConfigurationError(
            f"what is encoded cannot be kept in {folder.parent} ({error}): set XDG_CACHE_HOME to a folder with room"
        ) from error


def _name_columns(episodes: TrajectoryDataset, chat: Chat, discount: float) -> str:
    """A name that no other episodes, tokenizer, prompt, discount or code would have."""
    with TemporaryDirectory() as folder:
        chat.tokenizer.save_pretrained(folder)
        tokenizer = [
            (file.name, hash_file(file)) for file in sorted(Path(folder).rglob("*")) if file.is_file()
        ]
    sources = [Path(trajectory.__file__), *sorted(Path(encoded.__file__).parent.glob("*.py"))]
    code = [hash_file(file) for file in sources]
    versions = [version(name) for name in ("transformers", "tokenizers", "numpy")]
    made_from = [episodes.identify(), tokenizer, chat.fingerprint, chat.prompt.to_dict()]
    return hash_json([*made_from, discount, code, versions])[:32]


def _remove_unused(folder: Path) -> None:
    for kept in folder.iterdir():
        with suppress(OSError):  # another process may be at the same
            if time.time() - kept.stat().st_mtime > UNUSED_S:
                remove_path(kept)


# --- on all cores -------------------------------------------------------------------------------------------------


def _encode_on_all_cores(
    episodes: TrajectoryDataset, chat: Chat, follow: Follow, discount: float
) -> Iterator[EncodedEpisodes]:
    """Part after part, in order; each worker has one at work and one waiting."""
    parts = [episodes[start : start + PART] for start in range(0, len(episodes), PART)]
    count = min(count_cores(), len(parts))
    if count == 1:
        yield from _encode_parts(
            cast("Sequence[Trajectory | EncodedEpisode]", episodes), chat, follow, discount
        )
        return
    workers = [Worker(memory=None) for _ in range(count)]
    try:
        for worker in workers:
            worker.send(f"{__name__}:begin_encoding", (chat.tokenizer, chat.prompt), MOST_SECONDS)
        for i, part in enumerate(parts[: 2 * count]):
            workers[i % count].send(f"{__name__}:encode_part", (part, discount), MOST_SECONDS)
        for worker in workers:
            _receive_answer(worker)
        done = 0
        for i in range(len(parts)):
            made = _receive_answer(workers[i % count])
            if i + 2 * count < len(parts):
                later = parts[i + 2 * count], discount
                workers[i % count].send(f"{__name__}:encode_part", later, MOST_SECONDS)
            done += len(made)
            yield made
            follow(done, len(episodes))
    finally:
        for worker in workers:
            worker.kill()


def _receive_answer(worker: Worker) -> Any:
    try:
        answer = worker.receive()
    except WorkerFailure as failure:
        raise DatasetError(f"the episodes cannot be encoded: {failure}") from failure
    if isinstance(answer, OreoError):
        raise answer
    return answer


_chat: Chat | None = None
"""In a worker: what it encodes with."""


def begin_encoding(tokenizer: Any, prompt: Any) -> None:
    """In a worker: what comes is to be encoded with these."""
    global _chat
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each core has a worker
    gc.disable()  # there are no cycles, and looking for them takes a third of the time
    _chat = Chat(tokenizer, prompt)


def encode_part(episodes: TrajectoryDataset, discount: float) -> EncodedEpisodes | OreoError:
    """In a worker: the columns of some episodes, or why there are none."""
    assert _chat is not None
    try:
        return _chat.encode_many(list(episodes), discount)
    except OreoError as error:
        return error
