"""Programs that the command runs, their child processes, and what is counted and recorded of them."""

import json
import os
import re
import subprocess
import sys

import drop_in_parity as parity
import pytest
from oreo_envs.alfworld.drop_in.command import main

from oreo_agents.cli import main as run_oreo_agents
from oreo_agents.dataset import load_trajectories
from oreo_agents.training.train import train

pytest.importorskip("textworld")
pytest.importorskip("alfworld")

COUNTS = re.compile(
    r"oreo_envs\.alfworld\.drop_in: (\d+) episodes, (\d+) steps, [\d.]+ s in the environment$"
)

AGENT = '''
import json, multiprocessing, os, signal, sys
from concurrent.futures import ProcessPoolExecutor

def play(first, games=1, stop_at=None):
    """Wins, playing the walkthroughs of some games; perhaps the process dies in the last one."""
    from alfworld.agents import environment
    with open(os.environ["PLAYED_WITH"]) as file:
        config = json.load(file)
    env = getattr(environment, config["env"]["type"])(config, train_eval="eval_out_of_distribution")
    env = env.init_env(batch_size=1)
    env.skip(first)
    won = 0
    for game in range(games):
        _, infos = env.reset()
        with open(infos["extra.gamefile"][0]) as file:
            plan = json.load(file)["walkthrough"]
        for number, command in enumerate(["look", "think: hm", *plan]):
            if (game, number) == stop_at:
                os.kill(os.getpid(), signal.SIGKILL)
            _, _, dones, infos = env.step([command])
        won += infos["won"][0] and dones[0]
    return won

if __name__ == "__main__":
    import my_helper
    assert my_helper.HERE and sys.argv[1:] == ["--games", "2"], sys.argv
    won = [play(0, 2)]
    for number, method in enumerate(["fork", "spawn", "forkserver"]):
        with multiprocessing.get_context(method).Pool(1) as pool:
            won += [pool.apply(play, (number + 1,))]
            pool.close()
            pool.join()
    with ProcessPoolExecutor(1) as pool:
        won.append(pool.submit(play, 4).result())
    dying = multiprocessing.get_context("fork").Process(target=play, args=(0, 2, (1, 3)))
    dying.start()
    dying.join()
    print(won, dying.exitcode)
'''


@pytest.fixture(scope="module")
def played(trials, tmp_path_factory):
    """A program that plays by itself and in processes of every kind, one of which is killed: its output and data."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "agent.py").write_text(AGENT)
    (folder / "my_helper.py").write_text("HERE = True")
    config = parity.make_config(parity.Scene(trials, trials[0].parents[2]))
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "oreo_envs.alfworld.drop_in", "--record", "data", "agent.py"]
    kept = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PLAYED_WITH": str(folder / "config.json"),
    }
    done = subprocess.run(
        [*command, "--games", "2"], cwd=folder, env=kept, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done, folder / "data"


def test_every_process_plays_natively_and_is_counted(played):
    done, _ = played
    assert done.stdout.splitlines()[-1] == "[2, 1, 1, 1, 1] -9"
    [counts] = [found for line in done.stderr.splitlines() if (found := COUNTS.match(line))]
    assert int(counts[1]) == 6 + 2  # the one that was killed has begun two
    assert int(counts[2]) > 40 and "TextWorld's own engine" not in done.stderr


def test_what_was_played_verifies_and_trains(played, capsys, tmp_path):
    _, data = played
    episodes = load_trajectories(data)
    assert [episode.success for episode in episodes].count(True) == 7
    assert {episode.agent for episode in episodes} == {"agent"}
    assert all([turn.action for turn in episode.turns][:2] == ["look", "think: hm"] for episode in episodes)
    assert run_oreo_agents(["dataset", "verify", str(data)]) == 0
    assert f"{len(episodes)} of {len(episodes)} episodes" in capsys.readouterr().out
    options = {"max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "disable_tqdm": True}
    trainer = train("sft", list(episodes)[:2], "new-mini", tmp_path / "agent", **options)
    assert trainer.state.global_step == 1 and (tmp_path / "agent" / "policy").is_dir()


def test_a_program_that_fails_fails_and_is_counted(tmp_path):
    (tmp_path / "broken.py").write_text("import sys; sys.exit(3)")
    command = [sys.executable, "-m", "oreo_envs.alfworld.drop_in", "-m", "broken"]
    kept = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True)
    assert done.returncode == 3 and COUNTS.match(done.stderr.splitlines()[-1])[1] == "0"


@pytest.mark.parametrize(
    "arguments, sentence", [([], "a program is missing"), (["no.py"], "no program no.py")]
)
def test_what_is_missing_is_said(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and sentence in capsys.readouterr().err
