"""Episodes that others recorded: ETO, AgentTraj and other ShareGPT files, KnowAgent, TALES.

Each reader yields :class:`Trajectory` values as their file tells them; rewards that a file leaves out are
what its authors say of it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from oreo_agents.dataset.schema import to_row, to_table
from oreo_agents.dataset.wording import reword_to_move
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.trajectory import Trajectory, Turn

PathLike = str | os.PathLike[str]
ENV_ID = "OREO-ALFWorld"


def import_sharegpt(path: PathLike, agent: str = "") -> Iterator[Trajectory]:
    """Conversations of ``from``/``value`` messages (ETO, AgentTraj, FastChat); JSON or JSON lines.

    A leading instruction with its answer (AgentTraj marks it ``loss: false``, ETO writes ``OK``) goes to
    ``metadata["instructions"]``; ``Thought:`` parts go to ``metadata["thoughts"]``, one per turn; a list of
    ``AVAILABLE ACTIONS`` becomes the turn's admissible commands. Without a ``reward`` in the record the
    episode counts as won, because these files hold won episodes only.

    Raises:
        DatasetError: the file cannot be read, or a record in it is no such conversation.
    """
    for where, record in _read_records(Path(path)):
        with _Blaming(where):
            yield _parse_conversation(record, agent)


def import_eto(path: PathLike) -> Iterator[Trajectory]:
    """ETO's expert episodes (``gt_traj``): ShareGPT records of won games, without thoughts."""
    return import_sharegpt(path, agent="eto-expert")


def import_knowagent(path: PathLike) -> Iterator[Trajectory]:
    """KnowAgent's transcripts with ``> Think:`` lines, won and lost.

    What stands before a command goes to ``metadata["thoughts"]``, one text per turn.

    Raises:
        DatasetError: the file cannot be read, or a record in it is no such transcript.
    """
    for where, record in _read_records(Path(path)):
        with _Blaming(where):
            yield _parse_transcript(record)


def import_tales(path: PathLike) -> Iterator[Trajectory]:
    """TALES logs: a ``.jsonl`` file of one game's steps, or a folder of them; each restart is an episode.

    Rewards are score differences.

    Raises:
        DatasetError: a file cannot be read, or its lines are no such steps.
    """
    folder = Path(path)
    files = sorted(folder.rglob("*.jsonl")) if folder.is_dir() else [folder]
    for file in files:
        steps: list[dict[str, Any]] = []
        for where, step in _read_records(file):
            with _Blaming(where):
                if _RESTART in step["Observation"] and steps:
                    yield _parse_tales_episode(steps, file)
                    steps = []
                steps.append(step)
        if steps:
            with _Blaming(str(file)):
                yield _parse_tales_episode(steps, file)


IMPORTERS: dict[str, Callable[[PathLike], Iterator[Trajectory]]] = {
    "agenttraj": import_sharegpt,
    "eto": import_eto,
    "knowagent": import_knowagent,
    "sharegpt": import_sharegpt,
    "tales": import_tales,
}


def import_dataset(
    source: PathLike, output: PathLike, format: str, move: bool = False, licence: str | None = None
) -> int:
    """Import the episodes that another tool recorded, all or none, and return how many.

    Args:
        source: a file, for tales also a folder.
        output: folder of the dataset to make or to continue.
        format: one of :data:`IMPORTERS`.
        move: reword to the ``move`` games' wording, as ALFWorld 0.4 has it, and record what was rewritten.
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
    return len(imported)


# --------------------------------------------------------------------------------------------- ShareGPT

_THOUGHT = re.compile(r"(?:Thought:\s*(.*?)\s*)?Action:\s*(.*)", re.DOTALL | re.IGNORECASE)
_OFFERED = re.compile(r"\s*AVAILABLE ACTIONS:\s*(.*)", re.DOTALL)
_SPEAKERS = ({"human", "user"}, {"gpt", "assistant"})
_TASK = re.compile(r"Your task is to: (.*)")


def _parse_conversation(record: dict[str, Any], agent: str) -> Trajectory:
    messages = record["conversations"]
    start = 2 if len(messages) > 2 and _is_preamble(messages[1]) else 0
    seen = [message["value"] for message in messages[start::2]]
    said = [message["value"] for message in messages[start + 1 :: 2]]
    if not said or any(message["from"] not in _SPEAKERS[i % 2] for i, message in enumerate(messages)):
        raise ValueError("human and agent do not take turns")
    thoughts, actions = zip(*map(_split_thought, said), strict=True)
    observations, offered = zip(*map(_split_offer, seen), strict=True)
    metadata = {"source": "sharegpt"}
    if start:
        metadata["instructions"] = messages[0]["value"]
    return _build_episode(
        observations=list(observations),
        actions=list(actions),
        rewards=[0.0] * (len(actions) - 1) + [float(record.get("reward", 1.0))],
        offered=list(offered),
        thoughts=list(thoughts),
        game=str(record.get("name", record.get("item_id", record.get("id", "")))),
        agent=str(record.get("agent", agent)),
        metadata=metadata,
    )


def _is_preamble(message: dict[str, Any]) -> bool:
    """Whether an agent's first message takes note of instructions: not learnt from, or where that is not said, "OK"."""
    loss = message.get("loss")
    return message["value"].strip().upper().startswith("OK") if loss is None else loss is False


