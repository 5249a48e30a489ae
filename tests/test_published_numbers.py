"""Every measured figure in the documents is in a result file, at the place that its words name.

``published_numbers.json`` says for each figure, in the order of the documents, where it stands: a file below
``benchmarks/results`` and a path in it. A figure that is changed, a new one, a result file that says something else,
and a place of another method, test set or kind fail here. ``PUBLISHED=write pytest tests/test_published_numbers.py``
finds the places anew and writes them down (read the diff: a paragraph may name several methods). A figure that no file
has is refused, unless it stands between ``<!-- no result file -->`` and ``<!-- end -->``, in a passage that says so to
the reader, too.

Figures are percentages, signed numbers with one decimal, intervals, success by seed, and ratios (``7.1 times``).
Headings, code, settings and targets are none. In a table a row's first cell and its column's head name the method, to
the word, and what is measured; the test set is named there or above the table, the file in the last paragraph that
names one. In prose the paragraph names them.
"""

import json
import os
import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from oreo_agents.evaluation.statistics import t_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FILES = sorted(file.name for file in RESULTS.glob("*.json"))
PLACES = Path(__file__).with_name("published_numbers.json")
DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
)
TABLED = ("README.md", "benchmarks/README.md", "docs/results.md", "docs/what-works.md")
"""Those with tables of results, in which wrong figures are tried."""
NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?"
FIGURES = (
    re.compile(
        rf"({NUMBER}) % \(({NUMBER}) to ({NUMBER})|\(({NUMBER}) %, ({NUMBER}) to ({NUMBER})|"
        rf"({NUMBER})(?: points| %)? \[({NUMBER}), ({NUMBER})\]"
    ),
    re.compile(r"(?<![\w.])(\d+\.\d)(?:, (\d+\.\d))(?:, (\d+\.\d))(?:, (\d+\.\d))?(?:, (\d+\.\d))?(?! %)"),
    re.compile(rf"\[({NUMBER}), ({NUMBER})\]|({NUMBER}) to ({NUMBER})(?=[;,.) ]|$)"),
    re.compile(rf"(?<![\w.+-])({NUMBER})(?=(?:(?:,| and) {NUMBER})* %(?! interval))"),
    re.compile(r"(?<![\w.+-])(\d[\d,]*(?:\.\d+)?)(?= times)"),
    re.compile(r"(?<![\w.])([+-]\d+\.\d)(?!\d)"),
)
LABELS = (
    (", as many updates as oreo| on 2,000 expert episodes", ""),
    ("further imitation", "sft continued"),
    ("(?:3|three) rounds", "iterative"),
    ("critic on the policy's trunk", "shared"),
    ("being told|told(?: the (?:admissible )?commands)?", "constrained"),
    ("no_repeat", "no repeat 5"),
    ("0.03 for both", "one temperature"),
    ("critic of its own", "separate"),
    ("of the plain side's", "memory share"),
    ("end alike", "same end"),
    ("costs", "cost"),
)
"""What documents say, and what the files call it."""
UNSAID = {"the", "of", "on", "s", "over", "ratio", "sides", "to"}
"""Words of the files that say nothing of a method."""
TESTS = {"rooms": "floor plans", "seen": "seen games", "generated_unseen": "generated"}


class Figure(NamedTuple):
    """Numbers that belong together, as they are written, and what is said of them."""

    numbers: tuple[str, ...]
    unit: str
    """``%``, ``times`` or nothing."""
    label: str
    """What the row begins with, and what heads that; in prose the paragraph."""
    head: str
    """Of the column; in prose the sentence."""
    games: tuple[str, ...]
    """Where the test set is named, the nearest first."""
    files: tuple[str, ...]
    table: bool


class Place(NamedTuple):
    """Numbers of a result file, and what they are of."""

    path: str
    values: tuple[float, ...]
    leaf: str
    kind: str
    """``row``, ``difference``, ``trial``, or ``other``, in a file that is no suite's."""
    methods: tuple[frozenset[str], ...]
    """The words of one, of a difference of two."""
    test: str = ""
    steps: int | None = None
    rate: float | None = None
    """Learning rate of a trial."""


