import gymnasium as gym
import pytest

import oreo_agents  # noqa: F401 (registers the environments)
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.errors import ConfigurationError


@pytest.fixture
def env():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True)
    yield env
    env.close()


def test_the_expert_goes_on_from_where_another_stopped(env):
    agent = ScriptedAgent("expert")
    agent.prepare(1)
    agent.begin([0], [0])
    observation, info = env.reset(seed=5)
    for _ in range(3):
        command = info["expert_plan"][0]  # knows where everything is, so it moves straight to it
        agent.follow([0], [observation], [info], [command])
        observation, _, _, _, info = env.step(command)
    terminated = truncated = False
    while not (terminated or truncated):
        action = agent.act_many([0], [observation], [info])[0].action
        observation, _, terminated, truncated, info = env.step(action)
    assert info["won"]


def test_random_needs_commands_to_choose_among():
    agent = ScriptedAgent("random")
    agent.prepare(1)
    agent.begin([0], [0])
    with pytest.raises(ConfigurationError, match="this environment lists none"):
        agent.act_many([0], ["What is 1 + 1?"], [{}])
