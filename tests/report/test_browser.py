"""The report as its reader has it: in a browser, with a keyboard, on a large and a small screen."""

import pytest
from browser import CHROMIUM, Browser
from test_html import HOSTILE

from oreo_agents.report.html import report_page
from oreo_agents.trajectory import Candidate, Trajectory, Turn

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)


def episode(task, steps=4, won=True):
    turns = [
        Turn(
            f"You are in room {number}.",
            f"go to room {number + 1}",
            float(won and number == steps - 1),
            "ok",
            value=0.2 * number,
            candidates=(
                Candidate(f"go to room {number + 1}", -0.5, 0.2 * number),
                Candidate("wait", -2.0, -0.3),
            ),
        )
        for number in range(steps)
    ]
    return Trajectory(
        tuple(turns), game=task, task=task, task_type="walk", agent="me", terminated=won, truncated=not won
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, tmp_path):
    browser.complaints.clear()
    episodes = [episode("find the door"), episode("heat an egg", won=False), episode(HOSTILE)]
    (tmp_path / "report.html").write_text(report_page(HOSTILE, episodes), encoding="utf-8")
    browser.show(1200, 900)
    browser.open(tmp_path / "report.html")
    yield browser
    assert not browser.complaints


def test_an_episode_is_found_and_stepped_with_the_keyboard_alone(page):
    page.press("/")
    page.type("egg")
    assert page.text("#count") == "1 of 3"
    page.press("Enter")
    assert page.text("#task") == "heat an egg"
    assert page.text("#place") == "step 1/4"
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert page.text("#place") == "step 3/4"
    assert "You are in room 2." in page.text("#step") and "> go to room 3" in page.text("#step")
    assert "V 0.400" in page.text("#step") and "advantage +0.200" in page.text("#step")
    assert "highest V by 0.7" in page.text("#step") and "0.135" in page.text("#step")
    page.press("ArrowLeft")
    assert page.text("#place") == "step 2/4"
    page.press("End")
    assert "not won: step limit after 4 steps" in page.text("#step")
    page.press("ArrowRight")
    assert page.text("#place") == "end"
    page.press("Home")
    assert page.text("#place") == "step 1/4"


def test_filters_and_neighbours(page):
    page.script("outcome.value = 'lost'; outcome.dispatchEvent(new Event('change'))")
    assert page.text("#count") == "1 of 3"
    page.script("outcome.value = ''; outcome.dispatchEvent(new Event('change'))")
    page.script("document.querySelector('#list button').click()")
    page.press("]")
    assert page.text("#task") == "heat an egg"
    page.press("[")
    assert page.text("#task") == "find the door"


def test_hostile_text_is_text(page):
    page.script("document.querySelector('#list li:last-child button').click()")
    assert "<script>alert(1)</script>" in page.text("#task")
    assert "<img src=x onerror=alert(2)>" in page.text("h1")
    assert page.script("document.images.length + document.querySelectorAll('main script').length") == 0


def test_a_link_leads_to_a_step(page, tmp_path):
    page.script("document.querySelector('#list button').click()")
    page.press("ArrowRight")
    address = page.script("location.href")
    assert address.endswith("#1.2")
    page.send("Page.reload")
    while page._read().get("method") != "Page.loadEventFired":
        pass
    assert page.text("#place") == "step 2/4"


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_screen(page, width):
    page.show(width, 800)
    page.script("document.querySelector('#list button').click()")
    assert page.script("document.documentElement.scrollWidth") <= width


def test_dark_where_the_reader_wants_it_dark(page):
    colours = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
    light = page.script(colours)
    page.show(1200, 900, dark=True)
    assert light.startswith("rgb(255, 255, 255)") and page.script(colours).startswith("rgb(20, 23, 27)")


def test_a_foreign_script_would_not_run(page):
    page.script(
        "const added = document.createElement('script'); added.textContent = 'owned = 1'; document.body.append(added)"
    )
    assert page.script("typeof owned") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in page.complaints)
    page.complaints.clear()
