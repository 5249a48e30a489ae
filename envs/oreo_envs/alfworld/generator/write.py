"""Generated games written as files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from oreo_envs.alfworld.download import Progress
from oreo_envs.alfworld.install import make_own_folder
from oreo_envs.alfworld.places import GAME_FILE
from oreo_envs.errors import ConfigurationError


def write_games(
    out: str | os.PathLike[str] | None,
    count: int,
    split: str = "generated",
    seed: int = 0,
    task_types: Sequence[str] | None = None,
    rooms: Sequence[str] | None = None,
    difficulty: str = "normal",
    progress: Progress | None = None,
) -> Path:
    """Write ``count`` generated games as ``<out>/<task>/<trial>/game.tw-pddl``. Returns ``out``.

    Args:
        out: a folder that is not there yet, or is empty.
        count: how many games.
        split: ``generated`` or ``generated_unseen``: in which rooms.
        seed: which games; 0 gives those of the split of the same name.
        task_types: some of ALFWorld's six, in equal shares; default all that the rooms can host.
        rooms: some of kitchen, living room, bedroom, bathroom; default all.
        difficulty: easy, normal or hard.
        progress: called with the games written and ``count``.

    Raises:
        ConfigurationError: ``out`` is missing, or holds something already, or ``count`` is not positive.
        OreoError: an unknown split, task type, room or difficulty, or a task that no such room can host.
    """
    from oreo_envs.alfworld.game import TASK_TYPES
    from oreo_envs.alfworld.generator.draw import Difficulty, hosted_task_types
    from oreo_envs.alfworld.generator.games import Recipe
    from oreo_envs.alfworld.generator.rooms import ROOM_KINDS, SPLITS

    if out is None or count < 1:
        raise ConfigurationError("Generating needs a folder (--output) and a positive number of games.")
    kinds = ROOM_KINDS if rooms is None else tuple(rooms)
    tasks = hosted_task_types(split, kinds) if task_types is None and split in SPLITS else task_types
    recipe = Recipe(split, seed, tuple(tasks or TASK_TYPES), kinds, cast(Difficulty, difficulty))
    out = Path(out).expanduser()
    with make_own_folder(out, [repr(recipe)]) as unfinished:
        for index in range(count):
            folder = unfinished / recipe.name(index)
            folder.mkdir(parents=True)
            (folder / GAME_FILE).write_text(recipe.text(index))
            if progress:
                progress(index + 1, count)
    return out
