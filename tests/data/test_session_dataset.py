"""The pointer layout against RecBole's padded copies, tensor by tensor, and against logs done on paper."""

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError

PARTS = ("train", "valid", "test")


def built(cls, config):
    from recbole.utils import init_seed

    init_seed(1, True)
    return cls(config).build()


def recbole_and_ours(make_config, **settings):
    from recbole.data.dataset import SequentialDataset

    from recbole_ext.data.session_dataset import SessionDataset

    return built(SequentialDataset, make_config(**settings)), built(SessionDataset, make_config(**settings))


def assert_same_batches(theirs, ours):
    assert len(theirs) == len(ours)
    index = np.arange(len(theirs))
    for chosen in (index, index[::-3].copy(), slice(None, None), torch.tensor(index[:4])):
        if not len(theirs) and not isinstance(chosen, slice):
            continue
        left, right = theirs[chosen], ours[chosen]
        assert set(right.interaction) - {"event_index"} == set(left.interaction)
        for field in left.interaction:
            assert left[field].dtype == right[field].dtype, field
            assert torch.equal(left[field], right[field]), field


SPLITS = [
    {"LS": "valid_and_test"},
    {"LS": "valid_only"},
    {"LS": "test_only"},
    {"RS": [0.6, 0.2, 0.2]},
    {"TS": [0.7, 0.1, 0.2]},
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: "-".join(map(str, next(iter(s.items())))))
@pytest.mark.parametrize("max_length", [3, 50])
def test_rows_equal_recboles(write_log, make_config, random_log, split, max_length):
    items = [
        {
            "item_id": f"i{n}",
            "category": f"c{n % 4}",
            "price": "" if n == 4 else n / 7,
            "tags": "a b" if n % 4 else "",
        }
        for n in range(0, 30, 2)
    ]
    write_log(random_log(), items=items)
    theirs, ours = recbole_and_ours(make_config, split=split, MAX_ITEM_LIST_LENGTH=max_length)
    assert sum(map(len, ours)) > 150
    for left, right in zip(theirs, ours):
        assert_same_batches(left, right)
        assert left.field2type == right.field2type and left.field2seqlen == right.field2seqlen
        assert "event_index" not in right.field2type
    assert (theirs[0].inter_matrix("csr") != ours[0].inter_matrix("csr")).nnz == 0


def test_rows_equal_recboles_over_all_sessions_at_once(write_log, make_config, random_log):
    write_log(random_log())
    split = {"RS": [0.6, 0.2, 0.2]}
    from recbole.data.dataset import SequentialDataset

    from recbole_ext.data.session_dataset import SessionDataset

    configs = [make_config(split=split) for _ in range(2)]
    for config in configs:
        config["eval_args"]["group_by"] = "none"
    for left, right in zip(built(SequentialDataset, configs[0]), built(SessionDataset, configs[1])):
        assert_same_batches(left, right)


def test_rows_equal_recboles_when_the_file_is_in_random_order(write_log, make_config, random_log):
    log = random_log(ties=False)
    write_log([log[i] for i in np.random.default_rng(3).permutation(len(log))])
    for left, right in zip(*recbole_and_ours(make_config, MAX_ITEM_LIST_LENGTH=4)):
        assert_same_batches(left, right)


@pytest.mark.parametrize(
    "split", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}, {"TS": [0.7, 0.1, 0.2]}]
)
def test_rows_equal_recboles_when_sessions_share_instants(write_log, make_config, split):
    """Ids in another order than session starts, and events of many sessions at one instant."""
    random = np.random.default_rng(4)
    log = [
        {"session_id": f"s{s}", "item_id": f"i{random.integers(9)}", "timestamp": t}
        for s in range(40)
        for t in random.choice(12, 5, replace=False)
    ]
    write_log([log[i] for i in random.permutation(len(log))])
    for left, right in zip(*recbole_and_ours(make_config, split=split)):
        assert_same_batches(left, right)


