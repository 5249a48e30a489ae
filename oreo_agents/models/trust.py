"""Whether code that a model brings may run: never, unless the user says so, who has read it. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting_code(trusted: bool = True) -> Iterator[None]:
    """Let models that are loaded in this block run their own code; where that is allowed already, it stays so."""
    token = _TRUSTED.set(trusted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def is_trusted() -> bool:
    """What every loader is told as ``trust_remote_code``."""
    return _TRUSTED.get()
