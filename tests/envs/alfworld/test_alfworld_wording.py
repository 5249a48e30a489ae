"""A game shown in the other wording is, byte for byte, what a file of the other generation shows."""

import pickle
import random
import re

import gymnasium as gym
import oreo_envs  # noqa: F401 (registers the ids)
import pytest
import shared_data
from gymnasium.envs.registration import EnvSpec
from oreo_envs.alfworld.env import ALFWorldEnv
from oreo_envs.alfworld.generator.games import GeneratedGames
from oreo_envs.alfworld.install import write_games
from oreo_envs.alfworld.sources import find_games
from oreo_envs.alfworld.world import World

STEPS = 60


def reworded(command):
    """A command as the other generation has it, written independently of the engine."""
    move = re.fullmatch(r"move (.*) to (.*)", command)
    put = re.fullmatch(r"put (.*) in/on (.*)", command)
    if move:
        return f"put {move[1]} in/on {move[2]}"
    return f"move {put[1]} to {put[2]}" if put else command


def told(world):
    return world.admissible_commands(), world.won, world.action_status, world.task, world.task_type


def walk(one, other, commands):
    """Both do the same and say so; commands may be chosen from what the first can do."""
    assert (one.reset(), *told(one)) == (other.reset(), *told(other))
    for draw in commands:
        command = draw if isinstance(draw, str) else draw(one.admissible_commands())
        assert (one.step(command), *told(one)) == (other.step(command), *told(other)), command


def stroll(seed):
    """Random commands: mostly such as work, some in the wrong wording, some that no game knows."""
    draw = random.Random(seed)

    def choose(admissible):
        placing = [command for command in admissible if command.startswith(("move ", "put "))]
        command = draw.choice(placing if placing and draw.random() < 0.2 else admissible)
        return draw.choice([*[command] * 8, reworded(command), "help", "fly"])

    return [choose] * STEPS


def test_every_trial_that_exists_in_both_grammars_is_shown_exactly_as_the_other_file(seen_games, put_games):
    every = find_games(games=shared_data.ALFWORLD / "put_grammar_valid_seen.tar.xz", include_unsolvable=True)
    names = sorted(set(seen_games.names) & set(every.names))
    assert len(names) == 140 and len(every) > len(put_games)
    for name in names:
        new, old = seen_games[seen_games.index(name)], every[every.index(name)]
        for shown, file in ((new.reword("put"), old), (old.reword("move"), new)):
            assert shown.wording == file.wording and shown.location_names == file.location_names
            walkthrough = new.walkthrough if file is new else list(map(reworded, new.walkthrough))
            world = World(shown)
            walk(world, World(file), walkthrough)
            assert world.won and walkthrough
            walk(world, World(file), stroll(name))


def test_so_are_suggestions_plans_and_hashes(seen_games, put_games):
    names = sorted(set(seen_games.names) & set(put_games.names))[::9]
    for files, own, wording in ((seen_games, put_games, "put"), (put_games, seen_games, "move")):
        shown, plain = (
            ALFWorldEnv(games=files, wording=wording, expert=True),
            ALFWorldEnv(games=own, expert=True),
        )
        for name in names:
            start = {"options": {"game": name}}
            (_, info), other = shown.reset(**start), plain.reset(**start)
            assert info == other[1]
            for choose in stroll(name):
                command = choose(info["admissible_commands"])
                step = shown.step(command)
                assert step == plain.step(command)
                info = step[-1]
                if step[2]:
                    break


# ---------------------------------------------------------------- generated games, on any clone


@pytest.mark.parametrize("number", range(12))
def test_a_generated_game_differs_in_four_sentences_and_nothing_else(number):
    game = GeneratedGames("generated")[number]
    plain, shown = World(game), World(game.reword("put"))
    place_of = {place.name: game.location_names[place.location] for place in game.receptacles}
    assert all(re.fullmatch(r"loc \d+", place) for place in place_of.values())
    assert plain.reset() == shown.reset()

    def expected(command, said):
        if command == "help":
            return "Nothing happens."
        said = re.sub(r"^You move the (.*) to the (.*)\.$", r"You put the \1 in/on the \2.", said)
        return re.sub(r"^You arrive at (.*?)\. ", lambda found: f"You arrive at {place_of[found[1]]}. ", said)

    draw = random.Random(number)
    for command in [*game.walkthrough, *stroll(number)]:
        command = command if isinstance(command, str) else draw.choice(plain.admissible_commands())
        said = plain.step(command)
        assert shown.step(reworded(command)) == expected(command, said)
        offered = [reworded(known) for known in plain.admissible_commands() if known != "help"]
        assert shown.admissible_commands() == sorted(offered)
        assert shown.won == plain.won
    assert shown.step("help") == "Nothing happens." and shown.action_status == "unparsable"


