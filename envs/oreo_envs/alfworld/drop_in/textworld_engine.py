"""The native engine behind TextWorld's own interfaces: an engine for game files, and a batch without processes.

TextWorld is imported when this module is.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import fast_downward
import numpy as np
from textworld.core import Environment, GameState
from textworld.envs.batch import AsyncBatchEnv, SyncBatchEnv
from textworld.envs.pddl import PddlEnv
from textworld.envs.wrappers import Limit
from textworld.generator.game import EntityInfo
from textworld.logic import Proposition, Variable

from oreo_envs.alfworld.drop_in.facts import Fact, FactSet
from oreo_envs.alfworld.drop_in.play import LoadedGame, Play, list_templates, load_game
from oreo_envs.alfworld.drop_in.usage import PLAN_NOTICE, USAGE, time_calls
from oreo_envs.errors import GameFileError


class _ToldState(GameState):
    """A game state that works out what nobody asked for when it is read."""

    tell_facts: Callable[[], list[Proposition]]

    def __getattr__(self, name: str) -> Any:
        if name == "_facts" and name not in self:
            self[name] = self.tell_facts()
        elif name in ("_valid_actions", "_last_action") and name not in self:
            raise AttributeError(f"the native engine has no planner's actions and so no {name}")
        return super().__getattr__(name)


class NativePddlEnv(PddlEnv):
    """TextWorld's engine for game files of ALFWorld, played natively.

    A game that the native engine does not know, or cannot read, is for TextWorld's own to play or to refuse.
    """

    def __init__(self, infos: Any = None) -> None:
        Environment.__init__(self, infos)
        self._loaded: LoadedGame | None = None
        self._play: Play | None = None

    @cached_property
    def downward_lib(self) -> Any:
        """The planner's library; each copy takes megabytes that are never given back."""
        return fast_downward.load_lib()

    @time_calls
    def load(self, filename_or_data: str | Mapping[str, Any]) -> None:
        """Load a game file, or the content of one."""
        USAGE.end_episode(self)
        try:
            self._loaded = load_game(filename_or_data, USAGE.wording)
        except GameFileError as error:
            self._loaded = None
            try:
                super().load(filename_or_data)
            except Exception as theirs:
                theirs.add_note(str(error))
                raise
            USAGE.hand_over(error)
        else:
            self._game_file = None if isinstance(filename_or_data, Mapping) else filename_or_data
            self.walkthrough = list(self._loaded.game.walkthrough) or None
            self._entity_infos = {id: _make_entity(id, kind) for id, kind in self._loaded.entities.items()}

    @time_calls
    def reset(self) -> GameState:
        """Begin an episode of the game that is loaded."""
        if self._loaded is None:
            self._play = None
            return super().reset()
        names = {id: info.name for id, info in self._entity_infos.items()}
        self._play = Play(self._loaded, names)
        self._facts: FactSet | None = None
        self._readable: dict[Proposition, Proposition] = {}
        self._applied = 0
        self.prev_state: Any = None
        self.state: Any = self._tell()
        if "walkthrough" in self.request_infos.extras:
            self.state["extra.walkthrough"] = self.walkthrough or self._play.plan
        USAGE.begin_episode(self, self._play)
        return self.state

    @time_calls
    def step(self, command: str) -> tuple[GameState, float, bool]:
        """Carry out a command."""
        play = self._play
        if play is None:
            return super().step(command)
        play.step(command)
        self.prev_state = self.state
        self.state = self._tell(last_command=command.strip())
        if "walkthrough" in self.request_infos.extras:
            self.state["extra.walkthrough"] = self.prev_state["extra.walkthrough"]
        self.state["score"] = 1 if play.won else 0
        self.state["done"] = play.won
        USAGE.add_step(self, command, play)
        return self.state, self.state["score"], self.state["done"]

    def _tell(self, **known: Any) -> _ToldState:
        play, asked = self._play, self.request_infos
        assert play is not None
        commands = play.admissible_commands
        state = _ToldState(
            feedback=play.feedback,
            raw=play.feedback,
            command_templates=list(list_templates(play.world.wording)),
            won=play.won,
            lost=False,
            last_action=None,
            admissible_commands=commands,
            _valid_commands=commands,
            _entity_infos=dict(self._entity_infos),
            **known,
        )
        object.__setattr__(state, "tell_facts", partial(self._tell_facts, len(play.changes)))
        if asked.facts:
            state["_facts"] = self._tell_facts(len(play.changes))
            state["facts"] = [self._readable[fact] for fact in state["_facts"]]
        if asked.moves:
            state["moves"] = play.moves
        if asked.policy_commands:
            state["policy_commands"] = play.plan
            USAGE.say_once(PLAN_NOTICE)
        return state

    def _tell_facts(self, count: int) -> list[Proposition]:
        """The facts after the first ``count`` changes of the play."""
        assert self._loaded is not None and self._play is not None
        if self._facts is None or count < self._applied:
            self._facts, self._applied = FactSet(self._loaded.problem, self._make_fact), 0
        self._facts.apply(self._play.changes[self._applied : count])
        self._applied = count
        return list(self._facts)

    def _make_fact(self, fact: Fact) -> Proposition:
        assert self._loaded is not None
        kinds = self._loaded.problem.kinds
        made = Proposition(fact[0], [Variable(id, kinds[id]) for id in fact[1:]])
        self._readable[made] = self._get_human_readable_fact(made)
        return made


