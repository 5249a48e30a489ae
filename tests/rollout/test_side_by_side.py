"""Environments that work beside others: nobody waits for a slow one, and the episodes are the same ones."""

import time
from types import SimpleNamespace

import gymnasium as gym
import pytest
from learning import ToyRoom, Visitor
from oreo_envs.errors import GameFileError
from test_deciding import Waiting

from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.rollout import deciding
from oreo_agents.rollout.deciding import DecideTogether
from oreo_agents.rollout.loop import rollout
from oreo_agents.trajectory import Action

SLOW = 0.15
"""Seconds, of the first game; the others have no work to do."""
TURNS = 4
QUICK = range(1, 7)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """These players take no time, which is known from the first decision on."""
    monkeypatch.setattr(deciding, "FIRST_SECONDS", 0.0)


class OtherProcess(ToyRoom):
    """A room whose answers come from elsewhere, after a while."""

    def __init__(self, slow=(), seconds=SLOW):
        super().__init__()
        self.slow, self.seconds, self.due = slow, seconds, None

    def begin(self, what, game):
        self.due = time.monotonic() + self.seconds * (game == 0 and what in self.slow)

    def begin_reset(self, seed=None, options=None):
        self.begin("reset", options["game"])

    def begin_step(self, action):
        self.begin("step", self.game)

    def poll_answer(self, timeout=0.0):
        left = self.due - time.monotonic()
        time.sleep(max(0.0, min(left, timeout)))
        return left <= timeout

    def finish(self):
        time.sleep(max(0.0, self.due - time.monotonic()))
        self.due = None  # what was not begun cannot be finished

    def reset(self, *, seed=None, options=None):
        self.finish()
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.finish()
        return super().step(action)


def play(agent, slots=2, games=(0, *QUICK), room=OtherProcess, **options):
    make = lambda: gym.wrappers.TimeLimit(room(**options), TURNS)  # noqa: E731
    return list(rollout(make, [Assignment(game, seed=game) for game in games], agent, slots))


class Counting(Visitor):
    """Stays at one desk, so that two games of three last to the limit; notes of how many it decides at once."""

    def __init__(self):
        super().__init__(desks=(1,))
        self.batches = []

    def act_many(self, slots, observations, infos):
        self.batches.append(len(slots))
        assert list(slots) == sorted(slots)
        return super().act_many(slots, observations, infos)


@pytest.mark.parametrize("slow", [["reset"], ["step"], ["reset", "step"]])
@pytest.mark.parametrize("slots", [2, 3])
def test_quick_games_do_not_wait_for_a_slow_one(slow, slots):
    played = play(Visitor(), slots, slow=slow)
    assert [episode.seed for episode in played][-1] == 0
    plain = play(Visitor(), slots, room=ToyRoom)
    assert sorted(played, key=lambda one: one.seed) == sorted(plain, key=lambda one: one.seed)


def test_a_model_decides_as_many_at_once_as_are_there():
    together, beside = Counting(), Counting()
    play(together, slots=4, room=ToyRoom)
    play(beside, slots=4)
    assert beside.batches == together.batches and max(together.batches) == 4


def test_a_slow_game_leaves_a_model_its_batches():
    """Three quick games beside a slow one are decided together, turn by turn."""
    agent = Counting()
    play(agent, slots=4, games=(0, 1, 2, 4), slow=["step"])
    assert agent.batches[:TURNS] == [4, 3, 3, 3]


def test_those_that_are_coming_are_waited_for_half_as_long_as_a_decision_takes(monkeypatch):
    """And who was waited for in vain is not waited for again."""
    clock = [100.0]
    monkeypatch.setattr(deciding, "FIRST_SECONDS", 0.5)
    monkeypatch.setattr(deciding, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Deliberate(Counting):
        def act_many(self, slots, observations, infos):
            clock[0] += 2.0
            return super().act_many(slots, observations, infos)

    def ask(*slots):
        together.ask(slots, ["seen"] * len(slots), [{}] * len(slots))

    agent = Deliberate()
    agent.prepare(16)
    agent.begin(range(16), [None] * 16)
    together = DecideTogether(agent)
    assert together.answer() == together.answer([1, 2]) == {}
    ask(5)
    assert together.answer([1, 2]) == {}
    clock[0] += 0.25
    assert list(together.answer([1, 2])) == [5]
    ask(4)
    clock[0] += 0.9
    ask(2)
    ask()
    assert together.answer([1, 5]) == {}
    clock[0] += 0.2
    assert list(together.answer([1, 5])) == [2, 4] and together.answer() == {}
    ask(*range(2, 5))
    assert list(together.answer([1, 5])) == [2, 3, 4], "late ones are not waited for"
    ask(5)
    assert together.answer([2]) == {}, "the others are"
    assert list(together.answer()) == [5]


def test_decisions_of_a_server_and_games_wait_for_neither():
    """The first game's decisions are slow, and the second game is: each only for itself."""

    class Second(OtherProcess):
        def begin(self, what, game):
            self.due = time.monotonic() + SLOW * (game == 1)

    played = [episode.seed for episode in play(Waiting(), slots=3, room=Second)]
    assert set(played[:-2]) == {2, 3, 4, 5, 6}


def test_a_decision_to_end_is_nothing_to_wait_for():
    class Tired(Visitor):
        def act_many(self, slots, observations, infos):
            return [Decision(Action(""), end="tired") for _ in slots]

    played = play(Tired(), slots=3, slow=["step"])
    assert [episode.metadata["ended"] for episode in played] == ["tired"] * 7


def test_a_game_that_cannot_be_begun_costs_its_episode():
    class Damaged(OtherProcess):
        def begin_reset(self, seed=None, options=None):
            if options["game"] == 2:
                raise GameFileError("room-2 is damaged")
            super().begin_reset(seed, options)

        def poll_answer(self, timeout=0.0):
            return self.due is None or super().poll_answer(timeout)

        def finish(self):
            if self.due is None:
                raise GameFileError("room-2 is damaged")
            super().finish()

    played = play(Visitor(), slots=3, room=Damaged)
    assert len(played) == 7
    assert [one.seed for one in played if one.metadata.get("ended") == "room-2 is damaged"] == [2]
