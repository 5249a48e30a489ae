"""Programs run in forks of a process that has imported what the tests import, and has done nothing else.

A new Python spends seconds on importing torch and transformers; a fork has them. It gets streams, folder, environment
and signals of its own, may be killed, and ends with the status that a new Python would end with. What is asked at the
start of an interpreter (locale, hash seed, what is imported) needs one: ``subprocess``.

    forks.run(["-m", "oreo_agents", "eval", ...], capture_output=True)

is ``subprocess.run([sys.executable, "-m", "oreo_agents", "eval", ...], capture_output=True)``. Other programs start a
fork through ``forks.command``, which is this file run as a script.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

LIVES = 0.01
"""Seconds between two looks at whether a program still runs."""


class Forks:
    """Where programs are asked for.

    Made where nothing has been done yet: what has threads (torch's backward, a pool) does not survive a fork.
    """

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="forks"))
        self.address = str(self.folder / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.address)
        listener.listen(64)
        ended, self._lifeline = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                _serve(listener, ended)
            finally:
                os._exit(1)
        os.close(ended)
        listener.close()
        self.command = self.folder / "python"
        self.command.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {__file__} {self.address} "$@"\n')
        self.command.chmod(0o755)

    def start(self, words, **options):
        """Starts ``python WORDS``; see :class:`Program`."""
        return Program(self.address, words, **options)

    def run(
        self, words, *, input=None, capture_output=False, text=False, check=False, timeout=300, **options
    ):
        """Runs ``python WORDS`` to its end, as :func:`subprocess.run` does."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            if input is not None:
                given.write(input.encode() if isinstance(input, str) else input)
                given.seek(0)
                options["stdin"] = given
            if capture_output:
                options |= {"stdout": out, "stderr": err}
            program = self.start(words, **options)
            try:
                status = program.wait(timeout)
            finally:
                program.kill()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode() if text else file.read())
        done = subprocess.CompletedProcess(words, status, *said)
        if check and status:
            raise AssertionError(f"{words} ended with {status}: {said[1]}")
        return done

    def close(self):
        """Ends it, and the programs that still run."""
        os.close(self._lifeline)
        os.waitpid(self._pid, 0)
        self.command.unlink()
        os.unlink(self.address)
        self.folder.rmdir()


class Program:
    """A program that runs, as :class:`subprocess.Popen` has it; it is killed when this is closed.

    Args:
        address: of who forks.
        words: what follows ``python`` on a command line: ``-m MODULE ...``, ``-c CODE ...`` or ``FILE ...``.
        stdin: a file, as stdout and stderr; None: this process's.
        cwd: the folder; None: this process's.
        env: all of its environment; None: this process's.
        terminal: whether stdin becomes its terminal, and it the leader of a session.
    """

    def __init__(
        self, address, words, stdin=None, stdout=None, stderr=None, cwd=None, env=None, terminal=False
    ):
        words = [str(word) for word in words]
        asked = {
            "words": words,
            "cwd": os.path.abspath(cwd or os.getcwd()),
            "env": {str(name): str(value) for name, value in (os.environ if env is None else env).items()},
            "terminal": terminal,
        }
        nothing = os.open(os.devnull, os.O_RDWR)
        streams = [
            number if given is None else nothing if given == subprocess.DEVNULL else given
            for number, given in enumerate((stdin, stdout, stderr))
        ]
        self.returncode = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        socket.send_fds(self._socket, [b"!"], [x if isinstance(x, int) else x.fileno() for x in streams])
        os.close(nothing)
        self._socket.sendall(json.dumps(asked).encode() + b"\n")
        self._told = self._socket.makefile("r")
        self.pid = int(self._told.readline())

    def poll(self):
        """Its status once it has ended."""
        return self.ends(0)

    def wait(self, timeout=None):
        """Its status when it ends: minus the number of the signal that killed it.

        Raises:
            TimeoutExpired: it still runs.
        """
        if self.ends(timeout) is None:
            raise subprocess.TimeoutExpired("a fork", timeout)
        return self.returncode

    def ends(self, timeout):
        """Its status when it ends within so many seconds, else None."""
        if self.returncode is None and select.select([self._socket], [], [], timeout)[0]:
            self.returncode = int(self._told.readline())
        return self.returncode

    def send_signal(self, number):
        """To it, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it, and forgets it."""
        self.send_signal(signal.SIGKILL)
        self.wait()
        self._told.close()
        self._socket.close()


def _serve(listener, lifeline):
    """One process after the other, each of which starts a program and tells how it ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    kept = (listener.fileno(), lifeline, nothing)
    for number in map(int, os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd")):
        with suppress(OSError):  # that of the listing is closed
            if number not in kept and os.fstat(number):
                os.dup2(nothing, number)  # whoever waits for the end of a file would wait for this process
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the test run's
    while lifeline not in (ready := select.select([listener, lifeline], [], [])[0]):
        if listener in ready:
            asking, _ = listener.accept()
            if not os.fork():
                listener.close()
                _watch(asking, lifeline)
            asking.close()
    os._exit(0)


def _reap(*_):
    """Who has ended is gone, and counts in what was computed."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch(asking, lifeline):
    """Starts a program and tells its id and its status; kills it where nobody waits for it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(asking, 1, 3)
    asked = json.loads(asking.makefile("r").readline())
    pid = os.fork()
    if not pid:
        asking.close()
        _become(asked, streams)
    for stream in streams:
        os.close(stream)
    asking.sendall(f"{pid}\n".encode())
    ended = 0
    while not ended:
        if select.select([asking, lifeline], [], [], LIVES)[0]:
            os.kill(pid, signal.SIGKILL)
            os._exit(1)
        ended, status = os.waitpid(pid, os.WNOHANG)
    asking.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(asked, streams):
    """In the fork: a process as a new Python would be, and what it runs."""
    import atexit
    import logging
    import multiprocessing.util
    import threading
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if asked["terminal"]:
        import fcntl
        import termios

        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[:0] = [
        path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path
    ]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if name == "stderr" else "strict"
        stream = os.fdopen(number, "w" if number else "r", encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    logging.getLogger().handlers.clear()
    for made in logging._handlerList:
        if type(handler := made()) is logging.StreamHandler:
            handler.setStream(sys.stderr)
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)
    status = 1
    try:
        _run(asked["words"])
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        else:
            status = ended.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120  # as Python has it
    os._exit(status & 0xFF)


def _run(words):
    """What ``python WORDS`` does."""
    import runpy

    if words[0] == "-u":
        words = words[1:]
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
        runpy.run_path(words[0], run_name="__main__")


def main(address, words):
    """Runs a program for whoever cannot do so, and ends as it ends."""
    program = Program(address, words)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(program.pid, number))
    while program.poll() is None:
        time.sleep(LIVES)
    if program.returncode < 0:
        signal.signal(-program.returncode, signal.SIG_DFL) if program.returncode != -signal.SIGKILL else None
        os.kill(os.getpid(), -program.returncode)
    sys.exit(program.returncode)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
