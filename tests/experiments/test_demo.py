"""The demo, made smaller: what it leaves, what a second run reuses, and that the equal suite is the same work."""

import json
from dataclasses import replace

import pytest
from oreo_envs.alfworld.games import room_of
from oreo_envs.errors import DataNotFoundError

from oreo_agents import load_trajectories
from oreo_agents.cli import main
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.results import CLOCKS
from oreo_agents.experiments import suite_file
from oreo_agents.experiments.arenas import find_arenas
from oreo_agents.experiments.demo import choose_suite, shape_suite
from oreo_agents.experiments.plan import Plan
from oreo_agents.experiments.stages import Stages
from oreo_agents.experiments.suite import Demonstrations, Rollouts
from oreo_agents.experiments.suite_file import load_suite
from oreo_agents.models.model_files import SHIPPED

TINY = f"""
base = "whole-path"
model = "{SHIPPED["small"]}"
step_limits = [12]
slots = 8

[demonstrations]
episodes = 4
epsilon = 0.15
[sft]
learning_rate = 1e-5
[rollouts]
episodes = 8
patience = 4
temperature = 1.9
[training]
epochs = 0.5
batch_size = 2
learning_rate = 1e-4
critic_learning_rate = 1e-3
[search]
ks = [1, 2]
"""
"""From an agent that can win; sampled a little wildly it also loses."""

GAMES = "3"


@pytest.fixture(scope="module")
def suites(tmp_path_factory):
    """A folder of suites in which ``whole-path`` is tiny."""
    folder = tmp_path_factory.mktemp("suites")
    (original,) = [path for path in suite_file.FOLDERS if (path / "whole-path.toml").is_file()][-1:]
    (folder / "whole-path.toml").write_text(TINY.replace('"whole-path"', f'"{original / "whole-path.toml"}"'))
    return folder


def run(suites, output):
    """``oreo-agents demo``, with the suites of another folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(suite_file, "FOLDERS", (suites,))
        assert main(["demo", "--episodes", GAMES, "-o", str(output), "--jobs", "1"]) == 0
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(suites, tmp_path_factory):
    """One run of the command, in a folder where an earlier version has put its stages side by side."""
    output = tmp_path_factory.mktemp("demo")
    for name in ("sft", "oreo", "episodes"):
        (output / name).mkdir()
        (output / name / "agent.json").write_text("{}")
        (output / f".{name}.stage").write_text('{"digest": "0", "seconds": 1.0, "interrupted": false}')
    (output / "results.json").write_text('[{"method": "SFT"}]')
    return output, run(suites, output)


def test_every_method_is_judged_on_the_same_games(finished):
    _, results = finished
    methods = [result["method"] for result in results]
    assert methods == ["SFT", "SFT continued", "rejection sampling", "OREO", "OREO best-of-2"]
    assert all(result["games"] == results[0]["games"] and result["n"] == 3 for result in results)
    assert all(len(result["won"]) == 3 and set(result["won"]) <= {True, False} for result in results)


def test_the_games_are_the_first_ones(finished):
    _, results = finished
    assert results[0]["games"] == list(games_of(environments(split="generated_unseen")()).names[:3])


def test_a_second_run_reuses_everything_and_says_so(finished, suites, capsys):
    output, results = finished
    assert run(suites, output) == results
    assert capsys.readouterr().err.count("reusing") == 6 + 5  # the stages, and a verdict for each method


def test_a_changed_suite_redoes_what_depends_on_it(finished, suites, capsys):
    output, _ = finished
    path = suites / "whole-path.toml"
    before = path.read_text()
    path.write_text(before.replace("ks = [1, 2]", "ks = [1, 3]"))
    try:
        run(suites, output)
    finally:
        path.write_text(before)
    log = capsys.readouterr().err
    assert "demonstrations: reusing" in log and "oreo: reusing" in log
    assert "oreo-best_of_k-3: " in log and "oreo-best_of_k-3: reusing" not in log
    episodes = load_trajectories(output / "episodes")
    assert len(episodes) == 3  # of the newest settings alone
    assert all(len(turn.candidates) == 3 for turn in episodes[0].turns)


def test_episodes_are_left_for_other_tools(finished):
    output, results = finished
    episodes = load_trajectories(output / "episodes")
    assert [episode.game for episode in episodes] == results[0]["games"]


def test_the_control_makes_as_many_optimizer_steps_as_oreo(finished):
    output, _ = finished
    cards = [
        json.loads((output / "seed-0" / name / "agent.json").read_text())
        for name in ("sft-continued", "oreo")
    ]
    assert [card["steps"] for card in cards] == [2, 2]  # half a pass over 8 rollouts in batches of 2


def test_the_equal_suite_makes_identical_agents_and_results_side_by_side(
    finished, tmp_path, suites, monkeypatch
):
    """``bench`` instead of ``demo``, in two processes; only the number of games is the suite's own there."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    output, _ = finished
    suite = (suites / "whole-path.toml").read_text()
    (tmp_path / "equal.toml").write_text(
        f'{suite}[test.generated_unseen]\nsplit = "generated_unseen"\nfirst = {GAMES}\n'
    )
    command = ["bench", "--suite", str(tmp_path / "equal.toml"), "--seeds", "0", "-o", str(tmp_path / "out")]
    command += ["--jobs", "2"]
    assert main([*command, "--results", str(tmp_path / "equal.json")]) == 0
    assert (
        same_files(output, tmp_path / "out", "*.safetensors") == 4 + 2
    )  # policies; the critic's trunk and head
    assert same_files(output, tmp_path / "out", "tokenizer.json") >= 4
    judged = sorted((tmp_path / "out").rglob("result.json"))
    assert len(judged) == 5
    for path in judged:
        ours = output / path.relative_to(tmp_path / "out")
        assert without_clocks(json.loads(ours.read_text())) == without_clocks(json.loads(path.read_text()))


