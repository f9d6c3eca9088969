"""How the models learnt: their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.report import plots
from recbole_ext.report.document import Figure, Prose, Section, section
from recbole_ext.report.formats import known, listed
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import in_order

LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)))
Runs = list[tuple[Any, list[tuple[int, float]]]]  # seed and (epoch, score) of each run of a model


def curves(found: Findings) -> Section | None:
    """Validation by epoch, and which models have no curve."""
    return section("Learning curves", learning_curves(found), without_curve(found.records))


def without_curve(records: Sequence[Mapping[str, Any]]) -> Prose | None:
    """Which models have no learning curve, in a sentence."""
    scored = {r["label"] for r in records if curve_of(r)}
    flat = in_order(r["label"] for r in records if r["label"] not in scored)
    return Prose(f"No curve of {listed(flat, 12)}: fewer than two epochs were validated.") if flat else None


def learning_curves(found: Findings) -> Figure | None:
    """Validation score by epoch, a panel a model, a line a seed; None where no run was validated."""
    curves: dict[str, Runs] = {}
    for record in found.records:
        points = curve_of(record)
        if points:
            curves.setdefault(record["label"], []).append((record.get("seed"), points))
    if not curves:
        return None
    labels = [label for label in found.look if label in curves]
    labels += [label for label in curves if label not in found.look]
    curves = {label: curves[label] for label in labels}
    metrics = " / ".join(dict.fromkeys(str(r.get("valid_metric")) for r in found.records))

    def lines(columns: int) -> int:
        return math.ceil(len(labels) / columns)

    def draw(figure: Any, columns: int) -> None:
        axes = plots.panels(figure, lines(columns), columns, sharey=True)
        _draw_curves(figure, axes, curves, found.look, columns)
        for i, panel in enumerate(axes):
            if i % columns == 0:
                panel.set_ylabel(f"validation {metrics}")
            if i + columns >= len(labels):
                panel.set_xlabel("epoch")

    best = [(label, {"mean": _peak(runs)}) for label, runs in curves.items()]
    title = (
        f"Validation {metrics} by epoch, one line a seed, a marker at its best epoch; "
        "dotted: the best of any model; every model has its own scale of epochs"
    )
    alt = f"Learning curves. Best validation score: {plots.read_out(best)}"

    def inches(columns: int) -> tuple[float, float]:
        return min(plots.WIDTH, 3.0 * columns + 0.6), 0.7 + 2.1 * lines(columns)

    return found.pictures.figure(found.name("learning"), title, alt, inches, draw, min(4, len(labels)))


def _draw_curves(
    figure: Any,
    axes: Sequence[Any],
    curves: Mapping[str, Runs],
    look: Mapping[str, plots.Style],
    columns: int,
) -> None:
    from matplotlib.ticker import MaxNLocator

    seeds = dict.fromkeys(seed for runs in curves.values() for seed, _ in runs)
    lines_of = {seed: LINES[i % len(LINES)] for i, seed in enumerate(seeds)}
    peaks = [_peak(runs) for runs in curves.values()]
    for panel in axes[len(curves) :]:
        panel.set_axis_off()
    for panel, (label, runs) in zip(axes, curves.items()):
        style = look.get(label, plots.Style(plots.INK, "o", True))
        panel.axhline(max(peaks), color="#aaaaaa", lw=0.8, ls=(0, (2, 2)), zorder=0)
        for seed, points in runs:
            x, y = [p[0] for p in points], [p[1] for p in points]
            panel.plot(x, y, color=style.colour, ls=lines_of[seed])
            peak = max(points, key=lambda p: p[1])
            panel.plot(*peak, style.marker, color=style.colour, mfc=style.face, markersize=6)
        panel.set_title(plots.short(label))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        plots.y_grid(panel)
    if 1 < len(lines_of) <= len(LINES):
        _name_seeds(figure, lines_of, len(LINES) if columns > 1 else 3)
    lowest = min(y for runs in curves.values() for _, points in runs for _, y in points)
    if lowest < plots.FLOOR * min(peaks):  # first epochs would squeeze all later ones
        axes[0].set_ylim(bottom=plots.FLOOR * min(peaks))


def _name_seeds(figure: Any, lines_of: Mapping[Any, Any], beside: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=plots.QUIET, ls=line, label=f"seed {seed}") for seed, line in lines_of.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=beside, frameon=False, handlelength=3)


def _peak(runs: Runs) -> float:
    return max(y for _, points in runs for _, y in points)


def curve_of(record: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(epoch from 1, validation score) of a run; empty where fewer than two epochs were validated."""
    points = [
        (int(e["epoch"]) + 1, float(e["valid_score"]))
        for e in record.get("epochs") or []
        if known(e.get("valid_score"))
    ]
    return points if len(points) > 1 else []
