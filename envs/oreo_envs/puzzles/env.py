"""Puzzles as Gymnasium environments: a position is what is observed, a move an action."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.error import InvalidAction, ResetNeeded

from oreo_envs.infos import hash_state
from oreo_envs.named_games import NamedGames
from oreo_envs.puzzles.habits import Ways
from oreo_envs.puzzles.puzzle import Puzzle
from oreo_envs.spaces import Text


class PuzzleState(NamedTuple):
    """A snapshot of an episode."""

    game: int
    position: Hashable
    status: str


class PuzzleEnv(gym.Env[str, str]):
    """One puzzle an episode, one move a turn.

    What is observed is the position. A command that is not admissible changes nothing: "Nothing happens." The reward
    is 1.0 on the move that solves the puzzle, else 0.0. The episode ends with that, or where no command is left (lost).
    A position from which the puzzle can no longer be solved does not end it as long as there are commands: the end
    would tell which move was the wrong one, and that is what V has to find out. Every ``info`` has

    - ``task``, ``task_type``, ``game`` (its stable name);
    - ``admissible_commands`` (sorted), ``won``, ``lost``;
    - ``action_status``: "ok", "not_applicable", or "unparsable" for what is no command in any position;
    - only with ``expert=True``: ``expert_plan`` (the fewest commands that win from here; none where none do),
      ``solvable`` (whether some do) and ``demonstrator`` (how likely it is to give which command here);
    - ``state_hash``, only with ``state_hash=True``: the same, on any machine, in the same position of a puzzle, however
      many moves are left.

    Args:
        games: the puzzles.
        expert: add what the solver and the demonstrator have to say to every info.
        render_mode: "ansi" returns the position, "human" prints each as it comes.
        state_hash: add ``state_hash`` to every info.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own spelling)

    def __init__(
        self,
        games: NamedGames[Puzzle[Any]],
        expert: bool = False,
        render_mode: str | None = None,
        state_hash: bool = False,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r} is none of {self.metadata['render_modes']}")
        self.games = games
        self.expert = expert
        self.state_hash = state_hash
        self.render_mode = render_mode
        self.observation_space = Text()
        self.action_space = Text()
        self._puzzle: Puzzle[Any] | None = None
        self._state: PuzzleState

    @property
    def puzzle(self) -> Puzzle[Any]:
        """The puzzle being solved."""
        if self._puzzle is None:
            raise ResetNeeded("No puzzle was chosen yet: call reset() first.")
        return self._puzzle

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin a random puzzle, or the one that ``options`` asks for.

        Args:
            seed: decides which puzzles come, in this and later episodes.
            options: ``{"game": name_or_position}``, as in ``env.unwrapped.games``.

        Raises:
            DataNotFoundError: there is no such puzzle.
        """
        super().reset(seed=seed)
        game = (options or {}).get("game")
        number = int(self.np_random.integers(len(self.games))) if game is None else self.games.index(game)
        self._puzzle = self.games[number]
        self._state = PuzzleState(number, self._puzzle.start, "ok")
        return self._show(self._puzzle.show(self._state.position)), self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Make a move.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
            gymnasium.error.InvalidAction: the action is not a text.
        """
        commands = self.puzzle.commands(self._state.position)
        if not commands:
            raise ResetNeeded("The episode is over: call reset() before the next step().")
        if not isinstance(action, str):
            raise InvalidAction(f"An action is a text, a command; this is a {type(action).__name__}.")
        said = action.strip()
        if said not in commands:
            parsable = self.puzzle.grammar.fullmatch(said)
            self._state = self._state._replace(status="not_applicable" if parsable else "unparsable")
            return self._show("Nothing happens."), 0.0, False, False, self._info()
        self._state = self._state._replace(position=commands[said], status="ok")
        info = self._info()
        seen = self._show(self.puzzle.show(self._state.position))
        return seen, float(info["won"]), info["won"] or info["lost"], False, info

    def render(self) -> str | None:  # type: ignore[override]
        """The position, in mode "ansi"; mode "human" prints by itself."""
        return self.puzzle.show(self._state.position) if self.render_mode == "ansi" else None

    def clone_state(self) -> PuzzleState:
        """An exact snapshot of the episode, for search."""
        if self._puzzle is None:
            raise ResetNeeded("There is no episode to copy: call reset() first.")
        return self._state

    def restore_state(self, state: PuzzleState) -> None:
        """Return to a snapshot of this environment, or of another one over the same puzzles."""
        if self._puzzle is None or self._state.game != state.game:
            self._puzzle = self.games[state.game]
        self._state = state

    def _info(self) -> dict[str, Any]:
        puzzle, position = self.puzzle, self._state.position
        won, commands = puzzle.is_solved(position), sorted(puzzle.commands(position))
        info = {
            "task": puzzle.task,
            "task_type": puzzle.kind,
            "game": puzzle.name,
            "admissible_commands": commands,
            "won": won,
            "lost": not (won or commands),
            "action_status": self._state.status,
        }
        if self.expert:
            plan = puzzle.plan(position)
            info |= {
                "expert_plan": list(plan or ()),
                "solvable": plan is not None,
                "demonstrator": puzzle.demonstrate(position),
            }
        if self.state_hash:
            info["state_hash"] = hash_state(puzzle.show(position))
        return info

    def _show(self, text: str) -> str:
        if self.render_mode == "human":
            print(text, flush=True)
        return text


