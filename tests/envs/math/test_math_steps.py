from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oreo_envs.math.problems.steps import GSM8K_DELIMITERS, MATH_DELIMITERS, split_steps, split_token_steps


@pytest.mark.parametrize(
    ("text", "delimiters", "steps"),
    [
        ("2 + 2 = 4\n#### 4", GSM8K_DELIMITERS, ["2 + 2 = 4\n", "#### 4"]),
        (
            "A costs $1.50. B is free.\n#### 1.5",
            GSM8K_DELIMITERS,
            ["A costs $1.50. B is free.\n", "#### 1.5"],
        ),
        (
            "Let $x = 2.5.$ Then $y=1$. So\n3",
            MATH_DELIMITERS,
            ["Let $x = 2.5.$ ", "Then $y=1$. ", "So\n", "3"],
        ),
        ("a.\nb", MATH_DELIMITERS, ["a.\n", "b"]),
        ("a. \n\nb", MATH_DELIMITERS, ["a. \n\n", "b"]),
        ("one step.", MATH_DELIMITERS, ["one step."]),
        ("ends here\n", GSM8K_DELIMITERS, ["ends here\n"]),
        ("", GSM8K_DELIMITERS, []),
    ],
)
def test_text_is_cut_after_delimiters(text, delimiters, steps):
    assert split_steps(text, delimiters) == steps


def pieces(*texts):
    """Token ids 0, 1, 2, ... that stand for the given texts, and their decoder."""
    return list(range(len(texts))), lambda ids: "".join(texts[i] for i in ids)


@pytest.mark.parametrize(
    ("tokens", "delimiters", "steps"),
    [
        (["a", "\n", "b"], GSM8K_DELIMITERS, [[0, 1], [2]]),
        (["a", ".\n", "b"], GSM8K_DELIMITERS, [[0, 1], [2]]),
        (["a", ".\n\n", "b"], MATH_DELIMITERS, [[0, 1], [2]]),
        (["a", "\n", "\n", "b"], GSM8K_DELIMITERS, [[0, 1, 2], [3]]),
        (["a", ".", " b", "."], MATH_DELIMITERS, [[0, 1], [2, 3]]),
        (["a", ".$", " b"], MATH_DELIMITERS, [[0, 1], [2]]),
        (["a", ".", "$", " b"], MATH_DELIMITERS, [[0, 1, 2], [3]]),
        (["a", ".$ b", "\nc", "d"], MATH_DELIMITERS, [[0, 1], [2], [3]]),
        (["3", ".", "5"], MATH_DELIMITERS, [[0, 1, 2]]),
        ([], MATH_DELIMITERS, []),
    ],
)
def test_the_token_that_holds_the_delimiter_ends_the_step(tokens, delimiters, steps):
    ids, decode = pieces(*tokens)
    assert split_token_steps(ids, decode, delimiters) == steps


@pytest.fixture(scope="module")
def tokenizer():
    """A small byte-level BPE in which frequent words, and ``.`` with a line break, are one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\w+|[^\w\s]+[\r\n]*|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(["So the sum is x.\nSo x. The sum is the sum.\n"] * 50, trainer)
    assert bpe.token_to_id(".Ċ") is not None
    return bpe


@given(text=st.text(st.sampled_from("so x.$\n 5é√漢\U0001f600"), max_size=60))
def test_both_cuts_are_reversible_and_agree(tokenizer, text):
    ids = tokenizer.encode(text).ids
    decode = partial(tokenizer.decode, skip_special_tokens=False)
    steps = split_token_steps(ids, decode, MATH_DELIMITERS)
    assert [token for step in steps for token in step] == ids and all(steps)
    texts = split_steps(text, MATH_DELIMITERS)
    assert "".join(texts) == text and all(texts)
    if text:
        # A boundary is a place in the text, up to the spaces that tokens carry over and to merged tokens.
        assert len(steps) <= len(texts) + 1
        ends = {len(decode(ids[: sum(map(len, steps[: n + 1]))]).rstrip(" ")) for n in range(len(steps) - 1)}
        cuts = {len("".join(texts[: n + 1]).rstrip(" ")) for n in range(len(texts))}
        for end in ends:
            token_start = max(
                len(decode(ids[:n]).rstrip("\ufffd")) for n in range(len(ids)) if len(decode(ids[:n])) < end
            )
            assert any(token_start < cut <= end for cut in cuts)
