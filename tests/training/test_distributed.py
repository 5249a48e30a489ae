"""Two processes on CPU (gloo) against one: the same losses, and what a sharded run saves is an ordinary model."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learning import EPISODES

from oreo_agents.models.agent_folder import load_critic, load_policy

HERE = Path(__file__).parents[1] / "helpers"
METHODS = ("oreo", "sft", "kto")
ASSETS = HERE.parents[1] / "oreo_agents" / "assets" / "accelerate"
CONFIGS = sorted(ASSETS.glob("*.yaml"))
LAUNCH = ("-m", "accelerate.commands.launch", "--config_file", str(ASSETS / "fsdp2.yaml"))
LAUNCH = (*LAUNCH, "--num_processes", "2", "--mixed_precision", "no", "--dynamo_backend", "no")
PORT = (
    20_000 + os.getpid() % 10_000
)  # below those that the system gives to others between choosing and binding
LAUNCH = (*LAUNCH, "--main_process_port", str(PORT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What one process and two left behind."""
    folder = tmp_path_factory.mktemp("distributed")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    for launcher, processes in (((), 1), (LAUNCH, 2)):
        command = [
            sys.executable,
            *launcher,
            str(HERE / "two_processes.py"),
            str(folder),
            str(processes),
            *METHODS,
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_log_what_one_logs(folder, method):
    one, two = (json.loads((folder / f"losses-{n}.json").read_text())[method] for n in (1, 2))
    assert len(one) == len(two) == 3
    for line, other in zip(one, two, strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            assert other[name] == pytest.approx(value, abs=1e-5, rel=1e-5), name


@pytest.mark.parametrize(
    ("sharded", "expected"),
    [
        ("run-oreo-2/checkpoint-2", "run-oreo-1/checkpoint-2"),
        ("agent-2", "agent-1"),
        ("resumed-2", "agent-2"),
        ("resumed-1", "agent-1"),
    ],
)
def test_what_a_sharded_run_saves_is_loaded_by_one_process(folder, sharded, expected):
    paths = [folder / "sharded" / name for name in (sharded, expected)]
    policies = [load_policy(path)[0] for path in paths]
    critics = [load_critic(path) for path in paths]
    for one, two in (policies, critics):
        assert one.state_dict().keys() == two.state_dict().keys()
        for name, weight in one.state_dict().items():
            torch.testing.assert_close(two.state_dict()[name], weight, atol=1e-5, rtol=1e-5, msg=name)
    assert critics[1].value_head.weight.abs().sum() > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_shipped_configs(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == 8 and config.mixed_precision == "bf16"
    assert config.distributed_type.value in {"FSDP", "DEEPSPEED", "MULTI_GPU"}


def test_a_process_that_is_killed_is_started_anew_and_the_losses_stay(tmp_path):
    """torchrun begins again from the newest checkpoint; one process without torchrun is never disturbed."""
    from dies_once import train_shortly

    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "data") as writer:
        for number, played in enumerate(EPISODES[:1] * 8):
            writer.append(replace(played, seed=number))
    start = str(ASSETS.parent / "start")
    train_shortly(str(tmp_path / "data"), start, str(tmp_path / "one"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(HERE / "dies_once.py"), str(tmp_path / "data"), start]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # else the second attempt may wait for the first
    done = subprocess.run(
        [*command, str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "failed (exitcode: -9) local_rank: 1" in done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4]
    for line, other in zip(one, two, strict=True):
        assert other["loss"] == pytest.approx(line["loss"], abs=1e-5)
    assert one[-1]["loss"] < one[0]["loss"]
