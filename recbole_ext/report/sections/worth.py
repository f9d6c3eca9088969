"""What else a hit is worth: the reward of its event, and the target's category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.report.document import Cell, Column, Section, Table, section
from recbole_ext.report.formats import amount, count, known, metric_name
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import in_order, mean_cell, value_cell, value_of, words


def reward(found: Findings) -> Section | None:
    """Cumulative reward of the lists, where the log has rewards."""
    return section("Reward", reward_table(found.comparison))


def categories(found: Findings) -> Section | None:
    """Whether the target's category is in the list."""
    return section("Categories", category_table(found.comparison))


def reward_table(comparison: Mapping[str, Any]) -> Table | None:
    """Mean reward@k of a target and its sum, of the models that have one; None where none has."""
    models = [m for m in comparison["models"] if m.get("reward")]
    if not models:
        return None
    keys = in_order(key for m in models for key in m["reward"])
    summed = any(known(value.get("sum")) for m in models for value in m["reward"].values())
    columns = words("model")
    for key in keys:
        columns.append(Column(metric_name(key), unit="a target, 95 % interval"))
        columns += [Column(metric_name(key), unit="sum")] if summed else []
    rows = []
    for model in models:
        row = [Cell(model["model"])]
        for key in keys:
            value = model["reward"].get(key) or {}
            row.append(mean_cell(value))
            row += [value_cell(amount, value.get("sum"))] if summed else []
        rows.append(row)
    legend = ["reward@k: the reward of the target's event where the target ranks k or better, else 0"]
    return Table("reward", "Mean reward of a target, and the sum over targets", columns, rows, legend)


def category_table(comparison: Mapping[str, Any]) -> Table | None:
    """How often the target's category was recommended; None where no model knows categories."""
    models = [m for m in comparison["models"] if m.get("category_hit")]
    keys = in_order(key for m in models for key, value in m["category_hit"].items() if value_of(value))
    if not keys:
        return None
    columns = words("model") + [Column(metric_name(key), unit="95 % interval") for key in keys]
    rows = [
        [Cell(m["model"]), *[mean_cell(value_of(m["category_hit"].get(key))) for key in keys]] for m in models
    ]
    targets = models[0]["category_hit"].get("targets")
    of = f", of the {count(targets)} targets whose category is known" if known(targets) else ""
    legend = [
        "category@1: the best item is of the target's category; category_hit@k: any of the k best is",
    ]
    return Table("categories", f"Hits of the target's category{of}", columns, rows, legend)
