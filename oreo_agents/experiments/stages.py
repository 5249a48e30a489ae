"""Work in stages that a second run reuses and an interrupted one continues. Knows nothing about what is done.

A stage names the stages it needs; so many at a time as there are processes run, in any order that respects that.
A stage is known by its name, its inputs and the stages it needs: a new one beside it does not concern it. What its work
does not tell by :func:`tell_progress` is not known before it ends.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Literal

from oreo_envs.files import hash_json, read_json, remove_path, write_file
from oreo_envs.workers import count_cores

from oreo_agents.errors import OreoError
from oreo_agents.models.trust import is_trusted, trusting_code

CHECKPOINTS = ".checkpoints"
"""What :func:`oreo_agents.training.train.train` appends to the name of an agent for its checkpoints."""

Event = Literal["reused", "started", "done", "failed"]


@dataclass(frozen=True)
class Stage:
    """A part of a run that leaves one file or folder.

    ``work(path, *needed)`` gets the place where its result belongs and those of the stages it needs. Begun again
    after an interruption it finds there what it had written, and beside it, in ``<path>.checkpoints``, how far a
    training was. To run in another process it must be picklable.
    """

    name: str
    """Its place below the output folder, with ``/`` between folders."""
    inputs: Any
    """What else the result depends on, as JSON values; other things by their text."""
    work: Callable[..., Any]
    needs: tuple[Stage, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Identifies what the result is made from."""
        return hash_json([self.name, self.inputs, [stage.digest for stage in self.needs]])


Report = Callable[[Stage, Event, float], None]
"""Is told what happens to which stage, and how many seconds it took."""

Hear = Callable[[str, int, int], None]
"""Hears how much the stage of that name has done, and of how much: episodes, or steps of a training."""


def ignore_events(stage: Stage, event: Event, seconds: float) -> None:
    """A report to nobody."""


def ignore_progress(name: str, done: int, total: int) -> None:
    """Nobody hears."""


def tell_progress(done: int, total: int) -> None:
    """Say, from a stage's work, how much of it is done; whoever runs the stages hears it, in whatever process."""
    _AT_WORK.hear(_AT_WORK.name, done, total)


class Stages:
    """Runs stages once each and remembers them in the output folder.

    Args:
        output: folder of the run.
        report: is told what begins and ends.
        hear: is told how far those at work are.
    """

    def __init__(self, output: Path, report: Report = ignore_events, hear: Hear = ignore_progress) -> None:
        self.output, self.report, self.hear = output, report, hear
        self._known: set[str] = set()

    def path(self, stage: Stage) -> Path:
        """Where a stage's result is."""
        return self.output / stage.name

    def run(self, stage: Stage) -> Path:
        """Do a stage and all it needs, unless that was done before; where its result is.

        Raises:
            OreoError: one of them could not be done.
        """
        for one in order_stages([stage]):
            if not self._reusable(one):
                self._finish(one, _time_work(one.name, *self._begin(one)))
        return self.path(stage)

    def run_all(self, stages: Iterable[Stage], jobs: int = 1) -> dict[str, str]:
        """Do stages and all they need, ``jobs`` at once; names and reasons of those that could not be done.

        What needs a stage that failed is not done; everything else is. Several at once begin with those that most
        others wait for.

        Raises:
            OreoError: the process of a job was killed; what the jobs had written is kept.
        """
        waiting = [stage for stage in order_stages(stages) if not self._reusable(stage)]
        if jobs > 1:
            waiting = _put_awaited_first(waiting)
        unfinished = {stage.name for stage in waiting}
        failed: dict[str, str] = {}
        running: dict[Future[float], Stage] = {}
        with _start_workers(jobs, self.hear) as (submit, listen):
            while waiting or running:
                for stage in [stage for stage in waiting if any(need.name in failed for need in stage.needs)]:
                    waiting.remove(stage)
                    failed[stage.name] = f"needs {next(n.name for n in stage.needs if n.name in failed)}"
                ready = [
                    stage for stage in waiting if all(need.name not in unfinished for need in stage.needs)
                ]
                for stage in ready[: jobs - len(running)]:
                    waiting.remove(stage)
                    running[submit(stage.name, *self._begin(stage))] = stage
                ended = wait(running, LISTENING, FIRST_COMPLETED).done
                for future in sorted(ended, key=lambda one: one.exception() is not None):  # keep what is done
                    stage = running.pop(future)
                    try:
                        self._finish(stage, future.result())
                        unfinished.remove(stage.name)
                    except OreoError as error:
                        failed[stage.name] = str(error)
                        self.report(stage, "failed", 0.0)
                listen()
        return failed

    def times(self, stages: Iterable[Stage]) -> dict[str, dict[str, Any]]:
        """Seconds that each finished stage took, and whether it was interrupted: then only of its last part."""
        marks = {stage.name: self._mark(stage) for stage in order_stages(stages)}
        return {
            name: {"seconds": mark["seconds"], "interrupted": mark["interrupted"]}
            for name, mark in marks.items()
            if mark.get("seconds") is not None
        }

    def _reusable(self, stage: Stage) -> bool:
        mark = self._mark(stage)
        done = mark.get("digest") == stage.digest and mark["seconds"] is not None
        if not (done and self.path(stage).exists()):
            return False
        if stage.digest not in self._known:
            self._known.add(stage.digest)
            self.report(stage, "reused", mark["seconds"])
        return True

    def _begin(self, stage: Stage) -> tuple[Any, ...]:
        """Clear what other inputs made, keep what an interrupted run of the same stage left."""
        interrupted = self._mark(stage).get("digest") == stage.digest
        path = self.path(stage)
        if not interrupted:
            remove_path(path)
            remove_path(path.with_name(path.name + CHECKPOINTS))
        self._write_mark(stage, None, interrupted)
        self.report(stage, "started", 0.0)
        return stage.work, path, *map(self.path, stage.needs)

    def _finish(self, stage: Stage, seconds: float) -> None:
        self._write_mark(stage, seconds, self._mark(stage)["interrupted"])
        self._known.add(stage.digest)
        self.report(stage, "done", seconds)

    def _mark_path(self, stage: Stage) -> Path:
        path = self.path(stage)
        return path.with_name(f".{path.name}.stage")

    def _mark(self, stage: Stage) -> dict[str, Any]:
        """What is noted of a stage; nothing, so that it is done again, where the note is damaged."""
        try:
            mark = read_json(self._mark_path(stage))
        except (FileNotFoundError, ValueError):
            return {}
        sound = isinstance(mark, dict) and mark.keys() >= {"digest", "seconds", "interrupted"}
        return mark if sound and isinstance(mark["seconds"], int | float | None) else {}

    def _write_mark(self, stage: Stage, seconds: float | None, interrupted: bool) -> None:
        mark = {"digest": stage.digest, "seconds": seconds, "interrupted": interrupted}
        write_file(self._mark_path(stage), json.dumps(mark))


