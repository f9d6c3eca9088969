"""Whether the item features of a data set know more than the first test session could: one line for the result.

Features that change (category, price, availability) are written to `.item` as of one moment, `features_as_of` in the
converter's manifest: unix seconds, or "latest".
"""

from __future__ import annotations

from datetime import UTC, datetime

from recbole_ext.data.manifest import manifest


def feature_time_note(folder: str, first_test: float, what: str) -> str | None:
    """What the manifest in `folder` and the test part say about item features; None where they have no date.

    `first_test` is the `timestamp` of the first test session or event, `what` is which of the two.
    """
    known = manifest(folder)
    as_of, origin = known.get("features_as_of"), known.get("time_origin")
    if as_of is None:
        return None
    if as_of == "latest":
        return "item features are the latest of the whole log: they know the future"
    note = f"item features as of {_day(as_of)}"
    if origin is None or first_test + origin >= as_of:
        return note
    return f"{note}, after the first test {what} of {_day(first_test + origin)}: they know the future"


def _day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).date().isoformat()
