import json
import re
import subprocess
import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from oreo_envs.alfworld.experts.searching_expert import SearchingExpert
from oreo_envs.alfworld.generator.games import generate_game
from oreo_envs.alfworld.sources import find_games
from oreo_envs.errors import GameFileError

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.load import load_agent
from oreo_agents.agents.oreo import OreoAgent
from oreo_agents.agents.scripted import SCRIPTED, ScriptedAgent
from oreo_agents.cli import main
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.rollout import record as collect
from oreo_agents.rollout.record import record
from oreo_agents.rollout.schedule import Schedule
from oreo_agents.trajectory import Action


def run(path, agent="expert", env_id="OREO-ALFWorld", epsilon=0.0, **options):
    """Record ``agent``, a scripted one where it is a name; options of the schedule are known by their names."""
    if isinstance(agent, str):
        agent = load_agent(agent, env_id=env_id, epsilon=epsilon)
    options = {"split": "generated", "limit": 12, **options}
    when = {name: options.pop(name) for name in Schedule.__dataclass_fields__ if name in options}
    return record(agent, path, env_id, schedule=Schedule(**when), **options)


@pytest.mark.parametrize("agent", [name for name in SCRIPTED if name != "demonstrator"])
def test_every_agent_is_recorded(tmp_path, agent):
    summary = run(tmp_path / "d", agent)
    dataset = load_trajectories(tmp_path / "d")
    assert summary.episodes == len(dataset) == len(set(dataset.games)) == 12
    assert summary.successes == dataset.success.sum()
    assert summary.turns == dataset.lengths.sum()
    assert set(dataset.agents) == {agent}
    if agent != "random":
        assert summary.success_rate > 0.8
    assert all(turn.action_status == "ok" for episode in dataset for turn in episode.turns)
    assert all(turn.action in turn.admissible_commands for episode in dataset for turn in episode.turns)


def test_shortest_is_no_longer_than_the_search(tmp_path):
    run(tmp_path / "short", "shortest")
    run(tmp_path / "search", "expert")
    short, search = (load_trajectories(tmp_path / name).filter(success=True) for name in ("short", "search"))
    lengths = dict(zip(search.games, search.lengths, strict=True))
    assert all(length <= lengths[game] for game, length in zip(short.games, short.lengths, strict=True))


def test_noise_is_marked_and_recovered_from(tmp_path):
    run(tmp_path / "d", epsilon=0.3, limit=30)
    dataset = load_trajectories(tmp_path / "d")
    assert set(dataset.agents) == {"expert-epsilon0.3"}
    noise = [episode.turns[i] for episode in dataset for i in episode.metadata.get("noise_turns", [])]
    assert 0.15 < len(noise) / dataset.lengths.sum() < 0.45
    useless = [turn for turn in noise if turn.action_status != "ok"]
    assert 0.3 < len(useless) / len(noise) < 0.7
    assert all((turn.action_status == "ok") == (turn.action in turn.admissible_commands) for turn in noise)
    assert dataset.success.mean() > 0.8


def test_a_recording_resumes_and_repeats_nothing(tmp_path):
    run(tmp_path / "parts", limit=5)
    summary = run(tmp_path / "parts", limit=12)
    assert (summary.episodes, summary.already_there) == (7, 5) and "; 5 were there before" in str(summary)
    assert run(tmp_path / "parts", limit=12).episodes == 0
    run(tmp_path / "whole", limit=12)
    assert list(load_trajectories(tmp_path / "parts")) == list(load_trajectories(tmp_path / "whole"))


def test_a_recording_says_whose_episodes_are_there_beside_its_own(tmp_path):
    run(tmp_path / "d", limit=5)
    summary = run(tmp_path / "d", epsilon=0.3, limit=3)
    assert summary.of_others == 5 and "; beside 5 of expert" in str(summary)
    assert "beside" not in str(run(tmp_path / "alone", limit=3))


