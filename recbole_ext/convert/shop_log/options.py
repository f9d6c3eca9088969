"""The options of a shop's own log."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, InstanceOf

from recbole_ext.convert.forms.find import Frame
from recbole_ext.convert.forms.typed import is_frame
from recbole_ext.convert.guesses import NONE
from recbole_ext.convert.item_table import TYPES
from recbole_ext.convert.options import (
    GIVEN,
    LEFT_OUT,
    DatedOptions,
    Day,
    Flag,
    Number,
    Word,
    Words,
    day,
    file,
    option,
)
from recbole_ext.convert.times import EARLIEST, LATEST


def _column(of: str, more: str = "") -> Any:
    sentence = f"column of {of} (guessed from its name; {NONE} for none){more}"
    return option(None, sentence, metavar="COLUMN", recorded=False, says="the name of a column")


def _item_types(given: Any) -> Any:
    """NAME:TYPE pairs, as a mapping, in a list or with commas between -> a mapping."""
    texts = given.split(",") if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return given
    pairs = [text.strip().partition(":") for text in texts if text.strip()]
    if not all(name and kind in TYPES for name, _, kind in pairs):
        raise ValueError(f"write NAME:TYPE, such as price:float, TYPE one of {', '.join(TYPES)}")
    return {name: kind for name, _, kind in pairs}


def _mark(text: Any) -> Any:
    if isinstance(text, str) and (not text.strip() or '"' in text):
        raise ValueError("write a mark such as | or ;")
    return text


def _file_or_frame(given: Any) -> Any:
    """A frame as what options hold: without a truth of its own."""
    return Frame(given) if is_frame(given) else given


def _words_of(given: Any) -> Any:
    """Words in a list, or with commas between."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return given
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


class Options(DatedOptions):
    """The options of this source."""

    raw: ClassVar[tuple[str, str]] = (
        "EVENTS",
        "tables of events (csv, jsonl, parquet, arrow, plain or packed), folders or globs of them",
    )
    out: ClassVar[str] = "atomic_data/{name}"
    several: ClassVar[bool] = True
    within: ClassVar[tuple[date, date]] = (EARLIEST, LATEST)

    events: Annotated[Words, BeforeValidator(_words_of)] = option(
        [],
        "kinds of events to keep, such as view_item,purchase (all where none is named)",
        metavar="KIND,…",
        says="words",
    )
    item: Word | None = _column("items")
    time: Word | None = _column("times")
    session: Word | None = _column("sessions", "; without one a visitor's events are cut by --gap-minutes")
    user: Word | None = _column("visitors")
    event: Word | None = _column("kinds of events (view, purchase …)")
    split: Word | None = _column("parts, one a session: train, valid or test")
    time_unit: Literal["s", "ms", "us", "ns", "iso", "date"] | None = option(
        None, "unit of the times: since 1970, ISO 8601 or whole days (guessed from an excerpt)"
    )
    time_format: Word | None = option(
        None,
        "how times are written, as strptime has it, such as '%d.%m.%Y %H:%M' (guessed where only one fits)",
        metavar="FORMAT",
        says="text such as %d.%m.%Y %H:%M",
        needs={"time_unit": LEFT_OUT},
    )
    no_header: Flag = option(False, "the first line is a row; columns are named by their number, from 1")
    event_by_file: Flag = option(
        False,
        "each file holds one kind of event, and is called so (views.csv, orders.csv)",
        needs={"event": LEFT_OUT},
    )
    separator: Literal[",", ";", "\t", "|"] | None = option(
        None,
        "between fields (guessed from the header line)",
        metavar="MARK",
        says="a comma, a semicolon, a tab or |",
    )
    session_per_user: Flag = option(
        False, "session ids count anew for each visitor, so a session is one of a visitor and an id"
    )
    gap_minutes: Number = option(
        30,
        "a longer idle time ends a session",
        gt=0,
        needs={"session": [None, NONE], "session_per_user": LEFT_OUT},
    )
    items: Annotated[Path | InstanceOf[Frame] | None, BeforeValidator(_file_or_frame)] = file(
        "table of item features, one row an item or several", recorded="items_file"
    )
    item_columns: Annotated[Words, BeforeValidator(_words_of)] = option(
        [],
        "features to read of the table of items (all where none is named)",
        metavar="NAME,…",
        says="names of columns",
        needs={"items": GIVEN},
    )
    item_types: Annotated[
        dict[str, Literal["token", "token_seq", "float", "float_seq"]] | None, BeforeValidator(_item_types)
    ] = option(
        None,
        f"types of item features, each of {', '.join(TYPES)} (guessed)",
        metavar="NAME:TYPE,…",
        says=f"NAME:TYPE, TYPE one of {', '.join(TYPES)}",
        needs={"items": GIVEN},
    )
    list_separator: Annotated[Word | None, BeforeValidator(_mark)] = option(
        None,
        "between the values of token_seq features (blanks, where none is named)",
        metavar="MARK",
        needs={"items": GIVEN},
    )
    all_items: Flag = option(False, "keep items without events in the .item file", needs={"items": GIVEN})
    first_date: Day = day(date(1990, 1, 1), "earliest day of the log")
    last_date: Day = day(date(2099, 12, 31), "latest day of the log")

    def named(self) -> dict[str, str | None]:
        """The columns that the user names."""
        return {what: getattr(self, what) for what in ("item", "time", "session", "user", "event", "split")}
