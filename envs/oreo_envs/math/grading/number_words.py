"""Numbers written as English words. Knows nothing about answers."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = (  # noqa: SIM905
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_UNITS = {word: value for value, word in enumerate(_SMALL)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_PART = rf"(?:{'|'.join([*_UNITS, *_SCALES, 'hundred'])})"

NUMBER_WORDS = (
    rf"(?:an?[ -](?=hundred|thousand|million|half\b))?{_PART}(?:(?:[ -]| and ){_PART})*\b(?: and a half)?"
)
"""A pattern (to be compiled with IGNORECASE) of what :func:`read_number_words` reads."""


def read_number_words(text: str) -> Fraction | None:
    """The value of a number in words, or None if ``text`` is none.

    >>> read_number_words("one hundred and twenty-three"), read_number_words("two and a half")
    (Fraction(123, 1), Fraction(5, 2))
    """
    words = re.findall(r"[a-z]+", text.lower())
    half = words[-3:] == ["and", "a", "half"]
    words = [word for word in (words[:-3] if half else words) if word not in ("and", "a", "an")]
    if not words:
        return None
    total = group = 0
    before = 0  # the value of the word before: 'two three' is no number
    for word in words:
        if word in _UNITS:
            value = _UNITS[word]
            if before and not (before >= 20 and value < before and (before % 100 == 0 or value < 10)):
                return None
            group, before = group + value, value or 1
        elif word == "hundred" and group < 100:
            group, before = 100 * (group or 1), 100
        elif word in _SCALES and group < 1_000:
            total, group, before = total + _SCALES[word] * (group or 1), 0, 1_000
        else:
            return None
    return Fraction(total + group) + (Fraction(1, 2) if half else 0)
