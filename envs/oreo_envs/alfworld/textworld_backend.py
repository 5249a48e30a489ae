"""The reference: ALFWorld's games played by TextWorld itself, behind the interface of the native world.

It is slow (more than a second to load or reset, tens of milliseconds a step) and serves to check the native
engine and to play games that the engine refuses. TextWorld and alfworld are imported when this module is.
"""

import json
import re
import threading
from typing import Any

import textworld
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
from textworld.envs.pddl import PddlEnv

from oreo_envs.alfworld import text
from oreo_envs.alfworld.game import TASK_TYPES
from oreo_envs.errors import GameFileError

LOCK = threading.RLock()
"""TextWorld keeps its parsers in module globals, so only one thread may be inside it."""


class TextWorldWorld:
    """One game at a time in TextWorld, with the members of :class:`~oreo_envs.alfworld.world.World`."""

    def __init__(self) -> None:
        infos = textworld.EnvInfos(admissible_commands=True, won=True)
        with LOCK:
            self._env = AlfredInfos(AlfredDemangler(PddlEnv(infos), shuffle=False))

    def load(self, content: str | bytes, name: str) -> None:
        """Load a game file's text. Raises GameFileError if TextWorld cannot."""
        try:
            data = json.loads(content)
            grammar = data["grammar"]
            with LOCK:
                self._env.load(data)
        except Exception as error:  # TextWorld raises anything at all on damaged games
            raise GameFileError(
                f"{name}: TextWorld cannot load it ({type(error).__name__}: {error})."
            ) from error
        self.task = found[1] if (found := re.search(r'Your task is to: ([^"]*)"', grammar)) else ""
        prefix = name.partition("-")[0]
        self.task_type = prefix if prefix in TASK_TYPES else ""
        self.wording: text.Wording = "put" if '"put {o} in/on {r}"' in grammar else "move"
        entities = self._env.unwrapped._entity_infos.values()
        self._objects = {entity.name for entity in entities if entity.type == "object"}
        self._receptacles = {entity.name for entity in entities if entity.type == "receptacle"}

    def reset(self) -> str:
        """Start over and return the opening observation."""
        with LOCK:
            self._state = self._env.reset()
        self._history: list[str] = []
        self.action_status = "ok"
        return self._state.feedback

    def step(self, command: str) -> str:
        """Carry out a command and return the observation."""
        known = command.strip() in self._state.admissible_commands
        with LOCK:
            self._state, _, _ = self._env.step(command)
        self._history.append(command)
        self.action_status = "ok" if known else self._failure(command.strip())
        return self._state.feedback

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""
        return bool(self._state.won)

    @property
    def score(self) -> float:
        """What TextWorld gives as its score."""
        return float(self._state.score or 0)

    def admissible_commands(self) -> list[str]:
        """The commands that would do something now, sorted."""
        return list(self._state.admissible_commands)

    def clone_state(self) -> tuple[str, ...]:
        """A snapshot: the commands so far, which `restore_state` plays again."""
        return tuple(self._history)

    def restore_state(self, state: Any) -> None:
        """Return to a snapshot of the same game, in as many steps as it took."""
        self.reset()
        for command in state:
            self.step(command)

    def _failure(self, command: str) -> str:
        known = text.is_command(command, self._objects, self._receptacles, self.wording)
        return "not_applicable" if known else "unparsable"
