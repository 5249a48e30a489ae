"""Full and read-only disks, folders that vanish, two at once, odd files and names: nothing is lost without a word."""

import os
import random
import shutil
import sys
import threading
import time

import pytest
from long_tests import LONG
from test_interruptions import COMMANDS, inputs  # noqa: F401 (a fixture)

from oreo_agents.dataset import load_trajectories
from oreo_agents.errors import OreoError

NAMES = ("record", "train", "eval", "merge", "export", "generate", "unpack", "demo", "iterate", "bench")
SHORT = ("record", "export", "merge")
TRIED = NAMES if LONG else SHORT

powerless = pytest.mark.skipif(sys.platform != "linux", reason="capset(2) is Linux's")


def split_command(name, inputs):  # noqa: F811
    return COMMANDS[name].format(**inputs).split()


@pytest.mark.parametrize("name", TRIED)
def test_a_full_disk_is_said(commands, inputs, tmp_path, name):  # noqa: F811
    """No file may grow beyond so many bytes: every write beyond fails, whoever writes, but the error fits."""
    command = split_command(name, inputs)
    for number, most in enumerate((1_000, 5_000, 20_000, 200_000)[: 4 if LONG else 2]):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = commands.run(folder, *command, limits={"RLIMIT_FSIZE": most}).require_clean()
        if outcome.status:
            said = "rror" in outcome.err or (name == "bench" and "not done: " in outcome.out)
            assert outcome.status in (1, 2) and said, outcome
            commands.run(folder, *command).require_done()
        if name == "record":
            assert len(load_trajectories(folder / "made")) == 10


@powerless
@pytest.mark.parametrize("name", TRIED)
def test_a_disk_that_cannot_be_written_is_said(commands, inputs, tmp_path, name):  # noqa: F811
    folder = tmp_path / "place"
    folder.mkdir(mode=0o555)
    cache = {"XDG_CACHE_HOME": str(folder), "HOME": str(folder)}
    commands.run(folder, *split_command(name, inputs), powerless=True, environment=cache).require_refused()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("number", range(12 if LONG else 2))
