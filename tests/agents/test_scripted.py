import gymnasium as gym
import pytest
from oreo_envs.alfworld.experts.searching_expert import SearchingExpert
from oreo_envs.spaces import Text

import oreo_agents  # noqa: F401 (registers the environments)
from oreo_agents.agents import scripted
from oreo_agents.agents.agent import Assignment, options_for
from oreo_agents.agents.noise import NoisyAgent
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.reply import read_reply


@pytest.fixture
def env():
    env = gym.make("OREO-ALFWorld", split="generated", expert=True)
    yield env
    env.close()


def test_the_expert_goes_on_from_where_another_stopped(env):
    agent = ScriptedAgent("expert")
    agent.prepare(1)
    agent.begin([0], [Assignment(None, 0)])
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


def test_the_demonstrator_plays_as_the_environment_says():
    env = gym.make("OREO-Habits", expert=True)
    _, info = env.reset(options={"game": 0})
    shares = info["demonstrator"]
    agent = ScriptedAgent("demonstrator", "OREO-Habits")
    assert options_for(agent) == {"expert": True}
    agent.prepare(1)
    said = []
    for seed in range(2000):
        agent.begin([0], [Assignment(0, seed)])
        said.append(agent.act_many([0], [""], [info])[0].action)
    assert {command: said.count(command) / 2000 for command in shares} == pytest.approx(shares, abs=0.04)
    agent.begin([0], [Assignment(0, 0)])
    with pytest.raises(ConfigurationError, match="has no demonstrator: take expert"):
        agent.act_many([0], [""], [{"admissible_commands": ["look"]}])


def test_random_needs_commands_to_choose_among():
    agent = ScriptedAgent("random")
    agent.prepare(1)
    agent.begin([0], [Assignment(None, 0)])
    with pytest.raises(ConfigurationError, match="this environment lists none"):
        agent.act_many([0], ["What is 1 + 1?"], [{}])


@pytest.mark.parametrize("space", [Text(40), gym.spaces.Text(40)])
def test_random_characters_are_said_once(space, caplog):
    scripted._warn_of_characters.cache_clear()
    agent = ScriptedAgent("random")
    agent.prepare(1)
    agent.begin([0], [Assignment(None, 0)])
    agent.act_many([0], ["A door."], [{"action_space": space, "admissible_commands": ["open"]}])
    assert not caplog.messages
    for _ in range(2):
        agent.act_many([0], ["A door."], [{"action_space": space}])
    (said,) = caplog.messages
    assert "lists no admissible commands, so random characters are played" in said and "sample()" in said


def test_there_is_no_other():
    with pytest.raises(
        ConfigurationError, match="no scripted agent 'wizard'; choose one of expert, shortest"
    ):
        ScriptedAgent("wizard")


def test_the_expert_follows_its_style(env):
    def walk(style):
        agent = ScriptedAgent("expert")
        agent.prepare(1)
        agent.begin([0], [Assignment(5, seed=1, style=style)])
        observation, info = env.reset(options={"game": 5})
        ended, said = False, []
        while not ended:
            said.append(agent.act_many([0], [observation], [info])[0].action)
            observation, _, terminated, truncated, info = env.step(said[-1])
            ended = terminated or truncated
        return said

    expert, own = SearchingExpert(seed=3), []
    observation, info = env.reset(options={"game": 5})
    expert.reset(observation)
    while not info["won"]:
        own.append(expert.act(observation))
        observation, _, _, _, info = env.step(own[-1])
    assert walk(3) == own
    assert len({tuple(walk(style)) for style in range(6)}) > 1


def test_what_each_needs_to_be_told():
    assert ScriptedAgent("expert").needs == ScriptedAgent("random").needs == {"admissible_commands"}
    assert ScriptedAgent("shortest").needs == {"expert_plan"}
    assert options_for(ScriptedAgent("expert", "OREO-GSM8K")) == {"expert": True}
    assert options_for(NoisyAgent(ScriptedAgent("shortest"), 0.1)) == {"expert": True}
    assert options_for(ScriptedAgent("expert")) == {}


def test_an_expert_with_thoughts_does_the_same_and_says_why(env):
    plain, thinking = ScriptedAgent("expert"), ScriptedAgent("expert", thoughts=True)
    assert thinking.name == "expert-thoughts"
    for agent in (plain, thinking):
        agent.prepare(1)
        agent.begin([0], [Assignment(5, 0)])
    observation, info = env.reset(options={"game": 5})
    ended, thoughts = False, set()
    while not ended:
        action = plain.act_many([0], [observation], [info])[0].action
        said = thinking.act_many([0], [observation], [info])[0].action
        assert said == action and action.said is None
        reply = read_reply(said.said, info["admissible_commands"], "react")
        assert (reply.named, reply.action) == (True, action)
        thoughts.add(reply.thought)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    assert info["won"] and len(thoughts) > 2 and all(thoughts)


@pytest.mark.parametrize("name, env_id", [("random", "OREO-ALFWorld"), ("expert", "OREO-GSM8K")])
def test_thoughts_are_of_experts_that_explain(name, env_id):
    with pytest.raises(ConfigurationError, match=f"{name} in {env_id} has no thoughts.*leave --thoughts out"):
        ScriptedAgent(name, env_id, thoughts=True)


def test_a_slip_has_no_thought(env):
    agent = NoisyAgent(ScriptedAgent("expert", thoughts=True), 0.5)
    agent.prepare(1)
    agent.begin([0], [Assignment(5, 0)])
    observation, info = env.reset(options={"game": 5})
    decisions, ended = [], False
    while not ended:
        (decision,) = agent.act_many([0], [observation], [info])
        decisions.append(decision)
        observation, _, ended, _, info = env.step(decision.action)
    assert {(one.action.noise, one.action.said is None) for one in decisions} == {
        (True, True),
        (False, False),
    }


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_marked_and_its_player_knows_of_it(env, seed):
    """Wherever no slip is marked, the command is the one of an expert who saw everything that was played."""
    agent, shadow, slips = NoisyAgent(ScriptedAgent("expert"), 0.5), SearchingExpert(), []
    assert agent.name == "expert-epsilon0.5"
    agent.prepare(1)
    agent.begin([0], [Assignment(5, seed)])
    observation, info = env.reset(options={"game": 5})
    shadow.reset(observation)
    ended = False
    while not ended:
        wanted = shadow.act(observation)
        (decision,) = agent.act_many([0], [observation], [info])
        slips.append(decision.action.noise)
        assert decision.action.noise == (decision.action != wanted)
        observation, _, terminated, truncated, info = env.step(decision.action)
        shadow.observe(decision.action, observation)
        ended = terminated or truncated
    assert any(slips) and not all(slips)
