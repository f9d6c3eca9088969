"""Columns of numbers: which values are missing, and what is counted over the others, by the training part alone.

RecBole fills missing numbers with the mean of the whole log, normalises by its range and cuts its range into buckets,
all before it splits, so test-only items and events take part. Here the same is done once more after the split, over
items, sessions and events that train. A number that is not finite is a missing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureType

from recbole_ext.data.times import tell

TABLES = ("inter", "user", "item")


def take(dataset: Any) -> None:
    """Note the numbers of a data set's tables, once, before RecBole fills, normalises and cuts them.

    Sets `missing_features`, (item_num,) or (item_num, L) bool by float column of the items, and `raw_numbers`, float64
    by table and column, nan where missing: those over which something is counted. In the tables an infinite number
    becomes nan, one that is not finite within a sequence 0.
    """
    if "raw_numbers" in vars(dataset):
        return
    dataset.missing_features = {}
    dataset.raw_numbers = {name: {} for name in TABLES}
    for name in TABLES:
        table = getattr(dataset, f"{name}_feat", None)
        for field in () if table is None else table:
            kind = dataset.field2type[field]
            if kind == FeatureType.FLOAT:
                values = _finite(dataset, name, field)
            elif kind == FeatureType.FLOAT_SEQ:
                values = _finite_sequences(dataset, name, field)
            else:
                continue
            if name == "item":
                dataset.missing_features[field] = torch.from_numpy(np.isnan(values))
            counted = _is_normalised(dataset, field) or _buckets(dataset, field) is not None
            if field != dataset.time_field and (counted or (values.ndim == 1 and np.isnan(values).any())):
                dataset.raw_numbers[name][field] = values


def _finite(dataset: Any, name: str, field: str) -> np.ndarray:
    table = getattr(dataset, f"{name}_feat")
    values = table[field].to_numpy(dtype=np.float64, copy=True)
    wrong = np.isinf(values)
    if wrong.any():
        values[wrong] = np.nan
        table[field] = values
        _tell_not_finite(dataset, name, field, int(wrong.sum()))
    return values


def _finite_sequences(dataset: Any, name: str, field: str) -> np.ndarray:
    table, width = getattr(dataset, f"{name}_feat"), dataset.field2seqlen[field]
    cells = [np.empty(0) if isinstance(cell, float) else np.asarray(cell, float) for cell in table[field]]
    values = np.full((len(cells), width), np.nan)
    length = np.array([min(len(cell), width) for cell in cells], dtype=np.int64)
    values[np.arange(width) < length[:, None]] = np.concatenate(
        [np.empty(0), *(cell[:width] for cell in cells)]
    )
    wrong = np.isinf(values) | (np.isnan(values) & (np.arange(width) < length[:, None]))
    if wrong.any():
        values[wrong] = np.nan
        table[field] = [np.where(np.isfinite(cell), cell, 0.0) for cell in cells]
        _tell_not_finite(dataset, name, field, int(wrong.sum()))
    return values


def _tell_not_finite(dataset: Any, name: str, field: str, count: int) -> None:
    what = "value is" if count == 1 else "values are"
    note = f"{field}: {count:,} {what} not finite in .{name}, taken for missing"
    dataset.logger.warning(note)
    tell(dataset, note)


def _is_normalised(dataset: Any, field: str) -> bool:
    return bool(dataset.config["normalize_all"]) or field in (dataset.config["normalize_field"] or ())


def _buckets(dataset: Any, field: str) -> Mapping[str, Any] | None:
    """How the column is cut into buckets; None: it is not."""
    if field not in (dataset.config["numerical_features"] or ()):
        return None
    found: Mapping[str, Any] | None = (dataset.config["discretization"] or {}).get(field)
    return found


def recount(dataset: Any, name: str, trained: torch.Tensor) -> None:
    """Fill, normalise and cut the numbers of the table `name` by its rows `trained` (N,) bool; the rows of the table,
    `events` for "inter", have to be those of `raw_numbers`."""
    table = getattr(dataset, "events" if name == "inter" else f"{name}_feat")
    for field, raw in dataset.raw_numbers[name].items():
        if table is None or field not in table:
            continue
        values = _counted(dataset, field, raw, trained.numpy())
        table.interaction[field] = torch.from_numpy(values).to(table[field].dtype)


def place_events(dataset: Any) -> None:
    """In one of RecBole's own data sets, put each event's place, from 1, where its numbers are.

    So that what is made of the events after it, rows and histories of three parts, says whose numbers they want.
    """
    rows = dataset.inter_feat.interaction
    for field in set(dataset.raw_numbers["inter"]).intersection(rows):
        shape = rows[field].shape
        place = torch.arange(1, shape[0] + 1, dtype=torch.float64)
        rows[field] = place.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()


def recount_events(dataset: Any, parts: list[Any]) -> None:
    """Put numbers where `place_events` has put places: filled, normalised and cut by the events of the first part.

    parts: those that `dataset.build` has made, the training part first. Histories are padded with 0.
    """
    suffix, known = dataset.config["LIST_SUFFIX"] or "_list", dataset.raw_numbers["inter"]
    tables = [part.inter_feat.interaction for part in (*parts, dataset)]
    for field, raw in known.items():
        histories = {field + suffix} - set(known)  # of list files they are columns of their own
        names = [name for name in (field, *histories) if name in tables[0]]
        places = [{name: _places(rows[name], name != field) for name in names} for rows in tables]
        trained = torch.zeros(len(raw) + 1, dtype=torch.bool)
        for column in places[0].values():
            trained[column] = True
        values = torch.from_numpy(_counted(dataset, field, raw, trained[1:].numpy())).float()
        values = torch.cat((torch.zeros_like(values[:1]), values))
        for rows, place in zip(tables, places):
            rows.update({name: values[place[name]] for name in names})


def _places(column: torch.Tensor, is_history: bool) -> torch.Tensor:
    """(N,) or, of histories, (N, length) places in a column that may hold several numbers an event."""
    shape = column.shape[: 1 + is_history]
    return column.reshape(*shape, -1)[..., 0].long()


def _counted(dataset: Any, field: str, raw: np.ndarray, trained: np.ndarray) -> np.ndarray:
    known = np.sort(raw[trained][np.isfinite(raw[trained])])  # one order, whatever the ids
    gap = np.isnan(raw)
    padding = gap if raw.ndim > 1 else np.zeros_like(gap)
    values = np.where(gap, known.mean() if len(known) else 0.0, raw)
    if _is_normalised(dataset, field) and len(known):
        low, high = known[0], known[-1]
        known, values = (
            np.ones_like(column) if low == high else (column - low) / (high - low)
            for column in (known, values)
        )
    cut = _buckets(dataset, field)
    numerical = field in (dataset.config["numerical_features"] or ())
    if cut is not None and len(known):
        values, dataset.field2bucketnum[field] = _cut(known, values, cut)
        values = np.stack((np.ones_like(values), values), axis=-1)
    elif numerical:
        values = np.stack((values, np.ones_like(values)), axis=-1)
    values[padding] = 0
    return values


def _cut(known: np.ndarray, values: np.ndarray, cut: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """The bucket of each value, and the number of buckets with the padding's, as RecBole has them (dataset.py:766).

    known: the numbers that the buckets are made of; others go into the nearest one.
    """
    if cut["method"] == "ED":
        count = cut["bucket"]
        low, high = known[0], known[-1] + 1e-9
        found = np.clip(np.floor((values - low) * count / (high - low) + 1), 1, count)
        return found, int(np.clip(np.floor((known[-1] - low) * count / (high - low) + 1), 1, count)) + 1
    levels = np.unique(_logarithmic(known))
    found = np.clip(np.searchsorted(levels, _logarithmic(values)), 0, len(levels) - 1)
    return found.astype(np.float64), len(levels)


def _logarithmic(values: np.ndarray) -> np.ndarray:
    large = values > 2
    return np.where(large, np.floor(np.log(np.where(large, values, 0) + 1e-9) ** 2 + 1), values)
