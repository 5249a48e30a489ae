import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oreo_envs.alfworld.game import EMPTY_HANDS
from oreo_envs.alfworld.game_file import parse_game
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.world import World

LIGHT_ROOM = """
(define (problem p) (:domain alfred) (:objects agent1 - agent
  loc_bar_0 loc_bar_1 loc_bar_2 - location
  Desk_bar_1 Drawer_bar_1 Drawer_bar_2 Sink_bar_1_bar_SinkBasin Fridge_bar_1 Microwave_bar_1 - receptacle
  DeskLamp_bar_1 Bowl_bar_1 Apple_bar_1 Apple_bar_2 Knife_bar_1 - object
  DeskType DrawerType SinkBasinType FridgeType MicrowaveType - rtype
  DeskLampType BowlType AppleType KnifeType - otype)
(:init (atLocation agent1 loc_bar_0)
  (receptacleType Desk_bar_1 DeskType) (receptacleAtLocation Desk_bar_1 loc_bar_1)
  (receptacleType Drawer_bar_1 DrawerType)
  (receptacleAtLocation Drawer_bar_1 loc_bar_1) (openable Drawer_bar_1)
  (receptacleType Drawer_bar_2 DrawerType)
  (receptacleAtLocation Drawer_bar_2 loc_bar_2) (openable Drawer_bar_2)
  (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
  (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_2)
  (receptacleType Fridge_bar_1 FridgeType)
  (receptacleAtLocation Fridge_bar_1 loc_bar_2) (openable Fridge_bar_1)
  (receptacleType Microwave_bar_1 MicrowaveType) (receptacleAtLocation Microwave_bar_1 loc_bar_2)
  (openable Microwave_bar_1)
  (objectType DeskLamp_bar_1 DeskLampType)
  (toggleable DeskLamp_bar_1) (inReceptacle DeskLamp_bar_1 Desk_bar_1)
  (objectType Bowl_bar_1 BowlType) (pickupable Bowl_bar_1) (isReceptacleObject Bowl_bar_1)
  (inReceptacle Bowl_bar_1 Desk_bar_1) (objectAtLocation Bowl_bar_1 loc_bar_1) (cleanable Bowl_bar_1)
  (objectType Apple_bar_1 AppleType) (pickupable Apple_bar_1) (inReceptacle Apple_bar_1 Desk_bar_1)
  (objectAtLocation Apple_bar_1 loc_bar_1) (sliceable Apple_bar_1)
  (heatable Apple_bar_1) (coolable Apple_bar_1)
  (cleanable Apple_bar_1)
  (objectType Apple_bar_2 AppleType) (pickupable Apple_bar_2) (inReceptacle Apple_bar_2 Drawer_bar_2)
  (objectAtLocation Apple_bar_2 loc_bar_2)
  (objectType Knife_bar_1 KnifeType) (pickupable Knife_bar_1) (inReceptacle Knife_bar_1 Desk_bar_1)
  (objectAtLocation Knife_bar_1 loc_bar_1)
  (canContain DeskType AppleType) (canContain DeskType KnifeType) (canContain DrawerType AppleType))
(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)
  (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
  (exists (?o - object ?a - agent) (and (objectType ?o AppleType) (holds ?a ?o))))))
"""


@pytest.fixture
def world():
    """A desk with a closed drawer at one place, and another drawer and the appliances at a second."""
    data = json.loads(GeneratedGames("generated").text(0)) | {"pddl_problem": LIGHT_ROOM, "walkthrough": []}
    world = World(parse_game(json.dumps(data), "light/room"))
    world.reset()
    return world


def do(world, *commands):
    """The last observation; every command must work."""
    observation = ""
    for command in commands:
        observation = world.step(command)
        assert world.action_status == "ok", command
    return observation


# ---------------------------------------------------------------- real games


@pytest.mark.parametrize("split", ["seen_games", "put_games"])
def test_every_walkthrough_wins_and_only_at_its_end(split, request):
    games = request.getfixturevalue(split)
    for index in range(0, len(games), 2):
        world = World(games[index])
        world.reset()
        for command in games[index].walkthrough:
            assert not world.won
            do(world, command)
        assert world.won or not games[index].walkthrough


