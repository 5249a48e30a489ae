"""Where one is in recorded episodes, and where a key leads. Knows nothing about terminals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from oreo_agents.evaluation.events import Event, EventKind, find_difference, list_events
from oreo_agents.evaluation.pairs import Partner
from oreo_agents.rollout.verify import Deviation
from oreo_agents.terminal.entries import ListedEpisode, list_entries
from oreo_agents.trajectory import UNDEFINED, Trajectory, count_cut, describe_cuts

NOT_FOUND = {
    "won": "no further win",
    "surprise": "no further surprise in this episode",
    "invalid": "no further invalid command in this episode",
}

Check = Callable[[int, Trajectory], "Sequence[Deviation] | None"]
"""What came out otherwise when an episode (its place, itself) was played again; None while that is not known."""


@dataclass
class Cursor:
    """An episode out of several, and a step of it. Moves never leave the range."""

    episodes: Sequence[Trajectory]
    others: Sequence[Trajectory] = ()
    """Another run to show beside; none: ``partners`` is empty."""
    partners: Sequence[Partner] = ()
    """For each episode, what belongs to it among the others."""
    names: tuple[str, str] = ("", "")
    """What the episodes and the others are called."""
    check: Check | None = None
    episode: int = 0
    step: int = 0
    speed: float = 2.0
    """Steps per second while playing."""
    playing: bool = False
    sought: str = ""
    message: str = ""
    """What came of the last key, until the next."""
    _open: tuple[int, Trajectory] | None = None
    _beside: tuple[int, Trajectory | None] | None = None
    _difference: tuple[int, int | None] | None = None
    _events: tuple[int, list[Event]] | None = None

    @cached_property
    def entries(self) -> list[ListedEpisode]:
        """What the list of episodes says of each."""
        return list_entries(self.episodes)

    @property
    def trajectory(self) -> Trajectory:
        """The episode being looked at, read once."""
        if self._open is None or self._open[0] != self.episode:
            self._open = self.episode, self.episodes[self.episode]
        return self._open[1]

    @property
    def other(self) -> Trajectory | None:
        """Another run of the same game, read once."""
        if not self.partners:
            return None
        if self._beside is None or self._beside[0] != self.episode:
            place = self.partners[self.episode].place
            self._beside = self.episode, None if place is None else self.others[place]
        return self._beside[1]

    @property
    def titles(self) -> tuple[str, str]:
        """The names of the two runs, with the number of the episode where a game was played more than once."""
        if self.other is None or max((partner := self.partners[self.episode]).counts) == 1:
            return self.names
        one, other = (
            f"{name} ({partner.number} of {count})"
            for name, count in zip(self.names, partner.counts, strict=True)
        )
        return one, other

    def move(self, steps: int) -> None:
        """Go forward, or back with a negative number."""
        self.jump(self.step + steps)

    def jump(self, step: int) -> None:
        """Go to a step, counted from 0; one past the last shows the end."""
        longest = max(len(self.trajectory), len(self.other) if self.other else 0)
        self.step = max(0, min(step, longest))

    def change_episode(self, by: int) -> None:
        """Go to the beginning of another episode."""
        self.episode = max(0, min(self.episode + by, len(self.episodes) - 1))
        self.step = 0

    def next_failure(self) -> bool:
        """Go to the next episode that was not won; False if none follows."""
        if (place := self._find_outcome(False)) is None:
            self.message = self._explain_none("no further episode that was not won")
            return False
        self.change_episode(place - self.episode)
        return True

    @property
    def events(self) -> list[Event]:
        """What stands out in the episode being looked at, found once."""
        if self._events is None or self._events[0] != self.episode:
            self._events = self.episode, list_events(self.trajectory)
        return self._events[1]

    def jump_event(self, kind: EventKind, by: int = 1) -> bool:
        """Go to the next event of a kind, or the last before with -1; a win may be a later episode's. False if none."""
        steps = [event.step for event in self.events if event.kind == kind]
        ahead = [step for step in steps[::by] if (step - self.step) * by > 0]
        if ahead:
            self.step = ahead[0]
        elif kind == "won" and (place := self._find_outcome(True)) is not None:
            self.change_episode(place - self.episode)
            self.jump(len(self.trajectory) - 1)
        else:
            said = NOT_FOUND[kind] if by > 0 else NOT_FOUND[kind].replace("further", "earlier")
            self.message = self._explain_none(said) if kind == "won" else said
            return False
        return True

    @property
    def difference(self) -> int | None:
        """The first step at which the other run differs, found once; None where there is none."""
        if self._difference is None or self._difference[0] != self.episode:
            found = find_difference(self.trajectory, self.other) if self.other else None
            self._difference = self.episode, found
        return self._difference[1]

    def jump_difference(self) -> bool:
        """Go to where two runs part; False if they do not."""
        if (step := self.difference) is None:
            self.message = "the two runs are the same" if self.other else "there is no other run of this game"
            return False
        self.jump(step)
        return True

    def find(self, text: str) -> bool:
        """Go to the next step, from the one after this, whose texts contain ``text``; False if none does."""
        self.sought = text
        if not text:
            self.message = "nothing was sought: / and a text"
            return False
        turns, wanted = self.trajectory.turns, text.casefold()
        following = [*range(self.step + 1, len(turns)), *range(min(self.step + 1, len(turns)))]
        for step in following:
            if wanted in turns[step].observation.casefold() or wanted in turns[step].action.casefold():
                self.step = step
                return True
        self.message = f"{text!r} is not in this episode"
        return False

    def change_speed(self, factor: float) -> None:
        """Play faster, or slower."""
        self.speed = min(max(self.speed * factor, 0.25), 64)

    def tick(self) -> None:
        """One step of playing; stops at the end."""
        self.move(1)
        self.playing = self.step < len(self.trajectory)

    def enter(self, typed: str) -> None:
        """Carry out what was typed: a search after ``/``, or a jump to a step counted from 1."""
        if typed.startswith("/"):
            self.find(typed[1:] or self.sought)
        elif typed.isdecimal():
            self.jump(int(typed) - 1)
        elif typed:
            self.message = f"{typed!r} is neither a step nor, after /, a text"

    def differences(self) -> Sequence[Deviation] | None:
        """What came out otherwise when this episode was played again; None where that is not known."""
        return self.check(self.episode, self.trajectory) if self.check else None

    def deviations(self) -> list[Deviation]:
        """How a replay differed at this step, as far as is known."""
        return [found for found in self.differences() or () if _seen_at(found) == self.step]

    def verdict(self) -> str:
        """Whether the episode happened again; empty where nobody asked."""
        if self.check is None:
            return ""
        found = self.differences()
        if found is None:
            return "verifying ..."
        if not found:
            return "verified: happened again exactly"
        return f"differs at step {found[0].step} ({found[0].what})"

    def _find_outcome(self, success: bool) -> int | None:
        later = range(self.episode + 1, len(self.entries))
        return next((place for place in later if self.entries[place].success is success), None)

    def _explain_none(self, said: str) -> str:
        return UNDEFINED if all(entry.success is None for entry in self.entries) else said

    def status(self) -> str:
        """The line at the bottom."""
        place = f"episode {self.episode + 1}/{len(self.episodes)}"
        playing = f"playing {self.speed:g}/s" if self.playing else ""
        return "  ".join(filter(None, (place, self.message, playing, self.conclusion())))

    def conclusion(self) -> str:
        """Which replies were cut, where two runs part, and whether the episode happened again; empty where there is
        nothing to say.
        """
        cuts = describe_cuts(count_cut(self.trajectory), len(self.trajectory))
        return "  ".join(filter(None, (self._parting(), self.verdict(), cuts)))

    def _parting(self) -> str:
        """Where two runs part, or why there is only one."""
        if self.partners and self.other is None:
            own, theirs = self.partners[self.episode].counts
            often = f"{theirs} of its {own} episodes" if theirs else "none of its episodes"
            return f"alone: {self.names[1]} has {often}" if own > 1 else f"alone: not in {self.names[1]}"
        return "" if self.difference is None else f"first difference: step {self.difference + 1}"


def _seen_at(found: Deviation) -> int:
    """The step, from 0, that shows it: an observation stands before the next action, all else beside its own."""
    return found.step if found.what in ("observation", "game") else found.step - 1
