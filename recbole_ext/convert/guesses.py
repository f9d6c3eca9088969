"""What a stranger's table of events leaves open: which column is what, the unit of its times.

Whatever is guessed goes into `guessed`, by what it is, in words for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import Table
from recbole_ext.convert.forms.text import TextTable
from recbole_ext.convert.item_table import MISSING
from recbole_ext.convert.times import TYPED, guess_unit, time_column
from recbole_ext.errors import ConvertError, did_you_mean

NONE = "-"  # in place of a column's name: there is none, and none is to be guessed

# How columns are usually called, without case, blanks, `_`, `-` and `.`
NAMES = {
    "item": (
        *("itemid", "item", "productid", "product", "sku", "articleid", "article", "asin", "movieid"),
        *(
            "aid",
            "itemsku",
            "productsku",
            "productcode",
            "parentasin",
            "isbn",
            "contentid",
            "trackid",
            "songid",
        ),
        *("listingid", "variantid", "itemsitemid", "itemsid", "eventsaid", "productsproductid", "tisku"),
        *("propertiesproductsproductid", "propertiesproductid", "propertiesproductssku", "propertiessku"),
        *("contextscomsnowplowanalyticssnowplowecommerceproduct1id", "actiondetailsproductviewsku"),
        *("productviewsku", "idactionproductsku", "idactionsku"),
    ),
    "session": (
        *("sessionid", "session", "sid", "visitid", "usersession", "usersessionid", "domainsessionid"),
        *("idvisit", "gasessionid", "eventparamsgasessionid", "contextsessionid", "propertiessessionid"),
    ),
    "user": (
        *("userid", "user", "visitorid", "visitor", "customerid", "customer", "clientid"),
        *("userpseudoid", "anonymousid", "domainuserid", "networkuserid", "idvisitor", "fullvisitorid"),
        *("reviewerid", "deviceid", "cookieid", "uid"),
    ),
    "time": (
        *("timestamp", "time", "ts", "datetime", "eventtime", "createdat", "date"),
        *("eventtimestamp", "originaltimestamp", "derivedtstamp", "collectortstamp", "dvcecreatedtstamp"),
        *("servertime", "servertimestamp", "receivedat", "sentat", "occurredat", "eventsts"),
        *("actiondetailstimestamp", "eventdate", "unixreviewtime", "orderedat", "purchasedat", "viewedat"),
        *("orderdate", "ordertime"),
    ),
    "event": (
        *("event", "eventtype", "action", "behavior", "behaviour", "behaviortype", "type"),
        *("eventname", "eventstype", "actiondetailstype", "activitytype", "interactiontype"),
    ),
    "split": ("split",),
}
# Names of columns that are times only if what they hold can be read as one
MAYBE_TIME = (
    *(
        "when",
        "at",
        "dt",
        "moment",
        "tstamp",
        "occurred",
        "happenedat",
        "timestamputc",
        "timestampms",
        "timeutc",
    ),
    *(
        "datetimeutc",
        "utctime",
        "localtime",
        "unixtime",
        "epoch",
        "visittime",
        "visitedat",
        "clicktime",
        "clickedat",
    ),
    *("viewtime", "actiontime", "actionat", "actiondate", "eventat", "loggedat", "visitdate"),
)
WITHOUT_TIMES = (
    "add a column with the number of each line, where lines are in order, and read it with --first-date "
    "1970-01-01"
)
# Exports that are known by columns that only they have; their names come before the usual ones
EXPORTS = {
    "GA4/BigQuery": (
        ("eventtimestamp", "eventname", "userpseudoid"),
        {
            "user": ("userpseudoid", "userid"),
            "time": ("eventtimestamp",),
            "event": ("eventname",),
            "session": ("eventparamsgasessionid", "gasessionid"),
        },
    ),
    "Snowplow": (
        ("collectortstamp", "domainuserid"),
        {
            "user": ("domainuserid", "userid", "networkuserid"),
            "time": ("derivedtstamp", "collectortstamp"),
            "event": ("eventname", "event"),
            "session": ("domainsessionid",),
        },
    ),
    "Segment": (
        ("anonymousid",),
        {"user": ("anonymousid", "userid"), "time": ("timestamp", "originaltimestamp", "receivedat")},
    ),
}
# Sessions that are numbered for each visitor, or named by the second that they begin
OF_VISITOR = ("gasessionid", "eventparamsgasessionid", "domainsessionidx", "visitnumber", "sessionnumber")
SESSION_LIKE = ("session", "sessionid", "sessionkey", "visitid")
NO_SESSIONS = ("newsession", "issession", "firstsession")
FILLED = 0.5  # of the rows that the best filled column of its kind has
KIND = "name of the file"  # the column of kinds where files stand apart (views.csv, orders.csv)


@dataclass(frozen=True)
class Found:
    """The columns of a table by what they are, and whether sessions are those of a visitor and an id."""

    columns: dict[str, str]
    per_visitor: bool = False


def plain(name: str) -> str:
    """A column's name without case, blanks, `_`, `-` and `.`."""
    return "".join(letter for letter in name.lower() if letter not in " _-.")


