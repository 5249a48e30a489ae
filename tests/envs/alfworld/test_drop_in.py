"""Programs for alfworld and TextWorld see on the drop-in what they see on TextWorld, and uninstalled it is gone."""

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import drop_in_parity as parity
import pytest
import shared_data
from oreo_envs.alfworld import drop_in
from oreo_envs.alfworld.drop_in.usage import USAGE
from oreo_envs.alfworld.generator.games import GeneratedGames

textworld = pytest.importorskip("textworld")
pytest.importorskip("textworld.gym")
environment = pytest.importorskip("alfworld.agents.environment")

from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos, AlfredTWEnv  # noqa: E402
from textworld.envs.batch import AsyncBatchEnv  # noqa: E402
from textworld.envs.pddl import PddlEnv  # noqa: E402
from textworld.envs.wrappers import Filter, Limit  # noqa: E402
from textworld.gym.envs import textworld_batch  # noqa: E402

BENCHMARKS = Path(parity.__file__).parent
ASKED = {"won": True, "admissible_commands": True, "extras": ["gamefile"]}


@pytest.fixture
def native():
    with drop_in.installed():
        yield


def start(path, **infos):
    wrappers = [Filter, AlfredDemangler()]
    return textworld.start(str(path), textworld.EnvInfos(**ASKED | infos), wrappers=wrappers)


def open_pool(paths, size):
    infos, wrappers = textworld.EnvInfos(**ASKED), [AlfredDemangler(), AlfredInfos]
    name = textworld.gym.register_games(list(map(str, paths)), infos, batch_size=size, wrappers=wrappers)
    return textworld.gym.make(name)


# ---------------------------------------------------------------- against TextWorld


def compare(tmp_path, games, *options):
    """The rows of drop_in_parity.py, TextWorld without its repeated work."""
    command = [sys.executable, str(BENCHMARKS / "drop_in_parity.py"), "--games", *map(str, games), "--quick"]
    command += ["--output", str(tmp_path / "found.json"), *options]
    path = os.pathsep.join([str(BENCHMARKS), *sys.path])
    subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True)
    return json.loads((tmp_path / "found.json").read_text())["ways"]


def check(ways):
    assert {name: row["first_difference"] for name, row in ways.items()} == dict.fromkeys(ways)
    assert all(row["games"] and row["states"] > row["games"] for row in ways.values())


def test_every_way_in_shows_the_same_on_a_generated_game(tmp_path, trials):
    ways = [name for name in parity.WAYS if name not in ("batch of 32", "dagger", "planner")]
    found = compare(tmp_path, [trials[3].parent], "--count", "1", "--steps", "9", "--ways", *ways)
    assert list(found) == ways
    check(found)


@pytest.mark.parametrize("archive", ["valid_seen.tar.xz", "put_grammar_valid_seen.tar.xz"])
def test_so_it_does_on_real_games(tmp_path, archive):
    games = shared_data.ALFWORLD / archive
    if not games.exists():
        pytest.skip(f"the real games are not here: {games}")
    ways = ["get_environment", "no demangler", "expert", "shuffled names", "random"]
    check(compare(tmp_path, [games], "--count", "1", "--random", "3", "--steps", "15", "--ways", *ways))


def test_a_difference_is_found_and_told(trials, monkeypatch):
    monkeypatch.setattr("oreo_envs.alfworld.text.NOT_CARRYING", "Your hands are empty.")
    scene = parity.Scene([trials[3]], trials[3].parents[2])
    ours, other = (parity.Scene(**vars(scene) | {"seen": [], "played": []}) for _ in range(2))
    with drop_in.installed():
        parity.watch(parity.enter_by_start, ours)
        monkeypatch.undo()
        parity.watch(parity.enter_by_start, other)
    unlike = [pair for pair in zip(ours.seen, other.seen, strict=True) if pair[0] != pair[1]]
    assert "Your hands are empty." in parity.find_difference(*unlike[0])


