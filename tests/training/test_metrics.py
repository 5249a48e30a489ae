"""What a user looks at while a policy trains, by hand."""

import pytest
import torch

from oreo_agents.training.metrics import Meters, parameter_counts, record_critic, record_policy

T, F = True, False
BATCH = {
    "input_ids": torch.zeros(2, 3, dtype=torch.long),
    "action_mask": torch.tensor([[F, T, T], [F, T, F]]),
    "returns": torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]),
    "success": torch.tensor([T, F]),
}
STATES = torch.tensor([[T, T, F], [T, F, F]])
OUT = {
    "logp": torch.tensor([[0.0, 0.5, 0.25], [0.0, 0.75, 0.0]]).clamp(min=1e-9).log(),
    "entropy": torch.tensor([[0.0, 1.0, 3.0], [0.0, 5.0, 0.0]]),
    "rho": torch.tensor([[0.0, 0.2, 0.4], [0.0, -0.6, 0.0]]),
    "values": torch.tensor([[0.5, 0.9, 9.0], [0.12, 9.0, 9.0]]),
}


def alone(sums):
    return [sums]


def test_the_policy_s_numbers_by_hand():
    meters = Meters()
    record_policy(meters, BATCH, OUT)
    read = meters.read(alone)
    assert read["entropy"] == pytest.approx(((1 + 3) / 2 + 5) / 2)  # every episode alike
    assert read["data_probability"] == pytest.approx((0.5 + 0.25 + 0.75) / 3)  # every token alike
    assert (read["rho_won"], read["rho_lost"]) == pytest.approx((0.3, -0.6))
    assert meters.read(alone) == {}


def test_the_critic_s_numbers_by_hand():
    meters = Meters()
    record_critic(meters, BATCH, OUT, STATES, beta=0.5)
    read = meters.read(alone)
    targets, values = [1 - 0.5 * 0.6, 1 - 0.5 * 0.4, 0.5 * 0.6], [0.5, 0.9, 0.12]
    errors = [(t - v) ** 2 for t, v in zip(targets, values, strict=True)]
    mean = sum(targets) / 3
    variance = sum((t - mean) ** 2 for t in targets) / 3
    assert read["value_error"] == pytest.approx((sum(errors) / 3) ** 0.5)
    assert read["explained_variance"] == pytest.approx(1 - sum(errors) / 3 / variance)
    assert (read["value_won"], read["value_lost"]) == pytest.approx((0.7, 0.12))
    # Each of the three values lies in a bin of its own: 0.5 and 0.9 were worth 1, 0.12 nothing.
    assert read["calibration_error"] == pytest.approx((0.5 + 0.1 + 0.12) / 3)


def test_nothing_is_explained_where_returns_do_not_differ():
    meters, batch = Meters(), {**BATCH, "returns": torch.ones(2, 3)}
    record_critic(meters, batch, OUT, STATES, beta=0.5)  # the log-ratios differ
    read = meters.read(alone)
    assert "explained_variance" not in read and read["value_error"] > 0


def test_values_that_err_on_both_sides_are_calibrated():
    """Half of those that look worth a half were won: calibrated, though every single value is wrong."""
    meters, batch = Meters(), {**BATCH, "returns": torch.tensor([[1.0] * 3, [0.0] * 3])}
    out = {**OUT, "values": torch.full((2, 3), 0.5)}
    record_critic(meters, batch, out, torch.tensor([[T, F, F], [T, F, F]]), beta=0.0)
    read = meters.read(alone)
    assert read["calibration_error"] == pytest.approx(0) and read["value_error"] == pytest.approx(0.5)


def test_micro_batches_and_processes_change_no_mean():
    rows = [{name: x[i : i + 1] for name, x in BATCH.items()} for i in range(2)]
    outs = [{name: x[i : i + 1] for name, x in OUT.items()} for i in range(2)]
    whole, parts, others = Meters(), Meters(), Meters()
    record_policy(whole, BATCH, OUT)
    record_critic(whole, BATCH, OUT, STATES, 0.5)
    for i, meters in enumerate((parts, others)):
        record_policy(meters, rows[i], outs[i])
        record_critic(meters, rows[i], outs[i], STATES[i : i + 1], 0.5)
    far = []
    others.read(lambda sums: far.append(sums) or [sums])
    assert parts.read(lambda sums: [sums, *far]) == pytest.approx(whole.read(alone))


def test_shared_parameters_count_once():
    one, other = torch.nn.Linear(3, 2, bias=False), torch.nn.Linear(3, 2, bias=False)
    both = torch.nn.ModuleList([one, other, torch.nn.Linear(2, 1)])
    assert parameter_counts(both) == {"parameters": 15, "trained_parameters": 15}
    other.weight = one.weight.requires_grad_(False)
    assert parameter_counts(both) == {"parameters": 9, "trained_parameters": 3}
