import os
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from oreo_agents.cli import program as cli
from oreo_agents.cli.train import list_launcher_options
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.errors import CheckpointError
from oreo_agents.trajectory import Trajectory, Turn

CLI = [sys.executable, "-m", "oreo_agents.cli"]
STAGES = "and the episodes of those at work; the same command goes on from there"
COMMANDS = [
    "demo",
    "data",
    "play",
    "replay",
    "report",
    "record",
    "train",
    "iterate",
    "eval",
    "export",
    "serve",
    "bench",
    "dataset",
    "doctor",
]


def parse(line):
    return cli.build_parser().parse_args(line.split())


def run_with(monkeypatch, outcome):
    """Exit status of `doctor` when the room behind it does `outcome`."""
    monkeypatch.setattr("oreo_agents.cli.doctor.run_doctor", outcome)
    return cli.main(["doctor"])


def raising(error):
    def run(args):
        raise error

    return run


def test_help_names_every_command_and_takes_little_more_than_gymnasium():
    done = subprocess.run([*CLI, "--help"], capture_output=True, text=True, check=True)  # warms the disk
    first_words = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")]
    assert [word for word in first_words if word in COMMANDS] == COMMANDS
    alone = [sys.executable, "-c", "import gymnasium"]
    needed, least = (min(cpu_seconds(*command) for _ in range(3)) for command in ([*CLI, "--help"], alone))
    assert needed < 2.5 * least


