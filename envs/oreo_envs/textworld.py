"""Any TextWorld game file as a Gymnasium environment, played by TextWorld."""

import os
import threading
from typing import Any

import gymnasium as gym
from gymnasium.error import ResetNeeded

from oreo_envs.errors import DataNotFoundError, GameFileError
from oreo_envs.spaces import Text

LOCK = threading.RLock()
"""TextWorld keeps its parsers in module globals, so only one thread may be inside it."""


class TextWorldEnv(gym.Env[str, str]):
    """One game file (``.z8``, ``.ulx``, ``.json`` or ``.tw-pddl``), text in and text out.

    The reward is 1.0 on the step that wins, else 0.0; winning and losing terminate. Every ``info`` has
    ``admissible_commands`` (sorted), ``won``, ``lost``, ``score``, ``max_score`` and ``game`` (file name).

    Args:
        game: path of the game file.
        render_mode: "ansi" returns the last exchange as text, "human" prints it.

    Raises:
        DataNotFoundError: there is no such file.
        GameFileError: TextWorld cannot play it, or is not installed.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own spelling)

    def __init__(self, game: str | os.PathLike[str], render_mode: str | None = None):
        self.path = os.fspath(game)
        if not os.path.isfile(self.path):
            raise DataNotFoundError(
                f"{self.path} is not a file; give a TextWorld game (.z8, .ulx, .json, .tw-pddl)."
            )
        self.render_mode = render_mode
        self.observation_space = Text()
        self.action_space = Text()
        self._game = _start_game(self.path)
        self._ended = True
        self._transcript: str | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start the game over; it has no options and is the same for every seed."""
        super().reset(seed=seed)
        with LOCK:
            self._state = self._game.reset()
        self._ended = False
        self._show(self._state.feedback)
        return self._state.feedback, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command. Raises gymnasium.error.ResetNeeded after the end."""
        if self._ended:
            raise ResetNeeded("The episode is over: call reset() before the next step().")
        with LOCK:
            self._state, _, self._ended = self._game.step(action)
        self._show(f"> {action}\n{self._state.feedback}")
        info = self._info()
        return self._state.feedback, float(info["won"]), bool(self._ended), False, info

    def render(self) -> str | None:  # type: ignore[override]
        """The last exchange, in mode "ansi"; mode "human" prints by itself."""
        if self.render_mode != "ansi":
            return None
        if self._transcript is None:
            raise ResetNeeded("There is nothing to show yet: call reset() first.")
        return self._transcript

    def close(self) -> None:
        """End TextWorld's process for this game."""
        with LOCK:
            self._game.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in this process or another, opens the game anew: what TextWorld holds cannot be copied."""
        return type(self), (self.path, self.render_mode), {"spec": self.spec}

    def _info(self) -> dict[str, Any]:
        state = self._state
        return {
            "admissible_commands": sorted(state.admissible_commands or []),
            "won": bool(state.won),
            "lost": bool(state.lost),
            "score": float(state.score or 0),
            "max_score": float(state.max_score or 1),
            "game": os.path.basename(self.path),
        }

    def _show(self, transcript: str) -> None:
        self._transcript = transcript
        if self.render_mode == "human":
            print(transcript, end="\n\n", flush=True)


def _start_game(path: str) -> Any:
    try:
        import textworld

        infos = textworld.EnvInfos(admissible_commands=True, won=True, lost=True, score=True, max_score=True)
        with LOCK:
            return textworld.start(path, request_infos=infos)
    except ImportError as error:
        raise GameFileError(f"{path} needs TextWorld, which does not work here ({error}).") from error
    except Exception as error:  # TextWorld raises anything at all on damaged games
        raise GameFileError(f"{path}: TextWorld cannot load it ({type(error).__name__}: {error}).") from error