def test_a_recording_says_which_options_are_others_than_before(tmp_path):
    assert "other options" not in str(run(tmp_path / "d", limit=2, max_steps=40))
    assert "other options" not in str(run(tmp_path / "d", limit=3, max_steps=40))
    assert "; other options than before: max_steps 40 then, 30 now" in str(
        run(tmp_path / "d", limit=4, max_steps=30)
    )


def test_a_limit_is_of_each_shard(tmp_path):
    runs = [run(tmp_path / "d", limit=3, shard=(index, 2)) for index in range(2)]
    assert [one.episodes for one in runs] == [3, 3] and len(set(load_trajectories(tmp_path / "d").games)) == 6


def test_an_interrupted_episode_is_played_again(tmp_path, monkeypatch):
    act, questions = SearchingExpert.act, iter(range(40))

    def interrupted(expert, observation, info):
        if next(questions, None) is None:
            raise KeyboardInterrupt
        return act(expert, observation, info)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(SearchingExpert, "act", interrupted)
        run(tmp_path / "parts")
    parts = load_trajectories(tmp_path / "parts")
    assert 0 < len(parts) < 12 and parts.lengths.sum() < 40
    assert all(episode.terminated or episode.truncated for episode in parts)
    run(tmp_path / "parts")
    run(tmp_path / "whole")
    assert list(load_trajectories(tmp_path / "parts")) == list(load_trajectories(tmp_path / "whole"))


@pytest.mark.parametrize("slots", [1, 3])
def test_a_damaged_game_stops_nobody(tmp_path, slots):
    games = _some_games(tmp_path)
    recorded = partial(record, ScriptedAgent("expert"), tmp_path / "d", games=games, slots=slots, max_steps=5)
    files = sorted(games.rglob("game.tw-pddl"))
    for damaged in files[1:]:  # whatever the order, some come before the sound one
        damaged.write_text("{")
    summary = recorded()
    assert (summary.episodes, summary.failed) == (1, 6)
    assert re.search(r"6 could not be played: .*game-\d/trial-\d", str(summary))
    (episode,) = load_trajectories(tmp_path / "d")
    assert episode.game == "game-0/trial-0"
    files[1].write_text(generate_game(1), encoding="utf-8")
    assert (recorded().episodes, len(load_trajectories(tmp_path / "d"))) == (1, 2)
    files[0].write_text("{")
    files[1].write_text("{")
    with pytest.raises(GameFileError, match="game-"):
        recorded()


def test_shards_are_disjoint_and_make_the_whole(tmp_path):
    everything = {"limit": None, "games": _some_games(tmp_path), "split": None}
    for index in range(3):
        run(tmp_path / "sharded", shard=(index, 3), **everything)
    run(tmp_path / "whole", **everything)
    sharded, whole = load_trajectories(tmp_path / "sharded"), load_trajectories(tmp_path / "whole")
    assert sorted(sharded.games) == sorted(whole.games) and len(whole) == 7
    assert sorted(sharded, key=str) == sorted(whole, key=str)


def test_shards_and_wholes_do_not_hide_each_other(tmp_path):
    run(tmp_path / "whole", limit=1)
    with pytest.raises(DatasetError, match="whole: is a dataset without shards"):
        run(tmp_path / "whole", limit=1, shard=(0, 2))
    run(tmp_path / "sharded", limit=1, shard=(0, 2))
    run(tmp_path / "sharded", limit=1, shard=(1, 2))
    with pytest.raises(DatasetError, match=r"holds shards \(part-[01]-of-2\)"):
        run(tmp_path / "sharded", limit=1)
    assert [len(load_trajectories(tmp_path / name)) for name in ("whole", "sharded")] == [1, 2]


def test_repeats_search_differently(tmp_path):
    run(tmp_path / "d", games=_some_games(tmp_path), split=None, episodes_per_game=3, limit=None)
    dataset = load_trajectories(tmp_path / "d")
    assert len(dataset) == 21
    games = [dataset.filter(game=game) for game in set(dataset.games)]
    assert all(len(set(game.column("seed"))) == 3 for game in games)
    ways = [len({tuple(turn.action for turn in episode.turns) for episode in game}) for game in games]
    assert max(ways) > 1


