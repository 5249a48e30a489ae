import gzip
import json
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from oreo_agents.cli import program as cli
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.report.html import ReportedRun, render_report
from oreo_agents.trajectory import Candidate, Trajectory, Turn

HOSTILE = "</pre></script><script>alert(1)</script><!--<img src=x onerror=alert(2)> \" ' & {{ 7 * 7 }} \x1b[2J\u2028"


class Page(HTMLParser):
    """The tags, the visible text and the episodes of a page, as a browser would see them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.data = [], "", ""
        self.feed(source)
        self.carried = json.loads(gzip.decompress(b64decode(self.data)))
        self.entries = self.carried["entries"]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][1].get("id") == "data":
            self.data += data
        elif not self.tags or self.tags[-1][0] not in ("style", "script"):
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def episode(text, won=True, value=0.25, game="", outcome=""):
    turn = Turn(
        text, text, float(won), "ok", value=value, candidates=(Candidate(text, -0.1, 0.25),), said=text
    )
    named = {"game": game or text, "task": text, "task_type": text, "agent": text, "final_observation": text}
    return Trajectory((turn,), **named, outcome=outcome)


def page_of(*runs, names=("one", "other"), limit=500):
    return Page(render_report([ReportedRun(*run) for run in zip(names, runs, strict=False)], limit))


def test_hostile_text_stays_text():
    page = page_of([episode(HOSTILE)], [episode(HOSTILE, won=False)], names=(HOSTILE, HOSTILE))
    assert (page.count("script"), page.count("img")) == (2, 0)
    assert (
        "<script>alert(1)</script><!--<img src=x onerror=alert(2)>" in page.text
        and "{{ 7 * 7 }}" in page.text
    )
    assert "<script>alert(1)</script>" in page.entries[0]["sides"][0]["steps"][0]["observation"]
    assert not {"\x1b", "\u2028"} & set(page.text + json.dumps(page.carried, ensure_ascii=False))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_needs_nothing_from_outside_and_runs_its_own_script_only():
    page = page_of([episode("a")])
    assert not [attributes for _, attributes in page.tags if {"src", "style"} & set(attributes)]
    assert not [
        attributes for tag, attributes in page.tags if not attributes.get("href", "#").startswith("#")
    ]
    (policy,) = (attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_rates_count_every_episode_and_the_browser_only_the_limit(tmp_path, capsys):
    with TrajectoryWriter(tmp_path / "d") as writer:
        for won in (True, True, False):
            writer.append(episode("walk", won))
    assert cli.main(["report", str(tmp_path / "d"), "-o", str(tmp_path / "a/r.html"), "--limit", "2"]) == 0
    page = Page((tmp_path / "a/r.html").read_text(encoding="utf-8"))
    assert [one["number"] for one in page.entries] == [1, 2]
    assert "66.7 %" in page.text and "20.8 to 93.9 %" in page.text
    assert "2 of 3 can be looked at" in page.text
    assert page.entries[0]["sides"][0]["steps"][0]["value"] == 0.25
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["r.html"]


def test_cut_replies_are_told_where_there_are_any():
    broken = replace(episode("a"), metadata={"cut_turns": [0]})
    assert "were cut" not in page_of([episode("a")]).text
    assert "1 of 2 replies (50.0%) were cut" in page_of([episode("a"), broken]).text


def test_shown_episodes_are_spread_evenly():
    page = page_of([episode("a")] * 10, limit=3)
    assert [one["number"] for one in page.entries] == [1, 4, 7]


def test_odd_numbers_and_missing_values_are_no_fault():
    page = page_of([episode("a", value=float("nan"))])
    assert page.entries[0]["sides"][0]["steps"][0]["value"] is None
    assert "No values were recorded" in page.text
    empty = page_of([])
    assert empty.entries == [] and empty.carried["opening"] is None


def test_an_episode_that_ended_before_it_began_is_no_fault():
    page = page_of([Trajectory((), game="g")], [Trajectory((), game="g")])
    assert [side["steps"] for side in page.entries[0]["sides"]] == [[], []]


def test_rewards_without_bounds_are_no_fault():
    turns = (Turn("a", "b", float("inf"), value=0.5), Turn("a", "b", float("-inf"), value=0.5))
    page = page_of([Trajectory(turns, outcome="undefined")])
    assert page.entries[0]["sides"][0]["return"] is None and "V over time" in page.text


def test_nothing_is_said_to_be_won_where_nobody_says_what_winning_is():
    page = page_of([episode("a", won, value=-3.0, outcome="undefined") for won in (False, True)])
    assert "mean return" in page.text and "0.5" in page.text
    assert "won" not in page.text


def test_two_runs_are_paired_by_their_games():
    """Of three common games A wins g1 and g2, B wins g2 and g3: by hand one each, and no difference."""
    left = [
        episode("x", won, game=game)
        for game, won in (("g1", True), ("g2", True), ("g3", False), ("g4", True))
    ]
    right = [episode("x", won, game=game) for game, won in (("g3", True), ("g2", True), ("g1", False))]
    page = page_of(left, right, names=("SFT", "OREO"))
    assert "only SFT won: 1" in page.text and "only OREO won: 1" in page.text and "both won: 1" in page.text
    assert "1 were played by one alone" in page.text and "do not tell the two apart" in page.text
    assert [[side and side["won"] for side in one["sides"]] for one in page.entries] == [
        [True, False],
        [True, True],
        [False, True],
        [True, None],
    ]


def test_games_that_came_out_differently_are_there_to_be_looked_at():
    left = [episode("x", True, game=f"g{number}") for number in range(50)]
    right = [episode("x", number != 33, game=f"g{number}") for number in range(50)]
    page = page_of(left, right, limit=2)
    assert 34 in [one["number"] for one in page.entries]
    assert ("a", {"href": "#34.1"}) in page.tags


def test_a_run_is_told_by_what_made_it(tmp_path):
    who = "weights 12ab34cd, select best_of_k, k 5, temperature 2.0"
    spec = {"id": "OREO-ALFWorld", "kwargs": {"split": "valid_seen"}}
    with TrajectoryWriter(tmp_path / "d", env_spec=spec, metadata={"player small": who}) as writer:
        writer.append(episode("walk"))
        made = dict(writer._meta.metadata)
    assert cli.main(["report", str(tmp_path / "d"), "-o", str(tmp_path / "r.html")]) == 0
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    told = text[text.index("How it was made\n") :].split("\n")
    for name, value in [
        ("checkpoint (digest of what decides)", "12ab34cd"),
        ("select", "best_of_k"),
        ("k", "5"),
        ("temperature", "2.0"),
        ("split", "valid_seen"),
        ("date", made["date"]),
    ]:
        assert f"{name}{value}" in told


def test_a_run_is_not_compared_with_itself(tmp_path, capsys):
    TrajectoryWriter(tmp_path / "d").close()
    assert cli.main(["report", str(tmp_path / "d"), str(tmp_path / "d"), "-o", str(tmp_path / "r.html")]) == 2
    assert "itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/sft/episodes", "a/oreo/episodes"], ["sft", "oreo"]),
        (["runs/one", "runs/two"], ["one", "two"]),
        (["runs/one"], ["runs/one"]),
    ],
)
def test_runs_have_names_that_tell_them_apart(paths, names):
    from pathlib import Path

    from oreo_agents.cli.report import name_runs

    assert name_runs([Path(path) for path in paths]) == names


def test_a_missing_dataset_leaves_no_page(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "none"), "-o", str(tmp_path / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()
    assert "none" in capsys.readouterr().err
