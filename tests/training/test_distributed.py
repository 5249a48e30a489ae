"""Processes of two machines on CPU (gloo) against one: the same losses, and what is saved is an ordinary model.

Both machines are this one: two launchers, which find each other at an address. LONG=1 adds four processes.
"""

import json
import os
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import torch
import two_processes
from dies_once import train_shortly
from learning import EPISODES
from long_tests import LONG

from oreo_agents.cli.program import build_parser
from oreo_agents.cli.train import list_launcher_options
from oreo_agents.models.agent_folder import load_critic, load_policy

HERE = Path(__file__).parents[1] / "helpers"
METHODS = ("oreo", "sft", "kto")
ASSETS = HERE.parents[1] / "oreo_agents" / "assets" / "accelerate"
CONFIGS = sorted(ASSETS.glob("*.yaml"))
PORT = (
    20_000 + os.getpid() % 10_000
)  # below those that the system gives to others between choosing and binding
PATIENCE = 560
"""Seconds for what takes ten on a machine without other work."""
COUNTS = (2, 4) if LONG else (2,)
"""Processes, half of them on each of two machines."""
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
    "OMP_NUM_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else the second attempt may wait for the first
}


def launchers(launch, processes, port, *options):
    """What each of two machines, which are both this one, starts accelerate with."""
    for rank in (0, 1):
        line = f"--launch {launch} --machines 2 --machine-rank {rank} --processes {processes // 2}"
        words = ["train", "--data", "d", "--model", "m", "-o", "o", *line.split()]
        args = build_parser().parse_args([*words, "--main-address", f"127.0.0.1:{port}", *options])
        yield ["-m", "accelerate.commands.launch", *list_launcher_options(args), *HERE_AND_NOW]


HERE_AND_NOW = ("--mixed_precision", "no", "--dynamo_backend", "no")


def run_all(forks, commands, port=None):
    """Side by side, once the first listens to that port, if one is given; what each printed of errors.

    Launchers start what PYTHON_EXEC says, forks, too.
    """
    environment = {**os.environ, **ENVIRONMENT, "PYTHON_EXEC": str(forks.command)}
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile("w+")) for _ in commands]
        started = []
        for command, file in zip(commands, files, strict=True):
            started.append(forks.start(command, env=environment, stdout=file, stderr=file))
            stack.callback(started[-1].kill)
            while port and started[0].poll() is None and not listens(port):
                time.sleep(0.1)
        failed = any([one.wait(timeout=PATIENCE) for one in started])
        for file in files:
            file.seek(0)
        told = [file.read() for file in files]
        assert not failed, "\n".join(told)
    return told


def listens(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory, forks):
    """What one process and several of two machines left behind."""
    folder = tmp_path_factory.mktemp("distributed")
    program = two_processes.__file__
    run_all(forks, [[program, folder, 1, *METHODS]])
    for count in COUNTS:
        both = launchers("fsdp2", count, PORT + count)
        run_all(forks, [[*launcher, program, folder, count, *METHODS] for launcher in both])
    return folder


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("method", METHODS)
def test_several_processes_log_what_one_logs(folder, method, count):
    one, two = (json.loads((folder / f"losses-{n}.json").read_text())[method] for n in (1, count))
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
        *([("agent-4", "agent-1"), ("resumed-4", "agent-4")] if LONG else []),
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


@pytest.mark.parametrize("machines", (1, 2) if LONG else (1,))
def test_a_process_that_is_killed_is_started_anew_and_the_losses_stay(tmp_path, forks, machines):
    """All begin again from the newest checkpoint; one process alone is never disturbed."""
    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "data") as writer:
        for number, played in enumerate(EPISODES[:1] * 8):
            writer.append(replace(played, seed=number))
    start = str(ASSETS.parent / "start")
    train_shortly(str(tmp_path / "data"), start, str(tmp_path / "one"))
    elastic = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    both = launchers("multi_gpu", 2, PORT + 1, "--restarts", "1") if machines == 2 else [elastic]
    program = [HERE / "dies_once.py", tmp_path / "data", start, tmp_path / "two"]
    # on one machine the second would take the place where they meet, if it were faster
    run_all(forks, [[*launcher, *program] for launcher in both], PORT + 1 if machines == 2 else None)
    assert (tmp_path / "two.died").exists(), "no process was killed"
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4]
    for line, other in zip(one, two, strict=True):
        assert other["loss"] == pytest.approx(line["loss"], abs=1e-5)
    assert one[-1]["loss"] < one[0]["loss"]
