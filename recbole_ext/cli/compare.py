"""`compare FOLDER …`: runs of one data set side by side, from their records. numpy only, but for a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.comparison import METRICS, compare
from recbole_ext.files import write_text
from recbole_ext.report.text import comparison_text


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="Compare runs of one data set by their records: intervals, paired tests, slices.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a run: record.json and ranks.npz")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME@K",
        help=f"may be repeated, the first one ranks (default {' '.join(METRICS)})",
    )
    parser.add_argument(
        "--baseline", metavar="LABEL", help="test all others against this one (default: every pair)"
    )
    parser.add_argument("--labels", metavar="A,B,…", help="what each folder's model is called, one a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="also write the page of an experiment there: index.html, report.md, report.csv and pictures",
    )
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext compare") -> int:
    """Print the comparison; the exit code."""
    given = _parser(prog).parse_args(arguments)
    labels = None if given.labels is None else [label.strip() for label in given.labels.split(",")]
    try:
        found = compare(given.folders, given.metric or METRICS, given.baseline, labels)
        print(comparison_text(found))
        if given.json is not None:
            write_text(given.json, json.dumps(found, indent=1, allow_nan=False) + "\n")
        if given.out is not None:
            from recbole_ext.report.experiment_report import write_comparison

            files = write_comparison(given.out, found, given.baseline, ["recbole-ext", "compare", *arguments])
            print("", *(f"  {file}" for file in files), sep="\n")
    except OSError as error:
        raise UsageError(str(error)) from error
    return 0