def same_files(one, other, pattern):
    """How many files of that name there are in both folders, all of them equal."""
    files = [{path.relative_to(folder) for path in folder.rglob(pattern)} for folder in (one, other)]
    assert files[0] == files[1]
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in files[0])
    return len(files[0])


def without_clocks(value):
    if isinstance(value, dict):
        return {key: without_clocks(one) for key, one in value.items() if key not in CLOCKS}
    return [without_clocks(one) for one in value] if isinstance(value, list) else value


def test_what_an_earlier_version_left_is_neither_used_nor_lost(finished):
    output, results = finished
    assert (output / "oreo" / "agent.json").read_text() == "{}"
    assert len(results) == 5 and len(load_trajectories(output / "episodes")) == 3


def rooms_of(arena):
    return {room_of(name) for name in arena.options["games"].names[:600]}


def find_demo(*choice):
    return find_arenas(*choose_suite(*choice))


def test_generated_arenas_share_no_room():
    arenas = find_demo("OREO-ALFWorld", None)
    assert rooms_of(arenas.train).isdisjoint(rooms_of(arenas.tests["generated_unseen"]))


def test_a_single_set_of_games_is_split_by_room(tmp_path):
    from oreo_envs.alfworld.install import write_games

    write_games(tmp_path / "games", count=30)
    arenas = find_demo("OREO-ALFWorld", str(tmp_path / "games"))
    test = arenas.tests["rooms_held_out"]
    assert rooms_of(arenas.train) and rooms_of(test) and rooms_of(arenas.train).isdisjoint(rooms_of(test))
    assert len(arenas.train.indices) + len(test.indices) == 30


def test_alfworlds_own_splits_are_used_where_they_are(tmp_path):
    from oreo_envs.alfworld.install import write_games

    for split, count in (("train", 6), ("valid_seen", 4)):
        write_games(tmp_path / split, count=count, seed=count)
    arenas = find_demo("OREO-ALFWorld", str(tmp_path))
    assert (len(arenas.train.indices), len(arenas.tests["valid_seen"].indices)) == (6, 4)
    suite, data = choose_suite("OREO-ALFWorld", str(tmp_path))
    assert len(find_arenas(shape_suite(suite, games=3), data).tests["valid_seen"].indices) == 3


def test_every_set_of_games_is_shown_in_the_wording_asked_for(tmp_path):
    from oreo_envs.alfworld.install import write_games

    write_games(tmp_path / "train", count=6)
    suite = shape_suite(load_suite("smoke"), wording="put")
    suite = replace(
        suite, train=replace(suite.train, split="train", options={"games": tmp_path, **suite.train.options})
    )
    suite = replace(suite, demonstrations=replace(suite.demonstrations, generated=5))
    arenas = find_arenas(suite)
    found = [arenas.train, arenas.dev, arenas.generated, *arenas.tests.values()]
    assert [arena.dialect for arena in found] == ["put"] * 4
    assert arenas.train.summary()["dialect"] == "put" and len(arenas.generated.indices) == 1_000_000
    plain = find_arenas(shape_suite(load_suite("smoke")))
    assert plain.dev.dialect == "move" and plain.dev.made_from != arenas.dev.made_from
    with pytest.raises(ConfigurationError, match="OREO-Reasoning cannot show its games in a wording 'put'"):
        shape_suite(load_suite("whole-path-math"), wording="put")


