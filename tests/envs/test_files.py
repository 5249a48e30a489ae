"""Files and folders that are whole or not there, whatever happens to who writes them."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oreo_envs import files
from oreo_envs.errors import ConfigurationError
from oreo_envs.files import (
    hash_file,
    hash_json,
    is_unfinished,
    lock_folder,
    make_folder,
    open_file,
    put_folder,
    read_file,
    read_json,
    remove_path,
    replace_file,
    replace_folder,
    write_file,
    write_json,
)

posix = pytest.mark.skipif(os.name == "nt", reason="signals and permission bits")


def start(code, *arguments):
    """Another process that runs ``code`` until it has printed a line."""
    command = [sys.executable, "-c", "import sys, time\nfrom oreo_envs.files import *\n" + code]
    process = subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write_old(folder):
    (folder / "weights").write_text("old")


# ------------------------------------------------------------------------------- reading


@posix
@pytest.mark.parametrize("read", [open_file, read_file, read_json, hash_file])
@pytest.mark.parametrize("odd", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, read, odd):
    path = tmp_path / "odd"
    os.mkfifo(path) if odd == "pipe" else path.symlink_to("/dev/zero" if odd == "device" else tmp_path)
    with pytest.raises(OSError) as raised:
        read(path)
    assert raised.value.filename == str(path)


def test_a_file_is_read_up_to_a_size(tmp_path):
    write_file(tmp_path / "a", b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_file(tmp_path / "a", 4)


def test_nested_json_is_no_json(tmp_path):
    write_file(tmp_path / "a", "[" * 200_000)
    with pytest.raises(ValueError, match="nested"):
        read_json(tmp_path / "a")


# ------------------------------------------------------------------------------- leftovers


@posix
def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path):
    """Whatever their names: nobody may ever write to the same name again."""
    code = "with make_folder(sys.argv[1]) as new:\n    print('ready', flush=True); time.sleep(60)"
    dead, alive = start(code, tmp_path / "one"), start(code, tmp_path / "two")
    kill(dead)
    old, new, mine = ".games-unfinished-ab12cd_9", ".unpacking-abcdefgh", ".mine-unfinished"
    for name, age in ((old, 90_000), (new, 10), (mine, 90_000)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_file(tmp_path / "three", "x")
    left = names(tmp_path)
    kill(alive)
    assert [name.split(".")[1] for name in left if name.endswith("new")] == ["two"]
    assert new in left and mine in left and old not in left


# ------------------------------------------------------------------------------- files


def test_write_json_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "result.json"
    write_json(path, {"a": [1, 2]})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def full(self, data, *args, **kwargs):
        with self.open("w") as file:
            file.write(data[:5])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"b": 3})
    assert json.loads(path.read_text()) == {"a": [1, 2]}
    assert names(path.parent) == ["result.json"]


def test_text_and_bytes_are_written_as_they_are(tmp_path):
    write_file(tmp_path / "a", "π\n")
    write_file(tmp_path / "b", b"\r\n\xff")
    assert (tmp_path / "a").read_bytes() == "π\n".encode() and (tmp_path / "b").read_bytes() == b"\r\n\xff"


def test_a_disk_that_fails_at_the_last_moment_leaves_the_old_file(tmp_path, monkeypatch):
    write_file(tmp_path / "a", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_what_is_renamed_has_reached_the_disk(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("rename"), replace(*paths)))
    write_file(tmp_path / "a", "new")
    assert done[:2] == ["sync", "rename"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    asked = tmp_path / ("x" * 300)  # longer than a name may be
    with pytest.raises(OSError) as raised, replace_file(asked) as new:
        new.write_text("x")
    assert raised.value.filename == str(asked)


def test_a_file_is_not_written_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError):
        write_file(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["b"]


@posix
def test_links_are_followed_and_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    write_file(tmp_path / "disk" / "real", "old")
    (tmp_path / "link").symlink_to("disk/real")
    (tmp_path / "dangling").symlink_to("disk/later")
    write_file(tmp_path / "link", "new")
    write_file(tmp_path / "dangling", "made")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "real").read_text() == "new"
    assert (tmp_path / "dangling").is_symlink() and (tmp_path / "disk" / "later").read_text() == "made"
    assert names(tmp_path / "disk") == ["later", "real"]


@posix
def test_permissions_are_those_of_the_old_file_or_the_users_own(tmp_path):
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "a", "x")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
        (tmp_path / "a").chmod(0o604)
        write_file(tmp_path / "a", "y")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(before)


@posix
def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(tmp_path / "pipe", "text")
        assert os.read(reader, 100) == b"text" and (tmp_path / "pipe").is_fifo()
    finally:
        os.close(reader)


@posix
def test_a_writer_that_is_killed_leaves_the_old_file_and_nothing_for_long(tmp_path):
    path = tmp_path / "a.png"
    write_file(path, "old")
    writer = start(
        "with replace_file(sys.argv[1]) as new:\n"
        "    new.write_text('half')\n    print('ready', flush=True)\n    time.sleep(60)",
        path,
    )
    (half,) = set(names(tmp_path)) - {"a.png"}
    assert is_unfinished(Path(half)) and half.endswith(".png")
    write_file(path, "newer")  # a writer that is alive is left alone
    assert half in names(tmp_path)
    kill(writer)
    assert path.read_text() == "newer" and half in names(tmp_path)
    write_file(tmp_path / "b.png", "other")
    assert names(tmp_path) == ["a.png", "b.png"]


def test_what_another_machine_is_writing_is_left_alone(tmp_path):
    theirs = tmp_path / ".a.0123abcd-999999999-0123abcd.new"
    theirs.write_text("half")
    write_file(tmp_path / "a", "new")
    assert theirs.exists()


@pytest.mark.parametrize("name", [".meta.json.tmp", ".sft.partial", ".train-unfinished-x1_", ".unpacking-ab"])
def test_what_earlier_versions_left_is_known(name):
    assert is_unfinished(Path(name))


@pytest.mark.parametrize("name", ["meta.json", ".lock", "lock", ".hidden", "a.partial", "..", ".x.new"])
def test_other_files_are_complete(name):
    assert not is_unfinished(Path(name))


# ------------------------------------------------------------------------------- folders


def test_a_save_that_fails_leaves_the_old_folder_as_it_was(tmp_path):
    path = tmp_path / "agent"
    replace_folder(path, lambda folder: (folder / "weights").write_text("old"))

    def fails(folder):
        (folder / "weights").write_text("ne")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        replace_folder(path, fails)
    assert [file.name for file in path.iterdir()] == ["weights"]
    assert (path / "weights").read_text() == "old"
    replace_folder(
        path, lambda folder: (folder / "weights").write_text("new")
    )  # what was left is no obstacle
    assert (path / "weights").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["agent"]


def test_every_file_of_a_folder_reaches_the_disk_or_the_old_one_stays(tmp_path, monkeypatch):
    replace_folder(tmp_path / "agent", write_old)

    def broken(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        replace_folder(tmp_path / "agent", lambda folder: (folder / "weights").write_text("new"))
    assert (tmp_path / "agent" / "weights").read_text() == "old" and names(tmp_path) == ["agent"]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one_where_it_was(tmp_path):
    replace_folder(tmp_path / "agent", write_old)
    with pytest.raises(OSError):
        put_folder(tmp_path / "absent", tmp_path / "agent")
    assert (tmp_path / "agent" / "weights").read_text() == "old" and names(tmp_path) == ["agent"]


def test_a_new_folder_takes_no_place_that_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for name in ("absent", "empty"):
        with make_folder(tmp_path / name) as new:
            (new / "game").touch()
        assert names(tmp_path / name) == ["game"]
    with pytest.raises(OSError), make_folder(tmp_path / "full") as new:
        (new / "game").touch()
    with pytest.raises(KeyboardInterrupt), make_folder(tmp_path / "not"):
        raise KeyboardInterrupt
    assert names(tmp_path / "full") == ["mine"] and names(tmp_path) == ["absent", "empty", "full"]


@posix
def test_a_writer_that_is_killed_leaves_the_old_folder(tmp_path):
    replace_folder(tmp_path / "agent", write_old)
    writer = start(
        "from pathlib import Path\ndef write(folder):\n    (folder / 'weights').write_text('ne')\n"
        "    print('ready', flush=True)\n    time.sleep(60)\nreplace_folder(Path(sys.argv[1]), write)",
        tmp_path / "agent",
    )
    kill(writer)
    assert (tmp_path / "agent" / "weights").read_text() == "old" and len(names(tmp_path)) == 2
    replace_folder(tmp_path / "agent", lambda folder: (folder / "weights").write_text("new"))
    assert (tmp_path / "agent" / "weights").read_text() == "new" and names(tmp_path) == ["agent"]


@posix
def test_a_folder_that_a_killed_writer_had_moved_aside_comes_back(tmp_path):
    replace_folder(tmp_path / "agent", write_old)
    writer = start(
        "from pathlib import Path\nimport oreo_envs.files as files\n"
        "path = Path(sys.argv[1])\npath.rename(files._name_beside(path, 'old'))\n"
        "print('ready', flush=True)\ntime.sleep(60)",
        tmp_path / "agent",
    )
    assert not (tmp_path / "agent").exists()
    kill(writer)

    def fails(folder):
        raise ValueError

    with pytest.raises(ValueError):
        replace_folder(tmp_path / "agent", fails)
    assert (tmp_path / "agent" / "weights").read_text() == "old" and names(tmp_path) == ["agent"]


def test_removing_takes_files_folders_links_and_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "file", "link", "absent"):
        remove_path(tmp_path / name)
    assert names(tmp_path) == ["kept"]


# ------------------------------------------------------------------------------- locks

HOLD = "with lock_folder(sys.argv[1]):\n    print('ready', flush=True)\n    time.sleep(60)"


@posix
def test_a_second_process_is_refused_until_the_first_has_ended_however_it_ends(tmp_path):
    first = start(HOLD, tmp_path / "run")
    with pytest.raises(ConfigurationError) as refused, lock_folder(tmp_path / "run"):
        pass
    sentence = f"another run is at work in {tmp_path / 'run'}: wait for it, or choose another --output"
    assert str(refused.value) == sentence
    kill(first)
    assert (tmp_path / "run" / ".lock").exists()
    with lock_folder(tmp_path / "run"):
        pass


def test_a_second_holder_in_this_process_is_refused(tmp_path):
    with lock_folder(tmp_path):
        with pytest.raises(ConfigurationError, match="or go home"), lock_folder(tmp_path, remedy="go home"):
            pass
        with pytest.raises(ConfigurationError), lock_folder(tmp_path):
            pass
        with lock_folder(tmp_path / "below"), lock_folder(tmp_path, "lock"):
            pass
    with lock_folder(tmp_path):
        pass


@posix
def test_the_lock_is_that_of_earlier_versions(tmp_path):
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError), lock_folder(tmp_path):
            pass


@posix
def test_a_child_process_neither_holds_nor_ends_the_lock(tmp_path):
    with lock_folder(tmp_path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(ConfigurationError), lock_folder(tmp_path):
            pass


# ------------------------------------------------------------------------------- hashes


def test_hashes_are_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "a") == known
    assert hash_json({"b": 1, "a": Path("x")}) == hashlib.sha256(b'{"b": 1, "a": "x"}').hexdigest()
    assert hash_json({"b": 1, "a": 2}, sort_keys=True) == hash_json({"a": 2, "b": 1})


def test_nothing_slow_is_imported_before_it_is_needed():
    code = "import sys, oreo_envs.files; print('filelock' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_folder_that_is_being_deleted_is_gone_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    (folder / "checkpoint-1").mkdir(parents=True)

    def killed(path, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files.shutil, "rmtree", killed)
        files.remove_folder(folder)
    assert not folder.exists() and all(files.is_unfinished(left) for left in tmp_path.iterdir())
    monkeypatch.setattr(files, "_is_alive", lambda process: False)
    files.clear_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
