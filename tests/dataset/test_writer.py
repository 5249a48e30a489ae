import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.dataset import writer as writing
from oreo_agents.dataset.journal import encode_row
from oreo_agents.dataset.meta import read_meta
from oreo_agents.dataset.schema import SCHEMA, to_row
from oreo_agents.errors import DatasetError
from oreo_agents.trajectory import Action, Candidate, Trajectory, Turn

reals = st.floats(allow_nan=False)
maybe_reals = st.none() | reals
texts = st.text()
int64 = st.integers(-(2**63), 2**63 - 1)
candidates = st.builds(Candidate, texts, maybe_reals, maybe_reals)
turns = st.builds(
    Turn,
    observation=texts,
    action=texts,
    reward=reals,
    action_status=st.none() | texts,
    token_ids=st.none() | st.lists(int64).map(tuple),
    logprobs=st.none() | st.lists(reals).map(tuple),
    drawn_logprobs=st.none() | st.lists(reals).map(tuple),
    value=maybe_reals,
    candidates=st.lists(candidates, max_size=2).map(tuple),
    admissible_commands=st.none() | st.lists(texts, max_size=3).map(tuple),
    state_hash=st.none() | texts,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | reals | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
trajectories = st.builds(
    Trajectory,
    turns=st.lists(turns, max_size=4).map(tuple),
    env_id=texts,
    game=texts,
    task=texts,
    task_type=texts,
    seed=st.none() | int64,
    agent=texts,
    tokenizer=st.none() | texts,
    terminated=st.booleans(),
    truncated=st.booleans(),
    final_observation=texts,
    metadata=st.dictionaries(texts, json_values, max_size=3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(trajectories, max_size=3))
def test_what_is_read_is_what_was_written(tmp_path_factory, episodes):
    path = tmp_path_factory.mktemp("exact") / "episodes"
    writer = TrajectoryWriter(path)
    for episode in episodes:
        writer.append(episode)
    assert list(load_trajectories(path)) == episodes  # from the journal
    writer.close()
    assert list(load_trajectories(path)) == episodes  # from Parquet


def test_the_sampled_form_of_an_action_survives(tmp_path):
    action = Action("look", (5, 2), (-0.1, -0.25), 0.5, (Candidate("look", -0.35, 0.5),))
    turn = Turn("o", action, 0.0, "ok", action.token_ids, action.logprobs, action.value, action.candidates)
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(Trajectory((turn,), tokenizer="abc"))
    assert load_trajectories(tmp_path / "d")[0].turns == (turn,)


def test_opening_again_continues_and_knows_what_is_done(tmp_path, episode):
    for _ in range(2):
        with TrajectoryWriter(tmp_path / "d") as writer:
            writer.append(episode("a"))
            writer.append(episode("b", agent="random"))
    with TrajectoryWriter(tmp_path / "d") as writer:
        assert (len(writer), writer.count(), writer.count(game="a")) == (4, 4, 2)
        assert (writer.count(game="a", agent="expert"), writer.count("a", "random")) == (2, 0)
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a", "b", "a", "b"]


def test_the_journal_is_compacted_when_it_grows(tmp_path, episode, monkeypatch):
    monkeypatch.setattr(writing, "JOURNAL_BYTES", 2000)
    with TrajectoryWriter(tmp_path / "d") as writer:
        for number in range(20):
            writer.append(episode(str(number)))
        assert len(list((tmp_path / "d").glob("shard-*.parquet"))) > 2
    assert [e.game for e in load_trajectories(tmp_path / "d")] == [str(n) for n in range(20)]


def test_meta_describes_the_dataset(recorded):
    meta = json.loads((recorded / "meta.json").read_text())
    assert (meta["schema_version"], meta["author"], meta["licence"], meta["dialect"]) == (
        4,
        "me",
        "MIT",
        "move",
    )
    assert meta["versions"]["pyarrow"] == pa.__version__
    assert sum(shard["episodes"] for shard in meta["shards"]) == 40
    assert {shard["file"] for shard in meta["shards"]} == {file.name for file in recorded.glob("*.parquet")}
    assert len(meta["content_hash"]) == 64


def test_the_content_hash_follows_the_content(tmp_path, episode):
    hashes = set()
    for path, game in (("a", "x"), ("b", "x"), ("c", "y")):
        with TrajectoryWriter(tmp_path / path) as writer:
            writer.append(episode(game))
        hashes.add(read_meta(tmp_path / path).content_hash)
    assert len(hashes) == 2


def test_any_parquet_reader_opens_a_shard(recorded):
    table = pq.read_table(recorded / "shard-00000.parquet")
    assert table.column("actions")[0].as_py()[-1] == "take mug 1 from shelf 1"


# ------------------------------------------------------------------------------- crashes

ENDLESS = """
import sys
from oreo_agents.dataset import TrajectoryWriter, writer as room
from oreo_agents.trajectory import Trajectory, Turn
room.JOURNAL_BYTES = 20_000
with TrajectoryWriter(sys.argv[1]) as writer:
    number = 0
    while True:
        writer.append(Trajectory((Turn("x" * 300, "look"),), seed=number))
        number += 1
        print(number, flush=True)
"""


@pytest.mark.parametrize("patience", [0.0, 0.05, 0.2])
def test_kill_9_loses_nothing_that_was_appended(tmp_path, patience):
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path / "d")], stdout=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(patience)
    process.send_signal(signal.SIGKILL)
    appended = 1 + len(process.stdout.read().splitlines())
    process.wait()

    seeds = [e.seed for e in load_trajectories(tmp_path / "d")]
    assert seeds == list(range(len(seeds))) and appended <= len(seeds) <= appended + 1
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(Trajectory((), seed=-1))
    assert [e.seed for e in load_trajectories(tmp_path / "d")] == [*seeds, -1]


