"""Episodes that others recorded: chat messages with rewards, ETO, AgentTraj and other ShareGPT files, KnowAgent, TALES.

Each reader yields :class:`Trajectory` values as their file tells them; rewards that a file leaves out are
what its authors say of it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from oreo_envs.files import MOST_BYTES, open_file

from oreo_agents.dataset.reader import require_new
from oreo_agents.dataset.schema import to_row, to_table
from oreo_agents.dataset.wording import reword_to_move
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.trajectory import Trajectory, Turn, name_outcome

PathLike = str | os.PathLike[str]
ENV_ID = "OREO-ALFWorld"


def import_sharegpt(path: PathLike) -> Iterator[Trajectory]:
    """Conversations under ``conversations`` or ``messages``, of ``from``/``value`` or ``role``/``content`` messages
    (ETO, AgentTraj, AgentInstruct, Trinity-RFT, FastChat, this package's own exports); JSON, JSON lines or Parquet.

    System messages, a leading instruction with its answer (AgentTraj marks it ``loss: false``, ETO writes ``OK``) and
    an example before the last opening of a game go to ``metadata["instructions"]``; a message with ``Thought:`` and
    ``Action:``, or with ``<think>`` and ``<action>``, is what was said beside the action; a list of ``AVAILABLE
    ACTIONS`` becomes the turn's admissible commands.
    The record or its ``meta`` says what came of it: a return under one of :data:`RETURNS`, a number or a list with one
    reward for each turn of the agent; and whether it was won, under one of :data:`SUCCESSES` (null: winning is not
    defined). Where the latter is not said, a return of 1 is won and of 0 is lost if no episode has another one; else
    winning is not defined, as where nothing is said at all.

    Raises:
        DatasetError: the file cannot be read, or a record in it is no such conversation.
    """
    return _read_conversations(path, "", None)


def import_agenttraj(path: PathLike) -> Iterator[Trajectory]:
    """As :func:`import_sharegpt`; an episode of which nothing else is said was won, as all of AgentTraj's were."""
    return _read_conversations(path, "", 1.0)


def import_eto(path: PathLike) -> Iterator[Trajectory]:
    """ETO's expert episodes (``gt_traj``), which were won where nothing else is said; also what its agents played."""
    return _read_conversations(path, "eto-expert", 1.0)


def import_knowagent(path: PathLike) -> Iterator[Trajectory]:
    """KnowAgent's transcripts with ``> Think:`` lines, won and lost.

    What stands before a command is its thought, and the turn's ``said`` has both, as ``Thought:`` and ``Action:``.

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


def parse_records(records: Iterable[Mapping[str, Any]]) -> list[Trajectory]:
    """The episodes of rows with ``messages`` or ``conversations`` and an outcome, as :func:`import_sharegpt` reads.

    Raises:
        DatasetError: a row is no such conversation, or has more or fewer rewards than turns.
    """
    parsed = []
    for number, record in enumerate(records):
        with _Blaming(f"row {number}"):
            parsed.append(_parse_conversation(dict(record), "", None))
    return _settle_returns(parsed)


IMPORTERS: dict[str, Callable[[PathLike], Iterator[Trajectory]]] = {
    "agenttraj": import_agenttraj,
    "eto": import_eto,
    "knowagent": import_knowagent,
    "messages": import_sharegpt,
    "sharegpt": import_sharegpt,
    "tales": import_tales,
}


def import_dataset(
    source: PathLike, output: PathLike, format: str, move: bool = False, licence: str | None = None
) -> int:
    """Import the episodes that another tool recorded, all or none, and return how many.

    Args:
        source: a file, for tales also a folder.
        output: folder of the dataset to make.
        format: one of :data:`IMPORTERS`.
        move: reword to the ``move`` games' wording, as ALFWorld 0.4 has it, and record what was rewritten.
        licence: of the imported episodes, stored in the dataset.

    Raises:
        ConfigurationError: there is no such format.
        DatasetError: ``source`` cannot be read, a record in it is no episode, or ``output`` is there.
    """
    if format not in IMPORTERS:
        known = ", ".join(sorted(IMPORTERS))
        raise ConfigurationError(f"there is no import format {format!r}; choose one of {known}")
    require_new(Path(output))
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

RETURNS = ("rewards", "reward", "return", "score")
"""Where a record tells the return: a number, or a list with one for each turn of the agent."""
SUCCESSES = ("success", "is_success", "won")
"""Where a record tells whether the episode was won: true, false, or null where winning is not defined."""
OUTCOMES = (*RETURNS, *SUCCESSES)

_THOUGHT = re.compile(r"(?:Thought:\s*(.*?)\s*)?Action:\s*(.*)", re.DOTALL | re.IGNORECASE)
_TAGGED = re.compile(r"(?:<think>(.*?)</think>)?\s*<action>(.*?)</action>", re.DOTALL | re.IGNORECASE)
_OFFERED = re.compile(r"\s*AVAILABLE ACTIONS:\s*(.*)", re.DOTALL)
_PREFIX = re.compile(r"(?:Observation:|Here is your task\.)\s*")
_OPENING = re.compile(r"You are in the middle of a room\..*Your task is to: ", re.DOTALL)
_SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "agent", "assistant": "agent"}
_TASK = re.compile(r"Your task is to: (.*)")


class _Message(NamedTuple):
    speaker: str
    """"system", "user" or "agent"."""
    text: str
    learnt: bool | None
    """Whether the file says that it is to be learnt."""


def _read_conversations(path: PathLike, agent: str, silent: float | None) -> Iterator[Trajectory]:
    """The episodes of a file; ``silent`` is the return of those of which nothing is said."""
    parsed = []
    for where, record in _read_records(Path(path)):
        with _Blaming(where):
            parsed.append(_parse_conversation(record, agent, silent))
    yield from _settle_returns(parsed)


def _settle_returns(parsed: Sequence[tuple[Trajectory, bool]]) -> list[Trajectory]:
    """The episodes; where one of those that do not say whether they were won returns neither 0 nor 1, none of them was
    won or lost."""
    silent = [episode for episode, told in parsed if not told]
    if all(episode.return_ in (0.0, 1.0) for episode in silent):
        return [episode for episode, _ in parsed]
    return [episode if told else _leave_open(episode) for episode, told in parsed]


def _leave_open(episode: Trajectory) -> Trajectory:
    """The episode, of which nobody says whether it was won."""
    outcome = name_outcome(None, episode.return_)
    return replace(episode, outcome=outcome, terminated=False, truncated=False)


def _parse_conversation(record: dict[str, Any], agent: str, silent: float | None) -> tuple[Trajectory, bool]:
    """An episode, and whether more than its return says if it was won."""
    messages = _read_messages(record)
    told = [message.text for message in messages if message.speaker == "system"]
    spoken = [message for message in messages if message.speaker != "system"]
    start = _find_start(spoken)
    told += [message.text for message in spoken[:start] if message.speaker == "user"]
    seen, said = ([message.text for message in spoken[start + i :: 2]] for i in (0, 1))
    _require_turns(spoken, said)
    actions = [_find_action(text) for text in said]
    observations, offered = zip(*map(_split_offer, seen), strict=True)
    outcome = _read_outcome(record, len(actions), silent)
    metadata = {"source": "sharegpt"}
    if told:
        metadata["instructions"] = "\n\n".join(told)
    if outcome is None:
        metadata["outcome"] = "unknown"
    episode = _build_episode(
        observations=[
            _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text for text in observations
        ],
        actions=actions,
        rewards=outcome.rewards if outcome else [0.0] * len(actions),
        offered=list(offered),
        said=[
            None if text.strip() == action else text.strip()
            for text, action in zip(said, actions, strict=True)
        ],
        game=str(record.get("name", record.get("game", record.get("item_id", record.get("id", ""))))),
        agent=str(record.get("agent", agent)),
        metadata=metadata,
    )
    episode = replace(episode, env_id=str(record.get("env_id") or episode.env_id))
    if outcome is None or (outcome.told and outcome.success is None):
        return _leave_open(episode), True
    if outcome.told:
        named = name_outcome(outcome.success, episode.return_)
        won = bool(outcome.success)
        episode = replace(episode, outcome=named, terminated=won, truncated=not won)
    return episode, outcome.told


def _require_turns(spoken: Sequence[_Message], said: Sequence[str]) -> None:
    """Raise ValueError unless user and agent take turns and, after any instruction, the agent says something."""
    for i, message in enumerate(spoken):
        due, other = ("a user", "an assistant")[i % 2], ("an assistant", "a user")[i % 2]
        if message.speaker != ("user", "agent")[i % 2]:
            who = other if message.speaker in ("user", "agent") else repr(message.speaker)
            raise ValueError(
                f"message {i + 1} beside system ones is of {who} where {due} has to speak: they take turns, so put "
                "into one message what is said in a row, and into the user's what a tool answers"
            )
    if not said:
        raise ValueError("no assistant says anything in it")


def _read_messages(record: dict[str, Any]) -> list[_Message]:
    listed = record.get("conversations", record.get("messages"))
    if not isinstance(listed, list):
        raise ValueError("it has no list of conversations or messages")
    messages = []
    for one in listed:
        name, text = one.get("from", one.get("role")), one.get("value", one.get("content"))
        if not isinstance(text, str):
            raise ValueError(f"a message of {name!r} is no text")
        messages.append(_Message(_SPEAKERS.get(str(name).lower(), str(name)), text, one.get("loss")))
    return messages


def _find_start(spoken: Sequence[_Message]) -> int:
    """The message with which the episode begins, after instructions and an example."""
    openings = [i for i, message in enumerate(spoken) if i % 2 == 0 and _OPENING.search(message.text)]
    if len(openings) > 1:
        return openings[-1]
    return 2 if len(spoken) > 2 and _is_preamble(spoken[1]) else 0


class _Outcome(NamedTuple):
    rewards: list[float]
    """One for each turn of the agent."""
    success: bool | None
    """Whether it was won; None where winning is not defined."""
    told: bool
    """Whether more than the return says so."""


def _read_outcome(record: dict[str, Any], turns: int, silent: float | None) -> _Outcome | None:
    """What the record says anywhere of what came of the episode, else ``silent``; None where nobody says anything."""
    parts = [part for part in (record, record.get("meta")) if isinstance(part, dict)]
    returns = [_read_rewards(part[name], turns) for part in parts for name in RETURNS if name in part]
    successes = [_read_success(part[name]) for part in parts for name in SUCCESSES if name in part]
    if not returns and None in successes:
        raise ValueError("it says neither whether it was won nor its return")
    if not returns and not successes and silent is None:
        return None
    told = bool(successes) or not returns
    if not returns:
        returns = [[0.0] * (turns - 1) + [float(successes[0] or 0.0) if successes else silent or 0.0]]
    rewards = returns[0]
    totals, success = {sum(one) for one in returns}, successes[0] if successes else sum(rewards) > 0
    disagree = len({total > 0 for total in totals}) > 1 or len({*successes}) > 1
    if disagree or (success is not None and totals <= {0.0, 1.0} and success != (sum(rewards) > 0)):
        raise ValueError("it is said to be won and said to be lost")
    return _Outcome(rewards, success, told)


def _read_rewards(told: Any, turns: int) -> list[float]:
    if not isinstance(told, list):
        return [0.0] * (turns - 1) + [_read_number(told)]
    if len(told) != turns:
        raise ValueError(
            f"{len(told)} rewards, and {turns} messages of the assistant: give one for each, or one number for the "
            "episode"
        )
    return [*map(_read_number, told)]


def _read_success(told: Any) -> bool | None:
    return None if told is None else _read_number(told) > 0


def _read_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"its outcome is {value!r}, it must be a number, true or false") from None


def _is_preamble(message: _Message) -> bool:
    """Whether an agent's first message takes note of instructions: not learnt from, or where that is not said, "OK"."""
    if message.learnt is None:
        return message.text.strip().upper().startswith("OK")
    return message.learnt is False


def _find_action(text: str) -> str:
    """What a message does; all of it, where it has neither ``Action:`` nor ``<action>``."""
    found = _THOUGHT.fullmatch(text.strip()) or _TAGGED.fullmatch(text.strip())
    return found[2].strip() if found else text


def _split_offer(text: str) -> tuple[str, tuple[str, ...] | None]:
    found = _OFFERED.search(text)
    if found is None:
        return text, None
    return text[: found.start()], tuple(command.strip() for command in found[1].split(","))


# --------------------------------------------------------------------------------------------- KnowAgent


def _parse_transcript(record: dict[str, Any]) -> Trajectory:
    begin, *rest = record["traj"].rstrip("\n").split("\n> ")
    observations, actions, thinking = [begin], list[str](), list[str]()
    said: list[str | None] = []
    for entry in rest:
        line, _, answer = entry.partition("\n")
        if line.startswith(("Think:", "ActionPath:")):
            thinking.append(line)
            continue
        actions.append(line.strip())
        observations.append(answer.strip())
        thought = "\n".join(thinking).removeprefix("Think:").strip()
        said.append(f"Thought: {thought}\nAction: {actions[-1]}" if thought else None)
        thinking = []
    return _build_episode(
        observations=observations,
        actions=actions,
        rewards=[0.0] * (len(actions) - 1) + [float(record["result"])] * bool(actions),
        offered=[None] * len(observations),
        said=said,
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
        said=[step.get("Response") or None for step in steps],
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
    said: list[str | None],
    game: str,
    agent: str,
    metadata: dict[str, Any],
) -> Trajectory:
    """A trajectory out of parallel lists; the observation after the last action may be missing."""
    parts = zip(observations, actions, rewards, offered, said, strict=False)
    turns = tuple(
        Turn(seen, done, reward, admissible_commands=offer, said=whole)
        for seen, done, reward, offer, whole in parts
    )
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
        metadata=metadata,
    )


