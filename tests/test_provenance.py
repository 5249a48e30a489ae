"""What a result says of the program that made it, against git itself."""

import shlex
import shutil
import subprocess
import sys

import pytest

from oreo_agents.provenance import find_commit, format_command


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_commit_is_marked_where_the_program_differs_not_where_results_do(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        run = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    program, result = tmp_path / "program.py", tmp_path / "benchmarks" / "results" / "smoke.json"
    result.parent.mkdir(parents=True)
    for file in (program, result):
        file.write_text("1")
    assert find_commit(tmp_path) is None
    git("init")
    assert find_commit(tmp_path) is None
    git("add", ".")
    git("commit", "-m", "all")
    head = git("rev-parse", "HEAD")
    assert find_commit(tmp_path) == head
    result.write_text("2")
    (tmp_path / "new.txt").write_text("untracked")
    assert find_commit(tmp_path) == head
    program.write_text("2")
    assert find_commit(tmp_path) == f"{head}-dirty"
    git("add", ".")
    assert find_commit(tmp_path) == f"{head}-dirty"


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("--endpoint=https://host/sk-1/v1", "--endpoint=https://host"),
        ("HTTP://host:80?key=sk-1", "HTTP://host:80"),
        ("https://me:sk-1@host/v1", "https://host"),
        ("http://[::1]:8000/v1#sk-1", "http://[::1]:8000"),
        ("runs/http/v1", "runs/http/v1"),
    ],
)
def test_of_a_url_in_a_command_only_its_host_is_written(monkeypatch, word, kept):
    monkeypatch.setattr(sys, "argv", ["/bin/oreo-agents", "eval", word, "-n", "2"])
    assert shlex.split(format_command()) == ["oreo-agents", "eval", kept, "-n", "2"]