def test_a_torn_line_is_dropped_wherever_it_is_torn(tmp_path, episode):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))
    journal = tmp_path / "d" / "journal-00000.jsonl"
    whole = journal.read_bytes()
    writer._release()
    for cut in range(0, len(whole), 37):
        journal.write_bytes(whole + whole[:cut])
        assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a"]
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode("b"))
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a", "b"]


def test_damage_inside_a_journal_is_named_and_kept(tmp_path, episode):
    writer = TrajectoryWriter(tmp_path / "d")
    for game in "abc":
        writer.append(episode(game))
    writer._release()
    journal = tmp_path / "d" / "journal-00000.jsonl"
    lines = journal.read_bytes().split(b"\n")
    lines[1] = lines[1][:50]
    journal.write_bytes(b"\n".join(lines))
    damaged = journal.read_bytes()
    with pytest.raises(DatasetError, match="line 2 is damaged"):
        load_trajectories(tmp_path / "d")
    with pytest.raises(DatasetError, match="line 2 is damaged"):
        TrajectoryWriter(tmp_path / "d")
    assert journal.read_bytes() == damaged
    with pytest.warns(UserWarning, match="line 2"):
        assert [e.game for e in load_trajectories(tmp_path / "d", skip_damaged=True)] == ["a", "c"]


@pytest.mark.parametrize("column", ["length", "return"])
def test_an_episode_of_the_journal_without_its_numbers_is_damage(tmp_path, episode, column):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))
    writer._release()
    journal = tmp_path / "d" / "journal-00000.jsonl"
    journal.write_text(json.dumps(json.loads(journal.read_text()) | {column: None}) + "\n")
    with pytest.raises(DatasetError, match=f"journal: damaged .an episode has no {column}"):
        dataset = load_trajectories(tmp_path / "d")
        dataset.lengths, dataset.returns  # noqa: B018


def test_a_crash_after_the_shard_and_before_meta_neither_loses_nor_doubles(tmp_path, episode, monkeypatch):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_meta", crash)
        with pytest.raises(KeyboardInterrupt):
            writer.close()
    assert (tmp_path / "d" / "shard-00000.parquet").exists()
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a"]
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode("b"))
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a", "b"]


