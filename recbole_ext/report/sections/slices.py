"""The metrics by what is known of the targets, and on cold and on warm items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Section, Table, section
from recbole_ext.report.formats import known, metric_name, spaced
from recbole_ext.report.plots import Style
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import mean_cell, words
from recbole_ext.wording import several


def cold_items(found: Findings) -> Section | None:
    """Unseen items beside the others."""
    return section("Cold and warm items", cold_and_warm(found))


def slices(found: Findings) -> Section | None:
    """Every way to part the targets, one picture and table each."""
    return section(
        "By slice", *(_by(found, *each) for each in enumerate(found.comparison.get("slices") or {}, 1))
    )


def _by(found: Findings, number: int, dimension: str) -> Section | None:
    table = slice_table(found.comparison, dimension)
    return section(spaced(dimension), slice_dots(found, number, dimension), table) if table else None


def slice_dots(found: Findings, number: int, dimension: str) -> Figure | None:
    """The first metric of every model, a panel a slice, on one scale; None where there is nothing to draw."""
    comparison = found.comparison
    parts = (comparison.get("slices") or {}).get(dimension) or []
    if not parts or not comparison["models"] or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    labels = [m["model"] for m in comparison["models"]]
    near = plots.on_scale(comparison, metric)
    near |= _within_reach(parts, labels, metric, near)

    def lines(columns: int) -> int:
        return math.ceil(len(parts) / columns)

    def draw(figure: Any, columns: int) -> None:
        axes = plots.panels(figure, lines(columns), columns, sharex=True)
        for panel, part in zip(axes, parts):
            rows = [(label, plots.in_slice(part, label, metric)) for label in labels]
            plots.dots(panel, rows, found.look, near)
            title = f"{plots.short(str(part['slice']))}\n{several(part.get('targets') or 0, 'target')}"
            if part.get("small"):
                panel.set_facecolor("#f3f3f3")
                title += ", few"
            panel.set_title(title)
        plots.rows_named(axes, columns, labels)
        for panel in axes[-columns:]:
            panel.set_xlabel(metric_name(metric))

    def inches(columns: int) -> tuple[float, float]:
        return plots.WIDTH, lines(columns) * (0.95 + 0.25 * len(labels)) + 0.1

    few = "; a grey panel has fewer than 100 targets" if any(p.get("small") for p in parts) else ""
    title = f"{metric_name(metric)} by {spaced(dimension)}, 95 % intervals, one scale{few}"
    title += "" if near >= set(labels) else plots.OFF_SCALE
    spoken = "; ".join(
        f"{part['slice']} ({several(part.get('targets') or 0, 'target')}): "
        + plots.read_out([(label, plots.in_slice(part, label, metric)) for label in labels], 3)
        for part in parts[:6]
    )
    name = found.name(f"by-{number}", dimension)
    alt = f"Dot plots of {metric_name(metric)} by {spaced(dimension)}. {spoken}"
    return found.pictures.figure(name, title, alt, inches, draw, min(4, len(parts)))


SLICE_MARKS = (("o", True), ("s", False), ("^", True), ("D", False), ("v", True), ("P", False))


def cold_and_warm(found: Findings) -> Figure | None:
    """Every model's first metric on warm and on cold items, joined; None without slices by `item`."""
    comparison = found.comparison
    parts = (comparison.get("slices") or {}).get("item") or []
    if len(parts) < 2 or not comparison["models"] or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    labels = [m["model"] for m in comparison["models"]]

    beside = min(4, len(parts))  # names of marks above the panel

    def draw(figure: Any, columns: int) -> None:
        panel = figure.subplots()
        for row, label in enumerate(labels):
            means = [mean for part in parts if (mean := plots.mean_in(part, label, metric)) is not None]
            if means:
                panel.plot([min(means), max(means)], [row, row], "-", color="#bbbbbb", lw=3, zorder=1)
        for i, part in enumerate(parts):
            marker, filled = SLICE_MARKS[i % len(SLICE_MARKS)]
            style = Style(plots.COLOURS[i % len(plots.COLOURS)], marker, filled)
            aside = 0.18 * (i - (len(parts) - 1) / 2) if len(parts) > 2 else 0.0
            for row, label in enumerate(labels):
                plots.point(panel, plots.in_slice(part, label, metric), row + aside, style)
            handle = f"{plots.short(str(part['slice']))} ({several(part.get('targets') or 0, 'target')})"
            panel.plot([], [], marker, color=style.colour, mfc=style.face, label=_legend_text(handle))
        panel.set_xlabel(metric_name(metric))
        plots.name_rows(panel, labels)
        figure.legend(loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5)

    spoken = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{part['slice']} {plots.read_number(plots.mean_in(part, label, metric))}" for part in parts
        )
        for label in labels[:12]
    )
    title = f"{metric_name(metric)} on cold and warm items, 95 % intervals"

    def inches(columns: int) -> tuple[float, float]:
        return 9.0, 0.85 + 0.2 * math.ceil(len(parts) / columns) + 0.31 * len(labels)

    return found.pictures.figure(found.name("cold-warm"), title, f"{title}. {spoken}", inches, draw, beside)


def _within_reach(
    parts: Sequence[Mapping[str, Any]], labels: Sequence[str], metric: str, near: set[str]
) -> set[str]:
    """Labels of the models that no slice puts below what is drawn of the `near` ones."""
    lows = [plots.in_slice(part, label, metric).get("low") for part in parts for label in near]
    floor = min((low for low in lows if known(low)), default=-math.inf)
    means = {label: [plots.mean_in(part, label, metric) for part in parts] for label in labels}
    return {label for label in labels if all(mean is None or mean >= floor for mean in means[label])}


def _legend_text(text: str) -> str:
    return " " + text if text.startswith("_") else text  # matplotlib leaves out what starts with _


def slice_table(comparison: Mapping[str, Any], dimension: str) -> Table | None:
    """The first metric of every model in every slice of a dimension; None where the dimension has no slice."""
    found = (comparison.get("slices") or {}).get(dimension) or []
    if not found or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    columns = words("model")
    columns += [
        Column(
            str(s["slice"]) + (" ⚠" if s.get("small") else ""), unit=several(s.get("targets") or 0, "target")
        )
        for s in found
    ]
    tops = [_top_of_slice(s, metric) for s in found]
    rows = [
        [Cell(model["model"]), *(_slice_cell(*each, model["model"], metric) for each in zip(found, tops))]
        for model in comparison["models"]
    ]
    legend = ["bold: highest mean of the slice, not a test"]
    if any(s.get("small") for s in found):
        legend.append("⚠ fewer than 100 targets: read with care")
    caption = f"{metric_name(metric)} by {spaced(dimension)}"
    return Table("slices", caption, columns, rows, legend, fold="folded")


def _slice_cell(part: Mapping[str, Any], top: float | None, label: str, metric: str) -> Cell:
    value = plots.in_slice(part, label, metric)
    return mean_cell(value, "best" if top is not None and value.get("mean") == top else "")


def _top_of_slice(part: Mapping[str, Any], metric: str) -> float | None:
    means = [plots.mean_in(part, label, metric) for label in part["metrics"]]
    return max((mean for mean in means if mean is not None), default=None)
