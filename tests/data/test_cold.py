"""`cold_items`: which items are drawn, what leaves training, and that nothing of it comes back by another way."""

import numpy as np
import pytest
import torch

from recbole_ext.data.cold import drawn, settings_of
from recbole_ext.errors import UsageError
from recbole_ext.settings.protocol_values import ColdItems

GIVEN = {"given": {"valid_share": 0.1}}


def parts_of(config):
    from recbole.data import create_dataset

    return create_dataset(config).build()


def log(*sessions):
    """Rows of (session, split, items as a word); one event a second, sessions one after the other."""
    rows, time = [], 0.0
    for session, split, items in sessions:
        for item in items:
            rows.append({"session_id": session, "item_id": item, "timestamp": time, "split": split})
            time += 1
    return rows


def held_out_tokens(part):
    return {part.id2token("item_id", int(i)) for i in torch.nonzero(part.held_out_items)}


def trained_sessions(part):
    """Items of the training events of every session that trains, as words."""
    found = {}
    items = part.events["item_id"].numpy()
    for start, length in zip(part.session_start, part.train_length):
        if length:
            session = part.id2token("session_id", int(part.events["session_id"][start]))
            found[session] = "".join(part.id2token("item_id", i) for i in items[start : start + length])
    return found


def seed_that_holds_out(tokens, wanted, share):
    for seed in range(1000):
        if set(np.array(tokens)[drawn(np.array(tokens), ColdItems(holdout=share, seed=seed))]) == set(wanted):
            return seed
    raise AssertionError("no seed")


# --- the draw -------------------------------------------------------------------------------------------------


def test_shares_are_exact_and_folds_of_a_seed_share_no_item():
    tokens = np.array([f"i{n}" for n in range(103)])
    folds = [set(tokens[drawn(tokens, ColdItems(holdout=0.2, seed=4, fold=fold))]) for fold in range(5)]
    assert [len(fold) for fold in folds] == [20] * 5
    assert len(set.union(*folds)) == 100
    assert set(tokens[drawn(tokens, ColdItems(holdout=0.2, seed=5))]) != folds[0]
    assert drawn(np.array(["a", "b"]), ColdItems(holdout=0.1)).sum() == 1


def test_the_draw_does_not_depend_on_the_order_or_much_on_the_others():
    tokens = np.array([f"i{n}" for n in range(60)])
    mixed = np.random.default_rng(0).permutation(tokens)
    chosen = set(tokens[drawn(tokens, ColdItems(holdout=0.25, seed=3))])
    assert set(mixed[drawn(mixed, ColdItems(holdout=0.25, seed=3))]) == chosen
    more = np.append(tokens, "another")
    assert len(chosen ^ set(more[drawn(more, ColdItems(holdout=0.25, seed=3))])) <= 2


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (0.2, "cold_items"),
        ({"seed": 1}, "cold_items"),
        ({"holdout": 0.2, "share": 1}, "cold_items"),
        ({"holdout": 0}, "holdout"),
        ({"holdout": 1.0}, "holdout"),
        ({"holdout": True}, "holdout"),
        ({"holdout": "half"}, "holdout"),
        ({"holdout": 0.2, "seed": -1}, "seed"),
        ({"holdout": 0.2, "seed": 1.5}, "seed"),
        ({"holdout": 0.2, "fold": 5}, "fold"),
    ],
)
def test_wrong_values_are_answered_in_a_sentence(value, named):
    with pytest.raises(UsageError, match=named) as error:
        settings_of({"cold_items": value})
    assert "\n" not in str(error.value)


def test_an_unknown_inner_key_is_answered_with_the_nearest(make_config, write_log, random_log):
    write_log(random_log())
    with pytest.raises(UsageError, match="did you mean seed"):
        make_config(split=GIVEN, cold_items={"holdout": 0.2, "sed": 1})


# --- what leaves training -------------------------------------------------------------------------------------