def test_a_crash_after_meta_and_before_the_journal_goes_does_not_double(tmp_path, episode):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))
    journal = tmp_path / "d" / "journal-00000.jsonl"
    content = journal.read_bytes()
    writer.close()
    journal.write_bytes(content)
    assert len(load_trajectories(tmp_path / "d")) == 1
    with TrajectoryWriter(tmp_path / "d") as writer:
        assert len(writer) == 1
    assert not journal.exists()


# ------------------------------------------------------------------------------- bad places


def test_a_second_live_writer_is_refused(tmp_path, episode):
    with TrajectoryWriter(tmp_path / "d") as writer:
        with pytest.raises(DatasetError, match="another process or writer"):
            TrajectoryWriter(tmp_path / "d")
        writer.append(episode())
    assert len(load_trajectories(tmp_path / "d")) == 1


def test_a_dataset_is_readable_while_it_is_written(tmp_path, episode):
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer.append(episode("a"))
        writer.compact()
        writer.append(episode("b"))
        assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a", "b"]


def test_a_full_disk_loses_only_the_episode_at_hand(tmp_path, episode, monkeypatch):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))
    real_write = os.write

    def half_then_full(descriptor, data):
        if len(data) < 200:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half_then_full)
        with pytest.raises(DatasetError, match="No space left"):
            writer.append(episode("b"))
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a"]
    writer.append(episode("c"))  # space was freed
    writer.close()
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a", "c"]


def test_a_disk_full_at_compaction_leaves_the_journal(tmp_path, episode, monkeypatch):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode("a"))

    def full(table, where, **_):
        where.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        with pytest.raises(DatasetError, match="No space left"):
            writer.close()
    assert sorted(file.name for file in (tmp_path / "d").iterdir()) == [
        "journal-00000.jsonl",
        "lock",
        "meta.json",
    ]
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a"]
    TrajectoryWriter(tmp_path / "d").close()
    assert [e.game for e in load_trajectories(tmp_path / "d")] == ["a"]


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DatasetError, match=r"thesis\.tex"):
        TrajectoryWriter(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_dataset(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for opened in (TrajectoryWriter, load_trajectories):
        with pytest.raises(DatasetError, match=str(file)):
            opened(file)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '"text"',
        '{"format": "other", "schema_version": 1}',
        '{"format": "oreo-trajectories"}',
    ],
)
def test_a_damaged_meta_is_refused_and_left_alone(recorded, content):
    (recorded / "meta.json").write_text(content)
    for opened in (TrajectoryWriter, load_trajectories):
        with pytest.raises(DatasetError, match=r"meta\.json"):
            opened(recorded)
    assert (recorded / "meta.json").read_text() == content


META_FIELDS = [
    "schema_version",
    "env_spec",
    "dialect",
    "author",
    "versions",
    "metadata",
    "content_hash",
    "shards",
]
SHARD_FIELDS = ["file", "episodes", "bytes", "sha256"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(META_FIELDS + SHARD_FIELDS), json_values)
def test_a_meddled_meta_is_read_or_refused(recorded, name, value):
    file = recorded / "meta.json"
    original = file.read_text()
    meta = json.loads(original)
    target = meta if name in META_FIELDS else meta["shards"][0]
    target[name] = value
    try:
        file.write_text(json.dumps(meta))
        list(load_trajectories(recorded)[:2])
        TrajectoryWriter(recorded).close()
    except DatasetError:
        pass
    finally:
        file.write_text(original)


@pytest.mark.parametrize("file", ["../recorded/shard-00000.parquet", "shard\0.parquet"])
def test_a_shard_outside_the_folder_or_of_an_impossible_name_is_not_read(recorded, file):
    meta = json.loads((recorded / "meta.json").read_text())
    meta["shards"][0]["file"] = file.replace("recorded", recorded.name)
    (recorded / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DatasetError, match="wrong type"):
        load_trajectories(recorded)


@pytest.mark.parametrize("column", [name for name in SCHEMA.names if name not in ("seed", "tokenizer")])
def test_rows_with_holes_are_refused_or_read(tmp_path, episode, column):
    row = {**to_row(episode()), column: None}
    with TrajectoryWriter(tmp_path / "d") as writer:
        writer._append_line(encode_row(row))
    try:
        load_trajectories(tmp_path / "d")[0]
    except DatasetError as error:
        assert "no recorded episode" in str(error)


