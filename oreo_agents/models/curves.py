"""The curves of a training, from its log. Writes a PNG file and needs no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PANELS = {
    "loss": ("loss", "policy_loss", "eval_loss"),
    "value loss": ("value_loss", "eval_value_loss"),
    "KL of a token (nats)": ("kl", "eval_kl"),
    "V: error and explained variance": (
        "value_error",
        "explained_variance",
        "eval_value_error",
        "eval_explained_variance",
    ),
    "V of won and lost episodes": ("value_won", "value_lost", "eval_value_won", "eval_value_lost"),
    "games won": ("eval_success",),
    "learning rate": ("learning_rate",),
}
"""What is drawn together."""


def draw_curves(log: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw what a training has logged against its optimizer steps, a panel for each kind of number it has."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display, nothing to close

    found = {name: _list_points(log, name) for names in PANELS.values() for name in names}
    panels = {title: [name for name in names if found[name]] for title, names in PANELS.items()}
    if not panels["games won"]:  # where winning is not defined
        found["eval_return"] = _list_points(log, "eval_return")
        panels["return in games"] = ["eval_return"] if found["eval_return"] else []
    panels = {title: names for title, names in panels.items() if names}
    rows = max((len(panels) + 1) // 2, 1)
    height = 2.4 * rows
    figure = Figure(figsize=(9, height), dpi=100)
    # Given, not found by a layout engine, which draws everything twice.
    figure.subplots_adjust(
        left=0.08, right=0.98, bottom=0.45 / height, top=1 - 0.55 / height, wspace=0.22, hspace=0.55
    )
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for one, (caption, names) in zip(axes, panels.items(), strict=False):
        for name in names:
            held_out = name.startswith("eval_")
            one.plot(
                *zip(*found[name], strict=True), label=name, marker="o" if held_out else ".", markersize=4
            )
        one.set_title(caption, fontsize=9)
        one.tick_params(labelsize=8)
        one.locator_params(nbins=5)
        one.legend(fontsize=7, frameon=False)
        one.set_xlabel("optimizer steps", fontsize=8)
        if names == ["eval_success"]:
            one.set_ylim(0, 1)
    for one in axes[len(panels) :]:
        one.remove()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path)


def _list_points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(line["step"], line[name]) for line in log if name in line and "step" in line]
