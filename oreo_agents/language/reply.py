"""From what a model said to what it does, and back: the forms in which a reply names an action.

Forgiving where the meaning is certain, never guessing. What is around a command (a thought, a label, quotation marks,
a tool call) is taken off in any form; case, spacing and punctuation are mended only where exactly one of the listed
commands is meant. A reply that names several commands, or one in passing, names none. Where no commands are listed, as
in mathematics, every word may matter, so nothing but an explicit wrapper is taken off.

Knows nothing about tokens or models.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from oreo_agents.errors import ConfigurationError
from oreo_agents.trajectory import Turn

FORMS = {
    "any": "whatever it is",
    "bare": "the command alone",
    "react": "Thought: ... Action: ... (ReAct, ETO, the paper)",
    "think": "<think>...</think><action>...</action> (the online-RL frameworks)",
    "json": '{"thought": "...", "action": "..."}',
    "tool": "a call of the tool act(command), as the chat template writes it",
}
"""Forms of a reply; a regular expression with a group ``action`` is one, too."""

TOOL = {
    "type": "function",
    "function": {
        "name": "act",
        "description": "Do something in the environment, and see what comes of it.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string", "description": "the command"}},
            "required": ["command"],
        },
    },
}
"""The one tool of the form ``tool``."""

WITH_THOUGHTS = ("react", "think", "json")
"""Forms that have a place for a thought before the action."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, and what it comes to."""

    said: str
    action: str
    """What is done, on one line: the command that was named, else the reply as it stands."""
    named: bool = True
    """Whether the reply names an action for certain. Without listed commands any reply without an unfinished thought
    does."""
    begin: int = 0
    """Where in ``said`` the part begins that names the action; the thought is before it."""

    @property
    def thought(self) -> str:
        """What was said before the action, without its labels and tags."""
        return _LABELS_OF_THOUGHTS.sub("", _THINK_TAG.sub(" ", self.said[: self.begin])).strip(" \n\t{,")


def read_reply(text: str, commands: Sequence[str] | None = None, form: str = "any") -> Reply:
    """What a reply comes to.

    Args:
        text: the whole reply.
        commands: the admissible ones; None where actions are free text.
        form: one of :data:`FORMS`, which is looked for first, or a regular expression with a group ``action``. With
            listed commands a reply in another form is understood all the same, but for an expression of one's own.
    """
    said = text.strip()
    if commands is not None and said in commands:
        return Reply(said, said)
    if form not in FORMS:
        found = re.search(form, said)
        return _do_named(said, found.group("action"), found.start(), commands) if found else _do_nothing(said)
    begin = _skip_thought(said)
    if begin is None:
        return _do_nothing(said, len(said))
    reply = _read_rest(said[begin:], commands, form)
    whole = reply.named or not begin
    return replace(
        reply, said=said, action=reply.action if whole else _join_lines(said), begin=begin + reply.begin
    )


def _read_rest(said: str, commands: Sequence[str] | None, form: str) -> Reply:
    """What comes after a thought in tags."""
    if commands is None:
        for finder in _FREE if form == "any" else _EXPLICIT[form]:
            if places := list(finder(said, 0)):
                return _do_named(said, places[0].text, places[0].begin, None)
        return Reply(said, _join_lines(said), bool(said.strip()))
    for finder in dict.fromkeys([*_EXPLICIT[form], *_EXPLICIT["any"]]):
        if places := list(finder(said, 0)):
            return _choose_place(said, places, commands)
    return _match_lines(said, commands)


def write_reply(action: str, thought: str = "", form: str = "any") -> str:
    """A reply in a form of :data:`FORMS` that names the action; for ``tool``, what the template writes is the chat's
    business.
    """
    match form:
        case "react":
            return f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"
        case "think":
            return f"<think>{thought}</think><action>{action}</action>"
        case "json":
            said = {"thought": thought, "action": action} if thought else {"action": action}
            return json.dumps(said, ensure_ascii=False)
        case _:
            return f"{thought}\n{action}" if thought and form == "any" else action


