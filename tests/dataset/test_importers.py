import dataclasses
import gzip
import json

import pytest
import shared_data

from oreo_agents.cli import main
from oreo_agents.dataset import load_trajectories
from oreo_agents.dataset.importers import (
    IMPORTERS,
    import_agenttraj,
    import_dataset,
    import_eto,
    import_knowagent,
    import_sharegpt,
    import_tales,
)
from oreo_agents.dataset.wording import reword_to_move
from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.reply import read_thought
from oreo_agents.trajectory import Trajectory, Turn

DATA = shared_data.ALFWORLD
with_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no collected episodes in {DATA}")

ETO = {
    "name": "pick_and_place_simple-Mug-None-Desk-301/trial_T1",
    "conversations": [
        {
            "from": "human",
            "value": "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking "
            "quickly around you, you see a desk 1, and a shelf 1.\n\nYour task is to: put a mug in desk.",
        },
        {"from": "gpt", "value": "go to shelf 1"},
        {"from": "human", "value": "On the shelf 1, you see a mug 1."},
        {"from": "gpt", "value": "take mug 1 from shelf 1"},
        {"from": "human", "value": "You pick up the mug 1 from the shelf 1."},
        {"from": "gpt", "value": "put mug 1 in/on desk 1"},
        {"from": "human", "value": "You put the mug 1 in/on the desk 1."},
    ],
}

KNOWAGENT = {
    "name": "pick_and_place_simple-Mug-None-Desk-301/trial_T1",
    "result": False,
    "traj": "You are in the middle of a room. Looking quickly around you, you see a desk 1, and a drawer 1.\n"
    "Your task is to: put a mug in desk.\n> Think: First the drawer.\n> ActionPath: Start\n> go to drawer 1\n"
    "The drawer 1 is closed.\n> put mug 1 in/on desk 1\nNothing happens.\n",
}

AGENTTRAJ = {
    "item_id": "alfworld_7",
    "conversations": [
        {"from": "human", "loss": None, "value": "Interact with a household to solve a task."},
        {"from": "gpt", "loss": False, "value": "OK. I'll follow your instructions."},
        {
            "from": "human",
            "loss": None,
            "value": "You are in the middle of a room.\nYour task is to: put a mug in desk.\n"
            "AVAILABLE ACTIONS: go to desk 1,inventory,look",
        },
        {"from": "gpt", "loss": True, "value": "Thought:\nThe desk.\nThen more.\n\nAction:\ngo to desk 1"},
        {"from": "human", "loss": None, "value": "On the desk 1, you see nothing."},
        {"from": "gpt", "loss": True, "value": "Action:\nlook"},
    ],
}


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_eto(tmp_path):
    (episode,) = import_eto(lines(tmp_path / "eto.jsonl", ETO))
    assert [turn.action for turn in episode.turns] == [
        "go to shelf 1",
        "take mug 1 from shelf 1",
        "put mug 1 in/on desk 1",
    ]
    assert episode.turns[1].observation == "On the shelf 1, you see a mug 1."
    assert episode.final_observation == "You put the mug 1 in/on the desk 1."
    assert (episode.rewards, episode.terminated, episode.truncated) == ((0.0, 0.0, 1.0), True, False)
    assert (episode.task, episode.task_type) == ("put a mug in desk.", "pick_and_place_simple")
    assert (episode.agent, episode.game, episode.env_id) == ("eto-expert", ETO["name"], "OREO-ALFWorld")


def test_knowagent_keeps_the_thoughts_apart(tmp_path):
    (episode,) = import_knowagent(lines(tmp_path / "k.jsonl", KNOWAGENT))
    assert [turn.action for turn in episode.turns] == ["go to drawer 1", "put mug 1 in/on desk 1"]
    assert [turn.said for turn in episode.turns] == [
        "Thought: First the drawer.\nActionPath: Start\nAction: go to drawer 1",
        None,
    ]
    assert [*map(read_thought, episode.turns)] == ["First the drawer.\nActionPath: Start", ""]
    assert episode.final_observation == "Nothing happens."
    assert not episode.success and episode.truncated and episode.task == "put a mug in desk."