def _some_games(folder):
    """Seven generated games as a folder of game files."""
    for index in range(7):
        game = folder / "games" / f"game-{index}" / f"trial-{index}" / "game.tw-pddl"
        game.parent.mkdir(parents=True)
        game.write_text(generate_game(index), encoding="utf-8")
    return folder / "games"


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 1.0},
        {"epsilon": 0.1, "agent": "random"},
        {"shard": (3, 3)},
        {"episodes_per_game": 0},
        {"limit": 0},
        {"limit": None},
        {"limit": 10**20},
        {"max_steps": 0},
        {"seed": -1},
    ],
)
def test_options_that_make_no_sense(tmp_path, wrong):
    with pytest.raises(ConfigurationError):
        run(tmp_path / "d", **wrong)
    assert not (tmp_path / "d").exists()


def test_rollouts_of_an_agent_are_recorded_once_and_resume(tmp_path):
    first = run(tmp_path / "d", limit=3, seed=3, slots=2)
    second = run(tmp_path / "d", limit=5, seed=3, slots=2)
    assert (first.episodes, second.episodes, second.already_there) == (3, 2, 3)
    episodes = load_trajectories(tmp_path / "d")
    assert len({episode.game for episode in episodes}) == len(episodes) == 5
    assert all(episode.success and episode.agent == "expert" for episode in episodes)


def test_the_shipped_agent_is_recorded_by_its_name(tmp_path, capsys):
    from oreo_agents.cli import program as cli

    command = ["record", "--agent", "small", "--split", "generated", "-n", "1", "--max-steps", "3"]
    assert cli.main([*command, "-o", str(tmp_path / "d")]) == 0
    (episode,) = load_trajectories(tmp_path / "d")
    assert episode.agent == "small" and all(turn.token_ids for turn in episode.turns)
    assert cli.main([*command, "--epsilon", "0.1", "-o", str(tmp_path / "e")]) == 2
    assert "--epsilon disturbs expert, shortest, demonstrator, random" in capsys.readouterr().err


def test_a_split_that_nobody_asked_for_is_kept(tmp_path, monkeypatch, capsys):
    """Which one that is depends on the data that is found."""

    def recorded(limit=None, name="d", **options):
        options = {"schedule": Schedule(limit=limit), **options}
        return record(ScriptedAgent("expert"), tmp_path / name, **options)

    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "nowhere"))
    recorded(limit=2)
    assert load_trajectories(tmp_path / "d").metas[0].env_spec["kwargs"]["split"] == "generated"
    _some_games(tmp_path).rename(tmp_path / "train")
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert main(["dataset", "verify", str(tmp_path / "d")]) == 0
    with pytest.raises(DatasetError, match="of 'generated', and 'train' is what is played here"):
        recorded(limit=3)
    assert recorded(limit=3, split="generated").already_there == 2
    recorded(split="train")
    assert len(load_trajectories(tmp_path / "d")) == 10
    recorded(1, "e", games=tmp_path / "train")
    with pytest.raises(DatasetError, match="where neither split nor games are named"):
        recorded(2, "e")


def test_a_dataset_is_of_one_environment(tmp_path):
    run(tmp_path / "d", limit=2)
    with pytest.raises(DatasetError, match="is of OREO-ALFWorld, not OREO-Reasoning"):
        run(tmp_path / "d", "expert", "OREO-Reasoning", split="train", limit=2)
    assert len(load_trajectories(tmp_path / "d")) == 2


