"""What a model reads, turn by turn: the template's own text, the prompt's parts, and the sequences of an episode."""

import dataclasses
import hashlib
import json
import re
from contextlib import suppress
from datetime import date
from itertools import pairwise

import pytest
from chat_templates import CHATML, QWEN3, byte_level
from jinja2 import TemplateError, UndefinedError
from learning import EPISODES, OPENING, WINNING, episode
from shared_data import DATA

from oreo_agents.errors import CheckpointError, ConfigurationError, DatasetError
from oreo_agents.language.chat import Chat, Conversation
from oreo_agents.language.portable_template import pin_day
from oreo_agents.language.prompt import Prompt, list_prompts
from oreo_agents.language.reply import TOOL

DATED = CHATML.replace("You are helpful.", "Today is {{ strftime_now('%d %B %Y') }}.")

TOOLS = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def read(chat, turns):
    """The text before each reply, and the conversation, for turns of observation, reply and what else is told."""
    conversation, texts = Conversation(chat), []
    for observation, reply, *told in turns:
        conversation.read(observation, *told)
        texts.append(chat.tokenizer.decode(conversation.tokens))
        conversation.say(chat.action_ids(reply, reply), reply)
    return texts, conversation


def render(tokenizer, turns, system=None, **options):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for i, (observation, reply) in enumerate(turns):
        messages.append({"role": "user", "content": observation})
        if i + 1 < len(turns):
            messages.append({"role": "assistant", "content": reply})
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)


FIVE = [(f"You see room {i}.", f"go to desk {i}") for i in range(5)]
THINKING = [
    (seen, f"<think>\nRoom {i}, so desk {i}.\n</think>\n\n{reply}") for i, (seen, reply) in enumerate(FIVE)
]


@pytest.mark.parametrize("template", [CHATML, QWEN3, NO_SYSTEM, TOOLS])
@pytest.mark.parametrize("turns", [FIVE, THINKING], ids=["plain", "thinking"])
def test_every_reading_is_the_templates_own_text(template, turns):
    tokenizer = byte_level(template)
    texts, _ = read(Chat(tokenizer), turns)
    for n, text in enumerate(texts, start=1):
        assert text == render(tokenizer, turns[:n])


def test_without_thinking_the_reply_begins_after_an_empty_thought():
    tokenizer = byte_level(QWEN3)
    texts, _ = read(Chat(tokenizer, Prompt(thinking=False)), FIVE)
    assert texts[-1] == render(tokenizer, FIVE, enable_thinking=False)
    assert texts[-1].endswith("<think>\n\n</think>\n\n") and texts[-1].count("<think>") == 1


@pytest.mark.parametrize("name", list_prompts())
def test_shipped_prompts_leave_a_reply_to_their_form(name):
    """Else Qwen3 thinks first, and is cut inside its thought; a template without the switch is what it was."""
    prompt = Prompt.load(name)
    before = dataclasses.replace(prompt, thinking=None)
    commands = ["look"] if prompt.commands else None
    for template, changed in ((QWEN3, True), (CHATML, False), (None, False)):
        tokenizer = byte_level(template)
        chats, tokens = [Chat(tokenizer, one) for one in (prompt, before)], []
        for chat in chats:
            conversation = Conversation(chat)
            conversation.read("You see a desk 1.", commands)
            tokens.append(conversation.tokens)
        assert (tokens[0] != tokens[1]) == changed == (chats[0].fingerprint != chats[1].fingerprint)
        assert tokenizer.decode(tokens[0]).endswith("<think>\n\n</think>\n\n") == changed


def test_a_system_message_replaces_the_templates_own():
    tokenizer = byte_level(CHATML)
    for system in ("Be brief.", ""):
        texts, _ = read(Chat(tokenizer, Prompt(system=system)), FIVE)
        assert texts[-1] == render(tokenizer, FIVE, system) and "You are helpful" not in texts[-1]
    plain = byte_level()
    texts, _ = read(Chat(plain, Prompt(system="Be brief.", instructions="Act.")), FIVE[:1])
    assert texts == ["<|endoftext|>Be brief.\n\nAct.\n\nYou see room 0.\n>"]
    refused = byte_level(NO_SYSTEM)
    texts, _ = read(Chat(refused, Prompt(system="Be brief.")), FIVE[:1])
    assert texts == [render(refused, [("Be brief.\n\nYou see room 0.", "")])]