def test_rows_equal_recboles_with_sequences_and_unused_columns(write_log, make_config, random_log):
    random = np.random.default_rng(5)
    log = random_log()
    for row in log:
        row["tags"] = " ".join(f"t{t}" for t in random.integers(0, 6, random.integers(0, 4)))
        row["scores"] = " ".join(f"{x:.3f}" for x in random.random(random.integers(1, 3)))
    write_log(log)
    for left, right in zip(*recbole_and_ours(make_config, MAX_ITEM_LIST_LENGTH=4)):
        assert left[slice(None)]["tags_list"].dim() == 3
        assert_same_batches(left, right)
    unused = {"inter": ["timestamp", "timestamp_list"]}
    for left, right in zip(*recbole_and_ours(make_config, unused_col=unused)):
        assert "timestamp_list" not in right[slice(None)] and "timestamp" not in right[slice(None)]
        assert_same_batches(left, right)


def test_k_core_equals_recboles(write_log, make_config, random_log):
    write_log(random_log(items=60))
    core = {"user_inter_num_interval": "[3,inf)", "item_inter_num_interval": "[5,inf)"}
    core["inter_num_part"] = "all"
    theirs, ours = recbole_and_ours(make_config, **core)
    assert ours[0].item_num < 61
    for left, right in zip(theirs, ours):
        assert_same_batches(left, right)


def test_one_row_by_number(write_log, make_config, random_log):
    write_log(random_log())
    theirs, ours = recbole_and_ours(make_config)
    left, right = theirs[0][5], ours[0][5]
    assert all(torch.equal(left[field], right[field]) for field in left.interaction)


def test_time_is_ordered_before_float32(write_log, make_config):
    # 1_700_000_000 + 1 … + 4 are one number in float32; the file has them backwards
    log = [
        {"session_id": "s", "item_id": item, "timestamp": f"{1_700_000_000 + second}"}
        for item, second in (("d", 4), ("c", 3), ("b", 2), ("a", 1))
    ]
    write_log(log)
    from recbole_ext.data.session_dataset import SessionDataset

    dataset = SessionDataset(make_config())
    dataset.build()
    assert list(dataset.id2token("item_id", dataset.events["item_id"].numpy())) == ["a", "b", "c", "d"]


def test_events_lie_by_session_start_then_session_then_time(write_log, make_config):
    rows = [("late", "x", 50), ("early", "y", 10), ("twin", "z", 10), ("late", "w", 50), ("early", "v", 70)]
    write_log([{"session_id": s, "item_id": i, "timestamp": t} for s, i, t in rows])
    from recbole_ext.data.session_dataset import SessionDataset

    dataset = SessionDataset(make_config(split={"session_time": [0.7, 0, 0.3]}))
    dataset.build()
    assert list(dataset.id2token("item_id", dataset.events["item_id"].numpy())) == ["y", "v", "z", "x", "w"]
    assert dataset.session_start.tolist() == [0, 2, 3]
    assert dataset.session_length.tolist() == [2, 1, 2]
    assert dataset.session_time.tolist() == [10, 10, 50]
    row = dataset[slice(None)]
    assert row["event_index"].tolist() == [1, 4] and row["item_length"].tolist() == [1, 1]
    assert row["item_id_list"][:, 0].tolist() == dataset.events["item_id"][[0, 3]].tolist()


def test_columns_are_shared_and_never_padded(write_log, make_config, random_log):
    write_log(random_log())
    from recbole_ext.data.session_dataset import SessionDataset

    dataset = SessionDataset(make_config())
    parts = dataset.build()
    assert all(part.events is dataset.events for part in parts)
    assert all(column.dim() == 1 for part in parts for column in part.inter_feat.interaction.values())


