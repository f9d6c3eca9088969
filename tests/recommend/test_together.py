"""Several questions by one call of the model: each answered as it is alone."""

import numpy as np
import pytest

from recbole_ext.errors import UsageError
from recbole_ext.recommend import Question, Session

ITEMS = 40


def drawn(random, visitors):
    """A question of any kind."""

    def some(low, high):
        return [f"i{n}" for n in random.integers(0, ITEMS + 3, random.integers(low, high))]

    count = int(random.integers(1, 4))
    timed, kinds = random.random() < 0.3, random.random() < 0.3
    sessions = []
    for number in range(count):
        items = some(0, 6)
        times = sorted(random.integers(1, 10**6, len(items)).tolist()) if timed else None
        events = random.choice(["view", "purchase", "odd"], len(items)).tolist() if kinds else None
        sessions.append(Session(items, id=f"s{number}", times=times, events=events))
    options = {
        "k": int(random.integers(1, 50)),
        "exclude_seen": random.random() < 0.4,
        "why": random.random() < 0.4,
        "fill": random.random() < 0.3,
        "empty": str(random.choice(["start", "popular"])),
    }
    kind = random.integers(5)
    if kind == 0:
        options["exclude"] = some(0, 9)
    elif kind == 1:
        options["exclude"] = {"s0": some(0, 9)}
    elif kind == 2:
        options["candidates"] = some(0, 30)
    elif kind == 3:
        options["candidates"] = [some(0, 30) for _ in range(count)]
    if random.random() < 0.4:
        options["where"] = str(random.choice(["available == 1", "price < 9", "category in ['c1']"]))
    if visitors and random.random() < 0.5:
        options["history"] = [[some(1, 5) for _ in range(random.integers(3))] for _ in range(count)]
    return Question(sessions, **options)


def same(together, alone):
    assert together.labels.tolist() == alone.labels.tolist()
    assert together.names[together.items].tolist() == alone.names[alone.items].tolist()
    assert np.allclose(together.scores, alone.scores, rtol=1e-4, atol=1e-6, equal_nan=True)
    assert together.evidence.keys() == alone.evidence.keys()
    for name, values in alone.evidence.items():
        assert np.allclose(together.evidence[name], values, rtol=1e-4, atol=1e-6), name
    assert together.report == alone.report


@pytest.mark.parametrize("which", ["asked_hrnn", "asked_vstan"])
def test_each_is_answered_as_alone(which, request):
    recommender = request.getfixturevalue(which)
    random = np.random.default_rng(8)
    for _ in range(6):
        questions = [drawn(random, recommender.reads_history) for _ in range(12)]
        for question, answer in zip(questions, recommender.together(questions)):
            same(answer, recommender.lists(**vars(question)))


def test_like_questions_share_a_call(asked_hrnn, monkeypatch):
    calls = []
    scores = type(asked_hrnn._state.ranking.scorer).scores
    monkeypatch.setattr(
        type(asked_hrnn._state.ranking.scorer),
        "scores",
        lambda self, live: calls.append(len(live)) or scores(self, live),
    )
    asked_hrnn.together(
        [
            Question([["i1"]], k=3),
            Question([["i2"], []], k=5, exclude_seen=True),
            Question([["i3"]], where="price < 9"),
            Question([["i4"]], history=[[["i5"]]]),
            Question([["i5"]], why=True),
        ]
    )
    assert calls == [5, 1]


def test_a_wrong_one_does_not_harm_the_others(asked_hrnn):
    first, second, third = asked_hrnn.together(
        [Question([["i1"]], k=0), Question([["i2"]], k=3), Question([["i3"]], where="weight < 9")]
    )
    assert isinstance(first, UsageError) and "k is 0" in str(first)
    assert isinstance(third, UsageError) and "weight" in str(third)
    same(second, asked_hrnn.lists([["i2"]], 3))
    assert asked_hrnn.together([]) == []
