import json
import re
from dataclasses import replace

import pytest
import shared_data

from oreo_agents.agents.load import load_agent
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.environments import replay_environment
from oreo_agents.errors import DatasetError
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.rollout.verify import verify_episodes

SEEN = shared_data.ALFWORLD / "valid_seen.tar.xz"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "d"
    options = {"split": "generated"}
    record(load_agent("expert", epsilon=0.3), path, schedule=Schedule(limit=6), **options)
    record(load_agent("random"), path, schedule=Schedule(limit=2), max_steps=30, **options)
    return path


@pytest.fixture(scope="module")
def env():
    env = replay_environment(None, split="generated")
    yield env
    env.close()


def verify_command(path, *options):
    return main(["dataset", "verify", str(path), *options])


def only(report):
    (difference,) = report.first
    return difference


def test_what_was_recorded_happens_again(recorded, env):
    report = verify_episodes(load_trajectories(recorded), env)
    assert report.ok and (report.episodes, report.agreeing, report.outcomes_agreeing) == (8, 8, 8)
    assert report.turns == load_trajectories(recorded).lengths.sum()
    assert "8 of 8 episodes" in str(report)


def altered(episode, turn, **changes):
    turns = list(episode.turns)
    turns[turn] = replace(turns[turn], **changes)
    return replace(episode, turns=tuple(turns))


def test_the_first_differing_step_is_named(recorded, env):
    good = load_trajectories(recorded).filter(success=True)[0]
    for bad, step, what in [
        (altered(good, 0, observation="A castle."), 0, "observation"),
        (altered(good, 2, observation="A castle."), 2, "observation"),
        (altered(good, 1, action="dance"), 2, "admissibility"),
        (altered(good, 1, action_status="unparsable"), 2, "admissibility"),
        (altered(good, 1, reward=1.0), 2, "reward"),
        (altered(good, 1, admissible_commands=("dance",)), 2, "admissible_commands"),
        (altered(good, -1, reward=0.0), len(good), "reward"),
        (replace(good, final_observation="A castle."), len(good), "observation"),
        (replace(good, turns=good.turns[:-1], final_observation=""), len(good) - 1, "outcome"),
        (replace(good, turns=good.turns + good.turns[-1:]), len(good), "observation"),
        (replace(good, game="nowhere"), 0, "game"),
    ]:
        report = verify_episodes([good, bad], env)
        difference = only(report)
        assert (difference.episode, report.agreeing) == (1, 1)
        assert (difference.step, difference.what) == (step, what)


def test_an_episode_cut_short_has_another_outcome(recorded, env):
    good = load_trajectories(recorded).filter(success=True)[0]
    report = verify_episodes([altered(good, -1, action="look", observation=good.turns[-1].observation)], env)
    assert report.outcomes_agreeing == 0 and report.differences["outcome"] == 1


def old_wording(text):
    """What collections made before ALFWorld 0.4 contain, written independently of the importer."""
    text = re.sub(r"^You arrive at [a-z]+ \d+\. ", "", text)
    text = re.sub(r"^You move the (.*) to the (.*)\.$", r"You put the \1 in/on the \2.", text)
    text = re.sub(r"^move (.*) to (.*)$", r"put \1 in/on \2", text)
    return text.replace("-= Welcome to TextWorld, ALFRED! =-\n\n", "").replace(
        ".\n\nYour task", ".\nYour task"
    )


def test_imported_episodes_are_compared_in_the_newer_wording(recorded, env):
    good = load_trajectories(recorded).filter(agent="expert-epsilon0.3")[0]
    turns = [
        replace(
            turn,
            observation=old_wording(turn.observation),
            action=old_wording(turn.action),
            action_status=None,
            admissible_commands=None,
        )
        for turn in good.turns
    ]
    assert any(turn.action.startswith("put ") for turn in turns)
    old = replace(good, turns=tuple(turns), final_observation=old_wording(good.final_observation))
    assert not verify_episodes([old], env).ok
    imported = replace(old, metadata={"source": "eto"})
    assert verify_episodes([imported], env).ok
    wrong = altered(imported, 1, observation="On the shelf 99, you see nothing.")
    assert only(verify_episodes([wrong], env)).step == 1


