"""Which episodes are good, by success, a return or a share."""

from types import SimpleNamespace

import pytest

from oreo_agents.errors import DatasetError
from oreo_agents.language.encoded import EncodedEpisode, gather_episodes
from oreo_agents.training.config import OreoConfig
from oreo_agents.training.encoding import _settle_outcomes
from oreo_agents.training.methods import METHODS
from oreo_agents.training.objectives import mark_good, select_items
from oreo_agents.trajectory import Trajectory


def marked(returns, rule=None, success=None):
    episodes = (EncodedEpisode([0], [True], [True], [True], [r], success, return_=r) for r in returns)
    return [one.success for one in mark_good(gather_episodes(episodes), rule)]


def test_success_where_it_is_defined():
    assert marked([0.0, 1.0], success=True) == [True, True]
    with pytest.raises(DatasetError, match="good must be a return, or a share"):
        marked([0.0, 1.0], "success")


def test_a_quarter_where_it_is_not():
    assert marked([3.0, -5.0, 20.0, 4.0, 1.0, 2.0, 5.0, 0.0]) == [
        x in (20.0, 5.0) for x in (3, -5, 20, 4, 1, 2, 5, 0)
    ]


def test_a_return_or_another_share():
    assert marked([3.0, -5.0, 20.0], "3") == [True, False, True]
    assert marked([3.0, -5.0, 20.0], "100%") == [True, True, True]
    assert marked([3.0, -5.0, 20.0], "1%", success=True) == [False, False, True]


def test_equal_returns_are_all_good_or_none():
    assert marked([5.0, 1.0, 1.0, 1.0], "50%") == [True, False, False, False]
    assert marked([1.0, 1.0, 1.0, 0.0], "25%") == [True, True, True, False]
    assert marked([2.0, 2.0]) == [True, True]


@pytest.mark.parametrize(
    ("returns", "success", "said"),
    [
        ([0.0, 0.0], None, "all episodes return 0: oreo learns from the difference.*or the same one longer"),
        ([-3.0, -3.0], None, "all episodes return -3: oreo learns from the difference"),
        (
            [0.0, 0.0],
            False,
            r"no successful episodes \(all return 0\).*more --epochs, in a suite epochs under \[sft\]",
        ),
        ([1.0, 1.0], True, r"there are no failed episodes \(all return 1\)"),
    ],
)
def test_what_cannot_be_compared_is_said_truly(returns, success, said):
    episodes = [
        EncodedEpisode([0, 1], [False, True], [False, True], [False, True], [r, r], success, return_=r)
        for r in returns
    ]
    model = SimpleNamespace(vocab_size=9, max_position_embeddings=9)
    with pytest.raises(DatasetError, match=said):
        select_items(METHODS["oreo"], gather_episodes(episodes), OreoConfig(method="oreo"), model)


@pytest.mark.parametrize("method", ["oreo", "pcl", "dro", "iql"])
def test_returns_that_differ_teach_though_nothing_was_won(method):
    """Some failed worse than others, as in ScienceWorld."""
    episodes = [
        EncodedEpisode([0, 1], [False, True], [False, True], [False, True], [r, r], False, return_=r)
        for r in (-1.0, 0.0)
    ]
    model = SimpleNamespace(vocab_size=9, max_position_embeddings=9)
    config = OreoConfig(method=method)
    assert len(select_items(METHODS[method], gather_episodes(episodes), config, model)) == 2
    with pytest.raises(
        DatasetError, match="there are no successful episodes: dpo learns from the difference"
    ):
        select_items(METHODS["dpo"], gather_episodes(episodes), OreoConfig(method="dpo"), model)


def test_silence_of_an_environment_that_tells_is_no_win():
    told = [
        EncodedEpisode([0], [True], [True], [True], [r], s, return_=r)
        for r, s in ((1.0, True), (0.0, None), (0.0, None))
    ]
    recorded = [
        Trajectory((), env_id="Safe-v0"),
        Trajectory((), env_id="Safe-v0"),
        Trajectory((), env_id="Lift-v0"),
    ]
    settled = _settle_outcomes(recorded, gather_episodes(told))
    assert [one.success for one in settled] == [True, False, None]


@pytest.mark.parametrize(("returns", "told"), [([0.0, 0.0], True), ([0.0, 1.0], False)])
def test_imitation_of_the_best_says_where_none_is_better(returns, told, recwarn):
    episodes = [
        EncodedEpisode([0, 1], [False, True], [False, True], [False, True], [r, r], None, return_=r)
        for r in returns
    ]
    model = SimpleNamespace(vocab_size=9, max_position_embeddings=9)
    for method, options in (("rejection", {}), ("sft", {"good": "50%"})):
        select_items(METHODS[method], gather_episodes(episodes), OreoConfig(method=method, **options), model)
    said = [str(one.message) for one in recwarn]
    assert said == (
        [f"all 2 episodes return 0: {m} imitates them all, as none is better" for m in ("rejection", "sft")]
        if told
        else []
    )


@pytest.mark.parametrize("method", ["sft", "rejection", "dpo", "kto", "oreo"])
def test_large_returns_are_refused_where_they_are_learnt_from_alone(method):
    """Imitation and preferences take them as they are; what is no number nobody does."""

    def select(*returns):
        episodes = [
            EncodedEpisode([0, 1], [False, True], [False, True], [False, True], [r, r], None, return_=r)
            for r in returns
        ]
        return select_items(METHODS[method], gather_episodes(episodes), OreoConfig(method=method), model)

    model = SimpleNamespace(vocab_size=9, max_position_embeddings=9)
    if method == "oreo":
        with pytest.raises(DatasetError, match=r"a reward to go of 100.0, outside \[-10.0, 10.0\]: scale"):
            select(100.0, 0.0)
    else:
        assert len(select(100.0, 0.0))
    with pytest.raises(DatasetError, match="a reward that is no finite number"):
        select(float("nan"), 0.0)
