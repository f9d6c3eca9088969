"""New days behind an old log: atomic files joined to atomic files, as one conversion of all the days would have them.

What differs from that: where a source cuts sessions by idle time, one that goes on over the boundary between two
conversions stays two. A session that the log names itself goes on, and events that it holds already are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext.convert.atomic import Conversion, RowReport, read_manifest, write_conversion
from recbole_ext.convert.engine import pl
from recbole_ext.convert.sessions import FLOAT32_EXACT
from recbole_ext.convert.times import LATEST
from recbole_ext.errors import ConvertError
from recbole_ext.files import sha256

HELD, FORGOTTEN = "the log holds it already", "its session starts before the first day that is kept"
UNKNOWN_KIND = "event of a kind that the log did not have"
_NUMBERED = "_row"


@dataclass(frozen=True)
class Columns:
    """What the columns of an `.inter` file are called."""

    session: str = "session_id"
    item: str = "item_id"
    time: str = "timestamp"
    event: str = "event"
    user: str = "user_id"


@dataclass(frozen=True)
class AtomicLog:
    """Atomic files as text: tables with their columns' types, and the manifest, {} without one."""

    file: Path
    inter: pl.DataFrame
    item: pl.DataFrame | None
    types: dict[str, str]
    manifest: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> AtomicLog:
        """path: an `.inter` file, or a folder that holds one. ConvertError where there is none, or more."""
        file = inter_file(path)
        if file is None:
            raise ConvertError(f"{path} holds no .inter file: name one, or the folder of one.")
        inter, types = _table(file)
        item, more = _table(file.with_suffix(".item")) if file.with_suffix(".item").is_file() else (None, {})
        known = file.parent / "manifest.json"
        manifest = read_manifest(file.parent) if known.is_file() else {}
        if manifest is None:
            raise ConvertError(f"{known} does not fit the files beside it: convert the raw logs again.")
        return cls(file, inter, item, {**more, **types}, manifest)

    @property
    def origin(self) -> float | None:
        """Unix time of timestamp 0; None: timestamps are running numbers."""
        if not self.manifest:
            return 0.0
        found = self.manifest.get("time_origin")
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            raise ConvertError(
                f"{self.file.parent / 'manifest.json'}: time_origin is {found!r}: write the Unix time in seconds that "
                "timestamps count from."
            )
        return float(found)

    @property
    def numbers_sessions(self) -> bool:
        """Whether the converter has numbered the sessions itself, so that equal ids of two conversions say nothing."""
        options, converter = self.manifest.get("options") or {}, self.manifest.get("converter")
        if converter in ("csv", "events"):
            return bool(options.get("gap_minutes") or options.get("session_per_user"))
        return converter in ("retailrocket", "session-lists")


def inter_file(path: Path) -> Path | None:
    """The `.inter` file that a path names, or that lies in a folder, under its name or alone; None: there is none."""
    if path.suffix == ".inter":
        return path if path.is_file() else None
    own = path / f"{path.name}.inter"
    found = [own] if own.is_file() else sorted(path.glob("*.inter")) if path.is_dir() else []
    return found[0] if len(found) == 1 else None


