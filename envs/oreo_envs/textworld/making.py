"""Makes one game with TextWorld's generators: runs in a worker process, where nothing else waits for it."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import textworld
from textworld.challenges.registration import CHALLENGES
from textworld.generator import QuestGenerationError, compile_game
from textworld.generator.game import GameOptions

from oreo_envs.files import write_file

ATTEMPTS = 20
ANOTHER_SEED = 10_000_000
"""Added where a seed gives no game; it is even, so that seeds to learn on stay apart from those to be judged on."""

os.nice(max(0, 5 - os.nice(0)))  # whoever plays goes first


def make_game(challenge: str, settings: Mapping[str, Any], seed: int, path: Path) -> None:
    """Make a game and put it at ``path``: an archive of the compiled ``game.z8`` and of what TextWorld knows of it.

    Some seeds give no game (TextWorld finds no quest, or no place for an ingredient); the next one then is asked.

    Raises:
        ValueError: none of many seeds gives a game.
    """
    failures = []
    for attempt in range(ATTEMPTS):
        try:
            content = _make_content(challenge, settings, seed + attempt * ANOTHER_SEED)
        except (QuestGenerationError, AssertionError, IndexError, KeyError, ValueError) as error:
            failures.append(f"{type(error).__name__}: {error}")
        else:
            return write_file(path, content)
    raise ValueError(f"{challenge} makes no game of {dict(settings)}: {failures[-1]}")


def _make_content(challenge: str, settings: Mapping[str, Any], seed: int) -> bytes:
    textworld.g_rng.set_seed(seed)
    options = GameOptions()
    options.seeds = seed
    with TemporaryDirectory() as folder:
        options.path = f"{folder}/game.z8"
        game = CHALLENGES[f"tw-{challenge}"][1](dict(settings), options)
        if game.metadata.get("walkthrough") is None:
            game.metadata["walkthrough"] = game.walkthrough
        compile_game(game, options)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("game.z8", "game.json"):
                archive.writestr(zipfile.ZipInfo(name), Path(folder, name).read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
