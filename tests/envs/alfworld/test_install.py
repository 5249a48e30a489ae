"""Data on disk: downloads that break and resume, archives, folders of other people, generated games."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import random
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import shared_data
from oreo_envs.alfworld import download, drop_in, install
from oreo_envs.alfworld.download import Release, fetch_file
from oreo_envs.alfworld.generator.games import Recipe
from oreo_envs.alfworld.install import MARKER, download_games, unpack_games, write_games
from oreo_envs.alfworld.places import describe_task
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.world import World
from oreo_envs.errors import DataNotFoundError, GameFileError, OreoError
from oreo_envs.files import lock_folder

from oreo_agents.cli.installation import check_installation
from oreo_agents.errors import ConfigurationError

SHARED = shared_data.ALFWORLD


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    return tmp_path / "cache"


def games_zip(splits: tuple[str, ...] = ("train", "valid_seen", "valid_unseen")) -> bytes:
    buffer = io.BytesIO()
    recipe = Recipe()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, split in enumerate(splits):
            archive.writestr(f"json_2.1.1/{split}/{recipe.name(number)}/game.tw-pddl", recipe.text(number))
    return buffer.getvalue()


class Server:
    """A local web server for one file; it can break off, ignore ranges or fail."""

    def __init__(self) -> None:
        self.content = b""
        self.break_after: int | None = None
        self.ranges = True
        self.status = 200
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.headers["Range"])
                if server.status >= 400:
                    self.send_error(server.status)
                    return
                start = (
                    int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                    if server.ranges
                    else 0
                )
                body = server.content[start:]
                self.send_response(206 if server.ranges else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.break_after])

            def log_message(self, *_: object) -> None: ...

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def release(self, name: str = "games_tw-pddl.zip") -> Release:
        url = f"http://127.0.0.1:{self._http.server_address[1]}/{name}"
        return Release(url, len(self.content), hashlib.sha256(self.content).hexdigest())

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.content = games_zip()
    yield server
    server.close()


# ---------------------------------------------------------------- download


def test_download_ends_with_playable_splits(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = download_games(progress=lambda done, total: seen.append((done, total)), release=server.release())
    assert folder == tmp_path / "root" / "json_2.1.1"
    assert [len(find_games(split)) for split in ("train", "valid_seen", "valid_unseen")] == [1, 1, 1]
    assert seen[-1] == (len(server.content), len(server.content))


def test_second_download_asks_nothing(server: Server) -> None:
    download_games(release=server.release())
    asked = len(server.requests)
    download_games(release=server.release())
    assert len(server.requests) == asked


def test_the_games_of_valid_train_come_along_where_there_are_any(server: Server) -> None:
    server.content = games_zip(("train", "valid_train", "valid_seen", "valid_unseen"))
    download_games(release=server.release())
    assert len(find_games("valid_train")) == 1
    assert [check.status for check in check_installation() if check.name == "valid_train"] == ["ok"]


def test_broken_connections_resume_where_they_ended(server: Server, tmp_path: Path) -> None:
    server.break_after = len(server.content) // 3 + 1
    archive = fetch_file(server.release(), tmp_path / "downloads")
    assert archive.read_bytes() == server.content
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.requests]
    assert starts == [0, server.break_after, 2 * server.break_after]


def test_a_later_call_resumes_an_abandoned_download(server: Server, tmp_path: Path) -> None:
    server.break_after = 100
    with pytest.raises(OreoError, match="run the command again to go on"):
        fetch_file(server.release(), tmp_path / "downloads")
    left = (tmp_path / "downloads" / "games_tw-pddl.zip.part").stat().st_size
    server.break_after = None
    assert fetch_file(server.release(), tmp_path / "downloads").read_bytes() == server.content
    assert server.requests[-1] == f"bytes={left}-" and left > 0


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "games_tw-pddl.zip.part").write_bytes(b"rubbish from before")
    assert fetch_file(server.release(), folder).read_bytes() == server.content


def test_wrong_content_is_deleted_and_refused(server: Server, tmp_path: Path) -> None:
    release = Release(server.release().url, len(server.content), "0" * 64)
    with pytest.raises(OreoError, match="not the published file"):
        download_games(release=release)
    assert not list((tmp_path / "cache").rglob("games_tw-pddl*"))
    assert not (tmp_path / "root").exists()


def test_missing_file_and_missing_server_are_one_sentence(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(OreoError, match=r"HTTP 404.*--from"):
        fetch_file(server.release(), tmp_path / "downloads")
    assert len(server.requests) == 1
    with pytest.raises(OreoError, match="cannot be downloaded"):
        fetch_file(Release("http://127.0.0.1:9/x.zip", 5, ""), tmp_path / "downloads")


def test_two_downloads_of_one_file_do_not_mix(server: Server, tmp_path: Path) -> None:
    refused = pytest.raises(ConfigurationError, match="wait for it, or pass a local archive with --from")
    with lock_folder(tmp_path / "downloads"), refused:
        fetch_file(server.release(), tmp_path / "downloads")
    assert not server.requests
    assert fetch_file(server.release(), tmp_path / "downloads").read_bytes() == server.content


def test_a_folder_that_another_run_has_just_made_is_named(tmp_path: Path) -> None:
    def overtake(done: int, total: int) -> None:
        if done == 1:
            write_games(tmp_path / "new", 1)

    with pytest.raises(ConfigurationError, match=r"new is there already \(made earlier\)"):
        write_games(tmp_path / "new", 2, progress=overtake)
    assert len(find_games(games=tmp_path / "new")) == 1


def test_download_leaves_other_peoples_data_alone(server: Server, tmp_path: Path) -> None:
    theirs = tmp_path / "root" / "json_2.1.1" / "train"
    theirs.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="did not put there"):
        download_games(release=server.release())
    assert not server.requests and not any(theirs.iterdir())


# ---------------------------------------------------------------- unpack


def test_unpack_archive_then_another_split(tmp_path: Path) -> None:
    archive = tmp_path / "some.zip"
    archive.write_bytes(games_zip(("train",)))
    root = unpack_games(archive)
    archive.write_bytes(games_zip(("valid_seen", "valid_train")))
    assert unpack_games(archive) == root
    assert sorted(path.name for path in root.iterdir()) == ["train", "valid_seen", "valid_train"]
    with pytest.raises(ConfigurationError, match="is there already"):
        unpack_games(archive)


def test_unpacking_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "some.zip"
    archive.write_bytes(games_zip(("train", "valid_seen")))

    def stop(**_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(install, "find_games", stop)
        unpack_games(archive)
    root = unpack_games(archive)
    assert sorted(path.name for path in root.iterdir()) == ["train", "valid_seen"]
    assert len(find_games("train")) and len(find_games("valid_seen"))


def test_unpack_folder_copies_rather_than_links(tmp_path: Path) -> None:
    source = write_games(tmp_path / "train", 3)
    unpack_games(source, tmp_path / "fresh")
    copies = sorted((tmp_path / "fresh" / "json_2.1.1" / "train").rglob("game.tw-pddl"))
    assert len(copies) == 3 and all(path.stat().st_nlink == 1 for path in copies)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real games are not here")
def test_unpack_folder_of_real_archives(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "valid_seen.tar.xz").symlink_to(SHARED / "valid_seen.tar.xz")
    (tmp_path / "archives" / "eto.jsonl.gz").write_bytes(b"")
    unpack_games(tmp_path / "archives")
    assert len(find_games("valid_seen")) == 140


@pytest.mark.parametrize("name", ["train.tar.xz", "train.zip", "train.tar.gz"])
def test_truncated_archive_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(games_zip()[:200])
    with pytest.raises(GameFileError, match=name):
        unpack_games(tmp_path / name)
    assert not (tmp_path / "root").exists()


def test_member_outside_its_folder_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "train.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../../evil/game.tw-pddl")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(GameFileError, match="leave its folder"):
        unpack_games(archive)


def test_sources_without_games(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match="no games"):
        unpack_games(tmp_path / "empty")
    with pytest.raises(DataNotFoundError, match="does not exist"):
        unpack_games(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(GameFileError, match="not an archive"):
        unpack_games(tmp_path / "notes.txt")
    assert not (tmp_path / "root").exists()


# ---------------------------------------------------------------- generate


def test_generated_folder_plays_and_its_walkthroughs_win(tmp_path: Path) -> None:
    write_games(tmp_path / "new", 12, seed=5, rooms=["kitchen", "bathroom"])
    games = find_games(games=tmp_path / "new")
    assert len(games) == 12
    for index in range(12):
        world = World(games[index])
        for command in games[index].walkthrough:
            world.step(command)
        assert world.won, games.names[index]


def test_generate_keeps_out_of_used_folders(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigurationError, match="left as it is"):
        write_games(tmp_path / "mine", 2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_generate_refuses_a_folder_in_use_before_it_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for here in (".", tmp_path / "here"):
        with pytest.raises(ConfigurationError, match="choose a folder inside it"):
            write_games(here, 2, progress=lambda *_: pytest.fail("generated"))
    assert list(Path().iterdir()) == []
    write_games("games", 1)


def test_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_games(tmp_path / "new", 10, progress=interrupt)
    assert not any("new" in path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"count": 0}, "positive number"),
        ({"split": "tarin"}, "tarin"),
        ({"task_types": ["juggle"]}, "juggle"),
        ({"rooms": ["garage"]}, "garage"),
        ({"difficulty": "absurd"}, "absurd"),
        ({"task_types": ["pick_heat_then_place_in_recep"], "rooms": ["bathroom"]}, "can host"),
    ],
)
def test_impossible_wishes_are_named(tmp_path: Path, options: dict, complaint: str) -> None:
    with pytest.raises(OreoError, match=complaint):
        write_games(tmp_path / "new", **{"count": 2, **options})
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- doctor


def test_doctor_looks_where_the_environments_look(tmp_path: Path) -> None:
    (tmp_path / "valid_unseen.zip").write_bytes(games_zip(("valid_unseen",)))
    write_games(tmp_path / "train", 2)
    checks = {check.name: check for check in check_installation(tmp_path)}
    assert checks["train"].finding == f"2 games in {tmp_path / 'train'}"
    assert checks["valid_unseen"].status == "ok"
    assert checks["valid_seen"].status == "note"


def test_doctor_goes_on_where_the_cache_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.zip").write_bytes(games_zip(("train",)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "train.zip"))
    checks = {check.name: check for check in check_installation(tmp_path)}
    assert checks["cache"].status == "note" and "XDG_CACHE_HOME" in checks["cache"].remedy
    assert checks["train"].status == "wrong" and "delete" not in checks["train"].remedy


def test_doctor_finds_damage_and_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(games_zip(("train",)))
    root = unpack_games(tmp_path / "train.zip")
    checks = {check.name: check for check in check_installation()}
    assert checks["train"].status == checks["engine"].status == checks["gymnasium"].status == "ok"
    assert checks["valid_seen"].status == "note" and "oreo-agents data" in checks["valid_seen"].remedy
    (game,) = (root / "train").rglob("game.tw-pddl")
    game.unlink()
    game.write_text('{"pddl_domain": "trunc')
    checks = {check.name: check for check in check_installation()}
    assert checks["train"].status == "wrong" and str(game) in checks["train"].finding
    assert (root / "train" / MARKER).exists()


# ---------------------------------------------------------------- what alfworld reads beside a game


def test_a_folder_name_says_what_a_trajectory_file_says() -> None:
    if not (SHARED / "trial_meta.jsonl.gz").exists():
        pytest.skip("the real trajectory files are not here")
    with gzip.open(SHARED / "trial_meta.jsonl.gz", "rt") as lines:
        for trial in map(json.loads, lines):
            told = {key: trial[key] for key in ("task_type", "pddl_params")}
            assert describe_task(trial["name"].partition("/")[0]) == told


def test_games_that_are_unpacked_have_trajectory_files(tmp_path: Path) -> None:
    source = write_games(tmp_path / "train", 3)
    with_one, without, odd = sorted(source.rglob("game.tw-pddl"))
    with_one.with_name("traj_data.json").write_text('{"of": "ALFRED"}')
    written = without.with_name("traj_data.json").read_bytes()
    without.with_name("traj_data.json").unlink()
    odd.with_name("traj_data.json").unlink()
    odd.parent.parent.rename(source / "my-room")
    root = unpack_games(source, tmp_path / "fresh") / "train"
    assert (root / with_one.relative_to(source)).with_name("traj_data.json").read_text() == '{"of": "ALFRED"}'
    assert (root / without.relative_to(source)).with_name("traj_data.json").read_bytes() == written
    assert not list((root / "my-room").rglob("traj_data.json")) and list(
        (root / "my-room").rglob("*.tw-pddl")
    )


def test_alfworlds_expert_wins_generated_games(tmp_path: Path) -> None:
    pytest.importorskip("alfworld")
    pytest.importorskip("textworld")
    games = str(write_games(tmp_path / "train", 12))
    config = {
        "dataset": {"data_path": games, "num_train_games": -1},
        "env": {
            "task_types": [1, 2, 3, 4, 5],  # of pairs it wins a third in the real games too
            "goal_desc_human_anns_prob": 0.0,
            "domain_randomization": False,
            "expert_type": "handcoded",
        },
        "general": {"training_method": "dagger"},
        "dagger": {"training": {"max_nb_steps_per_episode": 50}},
    }
    random.seed(0)
    with drop_in.installed(), contextlib.redirect_stdout(io.StringIO()) as said:
        from alfworld.agents.environment import get_environment

        env = get_environment("AlfredTWEnv")(config, train_eval="train").init_env(batch_size=1)
        won = [play_as_expert(env) for _ in range(10)]
    assert "Overall we have 10 games" in said.getvalue()
    assert sum(won) >= 8


def play_as_expert(env: Any) -> bool:
    info, done = env.reset()[1], (False,)
    while not done[0]:
        _, _, done, info = env.step([info["extra.expert_plan"][0][0]])
    return info["won"][0]