def order_stages(stages: Iterable[Stage]) -> list[Stage]:
    """The stages and all they need, each once and after what it needs; the given order where that is free."""
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.name in ordered:
            if ordered[stage.name].digest != stage.digest:
                raise ValueError(f"two different stages are called {stage.name!r}")
            return
        for need in stage.needs:
            visit(need)
        ordered[stage.name] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())


def _put_awaited_first(stages: Sequence[Stage]) -> list[Stage]:
    """The stages, those first that most others wait for, directly or not; the given order where as many do."""
    waiting: dict[str, set[str]] = {stage.name: set() for stage in stages}
    for stage in reversed(stages):
        for need in stage.needs:
            waiting.get(need.name, set()).update({stage.name}, waiting[stage.name])
    return sorted(stages, key=lambda stage: -len(waiting[stage.name]))


# ------------------------------------------------------------------------------------------------ processes

LISTENING = 0.5
"""Seconds between two looks at what is told."""


@dataclass
class _Working:
    """Of this process: what it is at work on, and who hears of it."""

    name: str = ""
    hear: Hear = ignore_progress


_AT_WORK = _Working()


def _time_work(name: str, work: Callable[..., Any], *paths: Path) -> float:
    _AT_WORK.name = name
    start = time.monotonic()
    work(*paths)
    return time.monotonic() - start


Submit = Callable[..., "Future[float]"]
Listen = Callable[[], None]


@contextmanager
def _start_workers(jobs: int, hear: Hear) -> Iterator[tuple[Submit, Listen]]:
    """Calls functions in ``jobs`` processes that share the cores, and passes on what they tell; one job is done here.

    Whatever ends this, Ctrl-C, an error or a kill, ends the processes at once.
    """
    if jobs == 1:
        _AT_WORK.hear = hear
        try:
            yield _call_here, lambda: None
        finally:
            _AT_WORK.hear = ignore_progress
        return
    others, context = set(active_children()), get_context("spawn")
    news: SimpleQueue[tuple[str, int, int]] = context.SimpleQueue()
    pool = ProcessPoolExecutor(jobs, context, _begin_worker, (max(1, count_cores() // jobs), news))
    workers = set[BaseProcess]()

    def submit(*work: Any) -> Future[float]:
        with _blocked_interrupts():  # workers inherit it: Ctrl-C in a terminal is for this process alone
            submitted = pool.submit(_work_there, is_trusted(), *work)
        workers.update(set(active_children()) - others)  # at once: one may die before anybody listens
        return submitted

    def listen() -> None:
        while not news.empty():
            hear(*news.get())
        alive = set(active_children()) - others
        if workers - alive:  # of the newest one's death the pool may not know before another's work ends
            raise BrokenProcessPool
        workers.update(alive)

    try:
        yield submit, listen
    except BaseException as error:
        for worker in set(active_children()) - others:
            worker.kill()
        if isinstance(error, BrokenProcessPool):
            raise OreoError(
                "a process at work on a stage was killed, perhaps because memory ran out; what was done is kept: run "
                "it again, with fewer jobs if memory is short"
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _call_here(*work: Any) -> Future[float]:
    future: Future[float] = Future()
    try:
        future.set_result(_time_work(*work))
    except OreoError as error:
        future.set_exception(error)
    return future


def _work_there(trusted: bool, *work: Any) -> float:
    """In a worker, which knows of no block of this process that trusts code."""
    with trusting_code(trusted):
        return _time_work(*work)


def _begin_worker(threads: int, news: SimpleQueue[tuple[str, int, int]]) -> None:
    """A worker uses its share of the cores, and does not outlive a run that was killed."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    _AT_WORK.hear = lambda *told: news.put(told)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """One that comes meanwhile is met at the end; where signals cannot be blocked (Windows), at once."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
