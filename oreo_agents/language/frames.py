"""What stands around the messages of a conversation, as token ids: the one place that renders chat templates.

Three formats, chosen from the tokenizer: a chat template (instruction-tuned models), the ``<act>`` token of
a tokenizer learnt by :mod:`oreo_agents.language.learnt_tokenizer`, or plain ``> command`` lines (base models).
Knows nothing about episodes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date as Date
from typing import Any, Protocol

from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.language.chat_template import render_chat
from oreo_agents.language.learnt_tokenizer import ACT
from oreo_agents.language.prompt import Prompt
from oreo_agents.language.reply import TOOL
from oreo_agents.language.spelling import Context, Speller

Pieces = list[list[int]]
"""For n messages with the replies between them, 2n lists of ids: what stands before the first message, after it, before
the second, and so on, up to where the next reply begins. The end of a turn belongs to the reply."""

_SLOT = "\u2402slot%d\u2403"
"""Stands for a message while a chat template is taken apart; no template treats it specially."""

_APART = "its turns cannot be told apart; use another model, or a tokenizer without a chat template"

_CALL = "call00000"
"""Names a call where templates want that; Mistral's take nine characters."""

_PROBE = "<think>\nfirst\n</think>\n\nthen"


Contexts = tuple[Context | None, Context | None, Context | None]


def list_options(prompt: Prompt) -> dict[str, Any]:
    """What chat templates are told beside the messages; each takes what it knows."""
    options: dict[str, Any] = {"date_string": Date.fromisoformat(prompt.date).strftime("%d %b %Y")}
    return options if prompt.thinking is None else {**options, "enable_thinking": prompt.thinking}


class Frames(Protocol):
    """What a format puts around messages."""

    end_id: int
    """The end-of-turn token."""

    grows: bool
    """What stands around a turn does not depend on what follows it."""

    closing: list[int]
    """What a template writes between a reply and the end of its turn."""

    rewrites: bool
    """Earlier replies are shown otherwise than they were said, all of them or those with thoughts."""

    call: tuple[list[int], list[int]] | None
    """Ids before and after the command, in JSON, of a call of the tool ``act``; None in other forms."""

    contexts: Contexts
    """What stands before the first message, before a later one, and before a reply."""

    preamble: str
    """What belongs before the first message, because the format has no place of its own for it."""

    def pieces(self, n: int) -> Pieces:
        """Of a conversation of ``n`` messages that the next reply answers."""

    def shown(self, text: str) -> str | None:
        """An earlier reply as the format shows it; None: as it was said."""

    def spelt(self, observation: str) -> str:
        """A later message as the format writes it, such as the answer of a tool in JSON."""


def find_frames(tokenizer: Any, prompt: Prompt) -> Frames:
    """Those of a tokenizer.

    Raises:
        CheckpointError: its chat template cannot be rendered, or not taken apart.
        ConfigurationError: it has no place for what the prompt asks for.
    """
    if ACT not in tokenizer.get_vocab() and tokenizer.chat_template:
        return TemplateFrames(tokenizer, prompt)
    return LineFrames(tokenizer, prompt)


class LineFrames:
    """Frames without a chat template: the token ``<act>``, or lines that begin with ``>``."""

    grows, rewrites = True, False

    def __init__(self, tokenizer: Any, prompt: Prompt) -> None:
        if prompt.form == "tool":
            raise ConfigurationError("the form tool needs a chat template, and this tokenizer has none")
        self.preamble = prompt.system or ""
        self.closing: list[int] = []
        self.call: tuple[list[int], list[int]] | None = None
        self.contexts: Contexts = (None, None, None)
        if ACT in tokenizer.get_vocab():
            self._begin, self._after = [tokenizer.bos_token_id], [tokenizer.convert_tokens_to_ids(ACT)]
            self.end_id: int = tokenizer.eos_token_id
        else:
            self._begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
            self._after = Speller(tokenizer).spell_piece("\n>", follows=True)
            self.contexts = (Context() if self._begin else None, Context("\n"), Context("\n>"))
            line_break = tokenizer("\n", add_special_tokens=False)["input_ids"]
            if not line_break:
                raise ConfigurationError(
                    "the tokenizer has neither a chat template nor a token for a line break, with which a reply would "
                    "end: give it a template"
                )
            self.end_id = line_break[-1]

    def pieces(self, n: int) -> Pieces:
        """Alike for every turn."""
        return [self._begin, self._after, *([[], self._after] * (n - 1))]

    def shown(self, text: str) -> None:
        """As it was said."""

    def spelt(self, observation: str) -> str:
        """As it is."""
        return observation


