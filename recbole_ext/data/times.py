"""When the events of a data set happened: its time column is checked, and events without a time are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from recbole.utils import FeatureType

from recbole_ext.errors import UsageError
from recbole_ext.wording import several


def keep_timed(dataset: Any) -> None:
    """Take events out of `inter_feat` whose time is missing or infinite, and say how many, where order asks for it.

    Sequential data sets always ask, others under `eval_args.order: TO`. Raises UsageError where the column is no
    column of numbers, or no event has a time.
    """
    field, events = dataset.time_field, dataset.inter_feat
    if not field or field not in events or not _asks_for_order(dataset):
        return
    if dataset.field2type[field] != FeatureType.FLOAT:
        raise UsageError(
            f"TIME_FIELD {field} of {dataset.dataset_name} is of type {dataset.field2type[field].value}, which has no "
            f"order: write {field}:float in the first line of the .inter file"
        )
    known = np.isfinite(events[field].to_numpy(dtype=np.float64))
    missing = int((~known).sum())
    if not missing:
        return
    if missing == len(events):
        raise UsageError(f"no event of {dataset.dataset_name} has a time: fill its column {field}")
    events.drop(events.index[~known], inplace=True)
    lack = "has" if missing == 1 else "have"
    note = f"{missing:,} of {several(len(known), 'event')} {lack} no time ({field} is empty or infinite): left out"
    dataset.logger.warning(note)
    tell(dataset, note)


def _asks_for_order(dataset: Any) -> bool:
    sequential = hasattr(dataset, "max_item_list_len")
    return bool(sequential or dataset.config["eval_args"]["order"] == "TO")


def tell(dataset: Any, note: str) -> None:
    """Add a sentence to what the reader of a result is told of the data set."""
    dataset.notes = [*getattr(dataset, "notes", []), note]


def in_order(dataset: Any) -> None:
    """Put the events of one of RecBole's own data sets in order of time, ties in that of the file.

    RecBole sorts after times have become float32, in which seconds of today tie with others up to 128 away; its sort is
    stable, so what is in order stays so.
    """
    field, events = dataset.time_field, dataset.inter_feat
    if dataset.benchmark_filename_list is not None or not field or field not in events:
        return
    if dataset.field2type[field] != FeatureType.FLOAT or field in (
        dataset.config["numerical_features"] or []
    ):
        return
    if dataset.config["eval_args"]["order"] == "TO":
        order = np.argsort(events[field].to_numpy(), kind="stable")
        dataset.inter_feat = events.iloc[order].reset_index(drop=True)
        numbers = getattr(dataset, "raw_numbers", {"inter": {}})  # whose rows are these
        numbers["inter"] = {name: column[order] for name, column in numbers["inter"].items()}
