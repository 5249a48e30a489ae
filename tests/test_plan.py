"""The plan for a hundred million steps: its arithmetic by hand, its simulation by queueing theory, its page by both."""

import json
import random
import sys
from itertools import accumulate
from pathlib import Path

import pytest

from oreo_agents.errors import ConfigurationError

ROOT = Path(__file__).parents[1]
PLAN = ROOT / "benchmarks" / "plan"
PAGE = ROOT / "docs" / "a-hundred-million-steps.md"
SIMULATED = ROOT / "benchmarks" / "results" / "plan_simulation.json"


@pytest.fixture(scope="module", autouse=True)
def programs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(PLAN), *sys.path])
        yield
        for name in ("budget", "simulate", "probe"):
            sys.modules.pop(name, None)


@pytest.fixture
def plan():
    from budget import read_plan

    return read_plan()


# --- arithmetic ---------------------------------------------------------------------------------------------------


def test_the_policy_is_the_published_one(plan):
    """Llama 3.1's paper: 70.6 billion parameters; 80 layers of 8 key heads of 128 are 320 KiB a token."""
    from budget import weigh_policy, weigh_token

    assert weigh_policy(plan) / 2 == pytest.approx(70.6e9, rel=2e-3)
    assert weigh_token(plan) == 320 * 1024


def test_tokens_add_up(plan):
    from budget import count_work

    work, spoken = count_work(plan), plan.spoken
    assert work["tokens"] == pytest.approx(work["episodes"] * spoken["tokens_per_episode"], rel=1e-9)
    assert work["tokens read without a cache"] > 10 * work["tokens read"]


def test_imitation_takes_six_operations_a_parameter_and_token(plan):
    """Kaplan et al. (arXiv 2001.08361): 6 N D; embeddings do not count, the head counts for what is said alone."""
    from budget import count_training, count_work

    body = plan.shape.parameters - plan.shape.head * 2
    found = count_training(plan, "none")["operations"] / count_work(plan)["tokens"]
    assert found == pytest.approx(6 * body, rel=0.03) and found > 6 * body
    assert count_training(plan, "separate")["operations"] > 2 * count_training(plan, "none")["operations"]


def test_state_is_sixteen_bytes_a_trained_parameter(plan):
    """Rajbhandari et al. (arXiv 1910.02054): weights, gradients and Adam's two moments, here all in float32."""
    from budget import count_training

    assert count_training(plan, "none")["bytes of state"] == 16 * plan.shape.parameters
    assert count_training(plan, "separate")["bytes of state"] == 32 * plan.shape.parameters
    assert count_training(plan, "lora")["bytes of the reference"] == 0


def test_decoding_is_bound_by_reading_the_weights(plan):
    """A single episode: 141 GB through four cards' memories, at 60 % of 3.35 TB/s each."""
    from budget import time_iteration

    alone = 141.1e9 / (4 * 3.35e12 * 0.6)
    assert time_iteration(plan, 1) - plan["decoding.overhead"] == pytest.approx(alone, rel=0.01)
    assert time_iteration(plan, 64) < 1.5 * time_iteration(plan, 1)


def test_costs_follow_what_is_changed():
    from budget import count_costs, read_plan

    once, twice = (count_costs(read_plan(changes=[f"plan.steps={n}"])) for n in ("1e6", "2e6"))
    for name, part in once.items():
        assert twice[name]["usd"] == pytest.approx(2 * part["usd"]) and twice[name]["share"] == pytest.approx(
            part["share"]
        )
    dear = count_costs(read_plan(changes=["plan.steps=1e6", "card.usd_per_hour=5"]))
    assert dear["training"]["usd"] == pytest.approx(2 * once["training"]["usd"])
    assert sum(part["share"] for part in once.values()) == pytest.approx(1)


@pytest.mark.parametrize("change", ["plan.stepz=1", "steps=1", "plan.steps=many", "decoding.cached=1"])
def test_what_is_no_constant_is_refused(change):
    from budget import read_plan

    with pytest.raises(ConfigurationError, match=change.partition("=")[0]):
        read_plan(changes=[change])


def test_a_policy_that_does_not_fit_is_told():
    from budget import count_decoding, read_plan

    with pytest.raises(ConfigurationError, match="do not fit 1 cards of 80 GB"):
        count_decoding(read_plan(changes=["decoding.cards=1"]))


# --- simulation ---------------------------------------------------------------------------------------------------

SOURCES, THINKING = 10, 3.0


def solve_closed(rate):
    """Throughput, and requests present, of so many sources that think for a while and then ask a station that ends
    ``rate(k)`` requests a second when k are there: a birth-death chain (Kleinrock, Queueing Systems I, 3.8)."""
    ratios = [1.0, *((SOURCES - k) / THINKING / rate(k + 1) for k in range(SOURCES))]
    weights = [*accumulate(ratios, lambda a, b: a * b)]
    chances = [weight / sum(weights) for weight in weights]
    return sum(p * rate(k) for k, p in enumerate(chances) if k), sum(p * k for k, p in enumerate(chances))