@pytest.fixture
def dead_end(tmp_path, monkeypatch):
    """A game whose teddybear fits nowhere again, and random play that takes it and then looks around."""
    [path] = parity.write_trials(GeneratedGames("generated"), [35], tmp_path)
    commands = iter(["go to bed 1", "take teddybear 1 from bed 1", "look"])
    monkeypatch.setattr(parity.CommandSource, "next", lambda self, admissible: next(commands))
    return str(path)


def test_at_a_dead_end_no_plan_is_told_and_textworlds_planner_has_none(dead_end):
    row = parity.compare_random((dead_end, 0, 3, 0))
    assert row["dead_end"] and row["states"] == 4
    assert row["first_difference"] is None


def test_a_plan_that_is_missing_is_a_difference(dead_end, monkeypatch):
    monkeypatch.setattr("oreo_envs.alfworld.drop_in.play.shortest_plan", lambda world: [])
    row = parity.compare_random((dead_end, 0, 3, 0))
    assert "state 1: no plan is told, but TextWorld has one: ['go to desk" in row["first_difference"]
    assert row["differences"] == 1


def test_a_difference_is_told_without_the_folder_of_the_games(trials, monkeypatch):
    def differ(games, *_):
        return {"first_difference": f"{games[0]} (raw), state 1"}

    monkeypatch.setattr(parity, "compare_randoms", differ)
    options = argparse.Namespace(
        ways=["random"],
        again=False,
        games=[str(trials[3].parent)],
        count=1,
        random=1,
        steps=1,
        seed=0,
        jobs=1,
    )
    [(_, row)] = parity.run_ways(options, {})
    assert row["first_difference"].startswith(f"random/{trials[3].parent.name}/")


def test_the_trials_of_these_tests_say_what_alfworlds_do():
    trial = parity.describe_trial("look_at_obj_in_light-Bowl-None-DeskLamp-301/trial_T1")
    assert trial["pddl_params"]["toggle_target"] == "DeskLamp"
    sliced = parity.describe_trial("pick_heat_then_place_in_recep-AppleSliced-None-Fridge-9/trial_T2")
    assert sliced["pddl_params"] == {
        "object_target": "Apple",
        "object_sliced": True,
        "mrecep_target": "",
        "parent_target": "Fridge",
        "toggle_target": "",
    }


# ---------------------------------------------------------------- coming and going

OWN = {
    "engine": (textworld.envs, "PddlEnv"),
    "batch": (textworld_batch, "AsyncBatchEnv"),
    "limit": (textworld_batch, "Limit"),
    "register": (textworld.gym, "register_games"),
    "register within": (textworld.gym.utils, "register_games"),
    "collection": (AlfredTWEnv, "collect_game_files"),
    "names": (environment, "__getattr__"),
}
COME_AND_GO = """
import sys
from oreo_envs.alfworld import drop_in

drop_in.install()
assert "textworld" not in sys.modules and "alfworld" not in sys.modules
import textworld.gym
import alfworld.agents.environment as environment
from textworld.gym.envs import textworld_batch
kind = environment.AlfredTWEnv
found = [textworld.envs.PddlEnv, textworld_batch.AsyncBatchEnv, textworld_batch.Limit, kind.collect_game_files]
assert all(one.__module__.startswith("oreo_envs.") for one in found), found
drop_in.uninstall()
import textworld.envs.batch, textworld.envs.pddl, textworld.envs.wrappers
assert textworld.envs.PddlEnv is textworld.envs.pddl.PddlEnv
assert textworld_batch.AsyncBatchEnv is textworld.envs.batch.AsyncBatchEnv
assert textworld_batch.Limit is textworld.envs.wrappers.Limit
assert kind.collect_game_files.__module__ == kind.__module__
assert textworld.gym.register_games is textworld.gym.utils.register_games
assert not hasattr(textworld.gym.register_games, "__wrapped__")
assert not hasattr(environment, "AlfredTWEnv")
assert not any(type(finder).__module__.startswith("oreo_envs") for finder in sys.meta_path)
"""


