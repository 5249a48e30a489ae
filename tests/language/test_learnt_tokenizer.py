"""The learnt tokenizer: commands come back as they were, names are one token, shorthand keeps what matters."""

import re

import pytest
from learning import EPISODES, OPENING
from transformers import AutoTokenizer

from oreo_agents.language.learnt_tokenizer import ENTITY, learn_text_tokenizer, learn_tokenizer, shorten_text

COMMANDS = (
    "go to desk 2",
    "open drawer 1",
    "close drawer 1",
    "take mug 1 from desk 1",
    "move mug 1 to shelf 1",
    "put mug 1 in/on shelf 1",
    "clean mug 1 with sinkbasin 1",
    "heat mug 1 with microwave 1",
    "cool mug 1 with fridge 1",
    "slice apple 1 with butterknife 12",
    "use desklamp 1",
    "examine desk 1",
    "inventory",
    "look",
    "help",
)


@pytest.fixture(scope="module")
def commander():
    return learn_tokenizer(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_form_of_command_comes_back(commander, command):
    ids = commander(command, add_special_tokens=False)["input_ids"]
    assert commander.unk_token_id not in ids
    # The one sign that stands between letters is set apart; the engine's older spelling is never offered.
    assert commander.decode(ids).replace(" / ", "/") == command


@pytest.mark.parametrize("text", [*COMMANDS, OPENING])
def test_a_name_with_its_number_is_one_token(commander, tokenizer, text):
    for learnt in (commander, tokenizer):
        tokens = learnt.tokenize(text)
        names = [token for token in tokens if re.fullmatch(ENTITY, token)]
        known = [name for name in re.findall(ENTITY, text) if name in learnt.get_vocab()]
        assert [name for name in names if name in known] == known


def test_numbers_below_the_highest_seen_are_known_too(commander):
    names = {token for token in commander.get_vocab() if token.startswith("butterknife")}
    assert names == {f"butterknife {n}" for n in range(1, 13)}
    assert commander.tokenize("butterknife 13") == [commander.unk_token]


def test_a_large_number_takes_one_token():
    vocabulary = learn_tokenizer(["order 300000", "mug 7", "take mug 120 from desk 1"]).get_vocab()
    assert {"order 1", "order 100", "order 300000", "mug 100", "mug 120", "desk 1"} <= vocabulary.keys()
    assert {"order 101", "mug 119", "desk 2"}.isdisjoint(vocabulary) and len(vocabulary) < 300


def test_rare_words_are_unknown():
    tokenizer = learn_tokenizer(["common words"] * 2 + ["rare"], min_count=2)
    assert tokenizer.tokenize("common rare words") == ["common", tokenizer.unk_token, "words"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "You arrive at desk 1. On the desk 1, you see a mug 1, a pen 2, and a desklamp 1.",
            "mug 1 pen 2 desklamp 1",
        ),
        ("On the desk 1, you see nothing.", "nothing"),
        ("You arrive at drawer 1. The drawer 1 is closed.", "closed"),
        (
            "You open the drawer 1. The drawer 1 is open. In it, you see a pen 2, and a pen 1.",
            "open pen 2 pen 1",
        ),
        ("The fridge 1 is open. In it, you see nothing.", "open nothing"),
        ("Nothing happens.", "failed"),
        ("You pick up the mug 1 from the desk 1.", "done"),
        ("You heat the mug 1 using the microwave 1.", "done"),
        ("You are carrying: a mug 1.", "You are carrying: mug 1"),
        ("You are not carrying anything.", "You are not carrying anything"),
        ("There's nothing special about desk 1.", "There's nothing special about desk 1"),
        ("This is a hot and clean mug 1.", "This is a hot and clean mug 1"),
        ("You are facing the desk 1, and fridge 1. Next to it, you see nothing.", None),
        ("You turn on the desklamp 1.", "done"),
    ],
)
def test_shorthand_drops_only_what_the_command_says(text, kept):
    short = shorten_text(text)
    if kept is not None:
        assert short == kept
    assert set(re.findall(ENTITY, short)) <= set(re.findall(ENTITY, text))


