"""The worker's side: games in TextWorld and Frotz, several at once, each under a number. See ``running.py``.

Whatever a game does to this process, a damaged file above all, it does to this process alone.
"""

from __future__ import annotations

import copy
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import textworld
from textworld.envs import JerichoEnv

from oreo_envs.textworld.running import Position
from oreo_envs.textworld.text import clean_feedback, is_unparsable

SNAPSHOTS = 64
"""Of each game, so many are kept; a position whose snapshot is gone is played again."""
LARGEST_FILE = 64 << 20
SEED = 1
"""Of a z-machine's randomness, which only Jericho's games have; those with a walkthrough use the seed it needs."""
NEUTRAL = ("look", "inventory", "examine ")
"""Commands after which a walkthrough goes on."""

_playing: dict[int, OpenGame] = {}


def open_game(number: int, path: str, with_plan: bool, folder: str) -> Position:
    """Load a game and start it; what is in an archive is unpacked into ``folder``."""
    close_game(number)
    _playing[number] = game = OpenGame(path, with_plan, folder)
    return game.reset()


def step_game(number: int, command: str) -> Position:
    """Carry out a command."""
    return _playing[number].step(command)


def keep_position(number: int) -> None:
    """Keep a snapshot of where a game is, if its interpreter can."""
    _playing[number].keep()


def restore_game(number: int, commands: Sequence[str]) -> Position:
    """Go to where ``commands`` lead from the beginning."""
    return _playing[number].restore(tuple(commands))


def close_game(number: int) -> None:
    """Forget a game."""
    if game := _playing.pop(number, None):
        game.close()


class OpenGame:
    """One game while it is played."""

    def __init__(self, path: str, with_plan: bool, folder: str) -> None:
        asked = textworld.EnvInfos(
            admissible_commands=True,
            won=True,
            lost=True,
            score=True,
            max_score=True,
            objective=True,
            extras=["walkthrough"],
        )
        file = _unpack_game(path, folder) if path.endswith(".zip") else path
        self._unpacked = file if file != path else None
        self._env = textworld.start(file, request_infos=asked)
        self._with_plan = with_plan
        self._tracks = hasattr(self._env, "_game_progression")
        base = getattr(self._env, "unwrapped", self._env)
        self._frotz = base._jericho if isinstance(base, JerichoEnv) else None
        if self._frotz and not self._tracks:
            asked.admissible_commands = False  # Jericho lists them with a language model that may not be here
        if self._frotz and not self._frotz.bindings:
            base.seed(SEED)
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def reset(self) -> Position:
        """Start over."""
        self._state = self._env.reset()
        self._commands: tuple[str, ...] = ()
        self._ended = False
        return self._position("ok")

    def step(self, command: str) -> Position:
        """Carry out a command."""
        admissible, moves = self._state.admissible_commands or (), self._moves()
        self._state, _, ended = self._env.step(command)
        self._commands += (command,)
        self._ended = bool(ended) or bool(self._state.won) or bool(self._state.lost) or self._halted()
        position = self._position("ok")
        if command in admissible or self._moves() != moves:
            return position
        status = (
            "unparsable" if is_unparsable(position.feedback) else "not_applicable" if admissible else "ok"
        )
        return position._replace(status=status)

    def keep(self) -> None:
        """Keep a snapshot of the present position."""
        if self._frotz is not None and self._commands not in self._kept:
            self._kept[self._commands] = self._save()
            if len(self._kept) > SNAPSHOTS:
                self._kept.popitem(last=False)

    def restore(self, commands: tuple[str, ...]) -> Position:
        """From the nearest snapshot, else from the beginning."""
        if commands == self._commands:
            return self._position("ok")
        for length in range(len(commands), -1, -1):
            if commands[:length] in self._kept:
                self._kept.move_to_end(commands[:length])
                self._load(commands[:length])
                break
        else:
            self.reset()
        position = self._position("ok")
        for command in commands[len(self._commands) :]:
            position = self.step(command)
        return position

    def close(self) -> None:
        """Free what the interpreter holds."""
        self._env.close()
        if self._unpacked:
            shutil.rmtree(Path(self._unpacked).parent, ignore_errors=True)

    def _position(self, status: str) -> Position:
        state = self._state
        return Position(
            feedback=clean_feedback(state.feedback or ""),
            commands=tuple(sorted(set(state.admissible_commands or ()))),
            score=float(state.score or 0),
            max_score=float(state.max_score or 0),
            won=bool(state.won),
            lost=bool(state.lost),
            ended=self._ended,
            status=status,
            objective=str(state.objective or ""),
            plan=self._plan() if self._with_plan else (),
        )

    def _plan(self) -> tuple[str, ...]:
        """What is left of the walkthrough, as long as nothing else was done."""
        walkthrough = tuple(self._state.get("extra.walkthrough") or ())
        done = 0
        for command in self._commands:
            if walkthrough[done : done + 1] == (command,):
                done += 1
            elif not command.startswith(NEUTRAL):
                return ()
        return walkthrough[done:]

    def _moves(self) -> Any:
        return self._env._moves if self._tracks else None

    def _halted(self) -> bool:
        return self._frotz is not None and self._frotz._emulator_halted()

    def _layers(self) -> Iterator[Any]:
        layer = self._env
        while layer is not None:
            yield layer
            layer = vars(layer).get("_wrapped_env")

    def _save(self) -> Any:
        """The interpreter's own state, and what TextWorld's layers around it know."""
        layers = [{**vars(layer)} for layer in self._layers()]
        for layer in layers:
            for name in ("_wrapped_env", "_jericho"):
                layer.pop(name, None)
            if layer.get("_game_progression") is not None:
                layer["_game_progression"] = _copy_progression(layer["_game_progression"])
        return self._frotz.get_state(), layers, self._state, self._ended  # type: ignore[union-attr]

    def _load(self, commands: tuple[str, ...]) -> None:
        machine, layers, self._state, self._ended = self._kept[commands]
        self._frotz.set_state(machine)  # type: ignore[union-attr]
        for layer, kept in zip(self._layers(), layers, strict=True):
            vars(layer).update(kept)
            if kept.get("_game_progression") is not None:
                layer._game_progression = _copy_progression(kept["_game_progression"])
        self._commands = commands


def _copy_progression(progression: Any) -> Any:
    """As its own ``copy()``, which works out all admissible actions once more."""
    copied = copy.copy(progression)
    copied.state = progression.state.copy()
    copied.quest_progressions = [quest.copy() for quest in progression.quest_progressions]
    return copied


def _unpack_game(path: str, folder: str) -> str:
    """The game file of an archive, in a new folder; Frotz reads it at every start."""
    unpacked = mkdtemp(dir=folder)
    with zipfile.ZipFile(path) as archive:
        for name in ("game.z8", "game.json"):
            if archive.getinfo(name).file_size > LARGEST_FILE:
                raise ValueError(f"{name} in it is larger than any game")
            Path(unpacked, name).write_bytes(archive.read(name))
    return f"{unpacked}/game.z8"
