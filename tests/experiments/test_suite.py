"""Suites that are read, and suites that are refused with the place and the remedy."""

import copy
from collections import Counter

import gymnasium as gym
import pytest
import text_environments  # noqa: F401 (registers them)

from oreo_agents.dataset import TrajectoryWriter, load_trajectories
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.suite_file import list_suites, load_suite, parse_suite
from oreo_agents.rollout.wrapper import RecordTrajectories
from oreo_agents.training.options import known_as

BASE = {
    "train": {"split": "train"},
    "dev": {"split": "train", "rooms": ["8"]},
    "test": {"rooms": {"split": "train", "rooms": ["11", "17"]}},
    "methods": {
        "sft": {},
        "rejection": {},
        "oreo": {"beta": 0.05},
        "shared": {"method": "oreo", "critic": "shared"},
    },
}


def changed(**tables):
    suite = copy.deepcopy(BASE)
    for name, table in tables.items():
        suite[name] = {**suite[name], **table} if isinstance(suite.get(name), dict) else table
    return suite


def test_the_suites_that_come_with_the_package_can_be_read():
    assert set(list_suites()) == {
        "smoke",
        "habits",
        "countdown",
        "jugs",
        "shortest_path",
        "sokoban",
        "alfworld-small",
        "alfworld-generated",
        "alfworld-paper",
        "alfworld-thoughts",
        "math-procedural",
        "gsm8k",
        "math500",
        "small-agent",
        "textworld-cooking",
        "whole-path",
        "whole-path-real",
        "whole-path-math",
    }
    for name in list_suites():
        suite = load_suite(name)
        assert suite.name == name and suite.summary and {"sft", "rejection", "oreo"} <= set(suite.methods)
        puzzles = suite.environment in ("OREO-Habits", "OREO-Puzzles")
        assert suite.demonstrations.agent == ("demonstrator" if puzzles else "expert")


def test_the_papers_protocol_is_played_in_the_papers_wording():
    suite = load_suite("alfworld-paper")
    assert {games.options["wording"] for games in (suite.train, *suite.tests.values())} == {"put"}


def test_rooms_to_judge_on_are_left_out_of_training():
    assert parse_suite(BASE, "s").left_out() == ("11", "17", "8")
    apart = parse_suite(
        changed(train={"split": "generated"}, test={"rooms": {"split": "train", "rooms": ["11"]}}), "s"
    )
    assert apart.left_out() == ()