@cache
def read_words(text):
    """The words that may name a method."""
    text = text.lower()
    for said, meant in LABELS:
        text = re.sub(said, meant, text)
    return frozenset(re.findall(r"\d+(?:\.\d+)?|[a-z]+", text)) - UNSAID


# Documents


def blank_out(found):
    """Spaces in place of what was found, so that the rest stays where it is."""
    return re.sub(r"[^\n]", " ", found[0])


def strip_settings(text):
    """The document without code, headings and passages that say they have no result file, lines kept."""
    text = "\n".join(" " * len(line) if line.startswith(("#", "    ")) else line for line in text.split("\n"))
    for pattern in (
        r"<!-- no result file -->.*?<!-- end -->",
        r"```.*?```",
        r"`[^`\n]*`",
        r"\]\([^)]*\)",
    ):
        text = re.sub(pattern, blank_out, text, flags=re.S)
    return text


def split_blocks(lines):
    """Paragraphs, items of lists, headings and tables: each a list of the numbers of its lines."""
    blocks, before = [], ""
    for i, line in enumerate(lines):
        begins = re.match(r" *(?:[-*]|\d+\.) |#", line) or line.startswith("|") != before.startswith("|")
        if line.strip():
            if begins or not before.strip() or before.startswith("#"):
                blocks.append([])
            blocks[-1].append(i)
        before = line
    return blocks


def find_numbers(text):
    """The figures in a text, in order: where each begins, its numbers, and its unit."""
    found = []
    for pattern in FIGURES:
        for match in pattern.finditer(text):
            numbers = tuple(group for group in match.groups() if group)
            if len(numbers) == 2 and not any("." in number for number in numbers):
                continue  # "2 to 4 numbers"
            after = text[match.end() : match.end() + 6]
            unit = "times" if after.startswith(" times") else "%" if "%" in match[0] + after else ""
            found.append((match.start(), numbers, unit))
        text = pattern.sub(blank_out, text)
    return sorted(found)


def find_files(text):
    """The result files that a text names; where it names none, those of the suites that it names."""
    for pattern in (r"([\w-]+)\.json", r"(?:--suite |`)([\w-]+)"):
        named = (f"{name}.json" for name in re.findall(pattern, text))
        if files := tuple(dict.fromkeys(file for file in named if file in FILES)):
            return files
    return ()


def list_figures(text):
    """The figures of a document, in order."""
    said, plain, figures = text.split("\n"), strip_settings(text).split("\n"), []
    begins = [0, *(i for i, line in enumerate(said) if line.startswith("## ")), len(said)]
    for first, last in pairwise(begins):
        files, lead = find_files("\n".join(said[first:last])) or tuple(FILES), ""
        for lines in split_blocks(said[first:last]):
            block, shown = ([text[first + i] for i in lines] for text in (said, plain))
            whole = " ".join(" ".join(block).split())
            if whole.startswith("|"):
                figures += _list_cells(block, shown, lead, files)
            else:
                shown = " ".join(" ".join(shown).split())
                files, lead = find_files(whole) or files, whole
                figures += _list_sentences(shown, whole, files)
    return figures


def _list_cells(block, shown, lead, files):
    heads = block[0].split("|")[1:-1]
    for row, plain in zip(block[2:], shown[2:], strict=True):
        cells = row.split("|")[1:-1]
        named = next((i for i, cell in enumerate(cells) if re.match(r"\s*[*+-]*\d|\s*$", cell)), len(cells))
        label = " ".join(heads[:named] + cells[:named])
        for i, cell in enumerate(plain.split("|")[1:-1]):
            games = (*reversed(heads[1 : i + 1]), label, lead)
            if heads[i].strip() != "target":
                for _, numbers, unit in find_numbers(cell.strip(" *")):
                    yield Figure(numbers, unit, label, heads[i], games, files, True)


def _list_sentences(shown, whole, files):
    for start, numbers, unit in find_numbers(shown):
        before, after = shown.rfind(". ", 0, start) + 1, shown.find(". ", start)
        sentence = shown[before : after if after > 0 else len(shown)]
        yield Figure(numbers, unit, whole, sentence, (sentence, whole), files, False)


