"""Small tokenizers whose vocabulary is learnt from recorded text, for decoders built from scratch.

:func:`learn_text_tokenizer` fits any text, mathematics included: byte-level BPE in which every digit is a token of
its own, so decoding restores every character.

:func:`learn_tokenizer` fits ALFWorld: an object or place such as ``soapbar 2`` is one token, and the sentences
around the names are read in shorthand (articles, separators and what merely repeats the last command are dropped),
so an episode takes about 200 tokens instead of 500. The shorthand is a normalizer inside the saved tokenizer: whoever
loads it sees ordinary text in and ordinary commands out. Knows nothing about turns; that is chat.py.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, ACT, END = "<pad>", "<unk>", "<episode>", "<act>", "<end>"

ENTITY = r"[a-z]+ \d+"

ALFWORLD_SHORTHAND: tuple[tuple[str, str], ...] = (
    (r"-= Welcome to TextWorld, ALFRED! =-\s*", ""),
    (r"You are in the middle of a room\. Looking quickly around you, you see ", ""),
    (rf"You arrive at {ENTITY}\. ", ""),
    (rf"You open the {ENTITY}\. ", ""),
    (r"You (?:pick up|move|heat|clean|cool|close|turn on)[a-z0-9 ]*\.", "done"),
    (rf"On the {ENTITY}, you see ", ""),
    (rf"The {ENTITY} is closed\.", "closed"),
    (rf"The {ENTITY} is open\. In it, you see ", "open "),
    (r"Nothing happens\.", "failed"),
    (r",? and (?=a )|, ", " "),
    (r"\ba (?=[a-z]+ \d)", ""),
    (r"Your task is to: ", "task "),
    (r"\.(?=\s|$)", ""),
)
"""(regular expression, replacement) in order; each drops only what the command just given already says."""

FEW = 100
"""No room has so many things of a kind; a larger number counts something else."""

_COMMAND_WORDS = "go to"
_PIECES = rf"{_COMMAND_WORDS}|{ENTITY}|[A-Za-z]+|\d|[^\sA-Za-z\d]"


def shorten_text(text: str) -> str:
    """What the learnt tokenizer makes of ALFWorld ``text`` before it splits it into tokens."""
    for pattern, replacement in ALFWORLD_SHORTHAND:
        text = re.sub(pattern, replacement, text)
    return text


def learn_tokenizer(texts: Iterable[str], min_count: int = 1) -> PreTrainedTokenizerFast:
    """Learn the vocabulary of ``texts``: names with their numbers, words, digits and signs.

    A name gets a token for every number up to the highest one it was seen with, or up to :data:`FEW`, and for those
    beyond that it was seen with.

    Args:
        texts: observations and actions.
        min_count: pieces seen less often become ``<unk>``.
    """
    counts = Counter(piece for text in texts for piece in re.findall(_PIECES, shorten_text(text)))
    seen: dict[str, set[int]] = defaultdict(set)
    for piece in counts:
        name, _, number = piece.partition(" ")
        if number.isdigit():
            seen[name].add(int(number))
    entities = [
        f"{name} {n}"
        for name, numbers in sorted(seen.items())
        for n in sorted(numbers.union(range(1, min(max(numbers), FEW) + 1)) - {0})
    ]
    words = sorted(piece for piece, n in counts.items() if n >= min_count and piece not in set(entities))
    vocabulary = dict.fromkeys([PAD, UNKNOWN, BEGIN, ACT, END, *words, *entities])
    return _build_tokenizer({token: i for i, token in enumerate(vocabulary)})


def learn_text_tokenizer(texts: Iterable[str], size: int = 2048) -> PreTrainedTokenizerFast:
    """Learn byte-level BPE (Sennrich et al., 2016; Radford et al., 2019) with single digits; it knows any text.

    Args:
        texts: observations and actions.
        size: tokens at most; frequent words become one each, the rest falls into shorter pieces.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[PAD, BEGIN, ACT, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _with_control_tokens(tokenizer)


def _build_tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(pattern), new) for pattern, new in ALFWORLD_SHORTHAND]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True)
    return _with_control_tokens(tokenizer, unk_token=UNKNOWN)


def _with_control_tokens(tokenizer: Tokenizer, **tokens: str) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        **tokens,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[ACT],
        clean_up_tokenization_spaces=False,
    )
