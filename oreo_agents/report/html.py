"""``oreo-agents report``: one HTML file about recorded episodes; no server, no network, no library.

Summary and plots are plain markup. The episodes travel as JSON and become text nodes in the browser; only the
page's own script, named by its hash, may run, and nothing may be fetched.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import isfinite
from typing import Any, Protocol

from oreo_agents.evaluation.beliefs import (
    Beliefs,
    compute_advantage,
    explain_choice,
    merge_candidates,
    to_probability,
)
from oreo_agents.evaluation.outcomes import Outcomes
from oreo_agents.evaluation.results import TASK_TYPES
from oreo_agents.language.reply import read_thought
from oreo_agents.printable import make_printable
from oreo_agents.report.charts import calibration_chart, interval_bar, value_chart
from oreo_agents.trajectory import Candidate, Trajectory, Turn, describe_outcome


class Episodes(Protocol):
    """A list of trajectories, or a dataset."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Trajectory]: ...


def report_page(title: str, episodes: Episodes, limit: int = 500) -> str:
    """The page.

    Args:
        title: what the episodes are; shown as text.
        episodes: read once each, in order.
        limit: at most so many can be looked at, evenly spread; all of them count in rates and plots.
    """
    summary, beliefs, entries = Summary(), Beliefs(), []
    wanted = set(_pick_evenly(len(episodes), limit))
    for number, trajectory in enumerate(episodes):
        summary.add(trajectory)
        beliefs.add(trajectory)
        if number in wanted:
            entries.append(episode_json(trajectory, number + 1))
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_hash_source(style)}; script-src {_hash_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape_text(title)}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{style}</style></head>',
        f"<body><header><h1>{escape_text(title)}</h1>{summary.line()}</header><main>",
        *summary.table(),
        *_render_plots(beliefs),
        BROWSER,
        f'</main><script type="application/json" id="episodes">{_embed_json(entries)}</script>',
        f"<script>{script}</script></body></html>",
    ]
    return "\n".join(parts)


BROWSER = """<section id="browser"><h2>Episodes</h2>
<noscript><p>Looking at episodes needs JavaScript; summary and plots do not.</p></noscript>
<div class="tools">
<input id="search" type="search" placeholder="Search tasks, commands and texts" aria-label="Search the episodes">
<select id="outcome" aria-label="Outcome"><option value="">won and not won</option><option value="won">won</option>
<option value="lost">not won</option></select>
<select id="kind" aria-label="Task type"><option value="">all task types</option></select>
<output id="count"></output></div>
<div class="panes"><ol id="list" aria-label="Episodes found"></ol>
<article id="episode" tabindex="-1" hidden>
<h3 id="task"></h3><p id="about"></p>
<nav><button id="back" type="button" title="Left arrow">&#8592;<span> back</span></button>
<input id="slider" type="range" min="0" aria-label="Step"><output id="place"></output>
<button id="forward" type="button" title="Right arrow"><span>forward </span>&#8594;</button></nav>
<svg id="values" viewBox="0 0 600 60" preserveAspectRatio="none" role="img" aria-label="V over the episode">
<polyline id="curve"/><line id="cursor" y1="0" y2="60"/></svg>
<div id="step" aria-live="polite"></div></article></div>
<p class="keys"><kbd>/</kbd> search <kbd>Enter</kbd> open <kbd>&#8592;</kbd> <kbd>&#8594;</kbd> step
<kbd>Home</kbd> <kbd>End</kbd> first, last <kbd>[</kbd> <kbd>]</kbd> episode <kbd>Space</kbd> play</p></section>"""


@dataclass
class Group:
    """Counts of some of the episodes."""

    outcomes: Outcomes = field(default_factory=Outcomes)
    steps: int = 0

    @property
    def episodes(self) -> int:
        """How many."""
        return self.outcomes.episodes

    def add(self, trajectory: Trajectory) -> None:
        """Count one."""
        self.outcomes.add(trajectory)
        self.steps += len(trajectory)


