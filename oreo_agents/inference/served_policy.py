"""A policy behind a server as an engine: the episodes' ids are kept here, and each decision asks about all of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from oreo_agents.errors import EngineError
from oreo_agents.inference.endpoint import ContextFull, Endpoint, Question, ServedReply
from oreo_agents.inference.filters import Filters
from oreo_agents.inference.generation import SlotTexts, list_proposals
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.sampling import ALL, draws_from_other
from oreo_agents.language.chat import Chat
from oreo_agents.language.spelling import Speller


class OneAtATime(AbstractContextManager["OneAtATime"]):
    """Threads that share an agent go one at a time, but while they wait for a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> OneAtATime:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextmanager
    def let_others(self) -> Iterator[None]:
        """Whoever has it gives it away for as long as this lasts."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()


Messages = Callable[[int], list[dict[str, str]]]
"""What a slot's episode has read and said, as messages of a chat."""


class ServedPolicy(SlotTexts):
    """Candidates from an :class:`~oreo_agents.inference.endpoint.Endpoint`; an :class:`~oreo_agents.inference.Engine`.

    Args:
        endpoint: the server.
        chat: of the model's own tokenizer.
        slots: episodes at once.
        max_new_tokens: an action is cut after this many tokens.
        device: of the critic that judges the candidates.
        messages: for a server that writes conversations with its own template.
        turn: held by whoever asks for proposals.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        chat: Chat,
        slots: int,
        max_new_tokens: int,
        device: torch.device,
        messages: Messages,
        turn: OneAtATime,
    ) -> None:
        super().__init__(slots)
        self.endpoint, self.chat, self.max_new_tokens = endpoint, chat, max_new_tokens
        self.device, self.messages, self.turn = device, messages, turn
        self._added = list(
            chat.tokenizer("")["input_ids"]
        )  # what a server's tokenizer puts before any text, too
        self._speller = Speller(chat.tokenizer)
        self._end_text = str(chat.tokenizer.decode([chat.end_id]))

    def propose(
        self,
        slots: Sequence[int],
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor,
        temperature: float,
        filters: Filters = ALL,
    ) -> Proposals:
        """K candidates for each slot; the first random number of each is its seed, NaN means temperature 0.

        All that are sampled in a slot are one request, and so is the greedy one; equal seeds are one candidate. A
        server says how likely tokens were at temperature 1, and nothing of the distribution that it drew them from.
        """
        self.extend(slots, prompts)
        questions, places = list[Question](), list[tuple[int, list[int]]]()
        seeds = uniforms[:, 0].double().tolist()
        distinct = [list(dict.fromkeys(seed for seed in row if seed == seed)) for row in seeds]
        for row, slot in enumerate(slots):
            if any(seed != seed for seed in seeds[row]):
                questions.append(self._question(slot, 1, 0.0, None, ALL))
                places.append((row, [lane for lane, seed in enumerate(seeds[row]) if seed != seed]))
            if distinct[row]:
                first = int(distinct[row][0] * 2**31)
                questions.append(self._question(slot, len(distinct[row]), temperature, first, filters))
                places.append((row, []))
        known: list[list[ServedReply | None]] = [[None] * len(row) for row in seeds]
        errors, full = dict[int, str](), dict[int, str]()
        with self.turn.let_others():
            answers = self.endpoint.ask(questions)
        for (row, greedy), answer in zip(places, answers, strict=True):
            if isinstance(answer, ContextFull):
                full[row] = str(answer)
            elif isinstance(answer, EngineError):
                errors[row] = str(answer)
            elif greedy:
                for lane in greedy:
                    known[row][lane] = answer[0]
            else:
                for lane, seed in enumerate(seeds[row]):
                    if seed == seed:
                        known[row][lane] = answer[distinct[row].index(seed)]
        found = self._list_replies(known, errors, full)
        if draws_from_other(uniforms, temperature, filters):
            return replace(found, drawn=torch.full_like(found.logprobs, torch.nan))
        return found

    def _question(
        self, slot: int, n: int, temperature: float, seed: int | None, filters: Filters
    ) -> Question:
        ids = list(self._episodes[slot])
        return Question(
            ids,
            lambda: self._write_text(ids),
            lambda: self.messages(slot),
            self.chat.end_id,
            self._end_text,
            self.max_new_tokens,
            n,
            temperature,
            seed,
            filters,
            self.chat.end_id == self.chat.tokenizer.eos_token_id,
            self.chat.template_options,
        )

    def _list_replies(
        self, replies: Sequence[Sequence[ServedReply | None]], errors: dict[int, str], full: dict[int, str]
    ) -> Proposals:
        nothing = [self.chat.end_id], [torch.nan]
        listed, spelt = [], set[int]()
        for row, lanes in enumerate(replies):
            if any(reply is None for reply in lanes) or row in errors or row in full:
                listed.append([nothing] * len(lanes))
                continue
            known = [reply for reply in lanes if reply is not None]
            if any(reply.ids is None for reply in known):
                spelt.add(row)
            read = [self._read_reply(reply) for reply in known]
            if any(self.endpoint.tells_key(str(self.chat.tokenizer.decode(ids))) for ids, _ in read):
                errors[row] = f"{self.endpoint.host} repeats the key in a reply"
            listed.append(read)
        return list_proposals(listed, self.device, errors=errors, full=full, spelt=spelt)

    def _read_reply(self, reply: ServedReply) -> tuple[list[int], list[float]]:
        """Ids and log-probabilities of a reply; where only its text is known, the ids that spell it."""
        if reply.ids is not None:
            return list(reply.ids), list(reply.logprobs or [torch.nan] * len(reply.ids))
        ids = self.chat.text_ids(reply.text)
        ids = [*ids, self.chat.end_id] if reply.ended or not ids else ids
        return ids[: self.max_new_tokens], [torch.nan] * min(len(ids), self.max_new_tokens)

    def _write_text(self, ids: list[int]) -> str:
        """A text that the server's tokenizer turns into ``ids`` again: SentencePiece's shows spaces after control
        tokens that it adds by itself."""
        tokenizer = self.chat.tokenizer
        begin = len(self._added) if ids[: len(self._added)] == self._added else 0
        text = str(tokenizer.decode(ids[begin:]))
        if not self._speller.adds_spaces or tokenizer(text)["input_ids"] == ids:
            return text
        controls = "|".join(re.escape(token) for token in tokenizer.all_special_tokens)
        shorter = re.sub(f"({controls}) ", r"\1", text)
        return shorter if tokenizer(shorter)["input_ids"] == ids else text
