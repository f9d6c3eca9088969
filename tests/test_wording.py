"""One of a thing is not called by its plural, wherever a sentence counts."""

import re
from pathlib import Path

import pytest

from recbole_ext.wording import several

ROOT = Path(__file__).resolve().parents[1]
THINGS = "sessions|items|events|rows|users|targets|cells|columns|visitors"


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("model",), "0 models"),
        (1, ("model",), "1 model"),
        (1234, ("model",), "1,234 models"),
        (1, ("category", "categories"), "1 category"),
        (2, ("category", "categories"), "2 categories"),
    ],
)
def test_a_number_of_things(number, words, said):
    assert several(number, *words) == said


def test_a_summary_of_one_of_each():
    from recbole_ext.convert.__main__ import summary

    counts = {"sessions": 1, "categories": 1, "items": 2, "events": {"view": 1}}
    said = summary(
        {
            "rows": {"a.csv": {"read": 1, "kept": 1, "dropped": {}}},
            "notes": {},
            "counts": counts,
            "outputs": [{"name": "a.inter"}],
        },
        "out",
    )
    assert said == (
        "a.csv: 1 row read, 1 kept\n1 session, 1 category, 2 items, 1 event (1 view)\nwritten to out: a.inter"
    )


@pytest.mark.parametrize("room", ["convert", "data"])
def test_rooms_that_count_rows_use_it(room):
    """A number with commas in front of a plural may be 1."""
    counted = re.compile(r"\{[^{}]+:,\} (?:[a-z-]+ )?(?:" + THINGS + r")\b")
    found = [
        f"{file.relative_to(ROOT)}: {match}"
        for file in sorted((ROOT / "recbole_ext" / room).rglob("*.py"))
        for match in counted.findall(file.read_text(encoding="utf-8"))
    ]
    assert [line for line in found if not line.startswith(LARGE)] == []


# what is refused for being so many
LARGE = (
    "recbole_ext/convert/sources/session_lists.py: {size:,} events",
    "recbole_ext/convert/sources/session_lists.py: {n_events:,} events",
    "recbole_ext/convert/synthetic/",
)