@dataclass
class Summary:
    """Rates over all episodes, and by task type."""

    all: Group = field(default_factory=Group)
    by_type: dict[str, Group] = field(default_factory=dict)
    agents: set[str] = field(default_factory=set)
    failed_commands: int = 0

    def add(self, trajectory: Trajectory) -> None:
        """Count one episode."""
        self.all.add(trajectory)
        self.by_type.setdefault(trajectory.task_type, Group()).add(trajectory)
        self.agents.add(trajectory.agent)
        self.failed_commands += sum(turn.action_status not in (None, "ok") for turn in trajectory.turns)

    def line(self) -> str:
        """Who played how much, as a paragraph."""
        facts = [
            f"{self.all.episodes:,} episodes by {', '.join(sorted(filter(None, self.agents))) or 'unknown'}",
            f"{self.all.steps / max(self.all.episodes, 1):.1f} steps each",
            f"{100 * self.failed_commands / max(self.all.steps, 1):.1f} % of the commands failed",
        ]
        return f"<p>{' &#183; '.join(escape_text(fact) for fact in facts)}</p>"

    def table(self) -> Iterator[str]:
        """Success with its interval, in all and by task type."""
        what, score = ("Success", "Won") if self.all.outcomes.defines_success else ("Return", "Mean")
        yield f'<section><h2>{what}</h2><div class="wide"><table><thead><tr><th>Task type<th class="n">Episodes'
        yield f'<th class="n">{score}<th class="n">95 % interval<th><th class="n">Steps</tr></thead><tbody>'
        yield _group_row("All", self.all)
        order = [*TASK_TYPES, *sorted(set(self.by_type) - set(TASK_TYPES))]
        for kind in (kind for kind in order if kind in self.by_type):
            yield _group_row(TASK_TYPES.get(kind, kind) or "unnamed", self.by_type[kind])
        yield "</tbody></table></div></section>"


def episode_json(trajectory: Trajectory, number: int) -> dict[str, Any]:
    """What the browser shows of an episode; every text printable."""
    return {
        "number": number,
        "task": make_printable(trajectory.task or trajectory.game),
        "kind": make_printable(trajectory.task_type),
        "game": make_printable(trajectory.game),
        "agent": make_printable(trajectory.agent),
        "won": trajectory.success,
        "outcome": describe_outcome(trajectory),
        "end": make_printable(trajectory.final_observation.strip()),
        "steps": [_step_json(trajectory, step) for step in range(len(trajectory))],
    }


def escape_text(text: str) -> str:
    """Text of games and models as HTML text or attribute value."""
    return escape(make_printable(text), quote=True)


def _step_json(trajectory: Trajectory, step: int) -> dict[str, Any]:
    turn = trajectory.turns[step]
    return {
        "observation": make_printable(turn.observation.strip()),
        "action": make_printable(turn.action),
        "thought": make_printable(read_thought(turn)),
        "reward": _round_finite(turn.reward),
        "status": make_printable(turn.action_status or ""),
        "value": _round_finite(turn.value),
        "advantage": _round_finite(compute_advantage(trajectory, step)),
        "why": explain_choice(turn),
        "candidates": [_candidate_json(turn, *candidate) for candidate in merge_candidates(turn)],
    }


def _candidate_json(turn: Turn, candidate: Candidate, times: int) -> dict[str, Any]:
    return {
        "action": make_printable(candidate.action),
        "times": times,
        "probability": _round_finite(to_probability(candidate.logprob)),
        "value": _round_finite(candidate.value),
        "chosen": candidate.action == turn.action,
    }


def _group_row(name: str, group: Group) -> str:
    found, (low, high) = group.outcomes, group.outcomes.interval95
    if found.defines_success:
        score = [f"{100 * found.score:.1f} %", f"{100 * low:.1f}-{100 * high:.1f}"]
        score.append(interval_bar(found.score, low, high))
    else:
        score = [f"{found.mean_return:.4g}", f"{low:.3g} to {high:.3g}", ""]
    cells = [
        f"{group.episodes:,}",
        *score,
        f"{group.steps / max(group.episodes, 1):.1f}",
    ]
    numbers = "".join(f'<td class="n">{cell}' for cell in cells)
    return f'<tr><th scope="row">{escape_text(name)}{numbers}</tr>'


def _render_plots(beliefs: Beliefs) -> Iterator[str]:
    yield '<section><h2>Values</h2><div class="plots">'
    if calibration := beliefs.calibration():
        yield f"<figure>{calibration_chart(calibration)}<figcaption>Calibration: of the episodes whose V "
        yield "came to lie in a range, the share won, with its 95 % interval. A calibrated critic lies on the "
        yield "diagonal; larger dots are more episodes.</figcaption></figure>"
    if beliefs.episodes and not calibration:
        yield f"<figure>{value_chart(beliefs.over_time(None), [])}<figcaption>V over time: mean and middle half by "
        yield "step. Late steps are few episodes.</figcaption></figure>"
    elif beliefs.episodes:
        yield f"<figure>{value_chart(beliefs.over_time(True), beliefs.over_time(False))}<figcaption>V over time: mean "
        yield 'and middle half by step, <span class="won">won</span> and <span class="lost">not won</span>. '
        yield "Late steps are few episodes.</figcaption></figure>"
    else:
        yield "<p>No values were recorded: no critic chose the actions of these episodes.</p>"
    yield "</div></section>"


def _pick_evenly(total: int, limit: int) -> list[int]:
    """``limit`` of ``total`` places, evenly."""
    count = min(total, limit)
    return [place * total // count for place in range(count)]


def _round_finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and isfinite(value) else None


def _embed_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash_source(source: str) -> str:
    return f"'sha256-{b64encode(sha256(source.encode()).digest()).decode()}'"
