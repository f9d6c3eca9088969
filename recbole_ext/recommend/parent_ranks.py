"""A parent's lists of its child's test targets: what is in use now, ranked on the day that it does not know.

The child's folder gets a folder `parent`, of record.json and ranks.npz as a run leaves them, so that `promote` and
`compare` read it. The parent is asked through its model folder, as a shop asks it, new items added by their features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_ext import records
from recbole_ext.convert.join import AtomicLog, Columns
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.runs import load as load_runs
from recbole_ext.evaluate.runs import mode_of
from recbole_ext.recommend.lists import Question
from recbole_ext.recommend.recommender import Recommender, load
from recbole_ext.segments import runs, spans

FOLDER = "parent"
PLACES = 100  # of a list; ranks below are not told apart
TOP = 20
CHUNK = 4096  # targets that are asked for at a time


def rank_parent(parent: Path, child: Path, log: Path, columns: Columns) -> Path:
    """Write child/parent and return it. log: folder of the atomic files that the child was trained on.

    Raises UsageError where the parent cannot be asked, or the child's targets are not found in the log.
    """
    run = load_runs([child], None)[0]
    if mode_of(run) != "full":
        raise UsageError(f"the child's targets are ranked among {mode_of(run)}, and lists are of all items")
    asked = _Targets(run.arrays, AtomicLog.read(log), columns)
    model = load(parent)
    added = _add_items(model, asked.log, columns)
    places = min(PLACES, len(model.items))
    number = {str(name): row for row, name in enumerate(run.arrays["item_token"])}
    count = len(run.arrays["rank"])
    rank = np.full(count, int(run.record["counts"]["items"]), dtype=np.int32)
    top = np.zeros((count, TOP), dtype=np.int32)
    for first in range(0, count, CHUNK):
        which = np.arange(first, min(first + CHUNK, count))
        history = asked.history(which) if model.reads_history else None
        found = model.answer(Question(asked.frame(which), places, history=history))
        row = found.labels.astype(np.int64)  # targets by number
        listed = np.array([number.get(str(name), 0) for name in found.names])[found.items] * (
            found.items != 0
        )
        hit = listed == run.arrays["item"][row][:, None]
        rank[row] = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, rank[row])
        top[row, : min(TOP, places)] = listed[:, :TOP]
    before = records.read(parent)
    note = (
        f"lists of the {places} best items by the model folder of {parent}, {added:,} new items added by their "
        "features; lower ranks are not told apart"
    )
    folder = child / FOLDER
    _write(folder, {**run.arrays, "rank": rank, "top": top}, _record(before, run.record, note))
    return folder


class _Targets:
    """The child's test targets as sessions of now. Raises UsageError where the log does not hold them."""

    def __init__(self, arrays: Mapping[str, np.ndarray], log: AtomicLog, columns: Columns):
        self.log, self.columns = log, columns
        events = log.inter
        session = events[columns.session].to_numpy()
        start, _ = runs(session)
        place = dict(zip(session[start].tolist(), start.tolist()))
        self.item = events[columns.item].to_numpy()
        time = events[columns.time].cast(float).to_numpy()
        self.time = time if log.origin is None else time + log.origin
        self.event = events[columns.event].to_numpy() if columns.event in events.columns else None
        self.user = events[columns.user].to_numpy() if columns.user in events.columns else None
        if "position" not in arrays:
            raise UsageError("the child's record does not say where in its session a target stands")
        self.first = np.array([place.get(str(name), -1) for name in arrays["session_token"]], dtype=np.int64)
        self.length = arrays["position"].astype(np.int64)
        own = np.minimum(self.first + self.length, len(self.item) - 1)
        wanted = arrays["item_token"][arrays["item"]]
        if (self.first < 0).any() or (self.item[own].astype(str) != wanted.astype(str)).any():
            raise UsageError("the child leaves out events of the log, so its targets are not found in it")

    def frame(self, which: np.ndarray) -> pd.DataFrame:
        """One row an event of the prefixes of targets (n,), called by their numbers; one without an item where none."""
        length = np.maximum(self.length[which], 1)
        place = spans(self.first[which], length)
        number = np.repeat(which, length)
        blank = np.repeat(self.length[which] == 0, length)
        item = self.item[place].astype(object)
        item[blank] = None
        found = {"session": number, "item": item, "time": self.time[place]}
        for name, column in (("event", self.event), ("user", self.user)):
            if column is not None:
                found[name] = column[place]
        return pd.DataFrame(found)

    def history(self, which: np.ndarray) -> pd.DataFrame | None:
        """All events of the visitors of these targets, each event's session and time; None where none is known."""
        if self.user is None:
            return None
        users = pd.unique(self.user[self.first[which]])
        users = users[[user is not None for user in users]]
        kept = np.flatnonzero(np.isin(self.user.astype(str), users.astype(str)))
        if not len(kept):
            return None
        session = self.log.inter[self.columns.session].to_numpy()[kept]
        columns = {
            "user": self.user[kept],
            "session": session,
            "item": self.item[kept],
            "time": self.time[kept],
        }
        return pd.DataFrame(columns)


def _add_items(model: Recommender, log: AtomicLog, columns: Columns) -> int:
    """Items that the parent does not know, by their features; how many. A model that reads none goes without."""
    if log.item is None:
        return 0
    wanted = [name for name in model.features if name in log.item.columns]
    table = pd.DataFrame(log.item.select(columns.item, *wanted).to_dict(as_series=False))
    table = table[~table[columns.item].isin(set(model.items.tolist()))].rename(columns={columns.item: "item"})
    for name in wanted:
        if log.types[name] == "float":
            table[name] = pd.to_numeric(table[name])
    if table.empty:
        return 0
    try:
        return model.add_items(table)
    except UsageError:
        return 0


def _record(before: Mapping[str, Any], child: Mapping[str, Any], note: str) -> dict[str, Any]:
    kept = ("model", "dataset", "seed", "started", "command", "config", "versions", "commit")
    same = ("protocol", "split", "counts", "valid_metric")
    return {
        **{key: before[key] for key in kept if key in before},
        **{key: child[key] for key in same if key in child},
        "label": "parent",
        "places": PLACES,
        "seconds": {},
        "notes": [note],
    }


def _write(folder: Path, arrays: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "ranks.npz", **arrays)
    records.write(folder, record)
