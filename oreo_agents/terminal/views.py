"""A trajectory as rich renderables: pure functions of the episode and the step being looked at.

Everything that a game or a model wrote passes through :func:`make_text`: it is never markup, never a control
code. The renderables follow the width and the encoding of the console they are printed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.beliefs import (
    compute_advantage,
    explain_choice,
    list_values,
    merge_candidates,
    to_probability,
)
from oreo_agents.language.reply import read_thought
from oreo_agents.printable import make_printable
from oreo_agents.rollout.verify import Deviation
from oreo_agents.trajectory import Trajectory, Turn, describe_outcome

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
STATUS_STYLES = {"not_applicable": "yellow", "unparsable": "red"}


def make_text(text: str, style: str = "", ascii_only: bool = False) -> Text:
    """``text`` as it can be shown anywhere, in plain ASCII if the console has nothing else."""
    safe = make_printable(text)
    return Text(safe.encode("ascii", "backslashreplace").decode() if ascii_only else safe, style=style)


def draw_sparkline(series: Sequence[float | None], width: int, ascii_only: bool = False) -> str:
    """``series`` in at most ``width`` characters, from its lowest to its highest; gaps and NaN are blanks.

    >>> draw_sparkline([0.0, 0.5, None, 1.0], 10)
    '▁▅ █'
    """
    buckets = average_buckets(series, width)
    known = [value for value in buckets if value is not None]
    if not known:
        return ""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    low, span = min(known), (max(known) - min(known)) or 1.0
    levels = len(blocks) - 1
    return "".join(" " if v is None else blocks[round((v - low) / span * levels)] for v in buckets)


def average_buckets(series: Sequence[float | None], width: int) -> list[float | None]:
    """At most ``width`` means over neighbours; None where nothing finite is known."""
    return [_average_known(bucket) for bucket in _split_series(series, width)]


@dataclass(frozen=True)
class StepView:
    """One step of an episode; ``step == len(trajectory)`` shows how it ended."""

    trajectory: Trajectory
    step: int
    headed: bool = True
    """With task, game and V of the whole episode."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        ascii_only = options.ascii_only
        if self.headed:
            yield render_header(self.trajectory, self.step, ascii_only)
            yield from _value_line(self.trajectory, self.step, options.max_width, ascii_only)
        else:
            yield render_progress(self.trajectory, self.step)
        yield Text()
        if self.step < len(self.trajectory):
            yield _render_turn(self.trajectory, self.step, ascii_only)
        else:
            yield make_text(self.trajectory.final_observation.strip(), ascii_only=ascii_only)
            yield Text()
            yield Text(describe_outcome(self.trajectory), f"bold {choose_style(self.trajectory.success)}")


@dataclass(frozen=True)
class SideBySide:
    """Two episodes at the same step, beside each other or, on a narrow console, one below the other.

    Task and game are told at the first step alone.
    """

    runs: tuple[Trajectory, Trajectory]
    titles: tuple[str, str]
    step: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        views = [
            Group(
                make_text(title, "bold underline", options.ascii_only),
                StepView(run, min(self.step, len(run)), headed=self.step == 0),
            )
            for title, run in zip(self.titles, self.runs, strict=True)
        ]
        if options.max_width < 80:
            yield Group(views[0], Text(), views[1])
            return
        grid = Table.grid(expand=True, padding=(0, 2))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(*views)
        yield grid


@dataclass(frozen=True)
class Transcript:
    """A whole episode, for pipes and small ones."""

    trajectory: Trajectory

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for step in range(len(self.trajectory)):
            yield (
                StepView(self.trajectory, step)
                if step == 0
                else _render_turn(self.trajectory, step, options.ascii_only)
            )
            yield Text()
        yield make_text(self.trajectory.final_observation.strip(), ascii_only=options.ascii_only)
        yield Text(describe_outcome(self.trajectory), f"bold {choose_style(self.trajectory.success)}")


def choose_style(success: bool | None) -> str:
    """The colour of an outcome."""
    return "yellow" if success is None else "green" if success else "red"


def render_header(trajectory: Trajectory, step: int, ascii_only: bool = False) -> RenderableType:
    """Task, game and where one is."""
    lines = [
        make_text(trajectory.task or trajectory.game or trajectory.env_id, "bold", ascii_only),
        make_text(" | ".join(filter(None, (trajectory.game, trajectory.agent))), "dim", ascii_only),
        render_progress(trajectory, step),
    ]
    return Group(*lines)


