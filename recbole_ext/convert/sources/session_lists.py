"""Session lists (the pickles of SR-GNN, COTREC and successors) to atomic files, with the published split.

Reference: https://github.com/CRIPAC-DIG/SR-GNN, `datasets/preprocess.py`. There `test.txt` holds every prefix of a test
session with its next item; here test sessions are put back together, so that each event after a session's first is one
published pair. Where the pairs are no whole sessions (COTREC drops prefixes of one item) each pair stays a session.
Training pairs are put together the same way, or are whole sessions. Training sessions come first, both parts in file
order; `timestamp` is the event's running number, `split` is train or test. In messages and in the manifest a `line` of
a pickle is the number of the session or pair in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar

from recbole_ext.convert.atomic import Conversion, RowReport
from recbole_ext.convert.columns import id_column
from recbole_ext.convert.engine import np, pl
from recbole_ext.convert.forms.text import TextTable
from recbole_ext.convert.item_table import read_item_table
from recbole_ext.convert.options import GIVEN, ConvertOptions, Flag, file, option
from recbole_ext.convert.plain_pickle import load
from recbole_ext.convert.raw_files import Source
from recbole_ext.convert.rows import BadRows
from recbole_ext.errors import ConvertError

TRAIN, TEST = "all_train_seq.txt", "test.txt"
MAX_EVENTS = 2**24  # `timestamp` is the running number of the event, exact in float32 below this
MAX_PREFIX_ITEMS = 2**26  # prefixes of test sessions overlap, so they may hold many times their events
MAX_ITEM = 10**18
OWN_PAIR = "test pair kept as a session of its own (the pairs are no whole sessions)"

Session = Sequence[int]


class Options(ConvertOptions):
    """The options of this source; files lie in the folder or where their path says."""

    raw: ClassVar[tuple[str, str]] = ("DIR", f"folder that holds {TRAIN} and {TEST}")

    train: Path = file("pickled list of the training sessions, lists of item numbers", Path(TRAIN))
    test: Path = file("pickled (prefixes, targets)", Path(TEST))
    item_features: Path | None = file(
        "item,<feature>[:<type>]… (token unless a type is named)", metavar="CSV"
    )
    all_items: Flag = option(
        False, "keep items of the CSV that are in no session", needs={"item_features": GIVEN}
    )


def read(raw: Path, options: Options) -> Conversion:
    """The session lists in the folder `raw`. Raises ConvertError for whatever the user can mend.

    The manifest's `eval_targets` says which events of a test session are targets so that they are the published
    pairs: `all` after the first, or the `last`.
    """
    allowed = BadRows(options.max_bad_rows, options.strict)
    files = [_find(raw, options.train, "--train"), _find(raw, options.test, "--test")]
    reports = [RowReport(path.name) for path in files]
    train = _read_train(files[0], reports[0], allowed)
    pairs = _read_pairs(files[1], reports[1], allowed)
    whole = rebuild_sessions(pairs)
    test = pairs if whole is None else whole

    inter = _inter(train, test)
    notes = _notes(inter, train, 0 if whole is not None else len(pairs))
    item: pl.DataFrame | None = None
    types: dict[str, str] = {}
    if options.item_features is not None:
        files.append(_find(raw, options.item_features, "--item-features"))
        item, types, report, item_notes = read_item_table(
            TextTable(Source(files[-1]), files[-1].name, ","),
            id_column,
            inter.select("item_id").unique(),
            allowed,
            all_items=options.all_items,
        )
        reports, notes = [*reports, report], notes | item_notes
    return Conversion(
        inter=inter,
        item=item,
        sources=files,
        reports=reports,
        options=options.recorded(),
        notes=notes,
        counts=_counts(inter, train, test, pairs),
        types=types,
        more={"eval_targets": "last" if whole is None else "all"},
    )


def _notes(inter: pl.DataFrame, train: Sequence[Session], own_pairs: int) -> dict[str, int]:
    items = {
        part: set(inter.filter(pl.col("split") == part)["item_id"].unique()) for part in ("train", "test")
    }
    return {
        "train session of a single event": sum(len(session) == 1 for session in train),
        "item of test sessions only": len(items["test"] - items["train"]),
        OWN_PAIR: own_pairs,
    }


def _counts(
    inter: pl.DataFrame, train: Sequence[Session], test: Sequence[Session], pairs: Sequence[Session]
) -> dict[str, Any]:
    return {
        "sessions": len(train) + len(test),
        "train_sessions": len(train),
        "test_sessions": len(test),
        "test_pairs": len(pairs),
        "users": 0,
        "items": inter["item_id"].n_unique(),
        "events": {part: inter.filter(pl.col("split") == part).height for part in ("train", "test")},
    }


def rebuild_sessions(pairs: Sequence[Session]) -> list[Session] | None:
    """The sessions whose events after the first are `pairs`, or None where the pairs are not like that.

    A pair is its prefix with its target at the end. The pairs of a session stand one after another, down to the prefix
    of one item: longest first, as SR-GNN writes them (`1 2 3`, `1 2` is the session 1 2 3), or shortest first.
    """
    longest_first = _ladders(pairs)
    if longest_first is not None:
        return longest_first
    shortest_first = _ladders(pairs[::-1])
    return None if shortest_first is None else shortest_first[::-1]


def _ladders(pairs: Sequence[Session]) -> list[Session] | None:
    """The sessions of pairs that come longest first; None where they do not."""
    sessions: list[Session] = []
    open_prefix: Session = ()  # what the next pair of the same session must be; empty: a new session begins
    for pair in pairs:
        if not open_prefix:
            sessions.append(pair)
        elif pair != open_prefix:
            return None
        open_prefix = pair[:-1] if len(pair) > 2 else ()
    return None if open_prefix else sessions


# --- reading the pickles


def _find(raw: Path, name: Path | str, option: str) -> Path:
    """`name` in `raw`, or by its own path."""
    for path in (raw / name, Path(name)):
        if path.is_file():
            return path
    raise ConvertError(
        f"No file {name} in {raw} or by itself: put it there or name another one with {option}."
    )


def _is_lists(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, list | tuple) for entry in value)


def _read_train(path: Path, report: RowReport, allowed: BadRows) -> list[Session]:
    """The usable sessions of a pickled list of lists of item numbers, in file order; or of (prefixes, targets)."""
    sessions = load(path)
    if isinstance(sessions, list | tuple) and len(sessions) == 2 and _is_lists(sessions[0]) and sessions[0]:
        return _sessions_of_pairs(path, _pairs(path, sessions, report, allowed, "--train"))
    if not _is_lists(sessions):
        raise ConvertError(
            f"{path} holds no list of sessions (lists of item numbers): name the right file with --train."
        )
    _check_size(path, sessions, MAX_EVENTS)
    return _usable(path, sessions, [_fault(session) for session in sessions], report, allowed)


def _sessions_of_pairs(path: Path, pairs: list[Session]) -> list[Session]:
    """Training sessions of pairs that are all prefixes of the sessions, or of which each is a whole session."""
    whole = rebuild_sessions(pairs)
    if whole is not None:
        return whole
    for one, two in pairwise(pairs):
        shorter = min(len(one), len(two))
        if len(one) != len(two) and one[:shorter] == two[:shorter]:
            raise ConvertError(
                f"{path} holds (prefixes, targets) of which some are of one session, but not all of its prefixes: "
                f"training needs whole sessions, so name the file with them, {TRAIN} in most collections, with --train."
            )
    return pairs


def _read_pairs(path: Path, report: RowReport, allowed: BadRows) -> list[Session]:
    """The usable pairs of a pickled (prefixes, targets), each as its prefix with its target at the end."""
    return _pairs(path, load(path), report, allowed, "--test")


def _pairs(path: Path, pairs: Any, report: RowReport, allowed: BadRows, option: str) -> list[Session]:
    if not (isinstance(pairs, list | tuple) and len(pairs) == 2 and _is_lists(pairs[:1])):
        raise ConvertError(f"{path} does not hold (prefixes, targets): name the right file with {option}.")
    prefixes, targets = pairs
    if not _is_lists(prefixes) or not isinstance(targets, list | tuple) or len(prefixes) != len(targets):
        raise ConvertError(
            f"{path} does not hold a list of prefixes and a list of as many targets: name the right file "
            f"with {option}."
        )
    _check_size(path, prefixes, MAX_PREFIX_ITEMS)
    whole = [[*prefix, target] for prefix, target in zip(prefixes, targets)]
    faults = [_fault(pair) if prefix else "empty prefix" for pair, prefix in zip(whole, prefixes)]
    return _usable(path, whole, faults, report, allowed)


def _check_size(path: Path, lists: Sequence[Session], limit: int) -> None:
    """A megabyte of pickle can stand for a terabyte of shared lists: sum sizes before reading items."""
    size = sum(map(len, lists))
    if size >= limit:
        raise ConvertError(
            f"{path} holds {size:,} events, but fewer than {limit:,} can be converted: split it."
        )


def _fault(session: Sequence[Any]) -> str | None:
    """Why a session cannot be used, or None."""
    if not session:
        return "empty session"
    if set(map(type, session)) != {int}:  # bool is no int here
        return "item is not a whole number"
    if min(session) < 0:
        return "item number is negative"
    return None if max(session) < MAX_ITEM else "item number has over 18 digits"


def _usable(
    path: Path, lists: Sequence[Session], faults: Sequence[str | None], report: RowReport, allowed: BadRows
) -> list[Session]:
    """The lists without fault; the others are counted, named by their number, and held to the limit."""
    report.read = len(lists)
    bad = [(number, fault) for number, fault in enumerate(faults, 1) if fault is not None]
    for number, fault in bad:
        report.drop_bad(fault, 1, [(number, _shown(lists[number - 1]))])
    allowed.check(report)
    usable: list[Session] = [list(entry) for entry, fault in zip(lists, faults) if fault is None]
    if not usable:
        raise ConvertError(f"{path} holds no usable session: check that it is the right file.")
    return usable


def _shown(session: Sequence[Any]) -> str:
    """The first items of a session for a message; lists may hold themselves, numbers be huge."""
    return " ".join(
        repr(item)[:40]
        if isinstance(item, str | float | None) or (isinstance(item, int) and abs(item) < MAX_ITEM)
        else f"<{type(item).__name__}>"
        for item in session[:20]
    )


# --- tables


def _inter(train: Sequence[Session], test: Sequence[Session]) -> pl.DataFrame:
    """The .inter table: sessions numbered from 1, training ones first, events numbered from 0."""
    lengths = np.fromiter((len(session) for session in chain(train, test)), dtype=np.int64)
    n_events = int(lengths.sum())
    if n_events >= MAX_EVENTS:
        raise ConvertError(
            f"The sessions hold {n_events:,} events, but fewer than {MAX_EVENTS:,} keep their order in a "
            "float32 timestamp: convert fewer training sessions."
        )
    items = np.fromiter(chain.from_iterable(chain(train, test)), dtype=np.int64, count=n_events)
    session = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    return pl.DataFrame(
        {"session_id": session, "item_id": items, "timestamp": np.arange(n_events)}
    ).with_columns(
        split=pl.when(pl.col("session_id") <= len(train)).then(pl.lit("train")).otherwise(pl.lit("test"))
    )
