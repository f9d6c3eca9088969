"""How values become cells and columns of a report's tables, and the rows of report.csv, also as a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

from recbole_ext.report.document import Cell, Column
from recbole_ext.report.formats import interval, known, score

MISSING = object()


def words(*titles: str) -> list[Column]:
    """Columns of words."""
    return [Column(title, numeric=False) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title) for title in titles]


def filled(
    columns: Sequence[tuple[Column, Callable[[Any], Cell]]], items: Iterable[Any]
) -> tuple[list[Column], list[list[Cell]]]:
    """Columns and rows of a table: a row an item, in each column the cell that its function makes of the item."""
    return [column for column, _ in columns], [[cell(item) for _, cell in columns] for item in items]


def value_cell(form: Callable[[Any], str], value: Any) -> Cell:
    """A number as `form` shows it, sorted by itself; a dash where there is none."""
    return Cell(form(value), sortable(value))


def mean_cell(value: Mapping[str, Any], tone: str = "") -> Cell:
    """A metric's mean with its interval below it."""
    return Cell(score(value.get("mean")), sortable(value.get("mean")), "", lines(interval(value)), tone)


def sortable(value: Any) -> float | None:
    """What a cell of that value sorts by; None for what is no number."""
    return float(value) if known(value) else None


def lines(text: str) -> list[str]:
    """The text as a cell's detail: none where it is empty."""
    return [text] if text else []


def in_order(values: Iterable[Any]) -> list[Any]:
    """Every value once, as first met."""
    return list(dict.fromkeys(values))


def value_of(found: Any) -> Mapping[str, Any]:
    """A metric's value as a dict with `mean`; empty for counts and whatever else is no metric."""
    if isinstance(found, Mapping):
        return found
    return {"mean": found} if isinstance(found, float) else {}


# --- report.csv ---------------------------------------------------------------------------------------------

CSV_COLUMNS = (
    *("dataset", "model", "metric", "dimension", "slice"),
    *("mean", "low", "high", "seed_std", "targets", "sessions", "seeds"),
)


def csv_rows(comparisons: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """One row per (data set, model, metric, slice); dimension and slice are "all" for the whole test part."""
    rows: list[list[Any]] = []
    for comparison in comparisons:
        dataset = comparison["dataset"]
        seeds = {m["model"]: len(m["seeds"]) for m in comparison["models"]}
        whole = [comparison.get("targets"), comparison.get("sessions")]
        for model in comparison["models"]:
            label = model["model"]
            found = {**model["metrics"], **(model.get("reward") or {})}
            single = {**(model.get("beyond") or {}), **(model.get("category_hit") or {})}
            found |= {metric: value_of(value) for metric, value in single.items() if value_of(value)}
            for metric, value in found.items():
                rows.append([dataset, label, metric, "all", "all", *_numbers(value), *whole, seeds[label]])
        for dimension, parts in (comparison.get("slices") or {}).items():
            for part in parts:
                size_of = [part.get("targets"), part.get("sessions")]
                for label, metrics in part["metrics"].items():
                    for metric, value in metrics.items():
                        place = [dataset, label, metric, dimension, part["slice"]]
                        rows.append([*place, *_numbers(value), *size_of, seeds.get(label)])
    return rows


def comparison_frame(*comparisons: Mapping[str, Any]) -> pd.DataFrame:
    """What `recbole_ext.compare` found as a frame to select from and to draw, a row a model, metric and slice.

    Columns: dataset, model, metric, dimension, slice (both "all": the whole test part), mean, low, high (NaN where
    there is no interval), seed_std (NaN of one seed), targets, sessions, seeds.
    """
    import pandas as pd  # here, as comparing runs on the command line needs numpy alone

    frame = pd.DataFrame(csv_rows(comparisons), columns=list(CSV_COLUMNS))
    numbers = ["mean", "low", "high", "seed_std"]
    return frame.astype(dict.fromkeys(numbers, float))


def _numbers(value: Mapping[str, Any]) -> list[Any]:
    return [value.get(key) if known(value.get(key)) else None for key in ("mean", "low", "high", "seed_std")]
