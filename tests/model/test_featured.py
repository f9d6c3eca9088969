"""SASRecFeat and GRU4RecFeat: RecBole's models where there are no features, and items known by features alone."""

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
PEERS = {"SASRecFeat": "SASRec", "GRU4RecFeat": "GRU4Rec"}
SMALL = {
    "SASRecFeat": {"hidden_size": 8, "n_heads": 2, "inner_size": 16},
    "GRU4RecFeat": {"embedding_size": 8, "hidden_size": 8},
}
PLAIN = {"readout": False, "pointer": "none"}
STILL = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "dropout_prob": 0.0, "id_dropout": 0.0}

models = pytest.mark.parametrize("name", PEERS)


@pytest.fixture
def items():
    random = np.random.default_rng(5)
    return [
        {
            "item_id": f"i{n}",
            "category": f"c{n % 4}",
            "price": round(float(random.lognormal(3, 1)), 2),
            "tags": " ".join(f"t{t}" for t in random.integers(0, 8, 2)),
        }
        for n in range(30)
    ]


@pytest.fixture
def build(write_log, make_config):
    """(config, train, valid, test, model) on a log; a model of the same log when rows is None."""

    def make(name, rows=None, items=None, seed=3, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, init_seed

        if rows is not None:
            write_log(rows, items=items)
        small = next((SMALL[m] for m in SMALL if name.startswith(m) or name == PEERS[m]), {})
        config = make_config(name, **{"split": SPLIT, **small, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(seed, True)
        model = get_model(name)(config, loaders[0]._dataset)
        return config, *loaders, model.eval()

    return make


def fit(config, model, train, valid=None):
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, saved=False, show_progress=False)
    model.eval()
    return trainer


def all_rows(loader):
    return loader._dataset[np.arange(len(loader._dataset))]


@models
def test_without_features_it_is_recbole_s(build, random_log, name):
    """The same weights give the same scores, loss and gradients to 1e-6."""
    same = {**STILL, "score": "dot", "item_features": [], "train_targets": "prefixes"}
    rows = random_log(sessions=150, items=12)
    _, train, _, test, ours = build(name, rows, **same)
    same.pop("score"), same.pop("id_dropout"), same.pop("item_features")
    _, _, _, _, theirs = build(
        PEERS[name], None, **{**same, "train_neg_sample_args": None, "loss_type": "CE"}
    )
    weights = {
        key: value for key, value in ours.state_dict().items() if not key.startswith(("items.", "objective."))
    }
    weights["item_embedding.weight"] = ours.items.ids.weight.detach()
    theirs.load_state_dict(weights)
    seen = torch.nonzero(ours.items.seen).squeeze(1)
    assert len(seen) == 12
    batch = all_rows(test)
    with torch.no_grad():
        ours_scores, theirs_scores = ours.full_sort_predict(batch), theirs.full_sort_predict(batch)
    torch.testing.assert_close(ours_scores[:, seen], theirs_scores[:, seen], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.predict(batch), theirs.predict(batch), atol=1e-6, rtol=1e-6)

    batch = all_rows(train)
    states = theirs.forward(batch["item_id_list"], batch["item_length"])
    expected = torch.nn.functional.cross_entropy(
        states @ theirs.item_embedding.weight[seen].T, torch.searchsorted(seen, batch["item_id"])
    )
    loss = ours.calculate_loss(batch)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(
        ours.items.ids.weight.grad[seen], theirs.item_embedding.weight.grad[seen], atol=1e-6, rtol=1e-5
    )


@models
def test_a_position_costs_what_its_prefix_costs(build, random_log, items, name):
    rows = random_log(sessions=120)
    positions, prefixes = (
        build(name, rows, items, **STILL, train_targets=kind, train_batch_size=10**6)
        for kind in ("all_positions", "prefixes")
    )
    model = positions[-1]
    weighed, count = 0.0, 0
    for batch in positions[1]:
        weighed += model.calculate_loss(batch).item() * batch.count
        count += batch.count
    (rows_batch,) = list(prefixes[1])
    assert count == len(rows_batch)
    assert weighed / count == pytest.approx(model.calculate_loss(rows_batch).item(), rel=1e-5)


@models
@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_a_cold_item_scores_as_a_trained_one_without_its_id_part(build, items, random_log, name, score):
    rows = random_log(sessions=150, items=30)
    items[7] = {**items[3], "item_id": "i7"}
    cold_items = {"holdout": 0.2, "seed": 1}
    _, train, _, test, model = build(name, rows, items, score=score, cold_items=cold_items, repeat_bias=0.0)
    data = train._dataset
    cold = int(torch.nonzero(data.held_out_items)[0])
    warm = int(torch.nonzero(data.train_items)[0])
    for field in model.items.features.fields:
        features = model.items.features
        of_tokens = field in features.tokens
        values = features.tokens[field].table_0 if of_tokens else getattr(features, f"value_{field}")
        for column in (values, getattr(features, f"known_{field}")):
            column[cold] = column[warm]
    batch = all_rows(test)
    with torch.no_grad():
        before = model.full_sort_predict(batch)
        model.items.ids.weight[cold] += 1000.0  # never used
        torch.testing.assert_close(model.full_sort_predict(batch), before)
        assert not torch.allclose(before[:, cold], before[:, warm])
        model.items.ids.weight[warm] = 0
        after = model.full_sort_predict(batch)
    torch.testing.assert_close(after[:, cold], after[:, warm], atol=1e-5, rtol=1e-5)


@models
def test_an_item_with_neither_id_nor_feature_comes_last(build, random_log, items, name):
    bare = [
        {**row, "category": "", "price": "", "tags": ""} if row["item_id"] in ("i1", "i2") else row
        for row in items
    ]
    found = 0
    for fold in range(5):
        _, train, _, test, model = build(
            name,
            random_log(sessions=150),
            bare,
            cold_items={"holdout": 0.2, "seed": 1, "fold": fold},
            repeat_bias=0.0,
        )
        ids = train._dataset.field2token_id["item_id"]
        with torch.no_grad():
            scores = model.full_sort_predict(all_rows(test))
        for token in ("i1", "i2"):
            hidden = bool(train._dataset.held_out_items[ids[token]])
            assert bool((scores[:, ids[token]] == -torch.inf).all()) == hidden
            found += hidden
    assert found == 2


@models
@pytest.mark.parametrize("targets", ["prefixes", "all_positions"])
def test_it_learns_a_toy_by_heart_by_sampled_negatives(build, name, targets):
    """20 sessions of four items each, a different first item: HR@1 is 1."""
    rows = [
        {"session_id": f"{part}{n}", "item_id": f"i{n}_{step}", "timestamp": 100.0 * n + step + shift, "split": split}
        for part, split, shift in (("a", "train", 0), ("b", "test", 10_000))
        for n in range(20)
        for step in range(4)
    ]  # fmt: skip
    items = [{"item_id": f"i{n}_{step}", "category": f"c{n % 5}"} for n in range(20) for step in range(4)]
    config, train, _, test, model = build(
        name, rows, items, split={"given": {"valid_share": 0}}, train_targets=targets, train_loss="sampled_softmax",
        epochs=100, learning_rate=0.02, train_batch_size=20, negatives=40,
            **{**STILL, "weight_decay": 0, "hidden_size": 16, "embedding_size": 16},
    )  # fmt: skip
    trainer = fit(config, model, train)
    result = trainer.evaluate(test, load_best_model=False, show_progress=False)
    assert result["hit@1"] == 1.0


def test_cold_bias_moves_cold_items_only_and_only_when_ranking(build, random_log, items):
    for name in ("SASRecFeat", "GRU4RecFeat", "HRNNFeat"):
        given = {"cold_items": {"holdout": 0.2, "seed": 1}, **PLAIN, **STILL}
        if name == "HRNNFeat":
            given |= {"embedding_size": 8, "hidden_size": 8, "dropout_input": 0.0, "dropout_session": 0.0}
        _, train, _, test, plain = build(name, random_log(sessions=120), items, **given)
        _, _, _, _, moved = build(name, **given, cold_bias=1.5)
        batch = all_rows(test)
        with torch.no_grad():
            before, after = plain.full_sort_predict(batch), moved.full_sort_predict(batch)
            own = moved.predict(batch)
        cold = ~train._dataset.train_items
        shift = torch.where(cold, 1.5, 0.0)
        known = before[0] > -torch.inf
        torch.testing.assert_close(after[:, known], (before + shift)[:, known], atol=1e-5, rtol=1e-5)
        assert cold[known].any()
        torch.testing.assert_close(
            own, after.gather(1, batch["item_id"].unsqueeze(1)).squeeze(1), atol=1e-5, rtol=1e-5
        )
        plain.train(), moved.train()
        batch = next(iter(train))
        torch.testing.assert_close(plain.calculate_loss(batch), moved.calculate_loss(batch))


@pytest.mark.parametrize("name", ["SASRecFeat", "HRNNFeat", "SASRecFeatSQN"])
@pytest.mark.parametrize("mode", ["full", "uni20"])
def test_repeat_bias_moves_cold_items_of_the_prefix_once(build, random_log, items, name, mode):
    """Added to each cold item that the prefix holds, however often; ranks are those of these scores."""
    from recbole.utils import get_trainer

    given = {
        "cold_items": {"holdout": 0.3, "seed": 1},
        "rewards": {"view": 0.2, "purchase": 1.0},
        "mode": mode,
        **PLAIN,
        **STILL,
    }
    rows = random_log(sessions=150, items=15)
    _, train, _, test, plain = build(name, rows, items, **given, repeat_bias=0.0)
    config, _, _, _, moved = build(name, **given, repeat_bias=2.5)
    moved.load_state_dict(plain.state_dict())
    batch = all_rows(test)
    with torch.no_grad():
        before, after = plain.full_sort_predict(batch), moved.full_sort_predict(batch)
    cold = ~train._dataset.train_items
    held = torch.zeros_like(before, dtype=torch.bool)
    for row, prefix in enumerate(batch["item_id_list"]):
        held[row, prefix[prefix > 0]] = True
    twice = [len(set(p[p > 0].tolist())) < int((p > 0).sum()) for p in batch["item_id_list"]]
    moves = held & cold
    known = before[0] > -torch.inf
    assert moves.any() and any(twice)
    torch.testing.assert_close(after[:, known], (before + 2.5 * moves)[:, known], atol=1e-5, rtol=1e-5)

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, moved)
    trainer.eval_collector.start()
    trainer.evaluate(test, load_best_model=False, show_progress=False)
    found = trainer.eval_collector.targets()
    if mode == "full":
        from recbole_ext.scores.ranks import target_ranks

        expected = target_ranks(after, torch.arange(len(after)), batch["item_id"])
        np.testing.assert_array_equal(found["rank"], expected.numpy()[np.argsort(batch["event_index"])])
    else:
        own = moves[torch.arange(len(moves)), batch["item_id"]].numpy()[np.argsort(batch["event_index"])]
        assert own.any() and found["rank"][own].mean() < found["rank"].mean()


@pytest.mark.parametrize("name", ["SASRecFeat", "HRNNFeat", "SASRecFeatSQN"])
@pytest.mark.parametrize("mode", ["full", "uni20"])
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_an_unseen_item_without_features_is_ranked_where_the_prefix_holds_it(
    build, random_log, name, mode, bias
):
    """Above the best trained item of the prefix, above all where there is none, later ones first."""
    from recbole.utils import get_trainer

    from recbole_ext.scores.ranks import target_ranks
    from recbole_ext.scores.terms import LATER

    given = {"cold_items": {"holdout": 0.3, "seed": 1}, "rewards": {"view": 0.2, "purchase": 1.0}}
    given |= {**PLAIN, **STILL}
    rows = random_log(sessions=150, items=15)
    config, train, _, test, model = build(name, rows, None, **given, mode=mode, repeat_bias=bias)
    batch = all_rows(test)
    with torch.no_grad():
        scores = model.full_sort_predict(batch)
    cold = ~train._dataset.train_items
    cold[0] = False
    seen = ~cold
    seen[0] = False
    alone, several = 0, 0
    for row, prefix in enumerate(batch["item_id_list"]):
        unseen = [place for place, item in enumerate(prefix.tolist()) if cold[item]] if bias else []
        held = torch.zeros_like(cold)
        held[prefix[unseen]] = True
        assert ((scores[row] > -torch.inf) == (held | seen)).all()
        trained = [item for item in prefix.tolist() if seen[item]]
        best = scores[row][trained if trained else seen].max()
        for item in set(prefix[unseen].tolist()):
            last = max(place for place in unseen if prefix[place] == item)
            assert scores[row, item].item() == pytest.approx((best + bias + last * LATER).item(), abs=1e-4)
        alone += bool(unseen) and not trained
        several += len(set(prefix[unseen].tolist())) > 1
    assert not bias or (alone and several)

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.start()
    trainer.evaluate(test, load_best_model=False, show_progress=False)
    ranks = trainer.eval_collector.targets()["rank"]
    order = np.argsort(batch["event_index"])
    expected = target_ranks(scores, torch.arange(len(scores)), batch["item_id"]).numpy()[order]
    known = (scores[torch.arange(len(scores)), batch["item_id"]] > -torch.inf).numpy()[order]
    if mode == "full":
        np.testing.assert_array_equal(ranks, expected)
    else:  # a few of the items that the target is ranked among there
        assert (ranks[known] <= expected[known]).all() and (ranks[~known] == len(cold) - 1).all()


@pytest.mark.parametrize("name", ["SASRecFeatSQN", "GRU4RecFeatSA2C"])
@pytest.mark.parametrize("targets", ["prefixes", "all_positions"])
def test_it_carries_actor_and_critic(build, random_log, items, name, targets):
    rewards = {"view": 0.2, "purchase": 1.0}
    config, train, valid, test, model = build(
        name, random_log(sessions=120), items, train_targets=targets, rewards=rewards, epochs=2,
        cold_items={"holdout": 0.2, "seed": 1},
    )  # fmt: skip
    before = [network.q.weight.detach().clone() for network in model.networks]
    trainer = fit(config, model, train, valid)
    assert any(not torch.equal(old, net.q.weight) for old, net in zip(before, model.networks))
    result = trainer.evaluate(test, load_best_model=False, show_progress=False)
    assert 0 <= result["hit@5"] <= 1
    with torch.no_grad():
        scores = model.full_sort_predict(all_rows(test))
    assert (scores[:, train._dataset.held_out_items] > -torch.inf).all()


@models
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"feature_fusion": "parallel"}, "feature_fusion is 'parallel': it has to be one of sum, gate"),
        ({"feature_fusion": "mean"}, "feature_fusion"),
        ({"loss_type": "BPR"}, "loss_type"),
        ({"cold_bias": "high"}, "cold_bias"),
        ({"repeat_bias": -1}, "repeat_bias"),
        ({"id_dropout": 2}, "id_dropout"),
        ({"item_features": ["brand"]}, "item_features names brand"),
    ],
)
def test_wrong_values_are_answered_in_a_sentence(build, random_log, items, name, settings, named):
    with pytest.raises(UsageError, match=named):
        build(name, random_log(), items, **settings)