def find_columns(
    tables: Sequence[Table], chosen: Mapping[str, str | None], elsewhere: set[str], guessed: dict[str, str]
) -> Found:
    """The name of each column that is there: those chosen, and guesses for the others.

    tables: some of one layout. elsewhere: what is chosen of other tables, so that it may be missing here. Raises
    ConvertError where a chosen column is not there, and for a table without items, times, sessions and users.
    """
    table, header = tables[0], tables[0].names()
    there = ", ".join(header)[:300]
    columns: dict[str, str] = {}
    for what, name in chosen.items():
        if name is None or (name == NONE and name not in header):
            continue
        matches = [owner for owner in header if plain(owner) == plain(name)]
        exact = [owner for owner in header if owner == name]
        if not matches and what in elsewhere:
            continue
        if not matches:
            hint = did_you_mean(name, header) or f": it has {there}."
            raise ConvertError(f"{table.place}: no column {name} for --{what}{hint}")
        columns[what] = (exact or matches)[0]
    names, export = _names(header)
    if export:
        guessed["export"] = f"{export}, by its columns"
    left_out: list[str] = []
    for what in NAMES:
        if what in columns or (chosen[what] == NONE):
            continue
        owner = _guess(tables, what, names[what], columns, left_out)
        if owner is not None:
            columns[what] = owner
            guessed[what] = f"column {owner!r}"
    twice = [name for name, count in Counter(columns.values()).items() if count > 1]
    if twice:
        raise ConvertError(f"Column {twice[0]} is named for two things: name another one for one of them.")
    for what in ("item", "time"):
        if what in columns:
            continue
        if what == "time" and chosen["time"] == NONE:
            raise ConvertError(
                f"{table.place}: --time is {NONE}, and a log needs the time of each event, by which sessions are "
                f"ordered and the latest ones tested: name its column, or {WITHOUT_TIMES}."
            )
        without = f"; if it has no times, {WITHOUT_TIMES}" if what == "time" and not _no_names(table) else ""
        raise ConvertError(
            f"{table.place}: no column looks like --{what}: name it, it has {there}{_no_names(table)}{without}."
        )
    if "session" not in columns and "user" not in columns:
        raise ConvertError(
            f"{table.place}: no column looks like --session or --user, and sessions come from one of them: "
            f"name it, it has {there}{_no_names(table)}."
        )
    per_visitor = "session" in guessed and plain(columns.get("session", "")) in OF_VISITOR
    if per_visitor and "user" not in columns:
        raise ConvertError(
            f"{table.place}: column {columns['session']} counts sessions anew for each visitor, and no column looks "
            "like --user: name it."
        )
    if per_visitor:
        guessed["session"] += ", counted anew for each visitor"
    if left_out:
        guessed["empty"] = f"column{'s' * (len(left_out) > 1)} {', '.join(map(repr, left_out))}, so not read"
    return Found(columns, per_visitor)


def no_session_column(header: Sequence[str], gap_minutes: float) -> str:
    """What is said where no column names sessions, with those that might."""
    like = [owner for owner in header if "session" in plain(owner) or "visit" in plain(owner)]
    like = [owner for owner in like if "visitor" not in plain(owner)]
    named = f" (if {', '.join(map(repr, like))} names them, give --session)" if like else ""
    return f"no column{named}, so over {gap_minutes:g} idle minutes of a visitor end one"


def is_numbered(tables: Table, chosen: Mapping[str, str | None], days: tuple[date, date]) -> bool:
    """Whether a table's first line is a row: columns are chosen by number, and a time stands where the time should."""
    if not isinstance(tables, TextTable):
        return False
    header, numbers = tables.first_line(), [name for name in chosen.values() if name not in (None, NONE)]
    time = chosen["time"]
    if time is None or not all(str(name).isdigit() for name in numbers) or set(numbers) <= set(header):
        return False
    if not all(1 <= int(str(name)) <= len(header) for name in numbers):
        return False
    return guess_unit(pl.Series([header[int(time) - 1]]), *days) is not None


def item_names(of_events: str, header: Sequence[str]) -> tuple[str, ...]:
    """How the item column of the table of features may be called: as in the events, or else one of the usual names."""
    names = [owner.partition(":")[0] for owner in header]
    last = of_events.rpartition(".")[2]
    same = [name for name in names if plain(name) in (plain(of_events), plain(last))]
    usual = [name for wanted in NAMES["item"] for name in names if plain(name) == wanted]
    return tuple(name.lower() for name in (same or usual)[:1]) or (of_events.lower(),)


