"""What a converted log is like before any model sees it: sizes, repeats, cold items, returning visitors, drift.

Everything is counted from the atomic files (polars and numpy; no torch), under the split that the runs will have. What
a reader should beware of comes out as sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recbole_ext.data.manifest import has_times, time_origin
from recbole_ext.data.splits import (
    DAY,
    PARTS,
    SPLIT_COLUMN,
    TEST,
    Parting,
    session_labels,
    session_parts,
)
from recbole_ext.errors import UsageError
from recbole_ext.files import PARQUET, events_file
from recbole_ext.segments import earlier_of_group, owner_of, place_in, runs

LENGTHS = {"1": 1, "2": 2, "3-4": 3, "5-9": 5, "10+": 10}
PERIODS = 20  # of equal time, at most; of whole days
TOP = 100  # items that are looked for among the most popular of the next period
FEW_TARGETS, FEW_SESSIONS = 1000, 300  # of a test part, below which differences of a few per cent are noise
SHORT_DAYS = 7
MUCH_COLD, MUCH_REPEAT, FEW_RETURN, MUCH_DRIFT, LONELY = 0.2, 0.3, 0.01, 0.5, 0.5

Facts = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """A log's events (E,), of a session one after the other, sessions (S,) in order of their start.

    item, visitor (-1: unknown), event: numbers of texts; length: (S,) events of each session; part: (S,) of splits.
    """

    item: np.ndarray
    time: np.ndarray
    length: np.ndarray
    part: np.ndarray
    visitor: np.ndarray | None
    event: np.ndarray | None
    kinds: list[str]


def log_facts(folder: str | Path, name: str, split: Any) -> Facts:
    """The facts of the atomic files of data set `name` in `folder`, as plain data for JSON.

    split: name and value as in `eval_args.split`, of one that keeps sessions whole.

    Returns:
        events, sessions, items, visitors (None: the log does not say who), days and first_day, last_day (None without
        times); lengths: sessions by number of events; targets: of train, valid and test, and of their sessions under
        parts; test_days; repeats: share of targets that their session had before, repeats_last: that it had just
        before; cold, few_shot: share of test targets with 0, and 1 to 5, training events; returning: share of test
        sessions whose visitor had an earlier one; kinds: events by kind; popular: share of events on the top 1 % of
        items; lonely: share of items with fewer than five events; features: name, type and share of items that have
        it; periods: begin (days since the first), days, events, items, new_items (share of events on items that no
        earlier period had), kept (share of the TOP items of the period before that are still among them).

    Raises:
        UsageError: there are no such files, or the split leaves a part empty.
    """
    log = _read(Path(folder), name, split)
    session, place = owner_of(log.length), place_in(log.length)
    target = place > 0
    parts = {part: log.part == number for part, number in PARTS.items()}
    tested = target & parts["test"][session]
    trained = np.bincount(log.item[parts["train"][session]], minlength=log.item.max() + 1)
    seen = trained[log.item[tested]]
    pair = session * np.int64(len(trained)) + log.item
    repeat = (earlier_of_group(pair) > 0)[target]
    counts = np.bincount(log.item)
    return {
        "name": name,
        "events": len(log.item),
        "sessions": len(log.length),
        "items": int((counts > 0).sum()),
        "visitors": None if log.visitor is None else len(np.unique(log.visitor[log.visitor >= 0])),
        "lengths": _by_length(log.length),
        "parts": {part: int(mask.sum()) for part, mask in parts.items()},
        "targets": {part: int((target & mask[session]).sum()) for part, mask in parts.items()},
        "repeats": _share(repeat),
        "repeats_last": _share((log.item[1:] == log.item[:-1])[target[1:]]),
        "cold": _share(seen == 0),
        "few_shot": _share((seen > 0) & (seen <= 5)),
        "returning": _returning(log),
        "kinds": _kinds(log),
        "popular": float(np.sort(counts)[::-1][: max(1, len(counts) // 100)].sum() / len(log.item)),
        "lonely": _share(counts[counts > 0] < 5),
        "features": _features(Path(folder), name),
        **_in_time(Path(folder), log),
    }


def _share(mask: np.ndarray) -> float | None:
    """The share that is true; None of nothing."""
    return float(mask.mean()) if len(mask) else None


def _read(folder: Path, name: str, split: Any) -> Log:
    table = _table(folder, name)
    if table.height == 0:
        raise UsageError(f"{folder / name}.inter holds no event: look at what the conversion dropped, and why")
    starts = table.group_by("session_id", maintain_order=True).agg(start=pl.col("timestamp").min())
    starts = starts.sort("start", maintain_order=True).with_row_index("session")
    table = table.join(starts.drop("start"), on="session_id", maintain_order="left")
    table = table.sort("session", "timestamp", maintain_order=True)
    first, length = runs(table["session"].to_numpy())
    labels = None
    if SPLIT_COLUMN in table.columns:
        column, kinds = _numbered(table[SPLIT_COLUMN])
        labels = session_labels(column, np.array(kinds), first, length, starts["session_id"].to_list())
    parting = Parting(split, False, str(folder))
    part = session_parts(parting, starts["start"].to_numpy(), labels, starts["session_id"].to_list())
    visitor = _numbered(table["user_id"])[0][first] if "user_id" in table.columns else None
    event, kinds = _numbered(table["event"]) if "event" in table.columns else (None, [])
    time = table["timestamp"].to_numpy()
    return Log(_numbered(table["item_id"])[0], time, length, part, visitor, event, kinds)


def _table(folder: Path, name: str) -> pl.DataFrame:
    """The columns that are asked for, by their names without types."""
    file = events_file(folder, name)
    if file is None:
        raise UsageError(f"{folder / name}.inter does not exist: convert the log first")
    table = _atomic(file)
    wanted = ("session_id", "user_id", "item_id", "timestamp", "event", SPLIT_COLUMN)
    return table.select([column for column in wanted if column in table.columns]).with_columns(
        pl.col("timestamp").cast(pl.Float64)
    )


def _atomic(file: Path) -> pl.DataFrame:
    """An atomic file with its columns called without their types; all but the parquet form's numbers as text."""
    if file.suffix == PARQUET:
        table = pl.read_parquet(file)
    else:
        table = pl.read_csv(file, separator="\t", quote_char=None, infer_schema=False)
    return table.rename({column: column.partition(":")[0] for column in table.columns})