def test_examples_are_earlier_turns():
    tokenizer = byte_level(CHATML)
    prompt = Prompt(
        instructions="Act.", examples=(("You see a desk 9.", "look"), ("You see nothing.", "inventory"))
    )
    texts, _ = read(Chat(tokenizer, prompt), FIVE)
    told = [("Act.\n\nYou see a desk 9.", "look"), ("You see nothing.", "inventory"), *FIVE]
    assert texts[-1] == render(tokenizer, told)


def test_admissible_commands_are_shown_in_every_turn_or_in_the_last():
    tokenizer = byte_level(CHATML)
    turns = [(seen, reply, ["look", reply], "ok") for seen, reply in FIVE]
    every, _ = read(Chat(tokenizer, Prompt(commands="\nYou can: {commands}.")), turns)
    assert every[-1] == render(
        tokenizer, [(f"{seen}\nYou can: look, {reply}.", reply) for seen, reply in FIVE]
    )
    last, _ = read(Chat(tokenizer, Prompt(commands="\nYou can: {commands}.", commands_shown="last")), turns)
    told = [*FIVE[:-1], (f"{FIVE[-1][0]}\nYou can: look, {FIVE[-1][1]}.", "")]
    assert last[-1] == render(tokenizer, told)


@pytest.mark.parametrize("history", [0, 1, 3, 4, 9])
def test_a_short_history_keeps_the_opening_and_the_last_turns(history):
    tokenizer = byte_level(CHATML)
    texts, _ = read(Chat(tokenizer, Prompt(history=history, instructions="Act.")), FIVE)
    shown = FIVE[max(0, 4 - history) :]
    first = ("" if history >= 4 else f"{FIVE[0][0]}\n\n[...]\n\n") + shown[0][0]
    assert texts[-1] == render(tokenizer, [(f"Act.\n\n{first}", shown[0][1]), *shown[1:]])


def test_a_reply_without_a_command_is_answered_by_a_reminder():
    tokenizer = byte_level(CHATML)
    turns = [
        ("You see a desk 1.", "hm", ["look"], "ok"),
        ("Nothing happens.", "look", ["look"], "unparsable"),
        ("A desk.", "look", ["look"], "ok"),
        ("A desk.", "", ["look"], "not_applicable"),
    ]
    texts, _ = read(Chat(tokenizer, Prompt(reminder="Say a command.")), turns)
    assert (
        texts[-1].count("Say a command.") == 1 and "Nothing happens.\nSay a command.<|im_end|>" in texts[-1]
    )
    silent = [(seen, reply, commands, None) for seen, reply, commands, _ in turns]
    texts, _ = read(Chat(tokenizer, Prompt(reminder="Say a command.")), silent)
    assert texts[-1].count("Say a command.") == 1


def test_a_tool_is_called_as_the_template_writes_it():
    chat = Chat(byte_level(TOOLS), Prompt(form="tool"))
    text = chat.tokenizer.decode(chat.action_ids('say "hello"'))
    assert re.search(r'<tool_call>\{.*"name": "act".*\}</tool_call><\|im_end\|>$', text)
    assert chat.understand(chat.action_ids('say "hello"')).action == 'say "hello"'
    assert chat.understand(chat.action_ids("look"), ["look"]).action == "look"
    assert '"name": "act"' in chat.tokenizer.decode(chat.opening("You see a desk."))
    reading = chat.tokenizer.decode(chat.reply("You see a mug."))
    assert reading == "\n<|im_start|>tool\nYou see a mug.<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(ConfigurationError, match="no tools"):
        Chat(byte_level(CHATML), Prompt(form="tool"))
    with pytest.raises(ConfigurationError, match="needs a chat template"):
        Chat(byte_level(), Prompt(form="tool"))