NEWSPAPERS = "pick_two_obj_and_place-Newspaper-None-Drawer-224/trial_T20190911_101248_326533"


def test_a_known_episode_to_the_letter(seen_games):
    world = World(seen_games[seen_games.index(NEWSPAPERS)])
    assert world.reset().startswith(
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking"
    )
    assert world.reset().endswith("\n\nYour task is to: put two newspaper in drawer.")
    assert (
        world.step("look") == "You are in the middle of a room. Looking quickly around you, you see nothing."
    )
    assert world.step("dance") == "Nothing happens."


# ---------------------------------------------------------------- rules, one by one


def test_names_and_opening(world):
    seen = "a desk 1, a drawer 2, a drawer 1, a fridge 1, a microwave 1, and a sinkbasin 1"
    assert world.reset() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        f"You are in the middle of a room. Looking quickly around you, you see {seen}.\n\n"
        f"Your task is to: {world.task}"
    )


def test_admissible_commands_at_the_start(world):
    assert world.admissible_commands() == [
        "go to desk 1",
        "go to drawer 1",
        "go to drawer 2",
        "go to fridge 1",
        "go to microwave 1",
        "go to sinkbasin 1",
        "help",
        "inventory",
        "look",
    ]


def test_going_where_one_is_does_nothing(world):
    do(world, "go to desk 1")
    assert world.step("go to drawer 2") == "Nothing happens."
    assert world.action_status == "not_applicable"
    assert do(world, "look") == "You are facing the desk 1, and drawer 2. Next to it, you see nothing."


def test_containers_open_and_close(world):
    assert do(world, "go to drawer 1") == "You arrive at drawer 1. The drawer 1 is closed."
    assert world.step("take apple 1 from drawer 1") == "Nothing happens."
    assert (
        do(world, "open drawer 1") == "You open the drawer 1. The drawer 1 is open. In it, you see a apple 1."
    )
    assert do(world, "take apple 1 from drawer 1") == "You pick up the apple 1 from the drawer 1."
    assert do(world, "close drawer 1", "examine drawer 1") == "The drawer 1 is closed."
    assert world.step("move apple 1 to drawer 1") == "Nothing happens."


def test_one_object_at_a_time_and_only_where_it_fits(world):
    do(world, "go to desk 1", "take bowl 1 from desk 1")
    assert do(world, "inventory") == "You are carrying: a bowl 1."
    assert world.step("take knife 1 from desk 1") == "Nothing happens."
    assert world.step("move bowl 1 to desk 1") == "Nothing happens."  # no canContain fact
    assert world.step("examine knife 1") == "Nothing happens."  # not held
    assert do(world, "examine bowl 1") == "This is a normal bowl 1. In it, you see nothing."


def test_the_heat_and_the_cold(world):
    do(world, "go to desk 1", "take apple 2 from desk 1", "go to sinkbasin 1")
    assert do(world, "examine apple 2") == "There's nothing special about apple 2."
    assert do(world, "clean apple 2 with sinkbasin 1") == "You clean the apple 2 using the sinkbasin 1."
    assert (
        do(world, "heat apple 2 with microwave 1") == "You heat the apple 2 using the microwave 1."
    )  # closed
    assert do(world, "examine apple 2") == "This is a hot and clean apple 2."
    assert do(world, "cool apple 2 with fridge 1") == "You cool the apple 2 using the fridge 1."
    assert do(world, "cool apple 2 with fridge 1", "examine apple 2") == "This is a cool and clean apple 2."


def test_slicing(world):
    do(world, "go to desk 1", "take knife 1 from desk 1")
    assert do(world, "slice apple 2 with knife 1") == "You sliced the apple 2 with the knife 1."
    assert "slice apple 2 with knife 1" in world.admissible_commands()  # again
    do(world, "move knife 1 to desk 1", "take apple 2 from desk 1")
    assert do(world, "examine apple 2") == "This is a sliced apple 2."


