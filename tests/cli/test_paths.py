"""What is not there, or cannot be written to, is said before anything heavy is loaded."""

import json
import subprocess
import sys

import pytest

from oreo_agents import cli
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.trajectory import Trajectory, Turn

NO_MODEL = "runs/no does not exist; pass a folder"
NO_DATA = "runs/no: no recorded episodes here (there is no such folder)"
TRAIN = "train --method sft --model new-mini --data runs/data"
LINES = {
    "eval --agent runs/no": NO_MODEL,
    "eval --agent small --critic runs/no": NO_MODEL,
    "record --agent runs/no -o x": NO_MODEL,
    "inspect runs/no": NO_MODEL,
    "inspect small --data runs/no": NO_DATA,
    "iterate --model runs/no -o x": NO_MODEL,
    "play --agent runs/no --plain": NO_MODEL,
    "serve runs/no": NO_MODEL,
    "export runs/no -o x": NO_MODEL,
    "bench --model runs/no": NO_MODEL,
    "train --data runs/data --model runs/no -o x": NO_MODEL,
    "train --data runs/no --model small -o x": NO_DATA,
    f"{TRAIN} --eval-data runs/no -o x": NO_DATA,
    f"{TRAIN} -o runs/agent": "runs/agent holds an agent already: choose another folder",
    f"{TRAIN} -o runs/other": "runs/other holds an agent already (learning_rate 0.001 then, 0.004 now): choose another",
    f"{TRAIN} -o runs/data": "runs/data holds something else than an agent",
    "replay runs/no": NO_DATA,
    "replay runs/data --compare runs/no": NO_DATA,
    "replay runs/data --episode 99": "--episode 99: 1 episodes of runs/data match: choose from 1 to that",
    "report runs/no -o x": NO_DATA,
    "dataset info runs/no": NO_DATA,
    "dataset verify runs/no": NO_DATA,
    "dataset merge runs/no -o x": NO_DATA,
    "dataset filter runs/no -o x": NO_DATA,
    "dataset split runs/no -o x y": NO_DATA,
    "dataset sample runs/no -n 1 -o x": NO_DATA,
    "runs runs/no": "no trained agent",
}
CHILD = """
import contextlib, io, json, sys
from oreo_agents import cli
for line in json.loads(sys.argv[1]):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            status = cli.main(line.split())
        except SystemExit as end:
            status = end.code
    print(json.dumps([line, status, err.getvalue(), [x for x in ("torch", "transformers") if x in sys.modules]]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What every line comes to, all of them in one fresh interpreter."""
    folder = tmp_path_factory.mktemp("paths")
    with TrajectoryWriter(folder / "runs" / "data") as writer:
        writer.append(Trajectory((Turn("a door", "open door", 1.0),), game="a", agent="expert"))
    recipe = {"method": "sft", "config": {"learning_rate": 1e-3, "muon": True}, "base_model": {}, "data": {}}
    recipe |= {"steps": 1, "seconds": 1.0, "device": "cpu", "format": 1}
    for name, files in {"agent": {}, "other": {"recipe.json": recipe}}.items():
        (folder / "runs" / name).mkdir()
        for file, content in {"agent.json": {}, **files}.items():
            (folder / "runs" / name / file).write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(list(LINES))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {line: rest for line, *rest in found}


@pytest.mark.parametrize("line", LINES)
def test_what_is_not_there_is_said_before_torch_is_loaded(answers, line):
    status, said, loaded = answers[line]
    assert status == 2 and said.startswith("error: ") and said.count("\n") == 1 and LINES[line] in said
    assert loaded == []


def test_datasets_that_are_read_as_one_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, env in (("a", "OREO-GSM8K"), ("b", "OREO-MATH")):
        with TrajectoryWriter(f"runs/{name}", env_spec={"id": env}) as writer:
            writer.append(Trajectory((Turn("a door", "open door", 1.0),), game=name, agent="expert"))
    assert cli.main(["replay", "runs", "--plain"]) == 0
    said = "runs: 2 datasets are read as one: a, b; of several environments: OREO-GSM8K, OREO-MATH\n"
    assert capsys.readouterr().err == said
    assert cli.main(["replay", "runs/a", "--plain"]) == 0
    assert capsys.readouterr().err == ""


def test_what_a_command_takes_is_said_where_it_is_given_more(capsys):
    with pytest.raises(SystemExit):
        cli.main(["dataset", "info", "A", "B"])
    assert "'B' is too much: oreo-agents dataset info takes PATH alone" in capsys.readouterr().err


def test_a_missing_configuration_is_a_missing_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.toml").write_text("")
    with pytest.raises(SystemExit):
        cli.main(["train", "--config", "exp.tml"])
    assert "error: exp.tml: there is no such file: did you mean exp.toml?" in capsys.readouterr().err