def find_thought(reply: Reply, form: str) -> str:
    """What a reply in a form thinks before it acts, as :func:`write_reply` takes it; all of it where it names nothing.

    >>> find_thought(read_reply("Thought: I see.\\nAction: look", ["look"], "react"), "react")
    'I see.'
    """
    thought = reply.thought if reply.named else replace(reply, begin=len(reply.said)).thought
    if form == "json" and thought.startswith('"'):
        try:
            return str(_DECODER.raw_decode(thought)[0])
        except ValueError:  # it breaks off
            return thought.removeprefix('"')
    return thought


def read_thought(turn: Turn) -> str:
    """What an agent said before it named its action; all that it said where it named none."""
    if turn.said is None:
        return ""
    reply = read_reply(turn.said, turn.admissible_commands)
    if reply.named and reply.action == turn.action:
        return reply.thought
    before, found, _ = turn.said.rpartition(turn.action)
    return before.strip() if found and turn.action else turn.said


def check_form(form: str) -> None:
    """Raises:
    ConfigurationError: neither a form's name nor a regular expression with a group ``action``.
    """
    if form in FORMS:
        return
    try:
        groups: Mapping[str, int] = re.compile(form).groupindex
    except re.error as error:
        groups, why = {}, f" ({error})"
    else:
        why = ""
    if "action" not in groups:
        raise ConfigurationError(
            f"form {form!r} is neither {', '.join(FORMS)} nor a regular expression with a group (?P<action>...){why}"
        )


# --- where a reply names something -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _NamedPart:
    text: str
    begin: int
    spellings: tuple[str, ...] = ()
    """Other readings of the same, such as a tool's name with its arguments."""


_Finder = Callable[[str, int], Iterator[_NamedPart]]

_THINK_TAG = re.compile(r"</?(?:think|thinking|thought|reasoning|reason)>", re.I)
_LABELS_OF_THOUGHTS = re.compile(
    r"^\W*(?:thoughts?|think|reasoning|reason)\W*[::]|^```\w*|\"thought\"\s*:", re.I | re.M
)
_OPEN = re.compile(r"<(think|thinking|thought|reasoning|reason)>", re.I)
_CLOSE = re.compile(r"</(?:think|thinking|thought|reasoning|reason)>", re.I)
_TAGS = re.compile(r"<(action|answer|command|act)>(.*?)(?:</\1>|\Z)", re.I | re.S)
_ACTION_TAG = re.compile(r"<(action)>(.*?)(?:</\1>|\Z)", re.I | re.S)
_LABEL = re.compile(
    r"^[ \t>*_#`\-]*(?:\d+[.)]\s*)?(?:(?:so|then|the|my|next|final|chosen|best|first)\s+)*"
    r"(?:action|act|command)(?:\s+\d+|\s+to\s+take)?(?:\s+is)?[ \t*_`]*(?:[::]|\s+-\s)[ \t*_]*(.*)$",
    re.I | re.M,
)
_REACT = re.compile(r"^[ \t>*_#]*Action(?: \d+)?[ \t*_]*:[ \t*_]*(.*)$", re.I | re.M)
_INPUT = re.compile(r"^\W*action[ _]input\W*[::][ \t]*(.*)$", re.I | re.M)
_ANSWER = re.compile(r"^\W*(?:observation|environment|user)\W*\d*\W*[::]", re.I | re.M)
_CALL = re.compile(r"\[?\s*([A-Za-z_]\w*)\s*\(\s*(.*?)\s*\)\s*\]?[.;]?", re.S)
_STRINGS = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")


def _skip_thought(said: str) -> int | None:
    """Where a leading thought in tags has ended; None if it has not."""
    begin = max((found.end() for found in _CLOSE.finditer(said)), default=0)
    return None if _OPEN.search(said, begin) else begin


def _find_tags(said: str, begin: int) -> Iterator[_NamedPart]:
    return (_NamedPart(found[2], found.start()) for found in _TAGS.finditer(said, begin))


def _find_action_tag(said: str, begin: int) -> Iterator[_NamedPart]:
    return (_NamedPart(found[2], found.start()) for found in _ACTION_TAG.finditer(said, begin))