def test_another_model_by_the_same_name_does_not_continue_a_recording(tmp_path, policy, tokenizer):
    def recorded(limit=2, **options):
        agent = OreoAgent(policy, tokenizer, max_new_tokens=4, **options)
        return run(tmp_path / "d", agent, max_steps=2, limit=limit)

    recorded(select="sample")
    assert recorded(select="sample", limit=3).already_there == 2
    for other in ({"select": "greedy"}, {"select": "sample", "temperature": 2.0}):
        with pytest.raises(DatasetError, match=r"another 'oreo'.*select sample.*another folder"):
            recorded(**other, limit=4)
    recorded(select="greedy", name="greedy")
    recorded(select="sample", limit=4)
    with torch.no_grad():
        next(policy.parameters()).add_(1)
    with pytest.raises(DatasetError, match="another 'oreo'"):
        recorded(select="sample", limit=5)
    assert len(load_trajectories(tmp_path / "d")) == 6


def test_recordings_that_do_not_say_who_played_are_continued(tmp_path, policy, tokenizer):
    agent = OreoAgent(policy, tokenizer, max_new_tokens=4)
    run(tmp_path / "d", agent, max_steps=2, limit=1)
    meta = json.loads((tmp_path / "d" / "meta.json").read_text())
    assert meta["metadata"].pop("player oreo").startswith("weights ")
    (tmp_path / "d" / "meta.json").write_text(json.dumps(meta))
    assert run(tmp_path / "d", agent, max_steps=2, limit=2).already_there == 1


def test_exploring_rollouts_on_the_command_line(tmp_path, capsys):
    from oreo_agents.cli import program as cli

    def recorded(name, *options):
        command = ["record", "--split", "generated", "-n", "6", "--seed", "2", *options]
        assert cli.main([*command, "-o", str(tmp_path / name)]) == 0
        return load_trajectories(tmp_path / name)

    cool = recorded("cool", "--agent", "small")
    hot = recorded("hot", "--agent", "small", "--temperature", "5", "--patience", "3")
    surprise = [-np.mean([p for e in found for t in e.turns for p in t.logprobs]) for found in (cool, hot)]
    assert surprise[1] > 2 * surprise[0]
    useless = [
        [turn.action_status != "ok" for turn in episode.turns] for episode in hot if not episode.success
    ]
    assert useless and all(all(row[-3:]) and len(row) < 50 for row in useless)
    assert cli.main(["record", "--temperature", "2", "-o", str(tmp_path / "e")]) == 2
    assert "expert has no model and makes no use of --temperature" in capsys.readouterr().err


def test_precision_and_games_at_once_on_the_command_line(tmp_path, capsys):
    command = ["record", "--agent", "small", "--split", "generated", "-n", "2", "--max-steps", "3"]
    sampled = {}
    for name, options in {
        "one": ["--num-envs", "1"],
        "two": ["--num-envs", "2"],
        "coarse": ["--dtype", "bfloat16"],
    }.items():
        assert main([*command, *options, "-o", str(tmp_path / name)]) == 0
        turns = [turn for episode in load_trajectories(tmp_path / name) for turn in episode.turns]
        sampled[name] = np.concatenate([turn.logprobs for turn in turns])
    assert np.abs(sampled["one"] - sampled["two"]).max() < 1e-5
    assert (
        len(sampled["coarse"]) != len(sampled["one"])
        or np.abs(sampled["coarse"] - sampled["one"]).max() > 1e-4
    )
    assert main(["record", "--dtype", "bfloat16", "-o", str(tmp_path / "e")]) == 2
    assert "expert has no model and makes no use of --dtype" in capsys.readouterr().err


class Interrupted(ScriptedAgent):
    """The expert, which gets nowhere in every third episode, until it has been asked so many times."""

    def __init__(self, questions):
        super().__init__("expert")
        self.questions, self.seeds = questions, {}

    def begin(self, slots, assignments):
        super().begin(slots, assignments)
        self.seeds |= {slot: assignment.seed for slot, assignment in zip(slots, assignments, strict=True)}

    def act_many(self, slots, observations, infos):
        self.questions -= 1
        if self.questions < 0:
            raise KeyboardInterrupt
        decisions = super().act_many(slots, observations, infos)
        stuck = [self.seeds[slot] % 3 == 0 for slot in slots]
        return [Decision(Action("look")) if s else d for s, d in zip(stuck, decisions, strict=True)]


