"""Mutated files of every kind that is read: one family of errors, in bounded time and memory; see fuzzing.py."""

import json
import os
from pathlib import Path

import fuzzing
import pytest
from long_tests import LONG

HEAVY = ("answer", "config", "critic", "weights", "tokenizer", "tokenizer_config", "template")
"""An input of these takes a tenth of a second and more."""
SHORT = ("game", "meta", "journal", "suite", "result", "adapters", "problems")
PEAK_MB = 4000


def count_inputs(kind):
    if not LONG:
        return 25
    return 200 if kind in HEAVY else 900


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="no way to limit the memory of a process here"
)
@pytest.mark.parametrize("kind", fuzzing.KINDS if LONG else SHORT)
def test_mutated_files_are_refused_or_read(forks, kind):
    command = [fuzzing.__file__, kind, count_inputs(kind), os.environ.get("SEED", "0")]
    done = forks.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print({**found, "faults": len(found["faults"])})
    assert found["inputs"] == count_inputs(kind) and not found["faults"], found["faults"][:3]
    assert found["slowest"] < fuzzing.SECONDS and found["peak_mb"] < PEAK_MB
    assert found["refused"] or kind == "answer", "no mutation did harm"
