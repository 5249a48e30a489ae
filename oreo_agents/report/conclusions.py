"""What a chart or a table shows, in a sentence: figures in, words out."""

from __future__ import annotations

from collections.abc import Sequence

from oreo_agents.evaluation.beliefs import Moment
from oreo_agents.evaluation.pairs import PairedOutcomes
from oreo_agents.report.charts import Dot
from oreo_agents.report.summary import Summary

CALIBRATED = 0.8
"""Of the ranges of V, the share in which it has to lie within the interval to be read as what it foretells."""
OFF = 0.05
"""A mean distance of V from what came that is worth a word; of returns, as a share of their range."""
FEW = 10
"""Episodes of each kind that a step needs to be judged: with fewer, the middle half of V says little."""


def conclude_success(summary: Summary) -> str:
    """Which task types are harder than the whole, as far as so many games can tell."""
    found = summary.all.outcomes
    if not found.episodes:
        return "There is nothing to conclude from no episode."
    what = "share won" if found.defines_success else "mean return"
    if len(summary.by_type) < 2:
        return f"On games like these the {what} is {summary.all.interval}, with a confidence of 95 %."
    names: dict[str, list[str]] = {"below": [], "above": []}
    for group in list(summary.groups())[1:]:
        low, high = group.outcomes.interval95
        if high < found.score:
            names["below"].append(group.name)
        elif low > found.score:
            names["above"].append(group.name)
    told = [f"{' and '.join(found)} {where}" for where, found in names.items() if found]
    if not told:
        return f"Every type's interval holds the {what} of all: so few games do not tell the types apart."
    return f"Told from the {what} of all by their whole interval: {'; '.join(told)}. Of the others nothing is sure."


def conclude_calibration(dots: Sequence[Dot], came: str, meaning: str) -> str:
    """Whether V may be read as what it foretells.

    Args:
        dots: ranges of V.
        came: what V is compared with, such as the share won.
        meaning: what V is where it is right, such as a chance of winning.
    """
    inside = sum(one.interval[0] <= one.predicted <= one.interval[1] for one in dots)
    episodes = sum(one.episodes for one in dots)
    gap = sum(one.episodes * (one.predicted - one.actual) for one in dots) / episodes
    scale = max(1.0, max(one.actual for one in dots) - min(one.actual for one in dots))
    where = f"in {inside} of {len(dots)} ranges V lies within the interval"
    if inside >= CALIBRATED * len(dots):
        return f"V can be read as {meaning}: {where}."
    if abs(gap) < OFF * scale:
        return f"V is right on average and wrong in places: {where}. Use it to rank, not as {meaning}."
    word, side = ("hopeful", "above") if gap > 0 else ("cautious", "below")
    return (
        f"The critic is too {word}: V lies {abs(gap):.2f} {side} the {came} on average, and {where}. "
        f"Use it to rank, not as {meaning}."
    )


def conclude_values(won: Sequence[Moment], lost: Sequence[Moment]) -> str:
    """From which step on V tells won from other episodes."""
    if not won or not lost:
        outcome = "won" if won else "not won"
        return f"All episodes with V were {outcome}: that it tells them from others is not to be seen here."
    others = {moment.step: moment for moment in lost}
    common = [(one, others[one.step]) for one in won if one.step in others]
    common = [pair for pair in common if min(moment.episodes for moment in pair) >= FEW]
    if not common:
        counts = f"{won[0].episodes} won and {lost[0].episodes} others"
        return f"Too few episodes have V ({counts}) to say whether it tells them apart: that takes {FEW} of each."
    apart = [one.low > other.high for one, other in common]
    since = len(apart)
    while since and apart[since - 1]:
        since -= 1
    if since < len(apart):
        step = common[since][0].step
        return f"From step {step:g} on V tells them apart: the middle halves no longer overlap."
    return "The middle halves overlap to the end: V alone does not tell who will win."


def conclude_returns(moments: Sequence[Moment]) -> str:
    """How V goes along where winning is not defined."""
    first, last = moments[0], moments[-1]
    return (
        f"V is {first.mean:.3g} after the first action and {last.mean:.3g} at the end, on average. What is still to "
        "come gets less as rewards come in: V should end near the last of them."
    )


def conclude_pairs(found: PairedOutcomes, names: tuple[str, str]) -> str:
    """Whether two runs differ on the games that both have played."""
    if found.difference is None:
        return "The two runs have no game in common: nothing can be compared."
    mean, low, high = found.difference
    if found.counts:
        what, scale, unit = "success", 100, " points"
        told = (
            f"{names[1]} won {found.right} games that {names[0]} did not, and {names[0]} {found.left} that "
        )
        told += f"{names[1]} did not"
    else:
        what, scale, unit = "return", 1, ""
        told = f"{names[1]} had the higher return in {found.right} games, {names[0]} in {found.left}"
    form = "+.1f" if found.counts else "+.3g"
    size = f"{scale * mean:{form}}{unit} of {what} (95 %: {scale * low:{form}} to {scale * high:{form}})"
    if low <= 0 <= high:
        return f"{told}: {size}. The interval holds 0: these games do not tell the two apart."
    better = names[1] if mean > 0 else names[0]
    return f"{told}: {size}. {better} is better on these games, beyond chance."
