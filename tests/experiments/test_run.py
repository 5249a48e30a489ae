"""The smoke suite, made smaller: end to end, again, killed and continued, in several processes."""

import json
import shutil
import signal
import time
from dataclasses import replace

import pytest
from oreo_envs.alfworld.games import room_of
from oreo_envs.files import read_json

from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.results import CLOCKS
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.run import choose_jobs, run_plan
from oreo_agents.experiments.stages import Stages, order_stages
from oreo_agents.experiments.suite import Demonstrations, GameSet, Rollouts, Search, Sweep
from oreo_agents.experiments.suite_checks import check_suite
from oreo_agents.experiments.suite_file import load_suite
from oreo_agents.language.prompt import as_prompt
from oreo_agents.models.agent_card import read_prompt
from oreo_agents.models.model_files import SHIPPED
from oreo_agents.report.suites import draw_plots, show_tables

METHODS = ("expert", "sft", "sft-continued", "rejection", "oreo", "iterative-oreo")


@pytest.fixture(scope="module")
def suite():
    """Smoke from an agent that can win; sampled a little wildly it also loses, so that a few episodes are enough."""
    smoke = load_suite("smoke")
    return replace(
        smoke,
        model=str(SHIPPED["small"]),
        methods={name: smoke.methods[name] for name in METHODS},
        step_limits=(20, 12),
        dev=GameSet("generated_unseen", limit=2),
        tests={"unseen": GameSet("generated_unseen", limit=2), "absent": GameSet("valid_unseen")},
        demonstrations=Demonstrations(4, generated=2),
        rollouts=Rollouts(12, games=4, patience=4, temperature=1.9),
        sft={"learning_rate": 1e-5},
        training={**smoke.training, "batch_size": 4},
        search=Search(ks=(1, 2), methods=("rejection", "oreo"), critic_from="oreo"),
        sweep=Sweep({"oreo": ({"learning_rate": 1e-5}, {"learning_rate": 1e-4})}),
    )


def bench(suite, output, data=None, methods=()):
    """What the result file says."""
    return run_plan(Plan(suite, find_arenas(suite, data), methods), output).to_json()


@pytest.fixture(scope="module")
def finished(suite, tmp_path_factory):
    output = tmp_path_factory.mktemp("bench")
    return output, bench(suite, output, data=output)


def without_clocks(value):
    if isinstance(value, dict):
        return {k: without_clocks(v) for k, v in value.items() if k not in (*CLOCKS, "stages", "command")}
    return [without_clocks(one) for one in value] if isinstance(value, list) else value


def test_every_method_is_judged_on_the_same_games(finished):
    _, found = finished
    rows = [row["method"] for row in found["table"] if row["max_steps"] == 20]
    assert rows == [
        *METHODS[:3],
        "rejection",
        "rejection best-of-2, critic of oreo",
        "oreo",
        "oreo best-of-2",
        "iterative-oreo",
    ]
    assert found["failed"] == {} and "valid_unseen is neither" in found["skipped"]["absent"]
    names = found["data"]["tests"]["unseen"]["names"]
    assert len(names) == 2 and all(len(run["won"]) == 2 for run in found["runs"])


def test_the_result_says_where_it_comes_from(finished):
    _, found = finished
    assert found["versions"]["torch"] and found["machine"]["cores"] >= 1
    assert len(found["data"]["train"]["sha256"]) == 64 and found["data"]["train"]["dialect"] == "move"
    assert {run["prompt"] for run in found["runs"]} - {None}
    assert {"seed-0/sft", "seed-0/oreo"} <= set(found["stages"])
    assert json.loads(json.dumps(found)) == found


def test_the_sweep_is_recorded_and_its_choice_is_used(finished):
    output, found = finished
    sweep = found["sweep"]["oreo"]
    rates = [trial["success_rate"] for trial in sweep["trials"]]
    assert len(rates) == 2 and sweep["best"] == rates.index(max(rates))
    card = json.loads((output / "seed-0" / "oreo" / "agent.json").read_text())
    assert f'"learning_rate": {sweep["options"]["learning_rate"]}' in json.dumps(card)


