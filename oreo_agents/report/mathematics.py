r"""Formulas in texts, ``$...$``, ``$$...$$``, ``\(...\)``, ``\[...\]`` and ``\boxed{...}``, as trees of MathML.

What the browser is to draw is a list of known elements and attributes, never markup: a formula comes from a model.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 1_000
"""Characters; a longer formula stays as it is written."""
DEEPEST = 40
"""Braces within braces."""

FORMULA = re.compile(
    r"\$\$(?P<block>[^$]+?)\$\$"
    r"|\\\[(?P<bracket>.{1,1000}?)\\\]"
    r"|\\\((?P<paren>.{1,1000}?)\\\)"
    r"|(?<![\\$])\$(?P<inline>[^\s$](?:[^$]*[^\s$\\])?)\$(?![\d$])"  # $5 and $6 are money
    r"|(?P<boxed>\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})",
    re.S,
)
ELEMENTS = frozenset(
    (
        *(
            "math",
            "mrow",
            "mi",
            "mn",
            "mo",
            "mtext",
            "mspace",
            "mfrac",
            "msqrt",
            "mroot",
            "mstyle",
            "msub",
            "msup",
        ),
        *(
            "msubsup",
            "munder",
            "mover",
            "munderover",
            "mtable",
            "mtr",
            "mtd",
            "mpadded",
            "mphantom",
            "menclose",
        ),
    )
)
ATTRIBUTES = frozenset(
    (
        *(
            "display",
            "displaystyle",
            "scriptlevel",
            "stretchy",
            "fence",
            "form",
            "accent",
            "minsize",
            "maxsize",
        ),
        *("linethickness", "columnalign", "width", "mathvariant"),
    )
)
SMALL = re.compile(r"[a-z-]{1,24}|\d{0,2}(\.\d{1,3})?(em)?")
"""Values of attributes: a word, or a length that does not leave the page."""
UNWANTED = re.compile(r"\\(newcommand|renewcommand|providecommand|def|let|href|style|class|id|color)\b")
"""What could grow without bound, or reach beyond the formula."""

Part = str | dict[str, Any]


def typeset_text(text: str) -> str | list[Part]:
    """A text whose formulas are set: its parts, of which a formula is ``{"tex": ..., "tree": ...}``.

    A tree is ``[element, attributes, text, *children]``. A text without a formula, and a formula that cannot be read,
    stay as they are.
    """
    parts: list[Part] = []
    end = 0
    for found in FORMULA.finditer(text):
        tree = _set_formula(found[found.lastgroup or 0], found.lastgroup in ("block", "bracket"))
        if tree is None:
            continue
        parts += [text[end : found.start()], {"tex": found[0], "tree": tree}]
        end = found.end()
    return [part for part in (*parts, text[end:]) if part] if parts else text


@lru_cache(maxsize=4096)
def _set_formula(latex: str, block: bool) -> list[Any] | None:
    """A tree; None for what is too long or too deep, or cannot be read."""
    if len(latex) > LONGEST or UNWANTED.search(latex) or _measure_depth(latex) > DEEPEST:
        return None
    from latex2mathml.converter import convert_to_element

    try:
        return _copy_element(convert_to_element(latex, display="block" if block else "inline"))
    except Exception:  # it has a dozen errors without a common base, and meets malformed input with any other
        return None


def _measure_depth(latex: str) -> int:
    depth = deepest = 0
    for found in re.finditer(r"\\?[{}]|\\(?:left|right|begin|end)\b", latex):
        depth += {"{": 1, "}": -1, r"\left": 1, r"\right": -1, r"\begin": 1, r"\end": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def _copy_element(element: Element) -> list[Any]:
    """Known elements with known attributes; of an unknown one its content remains."""
    name = element.tag if element.tag in ELEMENTS else "mrow"
    kept = {
        key: value for key, value in element.attrib.items() if key in ATTRIBUTES and SMALL.fullmatch(value)
    }
    return [name, kept, unescape(element.text or ""), *map(_copy_element, element)]