@pytest.mark.parametrize("fact", ["(isSliced Apple_bar_2)", "(isToggled Apple_bar_2)"])
def test_qualities_that_a_thing_cannot_get_are_not_told(fact):
    """The second apple can be neither sliced nor switched on, whatever its file says."""
    data = json.loads(GeneratedGames("generated").text(0))
    data["pddl_problem"] = LIGHT_ROOM.replace("(:init", f"(:init {fact}")
    world = World(parse_game(json.dumps(data), "light/room"))
    world.reset()
    do(world, "go to drawer 1", "open drawer 1", "take apple 1 from drawer 1")
    assert do(world, "examine apple 1") == "There's nothing special about apple 1."


def test_loose_objects_are_those_taken_from_a_place_and_left_at_the_next(world):
    do(world, "go to desk 1", "take apple 2 from desk 1", "open drawer 2", "move apple 2 to drawer 2")
    assert do(world, "look").endswith("Next to it, you see a apple 2.")
    do(world, "take apple 2 from drawer 2", "move apple 2 to desk 1")
    assert do(world, "look").endswith("Next to it, you see a apple 2.")  # now missing from the drawer


def test_looking_in_light_is_won_in_any_order_and_lost_on_leaving(world):
    do(world, "go to desk 1", "use desklamp 1")
    assert not world.won
    do(world, "take apple 2 from desk 1")
    assert world.won
    do(world, "go to fridge 1")
    assert not world.won
    do(world, "go to desk 1")
    assert world.won


def test_help_and_blanks(world):
    assert do(world, "help").startswith("Available commands:\n  look:")
    assert do(world, "  look \n").startswith("You are in the middle")


@pytest.mark.parametrize(
    "command, status",
    [
        ("take apple 1 from desk 1", "not_applicable"),
        ("take apple 7 from desk 1", "unparsable"),
        ("put apple 1 in/on desk 1", "unparsable"),
        ("sing", "unparsable"),
        ("", "unparsable"),
    ],
)
def test_failures_say_what_kind_they_are(world, command, status):
    assert world.step(command) == "Nothing happens."
    assert world.action_status == status


# ---------------------------------------------------------------- snapshots


def random_walk(world, random, steps):
    return [(world.step(random.choice(world.admissible_commands())), world.won) for _ in range(steps)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32), st.integers(0, 40))
def test_snapshots_bring_back_exactly_what_was(index, seed, steps):
    world = World(GeneratedGames("generated")[index])
    random_walk(world, Random(seed), steps)
    state, admissible = world.clone_state(), world.admissible_commands()
    future = random_walk(world, Random(seed + 1), 20)
    other = World(world.game)
    for copy in (world, other):
        copy.restore_state(state)
        assert (copy.clone_state(), copy.admissible_commands()) == (state, admissible)
    assert random_walk(other, Random(seed + 1), 20) == future


def test_worlds_of_one_game_do_not_touch_each_other():
    game = GeneratedGames("generated")[1]
    first, second = World(game), World(game)
    before = second.clone_state()
    random_walk(first, Random(0), 200)
    assert second.clone_state() == before == game.start


def test_a_walk_does_not_depend_on_what_the_memo_holds():
    """Forgetting everything after each step must change nothing."""
    game = GeneratedGames("generated")[2]
    fresh = parse_game(GeneratedGames("generated").text(2), "fresh")
    world, forgetful, random = World(game), World(fresh), Random(5)
    for _ in range(300):
        command = random.choice(world.admissible_commands())
        assert world.step(command) == forgetful.step(command)
        fresh.memo.clear()
        assert world.admissible_commands() == forgetful.admissible_commands()
        assert world.won == forgetful.won


def test_the_state_can_be_read(world):
    assert world.held == EMPTY_HANDS
    do(world, "go to desk 1", "take apple 2 from desk 1")
    assert world.game.objects[world.held].name == "apple 2"
    assert world.game.location_names[world.location] == "loc 2"