def test_a_method_has_the_common_options_and_its_own():
    suite = parse_suite(changed(training={"epochs": 2, "critic_warmup": 0.25, "beta": 0.1}), "s")
    assert suite.options_of(suite.methods["oreo"]) == {"epochs": 2, "critic_warmup": 0.25, "beta": 0.05}
    assert suite.options_of(suite.methods["rejection"]) == {"epochs": 2}  # no critic, no soft return
    assert known_as({"epochs": 2, "beta": 0.1}) == {"num_train_epochs": 2, "beta": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rollout": {}}, r"suite s has no key 'rollout'.*rollouts"),
        ({"rollouts": {"pergame": 5}}, r"\[rollouts\] has no key 'pergame'.*per_game"),
        ({"seeds": [0, 1, 0]}, r"seeds \[0, 1, 0\] would count the same runs twice"),
        ({"seeds": "all"}, r"seeds = 'all' is of the wrong type"),
        ({"rollouts": {"per_game": True}}, r"per_game = True is of the wrong type"),
        ({"search": {"ks": [0, 5]}}, "at least 1"),
        ({"search": {"selects": ["best-of-k"]}}, r"no search 'best-of-k'.*best_of_k"),
        ({"search": {"critic_from": "rejection"}}, "rejection has no critic of its own"),
        ({"search": {"critic_from": "shared"}}, "shared has no critic of its own"),
        ({"methods": {"oro": {}}}, r"\[methods.oro\]: there is no method 'oro'.*oreo"),
        ({"methods": {"oreo": {"learning_rat": 1}}}, "OreoConfig has no option 'learning_rat'"),
        ({"methods": {"sft": {"learning_rate": 1}}}, "sft takes no options"),
        ({"methods": {"dpo": {"critic_warmup": 1}}}, r"\[methods.dpo\]: dpo makes no use of critic_warmup"),
        ({"sft": {"alpha": 1, "beta": 1}}, r"\[sft\]: .* makes no use of alpha, beta"),
        ({"sweep": {"trials": {"rejection": [{"beta": 1}]}}}, r"rejection: rejection makes no use of beta"),
        ({"methods": {"again": {"method": "iterate", "of": "nothing"}}}, "no method of the suite: 'nothing'"),
        ({"methods": {"again": {"method": "iterate", "of": "sft"}}}, "sft cannot be repeated"),
        ({"test": {"train": {"split": "valid_train"}}}, "valid_train is a part of the training games"),
        ({"test": {"all": {"split": "train"}}}, "trained on"),
        (
            {"train": {"options": {"wording": "puts"}}},
            r"\[train\]: OREO-ALFWorld .* wording 'puts': choose move or put",
        ),
        ({"test": {"seen": {"split": "seen"}}}, r"\[test.seen\]: there is no split 'seen'.*valid_seen"),
        ({"test": {"rooms": {"split": "train", "rooms": ["8"]}}}, "rooms 8 are in .dev. and in a test"),
        ({"dev": {"split": "valid_seen", "rooms": []}, "test": {"a": {"split": "valid_seen"}}}, "judge them"),
        ({"sweep": {"trials": {"oreo": [{"beta": 1}, {"beta": 2}], "rejection": [{}]}}}, "as many trials"),
        ({"sweep": {"trials": {"sft": [{}]}}}, "sft is not trained"),
        ({"sweep": {"trials": {"oreo": [{"betta": 1}]}}}, "no option 'betta'"),
        ({"demonstrations": {"episodes": 0, "generated": 5}}, r"\[demonstrations\] generated"),
        (
            {"demonstrations": {"agent": "guide"}},
            r"nobody called 'guide'; choose one of demonstrator, expert.*record their episodes and give data = PATH",
        ),
        ({"demonstrations": {"data": "runs/x", "episodes": 5}}, "data: all of these episodes are imitated"),
        ({"environment": {"id": "Lift-v0"}}, "is of the wrong type: a text is wanted"),
        ({"seeds": [0.5]}, "is of the wrong type: a list of whole numbers is wanted"),
        ({"demonstrations": {"agent": "demonstrator"}}, "OREO-ALFWorld has no demonstrator; take expert"),
        (
            {"demonstrations": {"agent": "random", "thoughts": True}},
            "random in OREO-ALFWorld has none; leave it out",
        ),
        ({"dtype": "int8"}, "suite s: there is no dtype 'int8'; choose one of bfloat16, float32"),
        ({"training": {"lora": 0}}, r"\[training\]: lora = 0 must be a rank"),
        ({"sft": {"lora": True}}, r"\[sft\]: lora = True must be a rank"),
        ({"methods": {"oreo": {"temperature": 1.0}}}, "of, keep_data and temperature belong to"),
        (
            {"methods": {"oreo": {}, "again": {"method": "iterate", "of": "oreo", "temperature": 0.0}}},
            "temperature is 0.0, it must be above 0",
        ),
        ({"methods": {"oreo": {"keep_data": True}}}, "of, keep_data and temperature belong to"),
        (
            {"environment": "OREO-GSM8K", "train": {"first": 9}, "dev": {"split": "test", "rooms": []}},
            "first: some of the games",
        ),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_suite(changed(**change), "s")


def test_games_are_generated_for_alfworld_alone():
    suite = changed(demonstrations={"generated": 5})
    suite["test"] = {"rooms": {"split": "train", "rooms": ["2", "13"]}}
    assert parse_suite(suite, "s").demonstrations.generated == 5
    suite |= {"environment": "OREO-GSM8K", "test": {"test": {"split": "test"}}}
    suite.pop("dev")
    with pytest.raises(ConfigurationError, match=r"\[demonstrations\] generated"):
        parse_suite(suite, "s")


def test_a_sweep_needs_games_of_its_own():
    suite = changed(sweep={"trials": {"oreo": [{"beta": 1}]}})
    del suite["dev"]
    with pytest.raises(ConfigurationError, match=r"needs \[dev\]"):
        parse_suite(suite, "s")


def test_unknown_suites_and_broken_files(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no suite 'alfworld'; choose .*alfworld-small"):
        load_suite("alfworld")
    broken = tmp_path / "broken.toml"
    broken.write_text("seeds = [0,")
    with pytest.raises(ConfigurationError, match=r"broken.toml is not TOML"):
        load_suite(str(broken))


def test_controls_without_a_critic_and_with_a_borrowed_one_are_rows():
    """Of a tiny suite, planned and not played."""
    from oreo_agents.experiments.arenas import find_arenas
    from oreo_agents.experiments.plan import Plan

    suite = parse_suite(
        {
            "train": {"split": "generated"},
            "test": {"new": {"split": "generated_unseen", "first": 2}},
            "demonstrations": {"episodes": 2},
            "rollouts": {"episodes": 2},
            "seeds": [0],
            "methods": {"random": {}, "sft": {}, "rejection": {}, "oreo": {}},
            "search": {
                **{"ks": [1, 5], "critic_from": "oreo", "methods": ["sft", "oreo"]},
                **{"sample": True, "no_repeat": ["greedy", "best_of_k"], "temperature": 2.0},
            },
        },
        "tiny",
    )
    verdicts = {verdict.label: verdict for verdict in Plan(suite, find_arenas(suite)).verdicts}
    assert list(verdicts) == [
        *("random", "sft", "sft sample", "sft no-repeat-5"),
        *("sft best-of-5, critic of oreo", "sft best-of-5 no-repeat, critic of oreo"),
        *("rejection", "rejection sample", "rejection no-repeat-5"),
        *("oreo", "oreo sample", "oreo no-repeat-5", "oreo best-of-5", "oreo best-of-5 no-repeat"),
    ]
    needs = {label: {stage.name for stage in verdict.stage.needs} for label, verdict in verdicts.items()}
    assert needs["sft no-repeat-5"] == {"seed-0/sft"}
    assert needs["sft best-of-5, critic of oreo"] == {"seed-0/sft", "seed-0/oreo"}
    temperatures = {label: verdict.selection.temperature for label, verdict in verdicts.items()}
    assert (temperatures["sft no-repeat-5"], temperatures["sft sample"]) == (2.0, 1.0)


def test_rollouts_on_so_many_games_without_end():
    """Each comes as often as the episodes allow."""
    from oreo_agents.experiments.arenas import Arena, limit_games
    from oreo_agents.experiments.steps import Plays

    endless = Arena("train", "OREO-TextWorld", {"challenge": "cooking"}, range(1_000_000), "", None)
    drawn = limit_games(endless, 30, 0)
    schedule = Plays(120, 1, 50, 0).options(len(drawn.indices))["schedule"]
    played = Counter(one.game for one in schedule.assign([str(n) for n in endless.indices]))
    assert len(played) == 30 and set(played.values()) == {4}


def test_what_cannot_go_without_repeating_is_refused():
    table = {"test": {"new": {"split": "generated_unseen", "first": 2}}, "methods": {"sft": {}}}
    table |= {"train": {"split": "generated"}, "demonstrations": {"episodes": 2}, "rollouts": {"episodes": 2}}
    for search, complaint in (
        ({"no_repeat": ["lookahead"]}, "no_repeat"),
        ({"no_repeat": ["greedy"], "ks": [1]}, "above 1"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            parse_suite({**table, "search": search}, "tiny")


def given_suite(data, **changes):
    games = {
        "environment": "text_environments:Lift-v0",
        "train": {},
        "test": {"t": {"split": "test", "first": 5}},
    }
    return parse_suite(
        {**games, "demonstrations": {"data": str(data)}, "methods": {"sft": {}}, **changes}, "s"
    )


def test_recorded_episodes_are_imitated_in_the_place_of_a_player(tmp_path):
    """What stages are made from is the episodes: others make them anew, and they alone are imitated."""
    path = tmp_path / "mine"
    with RecordTrajectories(gym.make("Lift-v0"), path, agent="me") as env:
        for seed in (1, 2):
            env.reset(seed=seed)
            env.step("open")
    suite = given_suite(path)
    (first,) = Plan(suite, find_arenas(suite)).demonstrations(0)
    first.work(tmp_path / "stage")
    assert [episode.turns[0].action for episode in load_trajectories(tmp_path / "stage")] == ["open", "open"]
    assert Plan(suite, find_arenas(suite)).demonstrations(1)[0].digest == first.digest
    with RecordTrajectories(gym.make("Lift-v0"), path, agent="me") as env:
        env.reset(seed=3)
        env.step("up")
    plan = Plan(suite, find_arenas(suite))
    assert plan.demonstrations(0)[0].digest != first.digest
    assert plan.sft(0).needs == plan.demonstrations(0)


def test_recorded_episodes_that_cannot_be_imitated_are_refused(tmp_path):
    for seed, env_id, message in (
        (2_000_001, "Lift-v0", r"has episodes of games of \[test.t\] \(1, such as seed 2000001\)"),
        (
            1,
            "Safe-v0",
            "was played in text_environments:Safe-v0, and the suite is of text_environments:Lift-v0",
        ),
    ):
        path = tmp_path / str(seed)
        with RecordTrajectories(gym.make(env_id), path, agent="me") as env:
            env.reset(seed=seed)
            env.step("open")
        suite = given_suite(path)
        with pytest.raises(ConfigurationError, match=message):
            Plan(suite, find_arenas(suite))
    TrajectoryWriter(tmp_path / "none").close()
    with pytest.raises(DatasetError, match="none has no episodes"):
        Plan(given_suite(tmp_path / "none"), find_arenas(suite))


def test_where_nobody_is_an_expert_what_is_proposed_can_be_done(tmp_path):
    suite = given_suite("", demonstrations={"episodes": 2})
    stage = Plan(suite, find_arenas(suite)).demonstrations(0)[0]
    with pytest.raises(
        ConfigurationError,
        match=r"no expert here.*in a suite episodes that you have \(\[demonstrations\] data\)",
    ):
        stage.work(tmp_path / "stage")
