"""Faults put in on purpose, by tests/robustness: tried, right and wrong, as results/robustness.md.

    python benchmarks/robustness.py                 # all of it; PART (kills, mutated_logs …) for some

A part is a file of tests; it becomes a section of the page, and the others stay as they are.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from report import write_section
from side_by_side import ROOT, THREADS, conditions, table

TESTS = ROOT / "tests" / "robustness"
sys.path.insert(0, str(TESTS))

from harness.tally import KEY, lines  # noqa: E402

PARTS = {  # files of tests, and what their counts are called
    "kills": "1 kills",
    "mutated_logs": "2 mutated logs",
    "harmed_files": "3 harmed files",
    "wrong_settings": "4 wrong settings",
    "two_at_once": "5 two at once",
}
HEAD = ("tried on", "tried", "right", "wrong", "how it ended right")
PACKAGES = ("recbole", "torch", "numpy", "pandas", "polars")


class Collected:
    """The counts that tests report, and how many tests failed."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.failed = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called for the setup, the call and the end of each test."""
        self.failed += report.failed
        if report.when == "call":
            self.rows += [row for key, row in report.user_properties if key == KEY]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--workers", type=int, default=1, help="processes of one thread each, by pytest-xdist"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "robustness.md")
    options = parser.parse_args(argv)
    for name in THREADS:
        os.environ[name] = "1"
    where = conditions(1, PACKAGES)  # before the page changes
    parts = options.parts or list(PARTS)
    collected = Collected()
    with tempfile.TemporaryDirectory() as place:
        files = [str(TESTS / f"test_{part}.py") for part in parts]
        words = ["-m", "robustness", "-q", "-p", "no:cacheprovider", f"--basetemp={place}/tests"]
        if options.workers > 1:
            words += ["-n", str(options.workers)]
        pytest.main([*files, *words], plugins=[collected])
    if not options.out.is_file():
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("# Robustness\n", encoding="utf-8")
    command = " ".join(["python benchmarks/robustness.py", *options.parts])
    beside = f", {options.workers} processes" if options.workers > 1 else ""
    said = f"`python -m pytest tests/robustness -m robustness`, by `{command}`{beside}; {where}"
    for part in parts:
        rows = [row[1:] for row in lines(collected.rows) if row[0] == PARTS[part]]
        write_section(options.out, PARTS[part], f"{said}\n\n{table(HEAD, rows)}")
    return 1 if collected.failed else 0


if __name__ == "__main__":
    sys.exit(main())
