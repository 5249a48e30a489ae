"""Putting the native engine under alfworld and TextWorld in this process, and taking it out again."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any

from oreo_envs.alfworld.drop_in.hooks import ImportHooks
from oreo_envs.alfworld.drop_in.session import SESSION
from oreo_envs.alfworld.text import Wording

_hooks: ImportHooks | None = None


def install(record: str | os.PathLike[str] | None = None, wording: Wording | None = None) -> None:
    """Let programs that use alfworld or TextWorld play ALFWorld's games natively, in this process.

    Args:
        record: a folder; every episode that a program plays is added to the dataset there, with what the program sent
            as actions.
        wording: "put" or "move": how games are shown, whichever their file has; None shows each in its own.

    Raises:
        ValueError: an unknown wording.
        ImportError: ``record`` without oreo_agents.
    """
    global _hooks
    uninstall()
    if wording not in (None, "put", "move"):
        raise ValueError(f"wording={wording!r} is neither 'put' nor 'move'")
    SESSION.wording = wording
    SESSION.recorder = None if record is None else _open_recorder(record)
    _hooks = ImportHooks(_CHANGES if _is_installed("textworld") and _is_installed("alfworld") else {})
    _hooks.put_in()


def uninstall() -> None:
    """Give alfworld and TextWorld back what is theirs, and close what was recorded."""
    global _hooks
    if _hooks is not None:
        _hooks.take_out()
        _hooks = None
    SESSION.close()
    SESSION.wording = None


@contextmanager
def installed(record: str | os.PathLike[str] | None = None, wording: Wording | None = None) -> Iterator[None]:
    """:func:`install` for the time of a ``with`` block."""
    install(record, wording)
    try:
        yield
    finally:
        uninstall()


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _open_recorder(path: str | os.PathLike[str]) -> Any:
    """The recorder of whoever has registered one."""
    for point in importlib.metadata.entry_points(group="oreo_envs.recorders"):
        return point.load()(path)
    raise ImportError("recording takes oreo_agents: pip install oreo-agents")


def _change_envs(_: ModuleType) -> dict[str, Any]:
    from oreo_envs.alfworld.drop_in.textworld_engine import NativePddlEnv

    return {"PddlEnv": NativePddlEnv}


def _change_batches(_: ModuleType) -> dict[str, Any]:
    from oreo_envs.alfworld.drop_in.textworld_engine import NativeBatch, TellingLimit

    return {"AsyncBatchEnv": NativeBatch, "Limit": TellingLimit}


_CHANGES = {
    "textworld.envs": _change_envs,
    "textworld.gym.envs.textworld_batch": _change_batches,
}

Finalize(
    None, SESSION.close, exitpriority=0
)  # at the end of the process, also of one that multiprocessing started
