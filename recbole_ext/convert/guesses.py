"""What a stranger's table of events leaves open: its separator, which column is what, the unit of its times.

Whatever is guessed goes into `guessed`, by what it is, in words for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

from recbole_ext.convert.delimited import QuotedSource, excerpt
from recbole_ext.convert.raw_files import Source, read_header
from recbole_ext.convert.times import guess_unit
from recbole_ext.errors import ConvertError, did_you_mean

SEPARATORS = (",", ";", "\t", "|")
NONE = "-"  # in place of a column's name: there is none, and none is to be guessed

# How columns are usually called, without case, blanks, `_`, `-` and `.`
NAMES = {
    "item": ("itemid", "item", "productid", "product", "sku", "articleid", "article", "asin", "movieid"),
    "session": ("sessionid", "session", "sid", "visitid"),
    "user": ("userid", "user", "visitorid", "visitor", "customerid", "customer", "clientid"),
    "time": ("timestamp", "time", "ts", "datetime", "eventtime", "createdat", "date"),
    "event": ("event", "eventtype", "action", "behavior", "behaviour", "behaviortype", "type"),
    "split": ("split",),
}


def guess_separator(source: Source, guessed: dict[str, str]) -> str:
    head = read_header(source, None)[0]
    if "\0" in head:
        raise ConvertError(f"{source.path} holds no text, or it is UTF-16: save it as UTF-8.")
    counts = {separator: head.count(separator) for separator in SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    if not counts[best]:
        raise ConvertError(
            f"{source.path}, line 1: {head[:200]!r} is no header of several columns separated by comma, semicolon, tab "
            "or |: the first line has to name the columns."
        )
    guessed["separator"] = repr(best)
    return best


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in " _-.")


def find_columns(
    source: Source, separator: str, chosen: Mapping[str, str | None], guessed: dict[str, str]
) -> dict[str, str]:
    """The name in the file of each column that is there: those chosen, and guesses for the others."""
    header = read_header(source, separator)
    there = ", ".join(header)[:300]
    columns: dict[str, str] = {}
    for what, name in chosen.items():
        if name is None or (name == NONE and name not in header):
            continue
        matches = [owner for owner in header if _plain(owner) == _plain(name)]
        exact = [owner for owner in header if owner == name]
        if not matches:
            hint = did_you_mean(name, header) or f": it has {there}."
            raise ConvertError(f"{source.path}, line 1: no column {name} for --{what}{hint}")
        columns[what] = (exact or matches)[0]
    taken = set(columns.values())
    for what, usual in NAMES.items():
        if what in columns or chosen[what] == NONE:
            continue
        by_rank = [
            owner for name in usual for owner in header if _plain(owner) == name and owner not in taken
        ]
        if by_rank:
            columns[what] = by_rank[0]
            taken.add(by_rank[0])
            guessed[what] = f"column {by_rank[0]!r}"
    twice = [name for name, count in Counter(columns.values()).items() if count > 1]
    if twice:
        raise ConvertError(f"Column {twice[0]} is named for two things: name another one for one of them.")
    for what in ("item", "time"):
        if what not in columns:
            raise ConvertError(
                f"{source.path}, line 1: no column looks like --{what}: name it, it has {there}."
            )
    if "session" not in columns and "user" not in columns:
        raise ConvertError(
            f"{source.path}, line 1: no column looks like --session or --user, and sessions come from one of them: "
            f"name it, it has {there}."
        )
    return columns


def item_names(of_events: str, header: Sequence[str]) -> tuple[str, ...]:
    """How the item column of the table of features may be called: as in the events, or else one of the usual names."""
    names = [owner.partition(":")[0] for owner in header]
    same = [name for name in names if _plain(name) == _plain(of_events)]
    usual = [name for wanted in NAMES["item"] for name in names if _plain(name) == wanted]
    return tuple(name.lower() for name in (same or usual)[:1]) or (of_events.lower(),)


def guess_time_unit(source: QuotedSource, column: str, days: tuple[date, date]) -> str:
    """What most times of an excerpt are written in."""
    texts = excerpt(source, column)
    unit = guess_unit(texts, *days)
    if unit is None:
        shown = f"such as {texts[0][:40]!r}" if len(texts) else "of which there are none"
        raise ConvertError(
            f"{source.path}: the times in column {column}, {shown}, are neither unix times (s, ms, us, ns) nor ISO "
            f"8601 date-times from {days[0]} to {days[1]}: rewrite them, or widen --first-date and --last-date."
        )
    return unit
