"""An agent as a player who may be interrupted: it takes in what others did before it goes on."""

from __future__ import annotations

from oreo_agents.agents.agent import Agent, Assignment
from oreo_agents.terminal.session import Session
from oreo_agents.trajectory import Action


class AgentPlayer:
    """Plays a session, alone or in turns with a person.

    Args:
        agent: who decides.
        seed: of its randomness.
    """

    def __init__(self, agent: Agent, seed: int) -> None:
        self.agent, self.seed = agent, seed
        agent.prepare(1)
        self._known: list[str] | None = None
        """The actions that the agent has in mind; None before it has any."""

    def act(self, session: Session) -> Action:
        """The agent's next action."""
        actions = [step.action for step in session.steps]
        if self._known != actions:
            self._catch_up(session)
        self._known = None  # an interrupted decision leaves the agent in the middle of a thought
        decision = self.agent.act_many([0], [session.observation], [session.info])[0]
        self._known = [*actions, decision.action]
        return decision.action

    def _catch_up(self, session: Session) -> None:
        self.agent.begin([0], [Assignment(None, self.seed)])
        for observation, info, step in zip(session.observations, session.infos, session.steps, strict=False):
            self.agent.follow([0], [observation], [info], [step.action])
