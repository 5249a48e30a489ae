"""What a change invalidates, what a crash leaves, and what runs beside what."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from oreo_agents.errors import OreoError
from oreo_agents.experiments.stages import Stage, Stages, order_stages, tell_progress
from oreo_agents.models.trust import is_trusted, trusting_code


def write(text, path, *needed):
    """A stage's work: its text, and what the stages it needs have written."""
    path.write_text(text + "".join(need.read_text() for need in needed))


def fail(path, *needed):
    raise OreoError("there is nothing to learn from")


def stage(name, text="", needs=(), work=write):
    return Stage(name, text, partial(work, text or name) if work is write else work, tuple(needs))


def diamond(left="l"):
    """a -> (left, right) -> end."""
    a = stage("a")
    sides = [stage("left", left, [a]), stage("right", "r", [a])]
    return stage("end", "e", sides)


def stages(output):
    events = []
    return Stages(output, lambda one, event, _: events.append((one.name, event))), events


def test_a_stage_gets_what_it_needs_and_each_is_done_once(tmp_path):
    run, events = stages(tmp_path)
    assert run.run(diamond()).read_text() == "elara"
    assert [name for name, event in events if event == "started"] == ["a", "left", "right", "end"]


def test_a_change_redoes_what_depends_on_it_and_nothing_else(tmp_path):
    stages(tmp_path)[0].run(diamond())
    run, events = stages(tmp_path)
    assert run.run(diamond(left="L")).read_text() == "eLara"
    assert [name for name, event in events if event == "reused"] == ["a", "right"]


def test_a_new_stage_leaves_the_digests_of_the_others_alone():
    end = diamond()
    beside = stage("beside", "b", [end.needs[0]])
    assert [s.digest for s in order_stages([beside, end]) if s.name == "end"] == [end.digest]
    assert end.digest != diamond(left="L").digest


def test_two_stages_in_one_place_are_refused():
    with pytest.raises(ValueError, match="two different stages are called 'a'"):
        order_stages([stage("a", "1"), stage("a", "2")])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path, jobs):
    bad = stage("bad", work=fail)
    after = stage("after", needs=[bad])
    last = stage("last", needs=[after])
    run, _ = stages(tmp_path)
    failed = run.run_all([last, diamond()], jobs)
    assert failed == {
        "bad": "there is nothing to learn from",
        "after": "needs bad",
        "last": "needs after",
    }
    assert (tmp_path / "end").read_text() == "elara"


def test_processes_do_what_one_process_does(tmp_path):
    wanted = [diamond(), *(stage(f"x/{i}", str(i)) for i in range(5))]
    for jobs in (1, 3):
        assert stages(tmp_path / str(jobs))[0].run_all(wanted, jobs) == {}
    results = [
        {file.relative_to(folder): file.read_text() for file in folder.rglob("[!.]*") if file.is_file()}
        for folder in (tmp_path / "1", tmp_path / "3")
    ]
    assert results[0] == results[1] and len(results[0]) == 9