def _numbered(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """(E,) int64 numbers of the texts, -1 where there is none, and the texts."""
    texts = column.cast(pl.String).replace("", None).alias("text")
    known = texts.drop_nulls().unique(maintain_order=True).to_frame().with_row_index("number")
    joined = texts.to_frame().join(known, on="text", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int64).fill_null(-1).to_numpy(), known["text"].to_list()


def _by_length(length: np.ndarray) -> dict[str, int]:
    ends = [*list(LENGTHS.values())[1:], np.inf]
    return {
        name: int(((length >= low) & (length < high)).sum()) for (name, low), high in zip(LENGTHS.items(), ends)
    }


def _returning(log: Log) -> float | None:
    """None where nothing says who comes."""
    if log.visitor is None or not (log.visitor >= 0).any():
        return None
    earlier = np.where(log.visitor >= 0, earlier_of_group(log.visitor), 0)
    return _share(earlier[log.part == TEST] > 0)


def _kinds(log: Log) -> dict[str, int]:
    if log.event is None:
        return {}
    counts = np.bincount(log.event[log.event >= 0], minlength=len(log.kinds))
    order = np.argsort(-counts, kind="stable")[:12]
    return {log.kinds[number]: int(counts[number]) for number in order if counts[number]}


def _features(folder: Path, name: str) -> list[dict[str, Any]]:
    """Columns of the .item file beside the item's name; none without one."""
    file = folder / f"{name}.item"
    if not file.is_file():
        return []
    kinds = dict(column.split(":") for column in file.open(encoding="utf-8").readline().rstrip("\r\n").split("\t"))
    table = _atomic(file)
    return [
        {"name": column, "type": kind, "share": _share((table[column].fill_null("") != "").to_numpy())}
        for column, kind in kinds.items()
        if column != "item_id"
    ]


def _in_time(folder: Path, log: Log) -> Facts:
    """What needs times: days, dates, periods."""
    nothing: Facts = {"days": None, "first_day": None, "last_day": None, "test_days": None, "periods": []}
    if not has_times(str(folder)):
        return nothing
    origin = time_origin(str(folder))
    days = float(log.time.max() - log.time.min()) / DAY
    test = log.time[(log.part == TEST)[owner_of(log.length)]]
    dates = [str(np.datetime64(int(origin + second), "s"))[:10] for second in (log.time.min(), log.time.max())]
    return {
        "days": days,
        "first_day": dates[0],
        "last_day": dates[1],
        "test_days": float(test.max() - test.min()) / DAY if len(test) else 0.0,
        "periods": _periods(log, days),
    }


def _periods(log: Log, days: float) -> list[Facts]:
    """Parts of equal time, as many whole days each as make PERIODS of them at most; the last one may be cut short."""
    width = max(1, int(np.ceil(days / PERIODS)))
    period = ((log.time - log.time.min()) // (width * DAY)).astype(np.int64)
    known = np.zeros(log.item.max() + 1, dtype=bool)
    before: np.ndarray | None = None
    found = []
    for number in range(int(period.max()) + 1):
        item = log.item[period == number]
        counts = np.bincount(item, minlength=len(known))
        top = np.argsort(-counts, kind="stable")[: min(TOP, int((counts > 0).sum()))]
        kept = None if before is None or not len(before) or not len(top) else _share(np.isin(before, top))
        found.append(
            {
                "begin": number * width,
                "days": width,
                "events": len(item),
                "items": int((counts > 0).sum()),
                "new_items": _share(~known[item]),
                "kept": kept,
            }
        )
        known |= counts > 0
        before = top if len(item) else before
    return found


# --- what to beware of --------------------------------------------------------------------------------------


def warnings_of(facts: Mapping[str, Any]) -> list[str]:
    """What a reader of any figure on this log should know, as sentences; none where nothing stands out."""
    return [sentence for sentence in (*_of_size(facts), *_of_kind(facts)) if sentence]


def _of_size(facts: Mapping[str, Any]) -> list[str]:
    targets, sessions = facts["targets"]["test"], facts["parts"]["test"]
    single = facts["lengths"]["1"] / facts["sessions"]
    few = targets < FEW_TARGETS or sessions < FEW_SESSIONS
    return [
        f"The test part has {sessions:,} sessions with {targets:,} events to guess: differences between models of "
        "several per cent may be chance."
        if few
        else "",
        f"The log is {facts['days']:.1f} days long: what changes with the week or the season is not in it."
        if facts["days"] is not None and facts["days"] < SHORT_DAYS
        else "",
        "The log has no times, so the parts follow the order of its sessions, and nothing is known of its drift."
        if facts["days"] is None
        else "",
        f"{single:.0%} of the sessions are a single event, which leaves nothing to guess in them; if that is most of "
        "your traffic, the figures are of the rest."
        if single > 0.5
        else "",
    ]


def _of_kind(facts: Mapping[str, Any]) -> list[str]:
    cold, repeats, returning = (facts[key] or 0.0 for key in ("cold", "repeats", "returning"))
    kept = [period["kept"] for period in facts["periods"] if period["kept"] is not None]
    drift = float(np.mean(kept)) if kept else 1.0
    hint = (
        "only models that read item features can rank them"
        if facts["features"]
        else "give a table of items (--items), as no model can rank them without"
    )
    return [
        f"{cold:.0%} of the test events are of items that training never saw: {hint}." if cold > MUCH_COLD else "",
        f"{repeats:.0%} of the events to guess are of items that the session had before: a list of what was just seen "
        "is hard to beat here, and may be of little use to a visitor."
        if repeats > MUCH_REPEAT
        else "",
        "Nothing says which sessions are of one visitor, so nothing can be learnt from earlier visits (--user names "
        "the column)."
        if facts["returning"] is None
        else "",
        f"Only {returning:.1%} of the test sessions are of visitors who had been there before: earlier visits can "
        "hardly matter."
        if facts["returning"] is not None and returning < FEW_RETURN
        else "",
        f"From one period to the next only {drift:.0%} of the most popular items stay so: an old model ages quickly, "
        "so train often (recbole-ext update)."
        if drift < MUCH_DRIFT
        else "",
        f"{facts['lonely']:.0%} of the items have fewer than five events in the whole log: little can be learnt of each."
        if (facts["lonely"] or 0.0) > LONELY
        else "",
        "There are no item features: models know items by who looked at them alone (--items names a table)."
        if not facts["features"]
        else "",
        f"All events are of one kind ({next(iter(facts['kinds']))}): nothing says which views led to a purchase."
        if len(facts["kinds"]) == 1
        else "",
    ]
