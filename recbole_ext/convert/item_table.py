"""A table of item features: `item,<feature>[:<type>]…` with a header line, or any other form of table.

One row an item, or several: a feature that alone differs between the rows of an item is a list of their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from recbole_ext.convert.amounts import is_amount, read_amounts
from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.category_paths import with_paths
from recbole_ext.convert.columns import Column, Test, number_column
from recbole_ext.convert.engine import pl
from recbole_ext.convert.forms.table import BLANK, Table
from recbole_ext.convert.rows import BadRows, compact, without_duplicates
from recbole_ext.errors import ConvertError, did_you_mean

ITEM_NAMES = ("item", "item_id", "itemid")
RESERVED = ("session_id", "user_id", "item_id", "timestamp", "event", "split")
TYPES = ("token", "token_seq", "float", "float_seq")
NUMBER = r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?"
LARGEST = 3e38  # a float is a float32 in RecBole
MOSTLY = 0.9  # a column with this share of numbers holds numbers and faults, one with less holds words
CONTROL = (
    "[\\x00-\\x1f\\x7f]"  # what no field of an atomic file may hold; of a text, line breaks become blanks
)
UNPRINTED = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]"
# What RecBole's loader (pandas.read_csv) takes for a missing value, and SQL's \\N
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "\\N"),
)
AGAIN = "item has another row already"


def read_item_table(
    source: Table,
    item_column: Callable[[str, str], Column],
    occurring: pl.DataFrame,
    allowed: BadRows,
    *,
    all_items: bool,
    names: tuple[str, ...] = ITEM_NAMES,
    types: Mapping[str, str] | None = None,
    guessed: dict[str, str] | None = None,
    list_separator: str | None = None,
    only: Sequence[str] = (),
) -> tuple[pl.DataFrame, dict[str, str], RowReport, dict[str, int]]:
    """The .item table, the types of its features, the table's report, and notes on missing values.

    `item_column(name, owner)` says what an item id looks like, `names` how its column may be called; `occurring` has
    the items of events; `only`: the features to read, all where it is empty. A type stands in `types` or behind the
    name in the header (price:float). Missing values are those of MISSING.

    A feature without a type is a token; where there is a mapping `guessed`, for what is said of it, it may be found to
    be a float (nearly all values are numbers, the others bad rows, and one has a decimal point or a currency, or the
    name is that of an amount) or a token_seq (one holds the `list_separator`, or the rows of an item differ in it
    alone), and paths of categories are added.

    Raises ConvertError for a table that names no item column or no feature, for an unknown type, for too many bad
    rows, and for a table that names none of the items of events.
    """
    columns, known, open_types = _columns(source, item_column, names, types or {}, list_separator, only)
    report = RowReport(source.label)
    texts, lists = _plan(source, columns, known, guessed is not None)
    frames = [compact(block) for block in source.blocks(texts, allowed, report)]
    table = without_duplicates(_with_lists(pl.concat(frames), source, lists, open_types, known), report)
    notes: dict[str, int] = {}
    table = _on_one_line(table, known, notes)
    if guessed is not None:
        for name in [name for name in known if known[name] == "float" and name not in open_types]:
            table = _as_floats(table, name, report, "")
        table = _one_row_an_item(table, known, open_types, list_separator, report, notes, guessed)
        for name in open_types:
            table = _typed(source, table, name, known, report, list_separator, guessed)
        table = with_paths(table, known, open_types, guessed)
    else:
        first = table["item_id"].is_first_distinct()
        report.drop_rows(table.filter(~first), AGAIN)
        table = table.filter(first)
    allowed.check(report)
    if occurring.join(table, on="item_id", how="semi").is_empty():
        there = f"are such as {table['item_id'][0]}" if table.height else "are none"
        raise ConvertError(
            f"{source.path or source.label} names no item of the events: its ids {there}, theirs such as "
            f"{occurring['item_id'][0]}; write both alike."
        )
    if not all_items:
        absent = table.join(occurring, on="item_id", how="anti", maintain_order="left")
        more = int(absent["_more"].sum()) if "_more" in absent.columns else 0
        report.drop_rows(absent.drop("_more", strict=False), "item in no session")
        report.drop("item in no session", more)
    keys = pl.concat([occurring, table.select("item_id")]).unique() if all_items else occurring
    item = keys.join(table.drop("line", "_more", strict=False), on="item_id", how="left").sort("item_id")
    notes |= {f"item without {name}": item[name].null_count() for name in known}
    return item, known, report, notes


# --- reading


def _columns(
    source: Table,
    item_column: Callable[[str, str], Column],
    names: tuple[str, ...],
    types: Mapping[str, str],
    list_separator: str | None,
    only: Sequence[str],
) -> tuple[list[Column], dict[str, str], list[str]]:
    """How to read the table by its header: the item column, then the features; their types, and those left open."""
    owners = [name for name in source.names() if source.list_of(name) is None or source.kind(name) == "list"]
    where, between = source.place, source.separator
    item_columns = [owner for owner in owners if owner.partition(":")[0].lower() in names]
    if len(item_columns) != 1 or len(owners) < 2:
        apart = f", separated by {'commas' if between == ',' else repr(between)}" if between else ""
        raise ConvertError(
            f"{where}: {', '.join(owners)[:200]!r} should name one item column ({', '.join(names)}) and one or more "
            f"features{apart}: mend the header."
        )
    features = [owner for owner in owners if owner != item_columns[0]]
    for name in only:
        if name not in [owner.partition(":")[0] for owner in features]:
            hint = did_you_mean(name, features) or f": it has {', '.join(features)[:300]}."
            raise ConvertError(f"{where}: no column {name} for --item-columns{hint}")
    columns, known, open_types = [item_column("item_id", item_columns[0])], {}, []
    for owner in features:
        name, _, kind = owner.partition(":")
        if only and name not in only:
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


def _plan(
    source: Table, columns: list[Column], known: Mapping[str, str], guess: bool
) -> tuple[list[Column], list[Column]]:
    """Columns that are read as rows of text, and those that hold lists already."""
    texts, lists = [], []
    for column in columns:
        if source.kind(column.owner) == "list":
            lists.append(column)
        elif (
            guess and known.get(column.name) == "float"
        ):  # how its numbers are written is seen from all of them
            texts.append(_feature_column(column.name, column.owner, "token", None))
        else:
            texts.append(column)
    return texts, lists


def _with_lists(
    table: pl.DataFrame, source: Table, lists: Sequence[Column], open_types: list[str], known: dict[str, str]
) -> pl.DataFrame:
    """The table with the columns of lists, which are token_seq where no type is named."""
    for column in lists:
        values = pl.concat(list(source.lists(column.owner)))
        named = values.rename({"values": column.name}).cast({"line": pl.UInt32})
        table = table.join(named, on="line", how="left", maintain_order="left")
        table = table.select("line", "item_id", *(name for name in known if name in table.columns))
        if column.name in open_types:
            open_types.remove(column.name)
            known[column.name] = "token_seq"
    return table


def _on_one_line(table: pl.DataFrame, known: Mapping[str, str], notes: dict[str, int]) -> pl.DataFrame:
    """Line breaks and tabs of texts as blanks."""
    for name in known:
        if table.schema[name] != pl.String:
            continue
        broken = int(table[name].str.contains(r"[\t\r\n]").sum())
        if broken:
            notes[f"{name} with line breaks or tabs, which are written as blanks"] = broken
            table = table.with_columns(
                pl.col(name).str.replace_all(r"\s*[\t\r\n]+\s*", " ").str.strip_chars(" ")
            )
    return table


def _feature_column(name: str, owner: str, kind: str, list_separator: str | None) -> Column:
    """A feature of one of TYPES. Lists have blanks between their values, or the `list_separator`; then a blank within a
    value is written as BLANK."""
    if kind == "float":
        return number_column(name, owner, -LARGEST, LARGEST, unknown=MISSING)
    faults: list[tuple[str, Test]] = [
        (f"{owner} holds a control character", lambda text: text.str.contains(UNPRINTED))
    ]
    if kind == "token":
        return Column(name, owner, lambda text: text, tuple(faults), unknown=MISSING)
    mark = re.escape(list_separator or " ")

    def values(text: pl.Expr) -> pl.Expr:
        if not list_separator:
            joined = text.str.replace_all(r"\s+", " ").str.strip_chars(" ")
        else:
            between = list_separator.replace("$", "$$")  # of a replacement, whose $1 are groups
            apart = text.str.replace_all(f"(?: *{mark} *)+", between).str.strip_chars(f"{list_separator} ")
            joined = apart.str.replace_all(r"\s+", BLANK).str.replace_all(list_separator, " ", literal=True)
        return pl.when(joined != "").then(joined)

    if kind == "float_seq":
        between = f"{list_separator!r}" if list_separator else "blanks"
        faults.append(
            (
                f"{owner} is not numbers with {between} between",
                lambda text: ~values(text).str.contains(f"^{NUMBER}( {NUMBER})*$").fill_null(False),
            )
        )
    return Column(name, owner, values, tuple(faults), unknown=MISSING)


# --- types


def _typed(
    source: Table,
    table: pl.DataFrame,
    name: str,
    known: dict[str, str],
    report: RowReport,
    list_separator: str | None,
    guessed: dict[str, str],
) -> pl.DataFrame:
    """The table with a column of guessed type; its texts are values already where it became a list."""
    if known[name] == "token_seq":
        return table
    values = table[name].drop_nulls()
    if list_separator and values.str.contains(list_separator, literal=True).any():
        known[name] = "token_seq"
        column = _feature_column(name, name, "token_seq", list_separator)
        return table.with_columns(column.value(pl.col(name)).alias(name))
    amounts = read_amounts(values)
    share = 1 - amounts.numbers.null_count() / max(len(values), 1)
    plain = values.filter(values.str.contains(f"^{NUMBER}$"))
    decimals = bool(plain.str.contains(".", literal=True).any()) or source.kind(name) == "float"
    if decimals and len(plain) >= MOSTLY * len(values):
        known[name] = "float"
    elif len(values) and share >= MOSTLY and (is_amount(name) or amounts.is_money):
        known[name] = "float"
        if amounts.example:
            guessed[f"numbers of {name}"] = amounts.example
    elif len(values) and share >= MOSTLY:
        what = "whole numbers" if len(plain) == len(values) else f"such as {values[0]!r}"
        _add(guessed, "codes", f"{name} ({what})")
    elif amounts.doubt and (share or is_amount(name)):
        guessed[f"words of {name}"] = amounts.doubt
    if known[name] == "float":
        return _as_floats(table, name, report, f" (--item-types {name}:token if it is none)")
    return table


def _add(guessed: dict[str, str], what: str, more: str) -> None:
    tail = "; taken for codes: --item-types NAME:float makes numbers of them"
    before = guessed.get(what, "").removesuffix(tail)
    guessed[what] = f"{before}{', ' if before else ''}{more}{tail}"


def _as_floats(table: pl.DataFrame, name: str, report: RowReport, advice: str) -> pl.DataFrame:
    """The table with the texts of a column as numbers, without the rows where one is none."""
    found = read_amounts(table[name]).numbers
    column = number_column(name, name, -LARGEST, LARGEST)
    (no_number, _), (out_of_range, is_out) = column.faults
    text = table[name]
    none = text.is_not_null() & found.is_null()
    huge = found.is_not_null() & found.to_frame(name).select(is_out(pl.col(name))).to_series().fill_null(
        False
    )
    for reason, bad in ((no_number, none), (out_of_range, huge)):
        rows = table.filter(bad)
        report.drop_bad(f"{reason}{advice}", rows.height, rows.head(5).select("line", name).iter_rows())
    good = ~(none | huge)
    return table.with_columns(found.cast(pl.Float64).alias(name)).filter(good)


# --- several rows an item


def _one_row_an_item(
    table: pl.DataFrame,
    known: dict[str, str],
    open_types: Sequence[str],
    list_separator: str | None,
    report: RowReport,
    notes: dict[str, int],
    guessed: dict[str, str],
) -> pl.DataFrame:
    """The first row of each item; with lists of all values where the type is a list or nothing else differs.

    Where lists are made `_more` is the number of the item's further rows, none of which is dropped then.
    """
    first = table["item_id"].is_first_distinct()
    if first.all():
        return table
    again = table.join(
        table.filter(~first).select("item_id").unique(), on="item_id", how="semi", maintain_order="left"
    )
    counts = again.group_by("item_id").agg(pl.col(name).n_unique() for name in known)
    differing = [name for name in known if (counts[name] > 1).any()]
    lists = [name for name in differing if known[name] == "token_seq"]
    alone = differing[0] if len(differing) == 1 and differing[0] in open_types else None
    if alone is not None and not _is_number(table[alone]) and not is_amount(alone):
        column = _feature_column(alone, alone, "token_seq", list_separator or "\x00")
        table = table.with_columns(column.value(pl.col(alone)).alias(alone))
        known[alone] = "token_seq"
        lists = [alone]
        guessed[f"lists of {alone}"] = "the rows of an item differ in it alone"
    if not lists:
        report.drop_rows(table.filter(~first), AGAIN)
        return table.filter(first)
    for name in differing:
        if name not in lists:
            notes[f"item whose rows differ in {name} (the first is kept)"] = int((counts[name] > 1).sum())
    values = [
        pl.col(name)
        .drop_nulls()
        .str.split(" ")
        .explode()
        .unique(maintain_order=True)
        .str.join(" ")
        .alias(name)
        for name in lists
    ]
    rest = [name for name in table.columns if name not in ("item_id", *lists)]
    merged = table.group_by("item_id", maintain_order=True).agg(
        *(pl.col(name).first() for name in rest), *values, _more=pl.len() - 1
    )
    filled = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in lists]
    return merged.with_columns(filled).select(*table.columns, "_more")


def _is_number(texts: pl.Series) -> bool:
    """Whether a column would be guessed a float, of which there is no list by rows."""
    values = texts.drop_nulls()
    plain = values.str.contains(f"^{NUMBER}$")
    return bool(plain.all()) and bool(values.str.contains(".", literal=True).any())
