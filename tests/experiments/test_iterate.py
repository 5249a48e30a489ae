"""The loop: what a round leaves, what a second run reuses, and whose folder it is."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from model_server import serving

from oreo_agents import load_trajectories
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.experiments import iterate
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.demo import shape_suite
from oreo_agents.experiments.iterate import (
    claim_folder,
    explain_sameness,
    iterate_suite,
    number_runs,
    plan_rounds,
)
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.run import require_done, run_plan
from oreo_agents.experiments.stages import Stages
from oreo_agents.experiments.suite_file import load_suite
from oreo_agents.inference.server import Server
from oreo_agents.language.prompt import Prompt
from oreo_agents.models.agent_card import read_prompt
from oreo_agents.models.agent_folder import load_critic, load_policy
from oreo_agents.models.model_files import SHIPPED


def plan_of(model=SHIPPED["small"], method="oreo", iterations=1, name="whole-path", **options):
    suite = shape_suite(load_suite(name), games=3)
    suite = replace(suite, slots=8, training={**suite.training, "epochs": 0.5, "batch_size": 4})
    suite = iterate_suite(suite, model, method, iterations, rollouts=16, max_steps=15, **options)
    return plan_rounds(suite, find_arenas(suite))


def run(output, *args, **options):
    """The judged runs, and the stages that were reused."""
    plan, reused = plan_of(*args, **options), []
    claim_folder(output, plan)
    report = lambda stage, event, _: reused.append(stage.name) if event == "reused" else None  # noqa: E731
    require_done(run_plan(plan, output, report=report))
    return number_runs(plan, output), reused


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One round."""
    output = tmp_path_factory.mktemp("iterate")
    return output, run(output)[0]


def test_a_round_leaves_data_policy_and_result(first):
    output, runs = first
    assert [run.result.method for run in runs] == ["start", "oreo 1"]
    assert len(load_trajectories(output / "seed-0" / "rollouts")) == 16
    assert load_critic(output / "seed-0" / "oreo") is not None


def test_the_start_keeps_its_critic(first):
    weights = [
        sorted(folder.rglob("critic/*.safetensors")) for folder in (SHIPPED["small"], first[0] / "seed-0/sft")
    ]
    assert weights[0] and [path.read_bytes() for path in weights[0]] == [
        path.read_bytes() for path in weights[1]
    ]


def test_more_rounds_go_on_from_the_last(first, tmp_path):
    output = shutil.copytree(first[0], tmp_path / "more")
    more, reused = run(output, iterations=2)
    assert more[:2] == first[1]
    assert more[2].result.method == "oreo 2"
    assert len(reused) == 5  # the start, two verdicts, rollouts and policy of the first round
    assert len(load_trajectories(output / "seed-0" / "iterated" / "rollouts-2")) == 16


def test_a_round_may_learn_from_all_rounds_so_far():
    for keep, data in ((False, ["rollouts-2"]), (True, ["rollouts", "rollouts-2"])):
        newest = plan_of(iterations=2, keep_data=keep).agent("iterated", 0)
        names = [need.name.rpartition("/")[2] for need in newest.needs]
        assert names == ["oreo", *data]


def test_rounds_are_played_at_the_temperature_that_was_asked_for():
    """The loop plays all of its rounds at it; in a suite, whose first rollouts are everybody's, the later ones."""
    plan = plan_of(iterations=2, temperature=0.7)
    assert all("0.7" in map(str, _rollouts_of(plan, i).inputs) for i in (1, 2))
    suite = load_suite("alfworld-small")
    later = replace(suite.methods["iterative-rejection"], temperature=0.9)
    suite = replace(plan.suite, methods={**plan.suite.methods, "iterated": replace(later, of="oreo")})
    mixed = [_rollouts_of(Plan(suite, plan.arenas), i).inputs for i in (1, 2)]
    assert [one[3] for one in mixed] == [0.7, 0.9]


def _rollouts_of(plan, i):
    return plan._round("iterated", 0, i)


