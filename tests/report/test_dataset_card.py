import json
from dataclasses import replace

import numpy as np
import pytest
from episodes import episode

from oreo_agents.cli import main
from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.report.dataset_card import count_values, describe_dataset, render_card


def test_info_counts_what_the_episodes_say(recorded):
    dataset = load_trajectories(recorded)
    info, episodes = describe_dataset(dataset), list(dataset)
    assert (info.episodes, info.turns, info.games) == (40, sum(map(len, episodes)), 10)
    assert (info.successes, info.terminated, info.truncated) == (20, 20, 0)
    assert info.returns == {"0": 20, "1": 20}
    assert info.lengths == {str(n): sum(len(e) == n for e in episodes) for n in range(2, 7)}
    (pick,) = info.task_types
    assert (pick.name, pick.episodes, pick.success_rate) == ("pick", 40, 0.5)
    assert pick.mean_length == pytest.approx(np.mean([len(e) for e in episodes]))


def test_cut_replies_are_told_where_there_are_any(tmp_path):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode())
        assert "cut" not in render_card(load_trajectories(tmp_path / "d"), "whole")
        writer.append(replace(episode(), metadata={"cut_turns": [0, 1]}))
    found = load_trajectories(tmp_path / "d")
    assert describe_dataset(found).cut_replies == 2
    assert "2 of 6 replies (33.3%) were cut at the limit" in render_card(found, "broken off")


def test_bins_hold_everything():
    values = np.arange(1000) / 7
    bins = count_values(values)
    assert len(bins) == 10 and sum(bins.values()) == 1000
    assert next(iter(bins)).startswith("0 to ")


def test_card_is_markdown_with_the_numbers(recorded):
    card = render_card(load_trajectories(recorded), "rooms")
    assert card.startswith("---\nlicense: mit\n") and "\n# rooms\n" in card
    assert "40 episodes" in card and "50.0% (35.2% to 64.8%)" in card
    assert "- author: me" in card and "- wording: move" in card
    assert "| pick | 40 |" in card and "| expert | 40 |" in card


def test_an_empty_dataset_has_a_card(tmp_path):
    TrajectoryWriter(tmp_path / "d").close()
    assert "0 episodes" in render_card(load_trajectories(tmp_path / "d"), "nothing")


def test_info_command(recorded, tmp_path, capsys):
    assert main(["dataset", "info", str(recorded), "--card", str(tmp_path / "card.md")]) == 0
    assert capsys.readouterr().out == (tmp_path / "card.md").read_text()
    assert main(["dataset", "info", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 40


def test_the_card_of_this_folder_has_its_name_and_no_control_codes(tmp_path, episode, monkeypatch, capsys):
    with TrajectoryWriter(tmp_path / "d", author="\x1b[31mme", metadata={"note": "\x07"}) as writer:
        writer.append(episode(agent="\x1b]0;title\x07"))
    monkeypatch.chdir(tmp_path / "d")
    assert main(["dataset", "info", ".", "--card", str(tmp_path / "card.md")]) == 0
    out = capsys.readouterr().out
    assert "\n# d\n" in out and r"- author: \x1b[31mme" in out
    assert out == (tmp_path / "card.md").read_text() and out.replace("\n", "").isprintable()


def test_names_that_end_in_a_zero_byte_and_returns_that_are_no_numbers_are_counted(tmp_path, episode):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode(agent="a\0", reward=float("inf")))
        writer.append(episode(agent="b"))
    found = load_trajectories(tmp_path / "d")
    written = json.loads(json.dumps(describe_dataset(found).as_json(), allow_nan=False))
    assert [group["episodes"] for group in written["agents"]] == [1, 1] and written["returns"][
        "no number"
    ] == 1
    assert [group["mean_return"] for group in written["agents"]] == [None, 1.0] and written[
        "mean_return"
    ] is None
    assert len(found.filter(agent="a\0")) == 1
    assert render_card(found, "x: [y](z)").startswith('---\npretty_name: "x: [y](z)"')
