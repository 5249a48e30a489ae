"""What is seen of several stages at once, in a pipe."""

import io
import time
from types import SimpleNamespace

from rich.console import Console

from oreo_agents.experiments.stages import Stage
from oreo_agents.terminal import progress
from oreo_agents.terminal.suite_progress import StageBars, SuiteScreen

ROLLOUTS, OREO = (Stage(name, None, print) for name in ("seed-0/rollouts", "seed-0/oreo"))


def work_on_both(screen):
    """Two stages at work, of which one tells how far it is and ends."""
    screen.report(Stage("seed-0/sft", None, print), "reused", 12.0)
    for stage in (ROLLOUTS, OREO):
        screen.report(stage, "started", 0.0)
    screen.hear(ROLLOUTS.name, 3, 40)
    time.sleep(0.2)
    screen.hear(OREO.name, 1, 250)
    screen.report(ROLLOUTS, "done", 7.0)
    screen.hear(ROLLOUTS.name, 40, 40)  # told before it ended, heard later
    time.sleep(0.2)
    screen.report(OREO, "failed", 0.0)


def test_every_stage_at_work_is_told_now_and_then(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    with StageBars(tmp_path) as bars:
        work_on_both(bars)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("seed-0/sft: reusing")
    ended = lines.index("seed-0/rollouts: 7 s")
    assert any(line.startswith("seed-0/rollouts 3/40  seed-0/oreo 0  ") for line in lines[1:ended])
    assert all(line.startswith("seed-0/oreo 1/250  ") for line in lines[ended + 1 :])


def test_the_screen_of_a_suite_tells_how_far_stages_are(monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    console = Console(file=io.StringIO(), width=120)
    verdict = SimpleNamespace(stage=SimpleNamespace(name="judged"), test="unseen")
    with SuiteScreen([verdict], tmp_path, console) as screen:
        work_on_both(screen)
    said = console.file.getvalue()
    assert "0 of 1 judged; at work: seed-0/rollouts  3/40  0 s, seed-0/oreo  0 s" in said
    assert "0 of 1 judged; at work: seed-0/oreo  1/250  0 s" in said
    assert "seed-0/oreo: failed" in said
