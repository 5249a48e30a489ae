"""Results of earlier versions: the first format had no number."""

import json
from pathlib import Path

import pytest

from oreo_agents.errors import ConfigurationError
from oreo_agents.evaluation.results import Result

FIRST = json.loads((Path(__file__).parent / "version_1" / "result.json").read_text())


def test_it_says_what_it_said():
    assert "format" not in FIRST
    read = Result.from_json(FIRST)
    assert (read.n, read.successes, read.mean_return) == (4, 3, 0.6875)
    assert json.loads(json.dumps(read.to_json())) == {**FIRST, "format": 1}


def test_a_newer_one_is_refused_by_name():
    with pytest.raises(
        ConfigurationError, match=r"the result of oreo best-of-5 is of format 2, of a newer oreo-agents"
    ):
        Result.from_json({**FIRST, "format": 2})
