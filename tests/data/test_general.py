"""General models on the sequential models' rows: targets, scores by hand, parity with RecBole, refusals."""

import numpy as np
import pytest
import torch

from recbole_ext.bridge import choice, data_sets
from recbole_ext.bridge.description import protocol_label
from recbole_ext.errors import UsageError

PREFIX = ["Pop", "Random", "ItemKNN", "EASE", "SLIMElastic", "ADMMSLIM"]
SESSION_TIME = {"session_time": [0.7, 0.15, 0.15]}


def prepare(config):
    import recbole.data
    from recbole.utils import get_model, init_seed

    init_seed(config["seed"], True)
    dataset = recbole.data.create_dataset(config)
    loaders = recbole.data.data_preparation(config, dataset)
    init_seed(config["seed"], True)
    return loaders, get_model(config["model"])(config, loaders[0]._dataset)


def train_and_test(config):
    from recbole.utils import get_trainer

    (train, valid, test), model = prepare(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, saved=False, verbose=False, show_progress=False)
    return model, train, valid, test, trainer.evaluate(test, load_best_model=False)


def targets(loader):
    return [
        (rows["event_index"].tolist(), positive_u.tolist(), positive_i.tolist())
        for rows, history, positive_u, positive_i in loader
        if history is None
    ]


@pytest.mark.parametrize("model", PREFIX)
@pytest.mark.parametrize("split", [SESSION_TIME, {"LS": "valid_and_test"}])
def test_rows_are_those_of_gru4rec(write_log, make_config, random_log, model, split):
    write_log(random_log())
    (_, valid, test), _ = prepare(make_config("GRU4Rec", split=split))
    assert protocol_label(make_config(model, split=split)) == "one ranking per (prefix, target) row"
    _, _, our_valid, our_test, metrics = train_and_test(make_config(model, split=split))
    assert targets(our_valid) == targets(valid)
    assert targets(our_test) == targets(test)
    assert sum(len(batch[0]) for batch in targets(our_test)) == len(our_test._dataset) > 10
    assert 0 < metrics["hit@5"] < 1


def test_pop_counts_every_training_event(write_log, make_config):
    sessions = ["aab", "ac", "aa", "bc"]  # train on three sessions: a 5, b 1, c 1
    write_log(
        [
            {"session_id": f"s{n}", "item_id": item, "timestamp": 10 * n + step}
            for n, items in enumerate(sessions)
            for step, item in enumerate(items)
        ]
    )
    config = make_config("Pop", split={"session_time": [3, 0, 1]}, topk=[1, 2])
    model, train, _, test, metrics = train_and_test(config)
    assert len(train._dataset) == 7
    counts = {token: int(n) for token, n in zip(test._dataset.field2id_token["item_id"], model.item_cnt)}
    assert counts == {"[PAD]": 0, "a": 5, "b": 1, "c": 1}
    rows = test._dataset[slice(None)]
    assert model.full_sort_predict(rows).view(1, -1).tolist() == [
        [0, 1, pytest.approx(0.2), pytest.approx(0.2)]
    ]
    assert metrics["hit@1"] == 0


def test_item_knn_by_hand(write_log, make_config):
    # sessions p q, p q, q r; cosine(p, q) = 2 / sqrt(2 * 3), cosine(q, r) = 1 / sqrt(3)
    sessions = ["pq", "pq", "qr", "pqqr"]
    write_log(
        [
            {"session_id": f"s{n}", "item_id": item, "timestamp": 10 * n + step}
            for n, items in enumerate(sessions)
            for step, item in enumerate(items)
        ]
    )
    (_, _, test), model = prepare(make_config("ItemKNN", split={"session_time": [3, 0, 1]}, k=10))
    dataset = test._dataset
    p, q, r = dataset.token2id("item_id", ["p", "q", "r"])
    pq, qr = 2 / np.sqrt(6), 1 / np.sqrt(3)
    rows = dataset[slice(None)]
    scores = model.full_sort_predict(rows).view(3, -1)
    # prefixes p; p q; p q q: q counts twice in the last
    expected = [{p: 0, q: pq, r: 0}, {p: pq, q: pq, r: qr}, {p: 2 * pq, q: pq, r: 2 * qr}]
    for row, wanted in zip(scores, expected):
        assert {i: float(row[i]) for i in wanted} == pytest.approx(wanted, abs=1e-5)
    assert model.predict(rows).tolist() == pytest.approx([pq, pq, 2 * qr], abs=1e-5)


