"""Commands chosen after a thought: by separate passes over the whole replies, at their costs."""

import pytest
import torch
from chat_templates import CHATML, byte_level
from learning import random_decoder

from oreo_agents import OreoAgent
from oreo_agents.errors import ConfigurationError
from oreo_agents.language.prompt import Prompt
from oreo_agents.language.reply import find_thought, read_reply, write_reply
from oreo_agents.models.critic import Critic

COMMANDS = ["look", "go to desk 1", "go to desk 2", "inventory"]
SEEN = ("You see a desk 1.", "On the desk 1, you see a mug 1.", "Nothing happens.")
N = 40


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level(CHATML)


@pytest.fixture(scope="module")
def policy(tokenizer):
    policy = random_decoder("qwen3", len(tokenizer), seed=3)
    policy.config.max_position_embeddings = 4096
    return policy


def score(policy, read, reply):
    with torch.inference_mode():
        table = policy(input_ids=torch.tensor([[*read, *reply]])).logits[0].log_softmax(-1)
    return sum(table[len(read) - 1 + i, token].item() for i, token in enumerate(reply))


def continue_greedily(policy, read, end, n):
    ids = torch.tensor([read])
    options = {"max_new_tokens": n, "do_sample": False, "eos_token_id": end, "pad_token_id": end}
    return policy.generate(ids, attention_mask=torch.ones_like(ids), **options)[0, len(read) :].tolist()


OWN = Prompt(form=r"Do (?P<action>.+)", writes="I think: {thought}\nDo {action}")


@pytest.mark.parametrize("prompt", [Prompt(form="react"), Prompt(form="think"), OWN], ids=lambda p: p.form)
def test_commands_are_scored_after_the_likeliest_thought(policy, tokenizer, prompt):
    """Over three turns, what was said kept; a random model's thought comes to no end and is cut for the command."""
    agent = OreoAgent(policy, tokenizer, select="constrained", max_new_tokens=N, prompt=prompt)
    agent.reset()
    read = []
    for turn, seen in enumerate(SEEN[:2]):
        decision = agent.act(seen, {"admissible_commands": COMMANDS})
        read += (agent.chat.reply if turn else agent.chat.opening)(seen)
        free = continue_greedily(policy, read, agent.chat.end_id, N)
        assert decision.generated_tokens == len(free)
        thought = prompt.find_thought(agent.chat.understand(free, COMMANDS))
        said = decision.action.said
        shown = prompt.find_thought(read_reply(said, COMMANDS, prompt.form))
        assert shown and thought.startswith(shown) and said == prompt.write_reply(decision.action, shown)
        kept = agent.chat.cut_thought(thought, COMMANDS, N)
        assert decision.action.cut is (kept != thought)
        replies = agent.chat.thoughtful_ids(kept, COMMANDS)
        assert all(len(reply) <= N for reply in replies)
        scores = [score(policy, read, reply) for reply in replies]
        assert [one.logprob for one in decision.candidates] == pytest.approx(scores, abs=1e-3)
        best = max(range(len(COMMANDS)), key=scores.__getitem__)
        assert decision.action == COMMANDS[best] and list(decision.action.token_ids) == replies[best]
        read += replies[best]


@pytest.mark.parametrize("shared", [True, False])
def test_v_is_read_after_thought_and_command(policy, tokenizer, shared):
    critic = Critic.shared(policy) if shared else Critic.from_policy(policy)
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(0))
    options = {"select": "constrained_best_of_k", "k": 2, "max_new_tokens": N, "prompt": Prompt(form="react")}
    agent = OreoAgent(policy, tokenizer, critic.eval(), **options)
    agent.reset()
    decision = agent.act(SEEN[0], {"admissible_commands": COMMANDS})
    read = [*agent.chat.opening(SEEN[0]), *decision.action.token_ids]
    with torch.inference_mode():
        assert decision.action.value == pytest.approx(critic(torch.tensor([read]))[0, -1].item(), abs=1e-4)
    assert agent.act(SEEN[1], {"admissible_commands": COMMANDS}).action.token_ids


def test_an_engine_without_slots_chooses_the_same(policy, tokenizer, monkeypatch):
    def choose():
        agent = OreoAgent(
            policy, tokenizer, select="constrained", max_new_tokens=N, prompt=Prompt(form="react")
        )
        agent.reset()
        return [agent.act(seen, {"admissible_commands": COMMANDS}).action.token_ids for seen in SEEN[:2]]

    slots = choose()
    monkeypatch.setattr("oreo_agents.inference.engines.fits_slots", lambda model: False)
    assert choose() == slots


@pytest.mark.parametrize("form", ["bare", "any"])
def test_without_a_place_for_a_thought_nothing_is_generated(policy, tokenizer, form):
    agent = OreoAgent(policy, tokenizer, select="constrained", max_new_tokens=N, prompt=Prompt(form=form))
    agent.reset()
    decision = agent.act(SEEN[0], {"admissible_commands": COMMANDS})
    assert decision.generated_tokens == 0 and decision.action.said is None


def test_commands_are_written_in_an_expressions_form_or_not_scored(policy, tokenizer):
    form, options = r"Do (?P<action>.+)", {"select": "constrained", "max_new_tokens": N}
    with pytest.raises(ConfigurationError, match="add writes"):
        OreoAgent(policy, tokenizer, prompt=Prompt(form=form), **options)
    agent = OreoAgent(policy, tokenizer, prompt=Prompt(form=form, writes="Do {action}"), **options)
    agent.reset()
    decision = agent.act(SEEN[0], {"admissible_commands": COMMANDS})
    assert decision.generated_tokens == 0 and decision.action.said == f"Do {decision.action}"


@pytest.mark.parametrize("form", ["react", "think", "json"])
@pytest.mark.parametrize("thought", ["I see a desk.", 'It says "mug", and\nI go there.', ""])
def test_the_thought_of_a_reply_is_found_as_it_was_written(form, thought):
    said = write_reply("look", thought, form)
    assert find_thought(read_reply(said, COMMANDS, form), form) == thought
    if thought and form != "json":  # it breaks off before it names anything
        broken = said[: said.index(thought) + len(thought)]
        assert find_thought(read_reply(broken, COMMANDS, form), form) == thought


def test_a_thought_that_breaks_off_in_json_is_found():
    assert find_thought(read_reply('{"thought": "I see a', COMMANDS, "json"), "json") == "I see a"
