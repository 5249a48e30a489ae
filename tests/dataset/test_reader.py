import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oreo_agents.cli import main
from oreo_agents.dataset import (
    TrajectoryWriter,
    concatenate_datasets,
    load_trajectories,
    merge_datasets,
    reader,
)
from oreo_agents.dataset.schema import from_row, to_row, to_rows, to_table
from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Candidate, Trajectory, Turn


def test_indexing(recorded):
    dataset = load_trajectories(recorded)
    assert len(dataset) == 40
    assert [dataset[i].seed for i in (0, 14, 15, 39, -1)] == [0, 14, 15, 39, 39]
    assert [e.seed for e in dataset[5:8]] == [5, 6, 7]
    assert [e.seed for e in dataset[[3, 1]]] == [3, 1]
    with pytest.raises(IndexError):
        dataset[40]


def test_columns_agree_with_the_episodes(recorded):
    dataset = load_trajectories(recorded).shuffle(3)
    episodes = list(dataset)
    assert dataset.success.tolist() == [e.success for e in episodes]
    assert dataset.returns.tolist() == [e.return_ for e in episodes]
    assert dataset.lengths.tolist() == [len(e) for e in episodes]
    assert dataset.games.tolist() == [e.game for e in episodes]
    assert dataset.column("seed").tolist() == [e.seed for e in episodes]
    assert dataset.column("tokenizer").tolist() == [None] * 40
    with pytest.raises(DatasetError, match="no column 'actions'"):
        dataset.column("actions")


def test_filter(recorded):
    dataset = load_trajectories(recorded)
    lost_and_short = dataset.filter(success=False, length=lambda n: n <= 3)
    assert len(lost_and_short) == sum(not e.success and len(e) <= 3 for e in dataset) > 0
    assert {e.game for e in dataset.filter(game=["room-1/trial", "room-2/trial"])} == {
        "room-1/trial",
        "room-2/trial",
    }
    assert [e.seed for e in dataset.filter(lambda e: e.seed % 10 == 3, return_=0.0)] == [3, 13, 23, 33]
    assert len(dataset.filter(agent="nobody")) == 0
    places = dataset.where(lambda e: e.seed % 10 == 3, return_=0.0)
    assert [dataset[place].seed for place in places] == [3, 13, 23, 33]


def test_split_is_by_game(recorded):
    first, second = load_trajectories(recorded).split(0.7, seed=1)
    assert len(set(first.games)) == 7 and len(set(second.games)) == 3
    assert not set(first.games) & set(second.games)
    assert sorted([*first.column("seed"), *second.column("seed")]) == list(range(40))
    again, _ = load_trajectories(recorded).split(0.7, seed=1)
    assert again.games.tolist() == first.games.tolist()


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_no_side_of_a_split_is_empty(recorded, fraction):
    assert all(map(len, load_trajectories(recorded).split(fraction)))


def test_one_game_cannot_be_split(recorded):
    with pytest.raises(DatasetError, match="cannot split 1 game"):
        load_trajectories(recorded).filter(game="room-1/trial").split(0.5)


def test_shuffle_keeps_every_episode(recorded):
    dataset = load_trajectories(recorded)
    order = dataset.shuffle(0).column("seed").tolist()
    assert order != list(range(40)) and sorted(order) == list(range(40))
    assert order == dataset.shuffle(0).column("seed").tolist() != dataset.shuffle(1).column("seed").tolist()


def test_sample_by_quality(recorded):
    dataset = load_trajectories(recorded)
    assert dataset.sample(20, by="success").success.all()
    assert dataset.sample(20, by="return").returns.min() > 0
    by_length = dataset.sample(4000, seed=0, by="length", replacement=True).lengths
    harmonic_mean = 1 / np.mean(1 / dataset.lengths)
    assert by_length.mean() == pytest.approx(harmonic_mean, rel=0.05)
    assert len(set(dataset.sample(40).column("seed"))) == 40
    assert len(dataset.sample(0)) == 0


def test_a_sample_cannot_be_larger_than_what_qualifies(recorded):
    with pytest.raises(DatasetError, match="20 of 40 qualify"):
        load_trajectories(recorded).sample(21, by="success")
    with pytest.raises(DatasetError, match="choose uniform"):
        load_trajectories(recorded).sample(1, by="beauty")


