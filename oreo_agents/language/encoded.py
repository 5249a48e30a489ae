"""Encoded episodes: one as lists of tokens, many as flat columns, in memory or on disk.

For each token the columns have an id and five bits, for each turn one return, for each episode what selecting,
pairing and checking ask of it; so none of these reads a token. The agent's tokens have log-probabilities, and its turns
states, where those were recorded. Knows nothing about tokenizers or models.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import compress, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from oreo_envs.files import read_json, write_json

from oreo_agents.errors import DatasetError

ACTION, IMITATE, END, THOUGHT, START = (1 << bit for bit in range(5))
"""Of a token's marks."""

FACTS = np.dtype(
    [
        ("begin", "i8"),  # of its tokens
        ("tokens", "i8"),
        ("run", "i8"),  # the first of its runs of equal returns
        ("runs", "i8"),
        ("longest", "i8"),  # tokens of its longest sequence
        ("sequences", "i8"),
        ("prompt", "i8"),  # tokens before the first action
        ("largest", "i8"),  # token id
        ("logp", "i8"),  # where those of its agent's tokens begin; -1: none
        ("state", "i8"),  # where those of its turns begin; -1: none
        ("return", "f8"),  # of the whole episode, as the environment gave it
        ("first", "f8"),  # return to go
        ("lowest", "f8"),
        ("highest", "f8"),
        ("success", "i1"),  # -1: nobody says
        ("acts", "?"),  # some token is the agent's
        ("text_only", "?"),
        ("prompt_digest", "V16"),
        ("digest", "V32"),
    ]
)


@dataclass(frozen=True, slots=True)
class EncodedEpisode:
    """A trajectory as token ids with, per token, whose it is and what it may teach."""

    input_ids: list[int]
    """Of all its sequences, one after the other."""
    action_mask: list[bool]
    """The token was chosen by the agent (thought and end of turn included)."""
    imitate_mask: list[bool]
    """Of those, the ones worth imitating: not the noise a recorder put in on purpose."""
    end_mask: list[bool]
    """The last token of an action: here the critic is read after it."""
    returns: list[float]
    """Rewards still to come after this token."""
    success: bool | None
    """Whether it was won; None where nobody says."""
    starts: list[int] = field(default_factory=lambda: [0])
    """Where its sequences begin."""
    thoughts: list[int] = field(default_factory=list)
    """Which of the agent's tokens come before what names the action."""
    return_: float | None = None
    """Of the whole episode, as the environment gave it; None: what ``returns`` begin with."""
    recorded_logp: list[float] | None = None
    """Log-probability of each token that the agent chose, under what it was drawn from when it was recorded (nats),
    zero elsewhere; None where some of them was not."""
    text_only: bool = False
    """A server said what was sampled as text alone, which may be spelt with other tokens here."""
    states: list[int] | None = None
    """Of each turn, the same where it was taken in the same state of the environment; None where that was not recorded.
    """
    prompt_value: float | None = None
    """What episodes after the same prompt come to, where an item of training says so; no column has it."""
    group_advantages: list[float] | None = None
    """Of each token that the agent chose, likewise."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""
        return max((end - start for start, end in pairwise([*self.starts, len(self)])), default=0)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was recorded: ids, masks, log-probabilities, states, returns, success."""
        return gather_episodes([self]).digests[0]


class _Columns(NamedTuple):
    """What :class:`EncodedEpisodes` is made of: ``ids`` and ``marks`` have an entry a token, the next two one a run of
    equal returns, ``logps`` one for each of the agent's tokens and ``states`` one for each turn, in episodes where they
    were recorded."""

    ids: np.ndarray
    marks: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    logps: np.ndarray
    states: np.ndarray
    facts: np.ndarray


_KINDS = (*map(np.dtype, ("u4", "u1", "f8", "u4", "f8", "u8")), FACTS)
_ABOUT = "columns.json"
_PACKED = 256
"""Episodes that are put into columns at a time."""