def test_what_is_put_in_is_taken_out():
    finders = list(sys.meta_path)
    own = {name: vars(owner).get(attribute) for name, (owner, attribute) in OWN.items()}
    assert own["engine"] is PddlEnv and own["batch"] is AsyncBatchEnv and own["limit"] is Limit
    for _ in range(2):
        with drop_in.installed():
            drop_in.install()  # again: no harm
            changed = {name: vars(owner).get(attribute) for name, (owner, attribute) in OWN.items()}
            assert [name for name in OWN if changed[name] is own[name]] == []
            assert environment.AlfredTWEnv is AlfredTWEnv
        assert {name: vars(owner).get(attribute) for name, (owner, attribute) in OWN.items()} == own
        assert "__getattr__" not in vars(environment) and sys.meta_path == finders
    with pytest.raises(AttributeError):
        environment.AlfredTWEnv  # noqa: B018 (alfworld since 0.4)


def test_it_can_be_there_before_what_it_changes():
    command = [sys.executable, "-c", COME_AND_GO]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=True)


def test_games_of_textworlds_own_are_textworlds(native, tmp_path):
    options = textworld.GameOptions()
    options.seeds, options.quest_length = 1, 1
    game = textworld.generator.make_game(options)
    game.save(str(tmp_path / "game.json"))
    [command] = game.walkthrough
    assert textworld.envs._guess_backend("game.z8") is textworld.envs.JerichoEnv
    name = textworld.gym.register_games(
        [str(tmp_path / "game.json")], textworld.EnvInfos(won=True), batch_size=2
    )
    env = textworld.gym.make(name)
    env.reset()
    assert type(env.batch_env._processes) is AsyncBatchEnv
    _, scores, dones, infos = env.step([command, "look"])
    assert (scores, dones, infos["won"]) == ((1, 0), (True, False), [True, False])
    env.close()


# ---------------------------------------------------------------- games that are not played natively


def rewrite(path, folder, **changes):
    data = json.loads(path.read_text())
    other = folder / "other-Mug-None-Shelf-1" / "trial" / "game.tw-pddl"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(data | {key: change(data[key]) for key, change in changes.items()}))
    return other


def test_another_grammar_is_played_by_textworld_counted_and_said_once(trials, tmp_path, monkeypatch):
    monkeypatch.setattr(USAGE, "_said", set())
    game = rewrite(trials[3], tmp_path, grammar=lambda text: text.replace("You arrive at", "You walk up to"))
    before = USAGE.counts.handed_over
    with drop_in.installed(), pytest.warns(UserWarning, match="grammar is none of ALFWorld's") as said:
        for _ in range(2):
            env = start(game)
        _, infos = env.reset()
        command = next(one for one in infos["admissible_commands"] if one.startswith("go to "))
        assert env.step(command)[0].startswith("You walk up to")
    assert ["TextWorld's own engine" in str(one.message) for one in said].count(True) == 1
    assert USAGE.counts.handed_over == before + 2