@pytest.mark.parametrize("model", ["ItemKNN", "EASE", "SLIMElastic", "ADMMSLIM"])
def test_prefix_scores_are_recboles_scores_of_that_row(write_log, make_config, random_log, model):
    """Give the models their own training rows as prefixes: RecBole's scores of those users come back."""
    from recbole.data.interaction import Interaction

    from recbole_ext.data.general import PREFIX_MODELS

    write_log(random_log(sessions=40, items=12))
    config = make_config(model, split=SESSION_TIME, center_columns=True)
    (train, _, _), _ = prepare(config)
    dataset = train._dataset
    upstream = next(
        c for c in PREFIX_MODELS[model].__mro__ if c.__module__.startswith("recbole.model.general")
    )
    assert upstream.__name__ == model
    torch.manual_seed(0)
    np.random.seed(0)
    theirs = upstream(config, dataset)
    torch.manual_seed(0)
    np.random.seed(0)
    ours = PREFIX_MODELS[model](config, dataset)

    sessions = np.flatnonzero(dataset.train_length > 1)
    users = dataset.events["session_id"][torch.from_numpy(dataset.session_start[sessions])]
    prefix = torch.zeros(len(sessions), 50, dtype=torch.long)
    for row, s in enumerate(sessions):
        start, length = dataset.session_start[s], dataset.session_length[s]
        prefix[row, :length] = dataset.events["item_id"][start : start + length]
    items = torch.arange(len(sessions)) % dataset.item_num
    by_prefix = Interaction({"session_id": torch.zeros_like(users), "item_id": items, "item_id_list": prefix})
    by_user = Interaction({"session_id": users, "item_id": items})
    close = dict(atol=3e-5, rtol=1e-4)  # ADMMSLIM adds noise of 1e-5
    wanted = torch.as_tensor(theirs.full_sort_predict(by_user)).view(-1).float()
    assert wanted.abs().max() > 0.01
    assert torch.allclose(ours.full_sort_predict(by_prefix).view(-1).float(), wanted, **close)
    wanted = torch.as_tensor(theirs.predict(by_user)).view(-1).float()
    assert torch.allclose(ours.predict(by_prefix).view(-1).float(), wanted, **close)
    if model != "ItemKNN":  # ours keeps no scores of training sessions
        assert torch.allclose(
            torch.as_tensor(ours.full_sort_predict(by_user)).view(-1).float(),
            torch.as_tensor(theirs.full_sort_predict(by_user)).view(-1).float(),
            **close,
        )


@pytest.mark.parametrize("k", [3, 50])
@pytest.mark.parametrize("shrink", [0.0, 5.0])
def test_item_similarity_equals_recboles(k, shrink):
    import scipy.sparse as sp

    import recbole_ext

    recbole_ext.install()
    from recbole.model.general_recommender.itemknn import ComputeSimilarity

    from recbole_ext.data.general import item_similarity

    random = np.random.default_rng(0)
    matrix = sp.csr_matrix(random.poisson(0.15, (200, 25)) * random.random((200, 25)), dtype=np.float32)
    _, theirs = ComputeSimilarity(matrix, topk=min(k, 25), shrink=shrink).compute_similarity()
    np.testing.assert_allclose(item_similarity(matrix, k, shrink).toarray(), theirs.toarray(), atol=1e-6)


def test_recboles_own_data_keeps_recboles_scores(write_log, make_config, random_log):
    write_log(random_log())
    config = make_config("ItemKNN", data_layout="recbole", split={"LS": "valid_and_test"})
    assert protocol_label(config) == "RecBole user-wise protocol"
    _, train, _, test, metrics = train_and_test(config)
    assert type(train._dataset).__name__ == "Dataset"
    assert type(test).__name__ == "FullSortEvalDataLoader" and metrics["hit@5"] > 0


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_user_vector_models(write_log, make_config, random_log, model):
    write_log(random_log())
    with pytest.raises(UsageError) as error:
        choice.dataset_class(make_config(model, split=SESSION_TIME))
    assert str(error.value) == (
        f"{model} learns a vector per training session, so it cannot score the unseen test sessions of split "
        "session_time: use split LS or a sequential model"
    )
    config = make_config(model, split={"LS": "valid_and_test"})
    assert protocol_label(config) == "RecBole user-wise protocol"
    _, train, _, _, metrics = train_and_test(config)
    assert type(train._dataset).__name__ == "Dataset" and "hit@5" in metrics


