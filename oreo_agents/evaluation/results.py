"""What a set of episodes comes to: rates with their intervals, costs, and what could not be played."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import inf
from typing import Any

from oreo_agents.agents.selection import Selection
from oreo_agents.errors import ConfigurationError, EngineError
from oreo_agents.evaluation.statistics import t_interval, wilson_interval
from oreo_agents.formats import FIRST, require_format
from oreo_agents.trajectory import Trajectory, count_cut, describe_cuts, settle_success

FORMAT = 1
"""Of a result as it is written, where it is ``format``."""
CLOCKS = ("seconds_per_episode", "seconds_per_decision")
"""What differs between two evaluations of the same agent on the same games."""


@dataclass(frozen=True, slots=True)
class Count:
    """Episodes, and how many of them were won; None where winning is not defined."""

    n: int
    successes: int | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What an episode took, on average."""

    steps: float
    prompt_tokens: float
    generated_tokens: float
    critic_tokens: float
    simulated_steps: float
    """On copies of the environment."""

    @property
    def tokens(self) -> float:
        """Read and generated, by policy and critic."""
        return self.prompt_tokens + self.generated_tokens + self.critic_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One method on one list of games. What was not measured is None."""

    method: str
    by_task_type: Mapping[str, Count]
    invalid_action_rate: float
    """Of all actions."""
    cut_action_rate: float = 0.0
    """Of all actions, those cut at the limit on their tokens."""
    mean_steps: float
    mean_steps_success: float
    """Of the episodes won; 0 if there are none."""
    tokens_per_episode: float | None = None
    cost_per_episode: Cost | None = None
    seconds_per_episode: float | None = None
    """Its share of wall time, many being played at once."""
    seconds_per_decision: float | None = None
    ended_early: Mapping[str, int]
    """Reason: episodes, where the agent could not go on."""
    errors: Mapping[str, str]
    """Game: reason, where an episode failed for reasons outside the policy; these are in no other figure."""
    games: tuple[str, ...]
    """In the order played."""
    won: tuple[bool, ...] | None
    """For each of the games, for paired comparisons; None where winning is not defined."""
    returns: tuple[float, ...] | None = None
    """Of each of the games, undiscounted; None: 1 for those that were won, 0 for the others."""

    def list_returns(self) -> tuple[float, ...]:
        """Of each of the games."""
        return tuple(map(float, self.won or ())) if self.returns is None else self.returns

    @property
    def n(self) -> int:
        """Episodes."""
        return len(self.list_returns())

    @property
    def successes(self) -> int | None:
        """Episodes won; None where that is not defined, as in what follows from it."""
        return None if self.won is None else sum(self.won)

    @property
    def success_rate(self) -> float | None:
        """Share of episodes won."""
        return None if self.won is None else sum(self.won) / max(self.n, 1)

    @property
    def mean_return(self) -> float:
        """Mean return."""
        return sum(self.list_returns()) / max(self.n, 1)

    @property
    def return_interval95(self) -> tuple[float, float] | None:
        """Student's, of the mean return; None of a single episode."""
        return t_interval(self.list_returns())

    @property
    def score(self) -> float:
        """What it is ranked by: the share won or, where that is not defined, the mean return."""
        return self.mean_return if self.success_rate is None else self.success_rate

    @property
    def interval95(self) -> tuple[float, float]:
        """Of the score: Wilson's of a share, Student's of a return."""
        if self.successes is None:
            return self.return_interval95 or (-inf, inf)
        return wilson_interval(self.successes, self.n)

    def describe_errors(self) -> str:
        """How many games could not be played, and why the first of them."""
        game, reason = next(iter(self.errors.items()))
        failed = len(self.errors)
        return f"{failed} of {failed + self.n} games could not be played, the first of them {game}: {reason}"

    def describe_cuts(self) -> str:
        """How many replies were cut, and the remedy; empty where none was."""
        turns = round(self.mean_steps * self.n)
        return describe_cuts(round(self.cut_action_rate * turns), turns)

    def to_json(self) -> dict[str, Any]:
        """As it is written: with the figures that follow from others, and without those that were not measured."""
        won = self.won
        success = {
            "successes": self.successes,
            "success_rate": self.success_rate,
            "wilson95": None if won is None else list(self.interval95),
        }
        interval = self.return_interval95
        of_returns = {
            "returns": list(self.list_returns()),
            "mean_return": self.mean_return,
            "return_ci95": interval and list(interval),
        }
        written = {"method": self.method, "n": self.n, **asdict(self), "games": list(self.games)}
        measured = {key: value for key, value in written.items() if value is not None}
        named = {"format": FORMAT, "method": self.method, "n": self.n}
        first = {**named, **success}  # these are null where they are not defined
        return {**first, **measured, "won": None if won is None else list(won), **of_returns}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Result:
        """What :meth:`to_json` has written, also before returns were; what else is there is ignored.

        Raises:
            ConfigurationError: it is of a newer format.
        """
        require_format(
            f"the result of {written['method']}", written.get("format", FIRST), FORMAT, ConfigurationError
        )
        known = {one.name: written[one.name] for one in fields(cls) if one.name in written}
        known["by_task_type"] = {kind: Count(**count) for kind, count in known["by_task_type"].items()}
        if "cost_per_episode" in known:
            known["cost_per_episode"] = Cost(**known["cost_per_episode"])
        won = known["won"] = None if known["won"] is None else tuple(known["won"])
        known |= {"games": tuple(known["games"]), "returns": _keep_returns(won, known.get("returns"))}
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A result, and how the agent chose and in which games."""

    result: Result
    selection: Selection | None
    """None: a player without a model."""
    split: str | None
    max_steps: int
    wording: str | None = None
    """In which the games were shown, where that was asked for."""
    dtype: str | None = None
    """Of the model's passes, where there is a model."""

    def to_json(self) -> dict[str, Any]:
        """The result and the settings, side by side."""
        where: dict[str, Any] = {"split": self.split, "max_steps": self.max_steps}
        where |= {"wording": self.wording} if self.wording else {}
        where |= {"dtype": self.dtype} if self.dtype else {}
        chosen = self.selection.to_json() if self.selection else {}
        return {**self.result.to_json(), **chosen, **where}


