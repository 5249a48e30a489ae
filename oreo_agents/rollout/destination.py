"""Where episodes are recorded to: which dataset, what it says of its environment and player, and what it lacks."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from oreo_envs.catalog import describe

from oreo_agents.agents.agent import Agent
from oreo_agents.dataset.meta import describe_spec, meta_so_far
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.environments import is_same_id
from oreo_agents.errors import DatasetError

COMPARED = ("max_steps", "split", "games", "patience", "wording")
"""Options of an environment that a user gives; what it has beside is what an agent needs to be told."""


class SeedSource:
    """Draws a seed where none was given; the draws follow from the last given one."""

    def __init__(self) -> None:
        self._generator = np.random.default_rng()

    def next(self, seed: int | None) -> int:
        """The seed that was given, or one that is drawn."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)
            return seed
        return int(self._generator.integers(2**31))

    def spread(self, seed: int | Sequence[int | None] | None, count: int) -> list[int]:
        """One seed per environment, as Gymnasium's vector environments derive them."""
        if seed is None:
            return [self.next(None) for _ in range(count)]
        if isinstance(seed, (int, np.integer)):
            self.next(int(seed))
            return [int(seed) + index for index in range(count)]
        return [self.next(one) for one in seed]


def open_writer(
    env: Any, path: str | os.PathLike[str], author: str | None, licence: str | None
) -> TrajectoryWriter:
    """A writer of episodes in ``env``; see :class:`~oreo_agents.dataset.TrajectoryWriter` for the errors."""
    return TrajectoryWriter(path, env_spec=spec_for(path, env), author=author, licence=licence)


def spec_for(path: str | os.PathLike[str], env: Any) -> EnvSpec | None:
    """``env.spec`` as the dataset at ``path`` keeps it: a split that nobody asked for depends on the data found, and
    is named in it.

    Raises:
        DatasetError: the dataset is of another environment, or of other games and nobody asked for these.
    """
    stored = meta_so_far(Path(path)).env_spec or {}
    if env.spec is None:
        return None
    if not is_same_id(stored.get("id", env.spec.id), env.spec.id):
        raise DatasetError(f"{path}: is of {stored['id']}, not {env.spec.id}; record into another folder")
    entry = describe(env.spec.id)
    if any(env.spec.kwargs.get(name) is not None for name in ("split", entry.games_argument)):
        return env.spec
    split = entry.games.default_split()
    if split is None:
        return env.spec
    kept = stored.get("kwargs") or {}
    before = kept.get(entry.games_argument) or kept.get("split") or split
    if before != split:
        raise DatasetError(
            f"{path}: is of {before!r}, and {split!r} is what is played here where neither split nor games are "
            "named: name them, or record into another folder"
        )
    spec = copy.copy(env.spec)
    spec.kwargs = {**spec.kwargs, "split": split}
    return spec


def list_spec_changes(path: Path, spec: EnvSpec | None) -> list[str]:
    """In what an environment is not as the dataset at ``path`` has been recorded so far, each in words."""
    before, now = meta_so_far(path).env_spec, describe_spec(spec)
    if not before or not now:
        return []
    one, other = ({"max_steps": x.get("max_episode_steps"), **(x.get("kwargs") or {})} for x in (before, now))
    names = [name for name in COMPARED if one.get(name) != other.get(name)]
    return [f"{name} {one.get(name)} then, {other.get(name)} now" for name in names]


def dialect_of(env: Any) -> str | None:
    """How an environment words commands, where that can differ from game to game; else None."""
    return getattr(env, "wording", None)


def name_environment(env: Any) -> str:
    """Its id, or its class where it has none."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def introduce_player(agent: Agent, path: Path) -> dict[str, str]:
    """What a dataset notes of a model that plays for it: its name does not tell it from others of that name.

    Raises:
        DatasetError: the dataset at ``path`` has another one's episodes under its name.
    """
    if agent.tokenizer_fingerprint is None:  # no model: what models need takes seconds to load
        return {}
    from oreo_agents.agents.oreo import OreoAgent

    if not isinstance(agent, OreoAgent):
        return {}
    role, who = f"player {agent.name}", agent.describe()
    known = meta_so_far(path).metadata.get(role, who)
    if known != who:
        raise DatasetError(
            f"{path}: holds episodes of another {agent.name!r} ({known}; this one: {who}); "
            "record into another folder"
        )
    return {role: who}


def place_shard(path: Path, shard: tuple[int, int]) -> Path:
    """Where a shard is recorded; DatasetError where readers of ``path`` would not see all that is there then."""
    index, count = shard
    if count > 1 and (path / "meta.json").exists():
        raise DatasetError(f"{path}: is a dataset without shards; record shards into another folder")
    if count == 1 and (part := next(path.glob("part-*-of-*/meta.json"), None)):
        raise DatasetError(
            f"{path}: holds shards ({part.parent.name}); continue one of them, or record into another folder"
        )
    return path if count == 1 else path / f"part-{index}-of-{count}"