def test_an_experts_command_is_written_in_the_form():
    for form, text in (
        ("react", "Action: look"),
        ("think", "<think></think><action>look</action>"),
        ("bare", "look"),
    ):
        chat = Chat(byte_level(CHATML), Prompt(form=form))
        assert chat.tokenizer.decode(chat.action_ids("look")) == f"{text}<|im_end|>"
    chat = Chat(byte_level(CHATML), Prompt(form="think"))
    said = "Thought: A desk.\nAction: look"
    assert chat.tokenizer.decode(chat.action_ids("look", said)).startswith(
        "<think>A desk.</think><action>look"
    )
    assert (
        Chat(byte_level(CHATML)).tokenizer.decode(Chat(byte_level(CHATML)).action_ids("look", said)[:-1])
        == said
    )


def test_replies_of_an_expression_keep_the_form_and_the_thought():
    form = r"Command: (?P<action>.+)"
    said = "I think so.\nCommand: look"
    plain = Chat(byte_level(CHATML), Prompt(form=form))
    assert plain.tokenizer.decode(plain.action_ids("look", said)) == f"{said}<|im_end|>"
    for other in (None, "look", "Thought: a desk.\nAction: look"):
        with pytest.raises(ConfigurationError, match="add writes"):
            plain.action_ids("look", other)
    with pytest.raises(ConfigurationError, match="add writes"):
        plain.encode(EPISODES[0])
    chat = Chat(byte_level(CHATML), Prompt(form=form, writes="{thought}\nCommand: {action}"))
    assert chat.tokenizer.decode(chat.action_ids("look", said)) == f"{said}<|im_end|>"
    for other, text in (
        (None, "Command: look"),
        ("look", "Command: look"),
        ("Thought: a desk.\nAction: look", "a desk.\nCommand: look"),
    ):
        assert chat.tokenizer.decode(chat.action_ids("look", other)) == f"{text}<|im_end|>"
    learnt = chat.encode(EPISODES[0])
    taught = [i for i, acts in zip(learnt.input_ids, learnt.action_mask, strict=True) if acts]
    assert chat.tokenizer.decode(taught).count("Command: ") == len(WINNING)


HEARD = (
    ("I should look around", None, ["look"]),
    ("look", "<think>native</think>\nThought: mine\nAction: Look.", ["look"]),
    ("look", "Thought: cut off, but\nAction: look", ["look"]),
)


def test_text_from_a_server_is_trained_on_as_it_stands():
    """Whatever the form makes of it; but what was noise is as the episode's model read it."""
    chat = Chat(byte_level(CHATML), Prompt(form="react"))
    turns = tuple(
        dataclasses.replace(turn, action=action, said=said, admissible_commands=tuple(commands))
        for turn, (action, said, commands) in zip(
            EPISODES[0].turns[:4], (*HEARD, ("look", None, ["look"])), strict=True
        )
    )
    metadata = {"text_only": True, "noise_turns": [3], "cut_turns": [2]}
    encoded = chat.encode(dataclasses.replace(EPISODES[0], turns=turns, metadata=metadata))
    taught = chat.tokenizer.decode(
        [i for i, acts in zip(encoded.input_ids, encoded.action_mask, strict=True) if acts]
    )
    end = "<|im_end|>"
    assert taught == f"{HEARD[0][0]}{end}{HEARD[1][1]}{end}{HEARD[2][1]}Action: look{end}"
    assert encoded.imitate_mask != encoded.action_mask


def test_a_call_that_a_server_gave_as_text_is_a_call():
    chat = Chat(byte_level(TOOLS), Prompt(form="tool"))
    said = '{"name": "act", "arguments": {"command": "Look"}}'
    assert chat.heard_ids(said, ["look"]) == chat.action_ids("look")
    assert chat.tokenizer.decode(chat.heard_ids("Well, look!", ["look"])) == "Well, look!<|im_end|>"


# --- days ----------------------------------------------------------------------------------------------------


