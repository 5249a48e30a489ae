"""Run a function that may hang or crash in a process that may be killed.

A small pool of persistent worker processes, callable from any thread. A worker is told to import the
function, says so, and only then the deadline runs; past it the worker dies and a fresh one is started.
The deadline counts the worker's CPU time, so that a verdict does not depend on what else the machine does;
where the worker has to wait for a core, the caller waits too, up to ``PATIENCE`` deadlines.
Nothing outlives the program: a worker ends when its pipe closes, and timers of its own end it if it
computes on after the program was killed. Knows nothing about what is computed. POSIX only.
"""

from __future__ import annotations

import atexit
import importlib
import os
import queue
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

STARTUP_SECONDS = 600.0
MEMORY_BYTES = 4 << 30
PATIENCE = 5
_MAIN = "import sys; sys.path[:] = {path!r}; from oreo_envs.workers import serve_calls; serve_calls({fd}, {memory})"


def count_cores() -> int:
    """Those that this process may use, where the system tells (Linux); otherwise all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class WorkerFailure(Exception):
    """A call passed its deadline, killed its worker or raised; its message says which."""


class WorkerPool:
    """At most ``size`` worker processes, started when first needed.

    >>> pool = WorkerPool(1)
    >>> pool.call("math:sqrt", 9.0, deadline=1.0)
    3.0
    """

    def __init__(self, size: int = 2) -> None:
        self._size = size
        self._forget()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def call(self, function: str, *args: Any, deadline: float) -> Any:
        """Return ``module:name`` called with ``args`` in a worker.

        Raises:
            WorkerFailure: no result in ``deadline`` CPU seconds (the import not counted), or an exception.
            ImportError: the worker cannot import ``module``.
        """
        worker = self._idle.get()
        try:
            if worker is None or not worker.alive:
                worker = Worker()
            return worker.call(function, args, deadline)
        except WorkerFailure:
            if worker is not None and worker.busy:
                worker.kill()
                worker = Worker()  # at once: it starts while the caller goes on
            raise
        except BaseException:
            if worker is not None:
                worker.kill()
                worker = None
            raise
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Kill the idle workers; a later call starts new ones."""
        idle = [self._idle.get_nowait() for _ in range(self._idle.qsize())]
        for worker in idle:
            if worker is not None:
                worker.kill()
            self._idle.put(None)

    def _forget(self) -> None:
        """Start empty; a forked child must not share its parent's workers."""
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        for _ in range(self._size):
            self._idle.put(None)


class Worker:
    """One process and the pipe to it. Calls may be sent ahead; they are carried out, and answered, in order.

    Args:
        memory: bytes of address space that it may take; None: any.
    """

    def __init__(self, memory: int | None = MEMORY_BYTES) -> None:
        self._pipe, theirs = Pipe()
        self._sent: deque[tuple[str, float]] = deque()
        self._forget_heard()
        with theirs:
            code = _MAIN.format(path=sys.path, fd=theirs.fileno(), memory=memory)
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
                start_new_session=True,  # Ctrl-C in the terminal is the program's to handle
            )

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether a call is not answered; where :meth:`receive` failed, it never will be."""
        return bool(self._sent)

    @property
    def begun(self) -> bool:
        """Whether the process is known to have begun with the oldest call that is not answered."""
        return bool(self._heard)

    def call(self, function: str, args: tuple[Any, ...], deadline: float) -> Any:
        """Run one call; left ``busy`` when the process is in no state for another."""
        self.send(function, args, deadline)
        return self.receive()

    def send(self, function: str, args: tuple[Any, ...], deadline: float) -> None:
        """Ask for a call, whose answer :meth:`receive` will give."""
        if not self._sent:
            self._forget_heard()
        self._sent.append((function, deadline))
        with suppress(OSError):  # receive() tells that the process is gone
            self._pipe.send((function, args, deadline))

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether :meth:`receive` has an answer, or the news that there is none; waits for it up to ``timeout`` s."""
        until = time.monotonic() + timeout
        try:
            while not self._is_answered():
                if not self._hear(min(until, self._overdue) - time.monotonic()):
                    return self._overdue <= time.monotonic()
        except (EOFError, OSError):
            pass  # receive() meets it again
        return True

    def receive(self) -> Any:
        """The answer to the oldest call that is not answered."""
        function, deadline = self._sent[0]
        try:
            while not self._is_answered():
                if not self._hear(self._overdue - time.monotonic()):
                    raise WorkerFailure(f"no answer within {self._patience:g} s")
        except (EOFError, OSError) as broken:
            message = f"{function} ended its worker process, or took more than {deadline:g} s of CPU time"
            raise WorkerFailure(message) from broken
        missing, *outcome = self._heard
        self._sent.popleft()
        self._forget_heard()
        if missing is not None:
            raise ImportError(missing)
        [(result, error)] = outcome
        if error is not None:
            raise WorkerFailure(f"{function} raised {error}")
        return result

    def kill(self) -> None:
        """End the process, whatever it is doing, and those that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pipe.close()

    def _forget_heard(self) -> None:
        self._heard: list[Any] = []
        """Of the oldest call: None or what is missing when it begins, then its outcome."""
        self._since = time.monotonic()
        """When that was asked for, or last heard of."""

    @property
    def _patience(self) -> float:
        return PATIENCE * self._sent[0][1] if self._heard else STARTUP_SECONDS

    @property
    def _overdue(self) -> float:
        return self._since + self._patience

    def _is_answered(self) -> bool:
        return len(self._heard) == 2 or self._heard[:1] not in ([], [None])

    def _hear(self, seconds: float) -> bool:
        """Take in what the process says next; False where it says nothing within so many seconds."""
        if not self._pipe.poll(max(seconds, 0.0)):
            return False
        self._heard.append(self._pipe.recv())
        self._since = time.monotonic()
        return True


def serve_calls(fd: int, memory: int | None) -> None:
    """Answer calls until the pipe closes: the whole life of a worker process."""
    if memory is not None:
        _limit_memory(memory)
    for timer in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(timer, signal.SIG_DFL)  # ends the process, even inside one long C call
    with suppress(EOFError, OSError), Connection(fd) as pipe:
        while True:
            function, args, deadline = pipe.recv()
            try:
                call = _import_function(function)
            except ImportError as missing:
                pipe.send(str(missing))
                continue
            pipe.send(None)
            _set_timers(deadline, PATIENCE * deadline)
            outcome = _catch_outcome(call, args)
            _set_timers(0.0, 0.0)
            pipe.send(outcome)


def _set_timers(cpu_seconds: float, seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(most: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _import_function(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _catch_outcome(call: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, str | None]:
    try:
        return call(*args), None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"[:500]
