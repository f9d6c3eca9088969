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


# Five events in one order of the file, another in time; the training part of LS holds those at 1, 2 and 3.
WEIGHTS = {5: "100", 1: "1", 2: "3", 3: "", 4: "7"}
EVENTS = [
    {
        "session_id": "s",
        "item_id": f"i{time}",
        "timestamp": time,
        "weight": weight,
        "pair": f"{time} {9 - time}",
    }
    for time, weight in WEIGHTS.items()
]
# 1 and 3 are the known ones that train: their mean is 2, their range 1 to 3
NORMALISED = [0, 1, 0.5, 3, 49.5]


@pytest.mark.parametrize("model", ["GRU4Rec", "BPR", "DIN"])
def test_numbers_of_events_are_counted_by_what_trains_in_recboles_own_layout(write_log, make_config, model):
    from recbole.data import create_dataset

    write_log(EVENTS, types={"weight": "float", "pair": "float_seq"})
    parts = parts_of(
        create_dataset(make_config(model, data_layout="recbole", normalize_field=["weight", "pair"]))
    )
    first, rest = (0, NORMALISED) if model == "BPR" else (1, NORMALISED[1:])
    found = [part["weight"].tolist() for part in parts]
    assert found == [rest[: 3 - first], rest[3 - first : 4 - first], rest[4 - first :]]
    # times 1 to 3 and 8 to 6 train: their range is 1 to 8
    pairs = [[[(time - 1) / 7, (8 - time) / 7] for time in times] for times in ([1, 2, 3], [4], [5])]
    assert parts[0]["pair"].numpy() == pytest.approx(np.array(pairs[0][first:]))
    assert parts[2]["pair"].numpy() == pytest.approx(np.array(pairs[2]))
    if model != "BPR":
        assert parts[2]["weight_list"][0, :5].tolist() == [*NORMALISED[:4], 0]
        assert parts[2]["weight_list"].dtype == parts[2]["weight"].dtype == torch.float32
        assert parts[0]["pair_list"][0, :2].numpy() == pytest.approx(np.array([pairs[0][0], [0, 0]]))


@pytest.mark.parametrize("model", ["GRU4Rec", "BPR"])
def test_buckets_of_events_are_those_of_what_trains_in_recboles_own_layout(write_log, make_config, model):
    from recbole.data import create_dataset

    write_log(EVENTS, types={"weight": "float", "pair": "float_seq"})
    cut = {"numerical_features": ["weight"], "discretization": {"weight": {"method": "ED", "bucket": 2}}}
    dataset = create_dataset(make_config(model, data_layout="recbole", **cut))
    parts = parts_of(dataset)
    # (value, bucket) of a range cut at 2, which ends a hair above 3: what lies above is in its last
    bucket = [[1, 1], [1, 2], [1, 1], [1, 2], [1, 2]]
    assert parts[0]["weight"].tolist() == bucket[0 if model == "BPR" else 1 : 3]
    assert parts[2]["weight"].tolist() == [bucket[4]] and dataset.field2bucketnum["weight"] == 3
    if model != "BPR":
        assert parts[2]["weight_list"][0, :5].tolist() == [*bucket[:4], [0, 0]]


def parts_of(dataset):
    return [part.inter_feat for part in dataset.build()]
