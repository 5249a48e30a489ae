"""One training, asked for in five ways, and what is left of it."""

import hashlib
import inspect
import json
import pickle
from dataclasses import replace

import pytest
import torch
import yaml
from learning import EPISODES

import oreo_agents
from oreo_agents import cli
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.errors import ConfigurationError
from oreo_agents.experiments.runs import find_runs
from oreo_agents.experiments.steps import Fit, train_method
from oreo_agents.experiments.suite_file import parse_suite
from oreo_agents.experiments.train import EvalGames, train
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.models.model_files import identify_model
from oreo_agents.models.recipe import read_recipe
from oreo_agents.training.options import OPTIONS, known_as

FIELDS = {
    "learning_rate": 2e-3,
    "critic_learning_rate": 5e-3,
    "beta": 0.07,
    "alpha": 0.02,
    "regularizer": "forward",
    "after_action": "answer",
    "max_steps": 3,
    "per_device_train_batch_size": 2,
    "warmup_steps": 1.0,
    "micro_batch_tokens": 300,
}


@pytest.fixture
def work(tmp_path, policy, tokenizer, monkeypatch):
    """A folder with a model and episodes, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    save_agent("start", policy, tokenizer)
    with TrajectoryWriter("episodes") as writer:
        for one in EPISODES:
            writer.append(one)
    return tmp_path


def run(*words):
    assert cli.main(["train", *words]) == 0


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_ten_fields_give_the_same_training_however_they_are_given(work, capsys):
    assert len(FIELDS) == 10 and all(OPTIONS[name].default != value for name, value in FIELDS.items())
    words = [word for name, value in FIELDS.items() for word in (OPTIONS[name].flag, str(value))]
    common = [
        "--data",
        "episodes",
        "--model",
        "start",
        "--seed",
        "7",
        "--device",
        "cpu",
        "--dtype",
        "float32",
    ]
    run(*common, *words, "-o", "options")

    tables = {
        "data": ["episodes"],
        "model": "start",
        "seed": 7,
        "training": {**FIELDS, "bf16": False, "use_cpu": True},
    }
    (work / "it.yaml").write_text(yaml.safe_dump(tables))
    run("--config", "it.yaml", "-o", "yaml")

    capsys.readouterr()
    run(*common, *words, "-o", "toml", "--print-config")
    assert not (work / "toml").exists(), "nothing is done but printing"
    (work / "it.toml").write_text(capsys.readouterr().out)
    run("--config", "it.toml")

    train("episodes", "start", "python", seed=7, bf16=False, use_cpu=True, **FIELDS)
    named = {OPTIONS[name].alias or name: value for name, value in FIELDS.items()}
    suite = parse_suite(
        {"train": {"split": "generated"}, "test": {"t": {"split": "generated_unseen"}}, "training": named},
        "s",
    )
    options = {**known_as(suite.training), "bf16": False, "use_cpu": True}
    train_method(Fit("oreo", options, 7), 1, work / "suite", work / "start", work / "episodes")

    made = {name: weights(work / name) for name in ("options", "yaml", "toml", "python", "suite")}
    assert all(one == made["options"] for one in made.values()), made
    recipes = [read_recipe(work / name) for name in made]
    assert all({**recipe.config, **FIELDS} == recipe.config == recipes[0].config for recipe in recipes)
    train("episodes", "start", "another", seed=7, bf16=False, use_cpu=True, **{**FIELDS, "beta": 0.08})
    assert weights(work / "another") != made["options"]


def test_what_is_typed_counts_more_than_the_file(work, capsys):
    (work / "it.toml").write_text(
        'data = ["episodes"]\nmodel = "start"\noutput = "a"\n[training]\nsteps = 5\nbeta = 0.2\n'
    )
    run("--config", "it.toml", "--print-config", "--beta", "0.5", "-o", "b")
    out = capsys.readouterr().out
    assert "beta = 0.5" in out and 'output = "b"' in out and "max_steps = 5" in out
    run("--config", "it.toml", "--print-config", "--epochs", "2")
    out = capsys.readouterr().out
    assert "num_train_epochs = 2.0" in out and "\nmax_steps" not in out.partition("[eval]")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nbetta = 1", "OreoConfig has no option 'betta': did you mean beta?"),
        ("modl = 'x'", "there is no option 'modl': did you mean model?"),
        ("[eval]\neverry = 1", "[eval] has no option 'everry': did you mean every?"),
        ("[training]\nbeta = 'x'", "argument --beta: invalid float value: 'x'"),
        ("[training]\nmax_grad_norm = 'x'", "max_grad_norm is 'x', it must be a number"),
        ("training = 3", "training is 3, it must be a table: write [training]"),
        ("x = ", "cannot be read as TOML"),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_any_work(work, capsys, text, said):
    (work / "it.toml").write_text(text)
    try:
        status = cli.main(
            ["train", "--data", "episodes", "--model", "start", "-o", "x", "--config", "it.toml"]
        )
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2 and said in capsys.readouterr().err and not (work / "x").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer", "max_grad_nrm=1"], "did you mean max_grad_norm?"),
        (["--trainer", "eval_steps"], "write NAME=VALUE"),
        (["--report-to", "wandb"], "--report-to wandb needs it: pip install wandb"),
        (["--trainer", "beta=1", "--beta", "1"], "--trainer beta: give it as --beta alone"),
        (["--trainer", "output_dir=x"], "--trainer output_dir: give it as --output alone"),
        (["--trainer", "eval_strategy=never"], "never is not a valid IntervalStrategy"),
        (
            ["--method", "sft", "--config", "nothing.toml"],
            "nothing.toml: there is no such file",
        ),
    ],
)
def test_fields_of_transformers_are_checked_before_any_work(work, capsys, monkeypatch, words, said):
    monkeypatch.setattr("oreo_agents.cli.train.find_spec", lambda name: None)
    try:
        status = cli.main(["train", "--data", "episodes", "--model", "start", "-o", "x", *words])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2 and said in capsys.readouterr().err and not (work / "x").exists()


def test_nothing_of_a_run_is_lost(work, capsys):
    options = {"max_steps": 4, "logging_steps": 1, "bf16": False, "use_cpu": True, "warmup_steps": 0}
    games = EvalGames(split="generated_unseen", episodes=2, max_steps=2)
    seen = []

    def watch(episodes):
        seen.append(len(episodes))
        return episodes

    before = identify_model("start")
    train(
        "episodes",
        "start",
        "start",
        eval_data="episodes",
        eval_games=games,
        eval_every=2,
        license="mit",
        watch=watch,
        overwrite=True,
        **options,
    )
    assert seen == [2, 2]
    recipe = read_recipe("start")
    assert recipe.base_model == {"name": "start", "sha256": before, "hub": None}, (
        "as it was before it was replaced"
    )
    assert recipe.base_model["sha256"] != identify_model("start")
    (source,) = recipe.data["sources"]
    assert (source["name"], source["episodes"], len(source["sha256"])) == ("episodes", 3, 64)
    assert recipe.data["sha256"] == json.loads((work / "start" / "agent.json").read_text())["data_sha256"]
    assert recipe.versions["torch"] and recipe.seconds > 0 and recipe.steps == 4 and recipe.device == "cpu"
    assert [line["step"] for line in recipe.evaluations] == [2, 4]
    assert {"eval_success", "eval_value_error", "eval_loss"} <= recipe.evaluations[0].keys()
    assert [line["step"] for line in recipe.log if "loss" in line] == [1, 2, 3, 4]
    assert (work / "start" / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    card = (work / "start" / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "mit" and header["datasets"] == ["episodes"] and "base_model" not in header
    assert before in card and "## Evaluations while it was trained" in card
    assert str(work) not in card + (work / "start" / "recipe.json").read_text()


def test_an_agent_that_is_there_is_not_lost(work, capsys):
    before = identify_model("start")
    words = ["train", "--data", "episodes", "--model", "start", "-o", "start", "--steps", "1"]
    assert cli.main(words) == 2
    assert "start holds an agent already" in capsys.readouterr().err and identify_model("start") == before
    assert cli.main([*words, "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("start: oreo, 1 step on 3 episodes\nnext: oreo-agents eval --agent start")
    assert identify_model("start") != before


SFT = ["--method", "sft", "--data", "episodes", "--model", "new-mini", "--steps", "2", "--batch-size", "1"]


def test_what_is_trained_already_is_not_trained_again(work, capsys):
    words = [*SFT, "-o", "agent", "--save-every", "1"]
    run(*words)
    before = (work / "agent" / "recipe.json").read_bytes(), weights(work / "agent")
    capsys.readouterr()
    for _ in range(2):
        run(*words)
        told = "agent: sft, already trained, 2 steps on 3 episodes: nothing to do\nnext: oreo-agents eval --agent agent"
        assert capsys.readouterr().out.startswith(told)
    again = train("episodes", "new-mini", "agent", "sft", max_steps=2, per_device_train_batch_size=1)
    assert again.trained_before and again.state.global_step == 2 and again.state.log_history
    assert ((work / "agent" / "recipe.json").read_bytes(), weights(work / "agent")) == before
    assert not (work / "agent.checkpoints").exists()
    with TrajectoryWriter("fewer") as writer:
        writer.append(EPISODES[0])
    for changed, said in (
        (["--learning-rate", "1e-3"], "learning_rate 0.004 then, 0.001 now"),
        (["--seed", "5", "--batch-size", "2"], "seed 0 then, 5 now; batch_size 1 then, 2 now"),
        (["--lora", "4"], "lora not set then, 4 now"),
        (["--trainer", "gradient_accumulation_steps=2"], "gradient_accumulation_steps not set then, 2 now"),
        (["--model", "new-tiny"], "model new-mini (a new decoder) then, new-tiny (a new decoder) now"),
        (["--data", "fewer"], "3 episodes then, 1 now"),
    ):
        assert cli.main(["train", *words, *changed]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"error: agent holds an agent already ({said}): choose another folder, or replace it with --overwrite"
        )
    assert ((work / "agent" / "recipe.json").read_bytes(), weights(work / "agent")) == before


def test_another_option_of_an_interrupted_training_is_named(work, capsys, monkeypatch):
    words = [*SFT, "-o", "agent", "--save-every", "1"]
    from oreo_agents.training.checkpoints import AgentTrainer

    def die(self, model, trial, save=AgentTrainer._save_checkpoint):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        save(self, model, trial)

    with monkeypatch.context() as patched:
        patched.setattr(AgentTrainer, "_save_checkpoint", die)
        assert cli.main(["train", *words]) == 130
    kept = f"interrupted: step 1 is kept in {work}/agent.checkpoints; the same command goes on from there\n"
    assert capsys.readouterr().err.endswith(kept)
    for changed, said in (
        (["--learning-rate", "1e-3"], "learning_rate 0.004 then, 0.001 now"),
        (["--seed", "5"], "seed 0 then, 5 now"),
    ):
        assert cli.main(["train", *words, *changed]) == 2
        err = capsys.readouterr().err
        assert (
            f"agent.checkpoints has checkpoints of another training ({said}): go on with what it had" in err
        )
    run(*words)
    assert "sft: resuming at step 1 of 2" in "".join(capsys.readouterr())
    assert not (work / "agent.checkpoints").exists()


def test_a_training_that_kept_nothing_is_said_to_begin_anew(work, capsys, monkeypatch):
    words = [*SFT, "-o", "agent", "--save-every", "1"]
    from oreo_agents.training.checkpoints import AgentTrainer

    with monkeypatch.context() as patched:
        patched.setattr(AgentTrainer, "_save_checkpoint", interrupt)
        assert cli.main(["train", *words]) == 130
    assert "no checkpoint had been kept yet; the first would be that of step 1" in capsys.readouterr().err
    run(*words)
    assert capsys.readouterr().out.startswith("starting anew: nothing was kept of the training before")


def interrupt(*_):
    raise KeyboardInterrupt


def test_runs_are_listed_with_what_differs(work, capsys):
    for beta in (0.1, 0.3):
        train("episodes", "start", f"runs/b{beta}", max_steps=1, beta=beta, bf16=False, use_cpu=True)
    (work / "runs" / ".b.partial").mkdir()
    runs = find_runs([work / "runs"])
    assert [run.name.rpartition("/")[2] for run in runs] == ["b0.1", "b0.3"]
    assert cli.main(["runs", "runs"]) == 0
    out = capsys.readouterr().out
    assert "beta" in out and "0.3" in out and "alpha" not in out and "micro_batch_tokens" not in out
    assert max(map(len, out.splitlines())) <= 80 and "start" in out and "episodes" in out
    assert cli.main(["runs", "runs/b0.1", "runs/nosuch"]) == 2
    assert "no trained agent with a recipe.json in runs/nosuch" in capsys.readouterr().err
    assert cli.main(["runs", "runs", "--json"]) == 0
    assert [one["config"]["beta"] for one in json.loads(capsys.readouterr().out)] == [0.1, 0.3]
    assert cli.main(["runs", "episodes"]) == 2
    assert "no trained agent with a recipe.json in episodes: train one" in capsys.readouterr().err


def test_an_agent_whose_training_was_interrupted_is_told_from_none(work, capsys):
    (work / "half" / "agent.checkpoints").mkdir(parents=True)
    assert cli.main(["runs", "half"]) == 0
    assert capsys.readouterr().out == "not ended, and gone on with by the same command: half/agent\n"
    assert cli.main(["eval", "--agent", "half/agent"]) == 2
    assert "half/agent is not there yet, as its training has not ended" in capsys.readouterr().err


def test_what_cannot_be_is_said_in_one_sentence(work):
    for options, said in (
        ({"method": "sft", "beta": 1}, "sft makes no use of beta: leave it out"),
        ({"patience": 2}, "patience counts evaluations in games: say which with eval_games"),
        ({"eval_every": 2}, "there is nothing to evaluate on: give eval_games or eval_data"),
        ({"betta": 2}, "OreoConfig has no option 'betta': did you mean beta?"),
        ({"eval_strategy": "never"}, "these options of training cannot be: never is not a valid"),
        ({"method": "ppo"}, "unknown method 'ppo'; choose one of"),
    ):
        with pytest.raises(ConfigurationError, match=said.replace("?", r"\?")):
            train("episodes", "start", "x", **options)
    assert not (work / "x").exists()


def test_help_describes_every_own_option():
    text = inspect.getdoc(oreo_agents.OreoConfig)
    assert all(f"    {name}: ``" in text for name in OPTIONS)
    assert "0.03 for oreo, oreo-token" in text and "0.1 for dpo, kto" in text, "the defaults of each method"
    assert "nats a token, above 0" in text and "(Eq. 8)" in text


def test_a_forecast_trains_nothing(work, capsys):
    words = ["train", "--dry-run", "--data", "episodes", "--model", "start", "--lora", "2", "-o", "nowhere"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert f"{len(EPISODES)} episodes" in said and "optimizer" in said and "H100" in said
    assert "no GPU: it would read" in said or torch.cuda.is_available()
    assert not (work / "nowhere").exists()


def test_the_word_for_the_environment_is_named():
    with pytest.raises(TypeError, match="EvalGames has no env_id: the environment's id is env here"):
        oreo_agents.EvalGames(env_id="OREO-GSM8K")
    with pytest.raises(TypeError, match="has no env: the environment's id is env_id here"):
        oreo_agents.OreoAgent.from_pretrained("small", env="OREO-GSM8K")
    games = oreo_agents.EvalGames("OREO-GSM8K", episodes=3)
    assert pickle.loads(pickle.dumps(games)) == games == replace(games, seed=0)