@pytest.mark.parametrize("name", ["record", "train"] if LONG else ["record"])
def test_a_folder_that_is_deleted_is_said(commands, inputs, tmp_path, name, number):  # noqa: F811
    """Whatever is said to be kept is there."""
    folder = tmp_path / "place"
    folder.mkdir()
    command = split_command(name, inputs)
    if name == "record":
        command[command.index("-n") + 1] = "60"
    chance = random.Random(f"{name} {number}")
    stop = threading.Event()

    def delete():
        end = time.monotonic() + 60
        while time.monotonic() < end and not stop.is_set() and not (folder / "made").exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.2))
        shutil.rmtree(folder / "made", ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    outcome = commands.run(folder, *command).require_clean()
    there = (folder / "made").exists()
    stop.set()
    thread.join()
    if outcome.status == 0 and there and (folder / "made").exists():
        kept = (
            load_trajectories(folder / "made")
            if name == "record"
            else (folder / "made" / "agent.json").exists()
        )
        assert kept is True or len(kept) == 60


def test_two_at_once_are_one_after_the_other_or_refused(commands, inputs, tmp_path):  # noqa: F811
    folder = tmp_path / "place"
    for round_ in range(8 if LONG else 1):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        said = {}

        def work(number, said=said):
            said[number] = commands.run(folder, *split_command("record", inputs), name=f"log-{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.05 * round_)
        for thread in threads:
            thread.join()
        done = [one for one in said.values() if one.require_clean().status == 0]
        assert done and len(load_trajectories(folder / "made")) == 10
        assert all(one.status in (0, 2) for one in said.values())


# ------------------------------------------------------------------------------- odd files and names


READERS = {
    "a game": (
        "record -n 1 --agent expert --games {place}/task/trial -o {place}/made",
        "task/trial/game.tw-pddl",
    ),
    "a dataset": ("dataset info {place}/data", "data/meta.json"),
    "a shard": ("dataset verify --files-only {place}/data", "data/shard-00000.parquet"),
    "a journal": ("dataset info {place}/data", "data/journal-00001.jsonl"),
    "a configuration": ("eval --agent {place}/agent -n 1 --split generated", "agent/policy/config.json"),
    "a tokenizer": ("eval --agent {place}/agent -n 1 --split generated", "agent/policy/tokenizer.json"),
    "weights": ("eval --agent {place}/agent -n 1 --split generated", "agent/policy/model.safetensors"),
    "a suite": ("bench --suite {place}/odd.toml -o {place}/made", "odd.toml"),
    "problems": ("record -n 1 --env OREO-GSM8K --games {place} -o {place}/made", "train.jsonl"),
    "imported": ("dataset import {place}/odd.jsonl --format eto -o {place}/made", "odd.jsonl"),
    "an archive": ("record -n 1 --games {place}/odd.zip -o {place}/made", "odd.zip"),
}


@pytest.mark.parametrize("odd", ["pipe", "zero"])
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_never_ends_is_refused(commands, material, tmp_path, name, odd):
    from oreo_agents.models.model_files import SHIPPED

    command, file = READERS[name]
    place = tmp_path / "place"
    shutil.copytree(material / "one", place / "data")
    shutil.copytree(SHIPPED["small"], place / "agent")
    file = place / file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    os.mkfifo(file) if odd == "pipe" else file.symlink_to("/dev/zero")
    limits = {"RLIMIT_AS": 12 << 30}
    commands.run(place, *command.format(place=place).split(), timeout=60, limits=limits).require_refused()


def test_names_that_are_not_utf8_are_played_and_kept(commands, material, tmp_path):
    place = tmp_path / "place"
    games = os.fsencode(place) + b"/g\xff/task-\xfe/trial"
    os.makedirs(games)
    game = next((material / "games").rglob("game.tw-pddl"))
    shutil.copy(game, os.fsdecode(games + b"/game.tw-pddl"))
    commands.run(
        place, "record", "--games", os.fsdecode(os.fsencode(place)), "-n", "1", "-o", "made"
    ).require_done()
    (kept,) = load_trajectories(place / "made")
    assert kept.game == r"task-\xfe/trial"
    commands.run(place, "dataset", "verify", "made").require_done()


def test_escape_codes_of_paths_are_shown_not_obeyed(commands, material, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    for command in (
        ("record", "--agent", "expert", "--split", "generated", "-n", "1", "-o", "a\x1b[31m"),
        ("dataset", "merge", material / "one", "-o", "b\x1b]0;x\x07"),
        ("dataset", "export", material / "one", "-o", "c\x1b[2J.jsonl"),
        ("dataset", "verify", "--files-only", "a\x1b[31m"),
        ("data", "generate", "--count", "1", "-o", "d\x1b[31m"),
    ):
        outcome = commands.run(place, *command).require_done()
        assert "\x1b" not in outcome.out + outcome.err and "\\x1b" in outcome.out


def test_ctrl_c_at_any_moment_is_one_word(commands, inputs, tmp_path):  # noqa: F811
    chance = random.Random(0)
    folder = tmp_path / "place"
    for name in ("record", "train") if LONG else ("record",):
        for number in range(10 if LONG else 2):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            command = split_command(name, inputs)
            outcome = commands.run(folder, *command, stop_after=chance.uniform(0.05, 1.5)).require_clean()
            assert outcome.status in (0, 130), (number, outcome)
            assert outcome.status == 0 or "interrupted" in outcome.err


def test_a_damaged_result_names_its_remedy(tmp_path):
    from oreo_agents.experiments.verdicts import Judgement

    (tmp_path / "result.json").write_text('{"results": [')
    with pytest.raises(OreoError, match=r"result\.json is damaged .*delete"):
        Judgement.read(tmp_path)