def test_agenttraj(tmp_path):
    (episode,) = import_agenttraj(lines(tmp_path / "a.jsonl", AGENTTRAJ))
    assert [turn.action for turn in episode.turns] == ["go to desk 1", "look"]
    assert episode.turns[0].observation.endswith("put a mug in desk.")
    assert episode.turns[0].admissible_commands == ("go to desk 1", "inventory", "look")
    assert episode.turns[1].admissible_commands is None
    assert [*map(read_thought, episode.turns)] == ["The desk.\nThen more.", ""]
    assert episode.metadata["instructions"] == "Interact with a household to solve a task."
    assert (episode.game, episode.success, episode.final_observation) == ("alfworld_7", True, "")


@pytest.mark.parametrize("answer", ["OK", "Ok, got it!", "Okay, I understand.", "OK. I will follow."])
def test_instructions_are_told_by_their_answer(tmp_path, answer):
    told = [{"from": "human", "value": "Interact with a household."}, {"from": "gpt", "value": answer}]
    record = {**ETO, "conversations": [*told, *ETO["conversations"]]}
    (episode,) = import_eto(lines(tmp_path / "eto.jsonl", record))
    assert episode.metadata["instructions"] == "Interact with a household."
    assert episode.turns[0].action == "go to shelf 1"


def test_json_arrays_and_gzip_are_read_alike(tmp_path):
    array = tmp_path / "a.json"
    array.write_text(json.dumps([ETO, AGENTTRAJ], indent=1))
    zipped = tmp_path / "a.jsonl.gz"
    zipped.write_bytes(gzip.compress(lines(tmp_path / "a.jsonl", ETO, AGENTTRAJ).read_bytes()))
    assert list(import_sharegpt(array)) == list(import_sharegpt(zipped)) != []


def tales_step(number, score, observation, action, feedback):
    return {
        "Step": number,
        "Score": score,
        "Max Score": 1,
        "Normalized Score": score,
        "Moves": number,
        "Observation": observation,
        "Action": action,
        "Feedback": feedback,
        "Prompt": "...",
        "Response": f"I will {action}",
        "Token Usage": 3,
    }


def test_tales_restarts_are_episodes(tmp_path):
    folder = tmp_path / "ALFWorldPickUp"
    folder.mkdir()
    lines(
        folder / "a0_s1.jsonl",
        tales_step(1, 0, "A room.\nYour task is to: win.", "wait", "Lost."),
        tales_step(2, 0, "Lost.\n\n-= Restarting =-\nA room.\nYour task is to: win.", "look", "A key."),
        tales_step(3, 1, "A key.", "take key", "Won."),
    )
    lost, won = import_tales(tmp_path)
    assert (lost.rewards, lost.truncated, lost.final_observation) == ((0.0,), True, "Lost.")
    assert (won.rewards, won.terminated, won.final_observation) == ((0.0, 1.0), True, "Won.")
    assert won.turns[0].observation == "A room.\nYour task is to: win."
    assert won.game == "ALFWorldPickUp"
    assert [turn.said for turn in won.turns] == ["I will look", "I will take key"]


# ------------------------------------------------------------------------------- wording


def test_rewording_gives_the_text_of_move_games_and_says_so(tmp_path):
    (episode,) = import_eto(lines(tmp_path / "eto.jsonl", ETO))
    moved = reword_to_move(episode)
    assert [turn.action for turn in moved.turns][-1] == "move mug 1 to desk 1"
    assert moved.final_observation == "You move the mug 1 to the desk 1."
    assert moved.turns[1].observation == "You arrive at shelf 1. On the shelf 1, you see a mug 1."
    assert moved.turns[0].observation == episode.turns[0].observation
    assert moved.metadata["rewritten"] == {"commands": [2], "observations": [1, 3]}
    assert reword_to_move(moved) == moved


def test_rewording_brings_the_welcome_back(tmp_path):
    (episode,) = import_knowagent(lines(tmp_path / "k.jsonl", KNOWAGENT))
    first = reword_to_move(episode).turns[0].observation
    assert first.startswith("-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle")
    assert first.endswith("a drawer 1.\n\nYour task is to: put a mug in desk.")
    assert [turn.action for turn in reword_to_move(episode).turns][1] == "move mug 1 to desk 1"


