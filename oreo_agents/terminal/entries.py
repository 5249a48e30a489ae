"""What a list of episodes says of each: enough to choose one, without reading its turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oreo_agents.trajectory import Trajectory, format_steps

OUTCOMES = ("all", "won", "not won")
"""What a list can be narrowed to."""


@dataclass(frozen=True, slots=True)
class ListedEpisode:
    """One episode in a list."""

    place: int
    """In the dataset, from 0."""
    success: bool | None
    return_: float
    steps: int
    task: str
    game: str
    task_type: str
    agent: str

    @property
    def outcome(self) -> str:
        """In a word or two."""
        return f"return {self.return_:g}" if self.success is None else "won" if self.success else "not won"

    def meets(self, outcome: str, text: str) -> bool:
        """Whether it has this outcome and every word of ``text``, in any case.

        Args:
            outcome: one of :data:`OUTCOMES`.
            text: words looked for in task, game, task type, agent and number of steps.
        """
        if outcome != "all" and self.success is not (outcome == "won"):
            return False
        about = " ".join((self.task, self.game, self.task_type, self.agent, format_steps(self.steps)))
        return all(word in about.casefold() for word in text.casefold().split())


def list_entries(episodes: Sequence[Trajectory]) -> list[ListedEpisode]:
    """An entry for each episode; of a dataset only columns are read."""
    if not hasattr(episodes, "column"):
        return [_describe(place, episode) for place, episode in enumerate(episodes)]
    return _read_columns(episodes)


def _describe(place: int, episode: Trajectory) -> ListedEpisode:
    facts = episode.success, episode.return_, len(episode), episode.task, episode.game
    return ListedEpisode(place, *facts, episode.task_type, episode.agent)


def _read_columns(episodes: Any) -> list[ListedEpisode]:
    names = ("success", "return", "length", "task", "game", "task_type", "agent")
    success, *others = (episodes.column(name).tolist() for name in names)
    won = [None if one is None else bool(one) for one in success]
    return [ListedEpisode(place, *row) for place, row in enumerate(zip(won, *others, strict=True))]
