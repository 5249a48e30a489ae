"""A chat template with a prompt in it, so that whoever renders it has a model read what its agent reads.

Knows nothing about models.
"""

from __future__ import annotations

import json
import re
from datetime import date as Date
from typing import Any

from oreo_agents.errors import ConfigurationError
from oreo_agents.language.chat import Chat, Conversation
from oreo_agents.language.frames import LineFrames, find_frames
from oreo_agents.language.learnt_tokenizer import ACT
from oreo_agents.language.prompt import Prompt

_PROBE = (
    ("You are in a room. You see a desk 1, and a drawer 2.", "go to desk 1"),
    ("You arrive at desk 1. On the desk 1, you see a mug 3.", "take mug 3 from desk 1"),
    ("You pick up the mug 3 from the desk 1.", ""),
)
"""A conversation on which the template is compared with the agent."""


_DAY, _END = "{#- The day, unless date_string is given. -#}", "{%- endif %}\n"
"""Around what :func:`pin_day` writes; the line break goes with the tag, so that nothing of the template's is lost."""

_DIRECTIVES = [f"%{letter}" for letter in "aAbBcCdDeFfGgHhIjklmMnpPrRSTuUVwWxXyYzZ"]
_FLAGGED = re.compile(r"(?<!\{)%[-_0^#][A-Za-z]")


def pin_day(template: str, day: Date) -> str:
    """A chat template that tells a day of its own, where whoever renders it gives no ``date_string``; one that tells
    none stays as it is.

    ``strftime_now`` becomes a macro that writes that day, at midnight, into the format it is given. A day that was
    pinned before is replaced.
    """
    template = _unpin_day(template)
    if "date_string" not in template and "strftime_now" not in template:
        return template
    told = f"{{%- set date_string = {_as_literal(day.strftime('%d %b %Y'))} %}}"
    pairs = [(name, day.strftime(name)) for name in [*sorted({*_FLAGGED.findall(template)}), *_DIRECTIVES]]
    filters = [("%%", "\0"), *((name, text) for name, text in pairs if text != name), ("\0", "%")]
    written = "".join(f" | replace({_as_literal(one)}, {_as_literal(other)})" for one, other in filters)
    macro = f"{{%- macro strftime_now(format) -%}}{{{{- format{written} -}}}}{{%- endmacro %}}"
    return f"{_DAY}{{%- if date_string is not defined %}}{told}{macro}{_END}{template}"


def _unpin_day(template: str) -> str:
    return template.partition(_END)[2] if template.startswith(_DAY) else template


def write_template(tokenizer: Any, prompt: Prompt) -> str:
    """A chat template that renders messages as :class:`oreo_agents.language.chat.Chat` reads them under a prompt.

    Admissible commands, a short history and the reminder depend on the game: whoever asks adds them.

    Raises:
        ConfigurationError: a template cannot say what the prompt does, or has other tokens than the agent reads.
    """
    if prompt.form == "tool":
        raise ConfigurationError(
            "replies of the form tool are calls, which only their caller can offer: play the agent here"
        )
    frames = find_frames(tokenizer, prompt)
    lines = isinstance(frames, LineFrames)
    template = (
        _write_lines(tokenizer, prompt) if lines else _wrap_template(tokenizer, prompt, frames.preamble)
    )
    _require_alike(tokenizer, template, prompt)
    return template


def _write_lines(tokenizer: Any, prompt: Prompt) -> str:
    """For a tokenizer without a template: what is read, a mark, what is said, an end."""
    learnt = ACT in tokenizer.get_vocab()
    mark, end = (ACT, tokenizer.eos_token) if learnt else ("\n>", "\n")
    return (
        _set_messages(prompt, prompt.system or "")
        + f"{{{{- {_as_literal(tokenizer.bos_token or '')} -}}}}{{%- for message in messages -%}}"
        + f"{{{{- message['content'] + ({_as_literal(end)} if message['role'] == 'assistant' "
        + f"else {_as_literal(mark)}) -}}}}"
        + "{%- endfor -%}"
    )


def _wrap_template(tokenizer: Any, prompt: Prompt, preamble: str) -> str:
    """The tokenizer's own template, with the prompt's messages put before those that it is given."""
    told = (
        "" if prompt.thinking is None else f"{{%- set enable_thinking = {str(prompt.thinking).lower()} -%}}"
    )
    told += _set_messages(prompt, preamble, None if preamble else prompt.system)
    return pin_day(told + _unpin_day(str(tokenizer.chat_template)), Date.fromisoformat(prompt.date))


def _set_messages(prompt: Prompt, preamble: str, system: str | None = None) -> str:
    """Jinja that puts the prompt's messages before those that are given, and its text before the first."""
    before = "\n\n".join(filter(None, (preamble, prompt.instructions)))
    head = [] if system is None else [{"role": "system", "content": system}]
    for i, (message, reply) in enumerate(prompt.examples):
        text = "\n\n".join(filter(None, (before, message))) if i == 0 else message
        head += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    first = "messages[:1]"
    if before and not prompt.examples:
        first = f"[{{'role': 'user', 'content': {_as_literal(before)} + '\\n\\n' + messages[0]['content']}}]"
    listed = ", ".join(
        f"{{'role': {_as_literal(m['role'])}, 'content': {_as_literal(m['content'])}}}" for m in head
    )
    return f"{{%- set messages = [{listed}] + {first} + messages[1:] -%}}" if head or before else ""


def _as_literal(text: str) -> str:
    """A text as Jinja writes it, which is as JSON does, but for braces that would open a block."""
    return json.dumps(text, ensure_ascii=False).replace("{", "\\u007b").replace("}", "\\u007d")


def _require_alike(tokenizer: Any, template: str, prompt: Prompt) -> None:
    """Compare the template's tokens with the agent's, on a conversation that both can show."""
    commands = ("look", "inventory") if prompt.commands else None
    only_first = prompt.history is not None or (commands and prompt.commands_shown == "last")
    chat, messages = Chat(tokenizer, prompt), list[dict[str, str]]()
    conversation = Conversation(chat)
    for observation, reply in _PROBE[:1] if only_first else _PROBE:
        conversation.read(observation, commands)
        messages.append({"role": "user", "content": prompt.message(observation, commands)})
        if reply and not only_first:
            written = prompt.write_reply(reply) if prompt.can_write else reply
            ids = chat.heard_ids(written)
            conversation.say(ids, reply)
            said = str(tokenizer.decode(ids[:-1], skip_special_tokens=True))
            messages.append({"role": "assistant", "content": said})
    read = tokenizer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    if list(read) != conversation.tokens:
        raise ConfigurationError(
            "this tokenizer reads a conversation's text with other tokens than its agent does, so that others would "
            "play it otherwise: play it here, or with oreo-agents serve"
        )
