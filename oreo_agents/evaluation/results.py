"""What a set of episodes comes to: rates with their intervals, costs, and what could not be played."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.evaluation.statistics import wilson_interval
from oreo_agents.trajectory import Trajectory

Result = dict[str, Any]


def failures(result: Result) -> str:
    """How many games of a result could not be played, and why the first of them."""
    game, reason = next(iter(result["errors"].items()))
    failed = len(result["errors"])
    return f"{failed} of {failed + result['n']} games could not be played, the first of them {game}: {reason}"


def summarise(trajectories: Sequence[Trajectory], method: str) -> Result:
    """What a set of episodes comes to.

    Episodes that failed for reasons outside the policy (``metadata["failed"]``) are counted and named, and are in no
    other figure.

    Returns:
        ``method``, ``n``, ``successes``, ``success_rate``, ``wilson95``, ``by_task_type``,
        ``invalid_action_rate`` (of all actions), ``mean_steps``, ``mean_steps_success``,
        ``tokens_per_episode`` (read and generated, policy and critic), ``cost_per_episode`` (these apart, and
        steps on the environment and on copies of it), ``seconds_per_episode`` and ``seconds_per_decision``
        (shares of wall time, many being played at once), ``ended_early`` (reason: episodes, where the agent could
        not go on), ``errors`` (game: reason), ``games`` and ``won`` (in the order played, for paired
        comparisons).

    Raises:
        ConfigurationError: there are no episodes.
        EngineError: all of them failed.
    """
    if not trajectories:
        raise ConfigurationError("there are no episodes to summarise: ask for at least one game")
    failed = [trajectory for trajectory in trajectories if trajectory.metadata.get("failed")]
    played = [trajectory for trajectory in trajectories if not trajectory.metadata.get("failed")]
    if not played:
        raise EngineError(f"none of {len(failed)} episodes could be played: {failed[0].metadata['ended']}")
    n, won = len(played), [trajectory.success for trajectory in played]
    statuses = [turn.action_status for trajectory in played for turn in trajectory.turns]
    winning = [len(trajectory) for trajectory in played if trajectory.success]
    cost = _cost_per_episode(played)
    seconds = sum(trajectory.metadata.get("seconds", 0.0) for trajectory in played)
    return {
        "method": method,
        "n": n,
        "successes": sum(won),
        "success_rate": sum(won) / n,
        "wilson95": list(wilson_interval(sum(won), n)),
        "by_task_type": _by_task_type(played),
        "invalid_action_rate": sum(status not in (None, "ok") for status in statuses) / max(len(statuses), 1),
        "mean_steps": cost["steps"],
        "mean_steps_success": sum(winning) / max(len(winning), 1),
        "tokens_per_episode": sum(cost[f"{kind}_tokens"] for kind in TOKENS),
        "cost_per_episode": cost,
        "seconds_per_episode": seconds / n,
        "seconds_per_decision": seconds / max(sum(map(len, played)), 1),
        "ended_early": dict(Counter(t.metadata["ended"] for t in played if "ended" in t.metadata)),
        "errors": {trajectory.game: trajectory.metadata["ended"] for trajectory in failed},
        "games": [trajectory.game for trajectory in played],
        "won": won,
    }


TOKENS = ("prompt", "generated", "critic")


def _cost_per_episode(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    n, cost = len(trajectories), {"steps": sum(map(len, trajectories)) / len(trajectories)}
    for kind in TOKENS:
        tokens = (trajectory.metadata.get("tokens", {}).get(kind, 0) for trajectory in trajectories)
        cost[f"{kind}_tokens"] = sum(tokens) / n
    cost["simulated_steps"] = sum(t.metadata.get("simulated_steps", 0) for t in trajectories) / n
    return cost


def _by_task_type(trajectories: Sequence[Trajectory]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"n": 0, "successes": 0})
    for trajectory in trajectories:
        counts[trajectory.task_type]["n"] += 1
        counts[trajectory.task_type]["successes"] += trajectory.success
    return dict(sorted(counts.items()))


TASK_TYPES = {
    "pick_and_place_simple": "Pick",
    "look_at_obj_in_light": "Look",
    "pick_clean_then_place_in_recep": "Clean",
    "pick_heat_then_place_in_recep": "Heat",
    "pick_cool_then_place_in_recep": "Cool",
    "pick_two_obj_and_place": "Pick two",
}
"""ALFWorld's six task types with the names its papers print, in their order."""
