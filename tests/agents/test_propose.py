"""Lookahead against hand-worked outcomes and separate passes; searches for whole solutions; and what they refuse."""

from random import Random

import gymnasium as gym
import pytest
import torch
from learning import OPENING, ToyRoom, random_decoder
from oreo_envs.wrappers import OfferBranches
from transformers import GPT2Config, GPT2LMHeadModel

from oreo_agents.agents.agent import Assignment
from oreo_agents.agents.lookahead import LookAhead
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.agents.selection import Selection
from oreo_agents.environments import environments
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.results import summarise_episodes
from oreo_agents.inference.critic import CachedCritic
from oreo_agents.inference.endpoint import Endpoint
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.tree import tree_of
from oreo_agents.language.chat import Chat, Conversation
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.critic import Critic
from oreo_agents.rollout.loop import rollout


@pytest.fixture(scope="module")
def critic(tokenizer):
    critic = Critic.from_policy(random_decoder("qwen3", len(tokenizer), seed=4))
    torch.nn.init.normal_(critic.value_head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return critic


class Says:
    """An engine that proposes the same commands in every turn."""

    def __init__(self, chat, commands):
        self.ids = [chat.action_ids(command) for command in commands]

    def clear(self, slots): ...
    def extend(self, slots, chunks): ...
    def keep(self, slots, proposals, lanes): ...

    def propose(self, slots, prompts, uniforms, temperature, filters):
        tree, nodes, counts = tree_of([self.ids] * len(slots), torch.device("cpu"))
        return Proposals(tree, nodes, torch.zeros(nodes.shape), counts)


def looking(chat, critic, commands, slots):
    engine, judge = Says(chat, commands), CachedCritic(critic, slots, 512)
    return LookAhead(engine, judge, chat, Selection("lookahead", len(commands), max_new_tokens=8))


def begin(games):
    envs = [OfferBranches(gym.wrappers.TimeLimit(ToyRoom(), 10)) for _ in games]
    starts = [env.reset(options={"game": game}) for env, game in zip(envs, games, strict=True)]
    return envs, starts


def test_values_are_those_after_the_answer_and_a_win_counts_as_one(chat, critic):
    """Over two turns of two rooms; in the second room the third command wins, the repeated one is tried once."""
    commands = ["look", "go to desk 1", "go to desk 2", "look"]
    decider = looking(chat, critic, commands, slots=2)
    envs, starts = begin([2, 1])
    told = [[], []]
    seen = [start[0] for start in starts]
    infos = [start[1] for start in starts]
    for turn in range(2):
        prompts = [(chat.reply if turn else chat.opening)(text) for text in seen]
        decisions = decider.decide([0, 1], prompts, infos, [Random(0), Random(1)], [set(), set()])
        for room, decision in enumerate(decisions):
            told[room] += prompts[room]
            values = []
            for command in commands:
                answer = envs[room].unwrapped.step(command)
                ids = [*told[room], *chat.action_ids(command), *chat.reply(answer[0])]
                with torch.no_grad():
                    values.append(1.0 if answer[1] else critic(torch.tensor([ids]))[0, -1].item())
            assert [candidate.value for candidate in decision.candidates] == pytest.approx(values, abs=1e-4)
            assert decision.action == commands[values.index(max(values))]
            assert decision.simulated_steps == 3
            read = sum(len(chat.action_ids(c)) + len(chat.reply(envs[room].step(c)[0])) for c in commands)
            assert decision.critic_tokens == len(prompts[room]) + read
        assert decisions[1].candidates[2].value == 1.0 and decisions[1].action == "go to desk 2"
        # both go on with what the first room chose, so that the second is not over
        command = decisions[0].action
        decider.judge.clear([1])
        told[1] = []
        seen[0], *_, infos[0] = envs[0].step(command)
        told[0] += chat.action_ids(command)
        seen[1] = OPENING


class Silent(ToyRoom):
    """Lists commands, and says nothing of how they went."""

    def _info(self, status=None, won=False):
        return {**super()._info(None, won), "admissible_commands": ["go to desk 1", "go to desk 2"]}


def test_the_reminder_is_read_where_it_will_be_read(tokenizer, critic):
    """Without a status a command that is not listed is a miss, in looking ahead as in playing."""
    chat = Chat(tokenizer, Prompt(reminder="desk desk desk"))
    commands = ["sing", "go to desk 1"]
    env = OfferBranches(gym.wrappers.TimeLimit(Silent(), 10))
    observation, info = env.reset(options={"game": 2})
    opening = chat.opening(observation)
    (decision,) = looking(chat, critic, commands, slots=1).decide(
        [0], [opening], [info], [Random(0)], [set()]
    )
    for command, candidate in zip(commands, decision.candidates, strict=True):
        conversation, answer = Conversation(chat), env.unwrapped.step(command)
        conversation.read(observation, info["admissible_commands"])
        conversation.say(chat.action_ids(command), command)
        conversation.read(answer[0], answer[-1]["admissible_commands"])
        told = chat.reply(chat.prompt.message(answer[0], missed=command == "sing"))
        assert conversation.tokens[-len(told) :] == told
        with torch.no_grad():
            value = critic(torch.tensor([conversation.tokens]))[0, -1].item()
        assert candidate.value == pytest.approx(value, abs=1e-4)


def test_trying_changes_nothing(tokenizer, policy, critic):
    """The episodes of an agent that looks are the same commands played without looking."""
    agent = OreoAgent(policy, tokenizer, critic, "lookahead", k=3, max_new_tokens=6)
    looked = list(rollout(environments(max_steps=4, split="generated", branches=True), GAMES, agent, 2))
    for episode in looked:
        env = environments(max_steps=4, split="generated")()
        observation, _ = env.reset(seed=episode.seed, options={"game": episode.game})
        for turn in episode.turns:
            assert observation == turn.observation
            observation, *_ = env.step(turn.action)
        assert observation == episode.final_observation
    steps = [episode.metadata["simulated_steps"] for episode in looked]
    assert all(4 <= n <= 12 for n in steps)
    cost = summarise_episodes(looked, "lookahead").cost_per_episode
    assert (cost.steps, cost.simulated_steps) == (4, sum(steps) / 3)


GAMES = [Assignment(game, seed=game) for game in range(3)]


def test_looking_at_one_candidate_is_greedy(tokenizer, policy, critic):
    greedy = OreoAgent(policy, tokenizer, max_new_tokens=6)
    looking = OreoAgent(policy, tokenizer, critic, "lookahead", k=1, max_new_tokens=6)
    make_env = environments(max_steps=4, split="generated", branches=True)
    one, other = (list(rollout(make_env, GAMES, agent, 3)) for agent in (greedy, looking))
    assert [[t.token_ids for t in e.turns] for e in one] == [[t.token_ids for t in e.turns] for e in other]


@pytest.mark.parametrize("length", [70, 73, 76, 80, 90])
def test_answers_beyond_the_context_are_not_read(tokenizer, length):
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=length, n_embd=64, n_layer=2, n_head=2)
    policy = GPT2LMHeadModel(config)
    agent = OreoAgent(policy, tokenizer, Critic.from_policy(policy), "lookahead", k=3, max_new_tokens=4)
    make_env = environments(max_steps=40, split="generated", branches=True)
    (episode,) = rollout(make_env, GAMES[:1], agent)
    assert episode.metadata["ended"] == f"the context of {length} tokens is full"


