"""Decisions of a server: no episode waits for another's, and nothing else changes."""

import threading
import time
from contextlib import contextmanager

import gymnasium as gym
import pytest
from chat_templates import CHATML, byte_level
from learning import ToyRoom, random_decoder
from model_server import serving

from oreo_agents import OreoAgent
from oreo_agents.agents.agent import Assignment, Decision
from oreo_agents.evaluation.evaluate import play_games
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.models.agent_folder import load_policy, save_agent
from oreo_agents.rollout.loop import rollout
from oreo_agents.trajectory import Action

SLOW, QUICK = 0.2, 0.01


class Waiting:
    """Looks; the first game's decisions take twenty times as long as the others'."""

    name, tokenizer_fingerprint, needs, apart = "waiting", None, frozenset(), True

    def __init__(self):
        self.games, self.threads, self.failing = {}, set(), None

    def prepare(self, slots):
        self.games.clear()

    def follow(self, *_):
        """Nobody else plays."""

    def begin(self, slots, assignments):
        self.games.update(zip(slots, (one.game for one in assignments), strict=True))

    def act_many(self, slots, observations, infos):
        self.threads.add(threading.get_ident())
        if self.failing in (self.games[slot] for slot in slots):
            raise ZeroDivisionError
        time.sleep(max(QUICK if self.games[slot] else SLOW for slot in slots))
        return [Decision(Action("look")) for _ in slots]


def play(agent, games=range(4), slots=2):
    make = lambda: gym.wrappers.TimeLimit(ToyRoom(), 4)  # noqa: E731
    return [one.game for one in rollout(make, [Assignment(n, n) for n in games], agent, slots)]


def test_a_quick_episode_does_not_wait_for_a_slow_one():
    assert [name[-1] for name in play(Waiting())] == ["1", "2", "3", "0"]
    together = Waiting()
    together.apart = False
    assert [name[-1] for name in play(together)][:2] == ["0", "1"] and len(together.threads) == 1


def test_what_an_agent_raises_is_raised_and_environments_are_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(ToyRoom, "close", lambda self: closed.append(self), raising=False)
    agent = Waiting()
    agent.failing = 2
    with pytest.raises(ZeroDivisionError):
        play(agent)
    assert len(closed) == 2


def test_seconds_are_shares_of_the_time_that_passed():
    make = lambda: gym.wrappers.TimeLimit(ToyRoom(), 4)  # noqa: E731
    start = time.perf_counter()
    played = play_games(make, Waiting(), range(4), slots=4)
    passed = time.perf_counter() - start
    assert 0.5 * passed < sum(one.metadata["seconds"] for one in played) < 1.5 * passed


# --- a policy behind a server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    path = tmp_path_factory.mktemp("served") / "agent"
    save_agent(path, policy, tokenizer)
    return path


class Watched:
    """Notes how many are at work in an agent at once, outside the waiting for a server."""

    def __init__(self, agent):
        self.agent, self.most, self.inside, self.fail, self.begun = agent, 0, 0, False, False
        decide, ask, let_others = agent._act_many, agent.policy.ask, agent._turn.let_others

        def act(*arguments):
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                return decide(*arguments)
            finally:
                self.inside -= 1

        @contextmanager
        def leave():
            self.inside -= 1
            try:
                with let_others():
                    yield
            finally:
                self.inside += 1

        def wait(questions):
            if self.fail and self.begun:
                raise KeyboardInterrupt
            self.begun = True
            return ask(questions)

        agent._act_many, agent.policy.ask, agent._turn.let_others = act, wait, leave


@pytest.mark.parametrize("select", ["greedy", "sample"])
def test_episodes_are_those_that_are_played_together(folder, select):
    def remote(server, apart):
        endpoint = Endpoint(server.url, "m", retries=0, timeout=30)
        agent = OreoAgent.from_endpoint(endpoint, folder, max_new_tokens=4, device="cpu", select=select)
        assert agent.apart
        agent.apart = apart
        return agent

    def episodes(agent):
        make = lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=3)  # noqa: E731
        return sorted(rollout(make, [Assignment(n, n) for n in range(4)], agent, 3), key=lambda one: one.seed)

    with serving(*load_policy(folder)) as server:
        together, apart = remote(server, False), remote(server, True)
        watched = Watched(apart)
        expected = episodes(together)
        assert episodes(apart) == expected
        assert watched.most == 1
        watched.fail, server.delay = True, 5.0
        start = time.perf_counter()
        for _ in range(3):
            watched.begun = False
            with pytest.raises(KeyboardInterrupt):
                episodes(apart)
        assert time.perf_counter() - start < 5.0
        watched.fail, server.delay = False, 0.0
        assert episodes(apart) == expected
