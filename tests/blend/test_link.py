"""LINK: scores on paper, what a teacher adds, and which teachers are refused."""

from math import exp

import numpy as np
import pytest
import torch

import recbole_ext
from recbole_ext.errors import UsageError

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 1}
MORE = {"neighbours": 30, "teacher_temperature": 0.5}


@pytest.fixture
def toy(tmp_path, monkeypatch, write_log, random_log):
    """Settings of a run on the log `toy`."""
    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=120, ties=False))
    split = {"eval_args": {"split": SPLIT}}
    return {"data_path": "data", "use_gpu": False, "state": "ERROR", **split}


@pytest.fixture
def link(write_log, make_config):
    """(model, data set) of LINK on a log."""

    def make(rows, split=SPLIT, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model

        write_log(rows)
        config = make_config("LINK", split=split, data_layout="pointers", **settings)
        dataset = data_preparation(config, create_dataset(config))[0]._dataset
        return get_model("LINK")(config, dataset), dataset

    return make


def rows_of(sessions):
    return [
        {"session_id": name, "item_id": item, "timestamp": 86400.0 * day + place}
        for day, (name, items) in enumerate(sessions.items())
        for place, item in enumerate(items.split())
    ]


def test_scores_on_paper(link):
    """Transitions alone, no ageing: B[a, b] = decayed times b came after a / (times a session went on at a + ridge)."""
    sessions = {"n1": "A B C", "n2": "A C", "n3": "B A", "v": "A D", "t": "A B"}
    keys = {"alpha": 0, "regularization": 1, "train_decay": 2, "session_decay": None}
    model, dataset = link(rows_of(sessions), {"session_time": [3, 1, 1]}, predict_decay=4, **keys)

    def scores(prefix):
        found = model.score(
            np.array([[dataset.token2id("item_id", i) for i in prefix.split()]]), None
        ).toarray()[0]
        return {dataset.id2token("item_id", i): found[i] for i in np.flatnonzero(found)}

    half = exp(-1 / 2)
    after_a, after_b = {"B": 1 / 3, "C": (1 + half) / 3}, {"A": 1 / 3, "C": 1 / 3}
    assert scores("A") == pytest.approx(after_a) and scores("C") == {} and scores("D") == {}
    old = exp(-1 / 4)
    expected = {"A": 1 / 3, "B": old / 3, "C": 1 / 3 + old * (1 + half) / 3}
    assert scores("A B") == pytest.approx(expected)
    assert scores("B B") == pytest.approx({i: v * (1 + old) for i, v in after_b.items()})
    even, _ = link(rows_of(sessions), {"session_time": [3, 1, 1]}, predict_decay=None, **keys)
    model = even
    assert scores("A B") == pytest.approx({"A": 1 / 3, "B": 1 / 3, "C": 1 / 3 + (1 + half) / 3})


def test_old_sessions_count_less(link):
    """Times a session went on at A: n1, two days before n3, and n2, a day before it."""
    sessions = {"n1": "A B", "n2": "A C", "n3": "C D", "v": "A D", "t": "A B"}
    keys = {"alpha": 0, "regularization": 1, "session_decay": 2, "age": "days"}
    model, dataset = link(rows_of(sessions), {"session_time": [3, 1, 1]}, **keys)
    b, c, a = (dataset.token2id("item_id", i) for i in "BCA")
    old, newer = exp(-2 / 2), exp(-1 / 2)
    row = model.learnt["weights"].toarray()[a]
    assert (row[b], row[c]) == pytest.approx((old / (old + newer + 1), newer / (old + newer + 1)))
    assert model.notes == ["ages of sessions are in days"]


def test_what_is_not_above_0_has_no_score(link, random_log):
    model, dataset = link(random_log(sessions=80), regularization=0.001)
    assert (model.learnt["weights"].data < 0).any()
    found = model.score(np.arange(1, dataset.item_num)[:, None], None)
    assert found.nnz and (found.data > 0).all()


# --- with a teacher -----------------------------------------------------------------------------------------


def chances_after_one_item(record, temperature, n_items):
    """The teacher's softmax over all items after each item alone, by RecBole's full_sort_predict."""
    from recbole.quick_start import load_data_and_model

    _, model, *_ = load_data_and_model(record["checkpoint"])
    model.eval()
    found = np.zeros((n_items, n_items))
    for item in range(1, n_items):
        prefix = torch.zeros((1, 12), dtype=torch.long)
        prefix[0, 0] = item
        rows = {"item_id_list": prefix, "item_length": torch.tensor([1])}
        with torch.no_grad():
            scores = model.full_sort_predict(rows).view(-1)
        scores[0] = -torch.inf
        found[item] = torch.softmax(scores / temperature, dim=0).numpy()
    return found


def run(toy, **settings):
    """Record and learnt weights of LINK; read at once, as a run in the same second has the same checkpoint file."""
    from recbole_ext.bridge.checkpoint import decode, read_checkpoint

    record = recbole_ext.run("LINK", "toy", **toy, **settings)
    stored = read_checkpoint(record["checkpoint"])["other_parameter"]["learnt"]
    return record, decode(stored)["weights"].toarray()


@pytest.mark.usefixtures("no_curves")
def test_a_teacher_mixes_in_as_in_the_closed_form(toy, monkeypatch):
    from recbole_ext.blend import link as module

    seen = []
    solve = module.solve
    monkeypatch.setattr(module, "solve", lambda normal, *rest: seen.append(normal) or solve(normal, *rest))
    teacher = recbole_ext.run("SASRec", "toy", **toy, **SMALL, epochs=3)
    _, alone = run(toy, neighbours=30)
    keys = {"teacher": teacher["checkpoint"], "teacher_weight": 2, "regularization": 0.5}
    record, mixed = run(toy, **MORE, **keys)
    gram, cross = (seen[0].gram.toarray(), seen[0].cross.toarray())
    n_items = len(gram)
    taught = chances_after_one_item(teacher, 0.5, n_items)
    taught[gram.diagonal() == 0] = 0  # of items without training events nothing is asked
    expected = np.linalg.solve(gram + 2.5 * np.eye(n_items), cross + 2 * taught)
    assert mixed[1:, 1:] == pytest.approx(expected[1:, 1:], abs=1e-5)
    assert abs(alone - mixed).max() > 0.01
    assert f"taught by {teacher['checkpoint']}" in record["notes"]
    # nothing but the teacher counts where its weight is large
    _, heavy = run(toy, **MORE, **{**keys, "teacher_weight": 1e8})
    assert heavy == pytest.approx(taught, abs=1e-5)
    # the largest entries of a row alone
    _, few = run(toy, **{**MORE, "neighbours": 3}, **{**keys, "teacher_weight": 1e8})
    kept = np.sort(taught, axis=1)[:, -3:].min(axis=1, keepdims=True)
    assert (abs(few[taught < kept - 1e-6]) < 1e-5).all() and (few > 0.01).any()


@pytest.mark.usefixtures("no_curves")
def test_teachers_that_are_refused(toy, tmp_path):
    teacher = recbole_ext.run("SASRec", "toy", **toy, **SMALL, epochs=1)["checkpoint"]

    def refused(sentence, file=teacher, **settings):
        with pytest.raises(UsageError, match=f"^{sentence}"):
            recbole_ext.run("LINK", "toy", **{**toy, "teacher": file, **settings})

    refused("teacher names none.pth, which does not exist", file="none.pth")
    refused(
        "teacher_weight is 3.0, but there is no teacher: give one, or leave", file=None, teacher_weight=3.0
    )
    other = {"eval_args": {"split": {"session_time": [0.5, 0.2, 0.3]}}}
    refused(
        "teacher names .*, which was made with eval_args .*: take runs of one data set, split and seed",
        **other,
    )
    inter = tmp_path / "data/toy/toy.inter"
    whole = inter.read_text()
    inter.write_text(whole.replace("\ti1\t", "\tnew\t", 1))
    refused(".* was made with another numbering of item_id ")
    inter.write_text(whole)
    users = recbole_ext.run("HRNNFeat", "toy", **toy, embedding_size=8, hidden_size=8, epochs=1)["checkpoint"]
    refused("teacher names .*, and HRNNFeat ranks by more than the items of a session", file=users)
    own = recbole_ext.run("LINK", "toy", **toy)["checkpoint"]
    refused("teacher names .*, which is a LINK: name checkpoints of single models", file=own)
