"""What training does: every logged number, and the weights, of a few steps by each kind of method."""

import json
from pathlib import Path

import pytest
from pins import Exact, check, do, sha256, without
from safetensors.torch import load_file

METHODS = ["oreo", "oreo-step", "pcl", "rejection", "dpo", "kto", "dro", "iql"]
CLOCK = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}


@pytest.fixture(scope="module")
def logged():
    """The log of the last training."""
    from oreo_agents import OreoTrainer

    lines, train = [], OreoTrainer.train

    def listening(trainer, *args, **options):
        done = train(trainer, *args, **options)
        lines[:] = trainer.state.log_history
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OreoTrainer, "train", listening)
        yield lines


@pytest.fixture(scope="module", autouse=True)
def start(alike_everywhere, logged):
    """Two games, each won once and lost once, and a new decoder: the rate of a first step is 0."""
    do("data generate --count 2 --seed 7 --difficulty easy -o games")
    do("record --games games --per-game 2 --epsilon 0.4 --seed 5 --max-steps 6 -o episodes")
    do("train --method sft --data episodes --model new-tiny --steps 1 --batch-size 4 -o start")


def trained(agent, log):
    """The log, and what the folder of the agent holds."""
    agent = Path(agent)
    files = sorted(path for path in agent.rglob("*") if path.is_file())
    log = without(log, CLOCK)
    for line in log:
        if "explained_variance" in line:  # a quotient of small numbers
            line["explained_variance"] = Exact(line["explained_variance"])
    return {
        "log": log,
        "files": [str(path.relative_to(agent)) for path in files],
        "agent": json.loads((agent / "agent.json").read_text()),
        "weights": {
            str(path.relative_to(agent)): weights(path) for path in files if path.suffix == ".safetensors"
        },
    }


def weights(path):
    """The norm of each tensor, and the hash of the file; sums would differ too much from CPU to CPU."""
    norms = {name: x.double().norm().item() for name, x in sorted(load_file(path).items())}
    return {"sha256": Exact(sha256(path)), **norms}


def test_imitation_from_scratch(logged):
    do("train --method sft --data episodes --model new-tiny --steps 2 --batch-size 4 -o sft")
    check("train-sft", trained("sft", logged))


@pytest.mark.parametrize("method", METHODS)
def test_a_method(logged, method):
    do(
        f"train --method {method} --data episodes --model start --steps 4 --batch-size 4 --learning-rate 3e-3 "
        f"-o {method}"
    )
    check(f"train-{method}", trained(method, logged))


def test_the_tokens_of_rollouts_are_trained_on(logged):
    from oreo_agents import OreoAgent

    OreoAgent.from_pretrained("small").save_pretrained("small")
    do("record --agent small --split generated -n 4 --max-steps 8 --seed 3 -o rollouts")
    do("train --data rollouts --model ./small --steps 2 --batch-size 2 --learning-rate 1e-4 -o continued")
    found = trained("continued", logged)
    del found["agent"]["data_sha256"]  # the last digits of recorded log-probabilities differ by CPU
    check("train-rollouts", found)
