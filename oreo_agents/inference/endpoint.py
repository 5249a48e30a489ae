"""What an OpenAI-compatible server (``vllm serve``, SGLang, llama.cpp, ``transformers serve``, ...) is asked.

Completions take this project's own prompts and masks; chat completions take messages, which the server writes with its
own template. Where a server gives token ids (vLLM), replies are what it sampled, to the token; the first question finds
that out. What goes wrong on the way is retried, and then reported for the one question that it concerns.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from oreo_agents.errors import EngineError
from oreo_agents.inference.exchange import Answer, BoundedExchange, Unusable
from oreo_agents.inference.filters import Filters
from oreo_agents.inference.server import Protocol, Server

RETRIED_STATUSES = frozenset({408, 409, 425, 429})

_LONGEST_TOKEN = 256
"""Characters that a token of a reply may have on average: what is beyond that is cut before it is tokenized."""

_UNPENALIZED = {"repetition_penalty": 1.0, "repeat_penalty": 1.0}
"""As vLLM, SGLang and TGI, and as llama.cpp call it. Where it is not said, it comes from the model's generation_config,
or is 1.1 (llama-cpp-python's server, greedy or not): a number that a command has twice is said once."""

_FULL = re.compile(
    r"context[ _-]?(length|window|size|limit)|max_model_len|maximum (model|sequence) length"
    r"|(prompt|inputs?|request)\b.{0,60}(too long|too large|longer than|exceeds?\b)",
    re.IGNORECASE | re.DOTALL,
)
"""How servers say that a prompt and its reply do not fit (vLLM, SGLang, llama.cpp, TGI, hosted ones)."""


class ContextFull(Exception):
    """What was read and the reply together are more than the server's model can read."""


@dataclass(frozen=True, slots=True)
class ServedReply:
    """One reply."""

    text: str
    """Without an end of turn."""
    ended: bool
    """It came to an end by itself, not at a limit."""
    ids: tuple[int, ...] | None = None
    """As they were sampled, end of turn included, after exactly the ids that were asked about; None: only the text is
    known."""
    logprobs: tuple[float, ...] | None = None
    """Of each of them (nats, of the distribution at temperature 1), where the server says so."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be continued, and how."""

    ids: Sequence[int]
    """What has been read and said."""
    text: Callable[[], str]
    """The same as text."""
    messages: Callable[[], list[dict[str, str]]]
    """The same as messages of a chat."""
    end_id: int
    end_text: str
    """What ends a turn."""
    max_tokens: int
    n: int = 1
    """Replies."""
    temperature: float = 0.0
    seed: int | None = None
    filters: Filters = field(default_factory=Filters)
    """Which tokens may be drawn."""
    ends_itself: bool = False
    """The model's own end of text ends a turn, and no server has to be told to stop there."""


@dataclass(slots=True)
class Use:
    """What a server has been asked for; tokens as it counts them."""

    requests: int = 0
    read: int = 0
    written: int = 0

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.read:,} tokens read and {self.written:,} written"


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a server wants to be asked."""

    protocol: Protocol = "completions"
    ids: bool | None = None
    """It gives token ids; None: nobody has asked."""
    told: bool = True
    """It is told in full how to sample, in words that OpenAI's own list does not have: many have defaults that change
    what a policy says."""
    together: bool = True
    """It gives several replies to one request."""
    limit: str = "max_tokens"
    """What it calls the limit of a reply."""


class Endpoint:
    """A model behind a server, within bounds: of time, of size, of tokens.

    Args:
        url: up to and including ``/v1``.
        model: as the server calls it.
        api_key: sent as a bearer token, if any. It is in no message, and a reply that repeats it is refused.
        timeout: seconds for one request, from its beginning to the last byte of the answer.
        retries: further attempts after a timeout, a broken connection, a status of 429 or 5xx, or an answer that is
            no completion; other statuses are final.
        backoff: seconds before the first of them, doubled each time; longer where the server says so (``Retry-After``),
            up to ``timeout``.
        parallel: requests at once.
        protocol: completions or chat completions; None: the latter where the server has no others.
        max_tokens: read and written in all; a request that could go beyond is not made. None: no limit.

    Raises:
        ConfigurationError: the address is none, or carries a key.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 0.5,
        parallel: int = 32,
        protocol: Protocol | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.model, self.protocol, self.max_tokens = model, protocol, max_tokens
        self.retries, self.backoff = retries, backoff
        self.use = Use()
        self._reserved = 0
        self._exchange = BoundedExchange(url, api_key, timeout, parallel)
        self._way, self._settled = _Manner(protocol or "completions"), False

    @classmethod
    def from_server(cls, server: Server) -> Endpoint:
        """With the key that the environment has for it."""
        key = server.read_key()
        return cls(server.url, server.model, key, protocol=server.protocol, max_tokens=server.ceiling)

    def __repr__(self) -> str:
        return f"Endpoint({self.host!r}, {self.model!r})"

    @property
    def host(self) -> str:
        """What messages call it."""
        return self._exchange.host

    def describe_use(self) -> str:
        """What it has been asked for, and what it gave."""
        asked = "chat completions" if self._way.protocol == "chat" else "completions"
        gave = "with the token ids that were sampled" if self._way.ids else "as text alone"
        return f"{self.host}: {self.use}; {asked}, {gave}"

    def tells_key(self, text: str) -> bool:
        """Whether a text has the key in it."""
        return self._exchange.tells_key(text)

    def ask(self, questions: Sequence[Question]) -> list[list[ServedReply] | ContextFull | EngineError]:
        """The replies to each question, or why there are none."""

        async def ask_all() -> list[list[ServedReply] | ContextFull | EngineError]:
            return await asyncio.gather(*map(self._reply, questions))

        return self._exchange.run(ask_all())

    def cancel(self) -> None:
        """Give up all questions: :meth:`ask` raises ``concurrent.futures.CancelledError`` in whichever thread."""
        self._exchange.cancel()

    # ------------------------------------------------------------------------------------- one question

    async def _reply(self, question: Question) -> list[ServedReply] | ContextFull | EngineError:
        try:
            found = await self._request(question)
            missing = question.n - len(found)
            if missing > 0:
                self._way = replace(self._way, together=False)
                seeds = (None if question.seed is None else question.seed + 1 + i for i in range(missing))
                single = [replace(question, n=1, seed=seed) for seed in seeds]
                for more in await asyncio.gather(*map(self._request, single)):
                    found += more
            return found
        except (EngineError, ContextFull) as error:
            return error

    async def _request(self, question: Question) -> list[ServedReply]:
        """As many replies as one request gives, asked for in the way that the server wants."""
        way, refusal = self._way, None
        while True:
            n = question.n if way.together else 1
            answer, replies = await self._insist(question, way, n)
            if replies is None:
                refusal = refusal if refusal and answer.status == 404 else answer
                if (changed := self._change_way(way, answer, n)) is None:
                    raise self._explain(refusal, way)
                way = changed
            elif way.ids is None and self._gives_ids(answer):
                way = self._way = replace(way, ids=True)  # and again, for what such a server can be told
            else:
                if not self._settled:
                    self._way, self._settled = replace(way, ids=bool(way.ids)), True
                return replies[:n]

    def _change_way(self, way: _Manner, answer: Answer, n: int) -> _Manner | None:
        """Another way to ask what was refused; None: there is none. Nothing changes once a request has gone well, but
        for the number of replies."""
        told = self._exchange.quote(answer)
        if answer.status in (400, 422) and _FULL.search(told):
            raise ContextFull(f"the context of the server at {self.host} is full")
        if not self._settled:
            if answer.status in (404, 405) and self.protocol is None and way.protocol == "completions":
                return replace(way, protocol="chat")
            if answer.status in (400, 422) and way.told:
                return replace(way, ids=False, told=False)
            if answer.status in (400, 422) and "max_completion_tokens" in told and way.limit == "max_tokens":
                return replace(way, limit="max_completion_tokens")
        return replace(way, together=False) if answer.status in (400, 422) and n > 1 else None

    async def _insist(
        self, question: Question, way: _Manner, n: int
    ) -> tuple[Answer, list[ServedReply] | None]:
        """An answer, and the replies in it; None: it is a refusal."""
        reason, wait = "", 0.0
        for attempt in range(self.retries + 1):
            if attempt:
                await _pause(max(wait, self.backoff * 2 ** (attempt - 1)))
            try:
                answer = await self._post(question, way, n)
                if answer.status == 200:
                    return answer, self._read_replies(answer, question, way)
                if answer.status not in RETRIED_STATUSES and answer.status < 500:
                    return answer, None
                reason, wait = f"status {answer.status}: {self._exchange.quote(answer)}", answer.wait or 0.0
                if wait > self._exchange.timeout:
                    raise self._exchange.refuse(f"asks to be left alone for {wait:.0f} s ({reason})")
            except Unusable as error:
                reason, wait = str(error), 0.0
        raise self._exchange.refuse(f"gave no completion in {self.retries + 1} attempts ({reason})")

    async def _post(self, question: Question, way: _Manner, n: int) -> Answer:
        """Ask, and count what that costs; the ceiling is never gone beyond."""
        most = len(question.ids) + n * question.max_tokens
        spent = self.use.read + self.use.written + self._reserved
        if self.max_tokens is not None and spent + most > self.max_tokens:
            raise self._exchange.refuse(
                f"has been asked for {spent:,} tokens, and {most:,} more would be above the ceiling of "
                f"{self.max_tokens:,}: raise --endpoint-max-tokens"
            )
        self._reserved += most
        try:
            path = "completions" if way.protocol == "completions" else "chat/completions"
            limit = 2**20 + n * (600 * question.max_tokens + 30 * len(question.ids))
            answer = await self._exchange.post(path, self._write_body(question, way, n), limit)
        finally:
            self._reserved -= most
        if answer.status == 200:
            self._count(answer, question, n)
        return answer

    def _count(self, answer: Answer, question: Question, n: int) -> None:
        told = _read_object(answer).get("usage")
        usage = told if isinstance(told, dict) else {}
        self.use.requests += 1
        self.use.read += _as_count(usage.get("prompt_tokens"), len(question.ids))
        self.use.written += _as_count(usage.get("completion_tokens"), n * question.max_tokens)

    def _write_body(self, question: Question, way: _Manner, n: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, way.limit: question.max_tokens}
        body["temperature"] = question.temperature
        if question.temperature:
            body |= {} if question.seed is None else {"seed": question.seed}
            body |= question.filters.set_ones()
        if way.told:
            body |= {**asdict(question.filters), **_UNPENALIZED}
        body |= {"n": n} if n > 1 else {}
        if way.protocol == "chat":
            body["messages"] = question.messages()
        else:
            body["prompt"] = list(question.ids) if way.ids else question.text()
            body |= {} if way.ids or question.ends_itself else {"stop": [question.end_text]}
        if way.ids is not False:
            body["return_token_ids"] = True
        if way.ids:
            body |= {"ignore_eos": True, "stop_token_ids": [question.end_id], "skip_special_tokens": False}
            body["logprobs"] = True if way.protocol == "chat" else 0
        return body

    # --------------------------------------------------------------------------------- reading an answer

    def _gives_ids(self, answer: Answer) -> bool:
        return all(isinstance(choice.get("token_ids"), list) for choice in _list_choices(answer))

    def _read_replies(self, answer: Answer, question: Question, way: _Manner) -> list[ServedReply]:
        told = _read_object(answer)
        replies = []
        for choice in _list_choices(answer):
            reply = _read_choice(choice, question, way)
            if way.ids:
                reply = _add_ids(reply, {**told, **choice}, question, way)
            if self.tells_key(reply.text):
                raise Unusable("its reply repeats the key")
            replies.append(reply)
        return replies

    def _explain(self, answer: Answer, way: _Manner) -> EngineError:
        """A refusal, with its remedy where one is known."""
        told, hint = self._exchange.quote(answer), ""
        if answer.status in (404, 405):
            hint = "; is the model's name right (--endpoint-model)? It was asked for completions"
            hint += " and chat completions" if self.protocol is None else ""
            if not self._exchange.url.endswith("/v1"):
                hint += "; most servers' URLs end in /v1"
        elif answer.status in (401, 403):
            hint = "; the key is what OPENAI_API_KEY or the variable that --endpoint-key names has"
        elif 300 <= answer.status < 400:
            hint = "; it sends elsewhere, where the key does not follow: give the URL that it sends to"
        return self._exchange.refuse(f"answers {answer.status}: {told!r}{hint}")


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _read_object(answer: Answer) -> dict[str, Any]:
    try:
        told = answer.read_json()
    except ValueError as error:
        raise Unusable(f"its answer is no JSON ({str(error)[:80]})") from error
    if not isinstance(told, dict):
        raise Unusable("its answer is no JSON object")
    return told


