import os
import signal
import subprocess
import sys
import time
from threading import Thread

import pytest
from oreo_envs.workers import WorkerFailure, WorkerPool


@pytest.fixture
def pool():
    pool = WorkerPool(1)
    yield pool
    pool.close()


def test_a_worker_is_kept_between_calls(pool):
    first = pool.call("os:getpid", deadline=5)
    assert first == pool.call("os:getpid", deadline=5) != os.getpid()


def test_past_the_deadline_the_worker_is_replaced(pool):
    before = pool.call("os:getpid", deadline=5)
    start = time.perf_counter()
    with pytest.raises(WorkerFailure, match=r"no answer within 1 s|0\.2 s of CPU"):
        pool.call("time:sleep", 60, deadline=0.2)
    assert time.perf_counter() - start < 5
    assert pool.call("os:getpid", deadline=5) != before
    assert gone(before)


@pytest.mark.parametrize("crash", ["os:abort", "sys:exit"])
def test_a_crash_fails_one_call_only(pool, crash):
    with pytest.raises(WorkerFailure, match="ended its worker"):
        pool.call(crash, deadline=5)
    assert pool.call("math:sqrt", 9.0, deadline=5) == 3.0


def test_an_exception_comes_back_as_text_and_the_worker_stays(pool):
    worker = pool.call("os:getpid", deadline=5)
    with pytest.raises(WorkerFailure, match="ValueError"):
        pool.call("math:sqrt", -1.0, deadline=5)
    assert pool.call("os:getpid", deadline=5) == worker


def test_a_missing_module_is_no_wrong_answer(pool):
    with pytest.raises(ImportError, match="no_such_module"):
        pool.call("no_such_module:f", deadline=5)
    assert pool.call("math:sqrt", 9.0, deadline=5) == 3.0


def test_memory_is_bounded(pool):
    with pytest.raises(WorkerFailure, match="MemoryError"):
        pool.call("builtins:bytearray", 64 << 30, deadline=5)


def test_a_long_c_call_cannot_outlive_the_deadline(pool):
    start = time.perf_counter()
    with pytest.raises(WorkerFailure):
        pool.call("operator:pow", 9, 10**9, deadline=0.2)
    assert time.perf_counter() - start < 5


def test_more_threads_than_workers_wait_their_turn(pool):
    results = []
    threads = [
        Thread(target=lambda n=n: results.append(pool.call("math:sqrt", float(n * n), deadline=5)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [float(n) for n in range(8)]


def test_a_forked_child_has_workers_of_its_own(pool):
    mine = pool.call("os:getpid", deadline=5)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = pool.call("os:getpid", deadline=5)
        pool.close()
        os.write(writing, str(theirs).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 20)) != mine
    assert pool.call("os:getpid", deadline=5) == mine


PROGRAM = """
import threading, time
from oreo_envs.workers import WorkerPool
pool = WorkerPool(1)
print(pool.call("os:getpid", deadline=5), flush=True)
if {busy}:
    sleep = lambda: pool.call("time:sleep", 60, deadline=1.0)
    threading.Thread(target=sleep, daemon=True).start()
    time.sleep(0.3)
if {killed}:
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("killed", [False, True])
def test_no_worker_outlives_the_program(busy, killed):
    code = PROGRAM.format(busy=busy, killed=killed)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        worker = int(program.stdout.readline())
        if killed:
            program.stdout.readline()
            program.send_signal(signal.SIGKILL)
        assert program.wait(20) == (-signal.SIGKILL if killed else 0)
    assert gone(worker)


def gone(process, patience=10.0):
    """Whether ``process`` ends within ``patience`` seconds (five deadlines, a busy machine)."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
            with open(f"/proc/{process}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":  # ended, and nobody to reap it here
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