def _split_thought(text: str) -> tuple[str, str]:
    found = _THOUGHT.fullmatch(text.strip())
    return (found[1] or "", found[2].strip()) if found else ("", text)


def _split_offer(text: str) -> tuple[str, tuple[str, ...] | None]:
    found = _OFFERED.search(text)
    if found is None:
        return text, None
    return text[: found.start()], tuple(command.strip() for command in found[1].split(","))


# --------------------------------------------------------------------------------------------- KnowAgent


def _parse_transcript(record: dict[str, Any]) -> Trajectory:
    begin, *rest = record["traj"].rstrip("\n").split("\n> ")
    observations, actions, thoughts, thinking = [begin], [], [], []
    for entry in rest:
        line, _, answer = entry.partition("\n")
        if line.startswith(("Think:", "ActionPath:")):
            thinking.append(line)
            continue
        actions.append(line.strip())
        observations.append(answer.strip())
        thoughts.append("\n".join(thinking))
        thinking = []
    return _build_episode(
        observations=observations,
        actions=actions,
        rewards=[0.0] * (len(actions) - 1) + [float(record["result"])] * bool(actions),
        offered=[None] * len(observations),
        thoughts=thoughts,
        game=record["name"],
        agent="knowagent",
        metadata={"source": "knowagent"},
    )


# --------------------------------------------------------------------------------------------- TALES

_RESTART = "-= Restarting =-\n"


def _parse_tales_episode(steps: list[dict[str, Any]], file: Path) -> Trajectory:
    scores = [0.0, *(float(step["Score"]) for step in steps)]
    observations = [step["Observation"].rpartition(_RESTART)[2] for step in steps] + [steps[-1]["Feedback"]]
    won = scores[-1] >= float(steps[-1]["Max Score"])
    episode = _build_episode(
        observations=observations,
        actions=[step["Action"] for step in steps],
        rewards=[after - before for before, after in pairwise(scores)],
        offered=[None] * len(observations),
        thoughts=[step.get("Response") or "" for step in steps],
        game=file.parent.name,
        agent="tales",
        metadata={"source": "tales", "file": file.name, "max_score": steps[-1]["Max Score"]},
    )
    return replace(episode, env_id="", terminated=won, truncated=not won)


# --------------------------------------------------------------------------------------------- details


def _build_episode(
    observations: list[str],
    actions: list[str],
    rewards: list[float],
    offered: list[tuple[str, ...] | None],
    thoughts: list[str],
    game: str,
    agent: str,
    metadata: dict[str, Any],
) -> Trajectory:
    """A trajectory out of parallel lists; the observation after the last action may be missing."""
    parts = zip(observations, actions, rewards, offered, strict=False)
    turns = tuple(Turn(seen, done, reward, admissible_commands=offer) for seen, done, reward, offer in parts)
    task = _TASK.search(observations[0])
    won = sum(rewards) > 0
    return Trajectory(
        turns=turns,
        env_id=ENV_ID if task else "",
        game=game,
        task=task[1] if task else "",
        task_type=game.partition("-")[0] if "/trial" in game else "",
        agent=agent,
        terminated=won,
        truncated=not won,
        final_observation=observations[len(actions)] if len(observations) > len(actions) else "",
        metadata={**metadata, "thoughts": thoughts} if any(thoughts) else metadata,
    )


def _read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, record) of a JSON array or of JSON lines."""
    text = _read_text(path)
    if not text.strip():
        raise DatasetError(f"{path}: cannot be read as episodes (it is empty)")
    if text.lstrip().startswith("["):
        with _Blaming(str(path)):
            records = json.loads(text)
        yield from ((f"{path}: record {i}", record) for i, record in enumerate(records))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            with _Blaming(f"{path}: line {number}"):
                yield f"{path}: line {number}", json.loads(line)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as episodes ({error})") from error


class _Blaming:
    """Turns the errors of malformed records into one that says where the record stands."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)):
            raise DatasetError(f"{self.where}: not an episode in this format ({error!r})") from error
