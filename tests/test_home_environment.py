"""An agent is played where it was trained unless the user says otherwise; what a command recommends does that, too."""

import json
import re
import shlex
import shutil

import gymnasium as gym
import pytest
import text_environments  # noqa: F401  (registers them)

from oreo_agents import EvalGames, OreoAgent, load_trajectories, train
from oreo_agents.agents.load import find_environment
from oreo_agents.cli import main
from oreo_agents.environments import choose_environment, keep_options
from oreo_agents.errors import CheckpointError, ConfigurationError
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule

LIFT, KINDS = "text_environments:Lift-v0", "text_environments:Kinds-v0"
SFT = [
    "train",
    "--method",
    "sft",
    "--model",
    "new-mini",
    "--steps",
    "1",
    "--batch-size",
    "4",
    "--device",
    "cpu",
]
GOOD = ["--good", "50%"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An agent of somebody else's environment, one of this package's, and one of both; in a folder with a space."""
    folder = tmp_path_factory.mktemp("some runs")
    options = {"schedule": Schedule(limit=8), "split": "train"}
    from oreo_agents.agents.load import load_agent

    record(load_agent("random", env_id=LIFT), folder / "lift", LIFT, **options)
    record(
        load_agent("expert", env_id="OREO-Puzzles"), folder / "jugs", "OREO-Puzzles", task="jugs", **options
    )
    record(load_agent("random", env_id=KINDS), folder / "hard", KINDS, games="hard", floors=3, **options)
    for name, data in {
        "lift": ["lift"],
        "jugs": ["jugs"],
        "hard": ["hard"],
        "both": ["lift", "jugs"],
    }.items():
        paths = [str(folder / one) for one in data]
        assert (
            main(
                [
                    *SFT,
                    *(GOOD if name != "jugs" else []),
                    "--data",
                    *paths,
                    "-o",
                    str(folder / f"{name}-agent"),
                ]
            )
            == 0
        )
    return folder


def test_a_folder_says_where_its_agent_was_trained(runs):
    told = json.loads((runs / "jugs-agent" / "agent.json").read_text())["environments"]
    assert told == {"OREO-Puzzles": {"task": "jugs"}}
    assert OreoAgent.from_pretrained(runs / "both-agent").environments == {LIFT: {}, **told}
    assert "| trained in | OREO-Puzzles |" in (runs / "jugs-agent" / "README.md").read_text()


def test_it_is_kept_when_an_agent_is_copied(runs, tmp_path):
    OreoAgent.from_pretrained(runs / "jugs-agent").save_pretrained(tmp_path / "copy")
    assert find_environment(str(tmp_path / "copy")) == ("OREO-Puzzles", {"task": "jugs"})


COMMANDS = (
    ("eval", "--agent", "{}", "-n", "1"),
    ("play", "--agent", "{}", "--plain"),
    ("record", "--agent", "{}", "-n", "1", "-o", "{}-new"),
    ("inspect", "{}"),
    ("iterate", "--model", "{}", "-o", "{}-new"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_somebody_elses_environment_has_to_be_named(runs, words, capsys):
    agent = str(runs / "lift-agent")
    assert main([word.format(agent) for word in words]) == 2
    said = capsys.readouterr().err
    assert f"{agent} was trained in {LIFT}" in said and said.endswith(f"add --env {LIFT}\n")
    assert not (runs / "lift-agent-new").exists()


def test_an_agent_of_several_is_asked_which(runs, capsys):
    assert main(["eval", "--agent", str(runs / "both-agent"), "-n", "1"]) == 2
    assert f"--env OREO-Puzzles or --env {LIFT}" in capsys.readouterr().err


def test_one_of_ours_is_played_without_a_word(runs, tmp_path, capsys):
    judge = [
        "eval",
        "--agent",
        str(runs / "jugs-agent"),
        "-n",
        "2",
        "--max-new-tokens",
        "4",
        "--max-steps",
        "2",
    ]
    assert main([*judge, "-o", str(tmp_path / "results.json")]) == 0
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert set(result["by_task_type"]) == {"jugs"} and result["split"] == "test"
    assert "trained in" not in capsys.readouterr().err


def test_the_games_and_options_of_somebody_elses_environment_are_kept(runs, tmp_path):
    """What was recorded with ``games="hard"`` is judged, played on and trained on so, as the dataset is verified so."""
    agent, played = runs / "hard-agent", ["--env", KINDS, "-n", "2", "--max-steps", "1"]
    known = {"games": "hard", "floors": 3}
    assert json.loads((agent / "agent.json").read_text())["environments"] == {KINDS: known}
    assert find_environment(str(agent), KINDS) == (KINDS, known)
    assert main(["eval", "--agent", str(agent), *played, "-o", str(tmp_path / "r.json")]) == 0
    assert main(["record", "--agent", str(agent), *played, "-o", str(tmp_path / "more")]) == 0
    assert main(["dataset", "verify", str(tmp_path / "more"), "--env", KINDS, "--split", "all"]) == 0
    for folder in (tmp_path / "r.episodes", tmp_path / "more"):
        assert {one.turns[0].observation[:14] for one in load_trajectories(folder)} == {"hard, 3 floors"}
    named = [*played, "--games", "easy", "-o", str(tmp_path / "easy")]
    assert main(["record", "--agent", str(agent), *named]) == 0
    assert load_trajectories(tmp_path / "easy")[0].turns[0].observation.startswith("easy, 3 floors")


def test_options_of_an_environment_are_given_on_the_command_line(runs, tmp_path):
    """They count before what the agent was trained with, and datasets keep them."""
    played = ["--agent", str(runs / "hard-agent"), "--env", KINDS, "-n", "1", "--max-steps", "1"]
    played += ["--env-options", "floors=null"]
    assert main(["record", *played, "-o", str(tmp_path / "data")]) == 0
    assert main(["eval", *played, "floors=5", "-o", str(tmp_path / "r.json")]) == 0
    assert main(["dataset", "verify", str(tmp_path / "data"), "--env", KINDS]) == 0
    seen = [load_trajectories(tmp_path / name)[0].turns[0].observation for name in ("data", "r.episodes")]
    assert [one.split(".")[0] for one in seen] == ["hard, None floors", "hard, 5 floors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--env", KINDS, "--env-options", "flors=5"],
            f"{KINDS} has no option 'flors': did you mean floors?",
        ),
        (["--env-options", "taks=5"], "OREO-Puzzles has no option 'taks': did you mean task?"),
        (["--env-options", "config=2"], "OREO-Puzzles cannot be made with"),
        (["--env-options", "floors"], "'floors' is no option of an environment: write NAME=VALUE"),
        (["--env-options", "split=train"], "split is an option of every environment here (--split)"),
        (["--env-options", "task=jugs"], "task is an option of every environment here (--games)"),
        (["--env-options", "max_steps=2"], "max_steps is an option of every environment here (--max-steps)"),
    ],
)
def test_an_option_that_an_environment_does_not_take_is_refused(runs, words, said, capsys):
    env = words if "--env" in words else ["--env", "OREO-Puzzles", *words]
    assert main(["eval", "--agent", "random", "-n", "1", *env]) == 2
    assert said in capsys.readouterr().err


def test_training_judges_with_them_too(runs, tmp_path, capsys):
    words = [*SFT, *GOOD, "--data", str(runs / "hard"), "--env", KINDS, "-o", str(tmp_path / "a")]
    words += ["--eval-every", "1", "--env-options"]
    assert main([*words, "flors=1"]) == 2
    assert "has no option 'flors'" in capsys.readouterr().err
    assert main([*words, "floors=1", "--print-config"]) == 0
    (tmp_path / "config.toml").write_text(capsys.readouterr().out.replace("floors=", "flors="))
    assert main(["train", "--config", str(tmp_path / "config.toml")]) == 2
    assert "has no option 'flors'" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="has no option 'flors'"):
        train(
            runs / "hard",
            "new-mini",
            tmp_path / "b",
            "sft",
            eval_games=EvalGames(KINDS, options={"flors": 1}),
        )


def test_options_of_somebody_elses_environment_wait_for_its_module_to_be_named(runs, tmp_path, capsys):
    """A file's options reach the code that the user has named; without that nothing is made."""
    (tmp_path / "agent.json").write_text(
        '{"environments": {"canary:Thing-v0": {"games": "/", "split": "x"}}}'
    )
    with pytest.raises(ConfigurationError, match="add --env canary:Thing-v0"):
        find_environment(str(tmp_path))
    assert find_environment(str(tmp_path), "OREO-ALFWorld") == ("OREO-ALFWorld", {})
    assert find_environment(str(tmp_path), "canary:Thing-v0").options == {"games": "/"}


@pytest.mark.parametrize(
    ("name", "told", "words", "laid"),
    [
        (
            "hard-agent",
            {KINDS: {"games": "hard", "floors": 3}},
            ["--env", KINDS],
            {"games": "hard", "floors": 3},
        ),
        (
            "hard-agent",
            {KINDS: {"games": "hard", "floors": 3}},
            ["--env", KINDS, "--env-options", "floors=4"],
            {"games": "hard", "floors": 4},
        ),
        ("jugs-agent", {"OREO-Puzzles": {"task": "jugs", "size": 30}}, [], {"task": "jugs", "size": 30}),
        (
            "jugs-agent",
            {"OREO-Puzzles": {"task": "jugs", "size": 30}},
            ["--games", "countdown"],
            {"task": "countdown"},
        ),
        (
            "jugs-agent",
            {"OREO-TextWorld": {"challenge": "coin_collector", "level": "5", "rewards": "score"}},
            [],
            {"challenge": "coin_collector", "level": "5", "rewards": "score"},
        ),
        (
            "jugs-agent",
            {"OREO-TextWorld": {"games": "simple/dense"}},
            [],
            {"challenge": "simple", "level": "dense"},
        ),
    ],
)
def test_rounds_are_played_with_all_that_the_agent_was_trained_with(
    runs, tmp_path, monkeypatch, name, told, words, laid
):
    found = []
    shutil.copytree(runs / name, tmp_path / "agent")
    card = json.loads((tmp_path / "agent" / "agent.json").read_text())
    (tmp_path / "agent" / "agent.json").write_text(json.dumps({**card, "environments": told}))

    def stop(suite, data=None):
        found.append(suite)
        raise KeyboardInterrupt

    monkeypatch.setattr("oreo_agents.experiments.arenas.find_arenas", stop)
    assert (
        main(["iterate", "--model", str(tmp_path / "agent"), *words, "-o", str(tmp_path / "rounds")]) == 130
    )
    assert [one.options for one in (found[0].train, *found[0].tests.values())] == [laid, laid]


def test_played_elsewhere_it_is_said_once(runs, caplog):
    agent = str(runs / "lift-agent")
    assert find_environment(agent, "OREO-ALFWorld") == ("OREO-ALFWorld", {})
    (said,) = caplog.messages
    assert said == f"{agent} was trained in {LIFT} and plays OREO-ALFWorld here"
    caplog.clear()
    assert find_environment(agent, LIFT) == (LIFT, {}) and not caplog.messages


def test_the_shipped_agent_and_older_folders_play_alfworld(tmp_path):
    assert (
        find_environment("small")
        == find_environment(None)
        == find_environment("expert")
        == ("OREO-ALFWorld", {})
    )
    (tmp_path / "agent.json").write_text('{"method": "sft"}')
    assert find_environment(str(tmp_path)) == ("OREO-ALFWorld", {})


def test_a_folder_makes_no_code_run_and_no_file_be_read(tmp_path):
    (tmp_path / "agent.json").write_text('{"environments": {"antigravity:OREO-ALFWorld": {}}}')
    with pytest.raises(ConfigurationError, match="antigravity:OREO-ALFWorld"):
        find_environment(str(tmp_path))
    (tmp_path / "agent.json").write_text(
        '{"environments": {"OREO-ALFWorld": {"games": "/", "wording": "put"}}}'
    )
    assert find_environment(str(tmp_path)) == ("OREO-ALFWorld", {"wording": "put"})
    (tmp_path / "agent.json").write_text('{"environments": ["OREO-ALFWorld"]}')
    with pytest.raises(CheckpointError, match="must be a table"):
        find_environment(str(tmp_path))
    assert keep_options("OREO-Puzzles", {"task": "jugs", "split": "train", "folder": "x"}) == {"task": "jugs"}


def test_what_a_command_recommends_names_the_environment(runs, capsys):
    agent, data = runs / "named agent", str(runs / "lift")
    assert main([*SFT, *GOOD, "--data", data, "-o", str(agent), "--success-return", "3"]) == 0
    said = capsys.readouterr().out
    then = [shlex.split(line) for line in re.findall("^next: (.*)", said, re.M)]
    named = ["--env", LIFT, "--success-return", "3.0"]
    assert then[0][1:] == ["eval", "--agent", str(agent), *named, "-n", "100"]
    assert then[1][1:] == ["play", "--agent", str(agent), *named]
    played = ["record", "--env", LIFT, "--agent", "random", "-n", "1", "-o", str(runs / "one more")]
    assert main(played) == 0
    assert f"train --env {LIFT} --method sft --data '{runs / 'one more'}'" in capsys.readouterr().out


def test_python_has_the_same_default(runs, tmp_path):
    agent = OreoAgent.from_pretrained(runs / "lift-agent", max_new_tokens=2)
    with pytest.raises(ConfigurationError, match=f"add --env {LIFT}"):
        record(agent, tmp_path / "new")
    with pytest.raises(ConfigurationError, match=f"the episodes were played in {LIFT}"):
        train(
            runs / "lift", "new-mini", tmp_path / "a", "sft", eval_games=EvalGames(), max_steps=1, good="50%"
        )
    agent = OreoAgent.from_pretrained(runs / "jugs-agent", max_new_tokens=2)
    made = record(agent, tmp_path / "ours", schedule=Schedule(limit=1), max_steps=2)
    assert made.episodes == 1 and set(load_trajectories(tmp_path / "ours").env_ids) == {"OREO-Puzzles"}


def test_ids_without_a_module_ask_for_it(monkeypatch):
    monkeypatch.delitem(gym.registry, "Lift-v0")
    with pytest.raises(ConfigurationError, match="add --env MODULE:Lift-v0"):
        choose_environment("a was trained in", {"Lift-v0": {}})


def test_inspect_shows_the_models_own_episode_where_there_is_no_expert(runs, capsys):
    assert main(["inspect", str(runs / "lift-agent"), "--env", LIFT, "--max-steps", "2"]) == 0
    said = capsys.readouterr()
    assert "has no expert: lift-agent plays; --data FOLDER shows a recorded episode" in said.err
    assert "Somebody waits" in said.out


def test_a_recorded_episode_is_inspected_without_its_environment(runs, capsys):
    assert main(["inspect", str(runs / "lift-agent"), "--data", str(runs / "lift")]) == 0
    assert "Somebody waits" in capsys.readouterr().out


def test_a_folder_beside_the_options_is_placed(runs, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", str(runs / "lift-agent"), str(runs / "lift")])
    assert f"did you mean --data '{runs / 'lift'}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (
            "record --agent exprt -o NEW",
            "did you mean expert?; pass expert, shortest, demonstrator, random, small",
        ),
        ("eval --agent smal -n 1", "did you mean small?"),
        (
            "train --data DATA --model new-mni -o NEW",
            "did you mean new-mini?; pass small, new-small, new-tiny, new-mini",
        ),
        (
            "play --env text_environments:Spel-v0",
            "has no environment 'Spel-v0': did you mean Spell-v0?; it registers ",
        ),
        ("record --env OREO-ALFWrld -o NEW", "no environment 'OREO-ALFWrld': did you mean OREO-ALFWorld?"),
    ],
)
def test_a_mistyped_name_is_suggested(words, meant, runs, tmp_path, capsys):
    words = words.replace("NEW", str(tmp_path / "new")).split()
    assert main([str(runs / "lift") if word == "DATA" else word for word in words]) == 2
    assert meant in capsys.readouterr().err
