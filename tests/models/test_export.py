"""An exported folder, played by transformers alone, does what the agent does."""

import gymnasium as gym
import pytest
import torch
from chat_templates import CHATML, QWEN3, byte_level
from learning import random_decoder
from transformers import AutoModelForCausalLM, AutoTokenizer

import oreo_agents  # noqa: F401 (registers the ids)
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.cli import main
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.language.chat import Chat, Conversation
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.export import export_policy

TOLD = Prompt(
    system='You {{ are }} in a house.\n"Act".',
    instructions="One command {% a turn %}.",
    examples=(("You see a door.", "open door"), ("It is open.", "go east")),
)


def reply_as_transformers_do(folder):
    """A function from messages to a reply, with nothing of this project."""
    tokenizer, policy = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)

    def reply(messages):
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        with torch.inference_mode():
            said = policy.float().generate(ids, max_new_tokens=32, do_sample=False, pad_token_id=0)
        return tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip()

    return reply


def test_the_shipped_agent_plays_a_game_alike(tmp_path):
    assert main(["export", "small", "-o", str(tmp_path / "out")]) == 0
    reply, agent = (
        reply_as_transformers_do(tmp_path / "out"),
        OreoAgent.from_pretrained("small", dtype="float32"),
    )
    env = gym.make("OREO-ALFWorld", split="generated_unseen")
    observation, info = env.reset(seed=4)
    agent.reset()
    messages = []
    for _ in range(8):
        action = agent.act(observation, info).action
        messages.append({"role": "user", "content": observation})
        messages.append({"role": "assistant", "content": reply(messages)})
        assert messages[-1]["content"] == action
        observation, _, terminated, _, info = env.step(action)
        if terminated:
            break
    assert len(messages) >= 6


@pytest.mark.parametrize("template", [CHATML, QWEN3, None])
@pytest.mark.parametrize("prompt", [Prompt(), TOLD, Prompt(instructions="Be brief.", thinking=False)])
def test_the_prompt_goes_along(tmp_path, template, prompt):
    tokenizer = byte_level(template)
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 2048
    save_agent(tmp_path / "agent", policy, tokenizer, prompt=prompt)
    if template is None:  # lines: their tokens may merge with what stands around them
        try:
            export_policy(tmp_path / "agent", tmp_path / "out")
        except ConfigurationError as error:
            assert "other tokens than its agent" in str(error) and not (tmp_path / "out").exists()
            return
    else:
        assert export_policy(tmp_path / "agent", tmp_path / "out") == prompt
    agent = OreoAgent.from_pretrained(tmp_path / "agent", dtype="float32")
    told = AutoTokenizer.from_pretrained(tmp_path / "out")
    conversation, messages = Conversation(agent.chat), []
    for seen, said in (
        ("You see a mug 1.", "take mug 1"),
        ("You take it.", "go to desk 2"),
        ("You are there.", ""),
    ):
        conversation.read(seen)
        messages.append({"role": "user", "content": seen})
        ids = told.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(ids) == conversation.tokens
        conversation.say(agent.chat.action_ids(said), said)
        messages.append({"role": "assistant", "content": said})
    if prompt is TOLD:
        assert all(text in told.decode(ids) for text in (TOLD.system, TOLD.instructions, "go east"))


DATED = CHATML.replace("You are helpful.", "Today is {{ strftime_now(%s) }}.")


@pytest.mark.parametrize(
    ("form", "date", "told"),
    [
        ("'%d %B %Y'", "2024-07-26", "26 July 2024"),
        ("'%' ~ 'd'", "2024-07-26", "26"),
        ('"%A, %-d.%m.%y, %%d at %H"', "2030-03-01", "Friday, 1.03.30, %d at 00"),
    ],
)
def test_a_templates_day_is_the_agents_wherever_it_is_rendered(tmp_path, form, date, told):
    tokenizer = byte_level(DATED.replace("%s", form))
    policy = random_decoder("qwen3", len(tokenizer))
    policy.config.max_position_embeddings = 2048
    save_agent(tmp_path / "agent", policy, tokenizer, prompt=Prompt(date=date))
    assert tokenizer.chat_template == DATED.replace("%s", form)
    export_policy(tmp_path / "agent", tmp_path / "out")
    agent = OreoAgent.from_pretrained(tmp_path / "agent", dtype="float32")
    agent.save_pretrained(tmp_path / "again")
    opening = agent.chat.opening("You see a mug 1.")
    assert f"Today is {told}." in agent.chat.tokenizer.decode(opening)
    for folder in (tmp_path / "agent" / "policy", tmp_path / "out", tmp_path / "again" / "policy"):
        elsewhere = AutoTokenizer.from_pretrained(folder)
        messages = [{"role": "user", "content": "You see a mug 1."}]
        ids = elsewhere.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert list(ids) == opening and elsewhere.chat_template.count("macro strftime_now") == 1
    other = Chat(agent.chat.tokenizer, Prompt(date="2031-01-01"))
    assert other.opening("") == Chat(tokenizer, Prompt(date="2031-01-01")).opening("")
    assert other.fingerprint == Chat(tokenizer, Prompt(date="2031-01-01")).fingerprint


def test_what_is_no_template_or_no_place_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="the form tool needs a chat template"):
        export_policy("small", tmp_path / "out", Prompt(form="tool"))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(CheckpointError, match="is there already: export into a new folder"):
        export_policy("small", tmp_path / "there")
    assert not (tmp_path / "out").exists()
