"""Commands run in forks of one process, and what they say and leave."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LONG = os.environ.get("ROBUSTNESS") == "long"
"""`make test-long`: all of it; else about a minute."""

FAULTS = ("Traceback (most recent call last)", "Segmentation fault", "core dumped", "Fatal Python error")


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str
    operations: int
    """On files below its folder."""
    seconds: float
    late: bool

    @property
    def killed(self):
        return self.status < 0

    def require_clean(self):
        """No traceback, no hanging."""
        assert not self.late, "it did not end"
        assert not any(fault in self.out + self.err for fault in FAULTS), self.err[-3000:]
        return self

    def require_done(self):
        assert self.require_clean().status == 0, (self.status, self.err[-2000:])
        return self

    def require_refused(self):
        """One sentence, and status 2 (or 1: the work ran and found a fault)."""
        assert self.require_clean().status in (1, 2), (self.status, self.out[-500:], self.err[-500:])
        return self


class Zygote:
    """Runs commands of ``oreo-agents``; see zygote.py."""

    def __init__(self):
        script = Path(__file__).with_name("zygote.py")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._hear() == "ready\n"

    def run(self, folder, *command, **request):
        """A command in a folder; see zygote.py for what else can be asked for."""
        log = Path(folder).parent / f"{request.pop('name', Path(folder).name)}.log"
        request |= {"command": [str(word) for word in command], "cwd": str(folder), "log": str(log)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self._hear())
        files = [Path(f"{log}.{name}") for name in ("out", "err")]  # none of one that is killed at once
        words = [file.read_text(errors="replace") if file.exists() else "" for file in files]
        return Outcome(answer["status"], *words, answer["operations"], answer["seconds"], answer["late"])

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    def _hear(self):
        return self.process.stdout.readline()