# Result files


@cache
def read_places(file):
    """Every place of a result file that a document may quote."""
    written = json.loads((RESULTS / file).read_text())
    if isinstance(written, list):  # rows of their own: small.json
        return [place for i, row in enumerate(written) for place in _read_row(row, f"/{i}", "wilson95")]
    if "table" in written:
        return [*_read_suite(written)]
    return [*_read_others(written, "", frozenset())]


def _read_suite(written):
    for i, row in enumerate(written["table"]):
        yield from _read_row(row, f"/table/{i}", "interval95")
    for i, one in enumerate(written["differences"]):
        methods = read_words(one["a"]), read_words(one["b"])
        about = "difference", methods, one["test"], one["max_steps"]
        yield from _read_mean(one, one["mean"], "mean", f"/differences/{i}", "interval95", about)
    for method, tried in written["sweep"].items():
        for i, trial in enumerate(tried["trials"]):
            about = "trial", (read_words(method),), "", None, trial["options"].get("learning_rate")
            path = f"/sweep/{method}/trials/{i}"
            yield from _read_mean(trial, trial["success_rate"], "success_rate", path, "wilson95", about)


def _read_row(row, path, interval):
    about = "row", (read_words(row["method"]),), row.get("test", row.get("arena")), row.get("max_steps")
    yield from _read_mean(row, row["success_rate"], "success_rate", path, interval, about)
    invalid = row["invalid_action_rate"]
    yield Place(f"{path}/invalid_action_rate", (invalid,), "invalid_action_rate", *about)
    if len(row.get("per_seed", ())) > 1:
        yield Place(f"{path}/per_seed", tuple(row["per_seed"]), "per_seed", *about)


def _read_mean(one, mean, leaf, path, interval, about):
    if mean is None:  # winning is not defined
        return
    yield Place(f"{path}/{leaf}", (mean,), leaf, *about)
    yield Place(f"{path}/", (mean, *one[interval]), "", *about)
    yield Place(f"{path}/{interval}", tuple(one[interval]), "interval95", *about)
    if "t_interval95" in one:
        yield Place(f"{path}/t_interval95", tuple(one["t_interval95"]), "t_interval95", *about)


def _read_others(value, path, words):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _read_others(one, f"{path}/{key}", words | read_words(key.replace("_", " ")))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield Place(path, (value,), path.rpartition("/")[2], "other", (words,))


@cache
def map_places(file):
    """The places of a file by their paths."""
    return {place.path: place for place in read_places(file)} if file in FILES else {}


@cache
def list_games(file):
    """The test sets of a suite, and the largest of its step limits."""
    rows = [place for place in read_places(file) if place.kind == "row"]
    return {row.test for row in rows}, max((row.steps for row in rows if row.steps), default=None)


@cache
def list_words(file):
    """Every word in the names of a suite's methods."""
    return frozenset().union(*(one for place in read_places(file) for one in place.methods))


def says(numbers, values, scale):
    """Whether the texts are these values, so many times, to the last digit that is given."""
    return len(numbers) == len(values) and all(
        abs(float(number.replace(",", "")) - scale * value)
        <= 0.5000001 * 10 ** -len(number.partition(".")[2])
        for number, value in zip(numbers, values, strict=True)
    )


# Figures and places


def fits(figure, file, place):
    """Whether a place is what a figure's words say that it is."""
    if place.kind == "other":
        said = read_words(f"{figure.label} {figure.head}")
        return (
            says(figure.numbers, place.values, 1 if figure.unit == "times" else 100)
            and place.methods[0] <= said
        )
    signed = any(number[0] in "+-" for number in figure.numbers)
    return (
        figure.unit != "times"
        and signed == (place.kind == "difference")
        and says(figure.numbers, place.values, 100)
        and _is_measured(figure, place)
        and _is_method(figure, file, place)
        and _is_test(figure, file, place)
    )


