"""Games that run in worker processes: each worker has several, and none takes another one's with it.

A game that hangs, or ends its worker, costs its own episode; the worker's other games are played again in a new one,
up to where they were, which nobody notices but by the time it takes. Knows nothing about rewards or Gymnasium.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from oreo_envs.errors import GameFileError
from oreo_envs.workers import Worker, WorkerFailure, count_cores

OPENING_SECONDS = 10.0
"""Of CPU time, to load a game; the first of a kind takes a second."""
STEP_SECONDS = 5.0
"""Of CPU time, to answer a command; usual are hundredths."""
REPLAY_SECONDS = 0.5
"""For each command that is played again, beside the time to load; a game of PDDL takes a tenth."""
REVIVALS = 20
"""So often a game is taken up in another worker, before it is given up, too."""
SENT_AHEAD = 256
"""Calls that wait for one worker, at most: what is in a pipe is limited."""

_INTERPRETER = "oreo_envs.textworld.interpreter"


class Position(NamedTuple):
    """What is known of a game after a command."""

    feedback: str
    commands: tuple[str, ...]
    """The admissible ones, sorted; empty where the game's kind does not tell."""
    score: float
    max_score: float
    won: bool
    lost: bool
    ended: bool
    status: str
    objective: str
    plan: tuple[str, ...]
    """What is left of the walkthrough, where it was asked for and is still followed."""