def test_interrupted_rollouts_lack_nothing_in_the_end(tmp_path):
    """Of some games a later episode has ended before an earlier one, when the run is interrupted."""
    options = {
        "games": _some_games(tmp_path),
        "split": None,
        "episodes_per_game": 3,
        "limit": None,
        "slots": 7,
    }
    run(tmp_path / "whole", Interrupted(1000), **options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Interrupted(40), **options)
    whole, parts = load_trajectories(tmp_path / "whole"), load_trajectories(tmp_path / "parts")
    assert 0 < len(parts) < len(whole) == 21
    run(tmp_path / "parts", Interrupted(1000), **options)
    assert sorted(load_trajectories(tmp_path / "parts"), key=str) == sorted(whole, key=str)


class OutOfReach(ScriptedAgent):
    """The expert behind a server that breaks down, once, in the third game."""

    def begin(self, slots, assignments):
        super().begin(slots, assignments)
        self.begun = getattr(self, "begun", 0) + len(slots)

    def act_many(self, slots, observations, infos):
        if self.begun == 3:
            return [Decision(Action(""), end="status 503", failed=True) for _ in slots]
        return super().act_many(slots, observations, infos)


def test_an_episode_that_the_machinery_broke_is_played_again(tmp_path):
    first = run(tmp_path / "d", OutOfReach("expert"), limit=4)
    assert (first.episodes, first.failed) == (3, 1) and "1 could not be played" in str(first)
    second = run(tmp_path / "d", limit=4)
    assert (second.episodes, second.already_there, second.failed) == (1, 3, 0)
    assert load_trajectories(tmp_path / "d").success.all()


def test_a_shard_without_games_is_told(tmp_path):
    games = _some_games(tmp_path)
    with pytest.raises(ConfigurationError, match="shard 8/9 is empty: there are 7 games"):
        run(tmp_path / "d", shard=(8, 9), games=games, split=None)
    assert not (tmp_path / "d").exists()


