"""Episodes of one policy, played here and elsewhere, and what is learnt from both."""

from dataclasses import replace

import pytest

from oreo_agents.training.train import train


def check_trained_alike(here, there, folder, output):
    """They are the same to the token, and train to the same bytes."""
    for mine, other in zip(here, there, strict=True):
        assert other.tokenizer == mine.tokenizer and "text_only" not in other.metadata
        for one, two in zip(mine.turns, other.turns, strict=True):
            assert (two.token_ids, two.action, two.said) == (one.token_ids, one.action, one.said)
            assert two.logprobs == pytest.approx(one.logprobs, abs=1e-4)
    made = []
    for name, episodes in (("here", here), ("there", there)):
        won = episodes[0].turns[-1]
        episodes[0] = replace(episodes[0], turns=(*episodes[0].turns[:-1], replace(won, reward=1.0)))
        options = {"max_steps": 2, "learning_rate": 1e-3, "use_cpu": True, "bf16": False}
        train("oreo", episodes, folder, output / name, **options)
        made.append((output / name / "policy" / "model.safetensors").read_bytes())
    assert made[0] == made[1]