def test_many_rounds_are_planned_at_once():
    assert len(plan_of(iterations=40, keep_data=True).verdicts) == 41


def test_the_order_in_which_episodes_were_written_does_not_matter(first, tmp_path):
    """A loop that is killed in its rollouts and continued has them in another order."""
    output = shutil.copytree(first[0], tmp_path / "again")
    rollouts, policy = output / "seed-0" / "rollouts", output / "seed-0" / "oreo"
    before = list(load_trajectories(rollouts))
    shutil.rmtree(rollouts)
    with TrajectoryWriter(rollouts) as writer:
        for episode in before[::-1]:
            writer.append(episode)
    assert [one.seed for one in load_trajectories(rollouts)] == [one.seed for one in before[::-1]]
    shutil.rmtree(policy)
    runs, reused = run(output)
    assert "seed-0/rollouts" in reused and "seed-0/oreo" not in reused
    for path in policy.rglob("*.safetensors"):
        assert path.read_bytes() == (first[0] / path.relative_to(output)).read_bytes()
    assert [run.result.won for run in runs] == [run.result.won for run in first[1]]


def test_the_shipped_agent_can_be_named(first, monkeypatch):
    monkeypatch.setitem(SHIPPED, "mine", SHIPPED["small"])
    runs, reused = run(first[0], model="mine")
    assert len(reused) == 5 and [run.result.method for run in runs] == ["start", "oreo 1"]