def test_what_other_inputs_made_is_removed_and_an_interrupted_part_is_kept(tmp_path):
    def append(text, path):
        path.mkdir(exist_ok=True)
        (path / text).write_text(text)
        if (path / "crash").exists():
            (path / "crash").unlink()
            raise KeyboardInterrupt

    def one(text):
        return Stage("folder", text, partial(append, text))

    run, _ = stages(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.run(one("crash"))
    (tmp_path / "folder" / "kept").write_text("")
    run.run(Stage("folder", "crash", partial(append, "more")))
    assert sorted(file.name for file in (tmp_path / "folder").iterdir()) == ["kept", "more"]
    assert run.times([one("crash")])["folder"]["interrupted"]
    run.run(one("other"))
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["other"]


def count_to(n, path):
    """Tell each step."""
    for i in range(n):
        tell_progress(i + 1, n)
    write("", path)


def write_trust(path):
    path.write_text(str(is_trusted()))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("trusted", [False, True])
def test_work_runs_a_models_code_where_the_user_has_said_so(tmp_path, jobs, trusted):
    with trusting_code(trusted):
        assert stages(tmp_path)[0].run_all([Stage("a", None, write_trust)], jobs) == {}
    assert (tmp_path / "a").read_text() == str(trusted)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_the_work_tells_is_heard_under_the_name_of_its_stage(tmp_path, jobs):
    heard = []
    run = Stages(tmp_path, hear=lambda *told: heard.append(told))
    assert run.run_all([Stage(f"x/{n}", n, partial(count_to, n)) for n in (2, 3)], jobs) == {}
    assert sorted(heard) == [(f"x/{n}", i + 1, n) for n in (2, 3) for i in range(n)]
    tell_progress(1, 1)  # outside of a stage nobody hears


def test_several_at_once_begin_with_those_that_most_wait_for(tmp_path):
    a = stage("a")
    judged = stage("judged", needs=[a])
    rollouts = stage("rollouts", needs=[a])
    poor, rich = stage("poor", needs=[rollouts]), stage("rich", needs=[rollouts])
    last = [stage(f"last-{i}", needs=[of]) for i, of in enumerate((poor, rich, rich))]
    begun = {}
    for jobs in (1, 2):
        run, events = stages(tmp_path / str(jobs))
        run.run_all([judged, *last], jobs)
        begun[jobs] = [name for name, event in events if event == "started"]
    assert begun[1] == ["a", "judged", "rollouts", "poor", "last-0", "rich", "last-1", "last-2"]
    assert begun[2][:5] == ["a", "rollouts", "judged", "rich", "poor"]


def write_threads(path, *needed):
    path.write_text(os.environ["OMP_NUM_THREADS"])


@pytest.mark.parametrize(("given", "expected"), [(None, "3"), ("5", "5")])
def test_jobs_share_the_cores_unless_threads_are_given(tmp_path, monkeypatch, given, expected):
    from oreo_agents.experiments import stages as module

    monkeypatch.setattr(module, "count_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    stages(tmp_path)[0].run_all([Stage("a", None, write_threads)], jobs=2)
    assert (tmp_path / "a").read_text() == expected


def linger(path, *needed):
    """Say who works, and work for longer than the test lasts."""
    path.write_text(str(os.getpid()))
    time.sleep(60)


def end_beside(ending, beside, path, *needed):
    """End in some way once the other stage is at work."""
    _when(beside.read_text)
    ending()


def raise_bug():
    raise ZeroDivisionError("a bug")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("ending", "error", "said"), [(raise_bug, ZeroDivisionError, "a bug"), (die, OreoError, "was killed")]
)
def test_a_bug_or_a_killed_job_ends_the_others_and_what_is_done_is_kept(tmp_path, ending, error, said):
    done = stage("done")
    beside = Stage("beside", None, linger, (done,))
    bad = Stage("bad", None, partial(end_beside, ending, tmp_path / "beside"), (done,))
    start = time.monotonic()
    with pytest.raises(error, match=said):
        stages(tmp_path)[0].run_all([beside, bad], jobs=2)
    assert time.monotonic() - start < 30
    assert _when(lambda: not _alive(int((tmp_path / "beside").read_text())))
    again, events = stages(tmp_path)
    again.run_all([done, Stage("bad", None, write_threads, (done,))], jobs=2)
    assert ("done", "reused") in events and ("bad", "done") in events


TWO_LINGER = f"""
import sys; from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_stages import linger; from oreo_agents.experiments.stages import Stage, Stages
if __name__ == '__main__':
    stages = Stages(Path(sys.argv[1]))
    stages.run_all([Stage(str(i), None, linger) for i in range(2)], jobs=2)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_a_run_that_is_ended(forks, tmp_path, sent):
    """Ctrl-C in a terminal reaches the workers, too, which leave it to the run."""
    (tmp_path / "run.py").write_text(TWO_LINGER)
    with (tmp_path / "said").open("w") as said:
        run = forks.start([tmp_path / "run.py", tmp_path], stderr=said)
    try:
        workers = [int(_when(lambda name=name: (tmp_path / name).read_text())) for name in "01"]
        if sent == signal.SIGINT:
            for pid in workers:
                os.kill(pid, sent)
            time.sleep(0.2)
            assert all(map(_alive, workers))
    finally:
        run.send_signal(sent)
        assert run.wait(30)
    assert _when(lambda: not any(map(_alive, workers)))
    assert "Traceback" not in (tmp_path / "said").read_text()


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _when(found, seconds=30.0):
    """The first true value that ``found`` returns."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"digest": 1}',
        "null",
        '{"digest": "x", "seconds": "y", "interrupted": 0}',
        "[" * 99_999,
    ],
    ids=range(7),
)
def test_a_stage_whose_note_is_damaged_is_done_again(tmp_path, damage):
    stages(tmp_path)[0].run(stage("a"))
    (tmp_path / ".a.stage").write_text(damage)
    again, events = stages(tmp_path)
    again.run(stage("a"))
    assert events == [("a", "started"), ("a", "done")]


@pytest.mark.parametrize(("text", "stay"), [("same", True), ("other", False)])
def test_checkpoints_of_the_same_work_stay_and_those_of_other_work_go(tmp_path, text, stay):
    for inputs in ("same", text):
        with pytest.raises(OreoError):
            stages(tmp_path)[0].run(stage("a", inputs, work=fail))
        there = (tmp_path / "a.checkpoints").exists()
        (tmp_path / "a.checkpoints").mkdir(exist_ok=True)
    assert there == stay
