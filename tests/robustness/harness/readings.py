"""What raw logs say, read with pandas from what atomic_data/README.md promises: no line of the converters is used.

Each reading gives the rows of the .inter and of the .item file, or raises Refused where a converter has to refuse.
"""

from __future__ import annotations

import gzip
import io
import pickle
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import pandas as pd

WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
DECIMAL = re.compile(r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?")
CONTROL = re.compile('[\x00-\x1f\x7f"]')
FIELD_IN_MARKS = '"((?:[^"]|"")*)"(?={}|$)'
MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "\\N"),
}
NO_ID = {"", "NA"}
NO_ITEM = {"", "\\N", "(not set)"}
DAY_MS, GAP_MS = 86_400_000, 30 * 60_000
SPACES = re.compile(r"[\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*")


class NoItem(Exception):
    """A row is of no item."""


class Refused(Exception):
    """A converter has to refuse this log."""


class Bad(Exception):
    """A row has a fault."""


class Read(NamedTuple):
    """Rows of the two files as tuples of values, None where one is missing; `item` is None where no file is due."""

    inter: list[tuple[Any, ...]]
    item: list[tuple[Any, ...]] | None


Parse = Callable[[str], Any]


# --- fields -------------------------------------------------------------------------------------------------


def whole(text: str) -> int:
    if not WHOLE.fullmatch(text):
        raise Bad
    return int(text)


def or_none(missing: set[str], parse: Parse) -> Parse:
    return lambda text: None if text in missing else parse(text)


def between(low: int, high: int) -> Parse:
    def parse(text: str) -> int:
        value = whole(text)
        if not low <= value <= high:
            raise Bad
        return value

    return parse


def duration(text: str) -> int:
    if not re.fullmatch("[0-9]+", text) or int(text) > 366 * DAY_MS:
        raise Bad
    return int(text)


def day(text: str) -> int:
    """Days since 1970 of a day of 2016."""
    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise Bad
        found = date.fromisoformat(text)
    except ValueError:
        raise Bad from None
    if found.year != 2016:
        raise Bad
    return (found - date(1970, 1, 1)).days


def one_of(*words: str) -> Parse:
    def parse(text: str) -> str:
        if text not in words:
            raise Bad
        return text

    return parse


def decimal(low: float, high: float) -> Parse:
    def parse(text: str) -> float:
        if not DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise Bad
        return float(text)

    return parse


def plain_text(text: str) -> str:
    """Without tabs and quotation marks."""
    if not text or "\t" in text or '"' in text:
        raise Bad
    return text


def token(text: str) -> str:
    if CONTROL.search(text):
        raise Bad
    return text


def name(text: str) -> str:
    if text in MISSING:
        raise Bad
    return token(text)


def letters(text: str) -> str:
    """Text in which a quotation mark is a letter, but for one that opens a field and is never closed."""
    if text.startswith('"') or CONTROL.search(text.replace('"', "")):
        raise Bad
    return text


def called(text: str) -> str:
    """A session, or a kind of event."""
    if text in MISSING:
        raise Bad
    return letters(text)


def looked_at(text: str) -> str:
    """An item, which may be called null; a row without one is a page view, and no fault."""
    if text in NO_ITEM:
        raise NoItem
    return letters(text)


def listed(text: str) -> str | None:
    """Tokens with commas between -> with blanks."""
    if re.search(r'[\s"]', text) or CONTROL.search(text):
        raise Bad
    return " ".join(part for part in text.split(",") if part) or None


def moment(unit: str) -> Parse:
    """Nanoseconds since 1970 of a time in `unit`, from 1990 to 2099."""
    digits = {"s": 9, "ms": 6, "us": 3, "ns": 0}.get(unit)
    low, high = (pd.Timestamp(text).value for text in ("1990-01-01", "2099-12-31T23:59:59.999999999"))

    def parse(text: str) -> int:
        if digits is None:
            if not ISO.fullmatch(text):
                raise Bad
            value = iso(text)
        else:
            found = re.fullmatch(r"(0|[1-9][0-9]{0,18})(?:[.]([0-9]+))?", text)
            if not found:
                raise Bad
            fraction = found[2] or ""
            if len(fraction) > digits and not (digits == 0 and fraction == "0"):
                raise Bad
            value = int(found[1]) * 10**digits + int((fraction[:digits] or "0").ljust(digits, "0"))
        if not low <= value <= high:
            raise Bad
        return value

    return parse


ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
    r"( ?([Zz]|UTC)| ?[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
)