@pytest.mark.parametrize("wording", ["put", "move"])
def test_a_dataset_in_a_wording_of_its_own_happens_again_in_it(tmp_path, wording):
    record(
        load_agent("expert", epsilon=0.2),
        tmp_path,
        schedule=Schedule(limit=4),
        split="generated",
        wording=wording,
    )
    dataset = load_trajectories(tmp_path)
    assert dataset.agreed("dialect") == dataset.agreed("env_spec")["kwargs"]["wording"] == wording
    commands = [turn.action for episode in dataset for turn in episode.turns]
    assert any(command.startswith(f"{wording} ") for command in commands)
    with replay_environment(dataset.agreed("env_spec")) as env:
        assert verify_episodes(dataset, env).agreeing == 4
    with pytest.raises(DatasetError, match=f"the {wording!r} wording, not"):
        other = "move" if wording == "put" else "put"
        record(load_agent("expert"), tmp_path, schedule=Schedule(limit=6), split="generated", wording=other)


# ------------------------------------------------------------------------------- the commands


def test_the_command_finds_the_environment_and_names_the_step(recorded, tmp_path, capsys):
    assert verify_command(recorded) == 0
    good = load_trajectories(recorded)
    assert good.agreed("dialect") == "move"
    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "bad", env_spec=good.agreed("env_spec")) as writer:
        writer.append(good[0])
        writer.append(altered(good[1], 3, observation="A castle."))
    capsys.readouterr()
    assert verify_command(tmp_path / "bad") == 1
    assert "step 3: observation differs" in capsys.readouterr().out
    assert verify_command(tmp_path / "bad", "--files-only") == 0


def test_commands_play_and_verify_in_a_wording(tmp_path, capsys):
    options = ["--split", "generated", "-n", "3", "--wording", "put"]
    assert main(["record", *options, "-o", str(tmp_path / "d")]) == 0
    assert verify_command(tmp_path / "d") == 0
    assert verify_command(tmp_path / "d", "--wording", "move") == 1
    assert main(["eval", "--agent", "expert", *options, "-o", str(tmp_path / "r.json")]) == 0
    (result,) = json.loads((tmp_path / "r.json").read_text())
    assert result["wording"] == "put" and result["split"] == "generated"
    assert load_trajectories(tmp_path / "r.episodes" / "expert-greedy").agreed("dialect") == "put"
    assert main(["eval", "--agent", "expert", *options[:-1], "move", "-o", str(tmp_path / "r.json")]) == 2
    assert "another evaluation" in capsys.readouterr().err
    for command in (["record", "-o", str(tmp_path / "e")], ["eval", "--agent", "expert"]):
        assert main([*command, "--env", "OREO-Reasoning", "--games", "chain_sum", "--wording", "put"]) == 2
        assert (
            "OREO-Reasoning cannot show its games in a wording 'put': leave it out" in capsys.readouterr().err
        )
    assert not (tmp_path / "e").exists()


def test_the_command_escapes_what_was_recorded(recorded, tmp_path, capsys):
    from oreo_agents.dataset import TrajectoryWriter

    good = load_trajectories(recorded)
    with TrajectoryWriter(tmp_path / "d", env_spec=good.agreed("env_spec")) as writer:
        writer.append(altered(good[0], 1, observation="\x1b[2JYou see nothing."))
    assert verify_command(tmp_path / "d") == 1
    assert r"recorded: \x1b[2JYou see nothing." in capsys.readouterr().out


def test_the_command_notices_damage_without_replay(recorded, tmp_path, capsys):
    load_trajectories(recorded).save(tmp_path / "d")
    shard = tmp_path / "d" / "shard-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[-1500] ^= 1
    shard.write_bytes(content)
    assert verify_command(tmp_path / "d", "--files-only") == 2
    assert "damaged" in capsys.readouterr().err


def test_an_unknown_environment_is_asked_for(tmp_path, episode, capsys):
    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode())
    assert verify_command(tmp_path / "d") == 2
    assert "name the games" in capsys.readouterr().err


def test_an_environment_that_nobody_registered_is_named(tmp_path, episode, capsys):
    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "d", env_spec={"id": "Corridor", "kwargs": {"length": 3}}) as writer:
        writer.append(episode())
    assert verify_command(tmp_path / "d") == 3
    assert re.search(r"nothing was replayed.*of Corridor.*--env MODULE:Corridor", capsys.readouterr().out)
    assert verify_command(tmp_path / "d", "--files-only") == 0


@pytest.mark.skipif(not SEEN.is_file(), reason=f"no real games in {SEEN}")
def test_recordings_of_real_games_happen_again(tmp_path):
    agent = load_agent("shortest", epsilon=0.2)
    record(agent, tmp_path / "d", schedule=Schedule(limit=12), games=SEEN)
    assert verify_command(tmp_path / "d") == 0
