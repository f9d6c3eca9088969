"""Delimited logs to typed columns, with every row accounted for: kept, or dropped for a named reason.

Read by blocks of whole lines, so memory is bounded by what is kept of them and every line keeps its number.
polars' CSV reader takes a block if all of it is plain: every field written as its value would be. Any other
block is taken apart line by line by polars expressions, never by a loop over rows. What is not exactly a value
of its column is a bad row, never coerced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from recbole_ext.convert.atomic import RowReport
from recbole_ext.convert.columns import Column
from recbole_ext.convert.engine import np, pl
from recbole_ext.convert.raw_files import UNREADABLE, Source
from recbole_ext.errors import ConvertError
from recbole_ext.progress import progress
from recbole_ext.wording import several

BLOCK_BYTES = 1 << 24
LONGEST_LINE = 1 << 26  # a longer one is no log: most likely a binary file, or one without line breaks
DUPLICATE = "duplicate row"
HASHED = 1 << 22  # rows hashed at once


@dataclass(frozen=True)
class BadRows:
    """How many bad rows of one file are borne: a share of the rows read, or none when strict."""

    share: float = 0.01
    strict: bool = False

    def check(self, report: RowReport) -> None:
        """Raise ConvertError, naming the first bad row, if the report's file has too many bad rows."""
        if report.first_bad is None or (not self.strict and report.bad <= self.share * report.read):
            return
        line, reason, text = report.first_bad
        allowed = "--strict allows none" if self.strict else f"max_bad_rows {self.share:g} allows fewer"
        bad = "is bad" if report.bad == 1 else "are bad"
        advice = "leave out --strict" if self.strict else "raise --max-bad-rows"
        raise ConvertError(
            f"{report.file}: {report.bad:,} of {several(report.read, 'row')} {bad} and {allowed}; the first is line "
            f"{line} ({reason}: {text!r}): mend the file or {advice}."
        )


def read_rows(
    source: Source, columns: Sequence[Column], allowed: BadRows, separator: str = ";"
) -> tuple[pl.DataFrame, RowReport]:
    """Read a log with a header line into one typed column for each of `columns`, after `line` (1-based,
    UInt32).

    Rows come in file order, without bad rows and without rows that repeat an earlier one in all of `columns`.
    Columns that are not asked for are ignored; blank lines are no rows. Raises ConvertError for a file that
    is empty, broken, lacks a column or has another separator, and for more bad rows than `allowed`.
    """
    report = RowReport(source.label)
    frames = [compact(block) for block in read_blocks(source, columns, allowed, report, separator)]
    return without_duplicates(pl.concat(frames), report), report


