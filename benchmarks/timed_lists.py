"""Atomic files with days from the session lists of Retail Rocket, of which the test sessions alone have times.

    python benchmarks/timed_lists.py ../shared/data/retailrocket/sessions --out atomic_data/retailrocket-days

Clicks of `all_test_seq_time.txt` keep their times. Those of `all_train_seq.txt` have an order and no times: these
sessions are spread evenly over the days from the log's known first one to the first test session, a second from click
to click.
The last day, which the log breaks off at night, is left out. For replays of whole days (benchmarks/update.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

from recbole_ext.convert.atomic import write_dataset  # noqa: E402
from recbole_ext.convert.plain_pickle import load  # noqa: E402

FIRST = datetime(2015, 5, 3, tzinfo=UTC).timestamp()
DAY = 86_400


def events_of(train: Sequence[Sequence[int]], test: Sequence[Sequence[tuple[int, int]]]) -> pl.DataFrame:
    """Events of all sessions that start before the last day, times in seconds since FIRST."""
    starts = np.array([session[0][1] for session in test])
    test = [test[place] for place in np.argsort(starts, kind="stable")]
    end = int(starts.max()) // DAY * DAY
    test = [session for session in test if session[0][1] < end]
    begins = np.linspace(0, starts.min() - FIRST, len(train), endpoint=False).astype(np.int64)
    rows = [
        (f"a{number}", str(item), begin + place)
        for number, (session, begin) in enumerate(zip(train, begins.tolist()))
        for place, item in enumerate(session)
    ]
    rows += [
        (f"b{number}", str(item), int(time - FIRST))
        for number, session in enumerate(test)
        for item, time in session
    ]
    return pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp"], orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("lists", type=Path, help="folder of all_train_seq.txt and all_test_seq_time.txt")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    events = events_of(
        load(options.lists / "all_train_seq.txt"), load(options.lists / "all_test_seq_time.txt")
    )
    notes = {"session without times, spread evenly": events["session_id"].str.starts_with("a").sum()}
    manifest = {"converter": "atomic", "time_origin": FIRST, "options": {}, "notes": notes}
    write_dataset(options.out, events, None, manifest)
    print(f"{options.out}: {events['session_id'].n_unique():,} sessions, {events.height:,} events")


if __name__ == "__main__":
    main()
