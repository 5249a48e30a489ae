"""What a model reads and is taught, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from oreo_agents.evaluation.inspection import InspectedToken, Inspection
from oreo_agents.terminal.views import make_text

STYLES = {"read": "dim", "thought": "italic yellow", "action": "bold cyan"}


def render_inspection(
    inspection: Inspection, table: bool = False, ascii_only: bool = False
) -> RenderableType:
    """The whole text with its parts told apart by style, or a row for each token; then what there is to know of it."""
    body = _make_table(inspection, ascii_only) if table else _join_text(inspection, ascii_only)
    return Group(body, Text(), _describe(inspection, ascii_only))


def _join_text(inspection: Inspection, ascii_only: bool) -> Text:
    text = Text()
    for number, token in enumerate(inspection.tokens):
        if token.begins and number:
            text.append("\n--- the next turn reads its past anew ---\n", "magenta")
        style = STYLES[token.kind] if token.learnt or token.kind == "read" else "strike"
        text.append_text(make_text(token.text, style, ascii_only))
    return text


def _make_table(inspection: Inspection, ascii_only: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "id", "token", "part", "learnt", "return", "V"):
        table.add_column(heading, justify="left" if heading in ("token", "part", "learnt") else "right")
    for row in _list_rows(inspection.tokens, ascii_only):
        table.add_row(*row)
    return table


def _list_rows(tokens: tuple[InspectedToken, ...], ascii_only: bool) -> Iterator[list[str | Text]]:
    for number, token in enumerate(tokens):
        shown = make_text(repr(token.text)[1:-1], STYLES[token.kind], ascii_only)
        value = "" if token.value is None else f"{token.value:.3f}"
        learnt = "yes" if token.learnt else ""
        yield [str(number), str(token.id), shown, token.kind, learnt, f"{token.return_:g}", value]


def _describe(inspection: Inspection, ascii_only: bool) -> Text:
    read, thought, action = (inspection.count(kind) for kind in ("read", "thought", "action"))
    sequences = f"{inspection.sequences} sequence{'s' if inspection.sequences > 1 else ''}"
    text = Text.assemble(
        (f"{read} read", STYLES["read"]),
        ", ",
        (f"{thought} of thoughts", STYLES["thought"]),
        ", ",
        (f"{action} that name actions", STYLES["action"]),
        f"; {sequences}, the longest {inspection.longest} tokens. A turn ends with ",
    )
    text.append_text(make_text(repr(inspection.end), ascii_only=ascii_only))
    return text.append(f"; tokenizer and prompt {inspection.fingerprint}.")
