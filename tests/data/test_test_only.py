"""An item that only the test part has: nothing that training draws or computes knows it, whatever loads the data."""

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError

UNKNOWN = "only-test"
BY_TIME = {"session_time": [0.8, 0.1, 0.1]}


def log_with_unknown(sessions=30):
    """Sessions of five of eight items; the last event of every one of the last sessions is an item of the test part.

    Under LS, too, that item is a test target alone.
    """
    random = np.random.default_rng(3)
    rows = []
    for session in range(sessions):
        items = [f"i{n}" for n in random.choice(8, 4, replace=False)]
        last = UNKNOWN if session >= sessions - 3 else f"i{random.integers(8)}"
        for step, item in enumerate([*items, last]):
            rows.append(
                {
                    **{"session_id": f"s{session}", "item_id": item, "timestamp": 100 * session + step},
                    "weight": 1000.0 if item == UNKNOWN else "" if step == 1 else float(step),
                }
            )
    return rows


def items_of(prices):
    return [
        {"item_id": item, "price": price, "scores": f"{price or 0} {2 * (price or 0)}"}
        for item, price in prices.items()
    ]


PRICES = {**{f"i{n}": float(n) for n in range(7)}, "i7": "", UNKNOWN: 1000.0}
TYPES = {"weight": "float"}


def loaders(config):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    init_seed(1, True)
    dataset = create_dataset(config)
    return dataset, *data_preparation(config, dataset)


def ids_in(batch):
    """Every number of an item in a training batch, drawn ones and masked sequences' targets among them."""
    if not hasattr(batch, "interaction"):
        return torch.cat((batch.items.flatten(), batch.targets.flatten()))
    columns = [value for name, value in batch.interaction.items() if "item_id" in name.lower()]
    return torch.cat([column.flatten() for column in columns])


def negatives(distribution, **more):
    return {
        "train_neg_sample_args": {
            **{"distribution": distribution, "sample_num": 9, "alpha": 1.0},
            **{"dynamic": False, "candidate_num": 0, **more},
        }
    }


