"""Results against counts made by hand, and files that are whole or not there."""

import json
import signal
import subprocess
import time
from dataclasses import replace

import gymnasium as gym
import pytest
from learning import ToyRoom, Visitor, episode
from oreo_envs.alfworld.install import write_games

from oreo_agents.agents.agent import Decision
from oreo_agents.agents.scripted import ScriptedAgent
from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.writer import TrajectoryWriter
from oreo_agents.environments import environments
from oreo_agents.errors import EngineError
from oreo_agents.evaluation.evaluate import evaluate, pick_games, play_games
from oreo_agents.evaluation.results import CLOCKS, Cost, Count, Result, summarise_episodes
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.models.agent_folder import save_agent
from oreo_agents.trajectory import Action, Trajectory, Turn


def rooms():
    return gym.wrappers.TimeLimit(ToyRoom(), 4)


def test_pick_games_is_a_sample_that_depends_on_the_seed_alone():
    assert pick_games(rooms, None) == pick_games(rooms, 12) == pick_games(rooms, 99) == list(range(12))
    picked = pick_games(rooms, 5, seed=1)
    assert picked == pick_games(rooms, 5, seed=1) != pick_games(rooms, 5, seed=2)
    assert len(set(picked)) == 5 and set(picked) <= set(range(12))


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_play_keeps_the_order_of_the_games(slots):
    games = [5, 0, 7, 0, 2]
    episodes = play_games(rooms, Visitor(), games, seed=3, slots=slots)
    assert [episode.game for episode in episodes] == [f"room-{game}" for game in games]
    assert len({episode.seed for episode in episodes}) == 5  # a game named twice has other randomness


def test_evaluate_counts_what_happened():
    """A visitor of desks 1 and 2 wins two rooms of three: at once, in two steps, never (four steps)."""
    result, episodes = evaluate(rooms, Visitor((1, 2)), list(range(6)), "visits", slots=2)
    assert [len(episode) for episode in episodes] == [1, 2, 4, 1, 2, 4]
    assert result.won == (True, True, False, True, True, False)
    assert (result.method, result.n, result.successes) == ("visits", 6, 4)
    assert result.games == tuple(f"room-{i}" for i in range(6))
    assert result.mean_steps == pytest.approx(14 / 6)
    assert result.mean_steps_success == pytest.approx(6 / 4)
    assert result.tokens_per_episode == pytest.approx(8 * 14 / 6)
    assert result.by_task_type == {"kind-0": Count(3, 2), "kind-1": Count(3, 2)}


def test_a_summary_by_hand():
    def played(statuses, reward, kind, **metadata):
        turns = tuple(Turn("seen", "said", 0.0, status) for status in statuses[:-1])
        return Trajectory(
            (*turns, Turn("seen", "said", reward, statuses[-1])), task_type=kind, game=kind, metadata=metadata
        )

    result = summarise_episodes(
        [
            played(["ok", "unparsable", "ok"], 1.0, "heat", seconds=6.0, tokens={"prompt": 30, "critic": 3}),
            played(["not_applicable", "ok"], 0.0, "cool", cut_turns=[1]),
            played([None, "ok", "ok", "ok", "ok"], 0.0, "heat"),
        ],
        "by hand",
    )
    assert result.success_rate == pytest.approx(1 / 3)
    assert result.interval95 == wilson_interval(1, 3)
    assert result.invalid_action_rate == pytest.approx(2 / 10)
    assert result.cut_action_rate == pytest.approx(1 / 10)
    assert result.describe_cuts().startswith("1 of 10 replies (10.0%) were cut")
    assert result.mean_steps == pytest.approx(10 / 3)
    assert result.mean_steps_success == 3
    assert result.seconds_per_episode == 2.0 and result.seconds_per_decision == 0.6
    assert result.tokens_per_episode == 11
    assert result.cost_per_episode == Cost(
        steps=10 / 3, prompt_tokens=10, generated_tokens=0, critic_tokens=1, simulated_steps=0
    )
    assert result.errors == result.ended_early == {}
    assert result.by_task_type == {"cool": Count(1, 0), "heat": Count(2, 1)}
    assert result.won == (True, False, False) and result.games == ("heat", "cool", "heat")
    written = result.to_json()
    assert written["wilson95"] == list(wilson_interval(1, 3)) and (written["n"], written["successes"]) == (
        3,
        1,
    )
    assert json.loads(json.dumps(written)) == written and Result.from_json(written) == result


def test_no_success_has_no_length():
    assert summarise_episodes([episode(won=False)], "lost").mean_steps_success == 0


def test_episodes_that_failed_are_no_failures_of_the_policy():
    def ended(game, **metadata):
        return Trajectory((Turn("seen", "said", 0.0),), game=game, truncated=True, metadata=metadata)

    broken = ended("b", ended="the server answers 500", failed=True)
    result = summarise_episodes([episode(game="a"), broken, ended("c", ended="full")], "m")
    assert (result.n, result.successes, result.games) == (2, 1, ("a", "c"))
    assert result.errors == {"b": "the server answers 500"}
    assert result.ended_early == {"full": 1}
    with pytest.raises(EngineError, match=r"none of 2 episodes.*the server answers 500"):
        summarise_episodes([broken, broken], "m")