DAMAGES = {
    "cut off": (lambda text: text[: len(text) // 2], "may be truncated"),
    "no domain": (lambda text: json.dumps(json.loads(text) | {"pddl_domain": None}), "pddl_domain"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_raises_what_textworld_raises_with_our_sentence(trials, tmp_path, damage):
    change, sentence = DAMAGES[damage]
    game = tmp_path / "game.tw-pddl"
    game.write_text(change(trials[3].read_text()))
    with pytest.raises(Exception) as theirs:
        start(game)
    with drop_in.installed():
        with pytest.raises(type(theirs.value)) as ours:
            start(game)
        with pytest.raises(type(theirs.value)):
            open_pool([game], 1).reset()
    assert str(ours.value) == str(theirs.value)
    [note] = ours.value.__notes__
    assert sentence in note and "game.tw-pddl" in note


def test_a_missing_file_is_missing_as_before(native, tmp_path):
    for begin in (start, lambda path: open_pool([path], 1).reset()):
        with pytest.raises(OSError, match="Unable to find game"):
            begin(tmp_path / "game.tw-pddl")


class Counting(textworld.core.Wrapper):
    """Counts the commands of one game, and may hold what cannot be copied."""

    def __init__(self, held=None):
        super().__init__()
        self.count, self.held = 0, held

    def step(self, command):
        self.count += 1
        state, score, done = super().step(command)
        state["extra.count"] = self.count
        return state, score, done


@pytest.mark.parametrize("held", [None, threading.Lock()], ids=["copied", "in processes"])
def test_each_game_of_a_batch_has_wrappers_of_its_own(native, trials, held):
    infos = textworld.EnvInfos(won=True, extras=["count"])
    wrappers = [AlfredDemangler(), Counting(held)]
    name = textworld.gym.register_games(list(map(str, trials)), infos, batch_size=2, wrappers=wrappers)
    env = textworld.gym.make(name)
    handed_over = USAGE.counts.handed_over
    assert env.reset()[1]["extra.count"] == [None, None]
    assert env.step(["look", "look"])[-1]["extra.count"] == [1, 1]
    assert env.step(["look", "look"])[-1]["extra.count"] == [2, 2]
    assert (env.batch_env._processes is None) == (held is None)
    assert wrappers[1].count == 0 and USAGE.counts.handed_over == handed_over
    env.close()


# ---------------------------------------------------------------- beyond TextWorld


def test_threads_need_no_lock(trials, native):
    def play(path, seen):
        scene = parity.Scene([path], path.parents[2], 15)
        for size in (1, 2):
            maker = object.__new__(AlfredTWEnv)
            maker.config, maker.train_eval = parity.make_config(scene), "eval_in_distribution"
            maker.game_files = [str(path)]
            parity.play_batches(scene, maker.init_env(size), size, 2)
        seen.append((str(path), scene.seen))

    alone, together = [], []
    games = [trials[number % len(trials)] for number in range(16)]
    for path in games:
        play(path, alone)
    threads = [threading.Thread(target=play, args=(path, together)) for path in games]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert len(together) == 16
    assert sorted(together, key=lambda one: one[0]) == sorted(alone, key=lambda one: one[0])


MEMORY = """
import os, sys
from pathlib import Path
import textworld.gym
from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos
from oreo_envs.alfworld import drop_in

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

drop_in.install()
infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
wrappers = [AlfredDemangler(), AlfredInfos]
sizes = []
for number in range(2001):
    if number % 50 == 0:
        name = textworld.gym.register_games(sys.argv[1:], infos, batch_size=2, wrappers=wrappers)
        env = textworld.gym.make(name)
    env.reset()
    env.step(["look"] * 2)
    if number % 500 == 0:
        sizes.append(resident())
print(sizes[-1] - sizes[1])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat(trials):
    command = [sys.executable, "-c", MEMORY, *map(str, trials)]
    kept = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=kept, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 4  # MB; alfworld's own 30 batches of two alone would take 280


def test_games_are_shown_in_another_wording(trials):
    with drop_in.installed(wording="put"):
        env = open_pool(trials, 2)
        seen = [env.reset()]
        for number in range(40):
            commands = [offered[number % len(offered)] for offered in seen[-1][-1]["admissible_commands"]]
            seen.append(env.step(commands))
        offered = {one for result in seen for known in result[-1]["admissible_commands"] for one in known}
        assert "help" not in offered and not any(one.startswith("move ") for one in offered)
        assert any(said.startswith("You arrive at loc ") for result in seen[1:] for said in result[0])
    with drop_in.installed():
        assert "help" in open_pool(trials, 1).reset()[1]["admissible_commands"][0]
    with pytest.raises(ValueError, match="neither 'put' nor 'move'"):
        drop_in.install(wording="old")


def test_plans_are_said_to_be_our_own_once(trials, native, monkeypatch):
    monkeypatch.setattr(USAGE, "_said", set())
    with pytest.warns(UserWarning, match="policy_commands") as said:
        env = start(trials[3], policy_commands=True)
        _, infos = env.reset()
        for command in infos["policy_commands"]:
            *_, done, infos = env.step(command)
    assert done and infos["won"] and infos["policy_commands"] == []
    assert ["policy_commands" in str(one.message) for one in said].count(True) == 1