class HabitsEnv(PuzzleEnv):
    """Ways to market past six places, demonstrated by a guide whose habits break the eggs.

    The optimum is 1; what the guide, imitation and rejection sampling come to is worked out in
    :mod:`oreo_envs.puzzles.habits`.

    Args:
        split: "train", "dev" or "test", which have no way in common.
        seed: which ways there are; ``reset(seed=...)`` only chooses among them.
        size: how many; by default 10,000 to train on and 1,000 otherwise.
        expert: as for :class:`PuzzleEnv`.
        render_mode, state_hash: as for :class:`PuzzleEnv`.

    >>> env = gym.make("OREO-Habits", split="test")
    >>> observation, info = env.reset(options={"game": 0})
    >>> observation.startswith("A "), len(info["admissible_commands"])
    (True, 2)
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        size: int | None = None,
        expert: bool = False,
        render_mode: str | None = None,
        state_hash: bool = False,
    ) -> None:
        super().__init__(Ways(split, seed, size), expert, render_mode, state_hash)


class PuzzlesEnv(PuzzleEnv):
    """Puzzles of reasoning-gym, one operation a turn: the environment computes, the player chooses.

    Args:
        task: "countdown", "jugs", "shortest_path" or "sokoban".
        split: "train", "dev" or "test", which share no seed.
        seed: which puzzles there are; ``reset(seed=...)`` only chooses among them.
        size: how many; by default 10,000 to train on and 1,000 otherwise.
        config: reasoning-gym's own options of the task, instead of those of
            :data:`oreo_envs.puzzles.procedural.TASKS`.
        expert: as for :class:`PuzzleEnv`.
        render_mode, state_hash: as for :class:`PuzzleEnv`.

    >>> env = gym.make("OREO-Puzzles", task="countdown", split="test", expert=True)
    >>> observation, info = env.reset(options={"game": 0})
    >>> info["solvable"]
    True
    """

    def __init__(
        self,
        task: str = "countdown",
        split: str = "train",
        seed: int = 0,
        size: int | None = None,
        config: Mapping[str, Any] | None = None,
        expert: bool = False,
        render_mode: str | None = None,
        state_hash: bool = False,
    ) -> None:
        from oreo_envs.puzzles.procedural import ProceduralPuzzles

        super().__init__(ProceduralPuzzles(task, split, seed, size, config), expert, render_mode, state_hash)
