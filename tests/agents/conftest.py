"""What the tests of agents share."""

import pytest
from learning import random_decoder


@pytest.fixture(scope="module")
def policy(tokenizer):
    """A random decoder with the tests' vocabulary."""
    return random_decoder("qwen3", len(tokenizer))
