"""Which games are found, and what is printed, is what alfworld's own method finds and prints."""

import json
import shutil
from pathlib import Path

import pytest
from oreo_envs.alfworld.drop_in import collection

pytest.importorskip("textworld")
pytest.importorskip("alfworld")

from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv

SPLITS = {
    "train": "Training with",
    "eval_in_distribution": "Evaluating with",
    "eval_out_of_distribution": "Evaluating with",
}


@pytest.fixture
def folder(trials, tmp_path):
    """Games of many kinds, most of which are left out."""
    root = tmp_path / "games"
    shutil.copytree(trials[0].parents[2], root)
    first, second = (path.relative_to(trials[0].parents[2]).parent for path in trials[:2])

    def add(name, change=None, **trajectory):
        place = root / name / "trial_1"
        shutil.copytree(root / first, place)
        if trajectory:
            (place / "traj_data.json").write_text(json.dumps(trajectory))
        game = place / "game.tw-pddl"
        if change is not None:
            game.write_text(json.dumps(change(json.loads(game.read_text()))))
        return game

    add("pick_and_place_with_movable_recep-Apple-Bowl-Fridge-1")
    add("pick_heat_then_place_in_recep-AppleSliced-None-Fridge-1")
    add("unsolvable", lambda game: game | {"solvable": False})
    add("unknown", lambda game: {key: game[key] for key in game if key != "solvable"})
    add("other", task_type="pick_and_place_with_sword")
    add("lamp", task_type="look_at_obj_in_light")
    add("gone").unlink()
    (root / "deep" / "er").mkdir(parents=True)
    shutil.copytree(root / second, root / "deep" / "er" / "trial_2")
    (root / "traj_data.json").write_text(json.dumps({"task_type": "look_at_obj_in_light"}))
    (root / "linked").symlink_to(root / second, target_is_directory=True)
    return root


def make_env(folder, split="train", task_types=(1, 2, 3, 4, 5, 6), limit=-1):
    env = object.__new__(AlfredTWEnv)
    env.train_eval = split
    paths = dict.fromkeys(collection.DATA_PATHS.values(), str(folder))
    env.config = {
        "env": {"task_types": list(task_types)},
        "dataset": paths | {"num_train_games": limit, "num_eval_games": limit},
    }
    return env


def collect(method, capsys, folder, verbose=False, **options):
    env = make_env(folder, **options)
    method(env, verbose)
    return env.game_files, env.num_games, capsys.readouterr().out


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "options", [{}, {"verbose": True}, {"limit": 2, "verbose": True}, {"task_types": (2, 9)}]
)
def test_games_their_order_and_what_is_printed(folder, capsys, monkeypatch, split, options):
    theirs = collect(AlfredTWEnv.collect_game_files, capsys, folder, split=split, **options)
    for _ in range(2):  # the second time from the index
        assert collect(collection.collect_game_files, capsys, folder, split=split, **options) == theirs
    assert SPLITS[split] in theirs[-1] and theirs[1] > 1 - ("task_types" in options)
    monkeypatch.setenv("GAMES", str(folder))
    assert collect(collection.collect_game_files, capsys, "$GAMES", split=split, **options) == theirs


def test_nothing_is_read_again_but_what_has_changed(folder, capsys, monkeypatch):
    read = []
    original = collection._read_game
    monkeypatch.setattr(collection, "_read_game", lambda *args: read.append(args[1]) or original(*args))
    files, *_ = collect(collection.collect_game_files, capsys, folder)
    assert len(read) > len(files) > 3
    read.clear()
    assert collect(collection.collect_game_files, capsys, folder)[0] == files and read == []
    shutil.rmtree(folder / "lamp")
    game = Path(files[0])
    game.write_text(json.dumps(json.loads(game.read_text()) | {"solvable": False}))
    changed, *_ = collect(collection.collect_game_files, capsys, folder)
    assert read == files[:1]
    assert changed == collect(AlfredTWEnv.collect_game_files, capsys, folder)[0] != files


@pytest.mark.parametrize("content", ["", "[]", '{"deep": 1}', '{"deep": [1]}', "[" * 100_000])
def test_a_damaged_index_is_made_anew(folder, capsys, monkeypatch, tmp_path, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = collect(collection.collect_game_files, capsys, folder)
    [index] = (tmp_path / "cache").rglob("collection/*.json")
    kept = index.read_text()
    index.write_text(content)
    assert collect(collection.collect_game_files, capsys, folder) == found
    assert index.read_text() == kept


def test_a_cache_that_cannot_be_written_only_costs_time(folder, capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert collect(collection.collect_game_files, capsys, folder)[0]


def test_an_empty_pool_is_warned_of(tmp_path, capsys):
    with pytest.warns(UserWarning, match="no game of .* can be played"):
        found = collect(collection.collect_game_files, capsys, tmp_path)
    assert found == collect(AlfredTWEnv.collect_game_files, capsys, tmp_path)


def test_files_that_are_damaged_raise_what_they_raise_in_alfworld(folder, capsys):
    (folder / "unsolvable" / "trial_1" / "game.tw-pddl").write_text("{")
    with pytest.raises(ValueError) as theirs:
        collect(AlfredTWEnv.collect_game_files, capsys, folder)
    with pytest.raises(type(theirs.value)) as ours:
        collect(collection.collect_game_files, capsys, folder)
    assert str(ours.value) == str(theirs.value)
