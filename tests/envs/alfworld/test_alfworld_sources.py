import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from oreo_envs.alfworld import folder_index, sources
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.sources import GameFiles, find_games
from oreo_envs.errors import DataNotFoundError, GameFileError, OreoError

GENERATED = GeneratedGames("generated")
NAMES = [GENERATED.names[index] for index in range(4)]


@pytest.fixture
def folder(tmp_path):
    """Three good games, and one that its file calls unsolvable."""
    root = tmp_path / "games"
    for index, name in enumerate(NAMES):
        path = root / name / "game.tw-pddl"
        path.parent.mkdir(parents=True)
        content = json.loads(GENERATED.text(index)) | {"solvable": index != 3}
        path.write_text(json.dumps(content))
    (root / "readme.txt").write_text("not a game")
    return root


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "oreo-agents"


def snapshot(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def archive_of(folder, path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for file in folder.rglob("game.tw-pddl"):
                zipped.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:" + path.suffix[1:]) as tar:
            tar.add(folder, arcname="json_2.1.1/train")
    return path


def test_folders_files_and_lists(folder):
    games = find_games(games=folder)
    assert list(games.names) == sorted(NAMES[:3])
    assert [game.name for game in games] == list(games.names)
    assert list(games.task_types) == [game.task_type for game in games]
    one = folder / NAMES[1] / "game.tw-pddl"
    assert list(find_games(games=one).names) == [NAMES[1]]
    assert list(find_games(games=[one, folder / NAMES[0]]).names) == sorted(NAMES[:2])


def test_a_game_file_has_one_name_however_it_is_given(folder, tmp_path, monkeypatch):
    link = tmp_path / "elsewhere.tw-pddl"
    link.symlink_to(folder / NAMES[1] / "game.tw-pddl")
    monkeypatch.chdir(folder / NAMES[1])
    for source in ("game.tw-pddl", Path("game.tw-pddl"), f"../{Path(NAMES[1]).name}/game.tw-pddl", link):
        games = find_games(games=source)
        assert (games.names, games[0].name) == ((NAMES[1],), NAMES[1])
        assert games.index(games[0].name) == games.index(source) == 0


def test_unsolvable_games_only_on_request(folder):
    assert len(find_games(games=folder, include_unsolvable=True)) == 4
    with pytest.raises(DataNotFoundError, match="unsolvable"):
        find_games(games=folder / NAMES[3])


def test_sequence_behaviour(folder):
    games = find_games(games=folder)
    assert isinstance(games, GameFiles)
    assert games[-1].name == games.names[-1]
    assert games[0] is games[0]
    assert list(games[1:].names) == list(games.names[1:])
    with pytest.raises(IndexError):
        games[3]
    path = games.paths[2]
    for value in (2, -1, games.names[2], path, str(path), path.parent, games[2]):
        assert games.index(value) == 2
    for value in ("nothing", 3, None, folder, "/etc/passwd"):
        with pytest.raises(DataNotFoundError):
            games.index(value)


@pytest.mark.parametrize("name", ["games.tar.xz", "games.tar.gz", "games.zip"])
def test_archives(folder, cache, tmp_path, name):
    games = find_games(games=archive_of(folder, tmp_path / name))
    assert list(games.names) == sorted(NAMES[:3])
    assert games[0].task
    assert all(cache in path.parents for path in games.paths)
    again = find_games(games=tmp_path / name)
    assert again.paths == games.paths


@pytest.mark.parametrize("name", ["games.tar.xz", "games.tar.gz", "games.zip"])
def test_truncated_archives_leave_nothing_behind(folder, cache, tmp_path, name):
    path = archive_of(folder, tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(GameFileError, match=name):
        find_games(games=path)
    assert list((cache / "games").iterdir()) == []


def test_encrypted_archives_are_refused(folder, cache, tmp_path):
    path = archive_of(folder, tmp_path / "secret.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # a flag in the archive's directory
    path.write_bytes(content)
    with pytest.raises(GameFileError, match=r"secret\.zip is encrypted: unpack it"):
        find_games(games=path)
    assert list((cache / "games").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OreoError, match="XDG_CACHE_HOME"):
        find_games(games=archive_of(folder, tmp_path / "games.zip"))
    assert len(find_games(games=folder)) == 3


@pytest.mark.parametrize("member", ["../game.tw-pddl", "/tmp/game.tw-pddl", "a/../../game.tw-pddl"])
def test_archives_that_climb_out_are_refused(cache, tmp_path, member):
    path = tmp_path / "bad.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    with pytest.raises(GameFileError, match="leave its folder"):
        find_games(games=path)
    assert list((cache / "games").iterdir()) == []


def test_huge_members_are_refused(cache, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a/b/game.tw-pddl", b"0" * 5_000_000)
    with pytest.raises(GameFileError, match="at most"):
        find_games(games=path)


def test_nothing_is_written_into_data_folders(folder):
    before = snapshot(folder)
    find_games(games=folder)[0]
    assert snapshot(folder) == before


def test_the_index_notices_changes(folder, cache):
    assert len(find_games(games=folder)) == 3
    assert list((cache / "index").iterdir())
    path = folder / NAMES[0] / "game.tw-pddl"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"solvable": False}))
    assert len(find_games(games=folder)) == 2
    path.unlink()
    assert len(find_games(games=folder, include_unsolvable=True)) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 3}', '{"x": [1, 2]}'])
def test_a_broken_index_is_made_anew(folder, cache, content):
    find_games(games=folder)
    (index,) = (cache / "index").iterdir()
    index.write_text(content)
    assert len(find_games(games=folder)) == 3


def test_an_index_spares_reading_the_files(folder, cache, monkeypatch):
    find_games(games=folder)
    monkeypatch.setattr(folder_index, "_peek_at_game", lambda path: pytest.fail(f"read {path} again"))
    assert len(find_games(games=folder)) == 3


@pytest.mark.parametrize("layout", ["json_2.1.1/train", "train"])
def test_splits_below_the_data_root(folder, tmp_path, monkeypatch, layout):
    root = tmp_path / "root"
    (root / layout).parent.mkdir(parents=True)
    os.rename(folder, root / layout)
    monkeypatch.setenv("ALFWORLD_DATA", str(root))
    assert len(find_games("train")) == 3
    assert len(find_games()) == 3  # the default where data is found
    with pytest.raises(DataNotFoundError, match=str(root)):
        find_games("valid_seen")


def test_split_archives_below_the_data_root(folder, cache, tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    archive_of(folder, root / "valid_seen.tar.xz")
    monkeypatch.setenv("ALFWORLD_DATA", str(root))
    assert len(find_games("valid_seen")) == 3


def test_generated_games_are_the_default_without_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert find_games().names[0] == NAMES[0]


@pytest.mark.parametrize("source", ["none", "empty", "note.txt"])
def test_places_without_games_are_errors_that_name_them(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("hello")
    if source == "note.txt":
        games = find_games(games=tmp_path / source)
        with pytest.raises(GameFileError, match=source):
            games[0]
        return
    with pytest.raises(DataNotFoundError, match=source):
        find_games(games=tmp_path / source)


def test_a_split_and_games_contradict_each_other(folder):
    with pytest.raises(DataNotFoundError, match="not both"):
        find_games("train", folder)


def test_the_cache_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(sources, "CACHED_GAMES", 2)
    games = find_games(games=folder)
    first = games[0]
    assert [games[1].name, games[2].name] == list(games.names[1:])
    assert games[0] is not first


def test_paths_given_as_text(folder):
    assert len(find_games(games=str(folder))) == 3
    assert len(find_games(games=os.path.relpath(folder))) == 3
    assert Path(find_games(games=os.path.relpath(folder)).paths[0]).is_absolute()


def test_links_to_folders_of_games_are_followed(tmp_path):
    """A subset is often made of links; none is passed over, and none comes twice."""
    from oreo_envs.alfworld.install import write_games

    root = write_games(tmp_path / "all", 4)
    tasks = sorted(path for path in root.iterdir() if path.is_dir())
    subset = tmp_path / "subset"
    subset.mkdir()
    for task in tasks[:2]:
        (subset / task.name).symlink_to(task)
    (subset / "again").symlink_to(tasks[0])  # the same games
    (subset / "round").symlink_to(subset)
    (tasks[0] / "up").symlink_to(subset)
    (subset / "nowhere").symlink_to(tmp_path / "absent")
    wanted = {str(path.parent.relative_to(root)) for task in tasks[:2] for path in task.rglob("game.tw-pddl")}
    found = find_games(games=subset)
    assert {name.split("/")[-1] for name in found.names} == {name.split("/")[-1] for name in wanted}
    assert len(found) == len(wanted)
    trials = tmp_path / "trials"
    trials.mkdir()
    for trial in sorted(tasks[2].iterdir()):
        (trials / trial.name).symlink_to(trial)
    assert len(find_games(games=trials)) == len(list(tasks[2].iterdir()))
