"""Putting the native engine under alfworld and TextWorld in this process, and taking it out again."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize, register_after_fork
from types import ModuleType
from typing import Any

from oreo_envs.alfworld.drop_in.collection import collect_game_files
from oreo_envs.alfworld.drop_in.hooks import Attribute, Change, ImportHooks
from oreo_envs.alfworld.drop_in.stand_in import StandIns
from oreo_envs.alfworld.drop_in.usage import USAGE, Usage
from oreo_envs.alfworld.text import Wording

ENVIRONMENTS = ("AlfredTWEnv", "AlfredThorEnv", "AlfredHybrid")

_installed: list[ImportHooks | StandIns] = []


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
    uninstall()
    if wording not in (None, "put", "move"):
        raise ValueError(f"wording={wording!r} is neither 'put' nor 'move'")
    USAGE.wording = wording
    USAGE.recorder = None if record is None else _open_recorder(record)
    there = {package for package in ("alfworld", "textworld") if importlib.util.find_spec(package)}
    if "textworld" in there:
        changes = {name: change for name, change in _CHANGES.items() if name.partition(".")[0] in there}
        _installed.append(ImportHooks(changes))
    if len(there) < 2:
        _installed.append(StandIns())
    for part in _installed:
        part.put_in()


def uninstall() -> None:
    """Give alfworld and TextWorld back what is theirs, and close what was recorded."""
    while _installed:
        _installed.pop().take_out()
    USAGE.close()
    USAGE.wording = None


@contextmanager
def installed(record: str | os.PathLike[str] | None = None, wording: Wording | None = None) -> Iterator[None]:
    """:func:`install` for the time of a ``with`` block."""
    install(record, wording)
    try:
        yield
    finally:
        uninstall()


def _open_recorder(path: str | os.PathLike[str]) -> Any:
    """The recorder of whoever has registered one."""
    for point in importlib.metadata.entry_points(group="oreo_envs.recorders"):
        return point.load()(path)
    raise ImportError("recording takes oreo_agents: pip install oreo-agents")


def _change_engine(module: ModuleType) -> list[Attribute]:
    from oreo_envs.alfworld.drop_in.textworld_engine import NativePddlEnv

    return [(module.envs, "PddlEnv", NativePddlEnv)]


def _guard_registry(module: ModuleType) -> list[Attribute]:
    """Two threads that register games at once would get the same id, or none."""
    register = USAGE.take_turns(module.register_games)
    return [(module, "register_games", register), (module.utils, "register_games", register)]


def _change_batches(module: ModuleType) -> list[Attribute]:
    from oreo_envs.alfworld.drop_in.textworld_engine import NativeBatch, TellingLimit

    return [(module, "AsyncBatchEnv", NativeBatch), (module, "Limit", TellingLimit)]


def _change_collection(module: ModuleType) -> list[Attribute]:
    return [(module.AlfredTWEnv, "collect_game_files", collect_game_files)]


def _restore_names(module: ModuleType) -> list[Attribute]:
    """The names of alfworld's environments in their package, which it has had until 0.4."""

    def find_environment(name: str) -> Any:
        if name in ENVIRONMENTS:
            return module.get_environment(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    return [(module, "__getattr__", find_environment)]


_CHANGES: dict[str, Change] = {
    "textworld": _change_engine,
    "textworld.gym": _guard_registry,
    "textworld.gym.envs.textworld_batch": _change_batches,
    "alfworld.agents.environment": _restore_names,
    "alfworld.agents.environment.alfred_tw_env": _change_collection,
}


def _close_at_exit(usage: Usage) -> None:
    Finalize(usage, usage.close, exitpriority=0)


_close_at_exit(USAGE)
# processes that multiprocessing forks forget what is to be done at exit
register_after_fork(USAGE, _close_at_exit)
