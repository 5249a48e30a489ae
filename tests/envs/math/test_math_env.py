import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from oreo_envs.errors import DataNotFoundError
from oreo_envs.math.env import GSM8KEnv
from oreo_envs.testing import check_text_env

GSM8K = [
    {"question": "2 and 3?", "answer": "2 + 3 = 5\n#### 5"},
    {"question": "How many cents is half a dollar?", "answer": "A dollar is 100.\n100 / 2 = 50\n#### 50"},
    {"question": "None?", "answer": "#### 0"},
]
MATH = [{"problem": "What is half?", "answer": r"\frac{1}{2}", "level": "Level 1", "type": "Prealgebra"}]


@pytest.fixture
def data(tmp_path):
    for name, rows in (("gsm8k", GSM8K), ("math", MATH)):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / name / f"{split}.jsonl").write_text(lines)
    return tmp_path


@pytest.fixture
def env(data):
    return gym.make("OREO-GSM8K", data=data / "gsm8k", split="test", expert=True)


def test_contract_and_gymnasium_checks(data):
    actions = ["thinking", "", "\n", "more: 5", "#### 5"]
    check_text_env(lambda: gym.make("OREO-GSM8K", data=data / "gsm8k"), actions)
    check_text_env(lambda: gym.make("OREO-MATH", data=data / "math"), [*actions[:-1], r"\boxed{0.5}"])
    check_text_env(lambda: gym.make("OREO-Reasoning"), actions)
    check_text_env(lambda: gym.make("OREO-Reasoning", granularity="response"), actions)


def test_the_step_that_states_the_answer_ends_the_episode(env):
    observation, info = env.reset(options={"problem": 1})
    assert observation == GSM8K[1]["question"]
    assert info["game"] == "gsm8k/test/1" and info["task"] == observation and info["task_type"] == "gsm8k"
    assert (info["won"], info["answer_found"], info["predicted"], info["action_status"]) == (
        False,
        False,
        None,
        "ok",
    )
    observation, reward, terminated, truncated, info = env.step("A dollar is 100 cents, so 100 / 2 = 50.")
    assert (observation, reward, terminated, truncated) == ("", 0.0, False, False)
    assert "gold" not in info
    _, reward, terminated, truncated, info = env.step("The answer is 50 cents.")
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["won"], info["answer_found"], info["predicted"], info["gold"]) == (
        True,
        True,
        "50 cents",
        "50",
    )
    with pytest.raises(ResetNeeded):
        env.step("#### 50")


def test_a_wrong_answer_ends_the_episode_without_reward(env):
    env.reset(options={"problem": 0})
    _, reward, terminated, _, info = env.step("#### 6")
    assert (reward, terminated, info["won"], info["answer_found"], info["gold"]) == (
        0.0,
        True,
        False,
        True,
        "5",
    )


def test_an_empty_step_changes_nothing(env):
    env.reset(options={"problem": 0})
    _, _, terminated, _, info = env.step(" \n")
    assert (terminated, info["action_status"]) == (False, "unparsable")
    assert info["expert_plan"] == ["2 + 3 = 5", "#### 5"]


@pytest.mark.parametrize("action", [5, None, b"#### 5", ["#### 5"]])
def test_an_action_must_be_a_text(env, action):
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=type(action).__name__):
        env.unwrapped.step(action)


def test_a_response_is_a_whole_episode(data):
    env = gym.make("OREO-GSM8K", data=data / "gsm8k", granularity="response", expert=True)
    for response, won, found in [
        (GSM8K[0]["answer"], True, True),
        ("2 + 3 = 5", False, False),
        ("", False, False),
        ("#### 4\n#### 5", True, True),
    ]:
        env.reset(options={"problem": 0})
        _, reward, terminated, _, info = env.step(response)
        assert (reward, terminated, info["answer_found"]) == (float(won), True, found)
    _, info = env.reset(options={"problem": 1})
    assert info["expert_plan"] == ["A dollar is 100.\n100 / 2 = 50\n#### 50"]


def test_the_expert_wins_from_anywhere(env):
    for problem in range(len(env.unwrapped.games)):
        for detour in ([], ["hm"], ["A dollar is 100."], ["", "hm", "hm", "hm"]):
            _, info = env.reset(options={"problem": problem})
            for action in detour:
                *_, info = env.step(action)
            for action in info["expert_plan"]:
                _, reward, terminated, _, info = env.step(action)
            assert (reward, terminated, info["expert_plan"]) == (1.0, True, [])


