"""TextWorld's games as a Gymnasium environment: text in and text out, played by interpreters in worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
from gymnasium.error import InvalidAction, ResetNeeded

from oreo_envs.errors import ConfigurationError
from oreo_envs.files import PathLike
from oreo_envs.spaces import Text
from oreo_envs.suggestions import suggest_commands
from oreo_envs.textworld.games import ChallengeGames, TextWorldGames, find_games
from oreo_envs.textworld.running import Position, RunningGame
from oreo_envs.textworld.space import Commands
from oreo_envs.textworld.text import REFUSAL, clean_command, is_interpreters_own

Rewards = Literal["win", "score"]
NONE = -1


class TextWorldState(NamedTuple):
    """A snapshot of an environment in the middle of an episode: how to come back, and what was said last."""

    game: int
    commands: tuple[str, ...]
    position: Position
    episode_hash: bytes
    transcript: str


class TextWorldEnv(gym.Env[str, str]):
    """Games that TextWorld makes, game files of one's own, and Jericho's games.

    An agent reads what the game says. TextWorld's banner, the interpreter's status line and prompt, and the menu after
    the end are not part of it, and runs of empty lines are one. Commands to the interpreter itself (``save``, ``undo``,
    ``quit``, ...) are answered as unknown verbs are: a mistake cannot be taken back.

    Winning and losing terminate; a step after that raises. The step limit is Gymnasium's TimeLimit. The game runs in
    another process. One that hangs or ends its process raises GameFileError and costs its episode, and nothing else.
    Every ``info`` has

    - ``admissible_commands`` (sorted; empty where only TextWorld's own games would tell), ``won``, ``lost``, ``task``
      (what the game asks for), ``task_type`` (the challenge) and ``game``;
    - ``score`` and ``max_score``: the game's points;
    - ``action_status``: "ok", "not_applicable" or "unparsable";
    - ``suggestions``: the admissible commands closest to one that failed;
    - ``episode_hash``: the same on any machine for the same game, commands and observations;
    - ``action_space``, only where no admissible commands are listed: its samples are commands that most games know;
    - ``expert_plan``, only with ``expert=True``: what is left of the game's walkthrough while that is followed, and
      nothing once it is left.

    Args:
        challenge: "cooking", "coin_collector", "treasure_hunter" or "simple", whose games are made when they are asked
            for, in two to ten seconds, and kept in the user's cache.
        level: of the challenge: what a cooking game asks ("recipe2+take1+open+cook+cut+drop+rooms6": ingredients,
            those of them to be found, skills, rooms), a number for the coin collector (1 to 233) and the treasure
            hunter (1 to 30), points and goal of a simple game ("dense+detailed"). None: an easy one.
        split: "train"; "test", other games drawn alike; "unseen", from TextWorld's own test distribution (foods and
            preparations that no train game has), which the cooking and simple games have.
        games: instead of a challenge's games, those in a file or folder (.z1 to .z8 and .tw-pddl; a .z8 of TextWorld's
            needs its .json beside it), several of these, or "CHALLENGE/LEVEL" in one word.
        game: one game file; short for ``games``.
        rewards: "win", 1.0 on the step that wins and else 0.0; or "score", what each step adds to the score.
        expert: add ``expert_plan`` to every info.
        render_mode: "ansi" returns the last exchange as text, "human" prints it.

    Raises:
        ConfigurationError: there is no such challenge, level or split, or TextWorld is not installed.
        DataNotFoundError: there are no games where they were looked for.

    >>> env = gym.make("OREO-TextWorld", challenge="cooking", level="recipe1+take1")
    >>> observation, info = env.reset(options={"game": 0})
    >>> observation, reward, terminated, truncated, info = env.step("examine cookbook")
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own spelling)

    def __init__(
        self,
        challenge: str | None = None,
        level: str | int | None = None,
        split: str = "train",
        games: PathLike | Sequence[PathLike] | TextWorldGames | None = None,
        game: PathLike | None = None,
        rewards: Rewards = "win",
        expert: bool = False,
        render_mode: str | None = None,
    ):
        for option, value, choices in (
            ("rewards", rewards, ("win", "score")),
            ("render_mode", render_mode, (None, *self.metadata["render_modes"])),
        ):
            if value not in choices:
                raise ValueError(f"{option}={value!r} is none of {', '.join(map(repr, choices))}")
        if sum(place is not None for place in (challenge, games, game)) > 1:
            raise ConfigurationError(
                "challenge, games and game each say which games are meant: give one of them"
            )
        self.games = find_games(challenge, level, split, os.fspath(game) if game is not None else games)
        self.rewards, self.expert, self.render_mode = rewards, expert, render_mode
        self.observation_space = Text()
        self.action_space = Commands()
        self._game = NONE
        self._running: RunningGame | None = None
        self._ordered: tuple[int, Future[Path]] | None = None
        self._ended = True
        self._begun: Any = None

    def begin_reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin what :meth:`reset` with the same arguments will then wait for: a game that has to be made, too."""
        super().reset(seed=seed)
        chosen = (options or {}).get("game")
        position = (
            int(self.np_random.integers(len(self.games))) if chosen is None else self.games.index(chosen)
        )
        self._ended, self._begun = True, None  # where the game cannot be opened, there is no episode
        self._ordered = position, self.games.order(position)
        self._begun = (seed, chosen)
        self.poll_answer()

    def poll_answer(self, timeout: float = 0.0) -> bool:
        """Whether what was begun can be had at once; waits for that up to ``timeout`` seconds.

        True also where it will raise, and where nothing was begun.
        """
        if self._ordered is not None:
            try:
                if self._ordered[1].exception(timeout) is not None:
                    return True
            except TimeoutError:
                return False
            self._open_ordered()
        return self._begun is None or self._running is None or self._running.poll(timeout)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode: of a random game, or of ``options["game"]`` (its name, path or position).

        Raises:
            DataNotFoundError: there is no such game.
            GameFileError: the game's file is damaged, or TextWorld does not make the game.
        """
        if self._begun != (seed, (options or {}).get("game")):
            self.begin_reset(seed, options)
        self._begun = None
        if self._ordered is not None:
            self._open_ordered()
        self._position = self._running.finish()  # type: ignore[union-attr]
        self._ended = self._position.ended
        self._transcript = self._position.feedback
        self._hash = hashlib.sha256(f"{self._name}\n{self._transcript}".encode()).digest()
        self._show()
        return self._transcript, self._info()

    def begin_step(self, action: str) -> None:
        """Begin what :meth:`step` with the same action will then wait for, so that many games step side by side.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
        """
        if self._ended:
            raise ResetNeeded("The episode is over: call reset() before the next step().")
        if not isinstance(action, str):
            raise InvalidAction(f"An action is a text, a command; this is a {type(action).__name__}.")
        if not is_interpreters_own(action):
            self._running.begin_step(clean_command(action))  # type: ignore[union-attr]
        self._begun = action

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
            gymnasium.error.InvalidAction: the action is not a text.
            GameFileError: the game hangs or has ended its interpreter; the episode is lost.
        """
        if self._begun is None:
            self.begin_step(action)
        elif self._begun != action:
            raise ConfigurationError(
                f"begin_step({self._begun!r}) must be followed by step() with the same action"
            )
        before, self._begun, self._ended = self._position, None, True
        if is_interpreters_own(action):
            self._position = before._replace(feedback=REFUSAL, status="unparsable")
        else:
            self._position = self._running.finish()  # type: ignore[union-attr]
        self._ended = self._position.ended
        self._transcript = f"> {action}\n{self._position.feedback}"
        self._hash = hashlib.sha256(self._hash + self._transcript.encode("utf-8", "surrogatepass")).digest()
        self._show()
        won = self._position.won
        reward = float(won) if self.rewards == "win" else self._position.score - before.score
        return self._position.feedback, reward, self._ended, False, self._info(failed=clean_command(action))

    def render(self) -> str | None:  # type: ignore[override]
        """The last exchange, in mode "ansi"; mode "human" prints by itself."""
        if self.render_mode != "ansi":
            return None
        self._require_game()
        return self._transcript

    def close(self) -> None:
        """Let go of the interpreter."""
        self._ordered, self._begun, self._ended = None, None, True
        self._leave_game()

    def clone_state(self) -> TextWorldState:
        """An exact snapshot of the episode, for search.

        A z-machine's is kept by its interpreter, as long as there are not many; everything else is played again.
        """
        self._require_game()
        assert self._running is not None
        self._running.keep_position()
        return TextWorldState(
            self._game, self._running.commands, self._position, self._hash, self._transcript
        )

    def restore_state(self, state: TextWorldState) -> None:
        """Return to a snapshot of this environment, or of another one over the same games.

        Raises:
            GameFileError: the game cannot be played any more.
        """
        self._ended, self._ordered, self._begun = True, None, None
        self._open(state.game, self.games.order(state.game))
        assert self._running is not None
        if self._running.commands != state.commands or not self._running.is_open:
            self._running.begin_restore(state.commands)
            self._running.finish()
        _, _, self._position, self._hash, self._transcript = state
        self._ended = self._position.ended

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in this process or another, opens the game anew: an interpreter cannot be copied."""
        arguments = (None, None, "train", self.games, None, self.rewards, self.expert, self.render_mode)
        return type(self), arguments, {"spec": self.spec}

    def _require_game(self) -> None:
        if self._game == NONE:
            raise ResetNeeded("No game is open: call reset() first.")

    def _open_ordered(self) -> None:
        """Open the game that is to be begun, as soon as it is there."""
        assert self._ordered is not None
        ordered, self._ordered = self._ordered, None
        self._open(*ordered)
        self._running.begin_reset()  # type: ignore[union-attr]

    def _open(self, position: int, file: Future[Path]) -> None:
        if position != self._game:
            path = file.result()
            self._leave_game()
            self._name = self.games.names[position]
            self._running = RunningGame(str(path), self._name, self.expert)
            self._game = position

    def _leave_game(self) -> None:
        self._game = NONE
        if self._running is not None:
            self._running.close()
            self._running = None

    def _info(self, failed: str = "") -> dict[str, Any]:
        position = self._position
        commands = list(position.commands)
        info = {
            "admissible_commands": commands,
            "won": position.won,
            "lost": position.lost,
            "score": position.score,
            "max_score": position.max_score,
            "task": position.objective,
            "task_type": self.games.challenge if isinstance(self.games, ChallengeGames) else "",
            "game": self._name,
            "action_status": position.status,
            "suggestions": [] if position.status == "ok" else suggest_commands(failed, commands),
            "episode_hash": self._hash.hex(),
        }
        if not commands:
            info["action_space"] = self.action_space
        if self.expert:
            info["expert_plan"] = list(position.plan)
        return info

    def _show(self) -> None:
        if self.render_mode == "human":
            print(self._transcript, end="\n\n", flush=True)