def test_other_refusals(write_log, make_config, random_log):
    write_log(random_log())
    for settings, part in [
        ({"model": "ItemKNN", "knn_method": "user"}, "set knn_method: item"),
        ({"model": "GRU4Rec", "data_layout": "recbole"}, "set data_layout: pointers"),
        ({"model": "GRU4Rec", "data_layout": "pointer"}, "did you mean pointers"),
        ({"model": "DIEN"}, "DIENDataset, which does not know split session_time"),
    ]:
        with pytest.raises(UsageError, match=part):
            choice.dataset_class(make_config(split=SESSION_TIME, **settings))


def test_split_column_is_hidden_from_recboles_data_sets(write_log, make_config, random_log):
    write_log([{**row, "split": "train"} for row in random_log()])
    (train, _, _), _ = prepare(make_config("BPR", split={"LS": "valid_and_test"}))
    assert "split" not in train._dataset.field2type


class OwnLoader:
    """Stands for a loader that a data set brings."""


def test_a_model_may_bring_its_data_set_and_loader(write_log, make_config, random_log):
    from recbole_ext.data.session_dataset import SessionDataset

    class Own(SessionDataset):
        @classmethod
        def loader_class(cls, phase):
            return OwnLoader if phase == "train" else None

    write_log(random_log())
    config = make_config("GRU4Rec", split=SESSION_TIME)
    config.model_class = type("Model", (), {"dataset_class": Own})
    assert choice.dataset_class(config) is Own
    assert isinstance(data_sets.create_dataset(config, None), Own)
    assert data_sets.get_dataloader(config, "train", lambda *_: "recbole") is OwnLoader
    assert data_sets.get_dataloader(config, "test", None).__name__ == "RowFullSortEvalDataLoader"
    config["eval_args"]["mode"] = {"valid": "full", "test": "uni100"}
    assert data_sets.get_dataloader(config, "test", None).__name__ == "CandidateEvalDataLoader"


@pytest.mark.parametrize("model", ["GRU4Rec", *PREFIX])
def test_sampled_evaluation_ranks_each_row_on_its_own(write_log, make_config, random_log, model):
    write_log(random_log(items=150))
    negatives = {"distribution": "uniform", "sample_num": 1}
    extra = {"loss_type": "BPR", "train_neg_sample_args": negatives} if model == "GRU4Rec" else {}
    config = make_config(model, split=SESSION_TIME, mode="uni20", **extra)
    _, _, _, test, metrics = train_and_test(config)
    own = model == "GRU4Rec"
    assert type(test).__name__ == ("CandidateEvalDataLoader" if own else "RowNegSampleEvalDataLoader")
    assert 0 <= metrics["hit@5"] <= 1
    seen = 0
    for rows, row_number, positive_u, positive_i in test:
        if own:  # a row of candidates, the target first
            assert len(rows) == len(positive_u) and row_number.shape == (len(rows), 21)
            assert torch.equal(row_number[:, 0], positive_i) and torch.equal(rows["item_id"], positive_i)
            assert not (row_number[:, 1:] == positive_i.unsqueeze(1)).any()
            seen += len(positive_u)
            continue
        assert len(rows) == len(positive_u) * 21
        for n in range(len(positive_u)):
            mine = row_number == n
            assert mine.sum() == 21
            assert rows["item_id"][mine][0] == positive_i[n]
            assert positive_i[n] not in rows["item_id"][mine][1:]
            assert len(set(rows["event_index"][mine].tolist())) == 1
        seen += len(positive_u)
    assert seen == len(test._dataset)


def test_the_label_names_untrained_session_vectors(write_log, make_config, random_log):
    write_log(random_log())
    by_time = {"session_time": [0.8, 0.1, 0.1]}
    assert "Caser's vectors of the test sessions are untrained" in protocol_label(
        make_config("Caser", split=by_time)
    )
    assert protocol_label(make_config("Caser")) == "one ranking per (prefix, target) row"
    assert protocol_label(make_config("SASRec", split=by_time)) == "one ranking per (prefix, target) row"
