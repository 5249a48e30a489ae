"""Players without a model, as agents: the expert, the shortest plan, the demonstrator and random commands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from random import Random
from typing import Any, Protocol, cast

from gymnasium.spaces import Text as GymnasiumText
from oreo_envs.catalog import DEFAULT_ID, describe
from oreo_envs.spaces import Text

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.reply import write_reply
from oreo_agents.trajectory import Action

SCRIPTED: tuple[str, ...] = ("expert", "shortest", "demonstrator", "random")


def follows_plan(agent: str, env_id: str) -> bool:
    """Whether the environment itself has to tell this player what wins (``expert=True``).

    ``shortest`` always asks; ``expert`` asks where it cannot search, as in mathematics.
    """
    return agent == "shortest" or (agent == "expert" and describe(env_id).expert is None)


def has_thoughts(agent: str, env_id: str) -> bool:
    """Whether this player can say why it does what it does."""
    return agent == "expert" and describe(env_id).explains


class Player(Protocol):
    """Chooses commands in one episode."""

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """It begins."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The next command."""

    def observe(self, action: str, observation: str) -> None:
        """What a command led to, the player's own or another."""


class Explaining(Player, Protocol):
    """A player that tells why."""

    thought: str
    """Why it chose its last command."""


class PlanFollower:
    """Follows ``info["expert_plan"]``, which is made anew after every step; looks where there is none."""

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """The first command of the plan."""
        if "expert_plan" not in info:
            raise ConfigurationError(
                "this environment tells nobody what wins (expert_plan in info): there is no expert here; take "
                "random, or a trained agent's folder, and in a suite episodes that you have ([demonstrations] data)"
            )
        return next(iter(info["expert_plan"]), "look")

    def observe(self, action: str, observation: str) -> None:
        """Nothing to remember."""


class Demonstrator:
    """Plays as somebody with a costly habit does: draws from ``info["demonstrator"]``, made anew after every step."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """A command, as likely as the environment says."""
        if "demonstrator" not in info:
            raise ConfigurationError("this environment has no demonstrator: take expert")
        commands, shares = zip(*info["demonstrator"].items(), strict=True)
        return self._random.choices(commands, shares)[0]

    def observe(self, action: str, observation: str) -> None:
        """Nothing to remember."""


class RandomCommands:
    """Chooses uniformly among the admissible commands; where none are listed, draws from the space of actions."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def reset(self, observation: str, info: Mapping[str, Any]) -> None:
        """Nothing to remember."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """Any admissible command, or any action."""
        if commands := info.get("admissible_commands"):
            return self._random.choice(commands)
        return sample_action(info, self._random)

    def observe(self, action: str, observation: str) -> None:
        """Nothing to remember."""


def sample_action(info: Mapping[str, Any], random: Random) -> str:
    """Any action at all, where the environment says what actions are (``info["action_space"]``).

    Raises:
        ConfigurationError: it does not, or they are no texts.
    """
    if "action_space" not in info:
        raise ConfigurationError(
            "random chooses among info['admissible_commands'], and this environment lists none: take expert"
        )
    space = info["action_space"]
    space.seed(random.randrange(2**31))
    action = space.sample()
    if not isinstance(action, str):
        raise ConfigurationError(
            f"the actions of this environment are of type {type(action).__name__}, not text: choose a text environment"
        )
    if type(space).sample in (Text.sample, GymnasiumText.sample) and not info.get("admissible_commands"):
        _warn_of_characters()
    return action


@cache
def _warn_of_characters() -> None:
    """Say it once."""
    logging.getLogger(__name__).warning(
        "this environment lists no admissible commands, so random characters are played where random commands are "
        "wanted: give them in info['admissible_commands'], or an action space whose sample() draws commands "
        "(docs/your-environment.md)"
    )


_DRAWING: dict[str, Callable[[Random], Player]] = {"demonstrator": Demonstrator, "random": RandomCommands}
"""Players that draw at random."""


class ScriptedAgent:
    """Plays by rule: to demonstrate, and for baselines in the same tables.

    Args:
        name: ``expert`` (in ALFWorld :class:`oreo_envs.alfworld.experts.searching_expert.SearchingExpert`, in the style
            of the assignment; elsewhere the environment's own solution, such as GSM8K's worked ones), ``shortest`` (the
            environment's plan, which in ALFWorld knows where everything is), ``demonstrator`` (somebody with a costly
            habit, in environments that have one) or ``random`` (uniform over the admissible commands, or
            over the space of actions where none are listed).
        env_id: where it plays.
        thoughts: it says before each command why it gives it, as ``Thought: ... Action: ...``; training puts that into
            the form of the prompt that it is told.

    Raises:
        ConfigurationError: there is no such player, or it has no thoughts.
    """

    tokenizer_fingerprint: str | None = None

    def __init__(self, name: str, env_id: str = DEFAULT_ID, thoughts: bool = False) -> None:
        if name not in SCRIPTED:
            raise ConfigurationError(
                f"there is no scripted agent {name!r}; choose one of {', '.join(SCRIPTED)}"
            )
        if thoughts and not has_thoughts(name, env_id):
            raise ConfigurationError(
                f"{name} in {env_id} has no thoughts; the expert in {DEFAULT_ID} has: leave --thoughts out"
            )
        self.name = f"{name}-thoughts" if thoughts else name
        self._kind, self._env_id, self._thoughts = name, env_id, thoughts
        told = "demonstrator" if name == "demonstrator" else "admissible_commands"
        self.needs = frozenset({"expert_plan" if follows_plan(name, env_id) else told})

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once."""
        self._players: list[Player | None] = [None] * slots
        self._played: list[str | None] = [None] * slots

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``."""
        for slot, assignment in zip(slots, assignments, strict=True):
            self._players[slot], self._played[slot] = self._player(assignment), None

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation."""
        return [Decision(self._act(*episode)) for episode in zip(slots, observations, infos, strict=True)]

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in actions of others."""
        for slot, observation, info in zip(slots, observations, infos, strict=True):
            self._observe(slot, observation, info)
        self.correct(slots, actions)

    def correct(self, slots: Sequence[int], actions: Sequence[str]) -> None:
        """Take back what was just decided in ``slots``: ``actions`` are played instead."""
        for slot, action in zip(slots, actions, strict=True):
            self._played[slot] = action

    def _act(self, slot: int, observation: str, info: Mapping[str, Any]) -> Action:
        player = self._observe(slot, observation, info)
        self._played[slot] = action = player.act(observation, info)
        if not self._thoughts:
            return Action(action)
        return Action(action, said=write_reply(action, cast(Explaining, player).thought, "react"))

    def _observe(self, slot: int, observation: str, info: Mapping[str, Any]) -> Player:
        """The player of an episode, which now knows what was played last and what that led to."""
        player, played = self._players[slot], self._played[slot]
        assert player is not None, "act_many before begin"
        if played is None:
            player.reset(observation, info)
        else:
            player.observe(played, observation)
        return player

    def _player(self, assignment: Assignment) -> Player:
        if self._kind in _DRAWING:
            return _DRAWING[self._kind](Random(assignment.seed))
        if follows_plan(self._kind, self._env_id):
            return PlanFollower()
        return cast(Player, describe(self._env_id).make_expert(assignment.style))
