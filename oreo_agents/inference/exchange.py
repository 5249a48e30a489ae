"""One question to a server and its answer, within bounds of time and size, and without a word of the key.

Knows nothing about completions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from string import ascii_lowercase, ascii_uppercase
from time import time
from typing import Any, TypeVar

import httpx

from oreo_agents.errors import EngineError
from oreo_agents.inference.server import split_address
from oreo_agents.printable import make_printable

T = TypeVar("T")

_SHORTEST_SECRET = 8
"""A shorter key, such as EMPTY, is a word that texts may have."""

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server says."""

    status: int
    body: bytes
    wait: float | None
    """Seconds, where it says after how long to ask again."""

    def read_json(self) -> Any:
        """The value.

        Raises:
            ValueError: it is no JSON, or nested too deeply.
        """
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


class Unusable(Exception):
    """No answer within the bounds, or none that can be used; another attempt may get one."""


class BoundedExchange:
    """Posts JSON to one server, many requests at a time.

    A request has ``timeout`` seconds from its beginning to the last byte of its answer, however slowly that drips. An
    answer that is longer than expected, or compressed (which is not asked for, and may unpack to anything), is refused.
    Redirects are not followed: they would take the key elsewhere.

    Args:
        url: of the server.
        key: sent as a bearer token, if any.
        timeout: seconds for one request.
        parallel: requests at once.
    """

    def __init__(self, url: str, key: str | None, timeout: float, parallel: int) -> None:
        parts = split_address(url)
        self.url, self.timeout = url.rstrip("/"), timeout
        self.host = f"{parts.scheme}://{parts.netloc}"
        """What messages call it: a path may hold a key."""
        self._key, self._parallel = key or "", parallel
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        self._running = set[Future[Any]]()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that asks, from any thread, also one with an event loop of its own."""
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, daemon=True, name="exchange").start()
                asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._running.add(future)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise
        finally:
            self._running.discard(future)

    def cancel(self) -> None:
        """Give up all that is being asked: where it is waited for, ``CancelledError`` is raised."""
        for future in [*self._running]:
            future.cancel()

    async def _open(self) -> None:
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=self._parallel)
        self._client = httpx.AsyncClient(timeout=None, headers=headers, limits=limits, follow_redirects=False)
        self._turns = asyncio.Semaphore(self._parallel)
        logging.getLogger("httpx").addFilter(self._shorten_address)

    def _shorten_address(self, record: logging.LogRecord) -> bool:
        """For httpx, which logs where every request goes."""
        if isinstance(record.args, tuple):
            record.args = tuple(self.host if str(x).startswith(self.url) else x for x in record.args)
        return True

    async def post(self, path: str, body: dict[str, Any], most: int) -> Answer:
        """Ask once.

        Args:
            path: below the server's URL.
            body: JSON.
            most: bytes that an answer may have.

        Raises:
            Unusable: there is no answer in time, or none within the bounds.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(self.timeout):
                    return await self._post(path, body, most)
            except TimeoutError as error:
                raise Unusable(f"no whole answer within {self.timeout:g} s") from error
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
                raise Unusable(self.hide_key(f"{type(error).__name__}: {error}")) from error

    async def _post(self, path: str, body: dict[str, Any], most: int) -> Answer:
        content = json.dumps(body).encode()
        async with self._client.stream("POST", f"{self.url}/{path}", content=content) as response:
            packed = response.headers.get("Content-Encoding", "identity")
            if packed != "identity":
                raise Unusable("its answer is compressed, which was not asked for")
            parts, size = [], 0
            async for part in response.aiter_raw():
                size += len(part)
                if size > most:
                    raise Unusable(f"its answer has more than {most} bytes")
                parts.append(part)
            return Answer(response.status_code, b"".join(parts), _read_wait(response.headers))

    def tells_key(self, text: str) -> bool:
        """Whether a text has the key in it; a short one is a word like others."""
        key = self._key.translate(_LOWER)
        return len(key) >= _SHORTEST_SECRET and key in text.translate(_LOWER)

    def hide_key(self, text: str) -> str:
        """A text without the key, and without any longer part of it."""
        key, lower = self._key.translate(_LOWER), text.translate(_LOWER)
        n = min(_SHORTEST_SECRET, len(key))
        if not n:
            return text
        parts = {key[i : i + n] for i in range(len(key) - n + 1)}
        hidden = {i + j for i in range(len(lower) - n + 1) if lower[i : i + n] in parts for j in range(n)}
        return re.sub(r"\0+", "[key]", "".join("\0" if i in hidden else x for i, x in enumerate(text)))

    def quote(self, answer: Answer) -> str:
        """The beginning of what a server said, fit to be printed."""
        said = answer.body[:4000].decode(errors="replace")
        message = _find_message(answer) or said
        return make_printable(self.hide_key(message.replace("\0", " "))[:300])

    def refuse(self, complaint: str) -> EngineError:
        """An error that names the server."""
        return EngineError(f"{self.host} {complaint}")


def _read_wait(headers: httpx.Headers) -> float | None:
    """``Retry-After``: seconds, or a date."""
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time()) if said else None
    except (ValueError, OverflowError):
        return None


def _find_message(answer: Answer) -> str:
    """What an error says in the usual places."""
    try:
        told = answer.read_json()
    except ValueError:
        return ""
    if isinstance(told, dict):
        inner = told.get("error", told)
        told = inner.get("message", inner.get("detail", "")) if isinstance(inner, dict) else inner
    return told if isinstance(told, str) else ""