def test_a_template_is_told_one_day_for_ever(monkeypatch):
    import transformers.utils.chat_template_utils as utils

    tokenizer = byte_level(DATED)
    before = Chat(tokenizer).fingerprint

    class Tomorrow(utils.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    monkeypatch.setattr(utils, "datetime", Tomorrow)
    later = byte_level(DATED)
    assert "06 May 2031" in later.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    assert Chat(later).fingerprint == before
    assert "Today is 26 July 2024." in later.decode(Chat(later).opening(""))
    assert "Today is 01 March 2030." in later.decode(Chat(later, Prompt(date="2030-03-01")).opening(""))


# --- sequences -----------------------------------------------------------------------------------------------


def sequences(encoded):
    return [
        encoded.input_ids[a:b]
        for a, b in zip(encoded.starts, [*encoded.starts[1:], len(encoded)], strict=True)
    ]


def thinking_episode():
    turns = [
        dataclasses.replace(turn, said=f"<think>\nturn {i}\n</think>\n\n{turn.action}")
        for i, turn in enumerate(EPISODES[0].turns)
    ]
    return dataclasses.replace(EPISODES[0], turns=tuple(turns))


def test_an_episode_of_a_growing_conversation_is_one_sequence(tokenizer):
    for chat in (Chat(tokenizer), Chat(byte_level(CHATML)), Chat(byte_level()), Chat(byte_level(QWEN3))):
        assert chat.encode(EPISODES[0]).starts == [0]
    assert Chat(byte_level(CHATML)).encode(thinking_episode()).starts == [0]


def test_a_turn_whose_past_has_changed_begins_a_sequence():
    chat = Chat(byte_level(QWEN3))
    encoded = chat.encode(thinking_episode())
    texts, _ = read(chat, [(turn.observation, turn.said) for turn in thinking_episode().turns])
    parts = sequences(encoded)
    assert len(parts) == len(WINNING)
    for part, text, turn in zip(parts, texts, thinking_episode().turns, strict=True):
        assert chat.tokenizer.decode(part) == text + turn.said + "<|im_end|>"
    actions = [i for i, action in enumerate(encoded.action_mask) if action]
    taught = chat.tokenizer.decode([encoded.input_ids[i] for i in actions])
    assert taught == "".join(f"{turn.said}<|im_end|>" for turn in thinking_episode().turns)
    assert sum(encoded.end_mask) == len(WINNING) and encoded.longest == max(map(len, parts))


def test_thoughts_are_told_apart_token_by_token():
    chat = Chat(byte_level(CHATML))
    encoded = chat.encode(thinking_episode())
    said = chat.tokenizer.decode([encoded.input_ids[i] for i in encoded.thoughts])
    rest = [i for i, action in enumerate(encoded.action_mask) if action and i not in set(encoded.thoughts)]
    for i, (command, _) in enumerate(WINNING):
        assert f"<think>\nturn {i}\n</think>" in said and command not in said
    acts = chat.tokenizer.decode([encoded.input_ids[i] for i in rest]).split("<|im_end|>")
    assert [act.strip() for act in acts[:-1]] == [command for command, _ in WINNING]
    assert chat.encode(EPISODES[0]).thoughts == []


def test_kept_tokens_are_the_common_beginning():
    chat = Chat(byte_level(CHATML), Prompt(history=1))
    conversation, before = Conversation(chat), []
    for observation, reply in FIVE:
        kept = conversation.read(observation)
        assert conversation.tokens[:kept] == before[:kept] and kept < len(conversation.tokens)
        assert (
            kept == len(before)
            or kept == len(conversation.tokens) - 1
            or conversation.tokens[kept] != before[kept]
        )
        conversation.say(chat.action_ids(reply), reply)
        before = list(conversation.tokens)


def test_sampled_ids_stay_as_they_are_in_a_growing_conversation():
    chat = Chat(byte_level(CHATML))
    odd = [*[chat.tokenizer.convert_tokens_to_ids(letter) for letter in "look"], chat.end_id]
    conversation = Conversation(chat)
    conversation.read(OPENING)
    conversation.say(odd, "look")
    conversation.read("You see a desk.")
    assert odd == conversation.tokens[len(chat.opening(OPENING)) :][: len(odd)]


# --- prompts and data ----------------------------------------------------------------------------------------


def test_the_fingerprint_sees_the_prompt():
    tokenizer = byte_level(CHATML)
    plain = Chat(tokenizer).fingerprint
    assert Chat(tokenizer, Prompt()).fingerprint == plain
    others = [
        Prompt(system="x"),
        Prompt(form="react"),
        Prompt(history=3),
        Prompt(reminder="x"),
        Prompt(date="2030-01-01"),
    ]
    assert len({plain, *(Chat(tokenizer, prompt).fingerprint for prompt in others)}) == len(others) + 1
    sampled = episode(tokenizer=Chat(tokenizer, others[0]).fingerprint)
    with pytest.raises(DatasetError, match="tokenizer and prompt"):
        Chat(tokenizer).encode(sampled)


def test_the_fingerprint_does_not_see_what_no_model_reads():
    """Nor are episodes refused that were sampled while it still saw the length."""
    tokenizer, form = byte_level(CHATML), r"Do (?P<action>.+)"
    told = Prompt(form=form, reply_tokens=64)
    chat = Chat(tokenizer, told)
    others = Prompt(form=form), Prompt(form=form, reply_tokens=8), Prompt(form=form, writes="Do {action}")
    assert {Chat(tokenizer, other).fingerprint for other in others} == {chat.fingerprint}
    assert Chat(tokenizer, Prompt(reply_tokens=8)).fingerprint == Chat(tokenizer).fingerprint
    before, after, between, last = chat._frames.pieces(2)
    vocabulary = sorted(tokenizer.get_vocab().items())
    parts = vocabulary, before, after, between, chat.end_id, last, told.digest
    earlier = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    assert earlier != chat.fingerprint
    turns = tuple(
        dataclasses.replace(turn, token_ids=tuple(chat.heard_ids(f"Do {turn.action}")))
        for turn in EPISODES[0].turns
    )
    for fingerprint in (earlier, chat.fingerprint):
        sampled = dataclasses.replace(EPISODES[0], turns=turns, tokenizer=fingerprint)
        assert sum(chat.encode(sampled).end_mask) == len(turns)
    with pytest.raises(DatasetError, match="tokenizer and prompt"):
        chat.encode(dataclasses.replace(EPISODES[0], turns=turns, tokenizer="0" * 16))


def test_fingerprints_of_0_1_0(tokenizer, plain_fingerprints):
    assert [Chat(t).fingerprint for t in (byte_level(CHATML), byte_level())] == plain_fingerprints


HEAD = "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n"


@pytest.fixture
def plain_fingerprints():
    """The formula of 0.1.0: vocabulary, what stands around messages, and the end of a turn."""
    found = []
    for tokenizer in (byte_level(CHATML), byte_level()):
        ids = [
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (
                (HEAD, "<|im_end|>\n<|im_start|>assistant\n", "\n<|im_start|>user\n")
                if tokenizer.chat_template
                else ("<|endoftext|>", "\n>", "")
            )
        ]  # fmt: skip
        end = tokenizer.eos_token_id if tokenizer.chat_template else tokenizer("\n")["input_ids"][-1]
        parts = (sorted(tokenizer.get_vocab().items()), *ids, end)
        found.append(hashlib.sha256(repr(parts).encode()).hexdigest()[:16])
    return found


def test_commands_that_the_prompt_shows_must_have_been_recorded():
    chat = Chat(byte_level(CHATML), Prompt(commands="\n{commands}"))
    with pytest.raises(DatasetError, match="admissible commands"):
        chat.encode(EPISODES[0])
    turns = [dataclasses.replace(turn, admissible_commands=("look", "sing")) for turn in EPISODES[0].turns]
    text = chat.tokenizer.decode(chat.encode(dataclasses.replace(EPISODES[0], turns=tuple(turns))).input_ids)
    assert text.count("\nlook, sing<|im_end|>") == len(turns)


def test_prompts_are_saved_and_read_again(tmp_path):
    prompt = Prompt("a", "b", (("c", "d"),), "\n{commands}", "last", 3, "react", "e", False, 99, "2030-01-02")
    prompt = dataclasses.replace(prompt, environments={"Sums-v0": Prompt(system="s"), "Rooms-v0": "gsm8k"})
    prompt = dataclasses.replace(prompt, form=r"Do (?P<action>.+)", writes="{thought}\nDo {action}")
    assert Prompt.from_dict(prompt.to_dict()) == prompt and not Prompt().to_dict()
    assert {field.name for field in dataclasses.fields(Prompt)} == set(prompt.to_dict())
    (tmp_path / "mine.toml").write_text(
        'system = "a"\nform = "json"\n[[examples]]\nmessage = "c"\nreply = "d"\n'
        '[environments.Sums-v0]\nsystem = "s"\n'
    )
    mine = Prompt.load(tmp_path / "mine.toml")
    elsewhere = Prompt(system="a", form="json", examples=(("c", "d"),))
    assert mine == dataclasses.replace(elsewhere, environments={"Sums-v0": Prompt(system="s")})
    assert mine.in_environment("Rooms-v0") == mine.in_environment(None) == elsewhere
    assert mine.in_environment("Sums-v0") == Prompt(system="s") and elsewhere.digest != mine.digest
    for name in list_prompts():
        shipped = Prompt.load(name)
        assert shipped.digest and Prompt.from_dict(shipped.to_dict()) == shipped


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"sistem": "x"}, "sistem"),
        ({"system": 3}, "system is text"),
        ({"commands": "all"}, r"\{commands\}"),
        ({"commands_shown": "some"}, "commands_shown"),
        ({"history": -1}, "history"),
        ({"history": True}, "history"),
        ({"form": "reactt"}, "form"),
        ({"thinking": "yes"}, "thinking"),
        ({"reply_tokens": 0}, "reply_tokens"),
        ({"date": "today"}, "date"),
        ({"examples": ["look"]}, "example"),
        ({"examples": [{"message": "x"}]}, "example"),
        ({"examples": 3}, "example"),
        ({"environments": 3}, "environments of a prompt are ids"),
        ({"environments": {"A": {"environments": {"B": {"system": "x"}}}}}, "no environments of its own"),
    ],
)
def test_what_is_no_prompt_is_named(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        Prompt.from_dict(wrong)


def test_files_that_are_no_prompts(tmp_path):
    with pytest.raises(ConfigurationError, match="alfworld-react"):
        Prompt.load("nowhere")
    for name, content in (("a", b"system = "), ("b", b"\xff"), ("c", b"history = 'x'")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=str(tmp_path / name)):
            Prompt.load(tmp_path / name)


# --- published templates --------------------------------------------------------------------------------------

TEMPLATES = sorted((DATA / "templates").glob("*.jinja"))

REFUSED = {
    "CohereForAI-c4ai-command-r-plus-tool_use": "needs tools",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "needs tools",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "needs tools",
    "fireworks-ai-llama-3-firefunction-v2": "needs functions",
}
"""Templates that render nothing without what their models' own servers pass."""


ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|END_OF_TURN_TOKEN|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<end_of_turn>",
    "<|end|>",
    "</s>",
)


