"""What a model reads and is taught, as one HTML file: each token says more when it is pointed at."""

from __future__ import annotations

from oreo_agents.evaluation.inspection import Inspection
from oreo_agents.report.templates import render_page


def render_inspection_page(title: str, inspection: Inspection) -> str:
    """The page.

    Args:
        title: which episode it is and whose; shown as text.
        inspection: what is shown.
    """
    return render_page("inspection.html", style="inspection.css", title=title, inspection=inspection)