def _is_measured(figure, place):
    """Whether the place is of the kind that the words say: success or invalid actions, a trial, which interval."""
    head = figure.head.lower()
    if place.kind == "trial":
        rate = re.fullmatch(r"\s*(\de-\d)\s*", head)
        return float(rate[1]) == place.rate if rate else not figure.table and "dev games" in head
    if place.leaf == "t_interval95":
        return "over seeds" in head
    if figure.table and "over seeds" in head:
        return False
    invalid = place.leaf == "invalid_action_rate"
    return invalid == ("invalid" in head) if figure.table else not invalid or "invalid" in head


def _is_method(figure, file, place):
    if not figure.table:
        return frozenset().union(*place.methods) <= read_words(figure.label)
    head, _, rival = figure.head.lower().partition("minus ")
    head = "" if place.kind == "trial" else head
    words = read_words(f"{figure.label} {head}") & list_words(file)
    if place.kind != "difference":
        return not rival and place.methods == (words,)
    against, like = read_words(rival) & list_words(file), words & {"constrained", "no", "repeat", "5"}
    return place.methods[0] == words and place.methods[1] in (against, against | like)


def _is_test(figure, file, place):
    if place.kind == "trial":
        return True
    tests, steps = list_games(file)
    said = re.search(r"(\d+) steps", figure.head) if figure.table else None
    if place.steps != (int(said[1]) if said else steps):
        return False
    for text in figure.games:
        if named := {test for test in tests if TESTS.get(test, test) in text}:
            return place.test in named
    return len(tests) == 1 or not figure.table


def find_places(figure):
    """The places that say a figure, the likeliest first: in prose the one whose method its sentence names."""
    found = [
        (len(frozenset().union(*place.methods) - read_words(figure.head)), order, f"{file}#{place.path}")
        for order, file in enumerate(figure.files)
        for place in read_places(file)
        if fits(figure, file, place)
    ]
    return [place for _, _, place in sorted(found)]


def locate_figures(document):
    """For every figure of a document its texts and place, as they are to be written down."""
    figures = list_figures((ROOT / document).read_text(encoding="utf-8"))
    return [[" ".join(figure.numbers), next(iter(find_places(figure)), None)] for figure in figures]


