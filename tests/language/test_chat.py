"""Episodes as token ids: whose token is which, what it may teach, and that ids are never made twice."""

import dataclasses

import pytest
from chat_templates import CHATML, byte_level
from learning import EPISODES, LOSING, WINNING, episode

from oreo_agents.errors import ConfigurationError, DatasetError
from oreo_agents.language.chat import Chat
from oreo_agents.language.learnt_tokenizer import learn_tokenizer


@pytest.fixture(scope="module")
def chatml():
    return byte_level(CHATML)


@pytest.fixture(scope="module")
def plain():
    return byte_level()


@pytest.fixture(params=["tokenizer", "chatml", "plain"])
def any_chat(request):
    return Chat(request.getfixturevalue(request.param))


def runs(mask):
    """(start, end) of every run of True."""
    edges = [i for i in range(len(mask) + 1) if (i < len(mask) and mask[i]) != (i > 0 and mask[i - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def test_action_mask_covers_exactly_the_actions_and_their_ends(any_chat):
    encoded = any_chat.encode(EPISODES[0])
    spans = runs(encoded.action_mask)
    assert len(spans) == len(WINNING)
    for (start, end), (command, _) in zip(spans, WINNING, strict=True):
        ids = encoded.input_ids[start:end]
        assert ids[-1] == any_chat.end_id and ids.count(any_chat.end_id) == 1
        assert any_chat.tokenizer.decode(ids[:-1]).strip() == command
        assert any_chat.understand(ids).action == command
    assert [i for i, end in enumerate(encoded.end_mask) if end] == [end - 1 for _, end in spans]
    assert encoded.imitate_mask == encoded.action_mask
    assert encoded.success and encoded.input_ids[spans[-1][1] :] == []


def test_an_episode_is_its_pieces(any_chat):
    """What an agent reads turn by turn is what a model is trained on."""
    ids = []
    for i, turn in enumerate(EPISODES[0].turns):
        ids += any_chat.reply(turn.observation) if i else any_chat.opening(turn.observation)
        ids += any_chat.action_ids(turn.action)
    encoded = any_chat.encode(EPISODES[0])
    assert encoded.input_ids == ids
    columns = (encoded.action_mask, encoded.imitate_mask, encoded.end_mask, encoded.returns)
    assert {len(encoded), *map(len, columns)} == {len(ids)}


def test_pieces_join_to_the_chat_template(chatml):
    chat = Chat(chatml)
    messages = []
    for turn in EPISODES[0].turns:
        messages += [
            {"role": "user", "content": turn.observation},
            {"role": "assistant", "content": turn.action},
        ]
    whole = chatml(
        chatml.apply_chat_template(messages, tokenize=False).rstrip("\n"), add_special_tokens=False
    )
    assert chat.encode(EPISODES[0]).input_ids == whole["input_ids"]
    assert chat.end_id == chatml.convert_tokens_to_ids("<|im_end|>")


def test_a_base_model_reads_command_lines(plain):
    text = plain.decode(Chat(plain).encode(EPISODES[1]).input_ids)
    opening = EPISODES[1].turns[0].observation
    lines = "".join(f"\n>{command}\n{answer}" for command, answer in LOSING[:-1]) + f"\n>{LOSING[-1][0]}\n"
    assert text == f"<|endoftext|>{opening}{lines}"


def test_sampled_ids_are_used_as_they_are(plain):
    """Two spellings of one command: the sampled one is kept, though the tokenizer would choose the other."""
    chat = Chat(plain)
    usual = chat.action_ids("look")
    odd = [*[plain.convert_tokens_to_ids(letter) for letter in "look"], chat.end_id]
    assert odd != usual and chat.understand(odd).action == chat.understand(usual).action == "look"
    sampled = episode(LOSING[2:], won=False, tokenizer=chat.fingerprint)
    first = dataclasses.replace(sampled.turns[0], token_ids=tuple(odd))
    encoded = chat.encode(dataclasses.replace(sampled, turns=(first, *sampled.turns[1:])))
    (start, end), *rest = runs(encoded.action_mask)
    assert encoded.input_ids[start:end] == odd
    assert encoded.input_ids[rest[0][0] : rest[0][1]] == chat.action_ids(LOSING[3][0])


def test_an_action_cut_short_keeps_its_last_token_as_its_end(chat):
    ids = tuple(chat.action_ids(LOSING[0][0])[:-1])
    cut = episode(LOSING[:2], won=False)
    cut = dataclasses.replace(cut, turns=(dataclasses.replace(cut.turns[0], token_ids=ids), cut.turns[1]))
    encoded = chat.encode(cut)
    start, end = runs(encoded.action_mask)[0]
    assert encoded.input_ids[start:end] == list(ids)
    assert encoded.end_mask[end - 1]


def test_returns_are_the_rewards_still_to_come(chat):
    turns = list(episode(WINNING[:3], won=False).turns)
    for i, reward in enumerate((0.5, 0.0, 2.0)):
        turns[i] = dataclasses.replace(turns[i], reward=reward)
    encoded = chat.encode(dataclasses.replace(EPISODES[0], turns=tuple(turns)))
    ends = [end for _, end in runs(encoded.action_mask)]
    assert encoded.returns[: ends[0]] == [2.5] * ends[0]
    assert set(encoded.returns[ends[0] :]) == {2.0}
    assert set(chat.encode(EPISODES[1]).returns) == {0.0}
    assert not chat.encode(EPISODES[1]).success


def test_noise_is_not_imitated(chat):
    noisy = chat.encode(episode(LOSING, won=False, metadata={"noise_turns": [1, 3]}))
    actions = runs(noisy.action_mask)
    assert len(actions) == 4
    assert runs(noisy.imitate_mask) == [actions[0], actions[2]]


def test_ids_of_another_tokenizer_are_refused(chat):
    other = Chat(learn_tokenizer(["something else"]))
    assert other.fingerprint != chat.fingerprint
    with pytest.raises(DatasetError, match=rf"game 'game-9'.*{other.fingerprint}.*{chat.fingerprint}"):
        chat.encode(episode(game="game-9", tokenizer=other.fingerprint))
    assert chat.encode(episode(tokenizer=chat.fingerprint)) == chat.encode(episode())


def test_ids_without_a_fingerprint_must_spell_the_action(tokenizer):
    chat, other = Chat(tokenizer), Chat(learn_tokenizer(["go to shelf 1. put a cd 2"]))
    turns = [dataclasses.replace(t, token_ids=tuple(chat.action_ids(t.action))) for t in episode().turns]
    sampled = dataclasses.replace(episode(game="game-9"), turns=tuple(turns))
    assert chat.encode(sampled) == chat.encode(episode())
    with pytest.raises(
        DatasetError, match=r"'go to drawer 1' in the episode of game 'game-9' spell.*fingerprint"
    ):
        other.encode(sampled)


LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def test_a_turn_ends_with_the_end_token_not_with_the_space_before_it():
    chat = Chat(byte_level(LLAMA2))
    assert chat.end_id == chat.tokenizer.eos_token_id
    ids = chat.action_ids("go to desk 1")
    assert ids.index(chat.end_id) == len(ids) - 1 and chat.understand(ids).action == "go to desk 1"
    assert (
        chat.tokenizer.decode(chat.reply("Nothing happens."))
        == "<|endoftext|>[INST] Nothing happens. [/INST]"
    )


def test_the_fingerprint_sees_the_template(chatml):
    other = byte_level(CHATML.replace("You are helpful.", "You are harmful."))
    assert Chat(other).fingerprint != Chat(chatml).fingerprint
    assert Chat(byte_level(CHATML)).fingerprint == Chat(chatml).fingerprint


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "grue, xyzzy! \u2603", "a" * 5000])
def test_any_observation_can_be_read(any_chat, text):
    opening, reply = any_chat.opening(text), any_chat.reply(text)
    assert opening and reply and all(isinstance(i, int) for i in opening + reply)


def test_control_tokens_in_an_observation_stay_text(any_chat):
    tokenizer = any_chat.tokenizer
    controls = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    forged = f"nothing {' '.join(tokenizer.convert_ids_to_tokens(sorted(controls)))} nothing"
    for read in (any_chat.opening, any_chat.reply):
        honest = [i for i in read("nothing") if i in controls]
        assert [i for i in read(forged) if i in controls] == honest


def test_an_action_is_one_line(plain):
    chat = Chat(plain)
    assert chat.understand(plain("  go\n to\tdesk 1 \n")["input_ids"]).action == "go to desk 1"
    assert chat.understand([]).action == chat.understand([chat.end_id]).action == ""


def test_a_tokenizer_without_a_line_break_is_refused():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<unk>": 0, "look": 1, ">": 2}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    with pytest.raises(ConfigurationError, match="neither a chat template nor a token for a line break"):
        Chat(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>"))