def test_descriptions_that_are_no_json_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be stored as JSON"):
        TrajectoryWriter(tmp_path / "d", metadata={"when": object()})


def test_another_schema_version_is_named(recorded):
    meta = json.loads((recorded / "meta.json").read_text())
    (recorded / "meta.json").write_text(json.dumps({**meta, "schema_version": 99, "new_field": 1}))
    for opened in (TrajectoryWriter, load_trajectories):
        with pytest.raises(DatasetError, match="is of format 99, of a newer oreo-agents"):
            opened(recorded)


def test_another_dialect_is_refused(recorded):
    with pytest.raises(DatasetError, match="'move' wording, not 'put'"):
        TrajectoryWriter(recorded, dialect="put")


@pytest.mark.parametrize(
    "turn",
    [
        Turn("see", 3),
        Turn(b"see", "look"),
        Turn("see", "look", reward="much"),
        Turn("see", "look", token_ids=("a",)),
        Turn("see", "look", token_ids=(2**70,)),
        Turn("see", "look", admissible_commands=(1,)),
        Turn("see", "\ud800"),
        Turn("see", "look", candidates=(Candidate("a", "b"),)),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path, turn):
    with TrajectoryWriter(tmp_path / "d") as writer:
        with pytest.raises(DatasetError, match="cannot be stored"):
            writer.append(Trajectory((turn,), game="g"))
        with pytest.raises(DatasetError, match="cannot be stored"):
            writer.append(Trajectory((), metadata={"when": object()}))
        assert len(writer) == 0
    assert len(load_trajectories(tmp_path / "d")) == 0


def test_a_folder_that_is_deleted_meanwhile_is_no_success(tmp_path, episode):
    """The open file goes on taking episodes that nobody will find."""
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode())
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(DatasetError, match="was deleted while it was written to"):
        writer.append(episode())


def test_what_was_written_is_read_back_before_it_is_called_kept(tmp_path, episode):
    writer = TrajectoryWriter(tmp_path / "d")
    writer.append(episode())
    next((tmp_path / "d").glob("journal-*")).unlink()
    with pytest.raises(DatasetError, match="was changed or deleted while it was written to"):
        writer.close()
    TrajectoryWriter(tmp_path / "d").close()  # and others are let in


def test_a_dataset_says_when_and_by_which_commit_it_was_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("oreo_agents.dataset.meta._find_own_commit", lambda: "abc123")
    before = datetime.now(UTC).date()
    TrajectoryWriter(tmp_path / "d").close()
    begun = read_meta(tmp_path / "d").metadata
    assert (
        before <= date.fromisoformat(begun["date"]) <= datetime.now(UTC).date()
        and begun["commit"] == "abc123"
    )
    monkeypatch.setattr("oreo_agents.dataset.meta._find_own_commit", lambda: "def456")
    TrajectoryWriter(tmp_path / "d", metadata={"more": 1}).close()
    assert read_meta(tmp_path / "d").metadata == {**begun, "more": 1}
    monkeypatch.setattr("oreo_agents.dataset.meta._find_own_commit", lambda: None)
    TrajectoryWriter(tmp_path / "e").close()
    assert "commit" not in read_meta(tmp_path / "e").metadata


def test_a_writer_that_fails_before_its_first_episode_leaves_nothing(tmp_path, episode):
    """What was there before stays, and what somebody else has put there."""
    for name in ("new", "there", "full", "shared"):
        path = tmp_path / name
        if name == "there":
            TrajectoryWriter(path).close()
        with pytest.raises(ZeroDivisionError), TrajectoryWriter(path) as writer:
            if name == "full":
                writer.append(episode())
            if name == "shared":
                (path / "notes.txt").write_text("mine")
            1 / 0  # noqa: B018
    assert not (tmp_path / "new").exists()
    assert (len(load_trajectories(tmp_path / "there")), len(load_trajectories(tmp_path / "full"))) == (0, 1)
    assert [file.name for file in (tmp_path / "shared").iterdir()] == ["notes.txt"]