class RunningGame:
    """A game in a worker. ``begin_`` methods return at once; :meth:`poll` tells whether :meth:`finish`, which gives the
    position, would have to wait.

    Args:
        path: of the game file.
        name: of the game, for errors.
        with_plan: whether positions have a plan.
    """

    def __init__(self, path: str, name: str, with_plan: bool) -> None:
        self.path, self.name, self.with_plan = path, name, with_plan
        self.commands: tuple[str, ...] = ()
        """What led from the beginning to the present position."""
        self._host: _Host | None = None
        self._call, self._revivals, self._replays = _Call(), REVIVALS, False

    @property
    def is_open(self) -> bool:
        """Whether a worker plays it."""
        return self._host is not None and not self._host.dead

    def begin_reset(self) -> None:
        """Start over."""
        if not self.is_open:
            self._after: tuple[str, ...] = ()
            self._ask(self._open())
        else:
            self.begin_restore(())

    def begin_restore(self, commands: Sequence[str]) -> None:
        """Go to where ``commands`` lead from the beginning."""
        self._after = tuple(commands)
        self._ask(self._send_restore())

    def begin_step(self, command: str) -> None:
        """Carry out a command."""
        self._after = (*self.commands, command)
        self._ask(self._send("step_game", command, deadline=STEP_SECONDS))

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether :meth:`finish` need not wait; waits for that up to ``timeout`` seconds.

        Where another game has ended the worker, this one begins once more in another one.
        """
        call = self._call
        if not (call.done or self._host is None or self._host.wait(call, timeout)):
            return False
        if call.lost and self._revivals:
            self._revivals -= 1
            self._call, self._replays = self._open(), bool(self._after)
            return False
        if self._replays and not call.lost and call.error is None:
            self._call, self._replays = self._send_restore(), False
            return False
        return True

    def finish(self) -> Position:
        """The position to which the call leads that was begun.

        Raises:
            GameFileError: the game hangs, ends its interpreter, or cannot be played by TextWorld.
        """
        try:
            position = self._receive()
        except WorkerFailure as failure:
            self.close()
            reason = str(failure).replace(f"{_INTERPRETER}:", "")
            raise GameFileError(f"{self.name}: TextWorld cannot play it on ({reason}).") from failure
        except ImportError as missing:
            self.close()
            raise GameFileError(
                f"{self.name} needs TextWorld, which does not work here ({missing})."
            ) from missing
        self.commands = self._after
        return position

    def keep_position(self) -> None:
        """Let the interpreter keep a snapshot of the present position, so that coming back to it is quick."""
        if self._host is not None and not self._host.dead:
            self._host.send(self, "keep_position", (), STEP_SECONDS)

    def close(self) -> None:
        """Let go of the worker."""
        host, self._host, self.commands = self._host, None, ()
        self._ask(_Call())
        if host is not None and not host.dead:
            host.games -= 1
            host.send(self, "close_game", (), STEP_SECONDS)

    def __del__(self) -> None:
        with suppress(Exception):  # the program may be ending
            self.close()

    def _open(self) -> _Call:
        self._host = INTERPRETERS.choose()
        self._host.games += 1
        arguments = (self.path, self.with_plan, self._host.folder)
        return self._host.send(self, "open_game", arguments, OPENING_SECONDS)

    def _send_restore(self) -> _Call:
        deadline = OPENING_SECONDS + REPLAY_SECONDS * len(self._after)
        return self._send("restore_game", self._after, deadline=deadline)

    def _send(self, function: str, *args: Any, deadline: float) -> _Call:
        if self._host is None or self._host.dead:
            return _Call(lost=True)
        return self._host.send(self, function, args, deadline)

    def _ask(self, call: _Call) -> None:
        """What :meth:`finish` will wait for."""
        self._call, self._revivals, self._replays = call, REVIVALS, False

    def _receive(self) -> Position:
        while not self.poll(inf):
            pass
        if self._call.lost:
            raise WorkerFailure("its worker process was ended again and again")
        if self._call.error is not None:
            raise self._call.error
        return self._call.result


class _Call:
    """Something that a worker was asked for."""

    def __init__(self, lost: bool = False) -> None:
        self.done = self.lost = lost
        self.result: Any = None
        self.error: Exception | None = None


class _Host:
    """A worker and the calls that wait for it, in order."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._folder = TemporaryDirectory(prefix="oreo-textworld-")
        self._waiting: deque[_Call] = deque()
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._killed = False
        self.games = 0

    @property
    def folder(self) -> str:
        """What its games are unpacked into; it goes with the worker, or with this process."""
        return self._folder.name

    @property
    def dead(self) -> bool:
        """Whether it plays no more; in a forked child, the parent's workers do not."""
        return self._killed or self._process != os.getpid()

    def send(self, game: RunningGame, function: str, args: tuple[Any, ...], deadline: float) -> _Call:
        with self._lock:
            call = _Call()
            while len(self._waiting) >= SENT_AHEAD:
                self._advance()
            if self.dead:
                call.done = call.lost = True
                return call
            self._waiting.append(call)
            self._worker.send(f"{_INTERPRETER}:{function}", (id(game), *args), deadline)
            return call

    def wait(self, call: _Call, timeout: float) -> bool:
        """Whether a call is done, one way or the other, within so many seconds."""
        until = time.monotonic() + timeout
        while not call.done:
            with self._lock:
                if self._waiting and not call.done:
                    if not self._worker.poll(until - time.monotonic()):
                        return False
                    self._advance()
        return True

    def kill(self) -> None:
        """End the worker; its calls are lost."""
        with self._lock:
            self._killed = True
            if self._process == os.getpid():
                self._worker.kill()
                self._folder.cleanup()
            while self._waiting:
                lost = self._waiting.popleft()
                lost.done = lost.lost = True

    def _advance(self) -> None:
        """Take in the next answer."""
        call = self._waiting[0]
        try:
            call.result = self._worker.receive()
        except (WorkerFailure, ImportError) as failure:
            if isinstance(failure, WorkerFailure) and self._worker.busy:
                if not self._worker.begun:  # it ended before it saw this call
                    return self.kill()
                call.error, call.done = failure, True
                self._waiting.popleft()
                return self.kill()
            call.error = failure
        self._waiting.popleft()
        call.done = True


class Interpreters:
    """As many workers as there are cores, started when needed and shared by all games of this process."""

    def __init__(self) -> None:
        self._hosts: list[_Host] = []
        self._lock = threading.Lock()

    def choose(self) -> _Host:
        """The worker with the fewest games."""
        with self._lock:
            self._hosts = [host for host in self._hosts if not host.dead]
            if len(self._hosts) < count_cores():
                self._hosts.append(_Host())
            return min(self._hosts, key=lambda host: host.games)

    def close(self) -> None:
        """End all workers; games that run are taken up in new ones."""
        with self._lock:
            for host in self._hosts:
                host.kill()


INTERPRETERS = Interpreters()
"""Of this process."""