def test_rewording_drops_ids_that_spell_the_old_command():
    turns = (
        Turn("o", "look", token_ids=(1,), logprobs=(-1.0,)),
        Turn(
            "o",
            "put a 1 in/on b 1",
            token_ids=(2,),
            logprobs=(-1.0,),
            admissible_commands=("put a 1 in/on b 1",),
        ),
    )
    first, second = reword_to_move(
        Trajectory(turns, final_observation="You put the a 1 in/on the b 1.")
    ).turns
    assert first == turns[0]
    assert (second.token_ids, second.logprobs) == (None, None)
    assert second.admissible_commands == ("move a 1 to b 1",)


# ------------------------------------------------------------------------------- whole files


def test_importing_makes_a_dataset_that_tells_its_source(tmp_path, capsys):
    source = lines(tmp_path / "k.jsonl", KNOWAGENT, KNOWAGENT)
    options = ["--format", "knowagent", "--move", "--licence", "MIT", "-o", str(tmp_path / "d")]
    assert main(["dataset", "import", str(source), *options]) == 0
    assert "2 episodes imported" in capsys.readouterr().out
    dataset = load_trajectories(tmp_path / "d")
    (meta,) = dataset.metas
    assert (len(dataset), meta.dialect, meta.licence) == (2, "move", "MIT")
    assert meta.metadata["imported_from"] == "k.jsonl" and "move" in meta.metadata["reworded"]
    with pytest.raises(ConfigurationError, match="choose one of agenttraj, eto"):
        import_dataset(tmp_path / "k.jsonl", tmp_path / "d", "pickle")


@pytest.mark.parametrize("last", ['{"name": 3}', json.dumps({**KNOWAGENT, "name": "\ud800"}), None])
def test_a_failed_import_writes_nothing(tmp_path, capsys, last):
    good = lines(tmp_path / "good.jsonl", KNOWAGENT)
    source = tmp_path / "bad.jsonl"
    if last:
        source.write_text("\n".join([*[json.dumps(KNOWAGENT)] * 2, last]))
    import_dataset(good, tmp_path / "there", "knowagent")
    before = (tmp_path / "there" / "meta.json").read_bytes()
    for output in ("new", "there"):
        with pytest.raises(DatasetError):
            import_dataset(source, tmp_path / output, "knowagent", licence="MIT")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "there" / "meta.json").read_bytes() == before
    assert len(load_trajectories(tmp_path / "there")) == 1
    with pytest.raises(
        DatasetError, match="there: is there already"
    ):  # the same file twice would count twice
        import_dataset(good, tmp_path / "there", "knowagent")
    assert len(load_trajectories(tmp_path / "there")) == 1


def test_importing_nothing_is_an_error(tmp_path):
    (tmp_path / "logs").mkdir()
    with pytest.raises(DatasetError, match="logs: holds no episodes"):
        import_dataset(tmp_path / "logs", tmp_path / "d", "tales")
    assert not (tmp_path / "d").exists()


@with_data
@pytest.mark.parametrize(
    ("read", "file", "episodes", "won"),
    [
        (import_eto, "eto_expert_train.jsonl.gz", 3554, 3554),
        (import_knowagent, "knowagent_D0.jsonl.gz", 510, None),
        (import_knowagent, "knowagent_D1.jsonl.gz", 510, None),
    ],
)
def test_every_collected_episode_imports(read, file, episodes, won):
    imported = list(read(DATA / file))
    assert len(imported) == episodes
    assert won is None or sum(episode.success for episode in imported) == won
    assert all(len(episode) > 0 and episode.task and "/trial_" in episode.game for episode in imported)
    assert not any("Think:" in turn.action or "\n" in turn.action for e in imported for turn in e.turns)


BROKEN = [
    "not json",
    "[1, 2",
    "[1, 2]",
    "{}",
    '{"conversations": []}',
    '{"conversations": "text"}',
    '{"conversations": [{"from": "human", "value": "x"}, {"from": "human", "value": "y"}]}',
    '{"conversations": [{"from": "human"}, {"from": "gpt", "value": 3}]}',
    '{"name": 3, "result": true, "traj": null}',
    '{"Observation": 3}',
    '{"Observation": "x", "Score": "much"}',
    "[" * 5000,
]


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("format", ["sharegpt", "knowagent", "tales"])
def test_files_that_hold_something_else(tmp_path, format, content):
    file = tmp_path / "file.jsonl"
    file.write_text(content)
    with pytest.raises(DatasetError, match=r"file\.jsonl"):
        list(IMPORTERS[format](file))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", gzip.compress(b"{}" * 100, mtime=0)[:-9], b""])