def _find_labels(said: str, begin: int) -> Iterator[_NamedPart]:
    return _find_labelled(_LABEL, said, begin)


def _find_react(said: str, begin: int) -> Iterator[_NamedPart]:
    return _find_labelled(_REACT, said, begin)


def _find_labelled(label: re.Pattern[str], said: str, begin: int) -> Iterator[_NamedPart]:
    """What stands after a label, or on the next line; an answer that the model has made up ends the reply."""
    first = label.search(said, begin)
    answer = _ANSWER.search(said, first.end()) if first else None
    end = answer.start() if answer else len(said)
    for found in label.finditer(said, begin, end):
        below = said[found.end() : end].lstrip()
        text = found[1] if found[1].strip(" `*_") else below.partition("\n")[0]
        if text.startswith("```"):
            text = below.removeprefix("```").split("```")[0].strip().rpartition("\n")[2]
        given = _INPUT.search(said, found.end(), end)
        spellings = (f"{text} {_read_input(given[1])}",) if given else ()
        if text.lstrip().startswith("{") and (places := list(_find_json(said, found.start(1)))):
            yield from places[:1]
        else:
            yield _NamedPart(text, found.start(), spellings)


def _read_input(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return " ".join(map(str, value.values())) if isinstance(value, dict) else str(value)


_DECODER = json.JSONDecoder(strict=False)


def _find_json(said: str, begin: int) -> Iterator[_NamedPart]:
    """Objects with an action, or with a tool's name and its arguments."""
    at, tries = said.find("{", begin), 8
    while at >= 0 and tries:
        try:
            value, end = _DECODER.raw_decode(said, at)
        except (ValueError, RecursionError):
            end, tries = at + 1, tries - 1
        else:
            yield from _read_object(said, at, end, value)
        at = said.find("{", end)


def _find_sole_object(said: str, begin: int) -> Iterator[_NamedPart]:
    """The whole reply is such an object."""
    text = said[begin:].strip()
    if text.startswith("{") and text.endswith("}"):
        yield from _find_json(said, begin)


def _read_object(said: str, at: int, end: int, value: Any) -> Iterator[_NamedPart]:
    if not isinstance(value, dict):
        return
    for key in ("action", "command", "act"):
        found = next((name for name in value if name.casefold() == key), None)
        if found is not None:
            action = value[found]
            if isinstance(action, dict):
                yield from _read_object(said, at, end, action)
            elif isinstance(action, str):
                yield _NamedPart(action, max(at, said.find(f'"{found}"', at, end)))
            return
    inner = value.get("function")
    call: dict[str, Any] = inner if isinstance(inner, dict) else value
    arguments = call.get("arguments", call.get("parameters", call.get("args")))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = {"": arguments}
    name = next((call[key] for key in ("name", "tool_name", "function", "tool") if key in call), None)
    if isinstance(name, str) and isinstance(arguments, dict):
        yield _spell_call(at, name, {str(k): str(v) for k, v in arguments.items()})


def _find_calls(said: str, begin: int) -> Iterator[_NamedPart]:
    """The whole reply is a call in Python's manner."""
    if found := _CALL.fullmatch(said[begin:].strip().strip("`").removeprefix("python").strip()):
        values = [double or single for double, single in _STRINGS.findall(found[2])]
        values = values or [part.partition("=")[2] or part for part in found[2].split(",")]
        yield _spell_call(begin, found[1], dict(enumerate(values)))


def _spell_call(begin: int, name: str, arguments: Mapping[Any, str]) -> _NamedPart:
    """``act(command)``, or one tool a verb: its name and its arguments are the command, with their names or without."""
    given = " ".join(arguments.values())
    named = " ".join(f"{key} {value}" for key, value in arguments.items())
    return _NamedPart(given, begin, (f"{name} {given}", f"{name} {named}"))


_EXPLICIT: dict[str, tuple[_Finder, ...]] = {
    "any": (_find_tags, _find_json, _find_labels, _find_calls),
    "bare": (),
    "react": (_find_react,),
    "think": (_find_action_tag,),
    "json": (_find_json,),
    "tool": (_find_json, _find_calls),
}
_FREE: tuple[_Finder, ...] = (_find_action_tag, _find_react, _find_sole_object)
"""What no sentence of free text is by accident."""


# --- which command is meant --------------------------------------------------------------------------------


def _choose_place(said: str, places: Sequence[_NamedPart], commands: Sequence[str]) -> Reply:
    """The one command that all places name, or what the only place says, listed or not."""
    meant = [_match_place(place, commands) for place in places]
    if meant[0] is not None and len({*meant}) == 1:
        return Reply(said, meant[0], begin=places[0].begin)
    if len(places) == 1 and (text := _take_off_quotes(places[0].text)):
        return Reply(said, text, begin=places[0].begin)
    return _do_nothing(said)


def _match_place(place: _NamedPart, commands: Sequence[str]) -> str | None:
    found = {match_command(text, commands) for text in (place.text, *place.spellings)} - {None}
    return found.pop() if len(found) == 1 else None


def _match_lines(said: str, commands: Sequence[str]) -> Reply:
    """The only command that fills a line, or the whole of it."""
    whole = match_command(said, commands)
    if whole is not None:
        return Reply(said, whole)
    found: dict[str, int] = {}
    at = 0
    for line in said.splitlines(keepends=True):
        command = match_command(line, commands)
        if command is not None:
            found.setdefault(command, at)
        at += len(line)
    if len(found) == 1:
        ((command, at),) = found.items()
        return Reply(said, command, begin=at)
    return _do_nothing(said)


def match_command(text: str, commands: Sequence[str]) -> str | None:
    """The listed command that ``text`` is but for case, spacing, punctuation and markup; None where that is not sure.

    A slash in a command offers words to choose among: ``put mug 1 in desk 1`` is ``put mug 1 in/on desk 1``.
    """
    if text in commands:
        return text
    table = _index_commands(tuple(commands))
    return table.get(_fold_text(text)) or table.get(_fold_text(_BULLET.sub("", text)))


@lru_cache(maxsize=512)
def _index_commands(commands: tuple[str, ...]) -> dict[str, str | None]:
    """Commands by their folded spellings; None where several share one."""
    table: dict[str, str | None] = {}
    for command in commands:
        for key in {_fold_text(spelling) for spelling in _spell_alternatives(command)}:
            table[key] = None if key in table else command
    table.pop("", None)
    return table


def _spell_alternatives(command: str) -> Iterator[str]:
    yield command
    choices = re.search(r"\b[^\W\d_]+(?:/[^\W\d_]+)+\b", command)
    if choices:
        for word in choices[0].split("/"):
            yield command[: choices.start()] + word + command[choices.end() :]


_BULLET = re.compile(r"^\s*(?:[-*+•>$]|\d+[.)])\s+")
_QUOTES = "\"'`*_\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb"
_BEFORE_WORDS = _QUOTES + "([{<>#"
_AFTER_WORDS = _QUOTES + ")]}>.,;:!?\u2026"


def _fold_text(text: str) -> str:
    """Case, spacing and the punctuation around words taken away; spaces stay between digits, signs before them."""
    words = unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split()
    bare = [word.lstrip(_BEFORE_WORDS).rstrip(_AFTER_WORDS) for word in words]
    return re.sub(r"(?<!\d) | (?!\d)", "", " ".join(filter(None, bare)))


def _do_named(said: str, text: str, begin: int, commands: Sequence[str] | None) -> Reply:
    meant = None if commands is None else match_command(text, commands)
    action = meant or (_join_lines(text) if commands is None else _take_off_quotes(text))
    return Reply(said, action, begin=begin) if action else _do_nothing(said)


def _do_nothing(said: str, begin: int = 0) -> Reply:
    return Reply(said, _join_lines(said), named=False, begin=begin)


def _take_off_quotes(text: str) -> str:
    """An explicitly named action that is not listed: quotation marks and markup taken off, no more."""
    return _join_lines(text).strip("\"'`*_ ")


def _join_lines(text: str) -> str:
    return " ".join(text.split())
