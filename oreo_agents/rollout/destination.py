"""Where episodes are recorded to: which dataset, what it says of its environment and player, and what it lacks."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from inspect import getsource
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from oreo_envs.catalog import describe
from oreo_envs.foreign import name_seed

from oreo_agents.agents.agent import Agent
from oreo_agents.dataset.meta import describe_spec, meta_so_far
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.environments import is_same_id
from oreo_agents.errors import DatasetError

NOT_COMPARED = ("expert", "dialect", "render_mode")
"""Options of an environment that say what an agent needs to be told; the others are what is played."""


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
    """The specification of ``env`` as the dataset at ``path`` keeps it: a split that nobody asked for depends on the
    data found, and is named in it.

    Raises:
        DatasetError: the dataset is of another environment, or of other games and nobody asked for these.
    """
    stored, env_id, spec = meta_so_far(Path(path)).env_spec or {}, name_environment(env), find_spec(env)
    if spec is None:
        return None
    if not is_same_id(stored.get("id", env_id), env_id):
        raise DatasetError(f"{path}: is of {stored['id']}, not {env_id}; record into another folder")
    entry, spec = describe(env_id), copy.copy(spec)
    spec.id, spec.kwargs = env_id, entry.games.spell_options(spec.kwargs)
    if any(spec.kwargs.get(name) is not None for name in ("split", entry.games_argument)):
        return spec
    split = entry.games.default_split()
    if split is None:
        return spec
    kept = entry.games.spell_options(stored.get("kwargs") or {})
    before = kept.get(entry.games_argument) or kept.get("split") or split
    if before != split:
        raise DatasetError(
            f"{path}: is of {before!r}, and {split!r} is what is played here where neither split nor games are "
            "named: name them, or record into another folder"
        )
    spec.kwargs = {**spec.kwargs, "split": split}
    return spec


def list_spec_changes(path: Path, spec: EnvSpec | None) -> list[str]:
    """In what an environment is not as the dataset at ``path`` has been recorded so far, each in words."""
    before, now = meta_so_far(path).env_spec, describe_spec(spec)
    if not before or not now:
        return []
    spell = describe(now["id"]).games.spell_options
    one, other = (
        {"max_steps": x.get("max_episode_steps"), **spell(x.get("kwargs") or {})} for x in (before, now)
    )
    differ = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    names = [name for name in differ if name not in NOT_COMPARED]
    return [f"{name} {one.get(name)} then, {other.get(name)} now" for name in names]


def dialect_of(env: Any) -> str | None:
    """How an environment words commands, where that can differ from game to game; else None."""
    return getattr(env, "wording", None)


def find_spec(env: Any) -> EnvSpec | None:
    """Its specification; of a vector that has none, that of the first of its environments."""
    return env.spec or next((one.spec for one in getattr(env, "envs", ())), None)


def name_environment(env: Any) -> str:
    """Its id, with the module that registers it where that is known and importing this package does not do it; its
    class where it has none."""
    spec = find_spec(env)
    if spec is None:
        return type(env.unwrapped).__name__
    if spec.id not in gym.registry or not describe(spec.id).foreign:
        return spec.id
    made_by = spec.entry_point
    module = made_by.partition(":")[0] if isinstance(made_by, str) else getattr(made_by, "__module__", "")
    parts = module.split(".")
    packages = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    found = [package for package in packages if _names_env(package, spec.id)]
    return f"{found[0]}:{spec.id}" if found else spec.id


def _names_env(module: str, env_id: str) -> bool:
    """Whether a module's code has an id in it, as whoever registers it must."""
    if module in ("__main__", "gymnasium"):
        return False
    try:
        return any(f"{quote}{env_id}{quote}" in getsource(sys.modules[module]) for quote in "'\"")
    except (KeyError, OSError, TypeError):  # made at run time, or without source
        return False


def name_episode(
    info: Mapping[str, Any], seed: int | None, options: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """What ``reset`` said, with a name of the game: that of its seed where nothing else was said."""
    if "game" in info or seed is None or options:
        return info
    return {"game": name_seed(seed), **info}


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