def test_concatenate_keeps_order_and_views(recorded, tmp_path, episode):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode("elsewhere", seed=100))
    left, right = load_trajectories(recorded), load_trajectories(tmp_path / "other")
    both = right.merge(left[3:5], right, left[::-20])
    assert [e.seed for e in both] == [100, 3, 4, 100, 39, 19]
    assert len(concatenate_datasets()) == 0


def test_a_folder_of_datasets_is_their_concatenation(tmp_path, episode):
    for part in ("part-0", "part-1"):
        with TrajectoryWriter(tmp_path / part) as writer:
            writer.append(episode(part))
    assert [e.game for e in load_trajectories(tmp_path)] == ["part-0", "part-1"]


def test_save_writes_the_view(recorded, tmp_path):
    wins = load_trajectories(recorded).shuffle(2).filter(success=True)
    wins.save(tmp_path / "wins", author="you")
    copy = load_trajectories(tmp_path / "wins")
    assert list(copy) == list(wins)
    (meta,) = copy.metas
    assert (meta.author, meta.licence, meta.dialect) == ("you", "MIT", "move")
    assert meta.metadata["sources"] == [load_trajectories(recorded).metas[0].content_hash]


def test_a_shuffled_view_is_saved_in_few_shards(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "SHARD_EPISODES", 16)
    shuffled = load_trajectories(recorded).shuffle(5)
    shuffled.save(tmp_path / "d")
    assert list(load_trajectories(tmp_path / "d")) == list(shuffled)
    assert len(list((tmp_path / "d").glob("*.parquet"))) == 3


def test_a_dataset_goes_to_worker_processes(recorded):
    dataset = load_trajectories(recorded).shuffle(0)
    assert list(pickle.loads(pickle.dumps(dataset))) == list(dataset)


def test_an_empty_dataset(tmp_path):
    TrajectoryWriter(tmp_path / "d").close()
    dataset = load_trajectories(tmp_path / "d")
    assert list(dataset) == [] and dataset.success.shape == (0,) and dataset.games.tolist() == []
    assert len(dataset.filter(success=True).shuffle()) == 0


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(Trajectory((), tokenizer="gpt-of-old"))
        writer.append(Trajectory(()))
    dataset = load_trajectories(tmp_path / "d")
    dataset.require_tokenizer("gpt-of-old")
    with pytest.raises(DatasetError, match="gpt-of-old"):
        dataset.require_tokenizer("mine")


# ------------------------------------------------------------------------------- damage


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="oreo-agents record"):
        load_trajectories(tmp_path / "absent")


def test_a_flipped_bit_is_noticed_and_the_rest_stays_readable(recorded):
    shard = recorded / "shard-00001.parquet"
    group = pq.ParquetFile(shard).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    told = next(column for column in columns if column.path_in_schema.startswith("observations"))
    content = bytearray(shard.read_bytes())
    content[told.data_page_offset + told.total_compressed_size // 2] ^= 4
    shard.write_bytes(content)
    dataset = load_trajectories(recorded)
    with pytest.raises(DatasetError, match=r"shard-00001\.parquet: damaged"):
        list(dataset)
    assert dataset[0].seed == 0
    with pytest.warns(UserWarning, match="15 episodes left out"):
        rest = load_trajectories(recorded, skip_damaged=True)
    assert [e.seed for e in rest] == [*range(15), *range(30, 40)]


@pytest.mark.parametrize("harm", ["cut", "empty", "missing", "foreign"])
def test_a_shard_that_is_not_the_one_written(recorded, harm):
    shard = recorded / "shard-00000.parquet"
    size = shard.stat().st_size
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif harm == "empty":
        shard.write_bytes(b"")
    elif harm == "missing":
        shard.unlink()
    else:
        pq.write_table(pa.table({"x": [1, 2, 3]}), shard)
        with shard.open("ab") as file:
            file.write(bytes(max(0, size - shard.stat().st_size)))
    with pytest.raises(DatasetError, match="shard-00000"):
        load_trajectories(recorded)[0]
    with pytest.warns(UserWarning, match="shard-00000"):
        assert load_trajectories(recorded, skip_damaged=True)[0].seed == 15


def test_a_damaged_dataset_is_not_written_to(recorded):
    before = {file.name: file.read_bytes() for file in recorded.iterdir()}
    damaged = before["shard-00000.parquet"][:-200]
    (recorded / "shard-00000.parquet").write_bytes(damaged)
    with pytest.raises(DatasetError, match="shard-00000"):
        TrajectoryWriter(recorded)
    assert (recorded / "shard-00000.parquet").read_bytes() == damaged
    shutil.rmtree(recorded)


def test_merging_keeps_all_episodes(recorded, tmp_path, episode, capsys):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode("elsewhere"))
    paths = [str(recorded), str(tmp_path / "other")]
    assert main(["dataset", "merge", *paths, "-o", str(tmp_path / "merged")]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'merged'}: 41 episodes of 2 datasets\nnext: ")
    assert len(load_trajectories(tmp_path / "merged")) == 41
    with pytest.raises(DatasetError, match="choose a new folder"):
        merge_datasets([recorded], tmp_path / "merged")


