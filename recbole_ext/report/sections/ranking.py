"""The ranking of the models with intervals and marks, and the paired tests behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
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
    signed,
    stars,
)
from recbole_ext.report.paired import Test, Tests, best_model
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import filled, in_order, value_cell, words
from recbole_ext.wording import several

STARS = "*** Holm-adjusted p < .001 · ** < .01 · * < .05 · n.s. not significant · ? not tested"


def ranking(found: Findings) -> Section | None:
    """The table of all models and the picture of their intervals."""
    table = ranking_table(found.comparison, found.baseline) if found.comparison["models"] else None
    return section("Ranking", table, forest(found))


def tests(found: Findings) -> Section | None:
    """A matrix of paired tests a metric, all but the first folded."""
    matrices = [m for metric in found.comparison["metrics"] if (m := test_matrix(found.comparison, metric))]
    return section("Pairwise tests", *matrices[:1], *(replace(m, fold="folded") for m in matrices[1:]))


def ranking_table(comparison: Mapping[str, Any], baseline: str | None) -> Table:
    """The models, best first: metrics with intervals and marks, differences on the first metric, costs, spread."""
    models, tests = comparison["models"], Tests(comparison)
    baseline = baseline if baseline in [m["model"] for m in models] else None
    extras = in_order(key for m in models for key in m.get("beyond") or {})
    columns: list[tuple[Column, Callable[[Any], Cell]]] = [
        (Column("model", numeric=False), partial(_model_cell, baseline)),
        (Column("seeds"), lambda m: value_cell(count, len(m["seeds"]))),
        *(
            (Column(metric_name(m)), _metric_cell(comparison, tests, m, baseline))
            for m in comparison["metrics"]
        ),
        *(_difference_columns(comparison, tests, baseline) if len(models) > 1 else []),
        (Column("training"), lambda m: value_cell(seconds, m["seconds"].get("train"))),
        (Column("ranking", unit="test part"), lambda m: value_cell(seconds, m["seconds"].get("test"))),
        (Column("parameters"), lambda m: value_cell(roughly, m.get("parameters"))),
        *(_beyond_column(key) for key in extras),
    ]
    heads, cells = filled(columns, models)
    rows = [[Cell(str(place), place), *row] for place, row in enumerate(cells, 1)]
    caption = (
        f"{several(len(models), 'model')} on {count(comparison.get('targets'))} test targets of "
        f"{count(comparison.get('sessions'))} sessions, {count(comparison.get('items'))} items ranked; best first"
    )
    legend = _ranking_legend(len(models), baseline, bool(tests), any(len(m["seeds"]) > 1 for m in models))
    return Table("ranking", caption, [Column("#"), *heads], rows, legend, ordered=(0, "ascending"))


def _difference_columns(
    comparison: Mapping[str, Any], tests: Tests, baseline: str | None
) -> list[tuple[Column, Callable[[Any], Cell]]]:
    """How far the first metric of a model is from that of the best one, and from the baseline's."""
    if not comparison["metrics"]:
        return []
    first = comparison["metrics"][0]
    others = {"to best": best_model(comparison, first)} | ({"to baseline": baseline} if baseline else {})
    return [
        (Column(title, unit=metric_name(first)), partial(_difference_cell, comparison, tests, other))
        for title, other in others.items()
    ]


def _beyond_column(key: str) -> tuple[Column, Callable[[Any], Cell]]:
    name, at, k = key.partition("@")
    return Column(metric_name(name), unit=at + k), lambda m: value_cell(
        amount, (m.get("beyond") or {}).get(key)
    )


def _ranking_legend(models: int, baseline: str | None, tested: bool, seeds: bool) -> list[str]:
    below = "below a mean: its 95 % interval over test sessions"
    legend = [below + ("; ± standard deviation over seeds" if seeds else "")]
    if models > 1 and tested:
        legend.append("bold: highest mean · ≈ not distinguishable from it (Holm p ≥ .05)")
        legend.append(f"differences: {STARS}")
        if baseline:
            legend.append(f"▲ ▼ significantly above or below the baseline {baseline} (Holm p < .05)")
    return legend


def _model_cell(baseline: str | None, model: Mapping[str, Any]) -> Cell:
    detail = [model["name"]] if model.get("name") and model["name"] != model["model"] else []
    detail += ["baseline"] if model["model"] == baseline else []
    return Cell(model["model"], None, detail=detail)


def _metric_cell(
    comparison: Mapping[str, Any], tests: Tests, metric: str, baseline: str | None
) -> Callable[[Any], Cell]:
    leader = best_model(comparison, metric)

    def cell(model: Mapping[str, Any]) -> Cell:
        found, label = model["metrics"].get(metric) or {}, model["model"]
        if not known(found.get("mean")):
            return Cell(NONE, None, tone="quiet")
        to_best = tests.between(label, leader, metric)
        against = tests.between(label, baseline, metric)
        mark = "≈" if label != leader and to_best.tested and not to_best.decided else ""
        mark += "▲" if against.better else "▼" if against.worse else ""
        spread = f"± {score(found['seed_std'])}" if known(found.get("seed_std")) else ""
        detail = [part for part in (interval(found), spread) if part]
        return Cell(score(found["mean"]), found["mean"], mark, detail, "best" if label == leader else "")

    return cell


def _difference_cell(
    comparison: Mapping[str, Any], tests: Tests, other: str | None, model: Mapping[str, Any]
) -> Cell:
    """First metric of `model` minus that of `other`: as tested, else of the means, marked as untested."""
    label = model["model"]
    if label == other or other is None:
        return Cell(NONE, 0.0, tone="quiet")
    metric = comparison["metrics"][0]
    test = tests.between(label, other, metric)
    if known(test.difference):
        return Cell(signed(test.difference), test.difference, stars(test.p_holm), _bounds(test))
    means = {m["model"]: plots.metric_of(m, metric).get("mean") for m in comparison["models"]}
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


def forest(findings: Findings) -> Figure | None:
    """Mean and interval of every model, a panel a metric; None without models."""
    comparison, baseline = findings.comparison, findings.baseline
    models, metrics = comparison["models"], comparison["metrics"]
    if not models or not metrics:
        return None

    def lines(columns: int) -> int:
        return math.ceil(len(metrics) / columns)

    def draw(figure: Any, columns: int) -> None:
        axes = plots.panels(figure, lines(columns), columns)
        for panel, metric in zip(axes, metrics):
            found = {m["model"]: plots.metric_of(m, metric) for m in models}
            near = plots.on_scale(comparison, metric)
            plots.dots(panel, list(found.items()), findings.look, near)
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

    def inches(columns: int) -> tuple[float, float]:
        return plots.WIDTH, lines(columns) * (0.75 + 0.31 * len(models))

    banded = any(baseline in plots.on_scale(comparison, metric) for metric in metrics)
    band = f"; the grey band is the interval of the baseline {baseline}" if banded else ""
    ticks = any(len(plots.metric_of(m, metrics[0]).get("seed_values") or []) > 1 for m in models)
    title = f"Means and 95 % intervals{'; small ticks are single seeds' if ticks else ''}{band}"
    title += plots.off_scale_note(comparison, metrics)
    first = plots.read_out([(m["model"], plots.metric_of(m, metrics[0])) for m in models])
    alt = f"Dot plot of {metric_name(metrics[0])} with 95 % intervals on {comparison['dataset']}: {first}"
    return findings.pictures.figure(findings.name("ranking"), title, alt, inches, draw, min(3, len(metrics)))
