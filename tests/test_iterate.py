"""The loop: what a round leaves, what a second run reuses, and whose folder it is."""

import io
import json

import pytest
from rich.console import Console

from oreo_agents import load_trajectories
from oreo_agents.agents.oreo import SHIPPED
from oreo_agents.demo import Arena, Recipe
from oreo_agents.errors import ConfigurationError
from oreo_agents.iterate import Loop, iterate
from oreo_agents.models import load_critic

RECIPE = Recipe(rollouts=16, eval_games=3, max_steps=15, slots=8, oreo_epochs=0.5)


def run(output, model=SHIPPED["small"], **options):
    log = io.StringIO()
    loop = Loop(**{"iterations": 1, "recipe": RECIPE, **options})
    results = iterate(model, Arena.of("OREO-ALFWorld"), output, loop, Console(file=log, width=200))
    return results, log.getvalue()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One round."""
    output = tmp_path_factory.mktemp("iterate")
    return output, *run(output)


def test_a_round_leaves_data_policy_and_result(first):
    output, results, _ = first
    assert [result["method"] for result in results] == ["start", "oreo 1"]
    assert len(load_trajectories(output / "rollouts-1")) == 16
    assert load_critic(output / "policy-1") is not None
    assert json.loads((output / "results.json").read_text()) == results


def test_more_rounds_go_on_from_the_last(first):
    output, results, _ = first
    more, log = run(output, iterations=2)
    assert more[:2] == results and more[2]["method"] == "oreo 2"
    assert log.count("reusing") == 4  # two verdicts, rollouts and policy of the first round
    assert {episode.agent for episode in load_trajectories(output / "rollouts-2")} == {"round 2"}


def test_the_shipped_agent_can_be_named(first, monkeypatch):
    monkeypatch.setitem(SHIPPED, "mine", SHIPPED["small"])
    results, log = run(first[0], model="mine")
    assert log.count("reusing") == 4 and [result["method"] for result in results] == ["start", "oreo 1"]


def test_a_folder_belongs_to_one_loop(first):
    with pytest.raises(ConfigurationError, match=r"other settings .*choose another --output"):
        run(first[0], method="rejection")
    with pytest.raises(ConfigurationError, match="other settings"):
        iterate(
            SHIPPED["small"], Arena.of("OREO-Reasoning"), first[0], Loop(recipe=RECIPE), Console(quiet=True)
        )