CASES = {
    "sessions, prefixes": ("GRU4Rec", {"split": BY_TIME, "loss_type": "BPR"}),
    "sessions, LS": ("GRU4Rec", {"loss_type": "BPR"}),
    "positions": ("SASRec", {"split": BY_TIME, "train_targets": "all_positions"}),
    "RecBole's sequences": ("GRU4Rec", {"data_layout": "recbole", "loss_type": "BPR"}),
    "RecBole's users": ("BPR", {"data_layout": "recbole", "repeatable": False}),
    "RecBole's users, repeatable": ("BPR", {"data_layout": "recbole", "repeatable": True}),
    "histories of negatives": ("DIEN", {"data_layout": "recbole"}),
    "masked sequences": ("BERT4Rec", {"data_layout": "recbole"}),
    "masked sequences of sessions": ("BERT4Rec", {"split": BY_TIME}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
def test_no_training_batch_holds_it(write_log, make_config, case, distribution):
    model, settings = CASES[case]
    write_log(log_with_unknown(), types=TYPES)
    given = negatives(distribution) if settings.get("loss_type") == "BPR" or model == "BPR" else {}
    dataset, train, _, _ = loaders(make_config(model, **settings, **given))
    unknown = dataset.field2token_id["item_id"][UNKNOWN]
    seen = torch.cat([ids_in(batch) for _ in range(10) for batch in train])
    assert unknown not in seen.unique().tolist()
    assert len(seen.unique()) >= 8  # all others are drawn


def test_candidates_by_popularity_are_counted_in_training(write_log, make_config):
    write_log(log_with_unknown(), types=TYPES)
    config = make_config(split=BY_TIME, mode="pop20", loss_type="BPR", **negatives("popularity"))
    dataset, train, _, test = loaders(config)
    unknown = dataset.field2token_id["item_id"][UNKNOWN]
    events = train._dataset.events["item_id"].numpy()[train._dataset._training_events()]
    drawn = np.bincount(test._sampler.sampling(40_000), minlength=dataset.item_num) / 40_000
    assert drawn[unknown] == 0
    share = np.bincount(events, minlength=dataset.item_num) / len(events)
    assert np.abs(drawn - share).max() < 0.01


def test_uniform_candidates_are_all_items(write_log, make_config):
    write_log(log_with_unknown(), types=TYPES)
    dataset, _, _, test = loaders(make_config(split=BY_TIME, mode="uni20"))
    assert len(np.unique(test._sampler.sampling(5000))) == dataset.item_num - 1


def test_where_all_items_train_the_same_negatives_are_drawn_as_ever(write_log, make_config, random_log):
    write_log(random_log(sessions=200, items=9))
    _, train, _, _ = loaders(make_config(split=BY_TIME, loss_type="BPR", **negatives("uniform")))
    np.random.seed(5)
    ours = train._sampler.sampling(1000)
    np.random.seed(5)
    assert ours.tolist() == np.random.randint(1, 10, 1000).tolist()


def test_drawing_ends_where_nothing_is_left(write_log, make_config):
    """One session has met every item that another could be given."""
    rows = [
        {"session_id": f"s{s}", "item_id": f"i{n}", "timestamp": 10 * s + n}
        for s in range(6)
        for n in range(3)
    ]
    rows += [
        {"session_id": "s5", "item_id": "i8", "timestamp": 59},
        {"session_id": "s4", "item_id": "i9", "timestamp": 48},
    ]
    write_log(rows)
    config = make_config("BPR", data_layout="recbole", repeatable=False, **negatives("popularity"))
    with pytest.raises(UsageError, match="for session_id s4, which has all of the 2 items that may be"):
        loaders(config)


def test_a_single_trained_item_has_no_negative(write_log, make_config):
    rows = [
        {"session_id": f"s{s}", "item_id": "a", "timestamp": 10 * s + n} for s in range(9) for n in range(3)
    ]
    rows[-1]["item_id"] = "b"
    write_log(rows)
    with pytest.raises(UsageError, match="negatives cannot be drawn, as there is no item beside the target"):
        loaders(make_config(split=BY_TIME, loss_type="BPR", **negatives("uniform")))


# --- numbers ----------------------------------------------------------------------------------------------

NUMBERS = {
    "sessions": {"split": BY_TIME},
    "sessions, LS": {},
    "RecBole's sequences": {"data_layout": "recbole"},
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_are_filled_and_normalised_by_trained_items(write_log, make_config, case):
    """Prices 0 … 6 train, i7's is missing: 3, the range 0 to 6; 1000 is the test item's."""
    settings = NUMBERS[case]
    write_log(log_with_unknown(), items=items_of(PRICES), types=TYPES)
    price = {}
    for normalised in ([], ["price", "scores"]):
        dataset, train, _, _ = loaders(make_config(normalize_field=normalised or None, **settings))
        ids = dataset.field2token_id["item_id"]
        column = train._dataset.item_feat["price"]
        price[bool(normalised)] = {item: float(column[ids[item]]) for item in PRICES}
        scores = train._dataset.item_feat["scores"]
    assert price[False] == {**PRICES, "i7": 3.0}
    expected = {**{f"i{n}": n / 6 for n in range(7)}, "i7": 0.5, UNKNOWN: 1000 / 6}
    assert price[True] == pytest.approx(expected)
    assert scores[ids["i6"]].tolist() == [0.5, 1.0]  # 6 and 12 of 0 to 12
    assert scores[0].tolist() == [0, 0]


@pytest.mark.parametrize("case", NUMBERS)
def test_buckets_are_cut_in_the_range_of_trained_items(write_log, make_config, case):
    write_log(log_with_unknown(), items=items_of(PRICES), types=TYPES)
    cut = {"price": {"method": "ED", "bucket": 3}}
    config = make_config(numerical_features=["price"], discretization=cut, **NUMBERS[case])
    dataset, train, _, _ = loaders(config)
    ids = dataset.field2token_id["item_id"]
    column = train._dataset.item_feat["price"]
    found = {item: column[ids[item]].tolist() for item in PRICES}
    buckets = {"i0": 1, "i1": 1, "i2": 1, "i3": 2, "i4": 2, "i5": 3, "i6": 3, "i7": 2, UNKNOWN: 3}
    assert found == {item: [1.0, float(bucket)] for item, bucket in buckets.items()}
    assert train._dataset.num("price") == 4


def test_logarithmic_buckets_are_those_of_trained_items(write_log, make_config):
    write_log(log_with_unknown(), items=items_of(PRICES), types=TYPES)
    cut = {"price": {"method": "LD"}}
    config = make_config(numerical_features=["price"], discretization=cut, split=BY_TIME)
    dataset, train, _, _ = loaders(config)
    ids = dataset.field2token_id["item_id"]
    column = train._dataset.item_feat["price"][:, 1]
    # 0, 1, 2, then floor(ln(x)² + 1): 2 of 3 and 4 (missing: 3), 3 of 5, 4 of 6; of 1000 more, the last one's
    found = {item: int(column[ids[item]]) for item in PRICES}
    assert found == {"i0": 0, "i1": 1, "i2": 2, "i3": 2, "i4": 2, "i5": 3, "i6": 4, "i7": 2, UNKNOWN: 4}
    assert train._dataset.num("price") == 5


@pytest.mark.parametrize("case", ["sessions", "sessions, LS"])
def test_numbers_of_events_are_filled_by_training_events(write_log, make_config, case):
    """Weights are the places 0, 2, 3 (4 trains where whole sessions do), the test item's 1000."""
    write_log(log_with_unknown(), types=TYPES)
    _, train, _, test = loaders(make_config(**NUMBERS[case]))
    data = train._dataset
    trained = np.zeros(len(data.events), dtype=bool)
    trained[data._training_events()] = True
    weight = data.events["weight"].numpy()
    place = np.arange(len(weight)) % 5
    known = weight[trained & (place != 1)]
    assert 1000 not in known and (weight[place == 1] == np.float32(known.astype(float).mean())).all()
    row = test._dataset[np.arange(len(test._dataset))]
    assert 1000 in row["weight"] or 1000 in row["weight_list"]
    filled = row["weight_list"][:, 1][row["item_length"] > 1]
    assert (filled == weight[1]).all() and len(filled)


def test_a_test_only_token_adds_nothing_to_a_trained_item(write_log, make_config):
    """A tag that only the test item has is missing in the features that our models read."""
    from recbole_ext.model.item_features import FeatureEncoder

    items = [
        {"item_id": item, "tags": f"t{n % 3} odd" if item == UNKNOWN else f"t{n % 3}"}
        for n, item in enumerate(PRICES)
    ]
    write_log(log_with_unknown(), items=items, types=TYPES)
    dataset, train, _, _ = loaders(make_config(split=BY_TIME))
    encoder = FeatureEncoder(train._dataset, ["tags"], 2, train._dataset.train_items)
    odd = dataset.field2token_id["tags"]["odd"]
    assert odd not in encoder.tokens["tags"].table_0.flatten().tolist()
