"""``oreo-agents report``: one HTML file about recorded episodes; no server, no network, no library.

Everything that a game or a model wrote is escaped; the page forbids itself any connection.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import islice

from oreo_agents.report.tables import TASK_TYPES
from oreo_agents.statistics import wilson
from oreo_agents.terminal.printable import printable
from oreo_agents.terminal.views import advantage, chosen_candidate, outcome, reason, sparkline, values
from oreo_agents.trajectory import Trajectory

STYLE = """
:root{color-scheme:light dark;--line:#8884;--win:#2a7d46;--loss:#b3403a;--accent:#1f5fa8}
@media(prefers-color-scheme:dark){:root{--win:#6cc68a;--loss:#ee8b84;--accent:#8dbbf0}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid var(--line)}
input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box;margin:1rem 0}
details{border-bottom:1px solid var(--line);padding:.4rem 0}summary{cursor:pointer}
ol{padding-left:2rem}li{margin:.8rem 0}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2rem 0}
.act{color:var(--accent);font-weight:600}.won{color:var(--win)}.lost{color:var(--loss)}small{opacity:.75}
"""
SCRIPT = """
const search=document.querySelector('input'),episodes=[...document.querySelectorAll('details')];
search.addEventListener('input',()=>{const text=search.value.toLowerCase();
for(const one of episodes)one.hidden=!one.textContent.toLowerCase().includes(text)});
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def run(args: argparse.Namespace) -> int:
    """``oreo-agents report``."""
    from oreo_agents.dataset import load_trajectories

    dataset = load_trajectories(args.path)
    page = report_page(
        str(args.path), dataset.task_types.tolist(), dataset.success.tolist(), islice(dataset, args.limit)
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    partial = args.output.with_name(f".{args.output.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(args.output)
    print(f"{args.output}: {len(dataset)} episodes")
    return 0


def report_page(
    title: str, task_types: Sequence[str], successes: Sequence[bool], episodes: Iterable[Trajectory]
) -> str:
    """The page: rates over all episodes, and a browser of some of them."""
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{safe(title)}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style></head>',
        f"<body><h1>{safe(title)}</h1>",
        *_rates(task_types, successes),
        '<input type="search" placeholder="Search the episodes" aria-label="Search the episodes" autofocus>',
        *map(episode_html, episodes),
        f"<script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts)


def episode_html(trajectory: Trajectory) -> str:
    """One episode, folded."""
    css = "won" if trajectory.success else "lost"
    summary = f"{safe(trajectory.task or trajectory.game)} <small>{safe(trajectory.agent)}</small>"
    line = sparkline(values(trajectory), 60)
    return "\n".join(
        [
            f'<details><summary>{summary} <span class="{css}">{safe(outcome(trajectory))}</span></summary>',
            f"<small>{safe(trajectory.game)}</small>" + (f"<pre>V {line}</pre>" if line else ""),
            "<ol>",
            *(f"<li>{step_html(trajectory, step)}</li>" for step in range(len(trajectory))),
            f"</ol><pre>{safe(trajectory.final_observation)}</pre></details>",
        ]
    )


def step_html(trajectory: Trajectory, step: int) -> str:
    """What was seen, done and believed in one step."""
    turn = trajectory.turns[step]
    facts = [f"reward {turn.reward:g}", turn.action_status or ""]
    if turn.value is not None:
        facts.append(f"V {turn.value:.3f}")
    gain = advantage(trajectory, step)
    if gain is not None:
        facts.append(f"advantage {gain:+.3f}")
    return (
        f'<pre>{safe(turn.observation.strip())}</pre><div class="act">&gt; {safe(turn.action)}</div>'
        f"<small>{safe('  '.join(filter(None, facts)))}</small>{_candidates(trajectory, step)}"
    )


def safe(text: str) -> str:
    """Text of games and models as HTML text or attribute value."""
    return escape(printable(text), quote=True)


def _rates(task_types: Sequence[str], successes: Sequence[bool]) -> Iterator[str]:
    yield "<table><tr><th>Task type<th>Episodes<th>Won<th>95 % interval</tr>"
    for kind in ["", *sorted(set(task_types))]:
        won = [bool(win) for name, win in zip(task_types, successes, strict=True) if not kind or name == kind]
        low, high = wilson(sum(won), len(won))
        rate = f"{100 * sum(won) / len(won):.1f} %" if won else "-"
        name = TASK_TYPES.get(kind, kind) or "All"
        yield f"<tr><td>{safe(name)}<td>{len(won)}<td>{rate}<td>{100 * low:.1f}-{100 * high:.1f}</tr>"
    yield "</table>"


def _candidates(trajectory: Trajectory, step: int) -> str:
    turn = trajectory.turns[step]
    chosen = chosen_candidate(turn)
    rows = [
        f"<tr><td>{safe(candidate.action)}<td>{'-' if candidate.value is None else f'{candidate.value:.3f}'}"
        f"<td>{safe(reason(turn)) if index == chosen else ''}</tr>"
        for index, candidate in enumerate(turn.candidates)
    ]
    return f"<table><tr><th>Candidate<th>V<th></tr>{''.join(rows)}</table>" if rows else ""