class EncodedEpisodes(Sequence[EncodedEpisode]):
    """Many encoded episodes as flat columns; one is made when indexed, a slice or an array of indices gives a view.

    >>> said, end = [False, True, True], [False, False, True]
    >>> episode = EncodedEpisode([5, 7, 2], said, said, end, [1.0] * 3, True)
    >>> episodes = gather_episodes([episode, episode])
    >>> episodes[1] == episode, len(episodes[[0]]), episodes.facts["tokens"].tolist()
    (True, 1, [3, 3])
    """

    def __init__(self, columns: _Columns) -> None:
        """Use :func:`gather_episodes` or :func:`open_columns` instead."""
        self._columns = columns

    @property
    def facts(self) -> np.ndarray:
        """A row of :data:`FACTS` for each episode."""
        return self._columns.facts

    @property
    def digests(self) -> list[bytes]:
        """:attr:`EncodedEpisode.digest` of each, as it was gathered."""
        return [digest.tobytes() for digest in self.facts["digest"]]

    def map_returns(self, change: Callable[[np.ndarray], np.ndarray]) -> EncodedEpisodes:
        """The same episodes with other returns to go; what a higher return becomes must not be lower."""
        facts = self.facts.copy()
        for name in ("first", "lowest", "highest"):
            facts[name] = change(facts[name])
        return EncodedEpisodes(
            self._columns._replace(returns=change(np.asarray(self._columns.returns)), facts=facts)
        )

    def with_success(self, success: np.ndarray) -> EncodedEpisodes:
        """The same episodes, won where ``success`` (``[len(self)]``, 1 or 0, -1 where nobody knows) says so."""
        facts = self.facts.copy()
        facts["success"] = success
        return EncodedEpisodes(self._columns._replace(facts=facts))

    def __len__(self) -> int:
        return len(self.facts)

    @overload
    def __getitem__(self, index: int | np.integer) -> EncodedEpisode: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> EncodedEpisodes: ...

    def __getitem__(self, index: Any) -> EncodedEpisode | EncodedEpisodes:
        """An episode for an integer, a view for a slice, an array of indices or a boolean mask."""
        if isinstance(index, int | np.integer):
            return self._unpack(self.facts[index])
        return EncodedEpisodes(self._columns._replace(facts=self.facts[index]))

    def _unpack(self, fact: Any) -> EncodedEpisode:
        tokens = slice(fact["begin"], fact["begin"] + fact["tokens"])
        runs = slice(fact["run"], fact["run"] + fact["runs"])
        marks = np.asarray(self._columns.marks[tokens])
        acted, ends = (marks & ACTION).astype(bool), (marks & END).astype(bool)
        logp = states = None
        if fact["logp"] >= 0:
            logp = np.zeros(len(marks))
            logp[acted] = self._columns.logps[fact["logp"] : fact["logp"] + acted.sum()]
        if fact["state"] >= 0:
            states = self._columns.states[fact["state"] : fact["state"] + ends.sum()].tolist()

        def mask(bit: int) -> list[bool]:
            return (marks & bit).astype(bool).tolist()

        return EncodedEpisode(
            self._columns.ids[tokens].tolist(),
            acted.tolist(),
            mask(IMITATE),
            ends.tolist(),
            np.repeat(self._columns.returns[runs], self._columns.lengths[runs]).tolist(),
            None if fact["success"] < 0 else bool(fact["success"]),
            np.flatnonzero(marks & START).tolist(),
            np.flatnonzero(marks & THOUGHT).tolist(),
            float(fact["return"]),
            None if logp is None else logp.tolist(),
            bool(fact["text_only"]),
            states,
        )


class _About(NamedTuple):
    """Of an episode, what its tokens do not say."""

    logps: bool
    """Whether they were recorded."""
    states: bool
    success: bool | None
    return_: float
    text_only: bool


class EpisodeCollector:
    """Episodes on their way into columns, each as what its turns read and said."""

    def __init__(self) -> None:
        self._ids, self._lengths, self._tokens = array("I"), array("q"), array("q")
        self._turns, self._returns, self._imitated = array("q"), array("d"), bytearray()
        self._starts, self._thoughts = array("q"), array("q")
        self._logps, self._states = array("d"), array("Q")
        self._about: list[_About] = []

    def add_episode(
        self,
        ids: Sequence[int],
        lengths: Sequence[int],
        returns: Sequence[float],
        imitated: Sequence[bool],
        starts: Iterable[int],
        thoughts: Iterable[int],
        logps: Sequence[float] | None,
        states: Sequence[int] | None,
        success: bool | None,
        return_: float,
        text_only: bool,
    ) -> None:
        """Add an episode of n turns.

        Args:
            ids: all its tokens.
            lengths: of what each turn read and what it said, in tokens; 2n numbers.
            returns: rewards still to come; n numbers.
            imitated: whether what was said is worth imitating; n times.
            starts: as of :class:`EncodedEpisode`.
            thoughts: likewise.
            logps: of all tokens that were said, where they were recorded.
            states: as of :class:`EncodedEpisode`.
            success: whether it was won; None where nobody says.
            return_: of the whole episode, as the environment gave it.
            text_only: as of :class:`EncodedEpisode`.

        Raises:
            DatasetError: a token id that no vocabulary has.
        """
        begin = len(self._ids)
        try:
            self._ids.extend(ids)
        except (OverflowError, TypeError) as error:
            raise _refuse_ids(ids) from error
        self._lengths.extend(lengths)
        self._tokens.append(len(ids))
        self._turns.append(len(returns))
        self._returns.extend(returns)
        self._imitated.extend(imitated)
        self._starts.extend([begin + place for place in starts])
        self._thoughts.extend([begin + place for place in thoughts])
        self._logps.extend(logps or ())
        self._states.extend(states or ())
        self._about.append(_About(logps is not None, states is not None, success, return_, text_only))

    def finish(self) -> EncodedEpisodes:
        """All of them."""
        lengths = np.array(self._lengths).reshape(-1, 2)
        whole = lengths.sum(1)
        said = ACTION | np.frombuffer(self._imitated, np.uint8) * np.uint8(IMITATE)
        marks = np.repeat(np.stack([np.zeros_like(said), said], 1).ravel(), lengths.ravel())
        marks[np.cumsum(whole) - 1] |= END
        marks[np.array(self._thoughts)] |= THOUGHT
        marks[np.array(self._starts)] |= START
        return _make_columns(
            np.array(self._ids),
            marks,
            np.repeat(np.array(self._returns), whole),
            np.array(self._tokens),
            np.array(self._logps),
            np.array(self._states),
            self._about,
        )


