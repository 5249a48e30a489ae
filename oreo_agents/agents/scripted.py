"""Players without a model, as agents: the searching expert and random commands."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from oreo_envs.catalog import DEFAULT_ID, describe

from oreo_agents.agents import Decision
from oreo_agents.errors import ConfigurationError
from oreo_agents.trajectory import Action

SCRIPTED: tuple[str, ...] = ("expert", "random")


def follows_plan(agent: str, env_id: str) -> bool:
    """Whether the environment itself has to tell this player what wins (``expert=True``).

    ``shortest`` always asks; ``expert`` asks where it cannot search, as in mathematics.
    """
    return agent == "shortest" or (agent == "expert" and describe(env_id).expert is None)


def planned(info: Mapping[str, Any]) -> str:
    """The next action of the environment's own plan; ``look`` where it knows none.

    Raises:
        ConfigurationError: the environment tells no plans.
    """
    if "expert_plan" not in info:
        raise ConfigurationError("this environment tells nobody what wins: there is no expert here")
    return next(iter(info["expert_plan"]), "look")


class ScriptedAgent:
    """Plays by rule; for baselines in the same tables.

    Args:
        name: ``expert`` (searches as a player must; where there are no commands to search with, follows the
            environment's plan) or ``random`` (uniform over the admissible commands).
        env_id: what it plays; says which expert.
    """

    tokenizer_fingerprint: str | None = None

    def __init__(self, name: str, env_id: str = DEFAULT_ID) -> None:
        self.name, self.env_id = name, env_id

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once."""
        self._seeds = [0] * slots
        self._players: list[Any] = [None] * slots

    def begin(self, slots: Sequence[int], seeds: Sequence[int]) -> None:
        """New episodes start in ``slots``."""
        for slot, seed in zip(slots, seeds, strict=True):
            self._seeds[slot], self._players[slot] = seed, None

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """One decision for each slot's newest observation."""
        act = self._expert if self.name == "expert" else self._random
        return [Decision(Action(act(*episode))) for episode in zip(slots, observations, infos, strict=True)]

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in actions of others; random commands need no memory."""
        if self.name == "expert":
            for slot, observation, info, action in zip(slots, observations, infos, actions, strict=True):
                self._expert(slot, observation, info)
                self._players[slot][1] = action

    def _expert(self, slot: int, observation: str, info: Mapping[str, Any]) -> str:
        if follows_plan(self.name, self.env_id):
            return planned(info)
        if self._players[slot] is None:
            expert = describe(self.env_id).make_expert()  # its plain style, the one a policy can imitate
            expert.reset(observation, info)
            self._players[slot] = [expert, ""]
        else:
            self._players[slot][0].observe(self._players[slot][1], observation)
        self._players[slot][1] = self._players[slot][0].act(observation, info)
        return self._players[slot][1]

    def _random(self, slot: int, observation: str, info: Mapping[str, Any]) -> str:
        if self._players[slot] is None:
            self._players[slot] = random.Random(self._seeds[slot])
        if not info.get("admissible_commands"):
            raise ConfigurationError(
                "random chooses among info['admissible_commands'], and this environment lists none: take expert"
            )
        return self._players[slot].choice(info["admissible_commands"])
