import json
from html.parser import HTMLParser

from oreo_agents.cli import program as cli
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.report.html import report_page
from oreo_agents.trajectory import Candidate, Trajectory, Turn

HOSTILE = "</pre></script><script>alert(1)</script><!--<img src=x onerror=alert(2)> \" ' & \x1b[2J\u2028"


class Page(HTMLParser):
    """The tags, the visible text and the episodes of a page, as a browser would see them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.data = [], "", ""
        self.feed(source)
        self.episodes = json.loads(self.data)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "episodes"}):
            self.data += data
        else:
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def episode(text, won=True, value=0.25):
    turn = Turn(text, text, float(won), "ok", value=value, candidates=(Candidate(text, -0.1, 0.25),))
    return Trajectory((turn,), game=text, task=text, task_type=text, agent=text, final_observation=text)


def test_hostile_text_stays_text():
    page = Page(report_page(HOSTILE, [episode(HOSTILE)]))
    assert (page.count("script"), page.count("img")) == (2, 0)
    assert "<script>alert(1)</script><!--<img src=x onerror=alert(2)>" in page.text
    assert "<script>alert(1)</script>" in page.episodes[0]["steps"][0]["observation"]
    assert not {"\x1b", "\u2028"} & set(page.text + json.dumps(page.episodes, ensure_ascii=False))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_needs_nothing_from_outside_and_runs_its_own_script_only():
    page = Page(report_page("t", [episode("a")]))
    assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
    (policy,) = (attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_rates_count_every_episode_and_the_browser_only_the_limit(tmp_path, capsys):
    with TrajectoryWriter(tmp_path / "d") as writer:
        for won in (True, True, False):
            writer.append(episode("walk", won))
    assert cli.main(["report", str(tmp_path / "d"), "-o", str(tmp_path / "a/r.html"), "--limit", "2"]) == 0
    page = Page((tmp_path / "a/r.html").read_text(encoding="utf-8"))
    assert [one["number"] for one in page.episodes] == [1, 2]
    assert "66.7 %" in page.text and "20.8-93.9" in page.text
    assert page.episodes[0]["steps"][0]["value"] == 0.25
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["r.html"]


def test_shown_episodes_are_spread_evenly():
    page = Page(report_page("t", [episode("a")] * 10, limit=3))
    assert [one["number"] for one in page.episodes] == [1, 4, 7]


def test_odd_numbers_and_missing_values_are_no_fault():
    page = Page(report_page("t", [episode("a", value=float("nan"))]))
    assert page.episodes[0]["steps"][0]["value"] is None
    assert "No values were recorded" in page.text
    assert "0 episodes" in Page(report_page("t", [])).text


def test_a_missing_dataset_leaves_no_page(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "none"), "-o", str(tmp_path / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()
    assert "none" in capsys.readouterr().err
