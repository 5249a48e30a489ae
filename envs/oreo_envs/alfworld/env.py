"""ALFWorld as a Gymnasium environment: one game at a time, text in and text out."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import gymnasium as gym
from gymnasium.error import InvalidAction, ResetNeeded

from oreo_envs.alfworld import text
from oreo_envs.alfworld.game import Game
from oreo_envs.alfworld.games import Games
from oreo_envs.alfworld.places import PathLike
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.world import World
from oreo_envs.infos import hash_state
from oreo_envs.spaces import Text
from oreo_envs.suggestions import suggest_commands

Backend = Literal["native", "textworld"]
Dialect = Literal["move", "put", "both"]
NONE = -1


class EnvState(NamedTuple):
    """A snapshot of an environment in the middle of an episode."""

    game: int
    world: Any
    ended: bool
    episode_hash: bytes
    transcript: str


class ALFWorldEnv(gym.Env[str, str]):
    """Household tasks in text: find things, clean, heat or cool them, put them where they belong.

    Observations and actions are texts; the reward is 1.0 on the step that wins and 0.0 before; winning
    terminates, and a step after that raises. The step limit is Gymnasium's TimeLimit, which ``gym.make`` puts
    around every environment: from the limit on, each further step says ``truncated``, as in Gymnasium's own
    environments. Every ``info`` has

    - ``admissible_commands`` (sorted), ``won``, ``task``, ``task_type`` and ``game``;
    - ``action_status``: "ok", "not_applicable" or "unparsable";
    - ``suggestions``: the admissible commands closest to one that failed;
    - ``episode_hash``: the same on any machine for the same game, commands and observations;
    - ``rewritten_command``, only where a command was accepted in the other wording: what the game received;
    - ``expert_plan``, only with ``expert=True``: commands that win from here;
    - ``state_hash``, only with ``state_hash=True``: the same, on any machine, in the same state of a game.

    Args:
        split: train, valid_train, valid_seen, valid_unseen, generated or generated_unseen; None takes train
            where ALFWorld's data is found and generated elsewhere.
        games: a folder, game file or archive of games, a list of those, or games already found.
        backend: "native", or "textworld" for the slow reference implementation.
        expert: add ``expert_plan`` to every info.
        dialect: the wording of the agent's commands, "move" (move X to Y), "put" (put X in/on Y) or "both";
            a command in it is rewritten to the one the game is shown in. None takes only that, as ALFWorld
            does. Admissible commands are never rewritten.
        render_mode: "ansi" returns the last exchange as text, "human" prints it.
        wording: show every game exactly as one generation of ALFWorld's files does: "move" as those since 0.4,
            "put" as those before (put X in/on Y, "You arrive at loc 5.", no help). None shows each as its file is.
        state_hash: add ``state_hash`` to every info, which takes longer than a step does.

    >>> env = gym.make("OREO-ALFWorld", split="generated")
    >>> observation, info = env.reset(seed=7)
    >>> observation, reward, terminated, truncated, info = env.step("look")
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own spelling)

    def __init__(
        self,
        split: str | None = None,
        games: PathLike | Sequence[PathLike] | Games | None = None,
        backend: Backend = "native",
        expert: bool = False,
        dialect: Dialect | None = None,
        render_mode: str | None = None,
        wording: text.Wording | None = None,
        state_hash: bool = False,
    ):
        _one_of("backend", backend, ("native", "textworld"))
        _one_of("dialect", dialect, (None, "move", "put", "both"))
        _one_of("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        _one_of("wording", wording, (None, "move", "put"))
        if wording and backend == "textworld":
            raise ValueError(
                f"wording={wording!r} is the native engine's, and TextWorld speaks as the file does: leave one out"
            )
        self.games = find_games(split, games, wording=wording)
        self.backend = backend
        self.expert = expert
        self.state_hash = state_hash
        self.dialect = dialect
        self.render_mode = render_mode
        self.observation_space = Text()
        self.action_space = Text()
        self.world: Any
        self._game = NONE
        self._name = ""
        self._ended = True
        self._textworld: Any = None

    @property
    def game(self) -> Game:
        """The game being played. Raises UnsupportedGameError if only TextWorld can play it."""
        return self.games[self._position()]

    @property
    def wording(self) -> Dialect:
        """How commands are worded: as ``dialect`` says, else as the game being played is shown."""
        self._position()
        return self.dialect or self.world.wording

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode: of a random game, or of ``options["game"]`` (its name, path or position).

        Raises:
            DataNotFoundError: there is no such game.
            GameFileError: the game's file is damaged.
        """
        super().reset(seed=seed)
        chosen = (options or {}).get("game")
        position = (
            int(self.np_random.integers(len(self.games))) if chosen is None else self.games.index(chosen)
        )
        self._open(position)
        observation = self.world.reset()
        self._ended = False
        self._transcript = observation
        self._hash = hashlib.sha256(_encode_text(f"{self._name}\n{observation}")).digest()
        self._show()
        return observation, self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command.

        Raises:
            gymnasium.error.ResetNeeded: the episode is over, or none was started.
            gymnasium.error.InvalidAction: the action is not a text.
        """
        if self._ended:
            raise ResetNeeded("The episode is over: call reset() before the next step().")
        if not isinstance(action, str):
            raise InvalidAction(f"An action is a text, a command; this is a {type(action).__name__}.")
        command = self._reword(action.strip())
        observation = self.world.step(command)
        won = self.world.won
        self._ended = won
        self._transcript = f"> {action}\n{observation}"
        self._hash = hashlib.sha256(self._hash + _encode_text(self._transcript)).digest()
        self._show()
        info = self._info(failed=command)
        if command != action.strip():
            info["rewritten_command"] = command
        return observation, float(won), won, False, info

    def render(self) -> str | None:  # type: ignore[override]
        """The last exchange, in mode "ansi"; mode "human" prints by itself."""
        if self.render_mode != "ansi":
            return None
        self._position()
        return self._transcript

    def clone_state(self) -> EnvState:
        """An exact snapshot of the episode, for search.

        A TimeLimit around the environment keeps its own count of steps, to which steps of the unwrapped
        environment add nothing: search with ``env.unwrapped.step()``, then go on with ``env.step()``.
        """
        position = self._position()
        return EnvState(position, self.world.clone_state(), self._ended, self._hash, self._transcript)

    def restore_state(self, state: EnvState) -> None:
        """Return to a snapshot of this environment, or of another one over the same games."""
        self._open(state.game)
        self.world.restore_state(state.world)
        _, _, self._ended, self._hash, self._transcript = state

    def goal_conditions(self) -> list[tuple[str, bool]]:
        """What the goal asks for, one by one, with whether it holds now; the game is won when all do."""
        from oreo_envs.alfworld.goal import list_conditions

        return [(condition.text, condition.met) for condition in list_conditions(self._native_world())]

    def _position(self) -> int:
        """Which game is being played."""
        if self._game == NONE:
            raise ResetNeeded("No game is open: call reset() first.")
        return self._game

    def _open(self, position: int) -> None:
        if position != self._game:
            self._game, self._ended = NONE, True  # where the game cannot be loaded, there is no episode
            self.world, self._name = self._load(position)
            self._game = position

    def _load(self, position: int) -> tuple[Any, str]:
        if self.backend == "native":
            game = self.games[position]
            return World(game), game.name
        from oreo_envs.alfworld.textworld_backend import TextWorldWorld

        # one TextWorld environment for all games, because each new one leaks its planner library
        self._textworld = self._textworld or TextWorldWorld()
        name = self.games.names[position]
        self._textworld.load(self.games.text(position), name)
        return self._textworld, name

    def _reword(self, command: str) -> str:
        if self.dialect is None or self.dialect == self.world.wording:
            return command
        return text.reword_command(command, self.world.wording)

    def _info(self, failed: str = "") -> dict[str, Any]:
        world = self.world
        commands = world.admissible_commands()
        info = {
            "admissible_commands": commands,
            "won": world.won,
            "task": world.task,
            "task_type": world.task_type,
            "game": self._name,
            "action_status": world.action_status,
            "suggestions": [] if world.action_status == "ok" else suggest_commands(failed, commands),
            "episode_hash": self._hash.hex(),
        }
        if self.expert:
            from oreo_envs.alfworld.experts.planner import shortest_plan

            info["expert_plan"] = shortest_plan(self._native_world())
        if self.state_hash:
            info["state_hash"] = hash_state(tuple(self._native_world().clone_state()))
        return info

    def _native_world(self) -> World:
        """The present state on the native engine."""
        self._position()
        if self.backend == "native":
            return self.world
        world = World(self.game)
        for command in self.world.clone_state():
            world.step(command)
        return world

    def _show(self) -> None:
        if self.render_mode == "human":
            print(self._transcript, end="\n\n", flush=True)


def _encode_text(words: str) -> bytes:
    return words.encode("utf-8", "surrogatepass")


def _one_of(option: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        raise ValueError(f"{option}={value!r} is none of {', '.join(map(repr, choices))}")