def published(path):
    """A tokenizer with a published template, whose control tokens are in the vocabulary."""
    template = path.read_text()
    controls = re.findall(
        "<\\|[^|>\n]{1,40}\\|>|<\uff5c[^\uff5c>\n]{1,40}\uff5c>|<(?:start|end)_of_turn>|\\[/?INST\\]",
        template,
    )
    tokenizer = byte_level(template)
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": next(end for end in ENDS if end in [*controls, "</s>"])}
    )
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(controls))})
    return tokenizer


def render_calls(tokenizer, turns):
    """The turns as calls of the tool and their answers, by the template alone."""
    for write in (dict, json.dumps):  # templates take arguments as a mapping, or as text
        messages = [{"role": "user", "content": turns[0][0]}]
        for (_, reply), (answer, _) in pairwise(turns):
            call = {"name": "act", "arguments": write({"command": reply})}
            calls = [{"type": "function", "id": "call00000", "function": call}]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            told = {"role": "tool", "name": "act", "tool_call_id": "call00000"}
            messages.append({**told, "content": answer})
        with suppress(TypeError, ValueError, UndefinedError, TemplateError):
            return tokenizer.apply_chat_template(
                messages, tools=[TOOL], tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
            )
    raise AssertionError("the template writes no calls")


@pytest.mark.skipif(not TEMPLATES, reason="published chat templates are not beside the checkout")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
@pytest.mark.parametrize("turns", [FIVE, THINKING], ids=["plain", "thinking"])
def test_readings_of_published_templates(path, turns):
    tokenizer = published(path)
    if path.stem in REFUSED:
        with pytest.raises(CheckpointError, match="cannot be rendered"):
            Chat(tokenizer)
        return
    chat = Chat(tokenizer)
    texts, _ = read(chat, turns)
    for n, text in enumerate(texts, start=1):
        assert text == render(tokenizer, turns[:n], date_string="26 Jul 2024")


