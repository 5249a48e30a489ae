"""Pairs, mismatches and micro-batches: what belongs together stays together, and nothing is lost."""

import pytest
import torch
from learning import LOSING, OPENING, WINNING, episode

from oreo_agents.language.encoded import gather_episodes
from oreo_agents.training.batches import (
    collate_items,
    cut_prompt,
    preference_pairs,
    split_batches,
    with_mismatches,
)

OTHER = OPENING.replace("clean mug", "clean pen")


@pytest.fixture
def episodes(chat):
    """Two games: the first won twice and lost once, the second only lost."""
    recorded = [
        episode(WINNING),
        episode(LOSING, won=False),
        episode(WINNING[2:], opening=OPENING),
        episode(LOSING, won=False, opening=OTHER),
    ]
    return [chat.encode(one) for one in recorded]


def test_a_prompt_is_what_comes_before_the_first_action(episodes, chat):
    assert list(cut_prompt(episodes[0])) == chat.opening(OPENING)
    assert cut_prompt(episodes[0]) == cut_prompt(episodes[1]) != cut_prompt(episodes[3])


def test_pairs_share_the_game_and_use_an_episode_once(episodes):
    episodes, recorded = gather_episodes(episodes), episodes
    pairs = preference_pairs(episodes, seed=0)
    assert len(pairs) == 1  # one loss in the game that was won
    won, lost = pairs[0]
    assert won in (recorded[0], recorded[2]) and lost == recorded[1]
    assert [*pairs] == [*preference_pairs(episodes, seed=0)]
    assert {preference_pairs(episodes, seed)[0][0].success for seed in range(9)} == {True}


def test_a_mismatch_follows_its_own_prompt_with_anothers_episode(episodes):
    for (one, mixed), other in zip(
        with_mismatches(gather_episodes(episodes)), episodes[1:] + episodes[:1], strict=True
    ):
        head = len(cut_prompt(one))
        assert tuple(mixed.input_ids[:head]) == cut_prompt(one) and cut_prompt(mixed) == cut_prompt(one)
        assert mixed.input_ids[head:] == other.input_ids[len(cut_prompt(other)) :]
        assert sum(mixed.action_mask) == sum(other.action_mask)


def rows(micros):
    """Every episode of the micro-batches as a tuple of ids, in order."""
    return [
        tuple(ids[mask].tolist())
        for micro in micros
        for ids, mask in zip(micro["input_ids"], micro["token_mask"], strict=True)
    ]


@pytest.mark.parametrize("tokens", [1, 500, 100_000])
def test_pairs_stay_neighbours(episodes, tokens):
    items = with_mismatches(gather_episodes(episodes))
    micros = collate_items(items, 0, tokens)
    assert all(len(micro["input_ids"]) % 2 == 0 for micro in micros)
    got = rows(micros)
    expected = {(tuple(a.input_ids), tuple(b.input_ids)) for a, b in items}
    assert set(zip(got[0::2], got[1::2], strict=True)) == expected


@pytest.mark.parametrize(("count", "of"), [(1, 1), (3, 1), (4, 1), (2, 2)])
def test_splitting_keeps_the_order_and_trims_padding(episodes, count, of):
    whole = collate_items(episodes if of == 1 else with_mismatches(gather_episodes(episodes)), 0, 100_000)
    parts = split_batches(whole, count)
    assert len(parts) == count and rows(parts) == rows(whole)
    assert all(len(part["input_ids"]) % of == 0 for part in parts)
    for part in parts:
        assert part["token_mask"].any(0).all()
        assert torch.equal(part["token_mask"].sum(1).max(), torch.tensor(part["input_ids"].shape[1]))