def render_progress(trajectory: Trajectory, step: int) -> Text:
    """Which step it is, and how the episode ended."""
    return Text(f"step {min(step + 1, len(trajectory))}/{len(trajectory)}  {describe_outcome(trajectory)}")


def render_deviation(found: Deviation) -> Text:
    """What a replay of the episode led to instead."""
    text = Text(f"\n{found.what} differs; played again it is:\n", "bold yellow")
    return text.append_text(make_text(found.replayed, "yellow"))


def candidate_table(turn: Turn, ascii_only: bool = False) -> Table:
    """The candidates of a turn, best value first, the chosen one marked."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("candidate")
    table.add_column("prob.", justify="right", no_wrap=True)
    table.add_column("V", justify="right", no_wrap=True)
    for candidate, times in merge_candidates(turn):
        chosen = candidate.action == turn.action
        name = make_text(candidate.action, "bold" if chosen else "dim", ascii_only) + Text(
            f" ({times} times)" if times > 1 else "", "dim"
        )
        numbers = _format_number(to_probability(candidate.logprob)), _format_number(candidate.value)
        table.add_row(">" if chosen else "", name, *numbers)
    return table


def render_decision(
    trajectory: Trajectory, step: int, ascii_only: bool = False, unfold: str = ""
) -> RenderableType:
    """What was done in a step and what the agent believed: action, value, advantage, candidates.

    Args:
        trajectory: the episode.
        step: which step of it, from 0.
        ascii_only: nothing but ASCII.
        unfold: the key that shows a thought, which is then only counted; empty: it is shown.
    """
    turn = trajectory.turns[step]
    thought = read_thought(turn)
    if unfold and thought:
        words = len(thought.split())
        thought = f"[thought of {words} word{'' if words == 1 else 's'}: {unfold} unfolds it]"
    parts: list[RenderableType] = [
        *([make_text(thought, "italic dim", ascii_only)] if thought else []),
        Text.assemble(("> ", "bold cyan"), make_text(turn.action, "bold cyan", ascii_only)),
        Padding(_render_facts(trajectory, step), (0, 0, 0, 2), expand=False),
    ]
    if turn.candidates:
        why = explain_choice(turn)
        beside = [Text(f"chosen: {why}", "dim")] if why else []
        parts.append(Padding(Group(candidate_table(turn, ascii_only), *beside), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _render_turn(trajectory: Trajectory, step: int, ascii_only: bool) -> RenderableType:
    observation = make_text(trajectory.turns[step].observation.strip(), ascii_only=ascii_only)
    return Group(observation, Text(), render_decision(trajectory, step, ascii_only))


def _render_facts(trajectory: Trajectory, step: int) -> Text:
    turn = trajectory.turns[step]
    facts = Text(f"reward {turn.reward:g}", style="dim")
    if turn.action_status:
        facts.append(
            f"  {make_printable(turn.action_status)}", STATUS_STYLES.get(turn.action_status, "green")
        )
    if turn.logprobs is not None:
        facts.append(f"  prob. {to_probability(sum(turn.logprobs)):.3f}")
    if turn.value is not None:
        facts.append(f"  V {turn.value:.3f}")
    gain = compute_advantage(trajectory, step)
    if gain is not None:
        facts.append(f"  advantage {gain:+.3f}", "green" if gain >= 0 else "red")
    return facts


def _value_line(trajectory: Trajectory, step: int, width: int, ascii_only: bool) -> Iterator[Text]:
    line = draw_sparkline(list_values(trajectory), max(8, width - 4), ascii_only)
    if line:
        position = min(step, len(trajectory) - 1) * len(line) // len(trajectory)
        yield Text(f"V {line}", style="cyan")
        yield Text(" " * (position + 2) + "^", style="cyan")


def _split_series(series: Sequence[float | None], width: int) -> list[Sequence[float | None]]:
    count = min(width, len(series))
    edges = [index * len(series) // count for index in range(count + 1)] if count else [0]
    return [series[start:end] for start, end in pairwise(edges)]


def _average_known(series: Sequence[float | None]) -> float | None:
    known = [value for value in series if value is not None and isfinite(value)]
    return sum(known) / len(known) if known else None


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
