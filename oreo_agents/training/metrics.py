"""What a user looks at to see whether training works: true means over tokens, states and episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from oreo_agents.models.return_scale import ReturnScale
from oreo_agents.training.batches import MicroBatch
from oreo_agents.training.losses import masked_mean, soft_returns

BINS = 10
LEAST_VARIANCE = 1e-8
"""Of returns that differ; where all episodes ended alike, V has nothing to explain."""

Sums = dict[str, tuple[float, float]]
"""Per name, the weighted sum and the weight."""


class Meters:
    """Weighted means over everything since the last reading, however it was cut into micro-batches."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, mean: Tensor, weight: Tensor | float) -> None:
        """Count ``mean`` with ``weight``; no weight, no trace. Nothing is asked of the device until it is read."""
        weights = (
            weight.double() if isinstance(weight, Tensor) else mean.new_full((), weight, dtype=torch.float64)
        )
        self._sums[name].append(torch.stack([mean.detach().double() * weights, weights]))

    def over(self, name: str, x: Tensor, mask: Tensor) -> None:
        """Count every masked entry of ``x`` alike."""
        self.over_each([name], x, mask.flatten()[None])

    def over_each(self, names: Sequence[str], x: Tensor, masks: Tensor) -> None:
        """As :meth:`over` for several masks, a row of ``masks`` each, ``[names, entries of x]``."""
        sums = torch.where(masks, x.detach().flatten(), 0).double().sum(1)
        for name, pair in zip(names, torch.stack([sums, masks.sum(1).double()], 1), strict=True):
            self._sums[name].append(pair)

    def read(self, gather: Callable[[Sums], list[Sums]]) -> dict[str, float]:
        """Means over all processes; ``gather`` gives every process's sums. Begins anew."""
        totalled = [torch.stack(parts).sum(0) for parts in self._sums.values()]
        totalled = torch.stack(totalled).tolist() if totalled else []
        own = {name: tuple(pair) for name, pair in zip(self._sums, totalled, strict=True)}
        self._sums.clear()
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for sums in gather(own):  # type: ignore[arg-type]
            for name, (value, weight) in sums.items():
                totals[name][0] += value
                totals[name][1] += weight
        return _derive_metrics(
            {name: value / weight for name, (value, weight) in totals.items() if weight}, totals
        )


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters that exist, shared ones once, and those of them that are trained."""
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return {"parameters": sum(p.numel() for p in parameters), "trained_parameters": trained}


def record_policy(meters: Meters, batch: MicroBatch, out: dict[str, Tensor]) -> None:
    """Entropy, mass on the data's tokens, log-ratio of successful and failed episodes."""
    actions, rows = batch["action_mask"], len(batch["input_ids"])
    meters.add("entropy", masked_mean(out["entropy"], actions), rows)
    meters.over("data_probability", out["logp"].detach().exp(), actions)
    if "rho" in out:
        _by_outcome(meters, "rho", out["rho"], actions, batch["success"])


def record_critic(
    meters: Meters, batch: MicroBatch, out: dict[str, Tensor], states: Tensor, beta: float
) -> None:
    """Error against the soft returns, explained variance, values by outcome, calibration."""
    values = out["values"].detach()
    targets = soft_returns(out["rho"], batch["returns"], beta)
    returns = batch["returns"]
    moments = {
        "error2": (targets - values) ** 2,
        "target": targets,
        "target2": targets**2,
        "return": returns,
        "return2": returns**2,
    }
    for name, moment in moments.items():
        meters.over(f"_{name}", moment, states)
    _by_outcome(meters, "value", values, states, batch["success"])
    bins = (values * BINS).long().clamp(0, BINS - 1).flatten()
    chosen = (bins == torch.arange(BINS, device=bins.device)[:, None]) & states.flatten()
    meters.over_each([f"_bin{i}" for i in range(BINS)], values - returns, chosen)


def restore_units(means: dict[str, float], scale: ReturnScale) -> dict[str, float]:
    """The means with what is said of V in the unit of the environment's returns; losses stay in that of the values."""
    known = {
        name: mean * scale.span
        for name, mean in means.items()
        if name in ("value_error", "calibration_error")
    }
    known |= {name: scale.restore(means[name]) for name in ("value_won", "value_lost") if name in means}
    return {**means, **known}


def _by_outcome(meters: Meters, name: str, x: Tensor, mask: Tensor, success: Tensor) -> None:
    """Per-episode means of won and of lost episodes."""
    for outcome, chosen in (("won", success), ("lost", ~success)):
        number = chosen.sum()
        share = chosen / number.clamp(min=1)
        meters.add(f"{name}_{outcome}", masked_mean(x, mask, share) * len(x), number)


def _derive_metrics(means: dict[str, float], totals: dict[str, list[float]]) -> dict[str, float]:
    """Explained variance of V, its root mean squared error, and its expected calibration error against returns."""
    public = {name: mean for name, mean in means.items() if not name.startswith("_")}
    if "_error2" in means:
        variance = means["_target2"] - means["_target"] ** 2
        if min(variance, means["_return2"] - means["_return"] ** 2) > LEAST_VARIANCE:
            public["explained_variance"] = 1 - means["_error2"] / variance
        public["value_error"] = means["_error2"] ** 0.5
        bins = [totals[f"_bin{i}"] for i in range(BINS)]
        public["calibration_error"] = sum(abs(gap) for gap, _ in bins) / sum(weight for _, weight in bins)
    return public
