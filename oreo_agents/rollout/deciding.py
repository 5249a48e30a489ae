"""How a rollout asks its agent: about all episodes together, or about each as soon as it may.

Environments are left to the rollout's own thread either way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from oreo_agents.agents.agent import Agent, Decision

Infos = Sequence[Mapping[str, Any]]


class Deciding(Protocol):
    """Decisions that are asked for, and come."""

    def ask(self, slots: Sequence[int], observations: Sequence[str], infos: Infos) -> None:
        """About the newest observations of some slots, none of which is still to be answered."""

    def answer(self, coming: Collection[int] = ()) -> dict[int, Decision]:
        """Those that are there, by slot; waits for one if there is none, and nothing else is to be done.

        Args:
            coming: slots that will be asked about whether or not there are answers now.

        Raises:
            BaseException: what the agent raises.
        """

    def close(self) -> None:
        """Nothing more will be asked, and no answer is wanted."""


PATIENCE = 0.5
"""Of the time that a decision takes: so long those are waited for that are coming."""
FIRST_SECONDS = 0.5
"""What a decision is taken to last before there was one."""


class DecideTogether:
    """Much is decided at once, which is what a model in this process is fastest at.

    Those that are still coming are waited for, but half as long as a decision takes at most: to decide about a few
    apart costs nearly as much as about all. Who was waited for in vain is not waited for again before it is there.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self._asked: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self._late = set[int]()
        self._since, self._seconds = 0.0, FIRST_SECONDS

    def ask(self, slots: Sequence[int], observations: Sequence[str], infos: Infos) -> None:
        """Nothing happens yet."""
        if not self._asked:
            self._since = time.monotonic()
        self._asked.update(zip(slots, zip(observations, infos, strict=True), strict=True))
        self._late.difference_update(slots)

    def answer(self, coming: Collection[int] = ()) -> dict[int, Decision]:
        """All of them, or none yet."""
        begin, awaited = time.monotonic(), not self._late.issuperset(coming)
        if not self._asked or (awaited and begin < self._since + PATIENCE * self._seconds):
            return {}
        self._late = set(coming)
        slots = sorted(self._asked)
        asked = [self._asked.pop(slot) for slot in slots]
        decisions = self.agent.act_many(slots, [text for text, _ in asked], [info for _, info in asked])
        self._seconds = time.monotonic() - begin
        return dict(zip(slots, decisions, strict=True))

    def close(self) -> None:
        """There is nothing to be closed."""


class DecideApart:
    """No episode waits for another's decision: each is asked about by a thread of its own."""

    def __init__(self, agent: Agent, slots: int) -> None:
        self.agent = agent
        self._asked: SimpleQueue[tuple[int, str, Mapping[str, Any]] | None] = SimpleQueue()
        self._answered: SimpleQueue[tuple[int, Decision | BaseException]] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._decide, daemon=True, name=f"decisions-{i}") for i in range(slots)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, slots: Sequence[int], observations: Sequence[str], infos: Infos) -> None:
        """They are decided from now on."""
        for one in zip(slots, observations, infos, strict=True):
            self._asked.put(one)

    def answer(self, coming: Collection[int] = ()) -> dict[int, Decision]:
        """One at least, where nothing is coming."""
        found, wait = dict[int, Decision](), not coming
        while True:
            try:
                slot, decision = self._answered.get(block=wait)
            except Empty:
                return found
            if isinstance(decision, BaseException):
                raise decision
            found[slot], wait = decision, False

    def close(self) -> None:
        """No thread is left that could meddle with what the agent plays next."""
        self._closed = True
        for _ in self._threads:
            self._asked.put(None)
        cancel = getattr(self.agent, "cancel", lambda: None)
        for thread in self._threads:
            while thread.is_alive():  # one may have begun to wait a moment ago
                cancel()
                thread.join(0.1)

    def _decide(self) -> None:
        while (asked := self._asked.get()) is not None:
            if self._closed:
                continue
            slot, observation, info = asked
            found: Decision | BaseException
            try:
                (found,) = self.agent.act_many([slot], [observation], [info])
            except BaseException as error:  # the rollout raises it in its own thread
                found = error
            self._answered.put((slot, found))


def make_deciding(agent: Agent, slots: int) -> Deciding:
    """Apart where the agent has a true attribute ``apart``, by which it says that deciding for many at once gains
    nothing, as of decisions that a server makes. Its ``act_many`` may then be called from several threads, with other
    slots in each; ``cancel()``, where it has that, lets those that wait end at once."""
    return (
        DecideApart(agent, slots) if slots > 1 and getattr(agent, "apart", False) else DecideTogether(agent)
    )
