"""Commands that the player did not want: it then shows how one recovers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol

from oreo_agents.agents.agent import Agent, Assignment, Decision
from oreo_agents.agents.scripted import sample_action
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.learnt_tokenizer import ENTITY
from oreo_agents.trajectory import Action

_NAME = re.compile(ENTITY)


class Correctable(Agent, Protocol):
    """An agent that can be told that something else was played than it decided."""

    def correct(self, slots: Sequence[int], actions: Sequence[str]) -> None:
        """Take back what was just decided in ``slots``: ``actions`` are played instead."""


class NoisyAgent:
    """Plays as another agent does, but replaces a share of its commands: half of them by random admissible ones, half
    by near misses that do nothing.

    Args:
        agent: who decides; it has to recover.
        epsilon: probability that a turn's command is replaced.

    Raises:
        ConfigurationError: ``epsilon`` is out of range, or the agent is all noise already.
    """

    def __init__(self, agent: Correctable, epsilon: float) -> None:
        if not 0 <= epsilon < 1 or agent.name == "random":
            raise ConfigurationError(
                f"epsilon={epsilon:g} for {agent.name}: choose 0 <= epsilon < 1, and 0 for random, which is all noise"
            )
        self.agent, self.epsilon = agent, epsilon
        self.name = f"{agent.name}-epsilon{epsilon:g}"
        self.tokenizer_fingerprint = agent.tokenizer_fingerprint
        self.needs = agent.needs | {"admissible_commands"}

    def prepare(self, slots: int) -> None:
        """Make room for ``slots`` episodes at once."""
        self.agent.prepare(slots)
        self._noises = [Noise(self.epsilon, Random(slot)) for slot in range(slots)]

    def begin(self, slots: Sequence[int], assignments: Sequence[Assignment]) -> None:
        """New episodes start in ``slots``, the noise with the seed of each."""
        self.agent.begin(slots, assignments)
        for slot, assignment in zip(slots, assignments, strict=True):
            self._noises[slot] = Noise(self.epsilon, Random(assignment.seed))

    def act_many(
        self, slots: Sequence[int], observations: Sequence[str], infos: Sequence[Mapping[str, Any]]
    ) -> list[Decision]:
        """The agent's decisions, some of them replaced."""
        wanted = self.agent.act_many(slots, observations, infos)
        played = [self._disturb(*one) for one in zip(slots, wanted, infos, strict=True)]
        slips = {
            slot: decision.action
            for slot, decision in zip(slots, played, strict=True)
            if decision.action.noise
        }
        self.agent.correct(list(slips), list(slips.values()))
        return played

    def follow(
        self,
        slots: Sequence[int],
        observations: Sequence[str],
        infos: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
    ) -> None:
        """Take in actions of others."""
        self.agent.follow(slots, observations, infos, actions)

    def _disturb(self, slot: int, decision: Decision, info: Mapping[str, Any]) -> Decision:
        action = self._noises[slot].disturb(decision.action, info)
        return decision if action == decision.action else replace(decision, action=Action(action, noise=True))


class Noise:
    """Replaces commands now and then, by ones the player did not want."""

    def __init__(self, epsilon: float, random: Random) -> None:
        self._epsilon, self._random = epsilon, random
        self._offered: set[str] = set()
        self._missed: str | None = None  # the last slip, if it was a miss: a stubborn player tries again

    def disturb(self, command: str, info: Mapping[str, Any]) -> str:
        """``command`` itself, or with probability epsilon another one; any action, where no commands are listed."""
        admissible = info.get("admissible_commands") or ()
        self._offered.update(admissible)
        if self._random.random() >= self._epsilon:
            self._missed = None
            return command
        others = [other for other in admissible if other != command]
        pools = [others, self._near_misses(admissible), [self._missed] if self._missed else []]
        found = [pool for pool in pools if pool]
        slip = self._random.choice(self._random.choice(found)) if found else sample_action(info, self._random)
        self._missed = None if slip in admissible else slip
        return slip

    def _near_misses(self, admissible: Sequence[str]) -> list[str]:
        """Commands that do nothing now: with a wrong name, about things elsewhere, or a number too high."""
        wrong = self._swap_names(8) + _beyond_the_last(admissible)
        return [miss for miss in wrong if miss not in admissible] + sorted(
            self._offered.difference(admissible)
        )

    def _swap_names(self, n: int) -> list[str]:
        """Commands of this episode, any verb as likely as another, with one name exchanged for another."""
        if not self._offered:
            return []
        by_verb: dict[str, list[str]] = {}
        for command in sorted(self._offered):
            by_verb.setdefault(command.partition(" ")[0], []).append(command)
        names = sorted(set(_NAME.findall(" ".join(self._offered))))
        choose = self._random.choice
        commands = [choose(by_verb[choose(list(by_verb))]) for _ in range(n)]
        return [c.replace(choose(_NAME.findall(c)), choose(names)) for c in commands if _NAME.search(c)]


def _beyond_the_last(commands: Sequence[str]) -> list[str]:
    """``go to drawer 4`` where ``go to drawer 3`` has the highest number, and so on."""
    last: dict[str, int] = {}
    for command in commands:
        stem, _, number = command.rpartition(" ")
        if number.isdecimal():
            last[stem] = max(last.get(stem, 0), int(number))
    return [f"{stem} {number + 1}" for stem, number in last.items()]