# --- long texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [1, 3, 40, 400])
def test_one_long_text_does_not_make_all_others_long(longest):
    """As many cells as tokens, four times at most, and the means of the tokens all the same."""
    from recbole_ext.model.item_features import ItemTokens

    draw = torch.Generator().manual_seed(1)
    tokens = torch.zeros(300, longest, dtype=torch.int64)
    for item in range(1, 300):
        length = longest if item == 7 else int(torch.randint(0, min(longest, 4) + 1, (), generator=draw))
        tokens[item, :length] = torch.randint(1, 50, (length,), generator=draw)
    tokens[7, longest // 2] = 0  # a token that no training item carries
    embedding = torch.nn.Embedding(50, 4, padding_idx=0)
    own = ItemTokens(tokens)
    cells = sum(getattr(own, f"table_{number}").numel() for number in range(own.tables))
    assert cells <= 4 * (int((tokens > 0).sum()) + len(tokens))
    expected = embedding(tokens).sum(1) / (tokens > 0).sum(1, keepdim=True).clamp_min(1)
    found = own(embedding)
    assert torch.allclose(found, expected, atol=1e-6)
    some = torch.randint(0, 300, (50,), generator=draw)
    assert torch.allclose(own.of(some, embedding), expected[some], atol=1e-6)
    gradients = []
    for vectors in (found, expected):
        embedding.zero_grad()
        (vectors * torch.arange(1200).view(300, 4)).sum().backward()
        gradients.append(embedding.weight.grad.clone())
    assert torch.allclose(*gradients, rtol=1e-4)
    assert (own.tables > 1) == (longest >= 40)


@pytest.mark.parametrize("name", ["SASRecFeat", "HRNNFeat"])
def test_a_feature_that_names_each_item_is_left_out_where_nobody_names_it(build, random_log, items, name):
    for number, item in enumerate(items):
        item["split"] = f"title {number}" if number > 2 else ""  # three items have none
    rows = [
        {key: row[key] for key in ("session_id", "user_id", "item_id", "timestamp")} for row in random_log()
    ]
    model = build(name, rows, items)[-1]
    assert model.notes[:2] == [
        "item features in use: category, price, tags",
        "left out, as nearly every item has a value of its own: split; item_features uses what it names",
    ]
    named = build(name, item_features=["split", "price"])[-1]
    assert "item features in use: split, price" in named.notes and not any(
        "left out" in n for n in named.notes
    )
    for item in items:
        item["split"] = f"brand {int(item['item_id'][1:]) // 2}"
    assert "item features in use: category, price, tags, split" in build(name, rows, items)[-1].notes
