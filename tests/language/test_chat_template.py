"""A chat template keeps within time, memory and size, or is refused in a sentence."""

import os
import time
from datetime import date as Date
from pathlib import Path

import pytest
from chat_templates import CHATML, byte_level

from oreo_agents.errors import CheckpointError
from oreo_agents.language import chat_template
from oreo_agents.language.chat import Chat
from oreo_agents.language.chat_template import render_chat

MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "go"}]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def test_what_comes_out_is_transformers_own_text():
    tokenizer = byte_level(CHATML)
    own = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert render_chat(tokenizer, MESSAGES) == own and "hello" in own


@forks
@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{{ '%10000000000d' % 1 }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'a' * 5000000 }}",
    ],
    ids=["loops", "product", "format", "doubling", "power", "long"],
)
def test_a_template_without_end_is_refused(monkeypatch, template):
    monkeypatch.setattr(chat_template, "SECONDS", 2)
    start = time.monotonic()
    with pytest.raises(CheckpointError, match=r"chat template .*(more than|MemoryError)"):
        Chat(byte_level(template + CHATML))
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ raise_exception('never') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "no message at all",
        "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ messages[99].content.x.y }}",
    ],
)
def test_a_template_that_is_none_is_one_sentence(template):
    with pytest.raises(CheckpointError, match="chat template"):
        Chat(byte_level(template))


@forks
def test_a_text_is_remembered_with_all_that_it_is_made_of(monkeypatch):
    made, call = [], chat_template._call_in_child
    monkeypatch.setattr(chat_template, "_call_in_child", lambda work: made.append(work) or call(work))
    monkeypatch.setattr(chat_template, "_RENDERED", {})
    template = "{{ strftime_now('%d') }}{{ bos_token }}{{ tone }}" + CHATML
    first, again = (render_chat(byte_level(template), MESSAGES) for _ in range(2))
    assert first == again and len(made) == 1
    other = byte_level(template)
    other.bos_token = "<|im_start|>"
    others = [
        render_chat(other, MESSAGES),
        render_chat(byte_level(template + " "), MESSAGES),
        render_chat(byte_level(template), MESSAGES[:1]),
        render_chat(byte_level(template), MESSAGES, day=Date(2024, 1, 1)),
        render_chat(byte_level(template), MESSAGES, generate=False),
        render_chat(byte_level(template), MESSAGES, tone="kind"),
    ]
    assert len({first, *others}) == 7 == len(made)


@forks
def test_the_child_leaves_nothing_behind():
    descriptors, children = list_open()
    for number in range(3):
        render_chat(
            byte_level(CHATML), [*MESSAGES, {"role": "user", "content": f"not yet rendered {number}"}]
        )
    assert len(list_open()[0]) <= len(descriptors) + 1
    assert list_open()[1] <= children


def list_open():
    """This process's descriptors and children, where the system says; other tests may have left some."""
    if not os.path.isdir("/proc/self/task"):
        return set(), set()
    children = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
    return set(os.listdir("/proc/self/fd")), {child for some in children for child in some}