def test_a_game_is_worded_without_being_touched():
    game = GeneratedGames("generated")[0]
    World(game).reset()
    before = dict(game.memo), dict(game.effects)
    shown = game.reword("put")
    World(shown).reset()
    assert (game.memo, game.effects) == before
    assert game.reword("move") is game and shown.reword("put") is shown
    assert shown.reword("move").walkthrough == game.walkthrough != shown.walkthrough
    assert shown.objects is game.objects and shown.rules.clean_at is game.rules.clean_at
    assert (shown.rules.has_help, game.rules.has_help) == (False, True)


def test_lists_of_games_are_worded_as_they_are_cut_copied_and_sent(tmp_path):
    write_games(tmp_path / "games", 6)
    for games in (find_games(games=tmp_path / "games"), GeneratedGames("generated")):
        shown = games.reword("put")
        assert shown.reword("put") is shown and find_games(games=shown, wording="put") is shown
        assert shown[2] is shown[2] and games[2].wording == "move"
        parts = [shown[1:3], pickle.loads(pickle.dumps(shown))[1:3]]
        assert [part[0].wording for part in parts] == ["put"] * 2
        assert shown.reword("move")[2].walkthrough == games[2].walkthrough
        assert (shown.names[:6], shown.text(2)) == (games.names[:6], games.text(2))
    files = find_games(games=tmp_path / "games", wording="put")
    assert files.choose([4])[0].wording == files.choose_rooms(set(files.rooms))[0].wording == "put"


# ---------------------------------------------------------------- the environment


def placing(env):
    """Play up to the first command that puts something down, and return that."""
    number = next(i for i in range(50) if any(" in/on " in one for one in env.unwrapped.games[i].walkthrough))
    env.reset(options={"game": number})
    for command in env.unwrapped.game.walkthrough:
        if command.startswith("put "):
            return command
        env.step(command)


@pytest.mark.parametrize("dialect, accepted", [("move", True), ("both", True), ("put", False), (None, False)])
def test_dialects_are_of_the_wording_that_is_shown(dialect, accepted):
    env = gym.make("OREO-ALFWorld", split="generated", wording="put", dialect=dialect)
    put = placing(env)
    assert env.unwrapped.wording == (dialect or "put")
    observation, *_, info = env.step(reworded(put))
    assert observation.startswith("You put the ") is accepted
    assert info.get("rewritten_command") == (put if accepted else None)


def test_snapshots_plans_and_suggestions_are_in_the_wording_shown():
    env = gym.make("OREO-ALFWorld", split="generated", wording="put", expert=True).unwrapped
    put = placing(env)
    state = env.clone_state()
    assert put in env.step(reworded(put))[-1]["suggestions"]
    env.restore_state(state)
    first = env.step(put)
    other = gym.make("OREO-ALFWorld", games=env.games).unwrapped  # the games say it
    other.restore_state(state)
    assert other.step(put)[0] == first[0] and first[0].startswith("You put the ") and other.wording == "put"
    env.reset(options={"game": 3})
    assert not any(command.startswith("move ") for command in env._info()["expert_plan"])


def test_many_at_once_share_games_in_the_wording_shown():
    envs = gym.make_vec("OREO-ALFWorld", num_envs=2, split="generated", wording="put").unwrapped
    _, infos = envs.reset(seed=4)
    assert not any("help" in commands for commands in infos["admissible_commands"])
    assert [env.unwrapped.wording for env in envs.envs] == ["put", "put"]
    assert all(env.unwrapped.games is envs.games for env in envs.envs)


def test_an_old_file_is_shown_as_a_new_one(put_games):
    env = ALFWorldEnv(games=put_games, wording="move")
    _, info = env.reset(options={"game": 0})
    assert "help" in info["admissible_commands"] and env.wording == "move"


def test_without_a_wording_every_game_is_as_its_file(put_games):
    env = ALFWorldEnv(games=put_games)
    env.reset(options={"game": 0})
    assert env.wording == "put" and put_games.wording is None


def test_specs_keep_the_wording():
    spec = gym.make("OREO-ALFWorld", split="generated", wording="put").spec
    again = gym.make(EnvSpec.from_json(spec.to_json()))
    again.reset(seed=1)
    assert again.unwrapped.wording == "put"


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_what_cannot_be_shown_is_refused(make):
    with pytest.raises(ValueError, match="wording='puts' is none of None, 'move', 'put'"):
        make("OREO-ALFWorld", split="generated", wording="puts")
    with pytest.raises(ValueError, match="TextWorld speaks as the file does: leave one out"):
        make("OREO-ALFWorld", split="generated", wording="put", backend="textworld")