def test_games_that_cannot_be_played_are_told_and_nothing_is_compared_without_them(tmp_path, capsys):
    damaged = sorted(write_games(tmp_path / "games", count=3).rglob("game.tw-pddl"))[1]
    damaged.write_text("{")
    make_env = environments(games=tmp_path / "games", expert=True)
    with pytest.raises(
        EngineError, match=r"1 of 3 games could not be played, the first of them .*trial_g000001: "
    ):
        evaluate(make_env, ScriptedAgent("expert"), range(3), "expert")
    command = f"eval --agent expert --games {tmp_path / 'games'} -o {tmp_path / 'r.json'}"
    assert main(command.split()) == 1
    name = f"{damaged.parent.parent.name}/{damaged.parent.name}"
    assert f"1 of 3 games could not be played, the first of them {name}: " in capsys.readouterr().err
    (result,) = json.loads((tmp_path / "r.json").read_text())
    assert result["n"] == 2 and list(result["errors"]) == [name]
    command = f"record --agent expert --games {tmp_path / 'games'} -n 3 -o {tmp_path / 'd'}"
    assert main(command.split()) == 1
    assert "1 could not be played" in capsys.readouterr().out and len(load_trajectories(tmp_path / "d")) == 2


def test_finished_episodes_are_kept_and_not_played_again(tmp_path):
    """Stopped after some episodes and resumed, with failures in between, it ends as if never stopped."""

    class Dying(Visitor):
        """Stops in its fifth turn; before that, game 1 cannot be played."""

        turns = 0

        def act_many(self, slots, observations, infos):
            self.turns += 1
            if self.turns == 5:
                raise KeyboardInterrupt
            decisions = super().act_many(slots, observations, infos)
            broken = Decision(Action(""), end="timeout", failed=True)
            return [
                broken if info["game"] == "room-1" else decision
                for decision, info in zip(decisions, infos, strict=True)
            ]

    games = list(range(8))
    whole, _ = evaluate(rooms, Visitor(), games, "visits", slots=2)
    with TrajectoryWriter(tmp_path / "episodes") as journal, pytest.raises(KeyboardInterrupt):
        evaluate(rooms, Dying(), games, "visits", slots=2, journal=journal)
    diary = []
    with TrajectoryWriter(tmp_path / "episodes") as journal:
        before = len(journal)
        again, _ = evaluate(
            lambda: gym.wrappers.TimeLimit(ToyRoom(diary), 4),
            Visitor(),
            games,
            "visits",
            slots=2,
            journal=journal,
        )
    assert 0 < before < 7 and len(diary) == 8 - before and 1 in diary
    for result in (again, whole):
        assert result.seconds_per_episode > 0 and result.seconds_per_decision > 0
    again, whole = (replace(result, **dict.fromkeys(CLOCKS)) for result in (again, whole))
    assert again == whole


EVAL = ["-m", "oreo_agents.cli", "eval", "--agent", "random", "--split", "generated"]


