"""A number that is not finite is a missing one, of items and of events, alone and within a sequence, and is told."""

import numpy as np
import pytest
import torch


def log():
    weights = ("inf", "1", "-inf", "3", "nan")
    return [
        {"session_id": f"s{s}", "item_id": f"i{n}", "timestamp": 10 * s + n, "weight": weights[n]}
        for s in range(10)
        for n in range(5)
    ]


ITEMS = [
    {"item_id": "i0", "price": "1", "scores": "1 nan 3"},
    {"item_id": "i1", "price": "-inf", "scores": "inf"},
    {"item_id": "i2", "price": "5", "scores": ""},
    {"item_id": "i3", "price": "inf", "scores": "4 5"},
    {"item_id": "i4", "price": "nan", "scores": "-inf 2 Infinity"},
]
NOTES = [
    "weight: 20 values are not finite in .inter, taken for missing",
    "price: 2 values are not finite in .item, taken for missing",
    "scores: 4 values are not finite in .item, taken for missing",
]


@pytest.mark.parametrize("layout", ["pointers", "recbole"])
def test_what_is_not_finite_is_missing_and_told(write_log, make_config, layout):
    from recbole.data import create_dataset

    write_log(log(), items=ITEMS, types={"weight": "float"})
    dataset = create_dataset(make_config(data_layout=layout))
    train = dataset.build()[0]
    assert train.notes[:3] == NOTES
    prices, scores = train.item_feat["price"], train.item_feat["scores"]
    assert prices.tolist() == [3, 1, 3, 5, 3, 3]  # row 0: padding
    assert scores.tolist() == [[0, 0, 0], [1, 0, 3], [0, 0, 0], [0, 0, 0], [4, 5, 0], [0, 2, 0]]
    known = [
        [False] * 3,
        [True, False, True],
        [False] * 3,
        [False] * 3,
        [True, True, False],
        [False, True, False],
    ]
    assert dataset.missing_features["scores"].logical_not().tolist() == known
    assert torch.isfinite(train[np.arange(len(train))]["weight"]).all()


def test_finite_numbers_are_not_spoken_of(write_log, make_config, random_log):
    from recbole.data import create_dataset

    items = [{"item_id": f"i{n}", "price": "" if n else 1, "scores": "1 2"} for n in range(30)]
    write_log(random_log(), items=items)
    dataset = create_dataset(make_config())
    dataset.build()
    assert dataset.notes == []