def test_games_in_one_room_cannot_be_split(tmp_path):
    from oreo_envs.alfworld.install import write_games

    write_games(tmp_path / "games", count=30)
    keep = sorted((tmp_path / "games").rglob("game.tw-pddl"))[0]
    with pytest.raises(ConfigurationError, match="one room"):
        choose_suite("OREO-ALFWorld", str(keep))


def test_missing_games_leave_nothing_behind(tmp_path, capsys):
    with pytest.raises(DataNotFoundError, match="nowhere"):
        choose_suite("OREO-ALFWorld", str(tmp_path / "nowhere"))
    assert main(["demo", "--games", str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_the_same_stages_work_on_mathematics(tmp_path):
    """Too little training to be right, enough to see that problems, steps and verdicts pass through every stage."""
    suite = replace(
        load_suite("whole-path-math"),
        demonstrations=Demonstrations(24),
        sft={"epochs": 1},
        rollouts=Rollouts(4),
        step_limits=(5,),
        slots=4,
    )
    plan = Plan(suite := shape_suite(suite, games=3), find_arenas(suite))
    stages = Stages(tmp_path)
    demonstrations = load_trajectories(stages.run(plan.demonstrations(0)[0]))
    rollouts = load_trajectories(stages.run(plan.rollouts(0)))
    assert all(episode.success and episode.turns[-1].action.startswith("####") for episode in demonstrations)
    assert {episode.env_id for episode in [*demonstrations, *rollouts]} == {"OREO-Reasoning"}
    assert (len(demonstrations), len(rollouts)) == (24, 4)
    assert all(len(turn.token_ids) <= suite.max_new_tokens for episode in rollouts for turn in episode.turns)
    judged = json.loads((stages.run(plan.verdicts[0].stage) / "result.json").read_text())
    (result,) = judged["results"]
    assert [game.split("/")[::2] for game in result["games"]] == [["chain_sum", str(i)] for i in range(3)]
    assert all("/test" in game for game in result["games"])


def test_problems_to_judge_on_are_not_those_to_learn_from():
    arenas = find_demo("OREO-Reasoning", None)
    sets = (arenas.train, arenas.tests["unseen_problems"])
    envs = [environments(arena.env_id, **arena.options)() for arena in sets]
    questions = [{problem.question for problem in games_of(env)[:300]} for env in envs]
    assert len(questions[0] & questions[1]) < 0.1 * len(questions[1])  # short sums come twice by chance


def test_other_problems_and_other_games_are_other_work(tmp_path):
    from oreo_envs.alfworld.install import write_games

    def work(*choice):
        arenas = find_demo(*choice)
        return [arena.made_from for arena in (arenas.train, *arenas.tests.values())]

    for seed in (1, 2):
        write_games(tmp_path / str(seed), count=12, seed=seed)
    sums = [work("OREO-Reasoning", task) for task in (None, "chain_sum")]
    games = [work("OREO-ALFWorld", str(tmp_path / str(seed))) for seed in (1, 2)]
    for one, other in (sums, games):
        assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))
    (tmp_path / "1").rename(tmp_path / "moved")
    assert work("OREO-ALFWorld", str(tmp_path / "moved")) == games[0]


@pytest.mark.parametrize("name", ["whole-path", "whole-path-math"])
def test_more_games_to_be_judged_on_are_other_work(name):
    """The first of them, which stand for all in the hash, are the same."""
    few, more = (
        next(iter(find_arenas(shape_suite(load_suite(name), games=n)).tests.values())) for n in (60, 70)
    )
    assert few.sha256 == more.sha256 and few.made_from != more.made_from


def test_a_new_decoder_learns_for_longer():
    suite = shape_suite(load_suite("whole-path"), from_scratch=True, seed=3)
    assert (suite.model, suite.sft["epochs"], suite.seeds) == ("scratch", 8, (3,))
    sums = load_suite("whole-path-math")
    assert shape_suite(sums, from_scratch=True).sft == sums.sft  # its decoder is new in any case


def test_only_two_environments_have_a_demo():
    suite, _ = choose_suite("OREO-Reasoning", "products")
    assert suite.train.options["task"] == "products" and "config" not in suite.train.options
    with pytest.raises(ConfigurationError, match="no demo of 'OREO-MATH'"):
        choose_suite("OREO-MATH", None)