def _list_choices(answer: Answer) -> list[dict[str, Any]]:
    choices = _read_object(answer).get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(one, dict) for one in choices):
        raise Unusable("its answer is no completion: it has no choices")
    return choices


def _read_choice(choice: dict[str, Any], question: Question, way: _Manner) -> ServedReply:
    """The text of a reply, as long as its tokens may be."""
    ended = choice.get("finish_reason") != "length"
    if way.protocol == "chat":
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        text, thought = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        text = "" if text is None and (thought or not ended) else text
        if isinstance(thought, str) and isinstance(text, str):
            text = f"<think>\n{thought}\n</think>\n\n{text}"
    else:
        text = choice.get("text")
    if not isinstance(text, str):
        raise Unusable("its answer is no completion: it has no text")
    text = text.encode(errors="replace").decode()
    if question.end_text.strip() and question.end_text in text:  # a server that shows control tokens
        return ServedReply(text.partition(question.end_text)[0], True)
    most = _LONGEST_TOKEN * question.max_tokens
    return ServedReply(text[:most], ended and len(text) <= most)


def _add_ids(reply: ServedReply, told: dict[str, Any], question: Question, way: _Manner) -> ServedReply:
    """The same with its ids, where they are what was sampled after what was asked about."""
    ids, read, end = told.get("token_ids"), told.get("prompt_token_ids"), question.end_id
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < 2**31 for one in ids):
        raise Unusable("its answer has no token ids, and earlier ones had")
    if end in ids:
        ids = ids[: ids.index(end) + 1]
    known = way.protocol == "completions" if read is None else read == list(question.ids)
    cut = len(ids) == question.max_tokens
    if not known or not ids or len(ids) > question.max_tokens or (ids[-1] != end and not cut):
        return reply
    return replace(
        reply, ended=ids[-1] == end, ids=tuple(ids), logprobs=_read_logprobs(told, len(ids), way.protocol)
    )


def _read_logprobs(told: dict[str, Any], n: int, protocol: Protocol) -> tuple[float, ...] | None:
    logprobs = told.get("logprobs")
    if not isinstance(logprobs, dict):
        return None
    found = logprobs.get("content" if protocol == "chat" else "token_logprobs")
    if isinstance(found, list) and protocol == "chat":
        found = [row.get("logprob") if isinstance(row, dict) else None for row in found]
    if not isinstance(found, list) or len(found) < n:
        return None
    own = [float(x) if type(x) in (int, float) else math.nan for x in found[:n]]
    return tuple(min(x, 0.0) for x in own) if all(math.isfinite(x) and x < 1e-3 for x in own) else None


def _as_count(told: Any, own: int) -> int:
    """Tokens as a server counts them, where it says a number that can be."""
    return told if type(told) is int and 0 <= told < 10**9 else own
