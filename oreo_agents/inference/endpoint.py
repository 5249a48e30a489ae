"""A policy behind an OpenAI-compatible server (``vllm serve``, ``transformers serve``, SGLang, llama.cpp, ...).

Every candidate is one request for a plain text completion, many at a time. What goes wrong on the way is retried, and
then reported for the one episode it concerns. Prompts and masks stay this project's own: the server's chat template is
not used.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import httpx
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from oreo_agents.errors import EngineError
from oreo_agents.inference.proposals import Proposals
from oreo_agents.inference.tree import tree_of
from oreo_agents.language.chat import Chat
from oreo_agents.language.spelling import Speller

RETRIED_STATUSES = frozenset({408, 409, 425, 429})


class Endpoint:
    """Completions from a server, with timeouts and retries.

    Args:
        url: up to and including ``/v1``.
        model: as the server calls it.
        api_key: sent as a bearer token, if any.
        timeout: seconds for one request.
        retries: further attempts after a timeout, a broken connection, a status of 429 or 5xx, or an answer that is
            no completion; other statuses are final.
        backoff: seconds before the first of them; doubled each time.
        parallel: requests at once.
        prompts: ``text`` works everywhere; ``ids`` sends token ids where the server takes them (vLLM, SGLang), so that
            nothing is tokenized twice.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 0.5,
        parallel: int = 32,
        prompts: Literal["text", "ids"] = "text",
    ) -> None:
        self.url, self.model, self.prompts = url.rstrip("/"), model, prompts
        self.retries, self.backoff, self.parallel = retries, backoff, parallel
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=parallel)
        self._client = httpx.Client(timeout=timeout, headers=headers, limits=limits)

    def complete(self, prompt: str | list[int], **parameters: Any) -> tuple[str, bool]:
        """The text after ``prompt``, and whether it came to an end by itself.

        Raises:
            EngineError: the server refuses, or did not answer properly in any attempt.
        """
        body = {"model": self.model, "prompt": prompt, **parameters}
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.backoff * 2 ** (attempt - 1))
            try:
                return self._attempt(body)
            except (httpx.RequestError, _Nonsense) as error:
                reason = f"{type(error).__name__.lstrip('_')}: {error}"
        raise EngineError(f"{self.url} gave no completion in {self.retries + 1} attempts ({reason})")

    def _attempt(self, body: dict[str, Any]) -> tuple[str, bool]:
        response = self._client.post(f"{self.url}/completions", json=body)
        if response.status_code in RETRIED_STATUSES or response.status_code >= 500:
            raise _Nonsense(f"status {response.status_code}")
        if response.status_code != 200:
            raise EngineError(f"{self.url} answers {response.status_code}: {response.text[:200]!r}")
        try:
            choice = response.json()["choices"][0]
            text = choice["text"].encode(errors="replace").decode()
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Nonsense(f"{response.text[:80]!r} is no completion") from error
        return text, choice.get("finish_reason") != "length"


class _Nonsense(Exception):
    """An answer worth another attempt."""


class EndpointPolicy:
    """Candidates from an :class:`Endpoint`; an :class:`~oreo_agents.inference.Engine`. It has no log-probabilities.

    Args:
        endpoint: the server.
        chat: of the model's own tokenizer.
        slots: episodes at once.
        max_new_tokens: an action is cut after this many tokens.
        device: of the critic that judges the candidates.
    """

    def __init__(
        self, endpoint: Endpoint, chat: Chat, slots: int, max_new_tokens: int, device: torch.device
    ) -> None:
        self.endpoint, self.chat, self.max_new_tokens, self.device = endpoint, chat, max_new_tokens, device
        self._episodes: list[list[int]] = [[] for _ in range(slots)]
        self._added = _added_by(chat.tokenizer)
        self._speller = Speller(chat.tokenizer)
        ends_itself = chat.end_id == chat.tokenizer.eos_token_id
        self._stop = {} if ends_itself else {"stop": [chat.tokenizer.decode([chat.end_id])]}

    def clear(self, slots: Sequence[int]) -> None:
        """Forget the episodes in ``slots``."""
        for slot in slots:
            self._episodes[slot] = []

    def cut(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Forget what the episodes in ``slots`` hold beyond their first ``lengths`` tokens."""
        for slot, length in zip(slots, lengths, strict=True):
            del self._episodes[slot][length:]

    def extend(self, slots: Sequence[int], chunks: Sequence[Sequence[int]]) -> None:
        """Append tokens that were not sampled here."""
        for slot, chunk in zip(slots, chunks, strict=True):
            self._episodes[slot].extend(chunk)

    def propose(
        self, slots: Sequence[int], prompts: Sequence[Sequence[int]], uniforms: Tensor, temperature: float
    ) -> Proposals:
        """K candidates for each slot; the first random number of each is its seed, NaN means temperature 0."""
        self.extend(slots, prompts)
        texts = [self._prompt(self._episodes[slot]) for slot in slots]
        seeds = uniforms[:, 0].double()
        rows = zip(texts, seeds.tolist(), strict=True)
        requests = [(text, seed, temperature) for text, row in rows for seed in row]
        with ThreadPoolExecutor(self.endpoint.parallel) as pool:
            answers = list(pool.map(self._candidate, *zip(*requests, strict=True)))
        k = uniforms.shape[2]
        errors = {i // k: str(answer) for i, answer in enumerate(answers) if isinstance(answer, EngineError)}
        nothing = [self.chat.end_id]
        known = [nothing if isinstance(answer, EngineError) else answer for answer in answers]
        ids = [known[i : i + k] for i in range(0, len(known), k)]
        tree, nodes, counts = tree_of(ids, self.device)
        return Proposals(
            tree, nodes, torch.full(nodes.shape, torch.nan, device=self.device), counts, errors=errors
        )

    def keep(self, slots: Sequence[int], proposals: Proposals, lanes: Tensor) -> None:
        """Append the chosen candidates."""
        chosen = [row[lane][0] for row, lane in zip(proposals.listed(), lanes.tolist(), strict=True)]
        self.extend(slots, chosen)

    def _prompt(self, ids: list[int]) -> str | list[int]:
        if self.endpoint.prompts == "ids":
            return list(ids)
        begin = len(self._added) if ids[: len(self._added)] == self._added else 0
        return self._write_text(ids, begin)

    def _write_text(self, ids: list[int], begin: int) -> str:
        """A text that the server's tokenizer turns into ``ids`` again: SentencePiece's shows spaces after control
        tokens that it adds by itself."""
        tokenizer = self.chat.tokenizer
        text = str(tokenizer.decode(ids[begin:]))
        if not self._speller.adds_spaces or tokenizer(text)["input_ids"] == ids:
            return text
        controls = "|".join(re.escape(token) for token in tokenizer.all_special_tokens)
        shorter = re.sub(f"({controls}) ", r"\1", text)
        return shorter if tokenizer(shorter)["input_ids"] == ids else text

    def _candidate(self, prompt: str | list[int], seed: float, temperature: float) -> list[int] | EngineError:
        greedy = seed != seed
        sampling = {"temperature": 0.0} if greedy else {"temperature": temperature, "seed": int(seed * 2**31)}
        try:
            text, ended = self.endpoint.complete(
                prompt, max_tokens=self.max_new_tokens, **sampling, **self._stop
            )
        except EngineError as error:
            return error
        ids = self.chat.text_ids(text)[: self.max_new_tokens]
        return [*ids, self.chat.end_id] if ended or not ids else ids


def _added_by(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before any text by itself, so that a server's does not do it twice."""
    return list(tokenizer("")["input_ids"])