def test_merging_into_this_folder(recorded, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert len(merge_datasets([recorded], ".")) == 40
    assert len(load_trajectories(tmp_path / "here")) == 40


def test_a_failed_merge_leaves_no_dataset(recorded, tmp_path, episode, monkeypatch):
    with TrajectoryWriter(tmp_path / "other") as writer:
        writer.append(episode("elsewhere"))
    damaged = recorded / "shard-00001.parquet"
    intact = damaged.read_bytes()
    damaged.write_bytes(intact[:-8] + b"x" * 8)
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"shard-00001\.parquet: damaged"):
            merge_datasets([tmp_path / "other", recorded], tmp_path / "merged")
        assert not list((tmp_path / "merged").iterdir())
    damaged.write_bytes(intact)
    with monkeypatch.context() as patch:  # a crash leaves a folder that nobody takes for a dataset
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(TrajectoryWriter, "close", lambda writer: writer._release() or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            merge_datasets([tmp_path / "other", recorded], tmp_path / "merged")
    with pytest.raises(DatasetError, match="no recorded episodes here"):
        load_trajectories(tmp_path / "merged")
    assert len(merge_datasets([tmp_path / "other", recorded], tmp_path / "merged")) == 41
    assert len(load_trajectories(tmp_path / "merged")) == 41


def test_a_table_has_a_row_for_each_episode(recorded):
    dataset = load_trajectories(recorded).shuffle(3)
    table = dataset.to_pandas()
    assert table["return"].tolist() == dataset.returns.tolist()
    assert table["game"].tolist() == dataset.games.tolist() and len(table) == 40
    assert table.groupby("agent").size().sum() == 40


def test_a_hugging_face_dataset_has_what_was_said_and_earned(recorded):
    dataset = load_trajectories(recorded)[:3]
    rows = dataset.to_dataset()
    for row, episode in zip(rows, dataset, strict=True):
        said = [(one["role"], one["content"]) for one in row["messages"]]
        assert said[0::2] == [("user", turn.observation) for turn in episode.turns]
        assert said[1::2] == [("assistant", turn.action) for turn in episode.turns]
        assert (tuple(row["rewards"]), row["reward"]) == (episode.rewards, episode.return_)


def test_what_is_shown_is_short(recorded):
    dataset = load_trajectories(recorded)
    assert len(repr(dataset)) < 80 and len(repr(dataset[0])) < 120
    assert repr(Trajectory((Turn("a room", "look", 1.0),), game="g", agent="me")) == (
        "Trajectory('g', won in 1 step, return 1, by 'me')"
    )


def test_rows_are_those_that_arrow_gives():
    turns = (
        Turn(
            "a", "b", 0.5, "ok", (1, 2), (-0.5, float("inf")), None, (Candidate("b", None, 1.0),), ("b", "c")
        ),
        Turn("", "d\x00", -0.0, None, None, None, 2.0, (), (), "d, I think"),
    )
    episodes = [Trajectory(turns, seed=None), Trajectory((), game="x"), Trajectory(turns[1:] * 3, seed=2**62)]
    table = to_table([to_row(one) for one in episodes])
    for part in (table, table.slice(1), table.slice(1, 1), table.slice(3)):
        assert repr(to_rows(part)) == repr(part.to_pylist())
    assert [from_row(row) for row in to_rows(table)] == episodes


def test_a_file_of_results_names_the_episodes_beside_it_and_another_the_command_that_reads_it(tmp_path):
    file = tmp_path / "judged.json"
    file.write_text("[]")
    with pytest.raises(
        DatasetError, match=r"make one of it with oreo-agents dataset import .*judged.json --format"
    ):
        load_trajectories(file)
    (tmp_path / "judged.episodes").mkdir()
    with pytest.raises(DatasetError, match=r"the episodes that they are of are in .*judged.episodes"):
        load_trajectories(file)
