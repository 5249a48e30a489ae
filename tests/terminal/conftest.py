import fcntl
import os
import pty
import select
import struct
import termios
import time

import pyte
import pytest
from episodes import episode

from oreo_agents.dataset import TrajectoryWriter


@pytest.fixture
def recorded(tmp_path):
    """A dataset of a won, a lost and a long episode."""
    with TrajectoryWriter(tmp_path / "recorded") as writer:
        for trajectory in (episode(), episode(won=False, game="game-2"), episode(40, game="game-3")):
            writer.append(trajectory)
    return tmp_path / "recorded"


class Terminal:
    """A program on a pseudo-terminal: type to it, wait for what it shows."""

    def __init__(self, forks, *command, columns=80, rows=30, term="xterm"):
        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.resize(columns, rows)
        self.written = b""
        self.process = forks.start(
            ["-m", "oreo_agents.cli", *command],
            **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
            env={**os.environ, "TERM": term, "PROMPT_TOOLKIT_NO_CPR": "1", "LC_ALL": "C.UTF-8"},
            terminal=True,
        )
        os.close(slave)

    def resize(self, columns, rows=30):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, seconds=60):
        """Wait until `text` is on the screen, wherever its lines are broken."""
        self._wait(lambda lines: text.replace(" ", "") in "".join(lines).replace(" ", ""), text, seconds)

    def expect_prompt(self, seconds=60):
        """Wait until the program asks for a command; what is typed earlier would be lost."""
        self._wait(lambda lines: next(filter(None, reversed(lines)), "") == ">", "a prompt", seconds)

    def _wait(self, shows, what, seconds):
        end = time.monotonic() + seconds
        while not shows([line.strip() for line in self.screen.display]):
            assert time.monotonic() < end and self._read(), f"{what!r} not in {self.screen.display}"

    def _read(self):
        """Take what the program has written within a moment; False when it has ended."""
        try:
            if select.select([self.master], [], [], 0.2)[0]:
                part = os.read(self.master, 65536)
                self.written += part
                self.stream.feed(part)
        except OSError:
            return False
        return True

    def ends(self, status=0):
        end = time.monotonic() + 60
        while time.monotonic() < end and self._read() and self.process.poll() is None:
            pass
        self._read()  # what was written last
        assert self.process.wait(10) == status

    def close(self):
        self.process.kill()
        os.close(self.master)


@pytest.fixture
def terminal(forks):
    opened = []

    def start(*command, **size):
        opened.append(Terminal(forks, *command, **size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