def test_counts_are_those_of_the_parts_events(write_log, make_config):
    sessions = {"a": "xyxz", "b": "xy", "c": "z"}
    rows = [
        {"session_id": s, "item_id": item, "timestamp": 100 * n + k}
        for n, (s, items) in enumerate(sessions.items())
        for k, item in enumerate(items)
    ]
    write_log(rows)
    from recbole_ext.data.session_dataset import SessionDataset

    dataset = SessionDataset(make_config())
    train, valid, test = dataset.build()
    # LS: a trains on x y, validates x, tests z; b trains on x y; c has no row at all
    assert train.train_length.tolist() == [2, 2, 0]
    tokens = train.field2id_token["item_id"]
    assert {tokens[i]: n for i, n in train.item_counter.items()} == {"x": 2, "y": 2}
    assert {tokens[i]: n for i, n in valid.item_counter.items()} == {"x": 1}
    assert {tokens[i]: n for i, n in test.item_counter.items()} == {"z": 1}
    assert {tokens[i]: n for i, n in dataset.item_counter.items()} == {"x": 3, "y": 2, "z": 2}
    assert sorted(tokens[np.flatnonzero(train.train_items)]) == ["x", "y"]
    whole = dataset.inter_matrix("csr").toarray()
    assert whole[train.token2id("session_id", "a"), train.token2id("item_id", "x")] == 2
    assert train.inter_matrix("csr").sum() == 4
    times = train.inter_matrix("csr", value_field="timestamp").toarray()
    assert times[train.token2id("session_id", "b"), train.token2id("item_id", "y")] == 101


def test_log_without_time_is_refused(write_log, make_config):
    write_log([{"session_id": "s", "item_id": "a"}])
    from recbole_ext.data.session_dataset import SessionDataset

    with pytest.raises(UsageError, match="no column timestamp"):
        SessionDataset(make_config())


def test_random_order_is_refused(write_log, make_config, random_log):
    write_log(random_log())
    from recbole_ext.data.session_dataset import SessionDataset

    config = make_config()
    config["eval_args"]["order"] = "RO"
    with pytest.raises(UsageError, match=r"eval_args\.order is RO"):
        SessionDataset(config).build()


@pytest.mark.parametrize("train_neg", [None, {"distribution": "uniform", "sample_num": 2}])
def test_one_epoch_of_gru4rec_equals_recboles(write_log, make_config, random_log, train_neg):
    """Losses and metrics agree to 1e-6 on the two layouts, unshuffled, through RecBole's data_preparation."""
    import recbole.data
    from recbole.utils import get_model, get_trainer, init_seed

    write_log(random_log(sessions=120))
    results = {}
    for layout in ("recbole", "pointers"):
        config = make_config(
            data_layout=layout,
            shuffle=False,
            train_neg_sample_args=train_neg,
            loss_type="BPR" if train_neg else "CE",
            dropout_prob=0.0,
        )
        init_seed(config["seed"], True)
        dataset = recbole.data.create_dataset(config)
        expected = {"recbole": "SequentialDataset", "pointers": "SessionDataset"}[layout]
        assert type(dataset).__name__ == expected
        train, valid, test = recbole.data.data_preparation(config, dataset)
        init_seed(config["seed"], True)
        model = get_model(config["model"])(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.fit(train, valid, saved=False, verbose=False, show_progress=False)
        metrics = trainer.evaluate(test, load_best_model=False)
        results[layout] = [trainer.train_loss_dict[0], *metrics.values()]
    assert results["pointers"] == pytest.approx(results["recbole"], abs=1e-6)
    assert results["recbole"][0] > 0


def test_fearec_learns_the_same_from_both_layouts(write_log, make_config, random_log):
    from recbole.model.sequential_recommender.fearec import FEARec
    from recbole.utils import init_seed

    write_log(random_log())
    losses = []
    for train, layout in zip(
        (parts[0] for parts in recbole_and_ours(make_config, MAX_ITEM_LIST_LENGTH=6)), ("recbole", "pointers")
    ):
        config = make_config("FEARec", data_layout=layout, MAX_ITEM_LIST_LENGTH=6, train_batch_size=32)
        init_seed(1, True)
        model = FEARec(config, train)
        losses.append([float(model.calculate_loss(train[np.arange(n, n + 32)])) for n in (0, 32)])
    assert losses[0] == losses[1]
