"""A small tokenizer whose vocabulary is learnt from recorded text, for decoders built from scratch.

In ALFWorld an object or place such as ``soapbar 2`` is one token, and the sentences around the names are
read in shorthand (articles, separators and what merely repeats the last command are dropped), so an episode
takes about 200 tokens instead of 500. The shorthand is a normalizer inside the saved tokenizer: whoever loads
it sees ordinary text in and ordinary commands out. Knows nothing about turns; that is chat.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_COMMAND_WORDS = "go to"
_PIECES = rf"{_COMMAND_WORDS}|{ENTITY}|[A-Za-z]+|\d|[^\sA-Za-z\d]"


def shorten(text: str) -> str:
    """What the learnt tokenizer makes of ALFWorld ``text`` before it splits it into tokens."""
    for pattern, replacement in ALFWORLD_SHORTHAND:
        text = re.sub(pattern, replacement, text)
    return text


def learn_tokenizer(texts: Iterable[str], min_count: int = 1) -> PreTrainedTokenizerFast:
    """Learn the vocabulary of ``texts``: names with their numbers, words, digits and signs.

    A name gets a token for every number up to the highest one it was seen with.

    Args:
        texts: observations and actions.
        min_count: pieces seen less often become ``<unk>``.
    """
    counts = Counter(piece for text in texts for piece in re.findall(_PIECES, shorten(text)))
    highest: dict[str, int] = {}
    for piece in counts:
        name, _, number = piece.partition(" ")
        if number.isdigit():
            highest[name] = max(highest.get(name, 0), int(number))
    entities = [f"{name} {n}" for name in sorted(highest) for n in range(1, highest[name] + 1)]
    words = sorted(piece for piece, n in counts.items() if n >= min_count and piece not in set(entities))
    vocabulary = dict.fromkeys([PAD, UNKNOWN, BEGIN, ACT, END, *words, *entities])
    return _build({token: i for i, token in enumerate(vocabulary)})


def _build(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(pattern), new) for pattern, new in ALFWORLD_SHORTHAND]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECES), "removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[ACT],
        clean_up_tokenization_spaces=False,
    )