def test_a_broken_server_is_not_simulated(tokenizer, critic):
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", retries=0, timeout=1.0)
    agent = OreoAgent(endpoint, tokenizer, critic, "lookahead", k=2)
    make_env = environments(max_steps=2, split="generated", branches=True)
    (episode,) = rollout(make_env, GAMES[:1], agent)
    assert episode.metadata["failed"] and "simulated_steps" not in episode.metadata


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("lookahead", r"info\['branch'\].*OfferBranches"),
        ("beam", "steps of a solution.*OREO-MATH.*choose best_of_k"),
        ("majority_vote", "steps of a solution"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_with_a_remedy(
    tokenizer, policy, critic, select, message
):
    agent = OreoAgent(policy, tokenizer, critic, select, k=2, max_new_tokens=4)
    env = environments(max_steps=2, split="generated")()
    observation, info = env.reset(options={"game": 0})
    with pytest.raises(ConfigurationError, match=message):
        agent.act(observation, info)


@pytest.mark.parametrize("select", ["lookahead", "beam", "best_of_n", "value_vote"])
def test_a_critic_is_needed(tokenizer, policy, select):
    with pytest.raises(ConfigurationError, match=f"{select} needs a critic"):
        OreoAgent(policy, tokenizer, select=select)


@pytest.mark.parametrize("select", ["constrained", "constrained_best_of_k", "beam", "majority_vote"])
def test_weights_are_needed(tokenizer, critic, select):
    with pytest.raises(ConfigurationError, match=f"{select} needs the policy's weights"):
        OreoAgent(Endpoint("http://127.0.0.1:9/v1", "m"), tokenizer, critic, select)


@pytest.mark.parametrize("select", ["best_of_k", "lookahead"])
def test_a_server_gives_nothing_to_weigh(tokenizer, critic, select):
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m")
    OreoAgent(endpoint, tokenizer, critic, "greedy", logprob_weight=0.03)
    with pytest.raises(ConfigurationError, match=r"logprob_weight is 0\.03.*leave it at 0"):
        OreoAgent(endpoint, tokenizer, critic, select, logprob_weight=0.03)


SUMS = {"env_id": "OREO-Reasoning", "task": "chain_sum", "split": "test"}


@pytest.mark.parametrize("select", ["beam", "best_of_n", "majority_vote", "value_vote"])
def test_a_plan_is_played_step_by_step_and_paid_once(tokenizer, policy, critic, select):
    agent = OreoAgent(policy, tokenizer, critic, select, k=2, max_new_tokens=6)
    agent.max_length = 120  # plans of a few steps
    episodes = [Assignment(0, 1), Assignment(1, 2)]
    one, other = (
        {e.seed: e for e in rollout(environments(max_steps=4, **SUMS), episodes, agent, slots)}
        for slots in (1, 2)
    )
    assert one == other  # alone or side by side
    for episode in one.values():
        first, *later = episode.turns
        assert len(later) == 3 and not any(turn.candidates for turn in later)
        considered = {candidate.action: candidate.value for candidate in first.candidates}
        assert first.action in considered and (first.value is None) == (select == "majority_vote")
        tokens = episode.metadata["tokens"]
        played = sum(len(turn.token_ids) for turn in episode.turns)
        assert tokens["generated"] > 2 * played
        judged = 0 if select == "majority_vote" else tokens["prompt"] + tokens["generated"]
        assert tokens["critic"] == judged


def test_after_a_step_of_somebody_else_it_plans_anew(tokenizer, policy, critic):
    agent = OreoAgent(policy, tokenizer, critic, "beam", k=2, max_new_tokens=6)
    agent.max_length = 160
    agent.prepare(1)
    env = environments(max_steps=6, **SUMS)()
    observation, info = env.reset(options={"game": 0})
    assert agent.act(observation, info).generated_tokens > 0
    assert agent.act("", info).generated_tokens == 0
    agent.follow([0], [""], [info], ["1 + 1 = 2"])
    assert agent.act("", info).generated_tokens > 0


def test_a_plan_never_outgrows_the_context(tokenizer, policy, critic):
    agent = OreoAgent(policy, tokenizer, critic, "beam", k=2, max_new_tokens=40)
    (episode,) = rollout(environments(max_steps=50, **SUMS), [Assignment(0, 1)], agent)
    assert "context of 512 tokens is full" in episode.metadata["ended"] and len(episode) > 3