def test_killed_and_resumed_it_ends_with_the_identical_file(forks, tmp_path):
    """``kill -9`` in the middle of a real evaluation."""
    whole, killed = tmp_path / "whole" / "r.json", tmp_path / "killed" / "r.json"
    command = [*EVAL, "-n", "150", "--max-steps", "30", "--num-envs", "8", "-o"]
    forks.run([*command, whole], check=True, capture_output=True)
    process = forks.start([*command, killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "r.episodes" / "random-greedy" / "journal-00000.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size > 60_000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not killed.exists()
    kept = journal.read_bytes().count(b"\n")
    assert 0 < kept < 150
    forks.run([*command, killed], check=True, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()
    (seconds,) = json.loads(killed.with_suffix(".seconds.json").read_text())
    assert set(seconds) == {"method", "seconds_per_episode", "seconds_per_decision"}
    assert 0 < seconds["seconds_per_decision"] < seconds["seconds_per_episode"]
    assert len(load_trajectories(journal.parent)) == 150

    other = forks.run([*command, killed, "--seed", "1"], capture_output=True, text=True)
    assert other.returncode == 2 and "another evaluation" in other.stderr


def test_an_evaluation_goes_on_with_more_games_and_names_what_differs(tmp_path, capsys):
    command = [*EVAL[2:], "--max-steps", "10", "-o"]
    grown, whole = tmp_path / "grown" / "r.json", tmp_path / "whole" / "r.json"
    assert main([*command, str(grown), "-n", "3"]) == 0
    first = list(load_trajectories(tmp_path / "grown" / "r.episodes" / "random-greedy"))
    assert main([*command, str(grown), "-n", "8"]) == main([*command, str(whole), "-n", "8"]) == 0
    assert grown.read_bytes() == whole.read_bytes()
    kept = list(load_trajectories(tmp_path / "grown" / "r.episodes" / "random-greedy"))
    assert kept[:3] == first and len(kept) == 8  # seconds and all: they were not played again
    small = tmp_path / "small" / "r.json"
    assert main([*command, str(grown), "-n", "3"]) == main([*command, str(small), "-n", "3"]) == 0
    assert grown.read_bytes() == small.read_bytes()
    capsys.readouterr()
    assert main([*EVAL[2:], "-n", "8", "--max-steps", "11", "-o", str(grown)]) == 2
    assert "another evaluation (max_steps differ)" in " ".join(capsys.readouterr().err.split())
    assert main([*command, str(grown), "-n", "8", "--seed", "1"]) == 2
    assert "(seed, the games that are drawn differ)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--select", "best_of_k"], "expert has no model and makes no use of --select: leave it out"),
        (["--k", "1", "5"], "makes no use of --k"),
        (["--temperature", "2"], "makes no use of --temperature"),
        (["--logprob-weight", "1"], "makes no use of --logprob-weight"),
        (["--endpoint", "http://localhost"], "makes no use of --endpoint"),
    ],
)
def test_scripted_players_take_no_options_of_a_model(capsys, options, said):
    assert main(["eval", "--agent", "expert", "--split", "generated", "-n", "1", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.fixture
def agent(tmp_path, policy, critic, tokenizer):
    save_agent(tmp_path / "agent", policy, tokenizer, critic)
    return str(tmp_path / "agent")


def judged(tmp_path, agent, *options):
    """Rows of the table and of the result file of ``oreo-agents eval``."""
    command = ["eval", "--agent", agent, "-n", "3", "--max-steps", "4", "--max-new-tokens", "6"]
    assert main([*command, *options, "-o", str(tmp_path / "r.json")]) == 0
    return {result["method"]: result for result in json.loads((tmp_path / "r.json").read_text())}


def test_lookahead_is_a_setting_of_its_own_with_its_simulator_steps(tmp_path, agent, capsys):
    games = ("--split", "generated")
    results = judged(tmp_path, agent, *games, "--select", "best_of_k", "lookahead", "--k", "2", "3")
    assert list(results) == [
        *("agent best-of-2", "agent best-of-3"),
        *("agent lookahead-2 on the simulator", "agent lookahead-3 on the simulator"),
    ]
    simulated = [result["cost_per_episode"]["simulated_steps"] for result in results.values()]
    assert simulated[:2] == [0, 0] and 4 <= simulated[2] <= 8 and 4 <= simulated[3] <= 12
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Simulated", "Read", "Generated", "Judged", "ms/step"))
    assert (tmp_path / "r.png").stat().st_size > 0


def test_searches_for_solutions_are_compared_at_one_budget(tmp_path, agent, capsys):
    sums = ("--env", "OREO-Reasoning", "--games", "chain_sum", "--split", "test", "--k", "2", "-n", "1")
    rules = ("beam", "best_of_n", "majority_vote", "value_vote")
    results = judged(tmp_path, agent, *sums, "--select", "greedy", *rules)
    assert list(results) == [
        *("agent greedy", "agent beam-2", "agent best-of-n-2"),
        *("agent majority-vote-2", "agent value-vote-2"),
    ]
    generated = [results[name]["cost_per_episode"]["generated_tokens"] for name in results]
    assert generated[0] < min(generated[1:])
    assert results["agent majority-vote-2"]["cost_per_episode"]["critic_tokens"] == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_what_does_not_fit_the_environment_is_one_sentence(agent, capsys):
    for options, remedy in (
        (["--select", "beam", "--split", "generated"], "choose best_of_k or lookahead"),
        (["--select", "best_of_n", "--split", "generated"], "choose best_of_k or lookahead"),
    ):
        assert main(["eval", "--agent", agent, "-n", "1", "--k", "2", *options]) == 2
        assert remedy in capsys.readouterr().err


def test_scripted_players_are_judged_alike_wherever_they_play(tmp_path, capsys):
    """``shortest`` in ``eval`` walks as it does in ``record``."""
    options = ["--agent", "shortest", "--split", "generated", "-n", "5"]
    assert main(["eval", *options, "-o", str(tmp_path / "r.json")]) == 0
    (result,) = json.loads((tmp_path / "r.json").read_text())
    assert (result["n"], result["successes"]) == (5, 5)
    assert main(["record", *options, "-o", str(tmp_path / "d")]) == 0
    judged, recorded = (
        {episode.game: [turn.action for turn in episode.turns] for episode in load_trajectories(path)}
        for path in (tmp_path / "r.episodes" / "shortest-greedy", tmp_path / "d")
    )
    for game in judged.keys() & recorded.keys():
        assert judged[game] == recorded[game]
    env = environments(split="generated", expert=True)()
    for game, walk in judged.items():
        assert walk == env.reset(options={"game": game})[1]["expert_plan"]