def test_unreadable_bytes(tmp_path, content):
    file = tmp_path / "file.jsonl.gz"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read"):
        list(import_eto(file))
    with pytest.raises(DatasetError, match="cannot be read"):
        list(import_eto(tmp_path / "absent.jsonl"))


# --- what other tools write -----------------------------------------------------------------------------------


def only(tmp_path, record, read=import_sharegpt):
    (episode,) = read(lines(tmp_path / "one.jsonl", record))
    return episode


@pytest.mark.parametrize(
    "told",
    [
        {"reward": 0.0},
        {"meta": {"reward": 0}},
        {"meta": {"success": False, "steps": 3}},
        {"is_success": 0},
        {"won": False},
        {"score": 0.0},
        {"rewards": [0, 0, 0]},
    ],
)
@pytest.mark.parametrize("read", [import_sharegpt, import_agenttraj, import_eto])
def test_what_was_lost_is_not_imported_as_won(tmp_path, told, read):
    episode = only(tmp_path, {**ETO, **told}, read)
    assert not episode.success and episode.truncated and "outcome" not in episode.metadata


@pytest.mark.parametrize(
    "told", [{"reward": 1}, {"meta": {"success": True}}, {"rewards": [0, 0, 1]}, {"won": 1}]
)
def test_what_was_won_is_won(tmp_path, told):
    assert only(tmp_path, {**ETO, **told}).success


def test_an_outcome_that_nobody_tells_is_unknown_where_the_format_does_not_tell_it(tmp_path):
    episode = only(tmp_path, ETO)
    assert (episode.success, episode.terminated, episode.truncated) == (None, False, False)
    assert episode.metadata["outcome"] == "unknown"
    assert only(tmp_path, ETO, import_eto).success and only(tmp_path, ETO, import_agenttraj).success


@pytest.mark.parametrize(
    "told",
    [
        {"reward": None},
        {"reward": "much"},
        {"won": True, "meta": {"reward": 0}},
        {"won": True, "success": False, "reward": 3},
        {"reward": 2.0, "return": -1.0},
        {"success": None},
        {"rewards": [0, 1]},
    ],
)
def test_an_outcome_that_says_nothing_or_two_things_is_refused(tmp_path, told):
    with pytest.raises(DatasetError, match=r"one\.jsonl: line 1: not an episode"):
        only(tmp_path, {**ETO, **told})


@pytest.mark.parametrize(
    ("told", "success", "rewards"),
    [
        ({"rewards": [1.5, -3.0, 0.5]}, None, (1.5, -3.0, 0.5)),
        ({"rewards": [1.5, -3.0, 0.5], "success": True}, True, (1.5, -3.0, 0.5)),
        ({"return": 4.0, "success": False}, False, (0.0, 0.0, 4.0)),
        ({"return": -7.5, "success": None}, None, (0.0, 0.0, -7.5)),
    ],
)
def test_returns_of_any_size_and_whether_it_was_won_are_two_things(tmp_path, told, success, rewards):
    episode = only(tmp_path, {**ETO, **told})
    assert (episode.success, episode.rewards) == (success, rewards)
    assert (episode.terminated, episode.truncated) == (success is True, success is False)


def test_one_return_that_is_neither_0_nor_1_says_that_returns_are_no_wins(tmp_path):
    file = lines(
        tmp_path / "scores.jsonl", *({**ETO, "reward": x} for x in (1.0, 0.5, 0.0)), {**ETO, "won": True}
    )
    assert [one.success for one in import_sharegpt(file)] == [None, None, None, True]
    file = lines(tmp_path / "wins.jsonl", *({**ETO, "reward": x} for x in (1.0, 0.0)))
    assert [one.success for one in import_sharegpt(file)] == [True, False]


