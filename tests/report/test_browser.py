"""The report as its reader has it: in a browser, with a keyboard, on a large and a small screen."""

import json
from dataclasses import replace

import pytest
from browser import CHROMIUM, Browser
from test_html import HOSTILE

from oreo_agents.report.html import ReportedRun, render_report
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


def open_page(browser, path, runs):
    """Show a report and wait until its episodes are there."""
    path.write_text(render_report(runs), encoding="utf-8")
    browser.open(path)
    browser.send("Runtime.evaluate", expression="ready", awaitPromise=True)


@pytest.fixture
def page(browser, tmp_path):
    browser.complaints.clear()
    episodes = [episode("find the door"), episode("heat an egg", won=False), episode(HOSTILE, steps=9)]
    browser.show(1200, 900)
    open_page(browser, tmp_path / "report.html", [ReportedRun(HOSTILE, episodes)])
    yield browser
    assert not browser.complaints


def choose(page, name, value):
    page.script(
        f"{name}.value = '{value}'; {name}.dispatchEvent(new Event('{'input' if name in LIMITS else 'change'}'))"
    )


LIMITS = ("least", "most")


def test_it_opens_on_the_failure_with_all_of_its_steps(page):
    assert page.text("#task") == "heat an egg" and "not won: step limit" in page.text("#about")
    assert all(f"go to room {number}" in page.text("#steps") for number in (1, 2, 3, 4))
    assert "V 0.40" in page.text("#steps li:nth-child(3)") and "advantage +0.20" in page.text(
        "#steps li:nth-child(3)"
    )
    assert page.text("#why").startswith("The first episode that was not won")


def test_an_episode_is_found_and_stepped_with_the_keyboard_alone(page):
    page.press("/")
    page.type("door")
    assert page.text("#count") == "1 of 3"
    page.press("Enter")
    assert page.text("#task") == "find the door" and page.text("#steps [aria-current]").startswith("1")
    page.press("Escape")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert "You are in room 2." in page.text("#steps [aria-current]")
    page.press("c")
    assert "highest V by 0.7" in page.text("#steps [aria-current]") and "0.14" in page.text(
        "#steps [aria-current]"
    )
    page.press("ArrowLeft")
    assert "You are in room 1." in page.text("#steps [aria-current]")
    page.press("End")
    assert "won in 4 steps" in page.text("#steps [aria-current]")
    page.press("ArrowRight")
    page.press("S")
    assert "surprise" in page.text("#steps [aria-current]")
    page.press("Home")
    page.press("w")
    assert "You are in room 3." in page.text("#steps [aria-current]")


def test_filters_orders_and_neighbours(page):
    choose(page, "outcome", "lost")
    assert page.text("#count") == "1 of 3"
    choose(page, "outcome", "")
    choose(page, "least", 5)
    assert page.text("#count") == "1 of 3" and "9 steps" in page.text("#list")
    choose(page, "least", "")
    choose(page, "mark", "invalid")
    assert page.text("#count") == "0 of 3"
    choose(page, "mark", "surprise")
    assert (
        page.text("#count") == "2 of 3"
    )  # of 9 steps, V goes up to 1.6, and 0.2 is less than a fifth of that
    choose(page, "mark", "")
    choose(page, "order", "longest")
    assert "9 steps" in page.text("#list li:first-child")
    choose(page, "order", "lowest")
    assert "heat an egg" in page.text("#list li:first-child")
    page.press("]")
    assert page.text("#task") == "find the door"
    page.press("[")
    assert page.text("#task") == "heat an egg"


def test_what_is_searched_for_is_found_inside_the_episode(page):
    page.press("/")
    page.type("room 2")
    page.press("Enter")
    assert page.text("#task") == "find the door" and page.text("#steps [aria-current]").startswith("2")
    page.press("n")
    assert "You are in room 2." in page.text("#steps [aria-current]")
    page.press("n")
    assert page.text("#steps [aria-current]").startswith("3")  # there is no further one
    page.press("N")
    assert page.text("#steps [aria-current]").startswith("2")
    marked = """[...CSS.highlights.get('sought')].map((one) =>
        one.startContainer.data.slice(one.startOffset, one.endOffset))"""
    assert page.script(marked) == ["room 2", "room 2"]
    page.press("/")
    page.script("search.value = ''; search.dispatchEvent(new Event('input'))")
    assert page.script(marked) == []


def test_a_step_has_a_link_and_an_episode_is_saved(page):
    link = "#steps li:nth-child(3) a"
    assert page.script(f"document.querySelector('{link}').href").endswith("report.html#2.3")
    page.script(f"document.querySelector('{link}').click()")
    assert page.text("#steps [aria-current]").startswith("3")
    page.script(
        "URL.createObjectURL = (blob) => { window.saved = blob; return 'about:blank' };"
        "HTMLAnchorElement.prototype.click = function () { window.called = this.download };"
        "document.querySelector('#about a').dispatchEvent(new Event('click', { cancelable: true }))"
    )
    assert page.script("called") == "episode-2.json"
    told = page.send("Runtime.evaluate", expression="saved.text()", awaitPromise=True, returnByValue=True)[
        "result"
    ]["value"]
    saved = json.loads(told)
    assert saved["task"] == "heat an egg" and len(saved["sides"][0]["steps"]) == 4 and "text" not in saved