def _read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, record) of a JSON array, of JSON lines or of a Parquet file."""
    if path.suffix == ".parquet":
        yield from ((f"{path}: row {i}", record) for i, record in enumerate(_read_parquet(path)))
        return
    text = _read_text(path)
    if not text.strip():
        raise DatasetError(f"{path}: cannot be read as episodes (it is empty)")
    if text.lstrip().startswith("["):
        with _Blaming(str(path)):
            records = json.loads(text)
        yield from ((f"{path}: record {i}", record) for i, record in enumerate(records))
        return
    if text.lstrip().startswith("{\n"):  # one record over many lines
        with _Blaming(str(path)):
            yield str(path), json.loads(text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            with _Blaming(f"{path}: line {number}"):
                yield f"{path}: line {number}", json.loads(line)


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        with open_file(path) as file:
            return pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read as episodes ({error})") from error


def _read_text(path: Path) -> str:
    try:
        with open_file(path) as file:
            source: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            content = source.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OSError(f"has more than {MOST_BYTES:,} bytes; divide it")
        return content.decode("utf-8-sig")
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
            reason = _say_reason(error)
            raise DatasetError(f"{self.where}: not an episode in this format ({reason})") from error


def _say_reason(error: BaseException) -> str:
    """What is wrong with a record, in words where the error has them."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error.msg}"
    return str(error) if type(error) is ValueError else "its fields are not of the kinds that they should be"
