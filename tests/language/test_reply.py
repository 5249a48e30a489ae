"""From what a model said to what is done: forgiving where the meaning is certain, never guessing."""

import json
import time

import pytest

from oreo_agents.errors import ConfigurationError
from oreo_agents.language.prompt import Prompt
from oreo_agents.language.reply import FORMS, check_form, match_command, read_reply, write_reply

HERE = "go to desk 1"
COMMANDS = [
    "examine desk 1",
    HERE,
    "go to desk 11",
    "go to shelf 2",
    "inventory",
    "look",
    "put mug 1 in/on desk 1",
    "take mug 1 from desk 1",
]

UNDERSTOOD = [
    "@",
    "  @ \n",
    "@.",
    "@!",
    "GO TO DESK 1",
    "Go To Desk 1.",
    "goto desk 1",
    "go to  desk1",
    "go_to desk_1",
    "“@”",
    "'@'",
    "`@`",
    "**@**",
    "> @",
    "- @",
    "1. @",
    "[@]",
    "```\n@\n```",
    "Action: @",
    "action: @.",
    "ACTION: GO TO DESK 1!",
    "Action 1: @",
    "**Action:** @",
    "**Action**: `@`",
    "Action: ```\n@\n```",
    "Action:\n@",
    "Act: @",
    "Command: @",
    "My next action is: @",
    "The best action: @",
    "Thought: I should look there first.\nAction: @",
    "Thought: not look.\n\nAction: @\n",
    "Thought: a\nAction: @\nObservation: You see a mug.\nThought: b\nAction: look",
    "Action: go to\nAction Input: desk 1",
    'Action: {"action": "@"}',
    "<think>\nI need a mug, look at the desk.\n</think>\n\n@",
    "<think>look\n</think>Action: @",
    "the rest of a thought</think>\n@",
    "<think>look</think><action>@</action>",
    "<action> @ </action>",
    "<answer>@</answer>",
    "I will look around first.\n@",
    "@\nNothing else.",
    "@\n@",
    '{"action": "@"}',
    '{"thought": "a {b}", "action": "@", "sure": 1}',
    'So:\n```json\n{"thought": "desk", "action": "@"}\n```',
    '{"action": {"name": "go_to", "arguments": {"place": "desk 1"}}}',
    '<tool_call>\n{"name": "act", "arguments": {"command": "@"}}\n</tool_call>',
    '[{"name": "act", "arguments": "{\\"command\\": \\"@\\"}"}]',
    '{"name": "go_to", "parameters": {"place": "desk 1"}}',
    '{"type": "function", "function": {"name": "act", "arguments": {"command": "@"}}}',
    'act("@")',
    "[act(command='@')]",
    'go_to("desk 1")',
]

NOT_CERTAIN = [
    "",
    "think: first I need to find a mug",
    "I am not sure what to do.",
    "Thought: maybe the desk or the shelf",
    f"Thought: {HERE}",
    f"I should not {HERE}.",
    f"{HERE} or go to shelf 2",
    f"{HERE} and look",
    f"{HERE}\ngo to shelf 2",
    f"1. {HERE}\n2. look",
    f"Action: {HERE}\nAction: look",
    f"<think>{HERE}",
    f"<think>\n{HERE}\n",
    f"The options are `{HERE}` and `look`.",
    "Should I look?",
    "desk 1",
    "go to",
    "go to desk 1 1",
    "go to desk -1",
    "Action:",
    "{}",
    '{"action": null}',
    '{"action": ["look", "inventory"]}',
    "{" * 60_000,
    "[" * 60_000,
    "<action></action>",
]


@pytest.mark.parametrize("said", UNDERSTOOD)
def test_what_a_person_would_understand(said):
    said = said.replace("@", HERE)
    reply = read_reply(said, COMMANDS)
    assert (reply.action, reply.named, reply.said) == (HERE, True, said.strip())


@pytest.mark.parametrize("said", NOT_CERTAIN, ids=lambda said: said[:30])
def test_what_names_no_certain_command_does_nothing(said):
    reply = read_reply(said, COMMANDS)
    assert not reply.named and reply.action not in COMMANDS
    assert reply.action == " ".join(said.split())


def test_an_action_that_is_named_but_not_listed_is_the_environments_business():
    assert (
        read_reply("Thought: a\nAction: take cup 9 from desk 1", COMMANDS).action == "take cup 9 from desk 1"
    )
    assert read_reply("<action>sing</action>", COMMANDS).action == "sing"
    assert read_reply("take cup 9 from desk 1", COMMANDS) == read_reply("  take cup 9 from desk 1", COMMANDS)


def test_a_slash_offers_words_to_choose_among():
    for word in ("in/on", "in", "on", "In"):
        assert match_command(f"put mug 1 {word} desk 1.", COMMANDS) == "put mug 1 in/on desk 1"
    assert match_command("put mug 1 at desk 1", COMMANDS) is None
    assert match_command("take it", ["take it/them", "take it"]) == "take it"


def test_commands_that_are_told_apart_by_case_alone_are_not_mended():
    assert match_command("A", ["a", "A"]) == "A"
    assert match_command("LOOK", ["Look", "look"]) is None


