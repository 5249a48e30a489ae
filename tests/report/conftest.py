import pytest

from oreo_agents.evaluation.results import Count, Result

TASKS = ("pick_and_place_simple", "look_at_obj_in_light", "pick_two_obj_and_place")


def make_result(method, successes, n=200):
    return Result(
        method=method,
        by_task_type={task: Count(40, 10 * place) for place, task in enumerate(TASKS)},
        invalid_action_rate=0.034,
        mean_steps=22.26,
        mean_steps_success=14.2,
        tokens_per_episode=1234.5,
        seconds_per_episode=0.231,
        ended_early={},
        errors={},
        games=tuple(map(str, range(n))),
        won=tuple(i < successes for i in range(n)),
    )


@pytest.fixture
def results():
    return [make_result("SFT", 96), make_result("OREO greedy", 117), make_result("OREO best-of-5", 181)]