def test_what_a_sweep_has_trained_is_not_trained_again(suite, finished, tmp_path):
    """And is what training it again would have made."""
    output, found = finished
    swept = found["sweep"]["oreo"]
    once = read_weights(output / "seed-0" / "oreo")
    assert once == read_weights(output / "sweep" / f"oreo-{swept['best']}")
    shutil.copytree(output, tmp_path / "bench")
    trained = {
        **suite.methods,
        "oreo": replace(suite.methods["oreo"], options={**suite.methods["oreo"].options, **swept["options"]}),
    }
    bench(replace(suite, sweep=Sweep(), methods=trained), tmp_path / "bench", methods=["oreo"])
    assert read_weights(tmp_path / "bench" / "seed-0" / "oreo") == once
    on_fewer = replace(suite, sweep=replace(suite.sweep, rollouts=6))
    assert next(s for s in stages_of(on_fewer, output) if s.name == "seed-0/oreo").inputs != "best"


def read_weights(agent):
    return [
        path.read_bytes()
        for part in ("policy", "critic")
        for path in sorted((agent / part).glob("*.safetensors"))
    ]


def test_every_method_makes_as_many_updates(finished):
    """Also one that imitates the won rollouts alone, and further imitation; 12 rollouts in batches of 4, once."""
    output, found = finished
    made = {name: found["trainings"][f"seed-0/{name}"] for name in METHODS[2:5]}
    assert {one["steps"] for one in made.values()} == {3}
    won = sum(one.success for one in load_trajectories(output / "seed-0" / "rollouts"))
    assert won <= 8, "that few are one or two batches"
    assert made["oreo"]["kl"] >= 0 and made["oreo"]["entropy"] > 0
    assert {f"sweep/oreo-{i}" for i in (0, 1)} < set(found["trainings"])


def test_a_second_run_does_nothing_and_says_the_same(suite, finished):
    output, found = finished
    before = {path: path.stat().st_mtime_ns for path in output.rglob("result.json")}
    assert without_clocks(bench(suite, output, data=output)) == without_clocks(found)
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("result.json")}


def test_tables_and_plots_of_a_result(suite, finished, tmp_path, capsys):
    from rich.console import Console

    output, _ = finished
    found = run_plan(Plan(suite, find_arenas(suite, output)), output)
    show_tables(found, Console(width=160))
    said = capsys.readouterr().out
    assert "smoke: unseen, 2 games, 20 steps, 1 seed: intervals are over games alone" in said
    assert "to its policy alone" in said
    draw_plots(found, tmp_path / "smoke.json")
    drawn = {path.name for path in (tmp_path / "smoke").iterdir()}
    assert drawn == {f"unseen-{kind}.png" for kind in ("success", "budget", "rounds", "calibration")}


def test_a_new_method_leaves_the_others_as_they_are(suite, finished):
    output, _ = finished
    more = replace(suite, methods={**suite.methods, "dpo": load_suite("smoke").methods["dpo"]})
    old, new = ({s.name: s.digest for s in stages_of(one, output)} for one in (suite, more))
    assert old.items() <= new.items() and "seed-0/dpo" in new


def test_another_seed_needs_the_same_sweep(suite, finished):
    output, _ = finished
    old, new = (
        {s.name: s.digest for s in stages_of(replace(suite, seeds=seeds), output)} for seeds in ((0,), (1,))
    )
    assert {name for name in old.keys() & new.keys() if name.startswith("sweep/")} == {
        *(f"sweep/oreo-{i}{dev}" for i in (0, 1) for dev in ("", "-dev")),
        "sweep/oreo.json",
    }
    assert all(old[name] == new[name] for name in old.keys() & new.keys())
    assert "seed-1/oreo" in new and "seed-1/oreo" not in old


def stages_of(suite, data):
    return order_stages(verdict.stage for verdict in Plan(suite, find_arenas(suite, data)).verdicts)


def test_generated_demonstrations_come_besides_the_others(suite, finished):
    output, found = finished
    stages = {stage.name: stage for stage in stages_of(suite, output)}
    both = ["seed-0/demonstrations", "seed-0/demonstrations-generated"]
    assert [need.name for need in stages["seed-0/sft"].needs] == both
    assert [len(load_trajectories(output / name)) for name in both] == [4, 2]
    assert len(found["data"]["generated"]["sha256"]) == 64


def test_generated_demonstrations_keep_out_of_the_floor_plans_of_new_rooms(suite, tmp_path):
    tests = {"unseen": suite.tests["unseen"], "rooms": GameSet("train", rooms=("2", "11"))}
    with pytest.raises(
        ConfigurationError, match=r"\[test.rooms\]: games are generated .*rooms 11, too.* 2, 9,"
    ):
        check_suite(replace(suite, tests=tests))
    names = find_arenas(suite, tmp_path).generated.options["games"].names
    assert {room_of(names[i]) for i in range(400)}.isdisjoint({"2", "13", "21", "9", "10", "29"})