def test_the_neighbours_of_a_held_out_click_are_joined(write_log, make_config):
    rows = log(
        ("s1", "train", "abcd"), ("s2", "train", "bb"), ("s3", "train", "cb"),
        ("s4", "valid", "ab"), ("s5", "test", "bcda"),
    )  # fmt: skip
    write_log(rows)
    seed = seed_that_holds_out(list("abcd"), "b", 0.25)
    config = make_config(split=GIVEN, cold_items={"holdout": 0.25, "seed": seed})
    train, valid, test = parts_of(config)
    assert held_out_tokens(train) == {"b"}
    assert trained_sessions(train) == {"s1": "acd", "s3": "c"}
    batch = train[np.arange(len(train))]
    pairs = {
        ("".join(train.id2token("item_id", int(i)) for i in prefix if i), train.id2token("item_id", int(t)))
        for prefix, t in zip(batch["item_id_list"], batch["item_id"])
    }
    assert pairs == {("a", "c"), ("ac", "d")}  # s3 has one event left and gives no row
    assert not train.train_items[train.field2token_id["item_id"]["b"]]
    assert train.training_counts()[train.field2token_id["item_id"]["b"]] == 0

    batch = test[np.arange(len(test))]
    assert [test.id2token("item_id", int(i)) for i in batch["item_id"]] == ["c", "d", "a"]
    assert (
        test.id2token("item_id", int(batch["item_id_list"][0, 0])) == "b"
    )  # an input, known by its features
    assert valid.id2token("item_id", int(valid.inter_feat["item_id"][0])) == "b"  # a target
    assert "validation: 1 held-out and 0 natural cold targets of 1" in train.notes
    assert "test: 0 held-out and 0 natural cold targets of 3" in train.notes
    assert any("1 of 4 training items" in note and "4 training events" in note for note in train.notes)


@pytest.mark.parametrize(
    "split",
    [{"session_time": [0.7, 0.1, 0.2]}, {"session_random": {"shares": [0.7, 0.1, 0.2], "seed": 2}}],
)
@pytest.mark.parametrize("model", ["GRU4Rec", "HRNNFeat"])
def test_no_training_part_knows_a_held_out_item_and_held_out_sessions_stay_whole(
    write_log, make_config, random_log, split, model
):
    rows = random_log(sessions=120, ties=False)
    write_log(rows)
    plain = make_config(model, split=split)
    held = make_config(model, split=split, cold_items={"holdout": 0.2, "seed": 1})
    before, after = parts_of(plain), parts_of(held)
    tokens = held_out_tokens(after[0])
    assert len(tokens) == int(0.2 * int(before[0].train_items.sum()))
    trained = trained_sessions(after[0])
    items = {row["session_id"]: [] for row in rows}
    for row in rows:
        items[row["session_id"]].append(row["item_id"])
    for session, whole in trained_sessions(before[0]).items():
        expected = "".join(i for i in items[session] if i not in tokens)
        # late events of a training session belong to no part
        assert expected.startswith(trained.get(session, ""))
        assert trained.get(session, "") != whole or not tokens & set(items[session])
    for old, new in zip(before[1:], after[1:]):
        rows_of = []
        for part in (old, new):
            batch = part[np.arange(len(part))]
            name = np.append(np.asarray(part.field2id_token["item_id"][1:]), "")
            rows_of.append(
                [
                    (name[int(t) - 1], *name[p.numpy() - 1])
                    for t, p in zip(batch["item_id"], batch["item_id_list"])
                ]
            )
        assert rows_of[0] == rows_of[1]
    train = after[0]
    assert not (train.held_out_items & train.train_items).any()
    assert not train.held_out_items[torch.from_numpy(np.unique(train.inter_matrix().tocoo().col))].any()
    flat, start, length, _ = train.training_positions()
    for s, n in zip(start, length):
        if n > 0:
            assert not train.held_out_items[flat[s : s + n + 1]].any()


def test_held_out_targets_are_in_no_training_batch_of_the_user_chains(write_log, make_config, random_log):
    from recbole.data import create_dataset, data_preparation

    write_log(random_log(sessions=150))
    config = make_config(
        "HRNNFeat",
        split={"session_time": [0.7, 0.1, 0.2]},
        cold_items={"holdout": 0.3, "seed": 2},
        user_state="init",
    )
    train, _, _ = data_preparation(config, create_dataset(config))
    assert train.dataset.user_sequences.returning_users
    seen = 0
    for batch in train:
        assert not train.dataset.held_out_items[batch.items].any()
        seen += len(batch.items)
    assert seen > 100


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "user_inter_num_interval": "[2,inf)",
            "item_inter_num_interval": "[3,inf)",
            "inter_num_part": "train",
        },
        {"item_inter_num_interval": "[3,inf)", "inter_num_part": "all"},
    ],
)
def test_limits_look_at_what_is_left_and_spare_the_held_out_items(
    write_log, make_config, random_log, settings
):
    write_log(random_log(sessions=150, items=20))
    split = {"session_time": [0.7, 0.1, 0.2]}
    train, valid, test = parts_of(
        make_config(split=split, cold_items={"holdout": 0.2, "seed": 1}, **settings)
    )
    held_out = train.held_out_items
    assert held_out.any() and not (held_out & train.train_items).any()
    targets = torch.cat((valid.inter_feat["item_id"], test.inter_feat["item_id"]))
    assert held_out[targets].any()
    counts = train.training_counts()
    if settings.get("inter_num_part") == "train":
        assert counts[train.train_items].min() >= 3
        assert train.train_length[train.train_length > 0].min() >= 2