def iso(text: str) -> int:
    text = text.replace(",", ".").replace("UTC", "Z").replace(" Z", "Z").replace("z", "Z").replace("t", "T")
    text = re.sub(r" ([+-])", r"\1", text)
    try:
        found = pd.Timestamp(text)
        return int((found.tz_localize("UTC") if found.tz is None else found).value)
    except (ValueError, OverflowError):
        raise Bad from None


# --- lines --------------------------------------------------------------------------------------------------


def plain(header: str) -> str:
    return header.strip(' \t\r"').lower().replace("_", "").replace(".", "")


def fields_of(line: str, mark: str, quoted: bool) -> list[str]:
    """The fields between marks; with `quoted`, marks within a field that stands in quotation marks belong to it."""
    if not quoted or '"' not in line:
        return line.split(mark)
    found, place, inside = [], 0, re.compile(FIELD_IN_MARKS.format(re.escape(mark)))
    while True:
        match = inside.match(line, place)
        end = match.end() if match else line.find(mark, place)
        found.append(line[place:] if end < 0 else line[place:end])
        if end < 0 or end == len(line):
            return found
        place = end + 1


def bare(field: str) -> str:
    field = field.strip(" \t")
    return re.sub(r'\A"([^"]*)"\Z', r"\1", field).strip(" \t")


def lines_of(content: bytes) -> tuple[str, list[tuple[str, bool]]]:
    """The header line, and the others that are not blank with whether they are UTF-8."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            raise Refused("damaged") from None
    if not content or content.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\xff\xfe", b"\xfe\xff")):
        raise Refused("no text")
    head, _, rest = content.partition(b"\n")
    try:
        text, broken = rest.decode(), False
    except UnicodeDecodeError:
        text, broken = rest.decode(errors="replace"), True
    lines = (line.rstrip("\r") for line in text.split("\n"))
    kept = [
        (line, broken and "\ufffd" in line) for line in lines if not SPACES.fullmatch(line) or "\t" in line
    ]
    return head.decode(errors="replace").removeprefix("\ufeff"), kept


def table(
    content: bytes, mark: str, wanted: Mapping[str, tuple[str, Parse]], share: float, quoted: bool = False
) -> pd.DataFrame:
    """The rows without fault, each once: a column a key of `wanted`, which names the owner's column and how to read
    it. Refused: a column missing or there twice, a file that is none, more bad rows than the share."""
    head, lines = lines_of(content)
    names = [plain(field) for field in fields_of(head, mark, quoted)]
    for owner, _ in wanted.values():
        if names.count(plain(owner)) != 1:
            raise Refused(f"column {owner}")
    places = {key: names.index(plain(owner)) for key, (owner, _) in wanted.items()}
    good, bad = [], 0
    for line, broken in lines:
        fields = fields_of(line, mark, quoted)
        try:
            if broken or len(fields) != len(names):
                raise Bad
            good.append(tuple(parse(bare(fields[places[key]])) for key, (_, parse) in wanted.items()))
        except NoItem:
            pass
        except Bad:
            bad += 1
    if bad > share * len(lines):
        raise Refused(f"{bad} bad rows of {len(lines)}")
    return pd.DataFrame(list(dict.fromkeys(good)), columns=list(wanted), dtype=object)


# --- what the sources share ---------------------------------------------------------------------------------


def rows_of(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    values = ([None if value != value else value for value in frame[column].tolist()] for column in columns)
    return list(zip(*values))


def by_start(log: pd.DataFrame) -> pd.DataFrame:
    """By the second that their session starts in, session, time; else as they come."""
    log = log.assign(start=log.groupby("session")["ms"].transform("min") // 1000)
    return log.sort_values(["start", "session", "ms"], kind="stable", ignore_index=True)


def with_users(log: pd.DataFrame) -> pd.DataFrame:
    """Every event has its session's first known user."""
    first = log.dropna(subset=["user"]).drop_duplicates("session").set_index("session")["user"]
    return log.assign(user=log["session"].map(first).astype(object))


