"""What is played under a prompt is what is trained on: log-probabilities and values of play, against whole passes."""

import gymnasium as gym
import pytest
import torch
from chat_templates import CHATML, QWEN3, byte_level
from learning import random_decoder

import oreo_agents  # noqa: F401  (registers the environments)
from oreo_agents import OreoAgent
from oreo_agents.agents.agent import Assignment
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.critic import Critic
from oreo_agents.rollout.loop import rollout

PROMPTS = {
    "none": Prompt(),
    "react": Prompt(system="Be brief.", form="react", reminder="Name an action."),
    "every": Prompt(commands="\nYou can: {commands}"),
    "last": Prompt(commands="\nYou can: {commands}", commands_shown="last", reminder="Name an action."),
    "history": Prompt(instructions="Act.", history=1, examples=(("A door.", "open door"),)),
    "nothing": Prompt(history=0),
}


def play(agent, games=(0, 1)):
    make = lambda: gym.make("OREO-ALFWorld", split="generated", max_episode_steps=5)  # noqa: E731
    return list(rollout(make, [Assignment(game, game) for game in games], agent, slots=2))


@pytest.mark.parametrize("name", PROMPTS)
def test_play_reads_what_training_reads(name):
    template, shared = (QWEN3, True) if name in ("react", "last", "nothing") else (CHATML, False)
    tokenizer = byte_level(template)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 8192
    critic = Critic.shared(policy) if shared else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight)
    options = {"select": "best_of_k", "k": 3, "max_new_tokens": 12, "prompt": PROMPTS[name]}
    agent = OreoAgent(policy, tokenizer, critic, **options)
    for episode in play(agent):
        encoded = agent.chat.encode(episode)
        ends = [*encoded.starts[1:], len(encoded)]
        logprobs, values = [], []
        with torch.inference_mode():
            for start, end in zip(encoded.starts, ends, strict=True):
                ids = torch.tensor([encoded.input_ids[start:end]])
                table = policy(ids).logits[0].log_softmax(-1)
                read = critic(ids)[0]
                for i in range(start, end):
                    if encoded.action_mask[i]:
                        logprobs.append(table[i - start - 1, encoded.input_ids[i]].item())
                    if encoded.end_mask[i]:
                        values.append(read[i - start].item())
        played = [x for turn in episode.turns for x in turn.logprobs]
        torch.testing.assert_close(torch.tensor(logprobs), torch.tensor(played), atol=1e-4, rtol=1e-4)
        seen = torch.tensor([turn.value for turn in episode.turns])
        torch.testing.assert_close(torch.tensor(values), seen, atol=1e-4, rtol=1e-4)
        several = name in ("last", "history", "nothing")
        assert (len(encoded.starts) > 1) == (several and len(episode) > 1 + (name == "history"))


def test_searches_that_read_ahead_want_a_conversation_that_grows():
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    critic = Critic.from_policy(policy)
    for select in ("lookahead", "beam"):
        with pytest.raises(ConfigurationError, match="only grows"):
            OreoAgent(policy, tokenizer, critic, select, prompt=Prompt(history=1))
        OreoAgent(policy, tokenizer, critic, select, prompt=Prompt(system="Be brief."))


def test_the_prompt_is_kept_with_the_agent(tmp_path):
    tokenizer = byte_level(CHATML)
    policy = random_decoder("qwen3", len(tokenizer))
    OreoAgent(policy, tokenizer, prompt="alfworld-react").save_pretrained(tmp_path / "agent")
    agent = OreoAgent.from_pretrained(tmp_path / "agent")
    assert agent.chat.prompt == Prompt.load("alfworld-react") and "prompt" in agent.describe()
    other = OreoAgent.from_pretrained(tmp_path / "agent", prompt=Prompt())
    assert other.tokenizer_fingerprint != agent.tokenizer_fingerprint and "prompt" not in other.describe()


def test_thoughts_are_kept_beside_what_is_done():
    """A policy that always says the same: the reply is read, and its words are kept."""
    tokenizer = byte_level(CHATML)
    agent = OreoAgent(random_decoder("qwen3", len(tokenizer)), tokenizer, prompt=Prompt(form="react"))
    said = "Thought: a desk.\nAction: Go to desk 1."
    reply = agent.chat.understand(agent.chat.text_ids(said), ["go to desk 1", "look"])
    assert (reply.action, reply.said, reply.thought) == ("go to desk 1", said, "a desk.")
