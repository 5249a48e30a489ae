r"""Where one reasoning step ends and the next begins, in text and in token ids.

The paper's rule: a step ends after a newline (GSM8K), or after a newline, ``. `` or ``.$ `` (MATH).
Both functions only cut: what they return joins back to exactly what they were given.
Knows nothing about environments, grading or any particular tokenizer.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

GSM8K_DELIMITERS = ("\n",)
MATH_DELIMITERS = ("\n", ". ", ".$ ")


def split_steps(text: str, delimiters: Sequence[str] = GSM8K_DELIMITERS) -> list[str]:
    r"""Cut a solution into steps, each with the delimiter that ends it; ``"".join`` restores ``text``.

    Delimiters that follow each other directly close one step together, so no step is empty.

    >>> split_steps("2 + 2 = 4\n\n#### 4")
    ['2 + 2 = 4\n\n', '#### 4']
    """
    ends = [end for _, end in _find_boundaries(text, delimiters)]
    return [text[start:end] for start, end in pairwise(sorted({0, *ends, len(text)}))]


def split_token_steps(
    token_ids: Sequence[int],
    decode: Callable[[list[int]], str],
    delimiters: Sequence[str] = GSM8K_DELIMITERS,
) -> list[list[int]]:
    r"""Cut token ids into steps; joining the lists restores ``token_ids``.

    A step ends with the token that holds the last visible character of its delimiter (a newline counts
    as visible), whatever else was merged into that token: ``.\n`` closes a step as ``\n`` does. The space
    of ``. `` belongs to the next word's token in most vocabularies, and so to the next step.

    Args:
        token_ids: the tokens of one solution.
        decode: turns token ids into text, adding and removing nothing
            (``partial(tokenizer.decode, clean_up_tokenization_spaces=False)``).
        delimiters: what ends a step.
    """
    pieces = list(_decode_pieces(token_ids, decode))
    starts = list(accumulate(map(len, pieces), initial=0))[:-1]
    marks = (mark for mark, _ in _find_boundaries("".join(pieces), delimiters))
    ends = {bisect_right(starts, mark) for mark in marks}
    return [list(token_ids[start:end]) for start, end in pairwise(sorted({0, *ends, len(token_ids)}))]


def _find_boundaries(text: str, delimiters: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield, per run of delimiters, the place of its last visible character and its end."""
    run = re.compile(f"(?:{'|'.join(map(re.escape, sorted(delimiters, key=len, reverse=True)))})+")
    for match in run.finditer(text):
        yield match.start() + len(match[0].rstrip(" ")) - 1, match.end()


def _decode_pieces(token_ids: Sequence[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Yield the text that each token adds; a character cut across tokens comes with the last of them."""
    context = done = 0
    for end in range(1, len(token_ids) + 1):
        before, after = decode(list(token_ids[context:done])), decode(list(token_ids[context:end]))
        if after.endswith("\ufffd"):
            yield ""
            continue
        yield after[len(before) :]
        context, done = done, end