def with_seconds(log: pd.DataFrame) -> pd.DataFrame:
    seconds = log["ms"].astype("int64") // 1000
    return log.assign(timestamp=seconds - seconds.min())


def items_of(log: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The items of the log by id, with the features of each table's first row of an item."""
    items = pd.DataFrame({"item": sorted(set(log["item"]))}, dtype=object)
    for features in tables:
        first = features.drop_duplicates("item").set_index("item")
        for name in first.columns:
            known = first[name].to_dict()
            items[name] = [known.get(item) for item in items["item"]]
    return items


# --- the sources --------------------------------------------------------------------------------------------


def diginetica(files: Mapping[str, bytes], share: float) -> Read:
    ids = {
        "session": ("sessionId", whole),
        "user": ("userId", or_none(NO_ID, whole)),
        "item": ("itemId", whole),
    }
    times = {"frame": ("timeframe", duration), "day": ("eventdate", day)}
    views = table(files["train-item-views.csv"], ";", {**ids, **times}, share)
    if views.empty:
        raise Refused("no views")
    order = {"order": ("ordernumber", or_none(NO_ID, whole))}
    bought = table(files["train-purchases.csv"], ";", {**ids, **times, **order}, share)
    days = views.groupby("session")["day"].min()
    bought = bought[bought["session"].isin(days.index)]
    log = pd.concat([views.assign(event="view"), bought.assign(event="purchase")], ignore_index=True)
    log["ms"] = log["session"].map(days).astype("int64") * DAY_MS + log["frame"].astype("int64")
    log = with_seconds(with_users(by_start(log)))
    item = {"item": ("itemId", whole)}
    category = {"category": ("categoryId", or_none(NO_ID, whole))}
    products = {
        "log2": ("pricelog2", or_none(NO_ID, decimal(-20, 40))),
        "name": ("product.name.tokens", or_none(NO_ID, listed)),
    }
    categories = table(files["product-categories.csv"], ";", {**item, **category}, share)
    product = table(files["products.csv"], ";", {**item, **products}, share)
    product["price"] = [None if pd.isna(log2) else round(2.0**log2, 6) for log2 in product["log2"]]
    items = items_of(log, [categories, product])
    return Read(
        rows_of(log, "session", "user", "item", "timestamp", "event"),
        rows_of(items, "item", "category", "price", "name"),
    )


KINDS = ("view", "addtocart", "transaction")


def retailrocket(files: Mapping[str, bytes], share: float) -> Read:
    time = between(*(pd.Timestamp(text).value // 10**6 for text in ("2015-01-01", "2015-12-31T23:59:59.999")))
    columns = {
        "ms": ("timestamp", time),
        "user": ("visitorid", whole),
        "event": ("event", one_of(*KINDS)),
        "item": ("itemid", whole),
        "transaction": ("transactionid", or_none(NO_ID, plain_text)),
    }
    log = table(files["events.csv"], ",", columns, share)
    if log.empty:
        raise Refused("no events")
    log["kind"] = log["event"].map(KINDS.index)
    log = log.sort_values(["user", "ms", "kind"], kind="stable", ignore_index=True)
    opens = (log["user"] != log["user"].shift()) | (log["ms"].astype("int64").diff() > GAP_MS)
    log["begin"] = log["ms"].where(opens).ffill().astype("int64")
    log = log.sort_values(["begin", "user"], kind="stable", ignore_index=True)
    log["session"] = (opens_again(log)).cumsum()
    last = int(log["begin"].iloc[-1])
    test = last // DAY_MS * DAY_MS - 6 * DAY_MS
    rows = {
        "ms": ("timestamp", time),
        "item": ("itemid", whole),
        "property": ("property", plain_text),
        "value": ("value", plain_text),
    }
    said = read_properties(files["item_properties_part1.csv"], rows, share, set(log["item"]), test)
    items = items_of(log, said)
    return Read(
        rows_of(with_seconds(log), "session", "user", "item", "timestamp", "event"),
        rows_of(items, "item", "category", "available"),
    )


def opens_again(log: pd.DataFrame) -> pd.Series:
    return (log["user"] != log["user"].shift()) | (log["begin"] != log["begin"].shift())


def read_properties(
    content: bytes, columns: Mapping[str, tuple[str, Parse]], share: float, items: set[int], test: int
) -> list[pd.DataFrame]:
    """The last category and availability of each item before the test period; of one moment the greater text."""
    fits = {"categoryid": lambda text: bool(WHOLE.fullmatch(text)), "available": {"0", "1"}.__contains__}

    def used(row: dict[str, Any]) -> bool:
        return row["property"] in fits and row["item"] in items and row["ms"] < test

    rows = table(content, ",", columns, 1.0)
    # a value that does not fit is a bad row, but only of rows that are used: count them in all lines
    head, lines = lines_of(content)
    names = [plain(field) for field in head.split(",")]
    bad = 0
    for line, broken in lines:
        fields = line.split(",")
        try:
            if broken or len(fields) != len(names):
                raise Bad
            row = {
                key: parse(bare(fields[names.index(plain(owner))])) for key, (owner, parse) in columns.items()
            }
        except Bad:
            bad += 1
            continue
        bad += used(row) and not fits[row["property"]](row["value"])
    if bad > share * len(lines):
        raise Refused(f"{bad} bad properties")
    found = []
    for name, column in (("categoryid", "category"), ("available", "available")):
        kept = [
            row
            for row in rows.to_dict("records")
            if used(row) and row["property"] == name and fits[name](row["value"])
        ]
        kept.sort(key=lambda row: (row["ms"], row["value"].encode()))
        last = {row["item"]: int(row["value"]) for row in kept}
        found.append(pd.DataFrame({"item": list(last), column: list(last.values())}, dtype=object))
    return found


def csv(files: Mapping[str, bytes], share: float) -> Read:
    """A shop's own log, whose columns sid, visitor, sku, ts and action are named; the unit of ts is that of most."""
    content = files["events.csv"]
    head, lines = lines_of(content)
    if "\0" in head:
        raise Refused("no text")
    mark = max((",", ";", "\t", "|"), key=head.count)
    if mark not in head:
        raise Refused("one column")
    names = [field.strip(' \t\r\n"') for field in fields_of(head, mark, True)]
    chosen = {}
    for key, owner in {
        "session": "sid",
        "user": "visitor",
        "item": "sku",
        "ns": "ts",
        "event": "action",
    }.items():
        alike = [name for name in names if spelt(name) == spelt(owner)]
        if not alike:
            raise Refused(f"column {owner}")
        chosen[key] = owner if owner in alike else alike[0]
    place = names.index(chosen["ns"])
    texts = []
    for line, _ in lines:
        fields = fields_of(line, mark, True)
        if len(fields) == len(names):
            texts.append(bare(fields[place]))
    counts = {
        unit: sum(reads(moment(unit), text) for text in texts) for unit in ("s", "ms", "us", "ns", "iso")
    }
    unit = max(counts, key=lambda unit: counts[unit])
    if not counts[unit]:
        raise Refused("no times")
    columns = {
        "item": (chosen["item"], looked_at),
        "ns": (chosen["ns"], moment(unit)),
        "session": (chosen["session"], called),
        "user": (chosen["user"], or_none(MISSING, letters)),
        "event": (chosen["event"], called),
    }
    log = table(content, mark, columns, share, quoted=True)
    if log.empty:
        raise Refused("no events")
    if (log["ns"].astype("int64") % 10**6 != 0).any():
        log = log.sort_values("ns", kind="stable", ignore_index=True)
    log["ms"] = log["ns"].astype("int64") // 10**6
    users = log.dropna(subset=["user"]).groupby("session")["user"].nunique()
    if (users > 1).sum() > 0.1 * len(users):
        raise Refused("sessions of two users")
    log = with_seconds(with_users(by_start(log)))
    return Read(rows_of(log, "session", "user", "item", "timestamp", "event"), None)


def spelt(name: str) -> str:
    return re.sub("[ _.-]", "", name.lower())


def reads(parse: Parse, text: str) -> bool:
    try:
        parse(text)
    except Bad:
        return False
    return True


# --- session lists ------------------------------------------------------------------------------------------


class Plain(pickle._Unpickler):  # type: ignore[name-defined]  # in Python, so that a wild memo number fills no memory
    """Numbers, texts, lists and mappings, and nothing that is called."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise Refused("a global")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("an outside object")


def unpickled(content: bytes) -> Any:
    stream = io.BytesIO(content)
    if content[2:3] == b"\x95" and int.from_bytes(content[3:11], "little") > len(content) - 11:
        raise Refused("a frame that is cut")  # which this reader passes over
    try:
        return Plain(stream).load()
    except Refused:
        raise
    except Exception:  # whatever damage brings
        raise Refused("no pickle") from None


def usable(lists: Sequence[Any], share: float) -> list[list[int]]:
    good = [
        list(one) for one in lists if one and all(type(item) is int and 0 <= item < 10**18 for item in one)
    ]
    if len(lists) - len(good) > share * len(lists) or not good:
        raise Refused("bad sessions")
    return good


def pairs_of(value: Any, share: float) -> list[list[int]]:
    if not isinstance(value, list | tuple) or len(value) != 2 or not isinstance(value[0], list | tuple):
        raise Refused("no pairs")
    prefixes, targets = value
    if not isinstance(targets, list | tuple) or len(prefixes) != len(targets):
        raise Refused("no pairs")
    if not all(isinstance(prefix, list | tuple) for prefix in prefixes):
        raise Refused("no prefixes")
    return usable([[*prefix, target] if prefix else [] for prefix, target in zip(prefixes, targets)], share)


def put_together(pairs: list[list[int]]) -> list[list[int]]:
    """The sessions whose prefixes the pairs are, longest first or shortest first; the pairs where they are not."""
    for turned in (False, True):
        left, sessions = pairs[::-1] if turned else pairs, []
        while left:
            longest = left[0]
            ladder = [longest[:size] for size in range(len(longest), 1, -1)] or [longest]
            if left[: len(ladder)] != ladder:
                break
            sessions.append(longest)
            left = left[len(ladder) :]
        if not left:
            return sessions[::-1] if turned else sessions
    return pairs


def session_lists(files: Mapping[str, bytes], share: float) -> Read:
    train = unpickled(files["all_train_seq.txt"])
    if not isinstance(train, list | tuple) or not all(isinstance(one, list | tuple) for one in train):
        raise Refused("no lists")
    if len(train) == 2 and train[0] and all(isinstance(one, list | tuple) for one in train[0]):
        raise Refused("pairs, which the mutations never make of training sessions")
    sessions = usable(train, share)
    test = put_together(pairs_of(unpickled(files["test.txt"]), share))
    inter = [
        (number, item, part)
        for number, (session, part) in enumerate(
            [*((one, "train") for one in sessions), *((one, "test") for one in test)], 1
        )
        for item in session
    ]
    inter = [(session, item, place, part) for place, (session, item, part) in enumerate(inter)]
    items = item_features(files["item_category.csv"], {row[1] for row in inter}, share)
    return Read(inter, items)


def item_features(content: bytes, occurring: set[int], share: float) -> list[tuple[Any, ...]]:
    head, _ = lines_of(content)
    names = [field.strip(' \t\r\n"') for field in fields_of(head, ",", True)]
    of_item = [name for name in names if name.partition(":")[0].lower() in ("item", "item_id", "itemid")]
    if len(of_item) != 1 or len(names) < 2:
        raise Refused("no item column")
    columns: dict[str, tuple[str, Parse]] = {"item": (of_item[0], whole)}
    for owner in names:
        feature, _, kind = owner.partition(":")
        kind = kind or "token"
        if owner == of_item[0]:
            continue
        reserved = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
        if not feature or not feature.isprintable() or feature in columns or feature in reserved:
            raise Refused("a feature's name")
        if kind not in ("token", "float"):
            raise Refused("a type")
        parse = decimal(-3e38, 3e38) if kind == "float" else token
        columns[feature] = (owner, or_none(MISSING, parse))
    rows = table(content, ",", columns, share, quoted=True)
    if not occurring & set(rows["item"]):
        raise Refused("no item of the sessions")
    return rows_of(items_of(pd.DataFrame({"item": list(occurring)}), [rows]), *columns)