def test_problems_are_chosen_by_row_position_or_name(env):
    games = env.unwrapped.games
    assert list(games.names) == [f"gsm8k/test/{n}" for n in range(3)] and len(games) == 3
    for options in ({"problem": 2}, {"game": 2}, {"game": np.int64(2)}, {"game": "gsm8k/test/2"}):
        assert env.reset(options=options)[1]["game"] == "gsm8k/test/2"
    for options in ({"problem": 3}, {"problem": -1}, {"game": "gsm8k/train/0"}, {"game": 3}):
        with pytest.raises(DataNotFoundError):
            env.reset(options=options)


def test_seeds_decide_which_problems_come(env):
    def names(seed):
        first = env.reset(seed=seed)[1]["game"]
        return [first] + [env.reset()[1]["game"] for _ in range(20)]

    assert names(3) == names(3) and len({tuple(names(seed)) for seed in range(5)}) == 5
    assert set(names(3)) == set(env.unwrapped.games.names)


def test_the_step_limit_truncates(data):
    env = gym.make("OREO-GSM8K", data=data / "gsm8k", max_episode_steps=3)
    env.reset(seed=0)
    outcomes = [env.step("hm") for _ in range(3)]
    assert [(terminated, truncated) for _, _, terminated, truncated, _ in outcomes] == [
        (False, False),
        (False, False),
        (False, True),
    ]
    assert gym.spec("OREO-GSM8K").max_episode_steps == 50


def test_snapshots_are_exact_and_travel(env, data):
    env.reset(options={"problem": 1})
    env.step("A dollar is 100.")
    state = env.unwrapped.clone_state()
    ended = env.step("#### 50")
    env.unwrapped.restore_state(state)
    assert env.unwrapped.step("#### 50")[1:4] == ended[1:4]
    other = gym.make("OREO-GSM8K", data=data / "gsm8k", split="test", expert=True).unwrapped
    with pytest.raises(ResetNeeded):
        other.clone_state()
    other.restore_state(state)
    _, _, _, _, info = other.step("100 / 2 = 50")
    assert (info["game"], info["expert_plan"]) == ("gsm8k/test/1", ["#### 50"])
    assert other.clone_state() != state


def test_rendering_shows_the_solution_so_far(data, capsys):
    env = gym.make("OREO-GSM8K", data=data / "gsm8k", render_mode="ansi")
    env.reset(options={"problem": 0})
    env.step("2 + 3 = 5")
    assert env.render() == "2 and 3?\n2 + 3 = 5"
    human = gym.make("OREO-GSM8K", data=data / "gsm8k", render_mode="human")
    human.reset(options={"problem": 0})
    human.step("so it is 5")
    assert capsys.readouterr().out == "2 and 3?\nso it is 5\n"


def test_vectorised(data):
    envs = gym.make_vec("OREO-GSM8K", num_envs=2, vectorization_mode="sync", data=data / "gsm8k")
    envs.reset(seed=[1, 2], options={"problem": 0})
    _, rewards, terminated, _, infos = envs.step(["#### 5", "hm"])
    assert rewards.tolist() == [1.0, 0.0] and terminated.tolist() == [True, False]
    assert infos["gold"].tolist() == ["5", None]


@pytest.mark.parametrize(
    ("option", "value"), [("granularity", "token"), ("split", "valid"), ("render_mode", "x")]
)
def test_unknown_options_are_refused(data, option, value):
    with pytest.raises(ValueError, match=f"{option}={value!r}"):
        GSM8KEnv(data / "gsm8k", **{option: value})


# ------------------------------------------------------------------------------------------ procedural


def test_procedural_problems_are_seeded_and_split():
    def questions(**options):
        games = gym.make("OREO-Reasoning", task="chain_sum", size=20, **options).unwrapped.games
        return [problem.question for problem in games[:]]

    assert questions() == questions()
    different = [
        questions(),
        questions(split="test"),
        questions(seed=100),
        questions(config={"max_terms": 9}),
    ]
    assert len(set(map(tuple, different))) == 4
    assert not set(questions()) & set(questions(split="test"))


