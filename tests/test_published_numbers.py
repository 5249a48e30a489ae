"""Every measured figure in the documents is in a result file.

``published_numbers.json`` says for each figure, in the order of the documents, where it stands: a file below
``benchmarks/results`` and a path in it. A figure that is changed, a new one, and a result file that says something else
fail here. ``PUBLISHED=write pytest tests/test_published_numbers.py`` finds the places anew and writes them down (read
the diff: a short number may be found in a place that does not mean it). A figure that no file has is refused, unless it
stands between ``<!-- no result file -->`` and ``<!-- end -->``, in a passage that says so to the reader, too.

Figures are percentages, signed numbers with one decimal, intervals, and ratios (``7.1 times``). Headings, code and
settings are none.
"""

import json
import os
import re
from collections import defaultdict
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import pytest

from oreo_agents.evaluation.statistics import t_interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PLACES = Path(__file__).with_name("published_numbers.json")
DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")),
)
NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(
    rf"({NUMBER}) % \(({NUMBER}) to ({NUMBER})|\(({NUMBER}) %, ({NUMBER}) to ({NUMBER})|"
    rf"({NUMBER})(?: points| %)? ?\| ?({NUMBER}) to ({NUMBER})|({NUMBER})(?: points| %)? \[({NUMBER}), ({NUMBER})\]"
)
BOUNDS = re.compile(rf"\[({NUMBER}), ({NUMBER})\]|({NUMBER}) to ({NUMBER})(?=[;,.) ]|$)")
SINGLE = re.compile(rf"(?<![\w.])({NUMBER})(?= (?:%(?! interval)|times))|(?<![\w.])([+-]\d+\.\d)(?![\d])")
LABELS = {
    "sft continued": "sft-continued",
    "rejection sampling": "rejection",
    "3 rounds": "iterative",
    "three rounds": "iterative",
    "step level": "oreo-step",
    "response level": "oreo-response",
}


def blank_out(found):
    """Spaces in place of what was found, so that the rest stays where it is."""
    return re.sub(r"[^\n]", " ", found[0])


def strip_settings(text):
    """The document without code, comments and passages that say they have no result file, lines kept."""
    for pattern in (r"<!-- no result file -->.*?<!-- end -->", r"```.*?```", r"`[^`\n]*`", r"\]\([^)]*\)"):
        text = re.sub(pattern, blank_out, text, flags=re.S)
    return "\n".join(" " * len(line) if line.startswith(("#", "    ")) else line for line in text.split("\n"))


def list_figures(text):
    """Figures in order: the numbers that belong together as texts, and where they begin."""
    text, found = strip_settings(text), []
    for pattern in (INTERVAL, BOUNDS, SINGLE):
        for match in pattern.finditer(text):
            numbers = tuple(group for group in match.groups() if group)
            if pattern is not SINGLE and not any("." in number for number in numbers):
                continue  # "2 to 4 numbers"
            found.append((match.start(), numbers))
        text = pattern.sub(blank_out, text)
    return sorted(found)


@cache
def read_places(file):
    """Every group of numbers in a result file: its path, and its values, a mean with its interval together."""
    places = []

    def visit(value, path, method):
        if isinstance(value, dict):
            method = str(value.get("method") or value.get("a") or method)
            if "b" in value and "a" in value:
                method = f"{value['a']} minus {value['b']}"
            method = f"{method} {value.get('test', '')}".strip()
            low = value.get("interval95") or value.get("wilson95")
            mean = value.get("success_rate", value.get("mean"))
            if isinstance(low, list) and mean is not None:
                places.append((f"{path}/", (mean, *low), method))
            for key, one in value.items():
                if key not in ("won", "games", "names", "calibration", "stages", "settings", "versions"):
                    visit(one, f"{path}/{key}", method)
        elif isinstance(value, list):
            for i, one in enumerate(value):
                visit(one, f"{path}/{i}", method)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            places.append((path, (value,), method))

    visit(json.loads((RESULTS / file).read_text()), "", "")
    return places


@cache
def index_places(file):
    """The places of a file by what their first number, or their lower bound, rounds to."""
    index = defaultdict(list)
    for place in read_places(file):
        values = place[1]
        for value in {values[0], values[min(1, len(values) - 1)]}:
            for scale, digits in product((100, 1), range(4)):
                nearest = round(scale * value, digits)
                for step in (-1, 0, 1):  # a half may be rounded either way
                    index[digits, round(nearest + step * 10**-digits, digits)].append(place)
    return index