def guess_time_unit(tables: Sequence[Table], column: str, days: tuple[date, date]) -> str:
    """What most times of an excerpt are written in. ConvertError where that is nothing known, or two formats."""
    table, kind = tables[0], tables[0].kind(column)
    if kind in ("datetime", "date"):
        return TYPED if kind == "datetime" else "date"
    texts = pl.concat([one.excerpt(column).fill_null("") for one in tables])
    if not len(texts):
        raise ConvertError(
            f"{table.path or table.label} has no rows below its header: there is nothing to read."
        )
    unit = guess_unit(texts, *days)
    known = texts.filter(texts != "") if len(texts.filter(texts != "")) else texts
    shown = f"such as {known[0][:40]!r}" if len(known) else "of which there are none"
    owner = table.path or table.label
    if isinstance(unit, tuple):
        raise ConvertError(
            f"{owner}: the times in column {column}, {shown}, may name the day or the month first: give --time-format "
            f"{unit[0]!r} or {unit[1]!r}."
        )
    if unit is None:
        raise ConvertError(
            f"{owner}: the times in column {column}, {shown}, are neither unix times (s, ms, us, ns) nor ISO "
            f"8601 date-times from {days[0]} to {days[1]}: give their --time-format, such as '%d.%m.%Y %H:%M', or "
            "widen --first-date and --last-date."
        )
    return unit


def check_format(tables: Sequence[Table], column: str, form: str, days: tuple[date, date]) -> None:
    """ConvertError where a format reads no time of an excerpt."""
    texts = pl.concat([one.excerpt(column).fill_null("") for one in tables]).alias("text").to_frame()
    faults = time_column("time", "time", form, *days).faults
    if (
        texts.is_empty()
        or texts.select(pl.any_horizontal(is_bad(pl.col("text")) for _, is_bad in faults).all()).item()
    ):
        shown = texts["text"].head(1).to_list()
        raise ConvertError(
            f"{tables[0].path or tables[0].label}: --time-format {form} reads no time in column {column}"
            f"{f', such as {shown[0][:40]!r}' if shown else ''}: write it as strptime has it, %d.%m.%Y %H:%M."
        )


def _names(header: Sequence[str]) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """The names to look for, best first, and the export that the header is one of."""
    there = {plain(owner) for owner in header}
    for export, (marks, first) in EXPORTS.items():
        if there.issuperset(marks):
            return {what: (*first.get(what, ()), *usual) for what, usual in NAMES.items()}, export
    return dict(NAMES), None


def _guess(
    tables: Sequence[Table], what: str, names: Sequence[str], columns: Mapping[str, str], left_out: list[str]
) -> str | None:
    """The column that is called best among those that are filled well; beside items of a list, those of that list."""
    header, taken = tables[0].names(), set(columns.values())
    by_rank = [owner for name in names for owner in header if plain(owner) == name and owner not in taken]
    by_rank = list(dict.fromkeys(by_rank))
    if what == "session":
        for owner in header:
            like = plain(owner).endswith(SESSION_LIKE) and not plain(owner).endswith(NO_SESSIONS)
            by_rank += [owner] if like and owner not in (*taken, *by_rank) else []
    if what == "time" and not by_rank:
        maybe = [owner for owner in header if plain(owner) in MAYBE_TIME and owner not in taken]
        by_rank = [owner for owner in maybe if _holds_times(tables, owner)]
        by_rank = by_rank if len(by_rank) == 1 else []
    if not by_rank:
        return None
    within = tables[0].list_of(columns["item"]) if "item" in columns else None
    if within is not None:
        by_rank.sort(key=lambda owner: tables[0].list_of(owner) != within)
    if len(by_rank) == 1 and what in ("item", "time", "event", "split"):
        return by_rank[0]
    filled = {owner: _filled(tables, owner) for owner in by_rank}
    most = max(filled.values())
    if not most and what == "user" and "session" in columns:
        return by_rank[0]  # which may be empty there
    left_out += [owner for owner in by_rank if not filled[owner] and (most or what in ("session", "user"))]
    if not most:
        return by_rank[0] if what in ("item", "time") or _is_empty(tables, by_rank[0]) else None
    return next(owner for owner in by_rank if filled[owner] >= FILLED * most)


def _filled(tables: Sequence[Table], owner: str) -> float:
    """The share of an excerpt's rows that have a value."""
    texts = pl.concat([table.excerpt(owner) for table in tables])
    return float(1 - texts.fill_null("").is_in(list(MISSING)).mean()) if len(texts) else 0.0  # type: ignore[operator, arg-type]


def _holds_times(tables: Sequence[Table], owner: str) -> bool:
    """Whether an excerpt of a column can be read as times."""
    if tables[0].kind(owner) in ("datetime", "date"):
        return True
    texts = pl.concat([table.excerpt(owner).fill_null("") for table in tables])
    return guess_unit(texts, date(1990, 1, 1), date(2099, 12, 31)) is not None


def _is_empty(tables: Sequence[Table], owner: str) -> bool:
    """Whether the excerpt has no row, so that nothing is known of a column."""
    return not any(len(table.excerpt(owner)) for table in tables)


def _no_names(table: Table) -> str:
    """A hint where the first line looks like a row: one of its fields is a time."""
    if not isinstance(table, TextTable):
        return ""
    line = pl.Series(table.first_line(), dtype=pl.String)
    if all(guess_unit(pl.Series([text]), date(1990, 1, 1), date(2099, 12, 31)) is None for text in line):
        return ""
    return (
        "; if that is a row and no header, give --no-header and columns by their number, such as --item 2 --time 3 "
        "--session 1"
    )
