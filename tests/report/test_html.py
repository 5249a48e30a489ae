from html.parser import HTMLParser

from oreo_agents import cli
from oreo_agents.dataset import TrajectoryWriter
from oreo_agents.report.html import report_page
from oreo_agents.trajectory import Candidate, Trajectory, Turn

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \" ' & \x1b[2J"


class Page(HTMLParser):
    """The tags and the text of a page, as a browser would see them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def episode(text, won=True):
    turn = Turn(text, text, float(won), "ok", value=0.25, candidates=(Candidate(text, -0.1, 0.25),))
    return Trajectory((turn,), game=text, task=text, task_type=text, agent=text, final_observation=text)


def test_hostile_text_stays_text():
    page = Page(report_page(HOSTILE, [HOSTILE], [True], [episode(HOSTILE)]))
    assert (page.count("script"), page.count("img")) == (1, 0)
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in page.text
    assert "\x1b" not in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_needs_nothing_from_outside():
    page = Page(report_page("t", ["a"], [True], [episode("a")]))
    assert not [attributes for _, attributes in page.tags if {"src", "href"} & set(attributes)]
    assert any("default-src 'none'" in attributes.get("content", "") for _, attributes in page.tags)


def test_rates_count_every_episode_and_the_browser_only_the_limit(tmp_path, capsys):
    with TrajectoryWriter(tmp_path / "d") as writer:
        for won in (True, True, False):
            writer.append(episode("walk", won))
    assert cli.main(["report", str(tmp_path / "d"), "-o", str(tmp_path / "a/r.html"), "--limit", "2"]) == 0
    page = Page((tmp_path / "a/r.html").read_text(encoding="utf-8"))
    assert page.count("details") == 2
    assert "66.7 %" in page.text and "20.8-93.9" in page.text
    assert "V 0.250" in page.text
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["r.html"]


def test_a_missing_dataset_leaves_no_page(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "none"), "-o", str(tmp_path / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()
    assert "none" in capsys.readouterr().err
