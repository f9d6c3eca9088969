"""A table of item features, one row an item: `item,<feature>[:<type>]…` with a header line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column, Test, number_column
from recbole_ext.convert.errors import ConvertError
from recbole_ext.convert.rows import BadRows, Source, read_header, read_rows

ITEM_NAMES = ("item", "item_id", "itemid")
RESERVED = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
TYPES = ("token", "token_seq", "float", "float_seq")
NUMBER = r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?"


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
) -> tuple[pl.DataFrame, dict[str, str], RowReport, dict[str, int]]:
    """The .item table, the types of its features, the file's report, and notes on missing values.

    `item_column(name, owner)` says what an item id looks like, `names` how its column may be called; `occurring` has
    the items of events. A type stands in `types` or behind the name in the header (price:float); without one a feature
    is a token, or with `guess` a float if all of its values are numbers and one has a decimal point.

    Raises ConvertError for a header that names no item column or no feature, and for an unknown type.
    """
    columns, known, open_types = _columns(source, item_column, separator, names, types or {})
    table, report = read_rows(source, columns, allowed, separator=separator)
    first = table["item_id"].is_first_distinct()
    report.drop_rows(table.filter(~first), "item has another row already")
    table = table.filter(first)
    for name in open_types if guess else ():
        if _looks_like_numbers(table[name]):
            table = table.with_columns(pl.col(name).cast(pl.Float64))
            known[name] = "float"
    if not all_items:
        absent = table.join(occurring, on="item_id", how="anti", maintain_order="left")
        report.drop_rows(absent, "item in no session")
    keys = pl.concat([occurring, table.select("item_id")]).unique() if all_items else occurring
    item = keys.join(table.drop("line"), on="item_id", how="left").sort("item_id")
    return item, known, report, {f"item without {name}": item[name].null_count() for name in known}


def _looks_like_numbers(texts: pl.Series) -> bool:
    """Codes are whole numbers, so it takes a decimal point."""
    values = texts.drop_nulls()
    return bool(values.str.contains(f"^{NUMBER}$").all() and values.str.contains(".", literal=True).any())


def _columns(
    source: Source,
    item_column: Callable[[str, str], Column],
    separator: str,
    names: tuple[str, ...],
    types: Mapping[str, str],
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
        if not name or name in known or name in RESERVED or kind not in TYPES:
            raise ConvertError(
                f"{where}: column {owner!r} should be <name> or <name>:<type>, a name of its own, type "
                f"one of {', '.join(TYPES)}: mend the header."
            )
        known[name] = kind
        columns.append(_feature_column(name, owner, kind))
    strangers = [name for name in types if name not in known]
    if strangers:
        raise ConvertError(
            f"{where}: no column {strangers[0]}, which a type is given for: it has {', '.join(known)}."
        )
    return columns, known, open_types


def _feature_column(name: str, owner: str, kind: str) -> Column:
    """A feature of one of TYPES; an empty field is a missing value."""
    if kind == "float":
        return number_column(name, owner, -3e38, 3e38, unknown=("",))
    faults: list[tuple[str, Test]] = [
        (f"{owner} holds a tab or quotation mark", lambda text: text.str.contains('[\t"]'))
    ]
    if kind == "float_seq":
        faults.append(
            (
                f"{owner} is not numbers with blanks between",
                lambda text: ~text.str.contains(f"^{NUMBER}( +{NUMBER})*$"),
            )
        )
    value: Test = (lambda text: text) if kind == "token" else (lambda text: text.str.replace_all(" +", " "))
    return Column(name, owner, value, tuple(faults), unknown=("",))