NO_CALLS = {
    "fireworks-ai-llama-3-firefunction-v2": "cannot be rendered",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "no tools",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "no tools",
    "google-gemma-2-2b-it": "no tools",
    "microsoft-Phi-3.5-mini-instruct": "no tools",
    "llama-cpp-deepseek-r1": "cannot be rendered",  # writes a call's arguments with +, as text
    "mistralai-Mistral-Nemo-Instruct-2407": "cannot be rendered",  # wants a call before every answer of a tool
}
"""Templates for which the form is refused."""

SHOWN_OTHERWISE = {
    # where no call precedes, the template asks for one at its end; calls are written as JSON instead of as it does
    "CohereForAI-c4ai-command-r-plus-tool_use": (
        (r'(?s)\nAction:\n```json\n.*?"command": ("[^"]*").*?```\n(?=<\|START)', r"call of \1"),
        (r'\{"name": "act", "arguments": \{"command": ("[^"]*")\}\}<\|END_OF_TURN_TOKEN\|>', r"call of \1"),
    ),
    # a call has no <|START_RESPONSE|> before it once it is an earlier one, and its answer counts the calls
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": (
        (r"<\|START_RESPONSE\|>(?=<\|START_THINKING)", ""),
        (r'"tool_call_id": "\d*"', '"tool_call_id": ""'),
    ),
    # a call ends with <|eom_id|>, and the agent's reply with the end of other turns, too
    "meetkai-functionary-medium-v3.1": ((r"<\|eom_id\|>(<\|eot_id\|>)?", "<|eom_id|>"),),
    # a reply names whom it is for; the agent's is taken for one to all, and names the tool after that
    "meetkai-functionary-medium-v3.2": ((r">>>all\n(?=act\n)", ">>>"),),
}
"""Where earlier calls are read otherwise than the template writes them: what is taken out before the comparison."""


