import gc

import pytest
from forks import Forks


def pytest_collection_finish(session):
    """Leave what the imports made out of later garbage collections: Trainer makes a full one after every training."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """All is imported and nothing done: the moment for what `forks` makes copies of."""
    if session.items and not session.config.option.collectonly:
        session.forks = Forks()


def pytest_sessionfinish(session):
    if hasattr(session, "forks"):
        session.forks.close()


@pytest.fixture(scope="session")
def forks(request):
    """Runs programs without the seconds that a new Python spends on imports; see helpers/forks.py."""
    return request.session.forks


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer learnt from the three episodes in learning.py."""
    from learning import EPISODES

    from oreo_agents.language.learnt_tokenizer import learn_tokenizer
    from oreo_agents.models.start import texts_of

    return learn_tokenizer(texts_of(EPISODES))


@pytest.fixture(scope="session")
def chat(tokenizer):
    from oreo_agents.language.chat import Chat

    return Chat(tokenizer)


@pytest.fixture
def policy(tokenizer):
    """A new random decoder of two layers; the same weights every time."""
    import torch

    from oreo_agents.models.decoder import small_decoder

    torch.manual_seed(0)
    return small_decoder(tokenizer, hidden_size=64, layers=2)


@pytest.fixture
def critic(policy):
    """A critic whose values differ from token to token."""
    import torch

    from oreo_agents.models.critic import Critic

    critic = Critic.from_policy(policy)
    torch.manual_seed(1)
    torch.nn.init.normal_(critic.value_head.weight)
    return critic


def make_episode(game="room-1/trial-1", reward=1.0, length=2, agent="expert", **fields):
    from oreo_agents.trajectory import Trajectory, Turn

    turns = [
        Turn(
            f"You see {game} at {i}.",
            f"go to shelf {i}",
            0.0,
            "ok",
            admissible_commands=("go to shelf 1", "look"),
        )
        for i in range(length - 1)
    ]
    turns.append(Turn("You are there.", "take mug 1 from shelf 1", reward, "ok"))
    defaults = {
        "env_id": "OREO-ALFWorld",
        "task": "find the mug.",
        "task_type": "pick",
        "terminated": reward > 0,
    }
    return Trajectory(tuple(turns), game=game, agent=agent, **{**defaults, **fields})


@pytest.fixture
def episode():
    return make_episode


@pytest.fixture
def recorded(tmp_path):
    """A dataset of 40 episodes of 10 games in several shards; the odd games are lost."""
    from oreo_agents.dataset import TrajectoryWriter

    path = tmp_path / "recorded"
    with TrajectoryWriter(path, author="me", licence="MIT", dialect="move") as writer:
        for number in range(40):
            game = number % 10
            writer.append(
                make_episode(f"room-{game}/trial", float(game % 2 == 0), 2 + number % 5, seed=number)
            )
            if number % 15 == 14:
                writer.compact()
    return path