def test_a_scripted_recording_loads_nothing_that_models_need(tmp_path):
    program = (
        "import sys; from oreo_agents import cli\n"
        f"cli.main(['record', '--split', 'generated', '-n', '1', '--epsilon', '0.1', '-o', {str(tmp_path / 'd')!r}])\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_many_at_once_record_what_one_after_the_other_does(tmp_path):
    """The same episodes, noise included, in the same order, whichever ended first."""
    for slots in (1, 5):
        run(tmp_path / str(slots), epsilon=0.3, episodes_per_game=2, seed=4, slots=slots)
    one, many = (list(load_trajectories(tmp_path / name)) for name in "15")
    assert one == many
    names = [f"{episode.game}/{episode.seed}" for episode in one]
    planned = Schedule(2, seed=4, limit=12).assign(find_games("generated").names)
    assert names == [f"{episode.game}/{episode.seed}" for episode in planned]


@pytest.mark.parametrize("slots", [1, 3])
def test_a_game_of_another_wording_does_not_join_a_dataset(tmp_path, monkeypatch, slots):
    """Of the first game it is known before play begins; the third to be played here is another."""
    wordings = iter(["move", "move", "move", "put"])
    monkeypatch.setattr(collect, "dialect_of", lambda env: next(wordings))
    with pytest.raises(DatasetError, match="'move' wording, not 'put'"):
        run(tmp_path / "d", slots=slots)
    if slots == 1:
        assert len(load_trajectories(tmp_path / "d")) == 2
    else:
        assert not (tmp_path / "d").exists()


def test_a_recording_with_gaps_is_completed(tmp_path):
    """Whoever left them: a run of many at once, or a file that lost some."""
    run(tmp_path / "whole", epsilon=0.3, limit=8)
    whole = list(load_trajectories(tmp_path / "whole"))
    with TrajectoryWriter(tmp_path / "parts", dialect="move") as writer:
        for episode in whole[1::2]:
            writer.append(episode)
    again = run(tmp_path / "parts", epsilon=0.3, limit=8)
    assert (again.episodes, again.already_there) == (4, 4)
    assert sorted(load_trajectories(tmp_path / "parts"), key=str) == sorted(whole, key=str)


# ------------------------------------------------------------------------------------------- mathematics


@pytest.fixture
def gsm8k(tmp_path):
    """Two problems with worked solutions, in GSM8K's own layout."""
    rows = [
        ("Ann has 2 apples and buys 3. How many?", "She has 2+3=<<2+3=5>>5 apples.\nSo 5.\n#### 5"),
        ("Half of 8?", "8/2=<<8/2=4>>4\n#### 4"),
    ]
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_worked_solutions_are_recorded_step_by_step(gsm8k, tmp_path):
    summary = run(tmp_path / "d", "expert", "OREO-GSM8K", data=gsm8k, split="train", limit=None)
    episodes = {episode.game: episode for episode in load_trajectories(tmp_path / "d")}
    assert (summary.episodes, summary.successes, summary.turns) == (2, 2, 5)
    actions = [turn.action for turn in episodes["gsm8k/train/0"].turns]
    assert actions == ["She has 2+3=5 apples.", "So 5.", "#### 5"]
    assert all(episode.success and episode.env_id == "OREO-GSM8K" for episode in episodes.values())
    assert all(turn.admissible_commands is None for episode in episodes.values() for turn in episode.turns)


@pytest.mark.parametrize("wrong", [{"agent": "random"}, {"agent": "expert", "epsilon": 0.1}])
def test_there_is_nothing_random_to_say_in_mathematics(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match="admissible commands; ReasoningEnv lists none"):
        run(tmp_path / "d", env_id="OREO-Reasoning", split="train", limit=2, **wrong)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("info", [{}, {"admissible_commands": []}])
def test_who_chooses_among_commands_needs_some_or_a_space_to_draw_from(info):
    env, random = gym.Env(), ScriptedAgent("random")
    with pytest.raises(ConfigurationError, match="admissible commands; Env lists none"):
        collect._require_commands(random, env, info)
    collect._require_commands(random, env, {**info, "action_space": gym.spaces.Text(5)})
    collect._require_commands(random, env, {"admissible_commands": ["look"]})


def test_the_same_commands_work_on_mathematics(gsm8k, tmp_path, capsys):
    from oreo_agents.cli import program as cli

    options = ["--env", "OREO-GSM8K", "--games", str(gsm8k)]
    assert cli.main(["record", "--agent", "expert", *options, "-o", str(tmp_path / "d")]) == 0
    assert cli.main(["dataset", "verify", str(tmp_path / "d")]) == 0
    assert "2 of 2 episodes (5 turns) happened again exactly" in capsys.readouterr().out
    assert (
        cli.main(["eval", "--agent", "expert", *options, "--split", "train", "-o", str(tmp_path / "r.json")])
        == 0
    )
    assert json.loads((tmp_path / "r.json").read_text())[0]["success_rate"] == 1
    capsys.readouterr()
    assert cli.main(["eval", "--agent", "expert", *options, "--split", "valid_seen"]) == 2
    assert "OREO-GSM8K has no split 'valid_seen': choose one of train, test" in capsys.readouterr().err


def test_who_wins_nothing_is_told_to_imitate_longer_too(tmp_path, capsys):
    from oreo_agents.cli import main

    words = ["record", "--agent", "small", "--split", "generated", "-n", "2", "--max-steps", "1"]
    assert main([*words, "-o", str(tmp_path / "lost")]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert (
        said.startswith("nothing was won") and "a better player" in said and "longer (more --epochs" in said
    )