def says(numbers, values):
    """Whether the texts are these values, as percentages or as they are, to the last digit that is given."""
    bounds_alone = len(numbers) == 2 and len(values) == 3
    values = values[1:] if bounds_alone else values
    if len(numbers) != len(values):
        return False
    for scale in (100, 1):
        if all(
            abs(float(number.replace(",", "")) - scale * value)
            <= 0.5000001 * 10 ** -len(number.partition(".")[2])
            for number, value in zip(numbers, values, strict=True)
        ):
            return True
    return False


def look_up(place):
    """The values at a place; None where there is none."""
    file, _, path = place.partition("#")
    return map_places(file).get(path) if (RESULTS / file).is_file() else None


@cache
def map_places(file):
    """The values of a file by their paths."""
    return {path: values for path, values, _ in read_places(file)}


def find_place(numbers, context, files):
    """The place that says these numbers, of several the one whose method and test the text names."""
    wanted = context.lower()
    for said, meant in LABELS.items():
        wanted = wanted.replace(said, meant)
    best = []
    first = numbers[0].replace(",", "")
    key = len(first.partition(".")[2]), float(first)
    for order, file in enumerate(files):
        for path, values, method in index_places(file).get(key, ()):
            if says(numbers, values):
                words = set(re.split(r"[\s_,]+", method.lower()))
                score = sum(word in wanted for word in words) - sum(word not in wanted for word in words)
                best.append((-score, order, f"{file}#{path}"))
    return min(best)[2] if best else None


def locate_figures(document):
    """For every figure of a document its texts and place, as they are to be written down."""
    text = (ROOT / document).read_text(encoding="utf-8")
    everything = [file.name for file in sorted(RESULTS.glob("*.json"))]
    located = []
    for start, numbers in list_figures(text):
        section = text.rfind("\n## ", 0, start)
        end = text.find("\n## ", start)
        named = re.findall(r"([\w-]+\.json)", text[max(section, 0) : end if end > 0 else len(text)])
        files = [*dict.fromkeys(name for name in named if name in everything)]
        files = files or everything
        line = text[text.rfind("\n", 0, start) + 1 : text.find("\n", start)]
        located.append([" ".join(numbers), find_place(numbers, line, files)])
    return located


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_figure_is_in_a_result_file(document):
    if os.environ.get("PUBLISHED") == "write":
        written = json.loads(PLACES.read_text()) if PLACES.is_file() else {}
        written[document] = locate_figures(document)
        PLACES.write_text(json.dumps(written, indent=0) + "\n")
    text = (ROOT / document).read_text(encoding="utf-8")
    found = [" ".join(numbers) for _, numbers in list_figures(text)]
    known = json.loads(PLACES.read_text())[document]
    assert found == [figure for figure, _ in known], "figures were changed or added: see the top of this file"
    lost = [
        figure for figure, place in known if place is None or not says(figure.split(), look_up(place) or ())
    ]
    assert not lost, f"{document}: no result file says {', '.join(lost)}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_passages_without_a_result_file_say_so(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    marks = re.findall(r"<!-- (no result file|end) -->", text)
    assert marks[0::2] == ["no result file"] * (len(marks) // 2) and marks[1::2] == ["end"] * (
        len(marks) // 2
    )
    for passage in re.findall(r"<!-- no result file -->(.*?)<!-- end -->", text, flags=re.S):
        assert "no result file" in passage.replace("\n", " ")


def test_a_changed_figure_and_a_new_one_are_noticed():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    figures = [numbers for _, numbers in list_figures(text)]
    assert len(figures) > 50 and ("+10.3", "+6.3", "+14.2") in figures
    changes = (
        text.replace("+10.3 [+6.3", "+10.4 [+6.3"),
        text.replace("70.9 %", "71.9 %"),
        text + "\n\nIt wins 99 %.\n",
    )
    for change in changes:
        assert [numbers for _, numbers in list_figures(change)] != figures
    assert says(("70.9",), (0.7091,)) and not says(("70.9",), (0.7101,))
    assert says(("10.3", "+6.3", "+14.2"), (0.103, 0.063, 0.142)) and not says(
        ("10.3", "+6.3"), (0.103, 0.063, 0.14)
    )


def test_figures_stand_in_order():
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert all(a <= b for (a, _), (b, _) in pairwise(list_figures(text)))


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
