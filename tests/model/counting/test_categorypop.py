"""CategoryPop on paper."""

import math

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError

# sessions a b c | a b | c c train; categories X = {a, x}, Y = {b}, Z = {c, z}; x and z are cold
LOG = [("s1", "train", "abc"), ("s2", "train", "ab"), ("s3", "train", "cc"), ("s4", "test", "axz")]
CATEGORY = {"a": "X", "x": "X", "b": "Y", "c": "Z", "z": "Z"}
COUNT = {"a": 2, "b": 2, "c": 3, "x": 0, "z": 0}
FOLLOWS = {("X", "Y"): 2, ("Y", "Z"): 1, ("Z", "Z"): 1}


@pytest.fixture
def build(write_log, make_config):
    def make(**settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model

        rows = [
            {"session_id": s, "item_id": i, "timestamp": 10.0 * n + t, "split": split}
            for n, (s, split, items) in enumerate(LOG)
            for t, i in enumerate(items)
        ]
        write_log(rows, items=[{"item_id": i, "category": c} for i, c in CATEGORY.items()])
        config = make_config("CategoryPop", split={"given": {"valid_share": 0}}, **settings)
        train, _, test = data_preparation(config, create_dataset(config))
        return train, test, get_model("CategoryPop")(config, train._dataset)

    return make


def by_hand(prefix, item, recency, prior, cold):
    mass = {i: n or cold for i, n in COUNT.items()}
    total = {c: sum(m for i, m in mass.items() if CATEGORY[i] == c) for c in "XYZ"}
    chance = {c: total[c] / sum(total.values()) for c in "XYZ"}
    leaves = {c: sum(n for (a, _), n in FOLLOWS.items() if a == c) for c in "XYZ"}
    b = CATEGORY[item]
    weights = [recency ** (len(prefix) - 1 - n) for n in range(len(prefix))]
    after = sum(
        w * (FOLLOWS.get((CATEGORY[i], b), 0) + prior * chance[b]) / (leaves[CATEGORY[i]] + prior)
        for w, i in zip(weights, prefix)
    ) / sum(weights)
    return math.log(after) + math.log(mass[item] / total[b])


@pytest.mark.parametrize("settings", [(0.8, 10, 1.0), (0.5, 2, 0.25), (1, 0.1, 3)])
def test_scores_are_the_formula_s(build, settings):
    recency, prior, cold = settings
    _, test, model = build(recency=recency, transition_prior=prior, cold_count=cold)
    data = test._dataset
    rows = data[np.arange(len(data))]
    scores = model.full_sort_predict(rows).view(len(rows), -1)
    assert len(rows) == 2
    for prefix, row in zip(("a", "ax"), scores):
        for item in CATEGORY:
            expected = by_hand(prefix, item, recency, prior, cold)
            assert float(row[data.field2token_id["item_id"][item]]) == pytest.approx(expected, abs=1e-5)
    own = model.predict(rows)
    torch.testing.assert_close(own, scores.gather(1, rows["item_id"].unsqueeze(1)).squeeze(1))


def test_an_empty_prefix_is_ranked_by_popularity(build):
    _, test, model = build(empty_history=True, cold_count=1.0)
    data = test._dataset
    scores = model.full_sort_predict(data[np.array([0])]).view(-1)
    mass = {i: n or 1.0 for i, n in COUNT.items()}
    for item, m in mass.items():
        share = math.log(m / sum(mass.values()))
        assert float(scores[data.field2token_id["item_id"][item]]) == pytest.approx(share, abs=1e-5)


def test_it_runs_through_trainer_and_evaluator_and_carries_no_critic(build, make_config):
    from recbole.utils import get_trainer

    from recbole_ext.bridge.names import known_models

    train, test, model = build()
    config = make_config("CategoryPop", split={"given": {"valid_share": 0}})
    trainer = get_trainer(config["MODEL_TYPE"], "CategoryPop")(config, model)
    trainer.fit(train, None, saved=False, show_progress=False)
    result = trainer.evaluate(test, load_best_model=False, show_progress=False)
    assert result["hit@5"] == 1.0
    assert "CategoryPop" in known_models() and "CategoryPopSQN" not in known_models()


def test_a_column_that_is_not_there_is_named(build):
    with pytest.raises(UsageError, match=r"category_field is brand.*it has category"):
        build(category_field="brand")
