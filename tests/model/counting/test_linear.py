"""Sparse least squares over items: beside the dense closed form, and the two views of sessions on paper."""

from math import exp, sqrt

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_ext.model.counting.base import TrainingSessions
from recbole_ext.model.counting.linear import Normal, similarity, solve, transitions

SESSIONS = ([1, 2, 3], [2, 1, 2], [3, 1], [2])


def sessions_of(lists):
    length = [len(items) for items in lists]
    return TrainingSessions(
        session=np.arange(len(lists)),
        last_time=np.arange(len(lists), dtype=float),
        start=np.concatenate(([0], np.cumsum(length))),
        item=np.concatenate(lists),
    )


def random_sessions(seed, items=9, count=40):
    draw = np.random.default_rng(seed)
    return sessions_of([draw.integers(1, items, draw.integers(1, 8)) for _ in range(count)])


def dense_rows(sessions, weight, n_items, alpha, decay):
    """(R, n_items) x, (R, n_items) y and (R,) weights of all rows of both views, one at a time."""
    inputs, targets, weights = [], [], []
    for place, share in enumerate(weight):
        items = sessions.item[sessions.start[place] : sessions.start[place + 1]]
        held = np.isin(np.arange(n_items), items).astype(float)
        inputs.append(held / np.sqrt(held.sum()))
        targets.append(held)
        weights.append(alpha * share)
        for at in range(len(items) - 1):
            later = np.zeros(n_items)
            for step, item in enumerate(items[at + 1 :]):
                later[item] += exp(-step / decay)
            inputs.append(np.eye(n_items)[items[at]])
            targets.append(later)
            weights.append((1 - alpha) * share)
    return np.array(inputs), np.array(targets), np.array(weights)


def test_both_views_on_paper():
    sessions = sessions_of(SESSIONS)
    weight = np.array([1.0, 0.5, 2.0, 1.0])
    sets = similarity(sessions, weight, 4)
    gram = sets.gram.toarray()
    # 1 and 2 meet in a set of three (weight 1) and in one of two (weight 1/2, the repeated 2 counts once)
    assert gram[1, 2] == pytest.approx(1 / 3 + 0.5 / 2)
    assert gram[2, 2] == pytest.approx(1 / 3 + 0.5 / 2 + 1)
    assert sets.cross.toarray()[1, 3] == pytest.approx(1 / sqrt(3) + 2 / sqrt(2))
    follows = transitions(sessions, weight, 4, decay=2)
    assert follows.gram.toarray().diagonal() == pytest.approx([0, 1 + 0.5, 1 + 0.5, 2])
    expected = np.zeros((4, 4))
    expected[1, 2] = 1 + 0.5
    expected[1, 3] = exp(-1 / 2)
    expected[2, 3], expected[2, 1], expected[2, 2] = 1, 0.5, 0.5 * exp(-1 / 2)
    expected[3, 1] = 2
    assert follows.cross.toarray() == pytest.approx(expected)


@pytest.mark.parametrize(
    "alpha, decay, ridge", [(0.8, 1.0, 3.0), (0.0, 0.5, 0.1), (1.0, 2.0, 0.01), (0.3, 40.0, 1.0)]
)
def test_with_all_items_as_candidates_it_is_the_dense_closed_form(alpha, decay, ridge):
    sessions = random_sessions(seed=1, count=120)
    weight = np.random.default_rng(2).uniform(0.1, 1, len(sessions.session))
    x, y, w = dense_rows(sessions, weight, 9, alpha, decay)
    expected = np.linalg.solve(x.T @ (w[:, None] * x) + ridge * np.eye(9), x.T @ (w[:, None] * y))
    sets, follows = similarity(sessions, weight, 9), transitions(sessions, weight, 9, decay)
    normal = sets.mixed(follows, alpha)
    assert (normal.cross.toarray()[1:, 1:] > 0).all()  # any two items have met: all are candidates
    found = solve(normal, ridge, most=9).toarray()
    # decays below LEAST are left out
    assert found == pytest.approx(expected, abs=1e-3 if decay < 1 else 1e-6)


def test_fewer_candidates_are_solved_exactly_over_themselves():
    """A column's weights are the minimum over its strongest candidates, as a least squares solver finds it."""
    sessions = random_sessions(seed=3, items=15, count=60)
    weight = np.ones(len(sessions.session))
    x, y, w = dense_rows(sessions, weight, 15, 0.6, 2.0)
    normal = similarity(sessions, weight, 15).mixed(transitions(sessions, weight, 15, 2.0), 0.6)
    found = solve(normal, 0.5, most=4).toarray()
    cross = x.T @ (w[:, None] * y)
    root = np.sqrt(w)[:, None]
    for column in range(1, 15):
        chosen = np.sort(np.argsort(-cross[:, column], kind="stable")[:4])
        rows = np.vstack((root * x[:, chosen], np.sqrt(0.5) * np.eye(4)))
        wanted = np.concatenate((root[:, 0] * y[:, column], np.zeros(4)))
        assert np.flatnonzero(found[:, column]).tolist() == chosen.tolist()
        assert found[chosen, column] == pytest.approx(np.linalg.lstsq(rows, wanted, rcond=None)[0], abs=1e-6)


def test_of_equal_candidates_the_smaller_is_kept():
    cross = sp.csr_matrix(np.array([[0.0, 0, 0], [0, 2, 0], [0, 2, 0]]))
    found = solve(Normal(sp.identity(3, format="csr"), cross), 1.0, most=1)
    assert found.toarray().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
