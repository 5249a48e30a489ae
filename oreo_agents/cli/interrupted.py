"""What is left of a command that was interrupted, in words."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

AGAIN = "the same command goes on from there"


def mark_resumable(parser: argparse.ArgumentParser, tell_kept: Callable[[argparse.Namespace], str]) -> None:
    """The command goes on where it was interrupted; ``tell_kept`` says what it has kept."""
    parser.set_defaults(tell_kept=lambda args: f": {tell_kept(args)}")


def tell_nothing(args: argparse.Namespace) -> str:
    """Of a command that keeps nothing, or has nothing to keep."""
    return ""


def tell_episodes(path: Path, then: str = AGAIN) -> str:
    """How many episodes are kept in a folder."""
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.errors import OreoError

    try:
        count = len(load_trajectories(path))
    except OreoError:
        count = 0
    return (
        f"{count} episodes are kept in {path}; {then}" if count else f"no episode had been kept in {path} yet"
    )


def tell_stages(output: Path) -> str:
    """What an experiment keeps."""
    if not output.is_dir():
        return f"nothing had been kept in {output} yet"
    return f"the stages that had ended are kept in {output}, and the episodes of those at work; {AGAIN}"
