"""What `evaluate.comparison.compare` found, as plain text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recbole_ext.evaluate.intervals import LEVEL
from recbole_ext.evaluate.slices import SMALL

SHOWN_NAMES = {"hit": "HR", "ndcg": "NDCG", "mrr": "MRR"}
GAP = "  "


def comparison_text(found: dict[str, Any]) -> str:
    """Ranking with intervals, what the models are beyond it, paired tests, and slices by the first metric."""
    head = (
        f"{found['dataset']}: {found['targets']:,} test targets of {found['sessions']:,} sessions, "
        f"{found['items']:,} items ranked"
    )
    parts = [
        [head, *(f"note: {note}" for note in found["notes"])],
        _ranking(found),
        _beyond(found),
        _tests(found),
    ]
    parts += [_slices(found, dimension) for dimension in found["slices"]]
    small = any(entry["small"] for entries in found["slices"].values() for entry in entries)
    parts.append([f"* under {SMALL} targets: says little"] if small else [])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _ranking(found: dict[str, Any]) -> list[str]:
    rows = [["model", "seeds", *(f"{shown(metric)} [{LEVEL} %]" for metric in found["metrics"])]]
    for model in found["models"]:
        cells = [model["model"], str(len(model["seeds"]))]
        for metric in found["metrics"]:
            values = model["metrics"][metric]
            spread = "" if values["seed_std"] is None else f" ±{values['seed_std']:.4f}"
            cells.append(interval(values) + spread)
        rows.append(cells)
    several = any(len(model["seeds"]) > 1 for model in found["models"])
    legend = ["±: standard deviation over seeds"] if several else []
    return _table(rows, left=1) + legend


def _beyond(found: dict[str, Any]) -> list[str]:
    names = list(found["models"][0]["beyond"])
    categories = [name for name in next(iter(_categories(found)), {}) if "@" in name]
    rewards = list(found["models"][0].get("reward", {}))
    rows = [["", *map(shown, [*names, *categories, *rewards]), "parameters", "training s", "epochs"]]
    for model in found["models"]:
        hits, earned = model.get("category_hit", {}), model.get("reward", {})
        cells = [_number(model["beyond"][name], 1 if "popularity" in name else 4) for name in names]
        cells += [_number(hits.get(name, {}).get("mean"), 4) for name in categories]
        cells += [_number(earned.get(name, {}).get("mean"), 4) for name in rewards]
        cells += [
            _number(model["parameters"], 0),
            _number(model["seconds"]["train"], 1),
            _number(model["epochs"], 1),
        ]
        rows.append([model["model"], *cells])
    unknown = max((hit["unknown"] for hit in _categories(found)), default=0)
    legend = [f"category hits leave out {unknown:,} targets of unknown category"] if unknown else []
    return _table(rows, left=1) + legend


def _categories(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [model["category_hit"] for model in found["models"] if "category_hit" in model]


def _tests(found: dict[str, Any]) -> list[str]:
    rows = [["paired test", "metric", f"difference [{LEVEL} %]", "p", "p (Holm)"]]
    for test in found["tests"]:
        difference = interval({**test, "mean": test["difference"]}, sign="+")
        pair = f"{test['a']} - {test['b']}"
        rows.append([pair, shown(test["metric"]), difference, f"{test['p']:.4f}", f"{test['p_holm']:.4f}"])
    return _table(rows, left=2) if len(rows) > 1 else []


def _slices(found: dict[str, Any], dimension: str) -> list[str]:
    metric = found["metrics"][0]
    labels = [model["model"] for model in found["models"]]
    rows = [[f"{shown(metric)} by {dimension.replace('_', ' ')}", "targets ", "sessions", *labels]]
    for entry in found["slices"][dimension]:
        mark = "*" if entry["small"] else " "
        cells = [interval(entry["metrics"][label][metric]) for label in labels]
        rows.append([entry["slice"], f"{entry['targets']:,}{mark}", f"{entry['sessions']:,}", *cells])
    return _table(rows, left=1)


def shown(metric: str) -> str:
    """A metric's name for people: HR@10, NDCG@10, coverage@20."""
    name, at, k = metric.partition("@")
    return f"{SHOWN_NAMES.get(name, name.replace('_', ' '))}{at}{k}"


def interval(values: dict[str, Any], sign: str = "") -> str:
    """`0.4216 [0.4011, 0.4420]`; without the brackets where there is no interval."""
    mean = f"{values['mean']:{sign}.4f}"
    return (
        mean if values["low"] is None else f"{mean} [{values['low']:{sign}.4f}, {values['high']:{sign}.4f}]"
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _table(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of equal columns, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines
