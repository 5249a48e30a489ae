import pytest
from gymnasium.vector.utils import batch_space
from oreo_envs.spaces import Text


@pytest.mark.parametrize("text", ["", "go to desk 1", "two\n\nlines", "-= Welcome =-", "日本語 ✓", "x" * 100])
def test_any_text_belongs(text):
    assert text in Text(100)


@pytest.mark.parametrize("other", ["x" * 101, 5, None, b"bytes", ["go"]])
def test_what_is_no_text_or_too_long_does_not(other):
    assert other not in Text(100)


def test_samples_belong_and_follow_the_seed():
    first, second = Text(5, seed=3), Text(5, seed=3)
    samples = [first.sample() for _ in range(20)]
    assert all(sample in first for sample in samples)
    assert samples == [second.sample() for _ in range(20)]
    assert len(set(samples)) > 10


def test_masks_are_refused():
    with pytest.raises(ValueError, match="mask"):
        Text().sample(mask=[1])


def test_equality_is_by_length():
    assert Text(5) == Text(5) != Text(6)


def test_batches():
    assert ("a", "b\n") in batch_space(Text(), 2)