@pytest.mark.parametrize(
    "task",
    [
        "put a clean mug in shelf.",
        "put some hot apple on countertop.",
        "find two soapbar and put them in toilet.",
        "look at cd under the desklamp.",
        "examine the pen with the desklamp.",
        "cool some lettuce and put it in diningtable.",
        "put a cool tomato in microwave.",
    ],
)
def test_shorthand_keeps_the_room_and_every_word_of_the_task(task):
    short = shorten_text(OPENING.replace("put a clean mug in shelf.", task))
    room, _, said = short.partition("task ")
    assert re.findall(ENTITY, room) == re.findall(ENTITY, OPENING)
    assert said.split() == task.rstrip(".").split()


@pytest.mark.parametrize("text", [turn.observation for episode in EPISODES for turn in episode.turns])
def test_the_saved_normalizer_is_the_shorthand(tokenizer, text):
    """Two regular-expression engines, one result."""
    assert tokenizer.backend_tokenizer.normalizer.normalize_str(text) == shorten_text(text)


def test_shorthand_makes_episodes_short(tokenizer):
    assert len(tokenizer.tokenize(OPENING)) < len(OPENING.split())


def test_saved_and_loaded_it_is_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    for episode in EPISODES:
        for turn in episode.turns:
            for text in (turn.observation, turn.action):
                ids = tokenizer(text)["input_ids"]
                assert loaded(text)["input_ids"] == ids
                assert loaded.decode(ids) == tokenizer.decode(ids)


# ------------------------------------------------------------------------------------------- any text

MATH = (
    "What is 205 - 838 + 505?",
    "205 - 838 = -633",
    "-633 + 505 = -128",
    "#### -128",
    r"\boxed{\frac{1}{2}}",
)


@pytest.fixture(scope="module")
def writer():
    return learn_text_tokenizer(MATH * 3)


@pytest.mark.parametrize(
    "text",
    [
        *MATH,
        *COMMANDS,
        "",
        "  two\n\n\tlines ",
        "1,234.50%",
        "na\u00efve \u2603 \U0001f600",
        " <act> <end>",
        OPENING,
    ],
)
def test_any_text_comes_back(writer, text):
    ids = writer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert writer.decode(ids) == text
    assert not set(ids) & set(writer.all_special_ids)


def test_every_digit_is_a_token_of_its_own(writer):
    tokens = writer.tokenize("12 apples cost $3,045 and 838")
    assert [token for token in tokens if any(map(str.isdigit, token))] == list("123045838")
    assert not [token for token in writer.get_vocab() if sum(map(str.isdigit, token)) and len(token) > 1]


def test_frequent_words_are_one_token(writer):
    assert "What" in writer.tokenize("What is it?")
    assert len(writer) <= 2048


def test_a_saved_text_tokenizer_still_restores(writer, tmp_path):
    writer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    ids = writer(MATH[0])["input_ids"]
    assert loaded(MATH[0])["input_ids"] == ids and loaded.decode(ids) == MATH[0]
    assert loaded.special_tokens_map == writer.special_tokens_map


def test_the_episodes_decide_which_tokenizer_is_learnt():
    from dataclasses import replace

    from oreo_agents.models.start import tokenizer_for

    problems = [replace(episode, env_id="OREO-Reasoning") for episode in EPISODES]
    nobody_knows = [replace(episode, env_id="") for episode in EPISODES]
    assert "desk 1" in tokenizer_for(EPISODES).get_vocab()
    assert "desk 1" not in tokenizer_for(problems).get_vocab() | tokenizer_for(nobody_knows).get_vocab()


def test_replies_that_shorthand_cannot_say_are_learnt_as_text():
    from dataclasses import replace

    from oreo_agents.models.start import tokenizer_for

    said = "Thought: A mug, clean, may be in 1.5 places; SELECT *!\n  Action: go to desk 1"
    turns = tuple(replace(turn, said=said) for turn in EPISODES[0].turns)
    tokenizer = tokenizer_for([replace(EPISODES[0], turns=turns), *EPISODES[1:]])
    assert tokenizer.decode(tokenizer.encode(said, add_special_tokens=False)) == said
