"""First events as targets from an empty history: rows, prefixes, counts, users' chains and models that score them."""

import numpy as np
import pytest
import torch

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.data.user_sequences import UserSequences, UserTrainLoader, rows_batch

SESSIONS = {"a": "xyxz", "b": "xy", "c": "z", "d": "yz", "e": "x"}
SPLIT = {"session_time": [3, 1, 1]}
FIRST_TOO = {"empty_history": True}


@pytest.fixture
def log(write_log):
    return write_log(
        [
            {"session_id": s, "user_id": "u" if s in "ad" else "", "item_id": item, "timestamp": 100 * n + k}
            for n, (s, items) in enumerate(SESSIONS.items())
            for k, item in enumerate(items)
        ]
    )


def pairs(part):
    """[(session, prefix, target)] of a part, in order, read from its batch."""
    rows = part[np.arange(len(part))]
    items, sessions = part.field2id_token["item_id"], part.field2id_token["session_id"]
    return [
        (sessions[s], "".join(items[i] for i in prefix if i), items[target])
        for s, prefix, target in zip(rows["session_id"], rows["item_id_list"].tolist(), rows["item_id"])
    ]


def every_pair(sessions, most=50):
    return [
        (s, SESSIONS[s][max(0, n - most) : n], item) for s in sessions for n, item in enumerate(SESSIONS[s])
    ]


@pytest.mark.parametrize("most", [2, 50])
def test_every_event_is_a_target(log, make_config, most):
    parts = SessionDataset(make_config(split=SPLIT, MAX_ITEM_LIST_LENGTH=most, **FIRST_TOO)).build()
    assert [pairs(part) for part in parts] == [every_pair(s, most) for s in ("abc", "d", "e")]
    without = SessionDataset(make_config(split={"session_time": [3, 1, 0.9]})).build()
    assert pairs(without[0]) == [pair for pair in every_pair("abc") if pair[1]]


def test_an_empty_history_is_one_step_of_padding(log, make_config):
    """Models take the state at item_length - 1; no column of the session before may show there."""
    train, _, _ = SessionDataset(make_config(split=SPLIT, **FIRST_TOO)).build()
    rows = train[slice(None)]
    first = np.isin(train.inter_feat["event_index"].numpy(), train.session_start)
    assert first.tolist() == [True, False, False, False, True, False, True]
    assert rows["item_length"].tolist() == [1, 1, 2, 3, 1, 1, 1]
    for column in ("item_id_list", "timestamp_list"):
        assert (rows[column][first] == 0).all()
    assert (rows["item_id_list"][~first][:, 0] > 0).all()
    one = train[4]  # a single row by its number
    assert int(one["item_length"]) == 1 and not one["item_id_list"].any()
    assert not train[6:]["item_id_list"].any()


def test_leave_one_out_with_first_events(log, make_config):
    train, valid, test = SessionDataset(make_config(split={"LS": "valid_and_test"}, **FIRST_TOO)).build()
    assert sorted(pairs(test)) == [("a", "xyx", "z"), ("b", "x", "y"), ("d", "y", "z")]
    assert sorted(pairs(valid)) == [("a", "xy", "x")]
    expected = [
        ("a", "", "x"),
        ("a", "x", "y"),
        ("b", "", "x"),
        ("c", "", "z"),
        ("d", "", "y"),
        ("e", "", "x"),
    ]
    assert sorted(pairs(train)) == expected
    assert train.train_length.tolist() == [2, 1, 1, 1, 1]


def test_the_last_target_stays_the_last_event(log, make_config):
    _, valid, test = SessionDataset(make_config(split=SPLIT, eval_targets="last", **FIRST_TOO)).build()
    assert pairs(valid) == [("d", "y", "z")] and pairs(test) == [("e", "", "x")]


def test_each_event_counts_once(log, make_config):
    for split in (SPLIT, {"LS": "valid_and_test"}, {"RS": [2, 1, 1]}):
        dataset = SessionDataset(make_config(split=split, **FIRST_TOO))
        parts = dataset.build()
        together = sum((part.item_counter for part in parts), start=parts[0].item_counter.__class__())
        assert together == dataset.item_counter and together.total() == 10
        assert sum(part.inter_matrix("csr").sum() for part in parts) == 10


@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec", "NARM", "SRGNN", "STAMP", "Pop", "ItemKNN"])
def test_models_score_an_empty_history(write_log, make_config, random_log, model):
    import recbole.data
    from recbole.utils import get_model, get_trainer, init_seed

    write_log(random_log())
    config = make_config(model, split={"session_time": [7, 1, 2]}, **FIRST_TOO)
    init_seed(1, True)
    train, valid, test = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
    net = get_model(model)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, net)
    trainer.fit(train, valid, saved=False, verbose=False, show_progress=False)
    assert np.isfinite(trainer.train_loss_dict[0])
    rows = test._dataset[slice(None)]
    with torch.no_grad():
        scores = net.full_sort_predict(rows).view(len(rows), -1)
    first = rows["item_id_list"][:, 0] == 0
    assert first.sum() > 5 and torch.isfinite(scores[first][:, 1:]).all()
    torch.testing.assert_close(
        scores[first], scores[first][:1].expand_as(scores[first])
    )  # nothing tells them apart


# --- users' chains ----------------------------------------------------------------------------------------