def compact(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows without hold on the text that they were read from: polars' texts are views of it."""
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
    return rows.with_columns(pl.concat_str(name, pl.lit("")).alias(name) for name in texts)


def read_blocks(
    source: Source,
    columns: Sequence[Column],
    allowed: BadRows,
    report: RowReport,
    separator: str = ";",
    header: Sequence[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """As `read_rows`, but block by block, so that a log of any size fits; repeated rows stay.

    header: the columns of a file whose first line is a row.

    Rows are counted in `report`, to which the caller may add bad rows of its own while it reads. What the caller
    keeps of a block it should `compact`.
    """
    line = 1
    layout: _Layout | None = None
    if header is not None:
        layout = _Layout([_plain(name) for name in header], columns, separator)
    try:
        with source.open() as stream, progress(f"reading {source.label}", source.size) as advance:
            for block in _blocks(stream, source):
                size = len(block)
                if header is not None and line == 1:
                    block = block.removeprefix(b"\xef\xbb\xbf")
                if layout is None:
                    head, _, block = block.partition(b"\n")
                    layout = _Layout(_header(head, source, columns, separator), columns, separator)
                    line = 2
                good = _parse_plain(block, line, layout)
                lines = block.count(b"\n") if good is None else good.height
                if good is None:
                    good, dropped = _parse(block, line, layout)
                    report.read += dropped.height
                    _count(report, dropped)
                report.read += good.height
                line += lines
                yield good
                if allowed.strict:
                    allowed.check(report)
                advance(size)
    except UNREADABLE as error:
        system = isinstance(error, OSError) and error.errno is not None
        advice = (
            "check the disk and the file's permissions"
            if system
            else "it is damaged or cut off, fetch it again"
        )
        reason = str(error) or type(error).__name__
        raise ConvertError(f"{source.path} cannot be read past line {line} ({reason}): {advice}.") from error
    if layout is None:
        raise ConvertError(f"{source.path} is empty: fetch it again.")
    allowed.check(report)


def _blocks(stream: IO[bytes], source: Source) -> Iterator[bytes]:
    """The stream in blocks of whole lines."""
    while block := stream.read(BLOCK_BYTES):
        if not block.endswith(b"\n"):
            rest = stream.readline(LONGEST_LINE)
            block += rest
            if len(rest) == LONGEST_LINE:
                raise ConvertError(
                    f"{source.path} has a line of over {LONGEST_LINE} bytes: it is no log, check the file."
                )
        yield block


def _plain(name: str) -> str:
    """A column name without what spellings differ in."""
    return name.strip(' \t\r"').lower().replace("_", "").replace(".", "")


def _header(head: bytes, source: Source, columns: Sequence[Column], separator: str) -> list[str]:
    """The plain names of the header line; ConvertError, saying what is wrong, if a column is missing."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConvertError(f"{source.path} is UTF-16: save it as UTF-8.")
    text = head.decode("utf-8", errors="replace").removeprefix("\ufeff")
    names = [_plain(name) for name in text.split(separator)]
    missing = [column.owner for column in columns if _plain(column.owner) not in names]
    if missing:
        for other in ",;\t|":
            if set(map(_plain, text.split(other))) >= {_plain(column.owner) for column in columns}:
                raise ConvertError(
                    f"{source.path}, line 1: columns are separated by {other!r} instead of {separator!r}: "
                    "rewrite the file with the owner's separator."
                )
        raise ConvertError(
            f"{source.path}, line 1: no column {', '.join(missing)} in {text.strip()[:200]!r}: "
            "give the file the owner's header line."
        )
    twice = [column.owner for column in columns if names.count(_plain(column.owner)) > 1]
    if twice:
        raise ConvertError(
            f"{source.path}, line 1: column {', '.join(twice)} is there twice: keep one of them."
        )
    return names


@dataclass(frozen=True)
class _Layout:
    """Where the columns of a file are: `names` of all of its columns, plain, in order."""

    names: list[str]
    columns: Sequence[Column]
    separator: str

    def position(self, column: Column) -> int:
        """Which field of a line holds the column."""
        return self.names.index(_plain(column.owner))


def _parse_plain(block: bytes, first_line: int, layout: _Layout) -> pl.DataFrame | None:
    """The typed rows of a block, with `line`, if each of its fields is written as its value would be; else None.

    Whole numbers are read as such, all other fields as text. That nothing was coerced is seen from sizes: a
    number's own digits are its shortest spelling, so the block is as long as its values written out only if it
    holds just these.
    """
    if len(layout.names) == 1:  # a blank line, which is no row, looks like an empty field
        return None
    block = block.replace(b"\r\n", b"\n") if b"\r" in block else block
    if not block or any(mark in block for mark in (b'"', b"\r", b"\t") if mark != layout.separator.encode()):
        return None
    whole = {layout.position(column): column.whole for column in layout.columns if column.whole is not None}
    fields = _fields(block, layout, whole)
    if fields is None or _written_size(fields, whole) != len(block) + (not block.endswith(b"\n")):
        return None
    if block.count(layout.separator.encode()) != fields.height * (fields.width - 1):
        return None  # polars fills up a line of too few fields, whose blanks may make up for the separators
    values, faults = _plain_values(layout, blanks=b" " in block)
    if faults and fields.select(pl.any_horizontal(faults).any()).item():
        return None
    lines = pl.int_range(first_line, first_line + fields.height, dtype=pl.UInt32, eager=True).alias("line")
    return fields.select(lines, *values)


def _fields(block: bytes, layout: _Layout, whole: Mapping[int, tuple[int, int]]) -> pl.DataFrame | None:
    """All fields of a block, `field_0` …: Int64 at the places in `whole`, else String; None where they are not so."""
    dtypes = [pl.Int64 if place in whole else pl.String for place in range(len(layout.names))]
    try:
        return pl.read_csv(
            block,
            has_header=False,
            schema={f"field_{place}": dtype for place, dtype in enumerate(dtypes)},
            separator=layout.separator,
            quote_char=None,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:
        return None


def _written_size(fields: pl.DataFrame, whole: Mapping[int, tuple[int, int]]) -> int | None:
    """Bytes of the fields as lines, a line end each; None where one is missing or a number is out of its range."""
    size = fields.height * fields.width  # separators and line ends
    for place, field in enumerate(fields):
        if field.null_count():
            return None
        if field.dtype == pl.String:
            size += int(field.str.len_bytes().sum())
            continue
        low, high = int(field.min() or 0), int(field.max() or 0)  # type: ignore[arg-type]
        least, most = whole[place]
        if low < least or high > most:
            return None
        size += _digits(field, low, high)
    return size


def _plain_values(layout: _Layout, blanks: bool) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """Of the fields of a block: the columns' values, and what may not hold anywhere."""
    values, faults = [], []
    for column in layout.columns:
        field = pl.col(f"field_{layout.position(column)}")
        if column.whole is not None:
            values.append(field.alias(column.name))
            continue
        if blanks:
            faults.append((field.str.starts_with(" ") | field.str.ends_with(" ")).any())
        if not column.unknown:
            faults += [is_bad(field).any() for _, is_bad in column.faults]
            values.append(column.value(field).alias(column.name))
            continue
        known = ~field.is_in(list(column.unknown))
        faults += [(known & is_bad(field)).any() for _, is_bad in column.faults]
        values.append(pl.when(known).then(column.value(field)).alias(column.name))
    return values, faults


def _digits(numbers: pl.Series, low: int, high: int) -> int:
    """How many digits the numbers, which lie from `low` >= 0 to `high`, have together."""
    count, power = len(numbers), 10
    while power <= high:
        count += len(numbers) if power <= low else int((numbers >= power).sum())
        power *= 10
    return count


def _parse(block: bytes, first_line: int, layout: _Layout) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One block of lines -> (typed good rows with `line`, bad rows as `line`, `text`, `reason`)."""
    width, separator, whole = len(layout.names), layout.separator, pl.col("text")
    try:
        text, broken = block.decode("utf-8"), False
    except UnicodeDecodeError:
        text, broken = block.decode("utf-8", errors="replace"), True
    lines = _lines(text, first_line, separator)
    fault = whole.str.count_matches(separator, literal=True) != width - 1
    reasons: list[pl.Expr] = [pl.when(fault).then(pl.lit("wrong number of fields"))]
    if broken:
        reasons.append(pl.when(whole.str.contains("\ufffd", literal=True)).then(pl.lit("not UTF-8")))
    split = lines.select(whole.str.split_exact(separator, width - 1).alias("fields"))
    fields, quotes = split["fields"].struct.unnest(), '"' in text
    lines = lines.hstack(
        fields.select(
            _unquoted(pl.col(f"field_{layout.position(column)}"), quotes).alias(f"_{column.name}")
            for column in layout.columns
        )
    )
    values = []
    for column in layout.columns:
        value, faults = value_and_faults(column)
        values.append(value)
        reasons += faults
    lines = lines.with_columns(pl.coalesce(reasons).alias("reason"))
    good = lines.filter(pl.col("reason").is_null()).select(pl.col("line").cast(pl.UInt32), *values)
    return good, lines.filter(pl.col("reason").is_not_null()).select("line", "text", "reason")


def _lines(text: str, first_line: int, separator: str) -> pl.DataFrame:
    """`line` and `text` of the lines of a block that are not blank."""
    lines = pl.Series("text", [text], dtype=pl.String).str.split("\n").explode().to_frame()
    blank = pl.col("text").str.strip_chars() == ""
    return (
        lines.with_row_index("line", offset=first_line)
        .with_columns(pl.col("text").str.strip_chars_end("\r"))
        .filter(~blank | pl.col("text").str.contains(separator, literal=True))
    )


def value_and_faults(column: Column) -> tuple[pl.Expr, list[pl.Expr]]:
    """The value of a column from its text `_NAME`, and why the text is bad, one expression a fault: null where not."""
    field = pl.col(f"_{column.name}")
    known = ~field.is_in(list(column.unknown))
    faults = list(column.faults)
    if column.no_marks:  # a plain block has none
        marks = f"{column.owner} holds a tab or quotation mark"
        faults.append((marks, lambda text: text.str.contains('[\t"]')))
    reasons: list[pl.Expr] = [
        pl.when(known & is_bad(field)).then(pl.lit(reason)) for reason, is_bad in faults
    ]
    return pl.when(known).then(column.value(field)).alias(column.name), reasons


def _unquoted(field: pl.Expr, quotes: bool) -> pl.Expr:
    """A field without the blanks and (where the block has `quotes`) the pair of marks around it."""
    field = field.str.strip_chars(" \t")
    if not quotes:
        return field
    return field.str.replace(r'^"([^"]*)"$', "$1").str.strip_chars(" \t")


def _count(report: RowReport, dropped: pl.DataFrame) -> None:
    """Count the bad rows of one block, by reason."""
    for (reason,), rows in dropped.group_by("reason", maintain_order=True):
        report.drop_bad(str(reason), rows.height, rows.head(5).select("line", "text").iter_rows())


def without_duplicates(rows: pl.DataFrame, report: RowReport) -> pl.DataFrame:
    """The first of every set of equal rows; the others are counted."""
    again = repeated(rows.select(pl.exclude("line")))
    if not len(again):
        return rows
    report.drop_rows(rows[again], DUPLICATE)
    return left_out(rows, again)


def repeated(rows: pl.DataFrame) -> pl.Series:
    """Numbers of the rows that are equal to an earlier one, ascending.

    Equal rows have equal hashes, and few others have; only what shares its hash is compared.
    """
    hashes = (
        pl.concat([part.hash_rows() for part in rows.iter_slices(HASHED)]) if rows.height else pl.Series()
    )
    ordered = hashes.to_numpy().copy()
    ordered.sort()
    shared = pl.Series(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    del ordered
    if not len(shared):
        return pl.Series([], dtype=pl.UInt32)
    places = hashes.is_in(shared.implode()).arg_true()
    again = rows[places].select(~pl.struct(pl.all()).is_first_distinct()).to_series()
    return places.filter(again)


def left_out(rows: pl.DataFrame, places: pl.Series) -> pl.DataFrame:
    """The rows but for those at some places."""
    stay = np.ones(rows.height, dtype=bool)
    stay[places.to_numpy()] = False
    return rows.filter(pl.Series(stay))


def narrow(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The same rows with some Int64 columns as UInt32, where they hold nothing but such numbers."""
    fits = [name for name in names if rows[name].is_between(0, 2**32 - 1).all()]
    return rows.with_columns(pl.col(fits).cast(pl.UInt32))