def _make_entity(id: str, kind: str) -> EntityInfo:
    entity = EntityInfo(id, kind)
    entity.name, entity.definite, entity.indefinite = id, "the", "a"
    return entity


class NativeBatch(SyncBatchEnv):
    """A batch of games in this process, where TextWorld takes a process for each.

    Each game has wrappers and random numbers of its own, as it would have in its own process. A batch with a game that
    the native engine does not know, or that is none of ALFWorld's, or with wrappers that cannot be copied, is played in
    TextWorld's processes.
    """

    def __init__(self, env_fns: Sequence[Callable[[], Environment]], auto_reset: bool = False) -> None:
        self.env_fns, self.auto_reset, self.batch_size = env_fns, auto_reset, len(env_fns)
        self.envs: list[_Isolated] = []
        self._numbers = _Numbers()
        self._processes: Any = None
        self._together = True

    def load(self, game_files: Sequence[str]) -> None:
        """Load a game for each environment."""
        self._together = all(map(_is_native, game_files)) and self._open_envs()
        if self._together:
            super().load(game_files)
        else:
            if self._processes is None:
                self._processes = AsyncBatchEnv(self.env_fns, self.auto_reset)
            self._processes.load(game_files)

    def _open_envs(self) -> bool:
        if not self.envs:
            try:
                own = [copy.deepcopy(env_fn) for env_fn in self.env_fns]
            except Exception:  # of a wrapper: it may hold anything, and TextWorld copies none
                return False
            self.envs = [*map(_Isolated, own, self._numbers.spread(self.batch_size))]
        return True

    def reset(self) -> Any:
        """Begin an episode in each environment."""
        return super().reset() if self._together else self._processes.reset()

    def step(self, actions: Sequence[str]) -> Any:
        """Carry out a command in each environment."""
        return super().step(actions) if self._together else self._processes.step(actions)

    def render(self, mode: str = "human") -> Any:
        """What each environment shows."""
        return super().render(mode) if self._together else self._processes.render(mode)

    def close(self) -> None:
        """Close each environment."""
        super().close()
        if self._processes is not None:
            self._processes.close()


class _Isolated:
    """An environment with random numbers of its own."""

    def __init__(self, env_fn: Callable[[], Environment], numbers: _Numbers) -> None:
        self._numbers = numbers if _may_draw(env_fn) else nullcontext()
        with self._numbers:
            self._env = env_fn()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._env, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._numbers:
                return attribute(*args, **kwargs)

        return call


class _Numbers:
    """States of the process's random generators, which are exchanged for the program's while this is entered."""

    def __init__(self, seed: int | None = None) -> None:
        self._states = random.Random(seed).getstate() if seed else random.getstate(), np.random.get_state()

    def spread(self, count: int) -> list[_Numbers]:
        """As many others, which follow from these alone. TextWorld's processes seed themselves by the clock."""
        with self:
            return [_Numbers(random.getrandbits(64)) for _ in range(count)]

    def __enter__(self) -> None:
        self._exchange()

    def __exit__(self, *_: object) -> None:
        self._exchange()

    def _exchange(self) -> None:
        outside = random.getstate(), np.random.get_state()
        random.setstate(self._states[0])
        np.random.set_state(self._states[1])
        self._states = outside


def _may_draw(env_fn: Callable[[], Environment]) -> bool:
    """Whether wrappers may draw random numbers, as far as is known of them."""
    alfworld = sys.modules.get("alfworld.agents.environment.alfred_tw_env")
    if alfworld is None or not isinstance(env_fn, partial) or len(env_fn.args) < 3:
        return True
    return not all(
        wrapper is alfworld.AlfredInfos or (type(wrapper) is alfworld.AlfredDemangler and not wrapper.shuffle)
        for wrapper in env_fn.args[2]
    )


def _is_native(game_file: str) -> bool:
    """Whether the native engine plays a game; what is damaged is for TextWorld to say."""
    if not game_file.endswith(".tw-pddl"):
        return False
    try:
        load_game(game_file, USAGE.wording)
    except (OSError, GameFileError):
        return False
    return True


class TellingLimit(Limit):
    """TextWorld's step limit, which also tells a recorder that an episode has reached it."""

    def step(self, command: str) -> Any:
        """Carry out a command."""
        state, score, done = super().step(command)
        if done:
            USAGE.end_episode(self.unwrapped, truncated=True)
        return state, score, done