def summarise_episodes(trajectories: Sequence[Trajectory], method: str) -> Result:
    """What a set of episodes comes to.

    Episodes that failed for reasons outside the policy (``metadata["failed"]``) are counted and named, and are in no
    other figure.

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
    statuses = [turn.action_status for trajectory in played for turn in trajectory.turns]
    winning = [len(trajectory) for trajectory in played if trajectory.success]
    cost = _average_cost(played)
    seconds = sum(trajectory.metadata.get("seconds", 0.0) for trajectory in played)
    return Result(
        method=method,
        by_task_type=_count_by_task_type(played),
        invalid_action_rate=sum(status not in (None, "ok") for status in statuses) / max(len(statuses), 1),
        cut_action_rate=sum(map(count_cut, played)) / max(len(statuses), 1),
        mean_steps=cost.steps,
        mean_steps_success=sum(winning) / max(len(winning), 1),
        tokens_per_episode=cost.tokens,
        cost_per_episode=cost,
        seconds_per_episode=seconds / len(played),
        seconds_per_decision=seconds / max(sum(map(len, played)), 1),
        ended_early=dict(Counter(t.metadata["ended"] for t in played if "ended" in t.metadata)),
        errors={trajectory.game: trajectory.metadata["ended"] for trajectory in failed},
        games=tuple(trajectory.game for trajectory in played),
        won=(won := _list_won(played)),
        returns=_keep_returns(won, [trajectory.return_ for trajectory in played]),
    )


def _keep_returns(won: Sequence[bool] | None, returns: Sequence[float] | None) -> tuple[float, ...] | None:
    """Returns that say more than who has won."""
    same = won is not None and (returns is None or list(map(float, won)) == list(returns))
    return None if same or returns is None else tuple(returns)


def _list_won(trajectories: Sequence[Trajectory]) -> tuple[bool, ...] | None:
    """Whether each was won; None where that is not defined."""
    won = _settle_success(trajectories)
    return None if None in won else tuple(map(bool, won))


def _settle_success(trajectories: Sequence[Trajectory]) -> list[bool | None]:
    env_ids = [trajectory.env_id for trajectory in trajectories]
    return settle_success(env_ids, [trajectory.success for trajectory in trajectories])


def _average_cost(trajectories: Sequence[Trajectory]) -> Cost:
    n = len(trajectories)
    tokens = {
        f"{kind}_tokens": sum(
            trajectory.metadata.get("tokens", {}).get(kind, 0) for trajectory in trajectories
        )
        / n
        for kind in ("prompt", "generated", "critic")
    }
    simulated = sum(trajectory.metadata.get("simulated_steps", 0) for trajectory in trajectories)
    return Cost(steps=sum(map(len, trajectories)) / n, simulated_steps=simulated / n, **tokens)


def _count_by_task_type(trajectories: Sequence[Trajectory]) -> dict[str, Count]:
    groups: dict[str, list[bool | None]] = defaultdict(list)
    for trajectory, won in zip(trajectories, _settle_success(trajectories), strict=True):
        groups[trajectory.task_type].append(won)
    return {
        kind: Count(len(won), None if None in won else sum(map(bool, won)))
        for kind, won in sorted(groups.items())
    }


TASK_TYPES = {
    "pick_and_place_simple": "Pick",
    "look_at_obj_in_light": "Look",
    "pick_clean_then_place_in_recep": "Clean",
    "pick_heat_then_place_in_recep": "Heat",
    "pick_cool_then_place_in_recep": "Cool",
    "pick_two_obj_and_place": "Pick two",
}
"""ALFWorld's six task types with the names its papers print, in their order."""