def test_procedural_names_say_which_problem_it_is():
    def name(**options):
        return gym.make("OREO-Reasoning", task="chain_sum", **options).unwrapped.games[3].name

    assert name() == "chain_sum/train/3" and name(split="test", seed=5) == "chain_sum/test-seed5/3"
    assert len({name(), name(config={"max_terms": 9}), name(config={"max_terms": 8})}) == 3


@pytest.mark.parametrize("task", ["chain_sum", "arc_1d"])
def test_procedural_problems_can_be_pickled(task):
    env = gym.make("OREO-Reasoning", task=task, split="test", seed=3, size=9)
    env.reset(options={"problem": 4})
    again = pickle.loads(pickle.dumps(env))
    assert again.step("hm") == env.step("hm")
    assert again.unwrapped.games[:] == env.unwrapped.games[:]


def test_the_default_task_has_worked_solutions():
    env = gym.make("OREO-Reasoning", expert=True)
    _, info = env.reset(options={"problem": 0})
    assert len(info["expert_plan"]) > 1 and info["task_type"] == "gsm_symbolic"
    *steps, last = info["expert_plan"]
    assert not any(env.step(step)[2] for step in steps)
    number = int(last.removeprefix("#### "))
    state = env.unwrapped.clone_state()
    assert env.step(f"The answer is {number}.0 in all")[1] == 1.0
    for wrong in (number + 1, -number, f"{number}1"):
        env.unwrapped.restore_state(state)
        assert env.unwrapped.step(f"#### {wrong}")[1:3] == (0.0, True)


def test_a_task_with_many_right_answers_takes_them_all():
    games = gym.make("OREO-Reasoning", task="countdown", split="test").unwrapped.games
    problem = games[0]
    assert games.is_right(problem, problem.gold) and games.is_right(problem, f"0 + {problem.gold}") is False
    assert games.is_right(problem, f"({problem.gold})")


def test_a_hundred_tasks_open_and_grade_their_own_answer():
    from oreo_envs.math.problems.procedural import score_answer, task_names

    right = []
    for task in task_names():
        env = gym.make("OREO-Reasoning", task=task, split="test", expert=True)
        _, info = env.reset(options={"game": 3})
        games, problem = env.unwrapped.games, env.unwrapped.problem
        if problem.gold is None:
            assert info["expert_plan"] == []
            continue
        while info["expert_plan"]:
            _, reward, terminated, _, info = env.step(info["expert_plan"][0])
        assert (reward, terminated, info["gold"]) == (1.0, True, problem.gold), task
        assert score_answer(task, games.config, problem.gold, games.entry(3)) == 1.0, task
        env.reset(options={"game": 3})
        assert env.step("<answer>zzz</answer>")[1] == 0.0, task
        right.append(task)
    assert len(right) == 100


def test_unknown_tasks_and_options_are_named():
    with pytest.raises(DataNotFoundError, match=r"no task 'chain_product'; it has .*chain_sum"):
        gym.make("OREO-Reasoning", task="chain_product")
    for config in ({"max_terms": -1}, {"no_such_option": 1}):
        with pytest.raises(ValueError, match="'chain_sum' does not take"):
            gym.make("OREO-Reasoning", task="chain_sum", config=config)


def test_worked_solutions_are_recorded_as_episodes(env, tmp_path):
    from oreo_agents.dataset import load_trajectories
    from oreo_agents.rollout.wrapper import RecordTrajectories

    recorder = RecordTrajectories(env, tmp_path / "episodes", agent="worked solutions")
    for name in env.unwrapped.games.names:
        _, info = recorder.reset(options={"game": name})
        while info["expert_plan"]:
            *_, info = recorder.step(info["expert_plan"][0])
    recorder.close()
    episodes = load_trajectories(tmp_path / "episodes")
    assert [episode.game for episode in episodes] == list(env.unwrapped.games.names)
    assert all(episode.success and episode.env_id == "OREO-GSM8K" for episode in episodes)
    assert [turn.action for turn in episodes[1].turns] == ["A dollar is 100.", "100 / 2 = 50", "#### 50"]
    assert [turn.observation for turn in episodes[1].turns] == [GSM8K[1]["question"], "", ""]