def cpu_seconds(*command):
    """What one call costs; unlike the wall clock it does not depend on what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"oreo-agents {version('oreo-agents')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_at_any_width(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    assert f"oreo-agents {command}" in capsys.readouterr().out


def test_expected_failures_are_one_sentence_and_status_2(monkeypatch, capsys):
    sentence = "runs/x holds no checkpoint; train one with `oreo-agents train`"
    assert run_with(monkeypatch, raising(CheckpointError(sentence))) == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


def test_operating_system_errors_name_the_path(monkeypatch, capsys):
    assert run_with(monkeypatch, lambda args: Path("no/such/file").stat()) == 2
    assert capsys.readouterr().err == "error: No such file or directory: no/such/file\n"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("demo", ": nothing had been kept in runs/demo yet"),
        ("demo -o made", f": the stages that had ended are kept in made, {STAGES}"),
        ("iterate --model small -o made", f": the stages that had ended are kept in made, {STAGES}"),
        ("bench", ": nothing had been kept in runs/bench/smoke yet"),
        ("record -o d", ": 2 episodes are kept in d; the same command goes on from there"),
        ("record -o new", ": no episode had been kept in new yet"),
        (
            "eval --agent expert -o r.json",
            ": 2 episodes are kept in r.episodes; the same command goes on from there",
        ),
        (
            "eval --agent expert",
            ": nothing is kept of this evaluation; with --output FILE it keeps its episodes, and goes on with them",
        ),
        (
            "train --data d --model small -o m",
            ": nothing is kept of this training; with --save-every N it keeps a checkpoint every N steps",
        ),
        (
            "train --data d --model small -o m --save-every 100",
            ": no checkpoint had been kept yet; the first would be that of step 100",
        ),
        (
            "train --data d --model small -o t --save-every 5",
            ": step 15 is kept in {}/t.checkpoints; the same command goes on from there",
        ),
        ("data generate --count 1 -o g", ""),
        ("doctor", ""),
    ],
)
def test_interruption_says_what_is_kept(monkeypatch, capsys, tmp_path, line, kept):
    monkeypatch.chdir(tmp_path)
    for folder in ("d", "r.episodes/expert"):
        with TrajectoryWriter(folder) as writer:
            for game in "ab":
                writer.append(Trajectory((Turn("a door", "open door", 1.0),), game=game, agent="expert"))
    for folder in ("made", "t.checkpoints/checkpoint-5", "t.checkpoints/checkpoint-15"):
        Path(folder).mkdir(parents=True)
    name = "data_generate" if line.startswith("data") else line.split()[0]
    monkeypatch.setattr(f"oreo_agents.cli.{line.split()[0]}.run_{name}", raising(KeyboardInterrupt()))
    assert cli.main(line.split()) == 130
    assert capsys.readouterr().err == f"interrupted{kept.format(tmp_path)}\n"


def test_bugs_are_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_with(monkeypatch, lambda args: 1 / 0)


@pytest.mark.parametrize(("outcome", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_room_decides_the_status(monkeypatch, outcome, status):
    assert run_with(monkeypatch, lambda args: outcome) == status


def test_several_processes_are_launched_by_the_name_of_their_settings(recorded, monkeypatch):
    def become(program, command):
        raise SystemExit(command)

    monkeypatch.setattr("oreo_agents.cli.train.os.execv", become)
    words = ["train", "--data", str(recorded), "--model", "small", "-o", "o", "--launch", "fsdp2"]
    words += ["--processes", "2"]
    with pytest.raises(SystemExit) as launched:
        cli.main(words)
    _, *launcher = launched.value.code
    assert (
        launcher[:3] == ["-m", "accelerate.commands.launch", "--config_file"] and Path(launcher[3]).is_file()
    )
    assert launcher[4:] == ["--num_processes", "2", "-m", "oreo_agents", *words, "--launch", "none"]
    assert cli.build_parser().parse_args(launcher[8:]).launch == "none"


MACHINES = ["train", "--data", "d", "--model", "m", "-o", "o", "--launch", "zero3", "--machines", "2"]


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--machine-rank", "1", "--main-address", "node0:4000"], {}, ["16", "1", "node0", "4000"]),
        (
            [],
            {"NODE_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "77"},
            ["16", "0", "10.0.0.1", "77"],
        ),
        (["--processes", "4"], {"NODE_RANK": "1", "MASTER_ADDR": "a"}, ["8", "1", "a", "29500"]),
    ],
)
def test_machines_are_told_by_options_or_by_the_environment(monkeypatch, words, environment, told):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = list_launcher_options(cli.build_parser().parse_args([*MACHINES, *words]))
    names = ("--num_processes", "--machine_rank", "--main_process_ip", "--main_process_port")
    assert [options[options.index(name) + 1] for name in names] == told
    assert options[options.index("--num_machines") + 1] == "2" and "--max_restarts" not in options


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--main-address", "node0:4000"], "--machine-rank"),
        (["--main-address", "node0:4000", "--machine-rank", "2"], "from 0 to 1"),
        (["--machine-rank", "0"], "--main-address"),
        (["--machine-rank", "0", "--main-address", "node0"], "--main-address"),
        (["--machine-rank", "0", "--main-address", "node0:99999"], "--main-address"),
        (["--launch", "none"], "--launch"),
    ],
)
def test_machines_that_cannot_find_each_other_are_told_so(recorded, monkeypatch, capsys, words, named):
    for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    there = ["--data", str(recorded), "--model", "small"]
    assert cli.main([*MACHINES, *there, *words]) == 2
    assert named in capsys.readouterr().err


def test_patience_needs_evaluations(recorded, tmp_path, capsys):
    given = ["--data", str(recorded), "--model", "small", "-o", str(tmp_path / "m"), "--patience", "2"]
    assert cli.main(["train", *given]) == 2
    assert "say how often with --eval-every" in capsys.readouterr().err


def test_an_option_that_the_method_makes_no_use_of_is_refused(recorded, tmp_path, capsys):
    given = ["--data", str(recorded), "--method", "rejection", "--after-action", "answer"]
    assert cli.main(["train", "--model", "small", *given, "-o", str(tmp_path / "agent")]) == 2
    assert "rejection makes no use of --after-action: leave it out" in capsys.readouterr().err


LONG, SHORT = "print('x\\n' * 200_000)", "print('x')"
RICH = "__import__('rich.console').console.Console().print('x')"


@pytest.mark.parametrize(
    ("work", "argument"),
    [(LONG, "doctor"), (SHORT, "doctor"), (RICH, "doctor"), (SHORT, "--help"), (SHORT, "--version")],
)
def test_a_closed_pipe_is_no_error(work, argument):
    reading, writing = os.pipe()
    os.close(reading)
    done = working(work, argument, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = working(SHORT, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, b"error: [Errno 28] No space left on device\n")


def working(work, argument="doctor", **options):
    """The command line in a process of its own, with `work` in the place of `doctor`."""
    script = (
        "import sys; from oreo_agents.cli import doctor, main\n"
        f"doctor.run_doctor = lambda args: {work}\n"
        f"sys.exit(main([{argument!r}]))"
    )
    return subprocess.run([sys.executable, "-c", script], timeout=30, **options)


def test_an_encoding_with_few_characters_gets_question_marks():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = working(r"print('caf\xe9 \u2588')", capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "café ?\n".encode("latin-1"))


@pytest.mark.parametrize("command", ["play --split generated", "--version"])
def test_closed_streams_are_no_error(command):
    close = "import os; os.close(0); os.close(1)"
    script = f"{close}; os.execv({sys.executable!r}, {[*CLI, *command.split()]})"
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "required: COMMAND"),
        ("dance", "there is no 'dance'; choose one of demo, data"),
        ("trian", "there is no 'trian': did you mean train?"),
        ("train --data x -o y", "required: --model (an agent's folder"),
        (
            "train --data x -o y --model m --learnin-rate 1e-4",
            "no option --learnin-rate: did you mean --learning-rate? (",
        ),
        ("train --dta x", "error: there is no option --dta: did you mean --data? ("),
        ("record --agnt=expert --epsilon -1", "error: there is no option --agnt: did you mean --agent? ("),
        ("record -o x -q", "there is no option -q"),
        ("dataset info x y", "'y' is too much: oreo-agents dataset info takes PATH alone"),
        ("record -o x --episodes 0", "must be at least 1, got 0"),
        ("record -o x --episodes many", "invalid int value: 'many'"),
        ("train --data x -o y --method ppo", "there is no 'ppo'"),
        ("train --data x -o y --steps 3 --epochs 2", "not allowed with argument --steps"),
        ("eval --agent x --temperature 0", "--select greedy"),
        ("eval --agent expert -o .", "argument --output/-o: . is a folder: give a file"),
        ("eval --agent expert -o /", "argument --output/-o: / is a folder"),
        ("report x -o .", "argument --output/-o: . is a folder"),
        ("dataset info x --card .", "argument --card: . is a folder"),
        ("play --seed -1", "argument --seed: must be from 0 to 4294967295, got -1"),
        ("bench --seeds 0 -1", "argument --seeds: must be from 0"),
        ("train --data x -o y --seed 4294967296", "argument --seed: must be from 0"),
        ("dataset", "required: VERB"),
    ],
)
def test_bad_options_are_refused_before_any_work(line, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(line.split())
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("record -o x --split valid", "OREO-ALFWorld has no split 'valid': did you mean valid_seen?"),
        ("eval --agent small --split nowhere", "OREO-ALFWorld has no split 'nowhere': choose one of train"),
        (
            "record --agent small --env OREO-MATH --split dev -o x",
            "OREO-MATH has no split 'dev': choose one of train",
        ),
        ("record --agent small --env-options floors -o x", "'floors' is no option of an environment"),
        ("dataset verify {} --split nowhere", "OREO-ALFWorld has no split 'nowhere'"),
    ],
)
def test_a_split_that_an_environment_does_not_have_is_refused_before_a_model_is_loaded(
    line, said, monkeypatch, capsys, tmp_path
):
    assert cli.main(["record", "--split", "generated", "-n", "1", "-o", str(tmp_path / "d")]) == 0
    monkeypatch.setattr("oreo_agents.agents.load.load_agent", None)
    assert cli.main(line.format(tmp_path / "d").split()) == 2
    assert said in capsys.readouterr().err


def test_options_arrive_typed():
    args = parse("eval --agent a --k 1 5 16 --select best_of_k --games b --max-steps 40")
    assert (args.k, args.select, str(args.games), args.max_steps) == ([1, 5, 16], ["best_of_k"], "b", 40)


@pytest.mark.parametrize(
    ("command", "options", "length"),
    [
        ("record", "--env OREO-ALFWorld -n 1 -o d", 32),
        ("record", "--env OREO-ALFWorld -n 1 -o d --max-new-tokens 9", 9),
        ("record", "--env OREO-GSM8K -n 1 -o d", 128),
        ("eval", "--env OREO-Reasoning -n 1", 128),
        ("eval", "--env OREO-Reasoning -n 1 --max-new-tokens 9", 9),
        ("eval", "--split generated -n 1", 32),
        ("play", "--env OREO-Reasoning", 128),
    ],
)
def test_the_length_of_an_action_is_the_environments_unless_given(
    command, options, length, tmp_path, monkeypatch
):
    from oreo_agents.agents.oreo import OreoAgent

    class Asked(Exception):
        pass

    def load(path, *, max_new_tokens, **options):
        raise Asked(max_new_tokens)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OreoAgent, "from_pretrained", load)
    with pytest.raises(Asked, match=f"^{length}$"):
        cli.main([command, "--agent", "small", *options.split()])


def test_games_that_judge_a_training_are_shown_in_the_wording_asked_for():
    from oreo_agents.agents.oreo import OreoAgent
    from oreo_agents.experiments.train import EvalGames, make_player

    agent = OreoAgent.from_pretrained("small")
    play = make_player(EvalGames(episodes=3, max_steps=20, wording="put"))
    episodes = list(play((agent.policy, agent.chat.tokenizer, None)))
    said = " ".join(turn.observation for episode in episodes for turn in episode.turns)
    assert "You arrive at loc " in said and len(episodes) == 3


@pytest.mark.parametrize("command", ["demo", "iterate --model small"])
def test_two_runs_in_one_folder_are_refused(tmp_path, capsys, command):
    from oreo_envs.files import lock_folder

    with lock_folder(tmp_path / "run"):
        assert cli.main([*command.split(), "--output", str(tmp_path / "run")]) == 2
    run = tmp_path / "run"
    assert (
        f"another run is at work in {run}: wait for it, or choose another --output" in capsys.readouterr().err
    )
    assert [entry.name for entry in run.iterdir()] == [".lock"]


def test_a_completion_script_knows_commands_and_options(capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--print-completion", "bash"])
    out = capsys.readouterr().out
    assert exit_.value.code == 0 and "--critic-learning-rate" in out and "doctor" in out


@pytest.mark.parametrize("command", ["eval", "record -o d", "play"])
def test_players_without_a_model_do_without_torch(command, tmp_path):
    words = [
        *command.split(),
        *["--agent", "expert", "--split", "generated", "--seed", "3", "--max-steps", "2"],
    ]
    words += [] if command == "play" else ["-n", "1"]
    script = f"import sys; from oreo_agents.cli import main; assert main({words}) == 0; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_python_collects_nothing_when_a_command_has_ended():
    ends = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000, len(gc.get_objects())))"
    code = f"{ends}; from oreo_agents.cli import main; main(['runs', 'nowhere'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1].startswith("True") and int(ended.stdout.split()[-1]) < 1000
