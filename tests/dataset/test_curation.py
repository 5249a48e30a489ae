"""What `dataset filter`, `split` and `sample` choose, against what is plainly in the episodes."""

from dataclasses import replace

import pytest
from learning import LOSING, WINNING, episode

from oreo_agents.cli import main
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.terminal.cursor import Cursor


def made():
    """Six episodes of three games, one sampled by a model that was sure, one by one that was not."""
    episodes = []
    for i in range(3):
        facts = {
            "game": f"game-{i}",
            "task_type": ("pick_heat", "pick_cool", "look_at")[i],
            "task": f"task of {i}",
        }
        episodes.append(episode(WINNING, agent="expert", seed=i, **facts))
        episodes.append(episode(LOSING, won=False, agent="random", seed=10 + i, **facts))
    for i, logprob in ((0, -0.1), (3, -2.0)):
        turns = tuple(
            replace(turn, token_ids=(1, 2), logprobs=(logprob, 3 * logprob)) for turn in episodes[i].turns
        )
        episodes[i] = replace(episodes[i], turns=turns, tokenizer="x")
    return episodes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with TrajectoryWriter("all", author="me") as writer:
        for one in made():
            writer.append(one)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "keep"),
    [
        ("--outcome won", lambda e: e.success),
        ("--outcome lost --task-type pick", lambda e: not e.success and "pick" in e.task_type),
        ("--min-return 0.5", lambda e: e.return_ >= 0.5),
        ("--max-steps 4", lambda e: len(e) <= 4),
        ("--min-steps 5 --max-steps 9", lambda e: 5 <= len(e) <= 9),
        ("--task 2", lambda e: e.game == "game-2"),
        ("--agent random nobody", lambda e: e.agent == "random"),
        ("--max-surprise 1", lambda e: e.seed == 0),
        ("--min-surprise 1", lambda e: e.seed == 11),
    ],
)
def test_filter_keeps_what_meets_every_condition(folder, capsys, words, keep):
    assert main(["dataset", "filter", "all", "-o", "some", *words.split()]) == 0
    expected = [one for one in made() if keep(one)]
    assert list(load_trajectories("some")) == expected and 0 < len(expected) < 6
    assert capsys.readouterr().out.startswith(f"some: {len(expected)} of 6 episodes")
    assert load_trajectories("some").agreed("author") == "me"


def test_surprise_is_the_mean_over_all_tokens():
    first, _, _, fourth, *_ = made()
    assert first.surprise == pytest.approx(0.2) and fourth.surprise == pytest.approx(4.0)
    assert made()[1].surprise is None


def test_split_keeps_games_apart_and_loses_none(folder, capsys):
    assert main(["dataset", "split", "all", "--share", "0.5", "-o", "one", "two"]) == 0
    one, two = load_trajectories("one"), load_trajectories("two")
    assert not set(one.games) & set(two.games) and len(one) + len(two) == 6 and len(one) and len(two)
    assert main(["dataset", "split", "all", "--share", "0.5", "-o", "three", "one"]) == 2
    assert "one: is there already" in capsys.readouterr().err
    assert not (folder / "three").exists(), "both are looked at before the first is written"
    assert main(["dataset", "split", "all", "-o", "four", "./four"]) == 2


def test_sample_draws_alike_every_time(folder, capsys):
    for name in ("one", "two"):
        assert main(f"dataset sample all -n 2 --by success --seed 3 -o {name}".split()) == 0
    assert list(load_trajectories("one")) == list(load_trajectories("two"))
    assert load_trajectories("one").success.all()
    assert main(["dataset", "sample", "all", "-n", "4", "--by", "success", "-o", "three"]) == 2
    assert "only 3 of 6 qualify" in capsys.readouterr().err and not (folder / "three").exists()


def test_nothing_left_is_an_error_and_no_folder(folder, capsys):
    assert main(["dataset", "filter", "all", "--min-return", "2", "-o", "some"]) == 2
    assert "no episode meets the conditions" in capsys.readouterr().err and not (folder / "some").exists()


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        ("dataset filter all --outcome won -o some", "--min-return"),
        ("dataset filter all --outcome lost -o some", "--max-return"),
        ("dataset sample all -n 1 --by success -o some", "--by return"),
        ("replay all --failed", "--max-return"),
    ],
)
def test_who_asks_for_winning_where_it_is_not_defined_is_told_so(
    tmp_path, monkeypatch, capsys, words, instead
):
    monkeypatch.chdir(tmp_path)
    with TrajectoryWriter("all") as writer:
        for one in made()[:2]:
            writer.append(replace(one, outcome="undefined"))
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert "winning is not defined in these episodes: choose by return" in said and instead in said
    cursor = Cursor(load_trajectories("all"))
    assert not cursor.next_failure() and "not defined" in cursor.message
    assert not cursor.jump_event("won") and "not defined" in cursor.message