# --- no leak --------------------------------------------------------------------------------------------------


def scores_of(config):
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(1, True)
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, saved=False, show_progress=False)
    model.eval()
    with torch.no_grad():
        rows = test._dataset[np.arange(len(test._dataset))]
        scores = model.full_sort_predict(rows).view(len(rows), -1)
    order = np.argsort(np.asarray(test._dataset.field2id_token["item_id"][1:]))
    return scores[:, 1:][:, order], held_out_tokens(train._dataset)


@pytest.mark.parametrize("model", ["HRNNFeat", "SASRecFeat", "GRU4Rec", "SASRecF", "CategoryPop", "ItemKNN"])
def test_planted_training_events_of_held_out_items_change_no_score(write_log, make_config, random_log, model):
    """The same log but for more events of held-out items in training sessions: every score stays as it was."""
    rows = [row for row in random_log(sessions=90, ties=False) if row.pop("event")]
    items = [{"item_id": f"i{n}", "category": f"c{n % 4}", "price": 10.0 + n} for n in range(30)]
    sessions = list(dict.fromkeys(row["session_id"] for row in rows))
    part_of = {s: "train" if n < 70 else "valid" if n < 78 else "test" for n, s in enumerate(sessions)}
    for row in rows:
        row["split"] = part_of[row["session_id"]]
    config = {
        "split": {"given": {}},
        "cold_items": {"holdout": 0.2, "seed": 3},
        "selected_features": ["category"],
        "train_batch_size": 128,
        "epochs": 2,
    }  # fmt: skip
    write_log(rows, "toy", items)
    before, held_out = scores_of(make_config(model, "toy", **config))
    assert len(held_out) == 6
    planted, random = [], np.random.default_rng(0)
    for row in rows:
        planted.append(row)
        if row["split"] == "train" and random.random() < 0.5:
            planted.append(
                {**row, "item_id": random.choice(sorted(held_out)), "timestamp": row["timestamp"] + 0.5}
            )
    write_log(planted, "toy", items)
    after, again = scores_of(make_config(model, "toy", **config))
    assert again == held_out and len(planted) > len(rows) + 50
    torch.testing.assert_close(after, before, rtol=0, atol=0)


# --- rows in another order, what is refused ----------------------------------------------------------


def test_shuffled_rows_hold_out_the_same(write_log, make_config, random_log):
    rows = random_log(sessions=100, ties=False)
    config = {"split": {"session_time": [0.7, 0.1, 0.2]}, "cold_items": {"holdout": 0.2, "seed": 1}}
    write_log(rows, "toy")
    write_log([rows[n] for n in np.random.default_rng(3).permutation(len(rows))], "mixed")
    first, second = (parts_of(make_config(dataset=name, **config))[0] for name in ("toy", "mixed"))
    assert held_out_tokens(first) == held_out_tokens(second)
    assert trained_sessions(first) == trained_sessions(second)


@pytest.mark.parametrize(
    "split", [{"LS": "valid_and_test"}, {"RS": [0.8, 0.1, 0.1]}, {"TS": [0.8, 0.1, 0.1]}]
)
def test_splits_that_cut_inside_sessions_are_refused(write_log, make_config, random_log, split):
    write_log(random_log())
    with pytest.raises(UsageError, match="cold_items takes items out of training sessions"):
        parts_of(make_config(split=split, cold_items={"holdout": 0.2, "seed": 1}))


def test_recbole_s_own_data_sets_are_refused(write_log, make_config, random_log):
    write_log(random_log())
    with pytest.raises(UsageError, match="cold_items is for"):
        parts_of(make_config(data_layout="recbole", cold_items={"holdout": 0.2, "seed": 1}))
