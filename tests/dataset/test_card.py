import json
import shutil

import numpy as np
import pytest

from oreo_agents.dataset import TrajectoryWriter, commands, load_trajectories
from oreo_agents.dataset.card import dataset_card, dataset_info, histogram
from oreo_agents.errors import DatasetError


def test_info_counts_what_the_episodes_say(recorded):
    dataset = load_trajectories(recorded)
    info, episodes = dataset_info(dataset), list(dataset)
    assert (info.episodes, info.turns, info.games) == (40, sum(map(len, episodes)), 10)
    assert (info.successes, info.terminated, info.truncated) == (20, 20, 0)
    assert info.returns == {"0": 20, "1": 20}
    assert info.lengths == {str(n): sum(len(e) == n for e in episodes) for n in range(2, 7)}
    (pick,) = info.task_types
    assert (pick.name, pick.episodes, pick.success_rate) == ("pick", 40, 0.5)
    assert pick.mean_length == pytest.approx(np.mean([len(e) for e in episodes]))


def test_histogram_bins_hold_everything():
    values = np.arange(1000) / 7
    bins = histogram(values)
    assert len(bins) == 10 and sum(bins.values()) == 1000
    assert next(iter(bins)).startswith("0 to ")


def test_card_is_markdown_with_the_numbers(recorded):
    card = dataset_card(load_trajectories(recorded), "rooms")
    assert card.startswith("---\nlicense: mit\n") and "\n# rooms\n" in card
    assert "40 episodes" in card and "50.0% (35.2% to 64.8%)" in card
    assert "- author: me" in card and "- wording: move" in card
    assert "| pick | 40 |" in card and "| expert | 40 |" in card


def test_an_empty_dataset_has_a_card(tmp_path):
    TrajectoryWriter(tmp_path / "d").close()
    assert "0 episodes" in dataset_card(load_trajectories(tmp_path / "d"), "nothing")


def test_info_command(recorded, tmp_path, capsys):
    assert commands.info(recorded, card=tmp_path / "card.md") == 0
    assert capsys.readouterr().out == (tmp_path / "card.md").read_text()
    assert commands.info(recorded, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 40


def test_the_card_of_this_folder_has_its_name_and_no_control_codes(tmp_path, episode, monkeypatch, capsys):
    with TrajectoryWriter(tmp_path / "d", author="\x1b[31mme", metadata={"note": "\x07"}) as writer:
        writer.append(episode(agent="\x1b]0;title\x07"))
    monkeypatch.chdir(tmp_path / "d")
    assert commands.info(".", card=tmp_path / "card.md") == 0
    out = capsys.readouterr().out
    assert "\n# d\n" in out and r"- author: \x1b[31mme" in out
    assert out == (tmp_path / "card.md").read_text() and out.replace("\n", "").isprintable()


def test_merge_command(recorded, tmp_path, episode, capsys):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode("elsewhere"))
    assert commands.merge([recorded, tmp_path / "other"], tmp_path / "merged") == 0
    assert len(load_trajectories(tmp_path / "merged")) == 41
    with pytest.raises(DatasetError, match="merge into a new folder"):
        commands.merge([recorded], tmp_path / "merged")


def test_merging_into_this_folder(recorded, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert commands.merge([recorded], ".") == 0
    assert len(load_trajectories(tmp_path / "here")) == 40


def test_a_failed_merge_leaves_no_dataset(recorded, tmp_path, episode, monkeypatch):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode("elsewhere"))
    damaged = recorded / "shard-00001.parquet"
    intact = damaged.read_bytes()
    damaged.write_bytes(intact[:-8] + b"x" * 8)
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"shard-00001\.parquet: damaged"):
            commands.merge([tmp_path / "other", recorded], tmp_path / "merged")
        assert not list((tmp_path / "merged").iterdir())
    damaged.write_bytes(intact)
    with monkeypatch.context() as patch:  # a crash leaves a folder that nobody takes for a dataset
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(TrajectoryWriter, "close", lambda writer: writer._release() or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            commands.merge([tmp_path / "other", recorded], tmp_path / "merged")
    with pytest.raises(DatasetError, match="no recorded episodes here"):
        load_trajectories(tmp_path / "merged")
    assert commands.merge([tmp_path / "other", recorded], tmp_path / "merged") == 0
    assert len(load_trajectories(tmp_path / "merged")) == 41


def test_export_command(recorded, tmp_path, capsys):
    assert commands.export(recorded, tmp_path / "rows.jsonl", "sft") == 0
    assert "20 rows (sft)" in capsys.readouterr().out