@pytest.mark.skipif(not TEMPLATES, reason="published chat templates are not beside the checkout")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_calls_of_published_templates(path):
    tokenizer, told = published(path), Prompt(form="tool")
    if path.stem in NO_CALLS:
        with pytest.raises((CheckpointError, ConfigurationError), match=NO_CALLS[path.stem]):
            Chat(tokenizer, told)
        return
    texts, _ = read(Chat(tokenizer, told), FIVE)
    wholes = [render_calls(tokenizer, FIVE[:n]) for n in range(1, len(FIVE) + 1)]
    assert (texts == wholes) is (path.stem not in SHOWN_OTHERWISE)
    for pattern, instead in SHOWN_OTHERWISE.get(path.stem, ()):
        texts, wholes = ([re.sub(pattern, instead, text) for text in side] for side in (texts, wholes))
    assert texts == wholes


@pytest.mark.skipif(not TEMPLATES, reason="published chat templates are not beside the checkout")
@pytest.mark.parametrize(
    "path", [path for path in TEMPLATES if "date_string" in path.read_text()], ids=lambda p: p.stem
)
def test_published_templates_keep_the_day(path):
    tokenizer = published(path)
    whole = render(tokenizer, FIVE, date_string="01 Mar 2030")
    tokenizer.chat_template = pin_day(tokenizer.chat_template, date(2030, 3, 1))
    assert render(tokenizer, FIVE) == whole
    assert render(tokenizer, FIVE, date_string="26 Jul 2024") == whole.replace("01 Mar 2030", "26 Jul 2024")
    again = pin_day(tokenizer.chat_template, date(2031, 4, 5))
    assert again.count("macro strftime_now") == 1 and "05 Apr 2031" in again


def test_a_server_is_told_the_commands_of_the_newest_message_alone():
    chat = Chat(byte_level(CHATML), Prompt(commands="\nYou can: {commands}.", commands_shown="last"))
    conversation = Conversation(chat)
    conversation.read("A door.", ["open door"])
    conversation.say(chat.action_ids("open door"), "open door")
    conversation.read("A hall.", ["look", "go on"])
    assert [one["content"] for one in conversation.messages()] == [
        *("A door.", "open door"),
        "A hall.\nYou can: look, go on.",
    ]
