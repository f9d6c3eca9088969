"""A table of item features, one row an item: `item,<feature>[:<type>]…` with a header line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column, Test, number_column
from recbole_ext.convert.delimited import QuotedSource, read_quoted_rows
from recbole_ext.convert.engine import pl
from recbole_ext.convert.raw_files import Source, read_header
from recbole_ext.convert.rows import BadRows
from recbole_ext.errors import ConvertError

ITEM_NAMES = ("item", "item_id", "itemid")
RESERVED = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
TYPES = ("token", "token_seq", "float", "float_seq")
NUMBER = r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?"
LARGEST = 3e38  # a float is a float32 in RecBole
MOSTLY = 0.9  # a column with this share of numbers holds numbers and faults, one with less holds words
FORBIDDEN = '[\\x00-\\x1f\\x7f"]'  # quotation mark or control character: no field of an atomic file
# What RecBole's loader (pandas.read_csv) takes for a missing value, and SQL's \\N
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "\\N"),
)


def read_item_table(
    source: Source,
    item_column: Callable[[str, str], Column],
    occurring: pl.DataFrame,
    allowed: BadRows,
    *,
    separator: str,
    all_items: bool,
    names: tuple[str, ...] = ITEM_NAMES,
    types: Mapping[str, str] | None = None,
    guess: bool = False,
    list_separator: str | None = None,
) -> tuple[pl.DataFrame, dict[str, str], RowReport, dict[str, int]]:
    """The .item table, the types of its features, the file's report, and notes on missing values.

    `item_column(name, owner)` says what an item id looks like, `names` how its column may be called; `occurring` has
    the items of events. A type stands in `types` or behind the name in the header (price:float); without one a feature
    is a token, or with `guess` a float if (nearly, the others are bad rows) all of its values are numbers and one has a
    decimal point, or a token_seq if one holds the `list_separator`. Fields may hold the separator within quotation
    marks; missing values are those of MISSING.

    Raises ConvertError for a header that names no item column or no feature, for an unknown type, for too many bad
    rows, and for a table that names none of the items of events.
    """
    quoted = QuotedSource(source.path, source.member, separator)
    columns, known, open_types = _columns(quoted, item_column, separator, names, types or {}, list_separator)
    table, report = read_quoted_rows(quoted, columns, allowed)
    first = table["item_id"].is_first_distinct()
    report.drop_rows(table.filter(~first), "item has another row already")
    table = table.filter(first)
    for name in open_types if guess else ():
        known[name] = _guess_type(table[name], list_separator)
        table = _as_type(table, name, known[name], report, list_separator)
    allowed.check(report)
    if occurring.join(table, on="item_id", how="semi").is_empty():
        there = f"are such as {table['item_id'][0]}" if table.height else "are none"
        raise ConvertError(
            f"{source.path} names no item of the events: its ids {there}, theirs such as {occurring['item_id'][0]}; "
            "write both alike."
        )
    if not all_items:
        absent = table.join(occurring, on="item_id", how="anti", maintain_order="left")
        report.drop_rows(absent, "item in no session")
    keys = pl.concat([occurring, table.select("item_id")]).unique() if all_items else occurring
    item = keys.join(table.drop("line"), on="item_id", how="left").sort("item_id")
    return item, known, report, {f"item without {name}": item[name].null_count() for name in known}


def _guess_type(texts: pl.Series, list_separator: str | None) -> str:
    """Codes are whole numbers, so it takes a decimal point to be a float."""
    values = texts.drop_nulls()
    if list_separator and values.str.contains(list_separator, literal=True).any():
        return "token_seq"
    numbers = values.filter(values.str.contains(f"^{NUMBER}$"))
    decimals = bool(numbers.str.contains(".", literal=True).any())
    return "float" if decimals and len(numbers) >= MOSTLY * len(values) else "token"


def _as_type(
    table: pl.DataFrame, name: str, kind: str, report: RowReport, list_separator: str | None
) -> pl.DataFrame:
    """The table with the text column `name` as values of a guessed type, without the rows where it is none."""
    column = _feature_column(name, name, kind, list_separator)
    text = pl.col(name)
    for reason, is_bad in column.faults:
        bad = table.select((text.is_not_null() & is_bad(text)).fill_null(False)).to_series()
        rows = table.filter(bad)
        advice = f"{reason} (--item-types {name}:token if it is none)" if kind == "float" else reason
        report.drop_bad(advice, rows.height, rows.head(5).select("line", name).iter_rows())
        table = table.filter(~bad)
    return table.with_columns(column.value(text).alias(name))


def _columns(
    source: Source,
    item_column: Callable[[str, str], Column],
    separator: str,
    names: tuple[str, ...],
    types: Mapping[str, str],
    list_separator: str | None,
) -> tuple[list[Column], dict[str, str], list[str]]:
    """How to read the file by its header line: the item column, then the features; their types, and those left open."""
    owners = read_header(source, separator)
    where = f"{source.path}, line 1"
    item_columns = [owner for owner in owners if owner.partition(":")[0].lower() in names]
    if len(item_columns) != 1 or len(owners) < 2:
        raise ConvertError(
            f"{where}: {', '.join(owners)[:200]!r} should name one item column ({', '.join(names)}) and one or more "
            f"features, separated by {'commas' if separator == ',' else repr(separator)}: mend the header."
        )
    columns, known, open_types = [item_column("item_id", item_columns[0])], {}, []
    for owner in owners:
        name, _, kind = owner.partition(":")
        if owner == item_columns[0]:
            continue
        if not kind and name not in types:
            open_types.append(name)
        kind = types.get(name, kind) or "token"
        if not name or not name.isprintable() or name in known or name in RESERVED or kind not in TYPES:
            raise ConvertError(
                f"{where}: column {owner!r} should be <name> or <name>:<type>, a name of its own (none of "
                f"{', '.join(RESERVED)}), type one of {', '.join(TYPES)}: mend the header."
            )
        known[name] = kind
        columns.append(_feature_column(name, owner, kind, list_separator))
    strangers = [name for name in types if name not in known]
    if strangers:
        raise ConvertError(
            f"{where}: no column {strangers[0]}, which a type is given for: it has {', '.join(known)}."
        )
    return columns, known, open_types


def _feature_column(name: str, owner: str, kind: str, list_separator: str | None) -> Column:
    """A feature of one of TYPES. Lists have blanks between their values, or the `list_separator`."""
    if kind == "float":
        return number_column(name, owner, -LARGEST, LARGEST, unknown=MISSING)
    faults: list[tuple[str, Test]] = [
        (f"{owner} holds a quotation mark or control character", lambda text: text.str.contains(FORBIDDEN))
    ]
    if kind == "token":
        return Column(name, owner, lambda text: text, tuple(faults), unknown=MISSING)
    mark = re.escape(list_separator or " ")

    def values(text: pl.Expr) -> pl.Expr:
        joined = text.str.replace_all(f"(?: *{mark} *)+", " ").str.strip_chars(" ")
        return pl.when(joined != "").then(joined)

    if list_separator:
        faults.append(
            (
                f"{owner} holds a blank within a value of its list",
                lambda text: (
                    text.str.replace_all(f" *{mark} *", list_separator)
                    .str.strip_chars(" ")
                    .str.contains(" ", literal=True)
                ),
            )
        )
    if kind == "float_seq":
        between = f"{list_separator!r}" if list_separator else "blanks"
        faults.append(
            (
                f"{owner} is not numbers with {between} between",
                lambda text: ~values(text).str.contains(f"^{NUMBER}( {NUMBER})*$").fill_null(False),
            )
        )
    return Column(name, owner, values, tuple(faults), unknown=MISSING)
