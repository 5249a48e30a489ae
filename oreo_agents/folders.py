"""Folders that are replaced whole or not at all. Knows nothing about what is in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def in_use(folder: Path) -> bool:
    """Whether it is there and cannot be replaced: it is the one this process is in, or a mounted one."""
    return folder.is_dir() and (folder.samefile(Path.cwd()) or folder.is_mount())


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a new folder and put it at ``path`` in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)
