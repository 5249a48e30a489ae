"""Changing modules when they are imported, and putting everything back."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Attribute = tuple[Any, str, Any]
"""A module or a class, and a name and a value for it."""
Change = Callable[[ModuleType], list[Attribute]]
"""The attributes that a module, and what is in it, shall have."""

_ABSENT = object()


class ImportHooks(importlib.abc.MetaPathFinder):
    """Gives modules other attributes: those that are there at once, others as soon as they have been imported."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self._changes = changes
        self._before: list[Attribute] = []

    def put_in(self) -> None:
        """Change the modules that are there, and wait for the others."""
        for name in self._changes:
            if name in sys.modules:
                self._change_module(sys.modules[name])
        sys.meta_path.insert(0, self)

    def take_out(self) -> None:
        """Give every module back what it had."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for owner, name, value in reversed(self._before):
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        self._before.clear()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec that the other finders give, with a loader that changes the module after loading it."""
        if name not in self._changes:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _ChangingLoader(spec.loader, self._change_module)
        return spec

    def _change_module(self, module: ModuleType) -> None:
        for owner, name, value in self._changes[module.__name__](module):
            self._before.append((owner, name, vars(owner).get(name, _ABSENT)))
            setattr(owner, name, value)


class _ChangingLoader(importlib.abc.Loader):
    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader, self._change = loader, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)