@cache
def read_figures(document):
    """The figures of a document as it is."""
    return list_figures((ROOT / document).read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_figure_is_in_a_result_file(document):
    if os.environ.get("PUBLISHED") == "write":
        written = json.loads(PLACES.read_text()) if PLACES.is_file() else {}
        written[document] = locate_figures(document)
        PLACES.write_text(json.dumps(written, indent=0) + "\n")
    figures, known = read_figures(document), json.loads(PLACES.read_text())[document]
    found = [" ".join(figure.numbers) for figure in figures]
    assert found == [written for written, _ in known], (
        "figures were changed or added: see the top of this file"
    )
    lost = [
        " ".join(figure.numbers)
        for figure, (_, place) in zip(figures, known, strict=True)
        if place is None or not stands_at(figure, place)
    ]
    assert not lost, f"{document}: no result file says {', '.join(lost)} of what the words name"


def stands_at(figure, place):
    """Whether a figure stands at a place that was written down."""
    file, _, path = place.partition("#")
    return path in map_places(file) and fits(figure, file, map_places(file)[path])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_passages_without_a_result_file_say_so(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (no result file|end) -->", text)
    assert marks == ["no result file", "end"] * (len(marks) // 2)
    for passage in re.findall(r"<!-- no result file -->(.*?)<!-- end -->", text, flags=re.S):
        assert "no result file" in passage.replace("\n", " ")


def test_a_changed_figure_and_a_new_one_are_noticed():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    figures = [figure.numbers for figure in list_figures(text)]
    assert len(figures) > 50 and ("+10.3", "+6.3", "+14.2") in figures
    changes = (
        text.replace("+10.3 [+6.3", "+10.4 [+6.3"),
        text.replace("70.9 %", "71.9 %"),
        text + "\n\nIt wins 99 %.\n",
    )
    for change in changes:
        assert [figure.numbers for figure in list_figures(change)] != figures


def test_figures_are_read_across_lines_and_signs_are_not_ratios():
    (broken,) = list_figures("It is ahead by 2.0 points [-4.7,\n  +0.3] there.")
    assert broken.numbers == ("2.0", "-4.7", "+0.3")
    assert [
        figure.numbers for figure in list_figures("A lost one counts -1 times, it is 7.1 times as fast.")
    ] == [("7.1",)]
    assert [figure.numbers for figure in list_figures("It wins 76.3 and 84.0 %.")] == [("76.3",), ("84.0",)]
    assert [figure.numbers for figure in list_figures("In\n`small` it wins 76.3 %.")] == [("76.3",)]


@pytest.mark.parametrize("document", TABLED)
def test_a_changed_digit_has_no_place(document):
    found = []
    for figure in read_figures(document):
        *others, last = figure.numbers
        changed = (*others, last[:-1] + str((int(last[-1]) + 1) % 10))
        found += [(changed, figure.label)] * bool(find_places(figure._replace(numbers=changed)))
    assert not found


@pytest.mark.parametrize("document", TABLED)
def test_a_figure_of_another_row_has_no_place(document):
    """In every table each figure is put into the next row, where that has another."""
    columns = defaultdict(list)
    for figure in read_figures(document):
        if figure.table:
            columns[figure.head, figure.games[-1], figure.files, len(figure.numbers)].append(figure)
    moved = [
        here._replace(numbers=there.numbers)
        for column in columns.values()
        for here, there in pairwise(column)
        if here.numbers != there.numbers
    ]
    assert len(moved) > 5
    assert not [(figure.label, figure.numbers) for figure in moved if find_places(figure)]


@pytest.mark.parametrize(
    ("said", "wrong"),
    (
        ("| method | success |\n|---|---|\n| OREO | 62.8 % |", "/rounds/18/invalid_action_rate"),
        ("| method | success |\n|---|---|\n| OREO | 62.8 % |", "/table/40/invalid_action_rate"),
        ("| method | invalid actions |\n|---|---|\n| OREO | 62 % |", "/sweep/oreo/trials/0/wilson95/0"),
        ("| method | success |\n|---|---|\n| OREO | 62.8 % |", "/table/12/success_rate"),
        ("| method | 140 seen games |\n|---|---|\n| OREO | 62.8 % |", "/table/40/success_rate"),
        ("| method | 40 steps |\n|---|---|\n| OREO | 62.8 % |", "/table/40/success_rate"),
    ),
)
def test_a_place_of_another_kind_method_or_test_set_does_not_fit(said, wrong):
    (figure,) = list_figures(f"`alfworld-small`, twelve floor plans:\n\n{said}")
    assert not stands_at(figure, f"alfworld-small.json#{wrong}")


def test_a_result_file_that_says_something_else_is_noticed():
    (figure,) = list_figures(
        "`alfworld-small`, twelve floor plans:\n\n| method | success |\n|---|---|\n| OREO | 62.8 % |"
    )
    (place,) = find_places(figure)
    found = map_places("alfworld-small.json")[place.partition("#")[2]]
    assert fits(figure, "alfworld-small.json", found)
    assert not fits(figure, "alfworld-small.json", found._replace(values=(0.638,)))


@pytest.mark.parametrize("file", ("alfworld-small.json", "alfworld-generated.json", "whole-path.json"))
def test_t_intervals_of_older_files_are_those_of_their_seeds(file):
    written = json.loads((RESULTS / file).read_text())
    scores = {
        (run["test"], run["max_steps"], run["method"], run["seed"]): run["success_rate"]
        for run in written["runs"]
        if run["round"] is None
    }
    for row in (*written["table"], *written["rounds"]):
        assert row["t_interval95"] == pytest.approx(t_interval(row["per_seed"]))
    for one in written["differences"]:
        a, b = (
            [scores[one["test"], one["max_steps"], one[side], seed] for seed in one["seeds"]] for side in "ab"
        )
        by_seed = [x - y for x, y in zip(a, b, strict=True)]
        assert one["t_interval95"] == pytest.approx(t_interval(by_seed))