def test_who_speaks_out_of_turn_is_named(tmp_path):
    read, said = ETO["conversations"][:2]
    for talk, named in (
        (
            [read, said, {"from": "tool", "value": "42"}],
            "message 3 beside system ones is of 'tool' where a user has",
        ),
        ([read, read, said], "message 2 beside system ones is of a user where an assistant has to speak"),
        ([read], "no assistant says anything in it"),
        ([read, {"from": "gpt", "value": "OK"}, read], "no assistant says anything in it"),
    ):
        with pytest.raises(DatasetError, match=named):
            only(tmp_path, {**ETO, "conversations": talk, "reward": 1})
    (tmp_path / "broken.jsonl").write_text(json.dumps({**ETO, "reward": 1}) + "\n{oops")
    with pytest.raises(DatasetError, match=r"line 2: .*it is no JSON: Expecting property name"):
        list(import_sharegpt(tmp_path / "broken.jsonl"))


SPELLINGS = {
    "role and content": (("role", "content"), ("user", "assistant")),
    "capitals": (("from", "value"), ("User", "Assistant")),
}


@pytest.mark.parametrize(("keys", "names"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("listed", ["conversations", "messages"])
def test_messages_are_read_however_they_are_spelt(tmp_path, keys, names, listed):
    plain = ETO["conversations"]
    said = [{keys[0]: names[i % 2], keys[1]: message["value"]} for i, message in enumerate(plain)]
    record = {"name": ETO["name"], listed: said, "reward": 1.0}
    assert only(tmp_path, record).turns == only(tmp_path, {**ETO, "reward": 1.0}).turns


def test_system_messages_tags_and_prefixes_are_no_part_of_the_play(tmp_path):
    plain = ETO["conversations"]
    said = [
        {"role": "assistant", "content": f"<think>I go on.</think>\n<action> {one['value']} </action>"}
        if i % 2
        else {"role": "user", "content": f"Observation: {one['value']}"}
        for i, one in enumerate(plain)
    ]
    record = {"messages": [{"role": "system", "content": "You act in a world."}, *said], "reward": 1.0}
    episode, expected = only(tmp_path, record), only(tmp_path, {**ETO, "reward": 1.0})
    plain_turns = tuple(dataclasses.replace(turn, said=None) for turn in episode.turns)
    assert plain_turns == expected.turns and episode.final_observation == expected.final_observation
    assert episode.metadata["instructions"] == "You act in a world."
    assert [*map(read_thought, episode.turns)] == ["I go on."] * 3


def test_an_example_before_the_game_is_no_part_of_it(tmp_path):
    told = [{"from": "human", "value": "Here is an example."}, {"from": "gpt", "value": "OK"}]
    example = ETO["conversations"][:-1]
    game = [dict(message) for message in ETO["conversations"]]
    game[0]["value"] = game[0]["value"].replace("a mug in desk", "a pen in desk")
    episode = only(tmp_path, {**ETO, "conversations": [*told, *example, *game]})
    assert episode.task == "put a pen in desk." and len(episode) == 3
    assert episode.metadata["instructions"].startswith("Here is an example.")


def test_one_indented_record_and_a_byte_order_mark_are_read(tmp_path):
    file = tmp_path / "pretty.json"
    file.write_text(json.dumps(ETO, indent=4), encoding="utf-8-sig")
    assert list(import_eto(file)) == list(import_eto(lines(tmp_path / "plain.jsonl", ETO)))


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("format", ["messages", "sharegpt"])
def test_what_this_package_exports_comes_back(tmp_path, format, ending):
    source, exported = lines(tmp_path / "k.jsonl", KNOWAGENT, {**KNOWAGENT, "result": True}), f"out.{ending}"
    import_dataset(source, tmp_path / "own", "knowagent")
    main(["dataset", "export", str(tmp_path / "own"), "--format", format, "-o", str(tmp_path / exported)])
    import_dataset(tmp_path / exported, tmp_path / "back", format)
    before, after = load_trajectories(tmp_path / "own"), load_trajectories(tmp_path / "back")
    said = [
        [[(turn.action, turn.said) for turn in one.turns] for one in episodes] for episodes in (before, after)
    ]
    assert said[0] == said[1] and any(whole for one in said[0] for _, whole in one)
    assert [one.success for one in after] == [one.success for one in before]
    assert [one.rewards for one in after] == [one.rewards for one in before]
