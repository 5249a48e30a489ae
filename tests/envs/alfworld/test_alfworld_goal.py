from random import Random

import pytest
from oreo_envs.alfworld.experts.planner import shortest_plan
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.goal import list_conditions
from oreo_envs.alfworld.world import World


def world_of(position):
    games = GeneratedGames("generated")
    return World(parse_game(games.text(position), games.names[position]))


@pytest.mark.parametrize("position", range(12))
def test_a_game_is_won_when_all_conditions_hold(position):
    """Twelve games have every task type twice; a walk wanders, then wins, then wanders on."""
    world, random = world_of(position), Random(position)
    wander = [None] * 60
    for planned in [*wander, *shortest_plan(world), *wander]:
        world.step(planned or random.choice(world.admissible_commands()))
        assert world.won == all(condition.met for condition in list_conditions(world))


@pytest.mark.parametrize("position", range(6))
def test_conditions_are_met_one_after_the_other(position):
    world = world_of(position)
    met = [sum(condition.met for condition in list_conditions(world))]
    for command in shortest_plan(world):
        world.step(command)
        met.append(sum(condition.met for condition in list_conditions(world)))
    assert met[-1] == len(list_conditions(world)) > met[0]


def test_conditions_are_named_in_the_words_of_the_game():
    texts = {world.task_type: [c.text for c in list_conditions(world)] for world in map(world_of, range(6))}
    assert len(texts) == 6
    assert [len(conditions) for conditions in texts.values()].count(3) == 3  # clean, heat, cool
    assert any(text.endswith("in hand") for text in texts["look_at_obj_in_light"])
    assert texts["pick_two_obj_and_place"][1].startswith("two ")
