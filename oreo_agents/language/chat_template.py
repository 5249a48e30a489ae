"""A chat template rendered within bounds: it is a program out of a file, and a single line of it can run for ever or
take all memory.

jinja's sandbox keeps it from Python, not from loops. So it is rendered in a child of this process, which has limits of
its own and is killed when it passes them; what came of it is remembered. Knows nothing about what is rendered.
"""

from __future__ import annotations

import os
import select
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date as Date
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from oreo_agents.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIRST_DAY = Date(2024, 7, 26)
"""What templates are told it is, where nobody says otherwise: the day that Llama's own fall back on."""

SECONDS = 10
"""Of computing; a usual template takes some hundredths of one."""
WAIT_S = 60.0
"""For an answer, on a machine with other work."""
MEMORY_BYTES = 1 << 29
"""Above what this process has."""
TEXT_BYTES = 1 << 20
"""Of what comes out; a template adds some lines to the messages."""
MOST_RENDERED = 256
"""Texts that are remembered."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    day: Date = FIRST_DAY,
    generate: bool = True,
    trusted: bool = False,
    **options: Any,
) -> str:
    """The messages as the tokenizer's chat template writes them, and the beginning of the next answer.

    Where processes cannot be forked (Windows) there is no bound.

    Args:
        tokenizer: whose template.
        messages: as transformers takes them.
        day: what the template is told it is.
        generate: with the beginning of the next answer.
        trusted: without the bound, for a template that has kept within it before.
        options: what else the template is given.

    Raises:
        CheckpointError: the template is damaged, or does not keep within time, memory and size.
    """

    def render() -> str:
        with _stop_clock(day):
            told: Any = list(messages)
            text: Any = tokenizer.apply_chat_template(
                told, tokenize=False, add_generation_prompt=generate, **options
            )
        if not isinstance(text, str):
            raise TypeError(f"{type(text).__name__} is no text")
        return text

    if trusted or not hasattr(os, "fork"):
        return _require_text(tokenizer, *_call_here(render))
    template = type(tokenizer), str(tokenizer.chat_template), str(tokenizer.special_tokens_map)
    asked = (*template, repr((list(messages), day, generate, sorted(options.items()))))
    if asked not in _RENDERED:
        text = _require_text(tokenizer, *_call_in_child(render))
        if len(_RENDERED) >= MOST_RENDERED:
            _RENDERED.clear()
        _RENDERED[asked] = text
    return _RENDERED[asked]


_RENDERED: dict[tuple[object, ...], str] = {}
"""What children have rendered: a child of a large process takes some hundredths of a second to make."""


def _require_text(tokenizer: PreTrainedTokenizerBase, said: bytes, text: str) -> str:
    if said != _DONE:
        raise CheckpointError(f"the chat template of {_name_tokenizer(tokenizer)} {text}: use another model")
    return text


def _call_here(work: Callable[[], str]) -> tuple[bytes, str]:
    try:
        return _DONE, work()
    except Exception as error:
        return _FAILED, _explain_failure(error)


def _explain_failure(error: BaseException) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"cannot be rendered ({type(error).__name__}: {reason})"


_CLOCK = Lock()


@contextmanager
def _stop_clock(day: Date) -> Iterator[None]:
    """Templates are told that it is ``day``: their ``strftime_now`` cannot be passed to them as an argument."""
    from transformers.utils import chat_template_utils

    module: Any = chat_template_utils
    now = datetime(day.year, day.month, day.day)
    stopped = type("stopped", (datetime,), {"now": classmethod(lambda cls, tz=None: now)})
    with _CLOCK:
        running, module.datetime = module.datetime, stopped
        try:
            yield
        finally:
            module.datetime = running


def _name_tokenizer(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "")) or type(tokenizer).__name__


_DONE, _FAILED = b"+", b"-"


def _call_in_child(work: Any) -> tuple[bytes, str]:
    """What ``work`` returns, or why it does not, in words that follow "the template"."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child runs jinja alone
        child = os.fork()
    if not child:
        _run_child(work, writing)
    os.close(writing)
    try:
        answer = _read_answer(reading)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None or not answer:
        return _FAILED, f"takes more than {SECONDS} s or {MEMORY_BYTES >> 20} MiB to render"
    if len(answer) > TEXT_BYTES:
        return _FAILED, f"renders to more than {TEXT_BYTES:,} bytes"
    return answer[:1], answer[1:].decode("utf-8", "replace")


def _run_child(work: Any, writing: int) -> None:
    """Never returns: nothing of the parent's is run or written in the child."""
    try:
        _set_limits()
        try:
            answer = _DONE + work().encode("utf-8", "surrogatepass")
        except MemoryError:
            answer = b""
        except BaseException as error:
            answer = _FAILED + _explain_failure(error).encode(errors="replace")
        view = memoryview(answer)[: TEXT_BYTES + 1]
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _set_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError), open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES,) * 2)


def _read_answer(reading: int) -> bytes | None:
    """All that comes, up to what is allowed and a byte; None where nothing came in time."""
    end, answer = time.monotonic() + WAIT_S, b""
    while len(answer) <= TEXT_BYTES:
        if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            break
        answer += part
    return answer
