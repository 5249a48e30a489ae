import io
import json
from dataclasses import replace

import pytest
from oreo_envs.errors import DataNotFoundError
from rich.console import Console

from oreo_agents.demo import REASONING, Arena, Recipe, Steps, setting, whole_path
from oreo_agents.environments import environments, games_of
from oreo_agents.errors import ConfigurationError
from oreo_agents.stages import Stages

TINY = Recipe(
    demonstrations=12, rollouts=6, eval_games=3, max_steps=8, slots=3, refine_epochs=0.1, oreo_epochs=0.5, k=2
)


def run(output, recipe=TINY, source=None):
    log = io.StringIO()
    return whole_path(
        Arena.of("OREO-ALFWorld", source), output, recipe, Console(file=log, width=200)
    ), log.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One tiny run from the shipped start, with enough steps that some episodes are won and some lost."""
    output = tmp_path_factory.mktemp("demo")
    recipe = Recipe(**{**{f: getattr(TINY, f) for f in TINY.__slots__}, "max_steps": 15, "rollouts": 16})
    results, log = run(output, recipe)
    return output, recipe, results, log


def test_every_method_is_judged_on_the_same_games(finished):
    _, recipe, results, _ = finished
    methods = [result["method"] for result in results]
    assert methods == ["SFT", "SFT continued", "rejection sampling", "OREO", "OREO best-of-2"]
    assert all(
        result["games"] == results[0]["games"] and result["n"] == recipe.eval_games for result in results
    )


def test_a_second_run_reuses_everything_and_says_so(finished):
    output, recipe, results, _ = finished
    again, log = run(output, recipe)
    assert again == results
    assert log.count("reusing") == 6 + 5  # the stages, and a verdict for each method


def test_a_changed_recipe_redoes_what_depends_on_it(finished):
    output, recipe, *_ = finished
    fields = {field: getattr(recipe, field) for field in recipe.__slots__}
    _, log = run(output, Recipe(**{**fields, "k": 3}))
    assert "demonstrations: reusing" in log and "oreo: reusing" in log
    assert "best-of-3" in log and "result-oreo-best-of-3.json: reusing" not in log


def test_episodes_and_results_are_left_for_other_tools(finished):
    from oreo_agents import load_trajectories

    output, recipe, results, _ = finished
    episodes = load_trajectories(output / "episodes")
    assert len(episodes) == recipe.eval_games  # of the newest recipe alone
    (agent,) = {episode.agent for episode in episodes}
    assert all(len(turn.candidates) == int(agent[-1]) for turn in episodes[0].turns)
    assert json.loads((output / "results.json").read_text())[0]["games"] == results[0]["games"]


def test_generated_arenas_share_no_room():
    arena = Arena.of("OREO-ALFWorld")
    rooms = [
        {name.split("/")[0].rsplit("-", 1)[-1] for name in games.names[:600]}
        for games in (arena.train["games"], arena.test["games"])
    ]
    assert rooms[0].isdisjoint(rooms[1])


def test_a_single_set_of_games_is_split_by_room(tmp_path):
    from oreo_envs.alfworld.generator.write import write_games

    write_games(tmp_path / "games", count=30)
    arena = Arena.of("OREO-ALFWorld", tmp_path / "games")
    rooms = [
        {name.split("/")[0].rsplit("-", 1)[-1] for name in games.names}
        for games in (arena.train["games"], arena.test["games"])
    ]
    assert rooms[0] and rooms[1] and rooms[0].isdisjoint(rooms[1])
    assert len(arena.train["games"]) + len(arena.test["games"]) == 30


def test_games_in_one_room_cannot_be_split(tmp_path):
    from oreo_envs.alfworld.generator.write import write_games

    write_games(tmp_path / "games", count=30)
    keep = sorted((tmp_path / "games").rglob("game.tw-pddl"))[0]
    with pytest.raises(ConfigurationError, match="one room"):
        Arena.of("OREO-ALFWorld", keep)


def test_missing_games_leave_nothing_behind(tmp_path):
    with pytest.raises(DataNotFoundError, match="nowhere"):
        run(tmp_path / "out", source=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_the_same_stages_work_on_mathematics(tmp_path):
    """Too little training to be right, enough to see that problems, steps and verdicts pass through every stage."""
    from oreo_agents import load_trajectories

    sizes = {
        "demonstrations": 24,
        "sft_epochs": 1,
        "rollouts": 4,
        "eval_games": 3,
        "max_steps": 5,
        "slots": 4,
    }
    recipe = replace(REASONING, **sizes)
    path, stages = (
        Steps(Arena.of("OREO-Reasoning"), recipe, tmp_path),
        Stages(tmp_path, Console(file=io.StringIO())),
    )
    recorded = path.record()
    sft = path.imitate(recorded)
    demonstrations, rollouts = (
        load_trajectories(stages.run(stage)) for stage in (recorded, path.roll_out(sft))
    )
    assert all(episode.success and episode.turns[-1].action.startswith("####") for episode in demonstrations)
    assert {episode.env_id for episode in [*demonstrations, *rollouts]} == {"OREO-Reasoning"}
    assert (len(demonstrations), len(rollouts)) == (24, 4)
    assert all(len(turn.token_ids) <= recipe.max_new_tokens for episode in rollouts for turn in episode.turns)
    result = json.loads(stages.run(path.judge("SFT", sft, "greedy")).read_text())
    assert [game.split("/")[::2] for game in result["games"]] == [["chain_sum", str(i)] for i in range(3)]
    assert all("/test" in game for game in result["games"])


def test_problems_to_judge_on_are_not_those_to_learn_from():
    arena = Arena.of("OREO-Reasoning")
    train, test = (environments(arena.env_id, **options)() for options in (arena.train, arena.test))
    questions = [{problem.question for problem in games_of(env)[:300]} for env in (train, test)]
    assert len(questions[0] & questions[1]) < 0.1 * len(questions[1])  # short sums come twice by chance


def test_other_problems_and_other_games_are_other_work(tmp_path):
    from oreo_envs.alfworld.generator.write import write_games

    for seed in (1, 2):
        write_games(tmp_path / str(seed), count=12, seed=seed)
    arenas = [
        *(Arena.of("OREO-Reasoning", task) for task in (None, "chain_sum")),
        *(Arena.of("OREO-ALFWorld", tmp_path / str(seed)) for seed in (1, 2)),
    ]
    for one, other in (arenas[:2], arenas[2:]):
        assert one.name == other.name
        assert one.learnt_on() != other.learnt_on() and one.judged_on() != other.judged_on()
    where = arenas[2].learnt_on()
    (tmp_path / "1").rename(tmp_path / "moved")
    assert Arena.of("OREO-ALFWorld", tmp_path / "moved").learnt_on() == where


def test_only_two_environments_have_a_demo():
    assert setting("OREO-Reasoning", "products")[0].train["task"] == "products"
    with pytest.raises(ConfigurationError, match="no demo of 'OREO-MATH'"):
        setting("OREO-MATH", None)
