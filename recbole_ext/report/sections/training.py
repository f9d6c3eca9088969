"""How the models learnt: their curves, and the trials of their searches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Figure, Prose, Section, Table, section
from recbole_ext.report.formats import count, known, listed, score, seconds, several, shown_value
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import MISSING, in_order, numbers, value_cell, words

LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)))
Runs = list[tuple[Any, list[tuple[int, float]]]]  # seed and (epoch, score) of each run of a model


def curves(found: Findings) -> Section | None:
    """Validation by epoch, and which models have no curve."""
    return section("Learning curves", learning_curves(found), without_curve(found.records))


def searches(found: Findings) -> Section | None:
    """What was tried on validation, a table a search."""
    return section("What was tried", *map(search_table, found.searches))


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
    columns = min(4, len(labels))
    lines = math.ceil(len(labels) / columns)

    def draw(figure: Any) -> None:
        axes = plots.panels(figure, lines, columns, sharey=True)
        _draw_curves(figure, axes, curves, found.look)
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
    size = (min(plots.WIDTH, 3.0 * columns + 0.6), 0.7 + 2.1 * lines)
    return found.figure(found.name("learning"), title, alt, size, draw)


def _draw_curves(
    figure: Any, axes: Sequence[Any], curves: Mapping[str, Runs], look: Mapping[str, plots.Style]
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
        _name_seeds(figure, lines_of)
    lowest = min(y for runs in curves.values() for _, points in runs for _, y in points)
    if lowest < plots.FLOOR * min(peaks):  # first epochs would squeeze all later ones
        axes[0].set_ylim(bottom=plots.FLOOR * min(peaks))


def _name_seeds(figure: Any, lines_of: Mapping[Any, Any]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=plots.QUIET, ls=line, label=f"seed {seed}") for seed, line in lines_of.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(LINES), frameon=False, handlelength=3)


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


def search_table(search: Mapping[str, Any]) -> Table:
    """Every trial of one model's search, best validation score first, the chosen one marked."""
    trials = sorted(search.get("trials") or [], key=_worth, reverse=True)
    keys = in_order(key for t in trials for key in t.get("settings") or {})
    chosen = search.get("chosen") or {}
    columns = [*numbers("#"), *words(*keys), *numbers("validation score", "epochs", "training")]
    failed = any(trial.get("reason") for trial in trials)
    columns += words("failed") if failed else []
    rows: list[list[Cell]] = []
    for place, trial in enumerate(trials, 1):
        settings = trial.get("settings") or {}
        picked = _same_settings(settings, chosen) and not any(c.tone == "best" for r in rows for c in r)
        row = [Cell(str(place), place, "chosen" if picked else "", tone="best" if picked else "")]
        row += [_setting_cell(settings.get(key, MISSING)) for key in keys]
        row += [
            value_cell(score, trial.get("valid_score")),
            value_cell(count, trial.get("epochs")),
            value_cell(seconds, trial.get("seconds")),
        ]
        row += [Cell(str(trial.get("reason") or ""))] if failed else []
        rows.append(row)
    what = ", ".join(f"{k}: {shown_value(v)}" for k, v in chosen.items()) or "nothing"
    caption = f"{search.get('label')}: {several(len(trials), 'trial')}; chosen {what}"
    return Table("search", caption, columns, rows, ordered=(0, "ascending"), fold="folded")


def _worth(trial: Mapping[str, Any]) -> float:
    value = trial.get("valid_score")
    return float(value) if known(value) else -math.inf


def _same_settings(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether a trial is the chosen one; `chosen` may hold the settings alone or the whole trial."""
    wanted = chosen.get("settings", chosen) if isinstance(chosen.get("settings"), Mapping) else chosen
    return bool(settings) and all(key in wanted and wanted[key] == value for key, value in settings.items())


def _setting_cell(value: Any) -> Cell:
    if value is MISSING:
        return Cell("", None)
    return Cell(shown_value(value), float(value) if known(value) else None)
