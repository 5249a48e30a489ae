"""Python runs this at the start of every process that a program of the drop-in starts: it waits for alfworld."""

import importlib
import importlib.abc
import importlib.util
import os
import sys


class _AlfworldFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in ("alfworld", "textworld"):
            return None
        sys.meta_path.remove(self)
        importlib.import_module("oreo_envs.alfworld.drop_in.command").install_from_environment()
        if name in sys.modules:  # a module that stands in for it
            return importlib.util.spec_from_loader(name, _StandInLoader(sys.modules[name]))
        return importlib.util.find_spec(name)


class _StandInLoader(importlib.abc.Loader):
    def __init__(self, module):
        self._module = module

    def create_module(self, spec):
        return self._module

    def exec_module(self, module):
        pass


def _run_next():
    """The file of this name that would have been run without this one."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [place for place in sys.path if os.path.abspath(place or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _AlfworldFinder())
_run_next()
