"""The ranking of the models with intervals and marks, and the paired tests behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Section, Table, section
from recbole_ext.report.formats import (
    NONE,
    amount,
    count,
    interval,
    known,
    metric_name,
    roughly,
    score,
    seconds,
    several,
    signed,
    stars,
)
from recbole_ext.report.paired import UNTESTED, Test, Tests, best_model
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import in_order, numbers, value_cell, words

STARS = "*** Holm-adjusted p < .001 · ** < .01 · * < .05 · n.s. not significant · ? not tested"


def ranking(found: Findings) -> Section | None:
    some = bool(found.comparison["models"])
    return section(
        "Ranking",
        ranking_table(found.comparison, found.baseline) if some else None,
        forest(found.comparison, found.look, found.baseline, found.name("ranking")),
    )


def tests(found: Findings) -> Section | None:
    matrices = [m for metric in found.comparison["metrics"] if (m := test_matrix(found.comparison, metric))]
    return section("Pairwise tests", *matrices[:1], *(replace(m, fold="folded") for m in matrices[1:]))


def ranking_table(comparison: Mapping[str, Any], baseline: str | None) -> Table:
    """The models, best first: metrics with intervals and marks, differences on the first metric, costs, spread."""
    metrics, models, tests = comparison["metrics"], comparison["models"], Tests(comparison)
    labels = [m["model"] for m in models]
    baseline = baseline if baseline in labels else None
    leaders = {metric: best_model(comparison, metric) for metric in metrics}
    extras = in_order(key for m in models for key in m.get("beyond") or {})
    columns = [*numbers("#"), *words("model"), *numbers("seeds", *map(metric_name, metrics))]
    first = metrics[0] if metrics else None
    if first and len(models) > 1:
        columns.append(Column("to best", unit=metric_name(first)))
        if baseline:
            columns.append(Column("to baseline", unit=metric_name(first)))
    columns += [*numbers("training"), Column("ranking", unit="test part"), *numbers("parameters")]
    columns += [
        Column(metric_name(key.partition("@")[0]), unit="".join(key.partition("@")[1:])) for key in extras
    ]
    rows = []
    for place, model in enumerate(models, 1):
        label = model["model"]
        row = [
            Cell(str(place), place),
            _model_cell(model, baseline),
            Cell(count(len(model["seeds"])), len(model["seeds"])),
        ]
        for metric in metrics:
            against = tests.between(label, baseline, metric) if baseline else UNTESTED
            row.append(_metric_cell(model, metric, leaders[metric], tests, against))
        if first and len(models) > 1:
            leader = leaders[first]
            row.append(_difference_cell(comparison, tests, label, leader))
            if baseline:
                row.append(_difference_cell(comparison, tests, label, baseline))
        row += [
            value_cell(seconds, model["seconds"].get("train")),
            value_cell(seconds, model["seconds"].get("test")),
            value_cell(roughly, model.get("parameters")),
        ]
        beyond = model.get("beyond") or {}
        row += [value_cell(amount, beyond.get(key)) for key in extras]
        rows.append(row)
    caption = (
        f"{several(len(models), 'model')} on {count(comparison.get('targets'))} test targets of "
        f"{count(comparison.get('sessions'))} sessions, {count(comparison.get('items'))} items ranked; best first"
    )
    legend = _ranking_legend(len(models), baseline, bool(tests), any(len(m["seeds"]) > 1 for m in models))
    return Table("ranking", caption, columns, rows, legend, ordered=(0, "ascending"))


def _ranking_legend(models: int, baseline: str | None, tested: bool, seeds: bool) -> list[str]:
    below = "below a mean: its 95 % interval over test sessions"
    legend = [below + ("; ± standard deviation over seeds" if seeds else "")]
    if models > 1 and tested:
        legend.append("bold: highest mean · ≈ not distinguishable from it (Holm p ≥ .05)")
        legend.append(f"differences: {STARS}")
        if baseline:
            legend.append(f"▲ ▼ significantly above or below the baseline {baseline} (Holm p < .05)")
    return legend


def _model_cell(model: Mapping[str, Any], baseline: str | None) -> Cell:
    detail = [model["name"]] if model.get("name") and model["name"] != model["model"] else []
    detail += ["baseline"] if model["model"] == baseline else []
    return Cell(model["model"], None, detail=detail)


def _metric_cell(
    model: Mapping[str, Any], metric: str, leader: str | None, tests: Tests, against_baseline: Test
) -> Cell:
    found = model["metrics"].get(metric) or {}
    if not known(found.get("mean")):
        return Cell(NONE, None, tone="quiet")
    is_best = model["model"] == leader
    mark = ""
    if not is_best and leader is not None:
        to_best = tests.between(model["model"], leader, metric)
        if to_best.tested and not to_best.decided:
            mark = "≈"
    mark += "▲" if against_baseline.better else "▼" if against_baseline.worse else ""
    spread = f"± {score(found['seed_std'])}" if known(found.get("seed_std")) else ""
    detail = [part for part in (interval(found), spread) if part]
    return Cell(score(found["mean"]), found["mean"], mark, detail, "best" if is_best else "")


def _difference_cell(comparison: Mapping[str, Any], tests: Tests, label: str, other: str | None) -> Cell:
    """First metric of `label` minus that of `other`: as tested, else of the means, marked as untested."""
    if label == other or other is None:
        return Cell(NONE, 0.0, tone="quiet")
    metric = comparison["metrics"][0]
    test = tests.between(label, other, metric)
    if known(test.difference):
        return Cell(signed(test.difference), test.difference, stars(test.p_holm), _bounds(test))
    means = {m["model"]: (m["metrics"].get(metric) or {}).get("mean") for m in comparison["models"]}
    mean, others = means[label], means[other]
    if not (known(mean) and known(others)):
        return Cell(NONE, None, tone="quiet")
    return Cell(signed(mean - others), mean - others, "?", tone="quiet")


def _bounds(test: Test) -> list[str]:
    return [f"{signed(test.low)} to {signed(test.high)}"] if known(test.low) and known(test.high) else []


def test_matrix(comparison: Mapping[str, Any], metric: str) -> Table | None:
    """Row minus column for every pair, with stars; None where fewer than two models or no test of `metric`."""
    labels = [m["model"] for m in comparison["models"]]
    tests = Tests(comparison)
    if len(labels) < 2 or not any(t["metric"] == metric for t in comparison.get("tests") or []):
        return None
    columns = words("row minus column")
    columns += [Column(str(i), unit=label) for i, label in enumerate(labels, 1)]
    rows = []
    for i, label in enumerate(labels, 1):
        row = [Cell(f"{i} {label}", float(i))]
        for other in labels:
            test = tests.between(label, other, metric)
            if label == other:
                row.append(Cell("", None, tone="quiet"))
            elif not known(test.difference):
                row.append(Cell("?", None, tone="quiet"))
            else:
                tone = "more" if test.better else "less" if test.worse else "quiet"
                row.append(Cell(signed(test.difference), test.difference, stars(test.p_holm), tone=tone))
        rows.append(row)
    legend = [f"{STARS}; the sign says who is ahead"]
    return Table(
        "tests", f"Differences in {metric_name(metric)}, pair by pair", columns, rows, legend, sortable=False
    )


def forest(
    comparison: Mapping[str, Any], look: Mapping[str, plots.Style], baseline: str | None, name: str
) -> Figure | None:
    """Mean and interval of every model, a panel a metric; None without models."""
    models, metrics = comparison["models"], comparison["metrics"]
    if not models or not metrics:
        return None
    columns = min(3, len(metrics))
    lines = math.ceil(len(metrics) / columns)

    def draw(figure: Any) -> None:
        axes = plots.panels(figure, lines, columns)
        for panel, metric in zip(axes, metrics):
            found = {m["model"]: plots.metric_of(m, metric) for m in models}
            near = plots.on_scale(comparison, metric)
            plots.dots(panel, list(found.items()), look, near)
            for row, model in enumerate(models):
                values = [v for v in found[model["model"]].get("seed_values") or [] if known(v)]
                if len(values) > 1 and model["model"] in near:
                    panel.plot(
                        values, [row + 0.34] * len(values), "|", color=plots.QUIET, markersize=4, mew=0.9
                    )
            reference = found[baseline] if baseline in near else {}
            if known(reference.get("low")) and known(reference.get("high")):
                panel.axvspan(reference["low"], reference["high"], color="#eeeeee", lw=0, zorder=0)
            panel.set_title(metric_name(metric))
        plots.rows_named(axes, columns, [m["model"] for m in models])

    height = lines * (0.75 + 0.31 * len(models))
    banded = any(baseline in plots.on_scale(comparison, metric) for metric in metrics)
    band = f"; the grey band is the interval of the baseline {baseline}" if banded else ""
    ticks = any(len(plots.metric_of(m, metrics[0]).get("seed_values") or []) > 1 for m in models)
    title = f"Means and 95 % intervals{'; small ticks are single seeds' if ticks else ''}{band}"
    title += plots.off_scale_note(comparison, metrics)
    first = plots.read_out([(m["model"], plots.metric_of(m, metrics[0])) for m in models])
    alt = f"Dot plot of {metric_name(metrics[0])} with 95 % intervals on {comparison['dataset']}: {first}"
    return plots.drawn(name, title, alt, (plots.WIDTH, height), draw)
