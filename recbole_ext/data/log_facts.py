"""What a converted log is like before any model sees it: sizes, repeats, cold items, returning visitors, drift.

Counted from the atomic files, with the events, parts and targets that the runs will have: what the protocol leaves out
is left out by the same functions (data/prepare.py). What a reader should beware of comes out as sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recbole_ext.data import prepare, splits
from recbole_ext.data.manifest import has_times, time_origin
from recbole_ext.data.prepare import Wanted
from recbole_ext.data.splits import DAY, PARTS, SPLIT_COLUMN, TEST, TRAIN, Parting
from recbole_ext.errors import UsageError
from recbole_ext.files import PARQUET, events_file
from recbole_ext.segments import earlier_of_group, owner_of, place_in, runs
from recbole_ext.wording import several

LENGTHS = {"1": 1, "2": 2, "3-4": 3, "5-9": 5, "10+": 10}
PERIODS = 20  # of equal time, at most; of whole days
TOP, FEWEST_TOP = 100, 10  # the most popular tenth of the items is looked at, from 10 to 100 of them
FEW_TARGETS, FEW_SESSIONS = 1000, 300  # of a test part, below which differences of a few per cent are noise
FEW_SHOT, LONELY = (
    5,
    5,
)  # training events of an item that was hardly seen; events of one that hardly anybody looks at
SHORT_DAYS = 7
BUSIEST, MUCH_OF_FEW = 10, 0.2  # visitors, and the share of the test that makes it a test of them
MUCH_SINGLE, MUCH_COLD, MUCH_REPEAT, FEW_RETURN, FEW_KEPT, MUCH_LONELY = 0.5, 0.2, 0.3, 0.01, 0.5, 0.5
FEWEST_SESSIONS = len(PARTS)

Facts = dict[str, Any]


@dataclass(frozen=True)
class Protocol:
    """Of a protocol what says which events train and which are guessed; it keeps sessions whole.

    last_only: of a held-out session only the last event. first_too: a session's first event as well.
    """

    wanted: Wanted
    parting: Parting
    last_only: bool = False
    first_too: bool = False

    @classmethod
    def of(cls, config: Any, folder: str) -> Protocol:
        """As the config says it; `folder`: of the atomic files."""
        last_only = splits.eval_targets(config, folder) == "last"
        first_too = bool(config["empty_history"])
        return cls(Wanted.of(config, folder), Parting.of(config, folder), last_only, first_too)


@dataclass(frozen=True)
class Log:
    """A log's events (E,), of a session one after the other, sessions (S,) in order of their start.

    item, visitor (-1: unknown), event: numbers, of texts; time: seconds; length: (S,) events of each session; part:
    (S,) of splits; trains: (E,) bool. item_names, kinds: the texts.
    """

    item: np.ndarray
    time: np.ndarray
    length: np.ndarray
    part: np.ndarray
    trains: np.ndarray
    visitor: np.ndarray | None
    event: np.ndarray | None
    item_names: list[str]
    kinds: list[str]


def log_facts(folder: str | Path, name: str, protocol: Protocol) -> Facts:
    """The facts of the atomic files of data set `name` in `folder`, as plain data for JSON.

    Returns:
        events, sessions, items, visitors (None: the log does not say who). left_out: events that the protocol leaves
        out; notes: its sentences. days and first_day, last_day (None without times). lengths: sessions by number of
        events. parts: sessions that train, validate and test; targets: events to guess in each; tested: test sessions
        that have one; newest: whether the newest sessions test; test_days.
        repeats: share of all targets that their session had before; repeats_last: that it had just before. cold,
        few_shot: share of test targets with 0, and 1 to FEW_SHOT, training events. returning: share of test sessions
        whose visitor had an earlier one. busiest: share of the test's targets that the BUSIEST visitors have who have
        most (None with no more than so many). kinds: events by kind. popular: share of events on the top 1 % of items;
        lonely: share of items with fewer than LONELY events; top: names of the three most popular.
        features: name, type and share of items that have it. periods: begin (days since the first), days, whole
        (whether the log lasts to its end), events, items, new_items (share of events on items that no earlier period
        had), kept (share of the most popular items of the period before that are still among the most popular).

    Raises:
        UsageError: there are no such files, or too few sessions for the split.
    """
    place = Path(folder)
    table = _table(place, name)
    log, notes = _prepared(table, name, protocol)
    session, nth = owner_of(log.length), place_in(log.length)
    last = nth == log.length[session] - 1
    training = (log.part == TRAIN)[session]
    target = (nth >= (0 if protocol.first_too else 1)) & (log.trains | ~training)
    if protocol.last_only:
        target &= last | training
    of_part = {part: log.part == number for part, number in PARTS.items()}
    trained = np.bincount(log.item[log.trains], minlength=len(log.item_names))
    seen = trained[log.item[target & of_part["test"][session]]]
    repeat = earlier_of_group(session * np.int64(len(trained)) + log.item) > 0
    again = np.zeros(len(log.item), dtype=bool)
    again[1:] = (log.item[1:] == log.item[:-1]) & (nth[1:] > 0)
    counts = np.bincount(log.item, minlength=len(trained))
    counts_of_known = np.sort(counts[counts > 0])[::-1]
    return {
        "name": name,
        "events": len(log.item),
        "left_out": table.height - len(log.item),
        "notes": notes,
        "sessions": len(log.length),
        "items": len(counts_of_known),
        "visitors": None if log.visitor is None else len(np.unique(log.visitor[log.visitor >= 0])),
        "lengths": _by_length(log.length),
        "parts": {part: int(mask.sum()) for part, mask in of_part.items()},
        "targets": {part: int((target & mask[session]).sum()) for part, mask in of_part.items()},
        "tested": len(np.unique(session[target & of_part["test"][session]])),
        "newest": protocol.parting.split.name == "session_time",
        "repeats": _share(repeat[target]),
        "repeats_last": _share(again[target]),
        "cold": _share(seen == 0),
        "few_shot": _share((seen > 0) & (seen <= FEW_SHOT)),
        "returning": _returning(log),
        "busiest": _busiest(log, (target & of_part["test"][session])),
        "kinds": _kinds(log),
        "popular": float(counts_of_known[: max(1, len(counts_of_known) // 100)].sum() / len(log.item)),
        "lonely": _share(counts_of_known < LONELY),
        "top": [log.item_names[item] for item in np.argsort(-counts, kind="stable")[:3] if counts[item]],
        "features": _features(place, name),
        **_in_time(place, log),
    }


def _share(mask: np.ndarray) -> float | None:
    """The share that is true; None of nothing."""
    return float(mask.mean()) if len(mask) else None


# --- reading ------------------------------------------------------------------------------------------------


def _table(folder: Path, name: str) -> pl.DataFrame:
    """The columns that are asked for, by their names without types."""
    file = events_file(folder, name)
    if file is None:
        raise UsageError(f"{folder / name}.inter does not exist: convert the log first")
    table = _atomic(file)
    for column in ("session_id", "item_id", "timestamp"):
        if column not in table.columns:
            raise UsageError(f"{file} has no column {column}, so it is no log of sessions: convert it first")
    if table.height == 0:
        raise UsageError(f"{file} holds no event: look at what the conversion dropped, and why")
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


def _prepared(table: pl.DataFrame, name: str, protocol: Protocol) -> tuple[Log, list[str]]:
    """The log as the protocol leaves it, and the sentences of what it takes out."""
    session, sessions = _numbered(table["session_id"])
    item, items = _numbered(table["item_id"])
    visitor = _numbered(table["user_id"])[0] if "user_id" in table.columns else None
    split, kinds_of_split = None, None
    if protocol.parting.split.name == "given" and SPLIT_COLUMN in table.columns:
        split, texts = _numbered(table[SPLIT_COLUMN])
        kinds_of_split = np.array([*texts, "nan"])  # -1, the last one, where it is missing
    if len(sessions) < FEWEST_SESSIONS:
        raise UsageError(
            f"{name} has {several(len(sessions), 'session')}, too few to train, validate and test on: it takes some "
            "hundred for a figure that says anything"
        )
    found = prepare.prepare(
        prepare.Log(
            name,
            np.arange(table.height),
            session,
            np.array(sessions),
            item,
            np.array(items),
            time=table["timestamp"].to_numpy(),
            user=visitor,
            split=split,
            kinds=kinds_of_split,
        ),
        protocol.wanted,
    )
    left = found.log
    parts = found.parts or prepare.parted(left, protocol.parting)
    trains, _ = parts.training(left)
    start = np.full(len(left.sessions), np.inf)
    np.minimum.at(start, left.session, left.times)
    in_order = prepare.time_order(left.session, left.times, start)
    order = np.arange(len(left.session)) if in_order is None else in_order
    first, length = runs(left.session[order])
    row = left.place[order]
    event, kinds = _numbered(table["event"]) if "event" in table.columns else (None, [])
    log = Log(
        left.item[order],
        left.times[order],
        length,
        parts.by_session.loc[left.sessions].to_numpy()[left.session[order][first]],
        trains[order],
        None if visitor is None else visitor[row][first],
        None if event is None else event[row],
        [str(one) for one in left.items],
        kinds,
    )
    return log, found.notes


def _numbered(column: pl.Series) -> tuple[np.ndarray, list[str]]:
    """(E,) int64 numbers of the texts by first occurrence, -1 where there is none, and the texts."""
    texts = column.cast(pl.String).replace("", None).alias("text")
    known = texts.drop_nulls().unique(maintain_order=True).to_frame().with_row_index("number")
    joined = texts.to_frame().join(known, on="text", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int64).fill_null(-1).to_numpy(), known["text"].to_list()


# --- counting -----------------------------------------------------------------------------------------------


def _by_length(length: np.ndarray) -> dict[str, int]:
    ends = [*list(LENGTHS.values())[1:], np.inf]
    return {
        name: int(((length >= low) & (length < high)).sum())
        for (name, low), high in zip(LENGTHS.items(), ends)
    }


def _returning(log: Log) -> float | None:
    """None where nothing says who comes."""
    if log.visitor is None or not (log.visitor >= 0).any():
        return None
    earlier = np.where(log.visitor >= 0, earlier_of_group(log.visitor), 0)
    return _share(earlier[log.part == TEST] > 0)


def _busiest(log: Log, tested: np.ndarray) -> float | None:
    """tested: (E,) whether an event is one of the test to guess. None where nothing says who comes, or too few do."""
    if log.visitor is None or not tested.any():
        return None
    visitor = log.visitor[owner_of(log.length)][tested]
    counts = np.sort(np.bincount(visitor[visitor >= 0]))[::-1]
    return float(counts[:BUSIEST].sum() / len(visitor)) if (counts > 0).sum() > BUSIEST else None


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
    with file.open(encoding="utf-8") as stream:
        heads = [column.partition(":") for column in stream.readline().rstrip("\r\n").split("\t")]
    table = _atomic(file)
    return [
        {"name": column, "type": kind, "share": _share((table[column].fill_null("") != "").to_numpy())}
        for column, _, kind in heads
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
    dates = [
        str(np.datetime64(int(origin + second), "s"))[:10] for second in (log.time.min(), log.time.max())
    ]
    return {
        "days": days,
        "first_day": dates[0],
        "last_day": dates[1],
        "test_days": float(test.max() - test.min()) / DAY if len(test) else 0.0,
        "periods": _periods(log, days),
    }


def _periods(log: Log, days: float) -> list[Facts]:
    """Parts of equal time, as many whole days each as make PERIODS of them at most."""
    width = max(1, int(np.ceil(days / PERIODS)))
    period = ((log.time - log.time.min()) // (width * DAY)).astype(np.int64)
    known = np.zeros(len(log.item_names), dtype=bool)
    before: np.ndarray | None = None
    found = []
    for number in range(int(period.max()) + 1):
        item = log.item[period == number]
        counts = np.bincount(item, minlength=len(known))
        there = int((counts > 0).sum())
        top = np.argsort(-counts, kind="stable")[: min(TOP, max(FEWEST_TOP, there // 10), there)]
        kept = None if before is None or not len(top) else _share(np.isin(before, top))
        found.append(
            {
                "begin": number * width,
                "days": width,
                "whole": (number + 1) * width <= days,
                "events": len(item),
                "items": there,
                "new_items": _share(~known[item]),
                "kept": kept,
            }
        )
        known |= counts > 0
        before = top if len(top) else None
    return found


def kept_on_average(facts: Mapping[str, Any]) -> float | None:
    """Mean over whole periods of the share of the most popular items that stay so; None where there is none."""
    kept = [one["kept"] for one in facts["periods"] if one["whole"] and one["kept"] is not None]
    return float(np.mean(kept)) if kept else None


# --- what to beware of --------------------------------------------------------------------------------------


def too_small(facts: Mapping[str, Any]) -> str:
    """Why no model can be trained, chosen and tested on the log, in a sentence; empty where it can."""
    empty = [part for part, number in facts["targets"].items() if not number]
    if not empty:
        return ""
    called = {"train": "training", "valid": "validation", "test": "test"}
    parts = facts["parts"]
    split = f"{parts['train']:,} for training, {parts['valid']:,} for validation and {parts['test']:,} for the test"
    sessions = several(facts["sessions"], "session")
    return (
        f"{facts['name']} is too small to study: its {sessions} are split into {split}, and no {called[empty[0]]} "
        "session has a second event, which is what models guess: give a longer log"
    )


def warnings_of(facts: Mapping[str, Any]) -> list[str]:
    """What a reader of any figure on this log should know, as sentences; none where nothing stands out."""
    return [*_of_size(facts), *_of_kind(facts)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _of_size(facts: Mapping[str, Any]) -> list[str]:
    targets, sessions, days = facts["targets"]["test"], facts["tested"], facts["days"]
    single = facts["lengths"]["1"] / facts["sessions"]
    found = (
        (
            targets < FEW_TARGETS or sessions < FEW_SESSIONS,
            f"The test part has {several(targets, 'event')} to guess, in {several(sessions, 'session')}: differences "
            "between models of several per cent may be chance.",
        ),
        (
            days is not None and days < SHORT_DAYS,
            f"The log is {days or 0.0:.1f} days long: what changes with the week or the season is not in it.",
        ),
        (
            days is None,
            "The log has no times, so the parts follow the order of its sessions, and nothing is known of its drift.",
        ),
        (
            single > MUCH_SINGLE,
            f"{_percent(single)} of the sessions are a single event, which leaves nothing to guess in them: the "
            "figures are of the other sessions.",
        ),
        (
            facts["left_out"] > 0,
            f"The settings of the data set leave {several(facts['left_out'], 'event')} of the log out, which no figure "
            "here has.",
        ),
    )
    return [sentence for holds, sentence in found if holds]


def _of_kind(facts: Mapping[str, Any]) -> list[str]:
    cold, repeats, returning, lonely, busiest = (
        facts[key] or 0.0 for key in ("cold", "repeats", "returning", "lonely", "busiest")
    )
    kept = kept_on_average(facts)
    hint = (
        "only a model that reads item features can rank one before a visitor has looked at it"
        if facts["features"]
        else "without a table of items (--items) a model can rank one only after a visitor has looked at it"
    )
    found = (
        (
            cold > MUCH_COLD,
            f"{_percent(cold)} of the test events are of items that training never saw: {hint}.",
        ),
        (
            repeats > MUCH_REPEAT,
            f"{_percent(repeats)} of the events to guess are of items that the session had before: a list of what was "
            "just seen is hard to beat here, and may be of little use to a visitor.",
        ),
        (
            facts["returning"] is None,
            "Nothing says which sessions are of one visitor, so nothing can be learnt from earlier visits (--user "
            "names the column).",
        ),
        (
            facts["returning"] is not None and returning < FEW_RETURN,
            f"Only {100 * returning:.1f} % of the test sessions are of visitors who had been there before: earlier "
            "visits can hardly matter.",
        ),
        (
            busiest > MUCH_OF_FEW,
            f"The {BUSIEST} busiest visitors of the test have {_percent(busiest)} of its events to guess: the figures "
            "are largely of them.",
        ),
        (
            kept is not None and kept < FEW_KEPT,
            f"From one period to the next only {_percent(kept or 0.0)} of the most popular items stay so: a model ages "
            "quickly, so train often (recbole-ext update).",
        ),
        (
            lonely > MUCH_LONELY,
            f"{_percent(lonely)} of the items have fewer than {LONELY} events in the whole log: little can be learnt "
            "of each.",
        ),
        (
            not facts["features"],
            "There are no item features: models know items by who looked at them alone (--items names a table).",
        ),
        (
            len(facts["kinds"]) == 1,
            f"All events are of one kind ({', '.join(facts['kinds'])}): nothing says which views led to a purchase.",
        ),
    )
    return [sentence for holds, sentence in found if holds]
