"""Stand-ins for trained agents."""

from oreo_agents.agents.agent import Decision
from oreo_agents.trajectory import Action, Candidate


class Believer:
    name, tokenizer_fingerprint, needs = "believer", "fingerprint", frozenset()

    def prepare(self, slots):
        pass

    def begin(self, slots, assignments):
        self.followed = []

    def follow(self, slots, observations, infos, actions):
        self.followed += actions

    def act_many(self, slots, observations, infos):
        candidates = (Candidate("look", -1.0, 0.5), Candidate("wait", -2.0, 0.2))
        return [Decision(Action("look", (1, 2), (-0.5, -0.5), 0.5, candidates))]