def gather_episodes(episodes: Iterable[EncodedEpisode]) -> EncodedEpisodes:
    """Episodes as columns in memory.

    Raises:
        DatasetError: a token id that no vocabulary has.
    """
    remaining = iter(episodes)
    return join_columns(map(_pack_episodes, iter(lambda: [*islice(remaining, _PACKED)], [])))


def join_columns(parts: Iterable[EncodedEpisodes]) -> EncodedEpisodes:
    """The episodes of all parts in one; each part has columns of its own, whole and in order."""
    found = [*_place_parts(part._columns for part in parts)]
    empty = [np.empty(0, kind) for kind in _KINDS]
    return EncodedEpisodes(_Columns(*map(np.concatenate, zip(empty, *found, strict=True))))


def write_columns(parts: Iterable[EncodedEpisodes], folder: Path) -> None:
    """Write the episodes of all parts into a folder, one part after the other; see :func:`open_columns`.

    Raises:
        OSError: it cannot be written.
    """
    counts = [0] * len(_KINDS)
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in _Columns._fields]
        for part in _place_parts(part._columns for part in parts):
            for i, (column, file) in enumerate(zip(part, files, strict=True)):
                file.write(column.tobytes())
                counts[i] += len(column)
    write_json(folder / _ABOUT, dict(zip(_Columns._fields, counts, strict=True)))


def open_columns(folder: Path) -> EncodedEpisodes:
    """The episodes that :func:`write_columns` wrote, memory-mapped.

    Raises:
        DatasetError: they are not whole.
        OSError: there are none.
    """
    counts = read_json(folder / _ABOUT)
    columns = []
    for name, kind in zip(_Columns._fields, _KINDS, strict=True):
        file = folder / name
        if not isinstance(counts, dict) or file.stat().st_size != counts.get(name, -1) * kind.itemsize:
            raise DatasetError(f"{file} is not as it was written: delete {folder}")
        columns.append(np.memmap(file, kind, "r") if counts[name] else np.empty(0, kind))
    return EncodedEpisodes(_Columns(*columns)._replace(facts=np.array(columns[-1])))


def _place_parts(parts: Iterable[_Columns]) -> Iterator[_Columns]:
    """The parts with the places that what they are made of has when they are put together."""
    tokens = runs = logps = states = 0
    for part in parts:
        facts = part.facts.copy()
        facts["begin"] += tokens
        facts["run"] += runs
        facts["logp"][facts["logp"] >= 0] += logps
        facts["state"][facts["state"] >= 0] += states
        tokens, runs = tokens + len(part.ids), runs + len(part.returns)
        logps, states = logps + len(part.logps), states + len(part.states)
        yield part._replace(facts=facts)


def _pack_episodes(episodes: Sequence[EncodedEpisode]) -> EncodedEpisodes:
    ids, logps, states, about = array("I"), array("d"), array("Q"), []
    marks, returns = [np.empty(0, np.uint8)], array("d")
    for one in episodes:
        try:
            ids.extend(one.input_ids)
        except (OverflowError, TypeError) as error:
            raise _refuse_ids(one.input_ids) from error
        acted, imitated, ends = (
            np.frombuffer(bytes(mask), np.uint8) for mask in (one.action_mask, one.imitate_mask, one.end_mask)
        )
        marked = acted * np.uint8(ACTION) | imitated * np.uint8(IMITATE) | ends * np.uint8(END)
        marked[one.thoughts] |= THOUGHT
        if len(one):
            marked[one.starts] |= START
        marks.append(marked)
        returns.extend(one.returns)
        if one.recorded_logp is not None:
            logps.extend(compress(one.recorded_logp, one.action_mask))
        states.extend(one.states or ())
        first = one.returns[0] if one.returns else 0.0
        return_ = first if one.return_ is None else one.return_
        known = one.recorded_logp is not None, one.states is not None
        about.append(_About(*known, one.success, return_, one.text_only))
    tokens = np.array([*map(len, episodes)], np.int64)
    flat = np.array(ids), np.concatenate(marks), np.array(returns), tokens, np.array(logps), np.array(states)
    return _make_columns(*flat, about)


