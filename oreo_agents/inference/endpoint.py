"""What an OpenAI-compatible server (``vllm serve``, SGLang, llama.cpp, ``transformers serve``, ...) is asked.

Completions take this project's own prompts and masks; chat completions take messages, which the server writes with its
own template. Where a server gives token ids (vLLM, SGLang), replies are what it sampled, to the token; the first
question finds that out. What goes wrong on the way is retried, and then reported for the one question that it concerns.
"""

from __future__ import annotations

import asyncio
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
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

_TEMPLATE = "chat_template_kwargs"
_FOR_IDS = frozenset({"return_token_ids", "stop_token_ids"})
"""Words without which no exact ids are to be had."""

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
    """Of each of them (nats, of the distribution at temperature 1), where the server is known to say these."""


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
    template: Mapping[str, Any] = field(default_factory=dict)
    """What a server's chat template is to be told beside the messages."""

    @property
    def sampled(self) -> bool:
        """Replies are drawn, not the likeliest."""
        return self.temperature > 0


@dataclass(slots=True)
class Use:
    """What a server has been asked for; tokens as it counts them."""

    requests: int = 0
    read: int = 0
    written: int = 0
    counted: bool = True
    """It has counted every time; else as many are assumed as there can be."""

    def __str__(self) -> str:
        most = "" if self.counted else "at most "
        return f"{self.requests:,} requests, {self.read:,} tokens read and {most}{self.written:,} written"


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a server wants to be asked."""

    protocol: Protocol = "completions"
    ids: bool | None = None
    """It gives token ids; None: nobody has asked."""
    refused: frozenset[str] = frozenset()
    """Of the words that OpenAI's own list does not have: many have defaults that change what a policy says."""
    every: int = 0
    """What it calls a ``top_k`` that leaves all tokens: 0, or -1 (SGLang, vLLM before 0.9). llama-cpp-python's server
    takes no -1."""
    stops: bool = True
    """It stops at the ids that it is told to also where it ignores the model's own end of text (vLLM does, SGLang does
    not)."""
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
        self._ways = dict.fromkeys((False, True), _Manner(protocol or "completions"))
        """How it wants to be asked for the likeliest reply, and for sampled ones."""
        self._settled = set[bool]()
        self._warned = False

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
        ways = [self._ways[sampled] for sampled in sorted(self._settled)] or [self._ways[False]]
        asked = "chat completions" if ways[0].protocol == "chat" else "completions"
        gave = "with the token ids that were sampled" if all(way.ids for way in ways) else "as text alone"
        refused = ", ".join(sorted(frozenset[str]().union(*(way.refused for way in ways))))
        return f"{self.host}: {self.use}; {asked}, {gave}{refused and f'; it refuses {refused}'}"

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
                way = self._ways[question.sampled]
                self._ways[question.sampled] = replace(way, together=False)
                seeds = (None if question.seed is None else question.seed + 1 + i for i in range(missing))
                single = [replace(question, n=1, seed=seed) for seed in seeds]
                for more in await asyncio.gather(*map(self._request, single)):
                    found += more
            return found
        except (EngineError, ContextFull) as error:
            return error

    async def _request(self, question: Question) -> list[ServedReply]:
        """As many replies as one request gives, asked for in the way that the server wants."""
        sampled, refusal = question.sampled, None
        way = self._ways[sampled]
        tried = {way}
        while True:
            n = question.n if way.together else 1
            answer, replies = await self._insist(question, way, n)
            if replies is None:
                refusal = refusal if refusal and answer.status == 404 else answer
                if (changed := self._choose_way(question, way, tried, answer)) is None:
                    raise self._explain(refusal)
                way = changed
                tried.add(way)
            elif way.ids is None and self._gives_ids(answer):
                way = self._ways[sampled] = replace(
                    way, ids=True
                )  # and again: such a server can be told more
            else:
                if sampled not in self._settled:
                    self._settle(sampled, replace(way, ids=bool(way.ids)))
                if way.ids and way.stops and self._goes_on(answer, question):
                    self._ways = {kind: replace(one, stops=False) for kind, one in self._ways.items()}
                return replies[:n]

    def _settle(self, sampled: bool, way: _Manner) -> None:
        """Keep a way that has gone well; the other kind of question begins with it."""
        self._settled.add(sampled)
        self._ways[sampled] = way
        if (not sampled) not in self._settled:
            self._ways[not sampled] = way

    def _choose_way(
        self, question: Question, way: _Manner, tried: set[_Manner], answer: Answer
    ) -> _Manner | None:
        """Another way to ask what was refused: what other questions have settled on meanwhile, or a new one."""
        sampled = question.sampled
        if answer.status in (400, 422) and _FULL.search(self._exchange.quote(answer)):
            raise ContextFull(f"the context of the server at {self.host} is full")
        if sampled in self._settled and self._ways[sampled] not in tried:
            return self._ways[sampled]
        changed = self._change_way(question, way, answer)
        if changed is None:
            return None
        if _TEMPLATE in changed.refused and question.template and not self._warned:
            self._warned = True
            told = ", ".join(f"{name} = {value!r}" for name, value in question.template.items())
            warnings.warn(f"{self.host} does not let its chat template be told {told}", stacklevel=2)
        if sampled in self._settled:
            self._ways[sampled] = changed
        return changed

    def _change_way(self, question: Question, way: _Manner, answer: Answer) -> _Manner | None:
        """A way without what was refused; None: there is none.

        Words that the answer names are left out one by one. Where it names none, all are, unless a request has gone
        well before: then it is about this question alone.
        """
        told, settled = self._exchange.quote(answer), question.sampled in self._settled
        if answer.status in (404, 405):
            other = self.protocol is None and way.protocol == "completions" and not settled
            return replace(way, protocol="chat") if other else None
        if answer.status not in (400, 422):
            return None
        changed = way
        if "max_completion_tokens" in told:
            changed = replace(changed, limit="max_completion_tokens")
        if question.n > 1 and re.search(r"\bn\b", told):
            changed = replace(changed, together=False)
        needed = question.filters.set_ones() if question.sampled else {}
        left = frozenset(_list_words(question, way)).difference(needed, way.refused)
        named = {word for word in left if re.search(rf"\b{word}\b(?![\"']\s*:)", told)}  # no request repeated
        if "top_k" in named and way.every == 0:
            changed = replace(changed, every=-1)
            named.remove("top_k")
        if changed == way and not named and not settled:
            named = {*left}
        ids = False if named & _FOR_IDS else way.ids
        changed = replace(changed, ids=ids, refused=way.refused | named)
        if changed == way and way.together and question.n > 1:
            return replace(way, together=False)
        return None if changed == way else changed

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
        read, written = (_as_count(usage.get(f"{kind}_tokens")) for kind in ("prompt", "completion"))
        self.use.requests += 1
        self.use.read += len(question.ids) if read is None else read
        self.use.written += n * question.max_tokens if written is None else written
        self.use.counted &= written is not None

    def _write_body(self, question: Question, way: _Manner, n: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, way.limit: question.max_tokens}
        body["temperature"] = question.temperature
        words = _list_words(question, way)
        body |= {name: value for name, value in words.items() if name not in way.refused}
        if question.sampled:
            body |= {} if question.seed is None else {"seed": question.seed}
            body |= question.filters.set_ones()
        body |= {"n": n} if n > 1 else {}
        if way.protocol == "chat":
            body["messages"] = question.messages()
        else:
            body["prompt"] = list(question.ids) if way.ids else question.text()
            body |= {} if way.ids or question.ends_itself else {"stop": [question.end_text]}
        return body

    # --------------------------------------------------------------------------------- reading an answer

    def _gives_ids(self, answer: Answer) -> bool:
        return all(isinstance(choice.get("token_ids"), list) for choice in _list_choices(answer))

    def _goes_on(self, answer: Answer, question: Question) -> bool:
        """Whether a reply has tokens after the end of its turn."""
        return any(question.end_id in (one.get("token_ids") or ())[:-1] for one in _list_choices(answer))

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

    def _explain(self, answer: Answer) -> EngineError:
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


def _list_words(question: Question, way: _Manner) -> dict[str, Any]:
    """What is said beyond OpenAI's own list of words, or beyond what all of its models take."""
    words: dict[str, Any] = {**asdict(question.filters), **_UNPENALIZED}
    words["top_k"] = words["top_k"] or way.every
    if way.protocol == "chat" and question.template:
        words[_TEMPLATE] = dict(question.template)
    if way.ids is not False:
        words["return_token_ids"] = True
    if way.ids:
        words |= {"stop_token_ids": [question.end_id], "skip_special_tokens": False}
        words |= {"ignore_eos": True} if way.stops else {}
        words["logprobs"] = True if way.protocol == "chat" else 0
    return words


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
    # SGLang's are of the tempered distribution; vLLM's are not, and it alone gives a reason to stop.
    plain = question.temperature in (0, 1) or "stop_reason" in told
    logprobs = _read_logprobs(told, len(ids), way.protocol) if plain else None
    return replace(reply, ended=ids[-1] == end, ids=tuple(ids), logprobs=logprobs)


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


def _as_count(told: Any) -> int | None:
    """Tokens as a server counts them, where it says a number that can be."""
    return told if type(told) is int and 0 <= told < 10**9 else None