def simulate_closed(draw, iteration, most, turns=1500):
    from simulate import Episode, Setting, simulate

    rng = random.Random(0)
    episodes = [Episode(tuple((0.0, draw(rng)) for _ in range(turns))) for _ in range(SOURCES)]
    think = lambda rng: rng.expovariate(1 / THINKING)  # noqa: E731
    setting = Setting(1, SOURCES, 1, False, think, iteration, most, chunk=SOURCES)
    return simulate(setting, episodes)


@pytest.mark.parametrize(
    ("draw", "iteration", "most", "rate"),
    [
        (lambda rng: rng.expovariate(1), lambda b: 1.0, 3, lambda k: min(k, 3)),  # M/M/3 with ten sources
        (lambda rng: rng.expovariate(1), lambda b: 0.4 + 0.1 * b, 99, lambda k: k / (0.4 + 0.1 * k)),
        (
            lambda rng: 1.0,
            lambda b: 0.4 + 0.1 * b,
            99,
            lambda k: k / (0.4 + 0.1 * k),
        ),  # any law, where all share
    ],
    ids=["queue", "sharing", "sharing, all alike"],
)
def test_a_server_is_as_busy_as_queueing_theory_says(draw, iteration, most, rate):
    told = simulate_closed(draw, iteration, most)
    speed, present = solve_closed(rate)
    assert told.requests / told.seconds == pytest.approx(speed, rel=0.05)
    assert told.present_seconds / told.seconds == pytest.approx(present, rel=0.07)


def test_littles_law():
    """What is present is what comes in times how long it stays; both are counted apart."""
    told = simulate_closed(lambda rng: rng.expovariate(1), lambda b: 0.4 + 0.1 * b, 4, turns=200)
    assert told.present_seconds == pytest.approx(told.response_seconds, rel=1e-9)


def play(lengths, replies, slots=2, workers=1, **options):
    from simulate import Episode, Setting, simulate

    episodes = [Episode(((0.0, reply),) * n) for n, reply in zip(lengths, replies, strict=True)]
    setting = Setting(workers, slots, 1, True, lambda rng: 0.5, lambda b: 0.1 * b, **options)
    return simulate(setting, episodes)


def test_all_of_a_worker_wait_for_the_longest_reply():
    """By hand: two turns of two replies, 10 and 30 tokens: 10 at 0.2 s, then 20 at 0.1 s, and twice half a second."""
    told = play([2, 2], [10.0, 30.0], chunk=2)
    assert told.seconds == pytest.approx(2 * (10 * 0.2 + 20 * 0.1 + 2 * 0.5))
    assert (told.steps, told.requests, told.said, told.held) == (4, 4, 80.0, 0)
    assert told.busy_seconds == pytest.approx(2 * 4.0)


def test_those_that_end_early_wait_for_earlier_ones():
    told = play([6, 1, 1, 1], [1.0] * 4, chunk=4)
    assert (told.held, told.held_steps, told.steps) == (3, 3, 9) and told.unsafe_steps == 3 + 5


@pytest.mark.parametrize("kind", ["worker", "server"])
def test_what_is_lost_is_played_again(kind):
    calm = play([4] * 12, [3.0] * 12, workers=2)
    told = play([4] * 12, [3.0] * 12, workers=2, lose=(kind, calm.seconds / 2))
    assert told.steps == 48 + told.repeated_steps and told.seconds > calm.seconds
    assert (told.repeated_steps > 0) == (kind == "worker")


def test_a_simulation_beside_a_recording():
    """The agent that comes with the package on generated games, a few steps: all of it is run."""
    from simulate import check_recording

    found = check_recording(None, episodes=3, slots=(1, 2, 3), max_steps=3)
    assert found["steps"] == 9 and found["slots"][1]["simulated"] == pytest.approx(1)
    assert found["slots"][3]["simulated"] == pytest.approx(found["slots"][3]["times_one_slot"])


def test_scenarios_are_drawn_from_the_plan(plan):
    from simulate import draw_episodes, draw_table, list_scenarios

    drawn = draw_episodes(plan, 2000)
    turns = sum(len(one.turns) for one in drawn) / len(drawn)
    assert turns == pytest.approx(plan.measured["steps"] / plan.measured["episodes"], rel=0.05)
    rows = list_scenarios(plan, 0.05)
    assert len(draw_table(rows).splitlines()) == len(rows) + 2 and all(
        0 < row["of_the_most"] <= 1 for row in rows
    )


# --- the probe and the page ---------------------------------------------------------------------------------------


def test_what_grows_is_measured(tmp_path):
    from learning import EPISODES
    from probe import grow

    from oreo_agents.dataset import TrajectoryWriter

    with TrajectoryWriter(tmp_path / "few") as writer:
        for episode in EPISODES:
            writer.append(episode)
    told = grow(tmp_path / "few", 60)
    assert told["record"]["shards"] == told["merge"]["shards"] == 1 and told["plan"]["episodes"] > 10
    assert all(one["cpu_seconds"] >= 0 and one["peak_mb"] > 10 for one in told.values())


def test_the_page_has_the_tables(plan):
    from budget import TABLES

    page = PAGE.read_text(encoding="utf-8")
    for title, draw in TABLES.items():
        assert draw(plan) in page, title


def test_the_page_has_the_table_of_the_simulation():
    from simulate import draw_table

    assert draw_table(json.loads(SIMULATED.read_text())["rows"]) in PAGE.read_text(encoding="utf-8")