def test_digits_and_signs_keep_apart():
    assert match_command("add 1 1", ["add 11", "add 1 1"]) == "add 1 1"
    assert match_command("ADD 1 1", ["add 11"]) is None
    assert match_command("move -5", ["move 5"]) is None
    assert match_command("move 1.5", ["move 15"]) is None


@pytest.mark.parametrize(
    "said",
    ["f(x)", "sqrt(16)", "**18**", "Answer: 18", "The answer is 18.", "(3 + 4) * 2 = 14", "{1, 2, 3}", "#### 18",
     "Next step: add 3", "5!", '"18"', "<answer>\\boxed{18}</answer>", "1. add 3", "x > 3"],
)  # fmt: skip
def test_free_text_is_left_as_it_is(said):
    assert read_reply(said).action == said and read_reply(said).named


def test_free_text_loses_explicit_wrappers_only():
    assert read_reply("Thought: multiply\nAction: 3 * 6 = 18").action == "3 * 6 = 18"
    assert read_reply("<think>multiply</think>\n3 * 6\n= 18").action == "3 * 6 = 18"
    assert read_reply('{"thought": "multiply", "action": "3 * 6 = 18"}').action == "3 * 6 = 18"
    assert read_reply("<think>x</think><action>3 * 6 = 18</action>").action == "3 * 6 = 18"
    assert not read_reply("<think>3 * 6 = 18").named
    assert read_reply("Action: 3 * 6", form="bare").action == "Action: 3 * 6"


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"tool"}))
@pytest.mark.parametrize("commands", [COMMANDS, None])
def test_what_is_written_is_read_again(form, commands):
    said = write_reply(HERE, "the desk is near", form)
    reply = read_reply(said, commands, form)
    if commands or form not in ("any", "bare"):
        assert reply.action == HERE
    if form not in ("bare", "any"):
        assert reply.thought.strip('"} ,') == "the desk is near"


def test_a_form_of_ones_own():
    form = r"I DO (?P<action>.+)"
    assert read_reply("Well. I DO Go to desk 1.", COMMANDS, form).action == HERE
    assert read_reply("Well. I DO sing", COMMANDS, form).action == "sing"
    assert not read_reply("Action: go to desk 1", COMMANDS, form).named
    for wrong in ("(", "no group", "reactt"):
        with pytest.raises(ConfigurationError, match="form"):
            check_form(wrong)


def test_a_form_of_ones_own_is_written_as_the_prompt_says():
    told = Prompt(form=r"Command: (?P<action>.+)", writes="<t>{thought}</t>\nCommand: {action}")
    assert told.write_reply("look") == "Command: look"
    said = told.write_reply("look", "a {action}")
    assert said == "<t>a {action}</t>\nCommand: look" and told.takes_thoughts
    assert told.find_thought(read_reply(said, ["look"], told.form)) == "a {action}"
    assert told.find_thought(read_reply("<t>it breaks", ["look"], told.form)) == "it breaks"
    with pytest.raises(ConfigurationError, match="does not read 'look'"):
        told.write_reply("look", "Command: wait")
    with pytest.raises(ConfigurationError, match="add writes"):
        Prompt(form=told.form).write_reply("look")
    assert Prompt(form=r"= (?P<action>\d+)", writes="= {action}").write_reply("7") == "= 7"


@pytest.mark.parametrize(
    ("form", "writes", "why"),
    [
        ("react", "Action: {action}", "a form of your own"),
        (r"Do (?P<action>.+)", "Do it", "once"),
        (r"Do (?P<action>.+)", "Do {action}: {thought}", "before it"),
        (r"Do (?P<action>.+)", "Act: {action}", "does not read"),
        (r"(?s)Do (?P<action>.+)", "Do {action}\nnow", "does not read"),
    ],
)
def test_what_is_not_read_again_is_no_way_to_write(form, writes, why):
    with pytest.raises(ConfigurationError, match=why):
        Prompt(form=form, writes=writes)


def test_the_thought_is_what_comes_before():
    for said, thought in (
        ("Thought: the desk.\nAction: look", "the desk."),
        ("<think>the desk.</think>look", "the desk."),
        ('{"thought": "the desk.", "action": "look"}', "the desk."),
        ("The desk.\nlook", "The desk."),
        ("look", ""),
    ):
        assert read_reply(said, COMMANDS).thought.strip('", ') == thought


def test_a_reply_of_any_kind_is_read_in_bounded_time():
    pieces = [
        "Action: ",
        "<think>",
        "</think>",
        "{",
        '"action": ',
        "\n",
        "`",
        "**",
        "Action Input:",
        "go to ",
        "- ",
    ]
    began = time.process_time()
    for piece in pieces:
        read_reply(piece * 20_000, COMMANDS)
        read_reply(piece * 20_000)
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "value",
    [
        1,
        "sing",
        None,
        [],
        [1],
        {"name": 3, "arguments": {}},
        {"function": {"arguments": 3}},
        {"action": {"action": {"action": 1}}},
        {"name": "act", "arguments": "{"},
        {"function": "act"},
    ],
)
def test_json_of_any_shape_is_no_error(value):
    assert read_reply(json.dumps(value), COMMANDS).action not in COMMANDS