def _make_columns(
    ids: np.ndarray,
    marks: np.ndarray,
    returns: np.ndarray,
    tokens: np.ndarray,
    logps: np.ndarray,
    states: np.ndarray,
    about: Sequence[_About],
) -> EncodedEpisodes:
    """Columns of episodes that lie one after the other.

    Args:
        ids: ``[tokens.sum()]``, like ``marks`` and ``returns``.
        marks: of each token.
        returns: of each token.
        tokens: how many each episode has.
        logps: of the agent's tokens in those episodes where they are known.
        states: of the turns, likewise.
        about: of each episode.
    """
    bounds = np.concatenate([[0], np.cumsum(tokens)])
    begin, full = bounds[:-1], tokens > 0
    heads = begin[full]
    facts = np.zeros(len(tokens), FACTS)
    facts["begin"], facts["tokens"] = begin, tokens
    known, met, success, whole, text_only = zip(*about, strict=True) if about else [()] * 5

    bits = returns.view(np.int64)  # so that NaN is like NaN, and -0.0 unlike 0.0
    begins_run = np.concatenate([[True], bits[1:] != bits[:-1]])[: len(ids)]
    begins_run[heads] = True
    runs = np.flatnonzero(begins_run)
    run_bounds = np.searchsorted(runs, bounds)
    run_returns, run_lengths = returns[runs], np.diff(runs, append=len(ids)).astype(np.uint32)
    facts["run"], facts["runs"] = run_bounds[:-1], np.diff(run_bounds)
    facts["return"], facts["first"][full] = whole, returns[heads]

    starts = np.flatnonzero(marks & START)
    owners = np.searchsorted(bounds, starts, "right") - 1
    sizes = np.minimum(np.append(starts[1:], len(ids)), bounds[owners + 1]) - starts
    np.maximum.at(facts["longest"], owners, sizes)
    facts["sequences"] = np.bincount(owners, minlength=len(tokens))

    acted = np.flatnonzero(marks & ACTION)
    acted_bounds = np.searchsorted(acted, bounds)
    said = np.diff(acted_bounds)
    facts["acts"], facts["prompt"] = said > 0, tokens
    facts["prompt"][said > 0] = acted[acted_bounds[:-1][said > 0]] - begin[said > 0]

    facts["largest"] = -1
    if len(heads):
        facts["largest"][full] = np.maximum.reduceat(ids, heads)
        facts["lowest"][full] = np.minimum.reduceat(returns, heads)
        facts["highest"][full] = np.maximum.reduceat(returns, heads)
    logp_bounds = _bound_known(facts["logp"], said, known)
    turns = np.bincount(
        np.searchsorted(bounds, np.flatnonzero(marks & END), "right") - 1, minlength=len(tokens)
    )
    state_bounds = _bound_known(facts["state"], turns, met)
    facts["success"] = [-1 if one is None else int(one) for one in success]
    facts["text_only"] = text_only

    columns = ids, marks, run_returns, run_lengths, logps, states
    all_bounds = bounds, run_bounds, logp_bounds, state_bounds
    places = [[slice(a, b) for a, b in pairwise(one.tolist())] for one in all_bounds]
    for i, (of_tokens, of_runs, *of_known) in enumerate(zip(*places, strict=True)):
        digest = hashlib.sha256(facts["success"][i].tobytes() + facts["tokens"][i].tobytes())
        for column, place in zip(columns, (of_tokens, of_tokens, of_runs, of_runs, *of_known), strict=True):
            digest.update(column[place])
        facts["digest"][i] = digest.digest()
        opening = ids[of_tokens.start : of_tokens.start + facts["prompt"][i]]
        facts["prompt_digest"][i] = hashlib.blake2b(opening.tobytes(), digest_size=16).digest()
    return EncodedEpisodes(_Columns(*columns, facts))


def _bound_known(begin: np.ndarray, counts: np.ndarray, known: Sequence[bool]) -> np.ndarray:
    """Where what was recorded of some episodes alone begins and ends, ``[N + 1]``; ``begin`` gets the beginnings."""
    bounds = np.concatenate([[0], np.cumsum(counts * np.array(known, bool))])
    begin[:] = np.where(known, bounds[:-1], -1)
    return bounds


def _refuse_ids(ids: Iterable[int]) -> DatasetError:
    return DatasetError(f"an episode has a token {min(ids)} or {max(ids)}: no vocabulary has it")
