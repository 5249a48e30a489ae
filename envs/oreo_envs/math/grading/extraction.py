"""Find the final answer that a solution states. Knows nothing about which answer is right."""

from __future__ import annotations

import re

_HASHES = re.compile(r"####[ \t]*(?!Step\b)([^\s#][^\n]*)")
_BOX = re.compile(r"\\f?box(?:ed)?(?:[ \t]*\{|[ \t]+([^\s${}\\]+))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_SENTENCE = re.compile(r"\banswer(?:\s+is\s*:?|\s*:)[\s*]*(?!not\b)(?=(\S[^\n]{0,400}))", re.IGNORECASE)
_FORMULA = re.compile(r"\$((?:(?!\.\s)[^$])+)\$|\\\((.+?)\\\)")
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)|[,;](?=\s)|\s+(?:because|since|as|so)\s")
_MATHEMATICAL = re.compile(r"[-+]?[\d$(\[{\\.|]|[a-zA-Z]\s*=|[-+]?[a-z]\b(?!\s*[a-z]{2})")

# However long a text and whatever is in it, reading it takes time in proportion to its length.
MAX_BOXES = 50
MAX_BOX_CHARS = 4_000

Found = tuple[int, str]
"""Where in the text an answer begins, and the answer."""


def extract_answer(text: str) -> str | None:
    r"""Return the final answer that ``text`` states, or None if it states none.

    Read are ``#### 18`` (GSM8K; to the end of the line), ``\boxed{...}`` with nested braces,
    ``<answer>...</answer>``, and where none of these stands, a sentence: ``The answer is 18.``,
    ``Answer: $\frac12$``. The last one counts.

    >>> extract_answer(r"so $x = \boxed{\frac{1}{2}}$."), extract_answer("9 * 2 = 18\n#### 18")
    ('\\frac{1}{2}', '18')
    """
    marked = [found for find in (_find_hashes, _find_box, _find_tag) if (found := find(text)) is not None]
    return max(marked)[1] if marked else _find_sentence(text)


def _pick_last(found: list[Found]) -> Found | None:
    return max(((place, answer) for place, answer in found if answer), default=None)


def _find_hashes(text: str) -> Found | None:
    return _pick_last([(match.start(), _without_period(match[1])) for match in _HASHES.finditer(text)])


def _find_tag(text: str) -> Found | None:
    return _pick_last([(match.start(), match[1].strip()) for match in _TAGGED.finditer(text)])


def _find_box(text: str) -> Found | None:
    """The box that opens last among those that close, so the innermost of nested ones."""
    openings = list(_BOX.finditer(text))[-MAX_BOXES:]
    boxes = [(box.start(), box[1] or _read_braces(text, box.end())) for box in openings]
    return _pick_last(boxes)


def _read_braces(text: str, start: int) -> str:
    """The text from ``start`` to the brace that closes there; empty if none does."""
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_BOX_CHARS):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return ""


def _find_sentence(text: str) -> str | None:
    """The last ``answer is ...`` followed by what looks like an answer: mathematics, or up to three words."""
    for match in reversed(list(_SENTENCE.finditer(text))):
        stated = match[1].replace("**", "").strip()
        formula = _FORMULA.match(stated)
        if formula:
            return (formula[1] or formula[2]).strip()
        answer = _without_period(_SENTENCE_END.split(stated, maxsplit=1)[0])
        if answer and (_MATHEMATICAL.match(answer) or len(answer.split()) <= 3):
            return answer
    return None


def _without_period(text: str) -> str:
    return text.strip().rstrip(".").rstrip()
