"""What an environment says beside an observation (``info``), in the form that everybody counts on.

Environments of other people's say it in many: commands as a tuple, a set or an array, a win as a number of NumPy's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np


def read_texts(info: Mapping[str, Any], key: str = "admissible_commands") -> list[str] | None:
    """A list of texts, those of a set in alphabetical order; None where it is not said.

    Args:
        info: of ``reset`` or ``step``.
        key: what is read.

    Raises:
        ValueError: it is something else; says what it has to be.
    """
    said = info.get(key)
    if said is None or (type(said) is list and all(type(text) is str for text in said)):
        return said
    kind, remedy = type(said).__name__, "and has to be a list of texts"
    if isinstance(said, str | bytes | Mapping) or not isinstance(said, Iterable):
        raise ValueError(f"its info[{key!r}] is {kind}, {remedy}")
    texts = list(np.atleast_1d(said) if isinstance(said, np.ndarray) else said)
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"its info[{key!r}] is {kind} of {type(text).__name__}, {remedy}")
    return [str(text) for text in (sorted(texts) if isinstance(said, set | frozenset) else texts)]


def hash_state(state: object) -> str:
    """The same on any machine for the same state, which is made of numbers, texts, and tuples of these.

    >>> hash_state((1, "desk 1"))
    '21ba4a4d3ef31dfb'
    """
    return hashlib.blake2b(repr(state).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def read_success(info: Mapping[str, Any]) -> bool | None:
    """Whether an environment says that the episode is won: ``info["won"]``, else ``info["success"]``; None: it does
    not say.

    Raises:
        ValueError: it says something that is neither yes nor no, such as a share of success.
    """
    for key in ("won", "success"):
        said = info.get(key)
        if said is None:
            continue
        if isinstance(said, bool | np.bool_) or (isinstance(said, Real) and said in (0, 1)):
            return bool(said)
        shown = f"{type(said).__name__} {said}"
        raise ValueError(
            f"its info[{key!r}] is {shown:.80}, and has to be True or False: say bool(...), and what is between them "
            "as the reward"
        )
    return None