class TemplateFrames:
    """Frames of a chat template: it is rendered with marks in the messages' places, and cut at the marks."""

    def __init__(self, tokenizer: Any, prompt: Prompt) -> None:
        self.tokenizer, self.prompt = tokenizer, prompt
        self._day, self._trusted = Date.fromisoformat(prompt.date), False
        self._head: list[dict[str, str]] = []
        self._head, self.preamble = self._place_system(prompt.system)
        if prompt.form == "tool" and not self._knows_tools():
            raise ConfigurationError("the model's chat template has no tools: choose another form")
        self._cut: dict[int, Pieces] = {}
        self._speller = Speller(tokenizer)
        self._texts = self._cut_text(2)
        between = self._ids(self._texts[2])
        if not between:
            raise CheckpointError(f"the chat template writes nothing between two messages: {_APART}")
        end = self._find_end(between)
        self.closing, self.end_id = between[:end], between[end]
        self.grows = self._keeps_pieces()
        self._escapes = prompt.form == "tool" and self._escapes_answers()
        alike = self._texts[1].strip() == self._texts[3].strip() or prompt.form == "tool"
        self._drops_thoughts = self._show(_PROBE) is not None
        self.rewrites = self._drops_thoughts or not alike
        self._rewrites_all = not alike
        self.call = self._write_call() if prompt.form == "tool" else None
        self.contexts = self._find_contexts()
        self._trusted = True

    def _find_contexts(self) -> Contexts:
        opening, shown, message, last = self._texts
        begin, reply = self._speller.find_context(last)
        if shown.startswith(begin) and not shown[len(begin) :].strip(" "):
            reply = Context(reply.before, shown[len(begin) :])  # a space that templates leave to the reply
        tail = self._speller.split_tail(begin)[0]
        first, later = (
            replace(self._speller.find_context(text)[1], tail=tail) for text in (opening, message)
        )
        return first, later, reply

    def pieces(self, n: int) -> Pieces:
        """Cut from the template's own text."""
        if n not in self._cut:
            if n > 4 and self.grows:
                self._cut[n] = [*self.pieces(4)[:6], *(self.pieces(4)[4:6] * (n - 3))]
            else:
                self._cut[n] = self._tokenize(self._cut_text(n))
        return self._cut[n]

    def shown(self, text: str) -> str | None:
        """As the template shows it before a later message."""
        if self._rewrites_all:
            shown = self._show(text)
            return text if shown is None else shown
        return self._show(text) if self._drops_thoughts and "</think>" in text else None

    def _show(self, text: str) -> str | None:
        first, _, last = self._mark(2)
        said = {"role": "assistant", "content": text}
        middle = self._render([first, said, last]).partition(_SLOT % 0)[2].rpartition(_SLOT % 2)[0]
        after, between = self._texts[1], self._texts[2]
        if not middle.startswith(after.rstrip()) or not middle.endswith(between):
            return None
        found = middle[len(after.rstrip()) : len(middle) - len(between)]
        return None if found.strip() == text.strip() else found.removeprefix(after[len(after.rstrip()) :])

    def spelt(self, observation: str) -> str:
        """As it is, or escaped where the template writes a tool's answers in JSON."""
        return json.dumps(observation, ensure_ascii=False)[1:-1] if self._escapes else observation

    def _write_call(self) -> tuple[list[int], list[int]]:
        """What the template writes around the command of a call."""
        question = self._mark(1)
        begin = self._render(question)
        for arguments in ({"command": _SLOT % 9}, json.dumps({"command": _SLOT % 9}, ensure_ascii=False)):
            call = {"type": "function", "id": _CALL, "function": {"name": "act", "arguments": arguments}}
            try:
                said = {"role": "assistant", "content": "", "tool_calls": [call]}
                whole = self._render([*question, said], generate=False)
            except CheckpointError:
                continue
            begins = begin if whole.startswith(begin) else begin.rstrip()
            before, mark, after = whole[len(begins) :].partition(_SLOT % 9)
            if whole.startswith(begins) and mark:
                return self._ids(before), self._ids(after.partition(self.tokenizer.decode([self.end_id]))[0])
        return self._ids('{"name": "act", "arguments": {"command": "'), self._ids('"}}')

    def _knows_tools(self) -> bool:
        try:
            without = self._render(self._mark(1), tools=False)
        except CheckpointError:
            return True
        return self._render(self._mark(1)) != without

    def _escapes_answers(self) -> bool:
        """Whether answers of the tool are written in JSON."""
        *before, last = self._mark(2)
        text = self._render([*before, {**last, "content": f'{_SLOT % 2}"\n'}])
        return text.partition(_SLOT % 2)[2].startswith('\\"\\n')

    def _place_system(self, system: str | None) -> tuple[list[dict[str, str]], str]:
        """The messages that a conversation begins with, and what goes before the first observation instead."""
        if system is None:
            return [], ""
        self._head = [{"role": "system", "content": system}]
        try:
            accepted = system.strip() in self._render(self._mark(1))
        except CheckpointError:
            accepted = False
        return (self._head, "") if accepted else ([], system)

    def _mark(self, n: int) -> list[dict[str, Any]]:
        """``n`` messages with replies between them, marks in their places."""
        answers = {"role": "user"}
        if self.prompt.form == "tool":
            answers = {"role": "tool", "name": "act", "tool_call_id": _CALL}
        roles = [{"role": "user"}, *([{"role": "assistant"}, answers] * (n - 1))]
        return [{**role, "content": _SLOT % i} for i, role in enumerate(roles)]

    def _render(self, messages: list[dict[str, Any]], generate: bool = True, tools: bool = True) -> str:
        options = list_options(self.prompt)
        if tools and self.prompt.form == "tool":
            options["tools"] = [TOOL]
        told = [*self._head, *messages]
        return render_chat(self.tokenizer, told, self._day, generate, self._trusted, **options)

    def _cut_text(self, n: int) -> list[str]:
        rest, pieces = self._render(self._mark(n)), []
        for i in range(2 * n - 1):
            piece, mark, rest = rest.partition(_SLOT % i)
            if not mark or any(_SLOT % k in piece + rest for k in range(i + 1)):
                raise CheckpointError(
                    f"the chat template does not write every message once and in order: {_APART}"
                )
            pieces.append(piece)
        return [*pieces, rest]

    def _tokenize(self, texts: list[str]) -> Pieces:
        """Ids of each piece; the end of a turn is taken off what follows a reply."""
        texts = [
            texts[-1] if i % 2 and text.strip() == texts[-1].strip() else text for i, text in enumerate(texts)
        ]
        cut = [self._speller.find_context(text)[0] for text in texts]
        cut = [self._speller.split_tail(text)[1] if i % 2 else text for i, text in enumerate(cut)]
        pieces = [self._speller.spell_piece(text, follows=i > 0) for i, text in enumerate(cut)]
        for i in range(2, len(pieces), 2):
            pieces[i] = pieces[i][self._find_end(pieces[i]) + 1 :]
        return pieces

    def _find_end(self, between: list[int]) -> int:
        """Where the end of a turn is in what follows a reply: some templates write a space before it."""
        eos = self.tokenizer.eos_token_id
        return between.index(eos) if eos in between else 0

    def _keeps_pieces(self) -> bool:
        """Whether what stands around a turn is the same whatever follows, from the third on of one kind."""
        alike = all(self.pieces(n + 1)[: 2 * n] == self.pieces(n) for n in (1, 2, 3))
        return alike and self.pieces(4)[4:6] == self.pieces(4)[6:8]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
