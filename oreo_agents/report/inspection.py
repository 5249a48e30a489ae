"""What a model reads and is taught, as one HTML file: each token says more when it is pointed at."""

from __future__ import annotations

from oreo_agents.evaluation.inspection import InspectedToken, Inspection
from oreo_agents.report.html import escape_text

_STYLE = """
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: .9rem/1.7 ui-monospace, monospace }
.read { opacity: .7 }
.thought { background: #f6c34455; font-style: italic }
.action { background: #4a90d955; font-weight: 600 }
.left-out { text-decoration: line-through }
hr { margin: 1.5rem 0 }
"""


def inspection_page(title: str, inspection: Inspection) -> str:
    """The page.

    Args:
        title: which episode it is and whose; shown as text.
        inspection: what is shown.
    """
    read, thought, action = (inspection.count(kind) for kind in ("read", "thought", "action"))
    spans = "".join(_make_span(token, number) for number, token in enumerate(inspection.tokens))
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape_text(title)}</title><style>{_STYLE}</style>\n<h1>{escape_text(title)}</h1>\n"
        f'<p><span class="read">{read} tokens are read</span>, <span class="thought">{thought} are thoughts</span>, '
        f'<span class="action">{action} name actions</span>; {inspection.sequences} sequences, the longest '
        f"{inspection.longest} tokens. A turn ends with <code>{escape_text(repr(inspection.end))}</code>. Point at a "
        f"token to see its number, its id, the rewards still to come and, with a critic, V after it.</p>\n"
        f"<pre>{spans}</pre></html>\n"
    )


def _make_span(token: InspectedToken, number: int) -> str:
    value = "" if token.value is None else f", V {token.value:.3f}"
    said = f"{number}: id {token.id}, {token.kind}, return {token.return_:g}{value}"
    shape = token.kind if token.learnt or token.kind == "read" else f"{token.kind} left-out"
    rule = "</pre><hr><pre>" if token.begins and number else ""
    return f'{rule}<span class="{shape}" title="{escape_text(said)}">{escape_text(token.text)}</span>'