def test_tokens_are_told_where_they_were_counted(browser, tmp_path):
    browser.show(1200, 700)
    counted = replace(episode("one"), metadata={"tokens": {"prompt": 1200, "generated": 34, "critic": 0}})
    open_page(browser, tmp_path / "one.html", [ReportedRun("one", [counted])])
    assert "tokens: 1,200 read, 34 written" in browser.text("#about")
    open_page(browser, tmp_path / "none.html", [ReportedRun("none", [episode("one")])])
    assert "tokens" not in browser.text("#about")


def test_what_is_chosen_is_in_sight_in_list_and_transcript(browser, tmp_path):
    browser.show(1200, 700)
    many = [episode(f"task {number}", steps=40, won=number != 70) for number in range(80)]
    open_page(browser, tmp_path / "many.html", [ReportedRun("many", many)])
    assert browser.text("#task") == "task 70"
    inside = """(inner, outer) => { const [a, b] = [inner, outer].map((one) =>
      document.querySelector(one).getBoundingClientRect()); return a.top >= b.top - 1 && a.bottom <= b.bottom + 1 }"""
    assert browser.script(f"({inside})('#list [aria-current=true]', '#list')")
    browser.press("PageDown")
    browser.press("PageDown")
    assert browser.text("#steps [aria-current]").startswith("21")
    assert browser.script(f"({inside})('#steps [aria-current]', '#steps')")


def test_two_runs_stand_beside_each_other_and_part_where_they_do(browser, tmp_path):
    browser.show(1200, 900)
    left, right = episode("find the door"), episode("find the door", won=False)
    turns = [*right.turns[:2], replace(right.turns[2], action="wait"), *right.turns[3:]]
    runs = [
        ReportedRun("SFT", [episode("same"), left]),
        ReportedRun("OREO", [episode("same"), replace(right, turns=tuple(turns))]),
    ]
    open_page(browser, tmp_path / "two.html", runs)
    assert browser.text("#why") == "Only SFT won this game; the two runs part at step 3."
    chosen = browser.text("#steps [aria-current]")
    assert "go to room 3" in chosen and "wait" in chosen
    assert browser.script("document.querySelectorAll('#steps [aria-current] .turn').length") == 2
    choose(browser, "outcome", "left")
    assert browser.text("#count") == "1 of 2"
    browser.script("document.querySelector('[data-tab=comparison]').click()")
    assert browser.script("document.querySelector('#episodes').hidden")
    browser.script("document.querySelector('#comparison a').click()")
    browser.send(
        "Runtime.evaluate", expression="new Promise((done) => setTimeout(done, 100))", awaitPromise=True
    )
    assert not browser.script("document.querySelector('#episodes').hidden")


def test_thoughts_are_folded_and_formulas_are_set(browser, tmp_path):
    turn = Turn("Compute $\\frac{1}{2}$.", "answer", 1.0, said="Thought: easy enough\nAction: answer")
    open_page(
        browser,
        tmp_path / "math.html",
        [ReportedRun("m", [Trajectory((turn,), task="$x^2$", terminated=True)])],
    )
    assert browser.script("document.querySelector('#steps mfrac').namespaceURI").endswith("MathML")
    assert browser.script("document.querySelector('#task msup') !== null")
    assert "easy enough" not in browser.text("#steps")
    browser.press("t")
    assert "easy enough" in browser.text("#steps")


def test_hostile_text_is_text(page):
    page.script("document.querySelector('#list li:last-child button').click()")
    assert "<script>alert(1)</script>" in page.text("#task")
    assert "<img src=x onerror=alert(2)>" in page.text("h1")
    assert page.script("document.images.length + document.querySelectorAll('main script').length") == 0


def test_a_link_leads_to_a_step(page):
    page.script("document.querySelector('#list button').click()")
    page.press("ArrowRight")
    address = page.script("location.href")
    assert address.endswith("#1.2")
    page.send("Page.reload")
    while page._read().get("method") != "Page.loadEventFired":
        pass
    page.send("Runtime.evaluate", expression="ready", awaitPromise=True)
    assert "You are in room 1." in page.text("#steps [aria-current]")


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_screen(page, width):
    page.show(width, 800)
    for tab in ("made", "results", "episodes"):
        page.script(f"showTab('{tab}')")
        assert page.script("document.documentElement.scrollWidth") <= width


def test_dark_where_the_reader_wants_it_dark(page):
    colours = "getComputedStyle(document.body).backgroundColor + getComputedStyle(document.body).color"
    light = page.script(colours)
    page.show(1200, 900, dark=True)
    assert light.startswith("rgb(255, 255, 255)") and page.script(colours).startswith("rgb(20, 24, 29)")


def test_a_foreign_script_would_not_run(page):
    page.script(
        "const added = document.createElement('script'); added.textContent = 'owned = 1'; document.body.append(added)"
    )
    assert page.script("typeof owned") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in page.complaints)
    page.complaints.clear()


def test_without_scripts_all_but_the_episodes_is_there(browser, tmp_path):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    (tmp_path / "still.html").write_text(render_report([ReportedRun("r", [episode("find the door")])]))
    browser.open(tmp_path / "still.html")
    browser.send("Emulation.setScriptExecutionDisabled", value=False)
    shown = browser.text("body")
    assert "needs JavaScript" in shown and "95 % interval" in shown and "How it was made" in shown
