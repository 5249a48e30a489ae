"""Generated games: playable, solvable, reproducible, and distributed as the real ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import mean

import pytest
import shared_data
from oreo_envs.alfworld.game import TASK_TYPES, Game
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.generator.draw import SENTENCES, hosted_task_types
from oreo_envs.alfworld.generator.games import GeneratedGames, Recipe, generate_game
from oreo_envs.alfworld.rooms import ROOM_KINDS, load_rooms
from oreo_envs.alfworld.world import World
from oreo_envs.errors import DataNotFoundError, OreoError

TRAIN = shared_data.ALFWORLD / "train.tar.xz"
SPLITS = ("generated", "generated_unseen")


@cache
def sample(split: str) -> list[Game]:
    return [Recipe(split).game(index) for index in range(300)]


def room_of(name: str) -> int:
    return int(name.partition("/")[0].rpartition("-")[2])


# ---------------------------------------------------------------- solvable


@pytest.mark.parametrize("split", SPLITS)
def test_every_walkthrough_wins_at_its_last_command(split: str) -> None:
    for game in sample(split):
        world = World(game)
        assert not world.won
        for command in game.walkthrough:
            assert not world.won, game.name
            world.step(command)
            assert world.action_status == "ok", (game.name, command)
        assert world.won, game.name


@pytest.mark.parametrize("index", [1, 4])
def test_textworld_loads_them_and_agrees(index: int) -> None:
    backend = pytest.importorskip("oreo_envs.alfworld.textworld_backend")
    recipe = Recipe("generated_unseen")
    game, reference = recipe.game(index), backend.TextWorldWorld()
    reference.load(recipe.text(index), game.name)
    world = World(game)
    assert reference.reset() == world.reset()
    for command in ("look", *game.walkthrough):
        assert reference.step(command) == world.step(command)
        assert reference.admissible_commands() == world.admissible_commands()
        assert reference.won == world.won
    assert reference.won


# ---------------------------------------------------------------- reproducible


def test_same_index_same_game_in_another_process() -> None:
    code = "from oreo_envs.alfworld.generator.games import generate_game as g; print(g(11), end='')"
    environment = os.environ | {"PYTHONHASHSEED": "123"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert other.stdout == generate_game(11)
    assert generate_game(11) == GeneratedGames().text(11) == Recipe().text(11)
    assert len({generate_game(11), generate_game(12), Recipe(seed=1).text(11)}) == 3


def test_text_and_game_are_the_same_game() -> None:
    for index in range(20):
        recipe = Recipe("generated_unseen", seed=3)
        parsed, made = parse_game(recipe.text(index), recipe.name(index)), recipe.game(index)
        assert (parsed.name, parsed.task, parsed.walkthrough) == (made.name, made.task, made.walkthrough)
        assert (parsed.start, parsed.goal, parsed.receptacles) == (made.start, made.goal, made.receptacles)


def test_file_has_the_keys_of_a_real_one() -> None:
    text = json.loads(generate_game(0))
    assert list(text) == ["pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"]
    assert text["solvable"] is True and "@" not in text["grammar"]


# ---------------------------------------------------------------- as asked


def test_task_types_come_in_equal_shares_and_no_fixed_order() -> None:
    recipe = Recipe()
    blocks = [[recipe.name(i).partition("-")[0] for i in range(b, b + 6)] for b in range(0, 60, 6)]
    assert all(sorted(block) == sorted(TASK_TYPES) for block in blocks)
    assert len({tuple(block) for block in blocks}) > 5


def test_training_and_unseen_rooms_are_disjoint() -> None:
    used = [{room_of(game.name) for game in sample(split)} for split in SPLITS]
    assert not used[0] & used[1]
    groups = {(room.group, room.kind): 0 for room in load_rooms()}
    for room in load_rooms():
        groups[room.group, room.kind] += 1
    assert all(groups["train", kind] == 24 and groups["unseen", kind] == 6 for kind in ROOM_KINDS)


def test_rooms_that_alfworld_keeps_for_valid_unseen_are_never_trained_in() -> None:
    assert {room.group for room in load_rooms() if room.number in (10, 219, 308, 424)} == {"unseen"}


def test_all_wordings_of_the_tasks_occur() -> None:
    for task_type, wordings in SENTENCES.items():
        starts = {wording.partition("{")[0] for wording in wordings}
        tasks = [game.task for game in sample("generated") if game.task_type == task_type]
        assert {start for start in starts for task in tasks if task.startswith(start)} == starts


@pytest.mark.parametrize("kind", ROOM_KINDS)
def test_room_kinds_can_be_chosen(kind: str) -> None:
    recipe = Recipe(task_types=hosted_task_types("generated", (kind,)), room_kinds=(kind,))
    number = ROOM_KINDS.index(kind)
    hundreds = 0 if number == 0 else number + 1
    assert {room_of(recipe.name(index)) // 100 for index in range(20)} == {hundreds}


def test_difficulty_changes_how_many_targets_there_are_and_whether_they_are_shut_away() -> None:
    def shares(difficulty: str) -> tuple[float, float]:
        games = [Recipe(difficulty=difficulty).game(index) for index in range(60)]  # type: ignore[arg-type]
        return mean(game.goal.objects.bit_count() for game in games), mean(map(target_shut_away, games))

    easy, normal, hard = shares("easy"), shares("normal"), shares("hard")
    assert easy[0] > normal[0] > hard[0]
    assert easy[1] < normal[1] < hard[1]


def test_unknown_wishes_are_refused() -> None:
    for wish in ({"split": "x"}, {"difficulty": "x"}, {"room_kinds": ("x",)}, {"task_types": ()}):
        with pytest.raises(OreoError, match="choose from"):
            Recipe(**wish)  # type: ignore[arg-type]


# ---------------------------------------------------------------- a sequence of games


def test_sequence_positions_names_and_slices() -> None:
    games = GeneratedGames("generated_unseen")
    assert games[-1].name == games.names[999_999] == games.names[-1]
    assert games.index(games.names[40]) == games.index(games[40]) == games.index(40) == 40
    part = games[10:30:5]
    assert [game.name for game in part] == [games.names[i] for i in (10, 15, 20, 25)]
    assert part.index(games.names[20]) == 2
    for stranger in ("pick/trial_g000040", "nonsense", games.names[11] + "0", 10**7, None):
        with pytest.raises(DataNotFoundError, match="no game"):
            games.index(stranger)
    with pytest.raises(DataNotFoundError):
        part.index(games.names[11])
    with pytest.raises(IndexError):
        games[1_000_000]


def test_games_kept_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GeneratedGames, "KEPT", 8)
    games = GeneratedGames()
    first = games[0]
    assert games[0] is first
    for index in range(20):
        games[index]
    assert len(games._kept) <= 8
    assert games[0].name == first.name


# ---------------------------------------------------------------- distributed as the real ones


@cache
def real_games() -> list[Game]:
    chosen = set(random.Random(0).sample(range(3553), 350))
    games = []
    with tarfile.open(TRAIN) as archive:
        members = (member for member in archive if member.isfile())
        for number, member in enumerate(members):
            if number in chosen:
                content = archive.extractfile(member)
                assert content is not None
                games.append(parse_game(content.read(), "/".join(Path(member.name).parts[-3:-1])))
    return games


def in_containers(game: Game) -> tuple[int, int]:
    """Masks of the objects in any receptacle, and in those that open."""
    anywhere = shut = 0
    for receptacle, inside in zip(game.receptacles, game.start.inside, strict=True):
        anywhere |= inside
        shut |= inside if receptacle.openable else 0
    return anywhere, shut


def target_shut_away(game: Game) -> float:
    return (game.goal.objects & in_containers(game)[1]).bit_count() / game.goal.objects.bit_count()


FEATURES = {
    "receptacles": (lambda game: len(game.receptacles), 0.15),
    "places to stand": (lambda game: len({r.location for r in game.receptacles}), 0.15),
    "doors": (lambda game: sum(r.openable for r in game.receptacles), 0.25),
    "objects": (lambda game: len(game.objects), 0.1),
    "objects in receptacles": (lambda game: in_containers(game)[0].bit_count(), 0.15),
    "kinds of objects": (lambda game: len({o.type for o in game.objects}), 0.1),
    "empty receptacles": (lambda game: game.start.inside.count(0), 0.25),
    "targets": (lambda game: game.goal.objects.bit_count(), 0.2),
}


@pytest.mark.skipif(not TRAIN.exists(), reason="the real train split is not here")
@pytest.mark.parametrize("hundreds", [0, 2, 3, 4])
def test_rooms_are_furnished_like_the_real_ones(hundreds: int) -> None:
    real = [game for game in real_games() if room_of(game.name) // 100 == hundreds]
    made = [game for game in sample("generated") if room_of(game.name) // 100 == hundreds]
    for feature, (measure, tolerance) in FEATURES.items():
        assert mean(map(measure, made)) == pytest.approx(mean(map(measure, real)), rel=tolerance), feature
    shut = [
        mean(in_containers(g)[1].bit_count() / in_containers(g)[0].bit_count() for g in gs)
        for gs in (real, made)
    ]
    assert shut[1] == pytest.approx(shut[0], abs=0.05)


@pytest.mark.skipif(not TRAIN.exists(), reason="the real train split is not here")
def test_expert_length_and_hidden_targets_are_as_in_the_real_games() -> None:
    for task_type in TASK_TYPES:
        real, made = (
            [game for game in games if game.task_type == task_type]
            for games in (real_games(), sample("generated"))
        )
        assert mean(len(g.walkthrough) for g in made) == pytest.approx(
            mean(len(g.walkthrough) for g in real), abs=0.4
        )
    hidden = [mean(map(target_shut_away, games)) for games in (real_games(), sample("generated"))]
    assert hidden[1] == pytest.approx(hidden[0], abs=0.1)


@pytest.mark.skipif(not TRAIN.exists(), reason="the real train split is not here")
def test_goals_are_real_goals() -> None:
    def goals(games: list[Game]) -> Counter[str]:
        return Counter(game.name.rpartition("-")[0] for game in games)

    common = [goal for goal, n in goals(real_games()).most_common(10) if n >= 3]
    many = goals([Recipe().game(index) for index in range(600)])
    assert sum(many[goal] for goal in common) > 10