def join(
    old: Path,
    new: Sequence[Path],
    out: Path,
    forget_before: date | None = None,
    columns: Columns | None = None,
) -> dict[str, Any]:
    """Write to `out` the log `old` with the events and items of `new` behind it; return the manifest.

    old, new: as of `AtomicLog.read`. forget_before: sessions that start before that day, UTC, go, and items that only
    they had. An item that is in several files has the newest known value of each feature; old items come first.
    A folder `out` that was made of the same files stays as it is.

    Raises ConvertError where the files do not fit together, hold no new event, or nothing is left.
    """
    names = columns or Columns()
    logs = [AtomicLog.read(path) for path in (old, *new)]
    made_of = _made_of(logs, forget_before)
    there = read_manifest(out) if out.is_dir() else None
    if there is not None and there.get("joined") == made_of:
        return there
    if (out / f"{out.name}.inter").exists():
        raise ConvertError(f"{out} holds another log already: name another folder, or delete that one.")
    notes: dict[str, int] = {}
    reports = [
        RowReport(f"{log.file.name}, {f'events {place}' if place else 'the log before'}")
        for place, log in enumerate(logs)
    ]
    inter = _inter(logs, reports, names, forget_before, notes)
    had = pl.concat([log.inter.select(names.item) for log in logs]).unique()
    item = _items(logs, inter.select(names.item).unique(), had, names, notes)
    inter, origin = _rebased(inter, logs[0].origin, names, notes)
    more: dict[str, Any] = {}
    for log in logs:
        more |= {key: log.manifest[key] for key in ("eval_targets", "features_as_of") if key in log.manifest}
    return write_conversion(
        out,
        str(logs[0].manifest.get("converter") or "atomic"),
        Conversion(
            inter=inter,
            item=item,
            sources=[log.file for log in logs],
            reports=reports,
            options=logs[0].manifest.get("options") or {},
            notes=notes,
            counts=_counts(inter, names),
            time_origin=origin,
            types={name: kind for log in reversed(logs) for name, kind in log.types.items()},
            more={**more, "joined": made_of},
        ),
    )