def test_all_methods_start_from_one_policy_and_learn_from_one_set_of_rollouts(tmp_path):
    stages = stages_of(replace(load_suite("smoke"), sweep=Sweep()), tmp_path)
    trained = [s for s in stages if s.name.count("/") == 1 and "/rollouts" not in s.name and len(s.needs) > 1]
    assert len(trained) == 11
    assert {tuple(need.name for need in stage.needs[:2]) for stage in trained} == {
        ("seed-0/sft", "seed-0/rollouts")
    }


def test_other_options_of_the_environment_are_other_work(suite, tmp_path):
    worded = [
        replace(
            suite,
            train=replace(suite.train, options={"dialect": dialect}),
            tests={"unseen": GameSet("generated_unseen", limit=3, options={"dialect": dialect})},
        )
        for dialect in ("move", "put")
    ]
    plans = [Plan(one, find_arenas(one, tmp_path)) for one in worded]
    names = [{v.stage.name for v in plan.verdicts} for plan in plans]
    digests = [{v.stage.digest for v in plan.verdicts} for plan in plans]
    assert names[0] == names[1] and not digests[0] & digests[1]
    assert plans[0].demonstrations(0)[0].digest != plans[1].demonstrations(0)[0].digest


def test_two_runs_in_one_folder_are_refused(suite, tmp_path):
    import fcntl

    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another run is at work"):
            bench(suite, tmp_path / "out", data=tmp_path)


KILLED = """
import pickle, sys
from pathlib import Path
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.run import run_plan
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    suite = pickle.loads((folder / "suite").read_bytes())
    run_plan(Plan(suite, find_arenas(suite, folder)), folder / "out", jobs=2)
"""


