"""Where ``benchmarks/run.py`` puts its result file."""

from pathlib import Path

import pytest
from run import RESULTS, with_results


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "smoke"),
        (["--suite", "gsm8k", "--seeds", "0", "1"], "gsm8k"),
        (["--suite=gsm8k", "--jobs", "2"], "gsm8k"),
        (["--methods", "sft", "--suite", "mine/own.toml"], "own"),
    ],
)
def test_the_result_file_has_the_name_of_the_suite(arguments, name):
    assert with_results(arguments) == [*arguments, "--results", str(RESULTS / f"{name}.json")]


def test_a_place_that_was_given_is_kept():
    arguments = ["--suite", "gsm8k", "--results", str(Path("here.json"))]
    assert with_results(arguments) == arguments
