"""`compare FOLDER …`: runs of one data set side by side, from their records. numpy only."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.comparison import METRICS, compare
from recbole_ext.report.comparison_text import comparison_text


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong command line is answered in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options).\n")


def _parser(prog: str) -> _Parser:
    parser = _Parser(
        prog=prog,
        allow_abbrev=False,
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
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext compare") -> int:
    """Print the comparison; the exit code."""
    given = _parser(prog).parse_args(arguments)
    labels = None if given.labels is None else [label.strip() for label in given.labels.split(",")]
    try:
        found = compare(given.folders, given.metric or METRICS, given.baseline, labels)
        print(comparison_text(found))
        if given.json is not None:
            _write(given.json, found)
    except OSError as error:
        raise UsageError(str(error)) from error
    return 0


def _write(file: Path, found: dict[str, object]) -> None:
    waiting = file.with_name(f"{file.name}.tmp")
    waiting.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(waiting, file)