def test_a_killed_run_ends_with_the_same_result(suite, finished, forks, tmp_path):
    """Killed while it rolls out; what was recorded is kept, and continued. Fewer methods are the same ones."""
    import pickle

    methods = {name: suite.methods[name] for name in ("expert", "sft", "rejection")}
    suite = replace(suite, methods=methods, sweep=Sweep(), search=Search(ks=(1,)))
    (tmp_path / "suite").write_bytes(pickle.dumps(suite))
    (tmp_path / "killed.py").write_text(KILLED)
    run = forks.start([tmp_path / "killed.py", tmp_path])
    journal = tmp_path / "out" / "seed-0" / "rollouts" / "journal-00000.jsonl"
    _wait(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    time.sleep(0.5)  # its workers follow it
    assert not (tmp_path / "out" / "seed-0" / "rejection").exists()
    found = bench(suite, tmp_path / "out", data=finished[0])
    assert found["stages"]["seed-0/rollouts"]["interrupted"]
    undisturbed = [run for run in finished[1]["runs"] if run["method"] in methods]
    assert len(undisturbed) == 2 * len(methods)  # step limits
    assert without_clocks(found["runs"]) == without_clocks(undisturbed)


@pytest.mark.parametrize(
    ("model", "seeds", "gpu", "expected"),
    [
        ("start", (0,), None, 4),
        ("scratch", (0, 1, 2), None, 6),
        ("start", (0,), "a card", 1),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", (0,), None, 1),
    ],
)
def test_a_small_model_on_a_cpu_has_a_job_for_each_core(monkeypatch, model, seeds, gpu, expected):
    from oreo_agents.experiments import run as module

    monkeypatch.setattr(module, "count_cores", lambda: 6)
    monkeypatch.setattr(module, "find_gpu", lambda: gpu)
    assert choose_jobs(replace(load_suite("smoke"), model=model, seeds=seeds)) == expected


def _wait(true, seconds=180.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_command_names_its_suite_its_folder_and_its_amount(monkeypatch, tmp_path, capsys):
    def stop(plan, output, *_):
        shown = capsys.readouterr().err.splitlines()
        names = {stage.name for stage in order_stages(one.stage for one in plan.verdicts)}
        assert shown[-2:] == [
            f"suite smoke: {load_suite('smoke').summary}",
            f"stages in runs/bench/smoke: {len(names)}, of which {len(plan.verdicts)} judge",
        ]
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("oreo_agents.experiments.run.run_plan", stop)
    assert main(["bench"]) == 130


def test_the_command_refuses_unknown_methods(capsys):
    assert main(["bench", "--suite", "smoke", "--methods", "ppo"]) == 2
    assert "has no method 'ppo'" in capsys.readouterr().err


def test_a_seed_counts_once(capsys):
    assert main(["bench", "--suite", "smoke", "--seeds", "3", "3"]) == 2
    assert "seeds [3, 3] would count the same runs twice" in capsys.readouterr().err


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A Llama with random weights and an ordinary byte-level vocabulary, as any Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from oreo_agents.environments import environments
    from oreo_agents.language.learnt_tokenizer import learn_text_tokenizer

    env = environments(split="generated")()
    tokenizer = learn_text_tokenizer([env.reset(options={"game": i})[0] for i in range(40)], 600)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096, **sizes, **ids)
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_papers_protocol_starts_from_any_hugging_face_model(llama, tmp_path):
    """One game, imitated until it is won now and then; so there are successes and failures to learn from."""
    paper = load_suite("alfworld-paper")
    small = replace(
        paper,
        model=str(llama),
        prompt="",  # too long for so small a model to win with
        demonstrations=replace(paper.demonstrations, thoughts=False),
        max_new_tokens=24,
        seeds=(0,),
        step_limits=(12,),
        train=GameSet("generated", limit=1),
        tests={"unseen": GameSet("generated_unseen", limit=1)},
        sft={"epochs": 80, "learning_rate": 1e-2, "batch_size": 1, "muon": True},
        rollouts=Rollouts(per_game=24),
        search=replace(paper.search, ks=(1, 2), constrained=False, sample=False, no_repeat=()),
    )
    found = bench(small, tmp_path, methods=("sft", "rejection", "oreo"))
    assert found["failed"] == {}
    rows = [row["method"] for row in found["table"]]
    names = ("sft", "rejection", "oreo")
    lent = {name: "" if name == "oreo" else ", critic of oreo" for name in names}
    assert rows == [label for name in names for label in (name, f"{name} best-of-2{lent[name]}")]
    assert all(run["tokens_per_episode"] > 0 for run in found["runs"])


def test_a_chat_models_suite_imitates_thoughts_and_trains_adapters_alone(llama, tmp_path):
    suite = load_suite("alfworld-thoughts")
    small = replace(
        suite,
        model=str(llama),
        step_limits=(2,),
        max_new_tokens=4,
        train=GameSet("generated", limit=2),
        tests={"unseen": GameSet("generated_unseen", limit=1)},
        demonstrations=replace(suite.demonstrations, episodes=2, epsilon=0.0),
        sft={**suite.sft, "lora": 2, "max_steps": 1},
        rollouts=Rollouts(per_game=1),
        training={**suite.training, "lora": 2, "max_steps": 1},
        search=Search(ks=(1,)),
    )
    found = bench(small, tmp_path, methods=("sft", "sft-continued"))
    assert found["failed"] == {}
    seed = tmp_path / "seed-0"
    shown = load_trajectories(seed / "demonstrations")
    assert all(turn.said.startswith("Thought: I ") for one in shown for turn in one.turns)
    for name in ("sft", "sft-continued"):
        assert read_json(seed / name / "recipe.json")["lora"] == 2
    assert as_prompt("alfworld-react") == read_prompt(seed / "sft-continued")


def test_every_policy_of_a_suite_has_its_prompt(suite, tmp_path):
    """Also where it imitates first; a changed prompt makes the start anew, and one beside the others is refused."""
    told = {"form": "react", "reply_tokens": 3}
    plan = Plan(
        replace(suite, prompt=told, max_new_tokens=None), find_arenas(suite, tmp_path), ("sft", "oreo")
    )
    assert {verdict.selection.max_new_tokens for verdict in plan.verdicts} == {3}
    stages = Stages(tmp_path / "told")
    start = stages.run(plan.sft(0))
    assert read_prompt(start) == as_prompt(told)
    digests = {
        Plan(replace(suite, prompt=prompt), find_arenas(suite, tmp_path)).sft(0).digest
        for prompt in ("", told, {"form": "think"})
    }
    assert len(digests) == 3
    with pytest.raises(ConfigurationError, match="at the top"):
        check_suite(replace(suite, training={"prompt": "alfworld"}))
    usual = Plan(replace(suite, max_new_tokens=None), find_arenas(suite, tmp_path))
    assert usual.suite.max_new_tokens == 32, "ALFWorld's"


def test_a_suite_says_in_which_precision_its_policies_play(suite, tmp_path):
    def played(dtype):
        stages = stages_of(replace(suite, dtype=dtype), tmp_path)
        return {s.name: s for s in stages if s.name.endswith(("oreo-greedy", "rollouts"))}

    usual, rounded = played(""), played("bfloat16")
    assert {s.work.keywords["dtype"] for s in rounded.values()} == {"bfloat16"}
    assert not any("dtype" in s.work.keywords for s in usual.values())
    assert len(usual) > 1 and all(usual[name].digest != rounded[name].digest for name in usual)