def test_a_folder_belongs_to_one_loop(first):
    with pytest.raises(ConfigurationError, match=r"other settings .*choose another --output"):
        run(first[0], method="rejection")
    with pytest.raises(ConfigurationError, match="other settings"):
        run(first[0], name="whole-path-math")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--rollouts", "12"], "rollouts 16 then, 12 now"),
        (
            ["--temperature", "0.5", "--keep-data"],
            "keep_data false then, true now; temperature 1 then, 0.5 now",
        ),
        (["--method", "rejection"], "method oreo then, rejection now"),
        (["--seed", "4"], "seed 0 then, 4 now"),
        (["--max-steps", "9"], "max_steps of an episode 12 then, 9 now"),
        (["--episodes", "3"], "episodes 2 then, 3 now"),
        (["--learning-rate", "0.002"], "learning_rate 0.0001 then, 0.002 now"),
        (["--steps", "3"], "steps -1 then, 3 now"),
        (["--beta", "0.2"], "beta not set then, 0.2 now"),
        (["--model", "OTHER"], "the model has other weights"),
        (["--env", "OREO-Reasoning"], "env OREO-ALFWorld then, OREO-Reasoning now"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_a_changed_option_is_named(first, tmp_path, monkeypatch, capsys, changed, said):
    from oreo_agents.cli import main

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("oreo_agents.experiments.run.run_plan", stop)
    words = ["iterate", "--model", "small", "--rollouts", "16", "--episodes", "2", "--max-steps", "12"]
    words += ["-o", str(tmp_path / "rounds")]
    assert main(words) == 130 and main([*words, "--iterations", "2", "--epochs", "1"]) == 130
    changed = [{"OTHER": str(first[0] / "seed-0" / "oreo")}.get(word, word) for word in changed]
    assert main([*words, *changed]) == 2
    assert f"rounds holds a run with other settings ({said}): go on with" in capsys.readouterr().err


def test_other_games_are_named(tmp_path):
    plan = plan_of()
    claim_folder(tmp_path, plan)
    train = replace(plan.arenas.train, sha256="of others")
    plan.arenas = replace(plan.arenas, train=train)
    with pytest.raises(ConfigurationError, match=r"other settings \(the games are others\): go on"):
        claim_folder(tmp_path, plan)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(ConfigurationError, match="they are of another version"):
        claim_folder(tmp_path, plan)


def test_defaults_follow_the_size_of_the_model_and_what_is_given_counts(monkeypatch):
    suite = load_suite("whole-path")
    small = iterate_suite(suite, "small")
    assert (small.training, small.max_new_tokens) == (suite.training, suite.max_new_tokens)
    given = {"max_steps": 7, "critic_learning_rate": 0.5}
    of_small = iterate_suite(suite, "small", options=given).training
    assert of_small["learning_rate"] == 1e-4 and of_small["critic_learning_rate"] == 0.5
    assert of_small["max_steps"] == 7 and not {"epochs", "num_train_epochs"} & of_small.keys()
    monkeypatch.setattr(iterate, "SMALL", 1_000_000)
    large = iterate_suite(suite, "small")
    assert (large.training, large.max_new_tokens) == ({}, 32), "as `train` does it, with ALFWorld's replies"
    assert iterate_suite(suite, "small", options={"prompt": "alfworld-react"}).max_new_tokens > 32
    assert iterate_suite(suite, "small", options=given).training == given


def test_the_prompt_that_is_asked_for_is_played_and_trained(tmp_path):
    suite = shape_suite(load_suite("whole-path"), games=3)
    plan = plan_rounds(iterate_suite(suite, "small", options={"prompt": "alfworld"}), find_arenas(suite))
    plan.sft(0).work(tmp_path / "start")
    assert read_prompt(tmp_path / "start") == Prompt.load("alfworld")
    assert load_critic(tmp_path / "start") is not None


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(ConfigurationError, match="sft cannot be repeated"):
        plan_of(method="sft")


@pytest.mark.parametrize(
    ("won", "told"),
    [((50, 50, 50), True), ((50, 55, 52), True), ((50, 55, 70), False), ((50, 30), False), ((50,), False)],
)
def test_rounds_that_changed_nothing_are_said(won, told):
    """Of 100 games, half of them won, Wilson's interval is 40.4 to 59.6 %."""
    results = [SimpleNamespace(n=100, score=n / 100, interval95=wilson_interval(n, 100)) for n in won]
    said = explain_sameness([SimpleNamespace(result=result) for result in results])
    assert (said is not None) is told
    assert said is None or "by more than chance in 100 games" in said


def test_the_command_leaves_its_results(first, tmp_path, capsys):
    from oreo_agents.cli import main

    old = tmp_path / "settings.json"  # of an earlier version
    old.write_text(json.dumps({"model": "small", "method": "oreo", "env": "OREO-ALFWorld"}))
    command = ["iterate", "--model", "small", "--iterations", "1", "--rollouts", "16", "--episodes", "2"]
    command += ["--max-steps", "12"]
    assert main([*command, "-o", str(tmp_path)]) == 2
    assert "other settings" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "new")]) == 0
    results = json.loads((tmp_path / "new" / "results.json").read_text())
    assert [result["method"] for result in results] == ["start", "oreo 1"]
    out = capsys.readouterr().out
    assert (
        f"The newest policy: {tmp_path}/new/seed-0/oreo;" in out and "next: oreo-agents eval --agent" in out
    )


def test_a_server_plays_the_start_and_nothing_that_is_trained(tmp_path):
    """Its token ids are kept, so that the round learns from them as from episodes played here."""
    suite = shape_suite(load_suite("whole-path"), games=1)
    suite = iterate_suite(suite, SHIPPED["small"], "oreo", 2, rollouts=2, max_steps=3)
    policy, tokenizer = load_policy(SHIPPED["small"])
    with serving(policy.float(), tokenizer) as served:
        plan = plan_rounds(suite, find_arenas(suite), server=Server(served.url, "small"))
        stages = Stages(tmp_path)
        (start, *others) = (verdict.stage for verdict in plan.verdicts)
        rollouts = load_trajectories(stages.run(plan.rollouts(0)))
        assert len(served.bodies) >= 6 and start.work.keywords["server"] == plan.server
    assert all(turn.token_ids and turn.logprobs for episode in rollouts for turn in episode.turns)
    assert [stage.work.keywords.get("server") for stage in others] == [None] * len(others)
    with pytest.raises(ConfigurationError, match=r"imitates first.*leave --endpoint out"):
        Plan(load_suite("smoke"), find_arenas(suite), server=plan.server)
