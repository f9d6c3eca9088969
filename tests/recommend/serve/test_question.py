"""Bodies of any kind: a question, or one sentence."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ext.errors import UsageError
from recbole_ext.recommend import Question
from recbole_ext.recommend.serve.question import Asked, question_of
from recbole_ext.settings.limits import Limits

LIMITS = Limits(sessions=4, events=20, k=40)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
ITEMS = st.lists(st.text(max_size=4) | st.integers(), max_size=4)
FIELDS = st.sampled_from([*Asked.model_fields, "items", "path"])


def sentence(body):
    """What is said of a body, or its question."""
    try:
        return question_of(body, LIMITS)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said and 10 < len(said) < 400 and ": " in said
    return said


@given(st.binary(max_size=60))
def test_bytes(body):
    sentence(body)


@settings(max_examples=40)
@given(st.dictionaries(FIELDS, VALUES, max_size=4), st.lists(ITEMS, max_size=5) | VALUES)
def test_fields_of_any_type(fields, sessions):
    asked = {"sessions": sessions, **fields}
    found = sentence(json.dumps(asked).encode())
    if isinstance(found, Question):
        assert len(found.sessions) == len(asked["sessions"]) <= 4 and found.k == asked.get("k", 20)


@given(st.lists(ITEMS, max_size=4), st.integers(1, 40), ITEMS, st.booleans())
def test_a_right_one_is_read_as_it_is(sessions, k, exclude, seen):
    asked = {"sessions": sessions, "k": k, "exclude": exclude, "exclude_seen": seen}
    assert sentence(json.dumps(asked).encode()) == Question(sessions, k, exclude=exclude, exclude_seen=seen)
