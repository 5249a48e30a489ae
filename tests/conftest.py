import pytest


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer learnt from the three episodes in learning.py."""
    from learning import EPISODES

    from oreo_agents.language.tokenizer import learn_tokenizer
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
