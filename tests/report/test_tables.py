import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from oreo_agents.evaluation.results import Count
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.report.tables import SuccessTable


def printed(results, width, title=""):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(SuccessTable(results, title))
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
    results = [replace(result, tokens_per_episode=None) for result in results]
    results[0] = replace(results[0], seconds_per_episode=None)
    out = printed(results, 200)
    assert "Tokens" not in out
    assert re.search(r"SFT .* 3\.4 % +22\.3 +14\.2 +- +0\.0 %", out)


def test_no_games_is_no_division(results):
    assert "0.0-100.0" in printed([replace(results[0], won=())], 80)


def test_hostile_names_are_neither_markup_nor_control(results):
    results[0] = replace(results[0], method="[bold red]x[/] \x1b[2J\x1b]0;title\x07")
    out = printed(results, 200, title="[link=x]t[/link]")
    assert "[bold red]x[/] \\x1b[2J" in out
    assert "[link=x]t[/link]" in out
    assert "\x1b" not in out and "\x07" not in out


def test_a_new_task_type_gets_its_own_column(results):
    by_task_type = {**results[0].by_task_type, "stack_boxes": Count(4, 3)}
    results[0] = replace(results[0], by_task_type=by_task_type)
    header, first, second, _ = (line.rstrip() for line in printed(results, 400).splitlines())
    assert header.endswith(" stack_boxes")
    assert first.endswith(" 75.0 %")
    assert second.endswith(" -")


def test_a_method_that_never_wins_takes_no_steps_to_win(results):
    lost = replace(results[0], method="lost", won=(False,) * 200, mean_steps_success=0.0)
    alone = printed([lost], 400)
    assert "To win" not in alone and "Steps" in alone
    header, *rows = printed([results[0], lost], 400).splitlines()
    end = header.index("To win") + len("To win")
    cells = [row[:end].split()[-1] for row in rows]
    assert float(cells[0]) > 0 and cells[1] == "-"
