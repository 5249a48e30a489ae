"""How near a pass must come to the model's own, and what the table of all architectures says."""

import json
from collections import Counter
from pathlib import Path

import pytest
from learning import random_decoder

from oreo_agents.models.agreement import Probe

TABLE = json.loads((Path(__file__).parents[2] / "benchmarks/results/architectures.json").read_text())


@pytest.fixture(scope="module")
def probe():
    return Probe(random_decoder("llama", 40))


@pytest.mark.parametrize(("apart", "agrees"), [(3e-4, True), (3e-3, False)])
def test_log_probabilities_may_differ_by_rounding_alone(probe, apart, agrees):
    assert probe.agrees(lambda rows: [own + apart for own in probe.logprobs]) == agrees


def test_the_table_has_what_was_measured():
    rows = TABLE["rows"]
    assert TABLE["counts"] == Counter(row["verdict"] for row in rows) and "DIFFERS" not in TABLE["counts"]
    agreeing = [row for row in rows if row["verdict"] == "agrees"]
    assert max(row[pass_] for row in agreeing for pass_ in ("training", "play", "generate")) <= 1e-4


def test_nothing_is_refused_in_it_that_transformers_does_not_run_itself():
    """A tiny configuration that cannot read is our mistake, and no word about the architecture."""
    refused = {row["kind"]: row["why"] for row in TABLE["rows"] if row["verdict"] == "refused"}
    assert not {kind for kind, why in refused.items() if "does not read token ids alone" in why}
    assert {"deepseek_v3", "jamba", "bart"} <= {row["kind"] for row in TABLE["rows"]} - refused.keys()
