import io
import re

import pytest
from rich.console import Console

from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.report.tables import success_table, to_markdown


def printed(results, width, title=""):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(success_table(results, title))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_number_is_there_whole_at_any_width(results, width):
    lines = printed(results, width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines)
    for cell in (
        "48.0 %",
        "58.5 %",
        "90.5 %",
        "41.2-54.9",
        "3.4 %",
        "22.3",
        "14.2",
        "1,234",
        "0.23",
        "25.0 %",
    ):
        assert cell in words
    for header in ("Success", "95 % CI", "Games", "Invalid", "To win", "Pick two", "s/ep."):
        assert header in words


def test_a_wide_terminal_needs_one_table_and_a_narrow_one_repeats_the_methods(results):
    assert printed(results, 200).count("OREO greedy") == 1
    assert printed(results, 40).count("OREO greedy") > 2


def test_interval_is_wilsons(results):
    low, high = wilson_interval(96, 200)
    assert f"{100 * low:.1f}-{100 * high:.1f}" in printed(results[:1], 80)


def test_what_was_not_measured_is_a_dash_and_what_nobody_measured_no_column(results):
    for result in results:
        del result["tokens_per_episode"]
    del results[0]["mean_steps"]
    out = printed(results, 200)
    assert "Tokens" not in out
    assert re.search(r"SFT .* 3\.4 % +- +14\.2", out)


def test_no_games_is_no_division():
    assert "0.0-100.0" in printed([{"method": "none", "n": 0, "successes": 0}], 80)


def test_hostile_names_are_neither_markup_nor_control(results):
    results[0]["method"] = "[bold red]x[/] \x1b[2J\x1b]0;title\x07"
    out = printed(results, 200, title="[link=x]t[/link]")
    assert "[bold red]x[/] \\x1b[2J" in out
    assert "[link=x]t[/link]" in out
    assert "\x1b" not in out and "\x07" not in out


def test_markdown_has_the_same_cells_and_escapes_pipes(results):
    results[1]["method"] = "a|b\nc"
    header, rule, *rows = to_markdown(results).splitlines()
    assert rule.count("---:") == header.count("|") - 2
    assert rows[1].startswith("| a\\|b c | 58.5 % |")
    assert len(rows) == 3


def test_a_new_task_type_gets_its_own_column(results):
    results[0]["by_task_type"]["stack_boxes"] = {"n": 4, "successes": 3}
    header, _, first, second, _ = to_markdown(results).splitlines()
    assert header.endswith("| stack_boxes |")
    assert first.endswith("| 75.0 % |")
    assert second.endswith("| - |")


def test_a_method_that_never_wins_takes_no_steps_to_win(results):
    lost = {**results[0], "method": "lost", "successes": 0, "mean_steps_success": 0.0}
    alone = printed([lost], 400)
    assert "To win" not in alone and "Steps" in alone
    header, *rows = to_markdown([results[0], lost]).splitlines()
    place = [cell.strip() for cell in header.split("|")].index("To win")
    cells = [row.split("|")[place].strip() for row in rows[1:]]
    assert float(cells[0]) > 0 and cells[1] == "-"
