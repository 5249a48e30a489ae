"""Formulas as trees of MathML."""

import time

import pytest

from oreo_agents.report.mathematics import ATTRIBUTES, ELEMENTS, typeset_text


def flatten(tree):
    """Elements and texts of a tree, in the order in which they are read."""
    name, _, text, *children = tree
    return [name, *([text] if text else []), *(part for child in children for part in flatten(child))]


def trees(text):
    parts = typeset_text(text)
    return [] if isinstance(parts, str) else [part["tree"] for part in parts if isinstance(part, dict)]


def walk(tree):
    yield tree
    for child in tree[3:]:
        yield from walk(child)


@pytest.mark.parametrize("around", ["${}$", "$${}$$", r"\({}\)", r"\[{}\]"])
def test_a_fraction_is_a_fraction(around):
    parts = typeset_text("Half is " + around.format(r"\frac{1}{x}") + ".")
    assert parts[0] == "Half is " and parts[2] == "."
    (tree,) = trees("Half is " + around.format(r"\frac{1}{x}") + ".")
    assert flatten(tree)[2:] == ["mfrac", "mrow", "mn", "1", "mrow", "mi", "x"]
    assert (tree[1]["display"] == "block") == (around in ("$${}$$", r"\[{}\]"))


def test_a_boxed_answer_needs_no_dollars():
    (tree,) = trees(r"The answer is \boxed{\frac{1}{72}}.")
    assert "menclose" in flatten(tree) and "72" in flatten(tree)


@pytest.mark.parametrize(
    "text",
    [
        "She has $5 and gives $6 away.",
        "It costs $5-$6, or $ 7 $.",
        "no formula",
        r"an unfinished $\frac{1",
        r"\begin{matrix} broken $\begin{matrix}$",
        "$" + "x" * 2000 + "$",
        "$" + "{" * 200 + "}" * 200 + "$",
        r"$\newcommand\a{\b\b}\a$",
    ],
)
def test_what_is_none_or_cannot_be_read_stays_as_it_is(text):
    assert typeset_text(text) == text


@pytest.mark.parametrize(
    "hostile",
    [
        r"$<script>alert(1)</script>$",
        r"$\text{<img src=x onerror=alert(1)>}$",
        r"$\hspace{99999em} x$",
        r"$\href{javascript:alert(1)}{x}$",
        r"$\style{position:fixed}{x}$",
        r"$\color{red;background:url(x)}{x}$",
    ],
)
def test_hostile_formulas_have_known_elements_and_small_attributes(hostile):
    for tree in trees(hostile):
        for name, attributes, *_ in walk(tree):
            assert name in ELEMENTS and set(attributes) <= ATTRIBUTES
            assert not any(
                len(value) > 24 or {*";:("} & set(value) or "999" in value for value in attributes.values()
            )


def test_text_full_of_beginnings_takes_no_time():
    start = time.perf_counter()
    for opening in ("$", r"\[", r"\(", r"\boxed{", "$$ "):
        typeset_text((opening + "x ") * (20_000 // (len(opening) + 2)))
    assert time.perf_counter() - start < 5
