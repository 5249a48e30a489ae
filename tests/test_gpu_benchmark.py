"""The benchmark for a GPU runs whole on a CPU, with a small model, and gives up on a part that takes too long."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
SPEED = Path(__file__).parents[1] / "benchmarks" / "speed"


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(SPEED), *sys.path])
        sys.modules.pop("train", None)
        import gpu

        yield gpu
        sys.modules.pop("train", None)


@pytest.fixture
def tiny(gpu):
    from argparse import Namespace

    return Namespace(tiny=True, model=None, games=None)


def test_the_checks_hold(gpu, tiny):
    found = gpu.check_results(tiny)
    assert found["holds"] and found["resumed_difference"] == 0 and 0 < found["slots_difference"] < 1e-5


def test_every_side_trains_the_same_tokens(gpu, tiny):
    (sides,) = gpu.measure_training(tiny).values()
    assert list(sides) == ["plain", "sft", "separate", "shared", "lora"]
    assert len({side["tokens"] for side in sides.values()}) == 1
    assert sides["separate"]["flops_per_token"] == sides["plain"]["flops_per_token"]
    assert sides["sft"]["flops_per_token"] < sides["shared"]["flops_per_token"]


def test_slots_and_generate_make_as_many_tokens(gpu, tiny):
    (rows,) = gpu.measure_decoding(tiny).values()
    for row in ("greedy", "best_of_8", "generate"):
        assert rows[row]["tokens_per_s"] * rows[row]["turn_s"] == pytest.approx(2 * gpu.NEW_TOKENS)


def test_compiled_training_and_decoding_are_measured_beside_what_is_not(gpu, tiny):
    found = gpu.measure_compiled(tiny)
    (sides,), decoding = found["training"].values(), found[2]
    assert sides["compiled"]["tokens"] == sides["separate"]["tokens"]
    assert sides["compiled"]["flops_per_token"] == sides["separate"]["flops_per_token"]
    for rows in decoding.values():
        assert rows["compiled"]["first_turn_s"] > rows["compiled"]["turn_s"]  # it was compiled in the first
        assert rows["times_as_fast"] == rows["plain"]["turn_s"] / rows["compiled"]["turn_s"]


def test_games_are_played(gpu, tiny):
    found = gpu.measure_rollouts(tiny)
    assert found["episodes"] == 2 and found["turns"] > 2 and "sft" in gpu.run_experiment(tiny)["methods"]


def test_a_part_that_hangs_costs_itself_alone(gpu, monkeypatch, tmp_path):
    hanging = tmp_path / "hanging.py"
    hanging.write_text(
        "import sys, time\nif sys.argv[-1] == 'checks': time.sleep(60)\nprint('{\"found\": 1}')\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(hanging))
    monkeypatch.setattr(gpu, "LIMITS", {**dict.fromkeys(gpu.LIMITS, 60), "checks": 2})
    output = tmp_path / "found.json"
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", "--tiny", "--output", str(output), "--parts", "checks", "decoding"]
    )
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    found = json.loads(output.read_text())
    assert ended.value.code == 1 and found["versions"]["torch"] and found["device"]
    assert found["parts"]["checks"]["failed"] == "over 2 s" and found["parts"]["decoding"]["found"] == 1
