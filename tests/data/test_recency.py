"""What targets weigh by the age of their session: worked out on paper, by time and by order, in each kind of batch."""

import json
import math
import pickle

import numpy as np
import pytest

from recbole_ext.data.recency import WEIGHT, target_weights


def test_the_weights_on_paper():
    # ages 1, 3/4, 0 of the sessions that teach; 2, 1 and 3 targets
    time, targets = np.array([100.0, 150.0, 200.0, 500.0, 900.0]), np.array([2, 0, 1, 3, 0])
    plain = np.array([math.exp(-2), 0, math.exp(-1.5), 1, 0])
    scale = 6 / (2 * math.exp(-2) + math.exp(-1.5) + 3)
    assert target_weights(time, targets, 0.5) == pytest.approx(plain * scale, rel=1e-6)


def test_without_times_age_goes_by_order():
    time, targets = np.array([0.0, 90.0, 91.0]), np.array([1, 1, 1])
    plain = np.array([math.exp(-1), math.exp(-0.5), 1])
    assert target_weights(time, targets, 1.0, timed=False) == pytest.approx(plain * 3 / plain.sum(), rel=1e-6)


def test_sessions_of_one_time_weigh_alike_and_the_smallest_recency_leaves_the_newest():
    assert target_weights(np.array([5.0, 5.0]), np.array([1, 4]), 0.1).tolist() == [1, 1]
    newest = target_weights(np.array([0.0, 1.0, 2.0]), np.array([3, 1, 1]), 1e-6)
    assert newest.tolist() == [0, 0, 5]
    assert target_weights(np.array([1.0]), np.array([0]), 0.1).tolist() == [0]


LOG = [("s0", 3), ("s1", 1), ("s2", 5), ("s3", 2), ("s4", 2), ("s5", 2)]


def toy_rows():
    """Sessions that start at times 0, 100, 300, 400, …; the first four train, one of them teaches nothing."""
    starts = (0, 100, 300, 400, 500, 600)
    return [
        {
            "session_id": name,
            "user_id": f"u{number % 2}",
            "item_id": f"i{(number + k) % 7}",
            "timestamp": start + k,
            "split": "train" if number < 4 else "valid" if number == 4 else "test",
        }
        for number, ((name, length), start) in enumerate(zip(LOG, starts))
        for k in range(length)
    ]


KINDS = {
    "rows": ("SASRec", {"train_targets": "prefixes"}),
    "positions": ("SASRec", {"train_targets": "all_positions", "MAX_ITEM_LIST_LENGTH": 2}),
    "chains": ("HRNNFeat", {"user_state": "init"}),
    "chains from an empty history": ("HRNNFeat", {"user_state": "init", "empty_history": True}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("manifest", [None, {"time_origin": None}], ids=["times", "list"])
def test_every_batch_says_what_its_targets_weigh(write_log, make_config, kind, manifest):
    """Over an epoch: the weights by hand of every target, their mean 1."""
    from recbole.data import create_dataset, data_preparation

    model, settings = KINDS[kind]
    write_log(toy_rows(), manifest=manifest)
    config = make_config(
        model, split={"given": None}, data_layout="pointers", item_features=[], train_batch_size=2, **settings
    )
    loader = data_preparation(config, create_dataset(config))[0]
    loader.weigh(0.5)
    first = int("empty" in kind)
    found = []
    for batch in loader:
        if kind == "rows":
            found += batch[WEIGHT].tolist()
        elif kind == "positions":
            found += batch.weight.unsqueeze(1).expand(-1, batch.steps)[batch.targets > 0].tolist()
        else:
            found += batch.weight[batch.targets > 0].tolist()
    taught = [(n, start) for n, start in ((2, 0), (0, 100), (4, 300), (1, 400)) if n + first]
    span = 400.0
    ages = [1 - start / span for _, start in taught]
    if manifest is not None:
        ages = [1 - place / (len(taught) - 1) for place in range(len(taught))]
    plain = [math.exp(-age / 0.5) for age, (n, _) in zip(ages, taught) for _ in range(n + first)]
    assert sorted(found) == pytest.approx(np.array(plain) / np.mean(plain), rel=1e-5)
    assert np.mean(found) == pytest.approx(1, rel=1e-6)


def test_lists_of_sessions_have_no_times_and_logs_have(tmp_path):
    from recbole_ext.convert import convert
    from recbole_ext.data.manifest import has_times

    raw = tmp_path / "lists"
    raw.mkdir()
    (raw / "all_train_seq.txt").write_bytes(pickle.dumps([[1, 2, 1], [2, 3]]))
    (raw / "test.txt").write_bytes(pickle.dumps(([[1]], [2])))
    convert("session-lists", raw, tmp_path / "toy")
    assert not has_times(str(tmp_path / "toy")), "what diginetica-sessions is made by"
    (tmp_path / "toy" / "manifest.json").write_text(json.dumps({"time_origin": 0.0}))
    assert has_times(str(tmp_path / "toy"))
    (tmp_path / "toy" / "manifest.json").unlink()
    assert has_times(str(tmp_path / "toy")), "a log that somebody else made has a time column"
