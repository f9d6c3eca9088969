"""`recommend RUN [FILE --out LISTS]`: lists of a finished run's model, for the sessions of a file or of the command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_ext.arguments import Arguments
from recbole_ext.cli.own_class import add_option, meet_for_lists
from recbole_ext.errors import UsageError
from recbole_ext.records import check_folder


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="The k best items of each session, by the model of a finished run. No data set is needed.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, runs/…, or its model folder")
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="sessions: .csv or .parquet with the columns session and item (time, event, user where known), the events "
        "of a session together; .jsonl with a list of items a line",
    )
    parser.add_argument("--out", type=Path, metavar="LISTS", help="a .csv, .jsonl or .parquet file to write")
    parser.add_argument(
        "--session", action="append", default=[], metavar="A,B,…", help="a session's items; may be repeated"
    )
    parser.add_argument("--examples", action="store_true", help="three sessions of the run's test part")
    parser.add_argument("--k", type=int, default=20, metavar="K", help="items of a list (default 20)")
    parser.add_argument("--exclude", metavar="A,B,…", help="items that may not stand in a list")
    parser.add_argument("--candidates", metavar="A,B,…", help="the only items that may")
    parser.add_argument("--exclude-seen", action="store_true", help="no item of the session itself")
    parser.add_argument(
        "--where", metavar="CONDITION", help='on item features: "available == 1 and price < 50"'
    )
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="what the visitors did before: user, session, item, time"
    )
    parser.add_argument("--why", action="store_true", help="columns of what speaks for each item")
    parser.add_argument(
        "--empty",
        choices=("start", "popular"),
        default="start",
        help="what a session without a known item gets (default start: what the model ranks before a first event)",
    )
    parser.add_argument("--fill", action="store_true", help="fill short lists with popular items")
    add_option(parser)
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext recommend") -> int:
    """Print or write the lists; the exit code."""
    given = _parser(prog).parse_args(arguments)
    ways = [given.file is not None, bool(given.session), given.examples]
    if sum(ways) != 1:
        raise UsageError("give one of a FILE, --session=17,42 and --examples")
    if given.file is not None and given.out is None:
        raise UsageError("--out names the file to write the lists to: give it with a FILE")
    if given.file is None and (given.out is not None or given.history is not None):
        raise UsageError("--out and --history are for the sessions of a FILE: name one, or leave them out")
    check_folder(given.run)
    meet_for_lists(given.run, given.model)
    from recbole_ext.recommend import load

    recommender = load(given.run)
    options: dict[str, Any] = {
        "exclude": _items(given.exclude),
        "candidates": _items(given.candidates),
        "exclude_seen": given.exclude_seen,
        "where": given.where,
        "why": given.why,
        "fill": given.fill,
    }
    if given.file is not None:
        from recbole_ext.recommend.files import recommend_file
        from recbole_ext.wording import several

        report = recommend_file(
            recommender,
            given.file,
            given.out,
            given.k,
            history=given.history,
            empty_popular=given.empty == "popular",
            **options,
        )
        print(f"{several(report.sessions, 'list')} written to {given.out}")
    else:
        from recbole_ext.recommend.text import lists_text

        sessions = recommender.examples if given.examples else [_items(text) or [] for text in given.session]
        lists = recommender.lists(sessions, given.k, empty=given.empty, **options)
        report = lists.report
        print(lists_text(recommender, sessions, lists))
        if given.examples:
            print(f"\nmore: {prog} {given.run} --session {','.join(sessions[0])} --k {given.k}")
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0


def _items(text: str | None) -> list[str] | None:
    return None if text is None else [item.strip() for item in text.split(",") if item.strip()]
