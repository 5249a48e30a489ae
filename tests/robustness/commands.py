"""Commands run in forks, and what they say and leave."""

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import faulty
from transformers import AutoModel, AutoTokenizer, LlamaForCausalLM, Qwen3ForCausalLM  # noqa: F401

# What a fork has, it need not import: there are hundreds.
import oreo_agents.agents.oreo
import oreo_agents.cli.program
import oreo_agents.dataset
import oreo_agents.evaluation.evaluate
import oreo_agents.experiments.demo
import oreo_agents.experiments.plan
import oreo_agents.experiments.run
import oreo_agents.rollout.record
import oreo_agents.training.train
import oreo_agents.training.trainer  # noqa: F401

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


class Commands:
    """Runs commands of ``oreo-agents``; see faulty.py for what may befall them."""

    def __init__(self, forks):
        self.forks = forks

    def run(self, folder, *command, kill_after=None, stop_after=None, timeout=300, environment=(), **faults):
        """A command in a folder, killed (SIGKILL) or stopped (SIGINT) after some seconds, if it should be."""
        log = Path(folder).parent / f"{faults.pop('name', Path(folder).name)}.log"
        request = {"command": [str(word) for word in command], "counted": f"{log}.counted", **faults}
        kept = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        files = {name: Path(f"{log}.{name}") for name in ("out", "err", "counted")}
        files["counted"].unlink(missing_ok=True)
        with files["out"].open("w") as out, files["err"].open("w") as err:
            program = self.forks.start(
                [faulty.__file__, json.dumps(request)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env={**os.environ, **kept, **dict(environment)},
            )
        while program.poll() is None and not files["counted"].exists():
            time.sleep(0.001)
        start = time.monotonic()
        for after, sent in ((kill_after, signal.SIGKILL), (stop_after, signal.SIGINT)):
            if after is not None and program.ends(after) is None:
                program.send_signal(sent)
        late = program.ends(timeout) is None
        program.kill()
        seconds = time.monotonic() - start
        words = [files[name].read_text(errors="replace") for name in ("out", "err")]
        operations = int(files["counted"].read_text() or 0)
        return Outcome(program.returncode, *words, operations, seconds, late)