def name_of(logs: Sequence[AtomicLog], forget_before: date | None, columns: Columns | None = None) -> str:
    """A name for the log that `join` makes: its last day, where it has days, and a sum of all that it is made of.

    Raises ConvertError where the files cannot be one log.
    """
    names = columns or Columns()
    _check(logs, names, forget_before)
    text = json.dumps(_made_of(logs, forget_before), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    if logs[0].origin is None:
        return digest
    last = max(
        float(log.inter[names.time].cast(pl.Float64).max()) + (log.origin or 0.0)  # type: ignore[arg-type]
        for log in logs
    )
    return f"{datetime.fromtimestamp(last, UTC).date()}-{digest}"


def _made_of(logs: Sequence[AtomicLog], forget_before: date | None) -> dict[str, Any]:
    files = [
        [sha256(file) for file in (log.file, log.file.with_suffix(".item")) if file.is_file()] for log in logs
    ]
    day = None if forget_before is None else forget_before.isoformat()
    return {"log": files[0], "events": files[1:], "forget_before": day}


def _table(file: Path) -> tuple[pl.DataFrame, dict[str, str]]:
    """Columns as text, null where empty, and their types. ConvertError where it is no such table."""
    try:
        table = pl.read_csv(file, separator="\t", quote_char=None, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        _check_fields(file)
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConvertError(f"{file} cannot be read ({reason}): mend it, or convert the raw log.") from error
    typed = [column.partition(":") for column in table.columns]
    columns = [name for name, _, _ in typed]
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise ConvertError(f"{file} has two columns {twice}: leave one out.")
    table.columns = columns
    return table, {name: kind for name, _, kind in typed}


def _inter(
    logs: list[AtomicLog],
    reports: list[RowReport],
    names: Columns,
    forget_before: date | None,
    notes: dict[str, int],
) -> pl.DataFrame:
    """All events in order, `names.time` as float64 seconds since the old log's origin."""
    _check(logs, names, forget_before)
    _check_news(logs)
    joined = _timed(logs[0].inter, names, 0.0)
    reports[0].read = joined.height
    for log, report in zip(logs[1:], reports[1:]):
        report.read = log.inter.height
        last = float(joined[names.time].max())  # type: ignore[arg-type]
        events = _timed(log.inter, names, 0.0)
        if log.origin is None or logs[0].origin is None:
            shift = last + 1 - float(events[names.time].min())  # type: ignore[arg-type]
        else:
            shift = log.origin - logs[0].origin
        events = events.with_columns(pl.col(names.time) + shift)
        if log.numbers_sessions:
            events = _renumbered(events, joined, log, logs[0].origin, names)
        else:
            again = events.join(
                joined, on=events.columns, how="semi", nulls_equal=True, maintain_order="left"
            )
            report.drop_rows(again, HELD)
            notes[f"event left out, as {HELD}"] = notes.get(f"event left out, as {HELD}", 0) + again.height
            events = events.join(
                joined, on=events.columns, how="anti", nulls_equal=True, maintain_order="left"
            )
        both = events.select(names.session).unique().join(joined, on=names.session, how="semi").height
        notes["session that goes on in the new events"] = (
            notes.get("session that goes on in the new events", 0) + both
        )
        if names.event in events.columns:
            strange = events.join(logs[0].inter, on=names.event, how="anti", nulls_equal=True)
            notes[UNKNOWN_KIND] = notes.get(UNKNOWN_KIND, 0) + strange.height
        joined = pl.concat([joined, events], how="diagonal")
    if joined.height == logs[0].inter.height:
        raise _no_news(logs[1:])
    if forget_before is not None:
        first = _unix(forget_before) - (logs[0].origin or 0.0)
        start = pl.col(names.time).min().over(names.session)
        gone = joined.filter(start < first)
        reports[0].drop_rows(gone, FORGOTTEN)
        notes["session forgotten"] = gone[names.session].n_unique()
        joined = joined.filter(start >= first)
        if joined.is_empty():
            raise ConvertError(f"--forget-before {forget_before} leaves no session: name an earlier day.")
    ordered = joined.with_row_index(_NUMBERED).with_columns(
        _start=pl.col(names.time).min().over(names.session).floor(),
        _first=pl.col(_NUMBERED).min().over(names.session),
    )
    return ordered.sort("_start", "_first", names.time, _NUMBERED).drop("_start", "_first", _NUMBERED)


def _check(logs: Sequence[AtomicLog], names: Columns, forget_before: date | None) -> None:
    """ConvertError where the files cannot be one log."""
    old = logs[0]
    if "split" in old.inter.columns:
        raise ConvertError(
            f"{old.file} has a column split, and new days have no part in it: update a log that is split by time."
        )
    if forget_before is not None and old.origin is None:
        raise ConvertError(
            f"{old.file} has running numbers for times, so it has no days to forget: leave that out."
        )
    for log in logs:
        for name in (names.session, names.item, names.time):
            if name not in log.inter.columns:
                raise ConvertError(f"{log.file} has no column {name}: it has {', '.join(log.inter.columns)}.")
        if log.inter.is_empty():
            raise ConvertError(f"{log.file} holds no event: leave it out.")
        if (log.origin is None) != (old.origin is None):
            raise ConvertError(
                f"{log.file} and {old.file} cannot be joined, as one has times and the other running numbers."
            )
        for one, other, suffix in ((log.inter, old.inter, ".inter"), (log.item, old.item, ".item")):
            if one is None:
                continue
            strange = [name for name in one.columns if other is None or name not in other.columns]
            if strange:
                raise ConvertError(
                    f"{log.file.with_suffix(suffix)} has a column {strange[0]}, which the log does not have: leave it "
                    "out, or train anew."
                )
            for name in one.columns:
                if log.types[name] != old.types[name]:
                    raise ConvertError(
                        f"{log.file.with_suffix(suffix)}: {name} is {log.types[name]}, and in the log "
                        f"{old.types[name]}: convert both alike."
                    )
        if set(old.inter.columns) - set(log.inter.columns):
            missing = next(name for name in old.inter.columns if name not in log.inter.columns)
            raise ConvertError(f"{log.file} has no column {missing}, which the log has: convert both alike.")
        if log is not old:
            _check_rows(log, names)
        _check_times(log, names, new=log is not old)
    for log in logs[1:]:
        _check_place(log, old, names)


def _check_rows(log: AtomicLog, names: Columns) -> None:
    """ConvertError where a row of new files has another number of fields, no id, or a number that is none."""
    for table, suffix, ids in (
        (log.inter, ".inter", (names.session, names.item)),
        (log.item, ".item", (names.item,)),
    ):
        if table is None:
            continue
        file = log.file.with_suffix(suffix)
        _check_fields(file)
        for name in ids:
            blank = table[name].is_null() | (table[name].str.strip_chars() == "").fill_null(True)
            if blank.any():
                line = _line(blank)
                raise ConvertError(f"{file}, line {line}: {name} is empty: write one, or leave the row out.")
        for name in table.columns:
            if log.types[name] != "float" or (name == names.time and suffix == ".inter"):
                continue
            value = table[name].str.strip_chars().cast(pl.Float64, strict=False)
            bad = table[name].is_not_null() & (value.is_null() | value.is_infinite().fill_null(False))
            if bad.any():
                raise ConvertError(
                    f"{file}, line {_line(bad)}: {name} is {table[name].filter(bad)[0]!r}: write a finite number, or "
                    "nothing."
                )


def _check_fields(file: Path) -> None:
    """ConvertError for the first line of a file that has not as many fields as its header."""
    text = np.frombuffer(file.read_bytes(), dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    if len(text) and text[-1] != ord("\n"):
        ends = np.append(ends, len(text))
    fields = np.diff(np.searchsorted(np.flatnonzero(text == ord("\t")), ends), prepend=0) + 1
    bad = np.flatnonzero(fields != fields[:1])
    if len(bad):
        raise ConvertError(
            f"{file}, line {bad[0] + 1}: it has {fields[bad[0]]} tab-separated fields, and the header {fields[0]}: "
            "mend that row, or leave it out."
        )


def _check_times(log: AtomicLog, names: Columns, new: bool) -> None:
    """ConvertError for a time that is no number, not finite, later than a log can be or, in new files, negative."""
    text = log.inter[names.time]
    value = text.cast(pl.Float64, strict=False)
    latest = math.inf if log.origin is None else _unix(LATEST) - log.origin
    good = value.is_finite() & (value < latest) & (value >= (0.0 if new else -math.inf))
    bad = ~good.fill_null(False)
    if bad.any():
        found = text.filter(bad)[0]
        what = "a running number" if log.origin is None else f"a time in seconds, before {LATEST}"
        raise ConvertError(
            f"{log.file}, line {_line(bad)}: {names.time} is {'empty' if found is None else repr(found)}: write {what}"
            f"{', not negative' if new else ''}."
        )


def _check_place(log: AtomicLog, old: AtomicLog, names: Columns) -> None:
    """ConvertError where new files do not say what their times count from, or end before the log begins."""
    if log.origin is None or old.origin is None:
        return
    # a log that began without a manifest counts from 0, and so do new days without one
    if not log.manifest and old.manifest and old.manifest.get("converter") != "atomic":
        raise ConvertError(
            f"{log.file} has no manifest.json beside it, which is required, as its time_origin says what moment times "
            "count from: give the folder that the conversion wrote."
        )
    last = float(log.inter[names.time].cast(pl.Float64).max()) + log.origin  # type: ignore[arg-type]
    first = float(old.inter[names.time].cast(pl.Float64).min()) + old.origin  # type: ignore[arg-type]
    if last < first:
        raise ConvertError(
            f"{log.file} ends at {_moment(last)}, before the log begins, at {_moment(first)}: give days after those of "
            "the log, with the manifest.json that says what moment their times count from."
        )


def _check_news(logs: list[AtomicLog]) -> None:
    """ConvertError where all the new files are, byte by byte, the log itself or part of what it was joined of.

    Of running numbers not one may be: moved behind the others, its events would not be found there already.
    """
    joined = logs[0].manifest.get("joined") or {}
    known = {one[0] for one in (joined.get("log"), *joined.get("events", [])) if one}
    known.add(sha256(logs[0].file))
    held = []
    for log in logs[1:]:
        digest = sha256(log.file)
        if digest in known:
            held.append(log)
        known.add(digest)
    if len(held) == len(logs) - 1 or (held and logs[0].origin is None):
        raise _no_news(held)


def _no_news(held: Sequence[AtomicLog]) -> ConvertError:
    files = ", ".join(str(log.file) for log in held)
    return ConvertError(f"there is no new event in {files}, as the log holds all already: give newer days.")


def _line(bad: pl.Series) -> int:
    """The line of the first row that is bad, of a file with a header."""
    return int(bad.arg_true()[0]) + 2


def _moment(time: float) -> str:
    return (datetime(1970, 1, 1) + timedelta(seconds=time)).isoformat(" ", "seconds")


def _timed(events: pl.DataFrame, names: Columns, shift: float) -> pl.DataFrame:
    return events.with_columns(pl.col(names.time).cast(pl.Float64) + shift)


def _renumbered(
    events: pl.DataFrame, joined: pl.DataFrame, log: AtomicLog, origin: float | None, names: Columns
) -> pl.DataFrame:
    """New sessions numbered behind the old ones. ConvertError where the days overlap."""
    first, last = float(events[names.time].min()), float(joined[names.time].max())  # type: ignore[arg-type]
    if first <= last:
        began, ends = (
            f"{moment:g}" if origin is None else _moment(moment + origin) for moment in (first, last)
        )
        raise ConvertError(
            f"{log.file.name} of the new events begins at {began}, and the log ends at {ends}: its sessions are cut by "
            "idle time, so give only events after that."
        )
    most = joined[names.session].cast(pl.Int64, strict=False).max() or 0
    number = pl.col(names.session).cast(pl.Int64) + most
    return events.with_columns(number.cast(pl.String).alias(names.session))


def _items(
    logs: list[AtomicLog], occurring: pl.DataFrame, had: pl.DataFrame, names: Columns, notes: dict[str, int]
) -> pl.DataFrame | None:
    """One row an item, old ones first: those with events, and those that never had one."""
    tables = [log.item for log in logs if log.item is not None]
    notes["new item"] = occurring.join(logs[0].inter, on=names.item, how="anti").height
    if not tables:
        return None
    stacked = pl.concat([*tables, occurring.sort(names.item)], how="diagonal")
    known = stacked.group_by(names.item, maintain_order=True).agg(pl.exclude(names.item).drop_nulls().last())
    if logs[0].item is not None:
        both = logs[0].item.join(known, on=names.item, how="inner", suffix="_now")
        changed = [
            ~pl.col(name).eq_missing(pl.col(f"{name}_now"))
            for name in logs[0].item.columns
            if name != names.item
        ]
        notes["item whose features have changed (the newest are kept)"] = (
            both.filter(pl.any_horizontal(changed)).height if changed else 0
        )
    gone = had.join(occurring, on=names.item, how="anti")
    notes["item forgotten"] = gone.height
    return known.join(gone, on=names.item, how="anti", maintain_order="left").select(tables[0].columns)


def _rebased(
    inter: pl.DataFrame, origin: float | None, names: Columns, notes: dict[str, int]
) -> tuple[pl.DataFrame, float | None]:
    """Times from the first event on, as text, and what is time 0 then."""
    time = inter[names.time]
    if origin is not None:
        first = float(time.min() or 0.0) // 1  # type: ignore[arg-type]
        time, origin = time - first, origin + first
        notes["event over 194 days after the first (float32 rounds its second)"] = int(
            (time > FLOAT32_EXACT).sum()
        )
    whole = bool((time == time.floor()).all())
    text = time.cast(pl.Int64).cast(pl.String) if whole else time.cast(pl.String)
    return inter.with_columns(text.alias(names.time)), origin


def _counts(inter: pl.DataFrame, names: Columns) -> dict[str, Any]:
    found: dict[str, Any] = {"sessions": inter[names.session].n_unique()}
    if names.user in inter.columns:
        found["users"] = inter[names.user].drop_nulls().n_unique()
    found["items"] = inter[names.item].n_unique()
    found["events"] = inter.height
    if names.event in inter.columns:
        kinds = inter.group_by(names.event).len().drop_nulls().sort(names.event)
        found["events"] = dict(kinds.iter_rows())
    return found


def _unix(day: date) -> float:
    return (day - date(1970, 1, 1)) / timedelta(seconds=1)