@pytest.fixture
def hrnn(log, make_config):
    import recbole.data
    from recbole.utils import get_model, init_seed

    def make(**settings):
        config = make_config(
            "HRNNFeat", split=SPLIT, embedding_size=5, hidden_size=5, **{**FIRST_TOO, **settings}
        )
        loaders = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
        init_seed(3, True)
        return config, *loaders, get_model("HRNNFeat")(config, loaders[0]._dataset).eval()

    return make


def test_chains_start_with_a_step_of_padding(hrnn):
    _, train, _, _, _ = hrnn(user_state="init")
    assert isinstance(train, UserTrainLoader)
    names = {0: "", **dict(enumerate(train.dataset.field2id_token["item_id"]))} | {0: "-"}
    found = set()
    for batch in train:
        for s in range(len(batch.session_user)):
            of_session = batch.event_session == s
            items = "".join(names[i] for i in batch.items[of_session].tolist())
            found.add((items, "".join(names[i] for i in batch.targets[of_session].tolist())))
    # c has a single event: it is a target, so it trains
    assert found == {("-xyxz", "xyxz-"), ("-xy", "xy-"), ("-z", "z-")}
    assert train.targets.sum() == 7 == len(train.dataset)
    sequences: UserSequences = train.sequences
    batch = sequences.eval_batch(np.array([sequences.start[3], sequences.start[3] + 1, sequences.start[4]]))
    assert [names[i] for i in batch.items[batch.rows].tolist()] == ["-", "y", "-"]


@pytest.mark.parametrize("variant", [{"user_state": "init"}, {"user_state": "all"}, {"user_state": "none"}])
def test_scores_equal_one_session_after_the_other(hrnn, variant):
    """Every target of every session, first ones included, against the model's own layers run plainly."""
    _, train, _, _, model = hrnn(dropout_session=0, readout=False, pointer="none", **variant)
    data = train.dataset
    token = data.field2token_id["item_id"]
    table = model.items.table()
    user = torch.zeros(1, model.hidden)
    gru = model.session_grus[0]
    expected = {}
    for name, returning in (("a", False), ("d", True), ("b", False), ("c", False), ("e", False)):
        context = user if returning else torch.zeros_like(user)
        items = [0] + [token[i] for i in SESSIONS[name]]
        inputs = table[torch.tensor(items)].unsqueeze(1)  # (N + 1, 1, d)
        start = torch.zeros(1, 1, model.hidden)
        if variant["user_state"] != "none" and returning:
            start = torch.tanh(model.init_maps[0](context)).unsqueeze(0)
        if variant["user_state"] == "all":
            inputs = torch.cat((inputs, context.expand(len(items), 1, -1)), dim=2)
        states, last = gru(inputs, start)
        if name == "a" and variant["user_state"] != "none":
            user = model.user_gru(last[0], user)
        expected[name] = (
            model.scoring.states(model.outputs[0](states[:-1, 0])) @ model.scoring.vectors(table).T
        )
    index = torch.arange(len(data.events))
    rows = {"event_index": index, "item_id_list": torch.zeros(len(index), 1, dtype=torch.int64)}
    with torch.no_grad():
        ours = model.full_sort_predict(rows)
    wanted = torch.cat([expected[name] for name in SESSIONS]).detach()
    known = ours > -torch.inf
    assert known[:, 1:].all()
    torch.testing.assert_close(ours[known], wanted[known], atol=1e-5, rtol=1e-5)
    if variant["user_state"] != "none":  # the visitor is known before its second session starts
        assert not torch.allclose(ours[7, 1:], ours[9, 1:], atol=1e-4)


def test_rows_without_their_place_in_the_log_score_alike(hrnn):
    _, train, _, _, model = hrnn(user_state="none")
    rows = train.dataset[slice(None)]
    with torch.no_grad():
        by_place = model.full_sort_predict(rows)
        rows.drop("event_index")
        by_prefix = model.full_sort_predict(rows)
    torch.testing.assert_close(by_place, by_prefix)


def test_rows_with_a_start_step():
    batch = rows_batch(
        torch.tensor([[0, 0, 0], [7, 0, 0], [7, 8, 9]]), torch.tensor([1, 1, 3]), start_step=True
    )
    steps = [batch.items[batch.event_session == s].tolist() for s in range(3)]
    assert sorted(steps) == [[0], [0, 7], [0, 7, 8, 9]]
    assert batch.items[batch.rows].tolist() == [0, 7, 9]


def test_hrnnfeat_learns_first_events(write_log, make_config):
    """Sessions that always begin with one item: its first events are ranked first after training."""
    import recbole.data
    from recbole.utils import get_model, init_seed

    rows = [
        {"session_id": f"s{n}", "item_id": item, "timestamp": 100 * n + k}
        for n in range(30)
        for k, item in enumerate(["start", f"i{n % 5}", f"i{(n + 1) % 5}"])
    ]
    write_log(rows)
    config = make_config(
        "HRNNFeat", split={"session_time": [8, 1, 1]}, embedding_size=8, hidden_size=8, **FIRST_TOO
    )
    init_seed(1, True)
    train, _, test = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
    model = get_model("HRNNFeat")(config, train._dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        for batch in train:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    model.eval()
    part = test._dataset
    batch = part[slice(None)]
    with torch.no_grad():
        best = model.full_sort_predict(batch).argmax(1)
    first = batch["item_id_list"][:, 0] == 0
    assert first.sum() == 3
    assert set(part.field2id_token["item_id"][best[first]]) == {"start"}
    assert "start" not in part.field2id_token["item_id"][best[~first]]
