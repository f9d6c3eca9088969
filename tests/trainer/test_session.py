"""Our Trainer against RecBole's: the same losses and metrics, every position as its prefix, resumed as whole."""

import math

import pytest
import torch

from recbole_ext.errors import UsageError

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
NO_DROPOUT = {
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_prob": 0.0,
    "dropout_probs": [0.0, 0.0],
    "dropout_ratio": 0.0,
    "sess_dropout": 0.0,
    "item_dropout": 0.0,
}
MODELS = [
    *("SASRec", "GRU4Rec", "NARM", "STAMP", "SRGNN", "GCSAN", "SASRecF", "GRU4RecF", "FDSA", "LightSANs"),
    *(
        "CORE",
        "FPMC",
        "NextItNet",
        "Caser",
        "SINE",
        "HGN",
        "FOSSIL",
        "HRM",
        "NPE",
        "SHAN",
        "TransRec",
        "RepeatNet",
    ),
]


@pytest.mark.parametrize("model", MODELS)
def test_losses_and_metrics_are_recboles(build, model):
    """Our data path, loss and ranking against RecBole's own of all three: two epochs of the same batches."""
    from recbole.trainer import Trainer

    settings = {**NO_DROPOUT, "length_buckets": False}
    if model == "HRM":
        settings["layers"] = 1
    found = []
    for layout, trainer_class in (("recbole", Trainer), ("pointers", None)):
        (train, valid, _), _, trainer = build(
            model, data_layout=layout, trainer_class=trainer_class, **settings
        )
        losses = [trainer._train_epoch(train, epoch) for epoch in range(2)]
        metrics = trainer.evaluate(valid, load_best_model=False)
        found.append((losses, metrics))
    (theirs, metrics), (ours, our_metrics) = found
    assert ours == pytest.approx(theirs, rel=1e-5)
    for name, value in metrics.items():
        assert our_metrics[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "SASRecF", "GRU4RecF", "FDSA", "HRNNFeat"])
def test_every_position_costs_what_its_prefixes_cost(build, model):
    """Summed loss of all positions of all sessions = that of the prefix rows, with the same weights."""
    from recbole_ext.model.factored import Factored

    settings = {**NO_DROPOUT, "train_batch_size": 10_000, "split": SPLIT}
    if model == "HRNNFeat":
        settings.update(id_dropout=0, dropout_input=0, dropout_session=0, dropout_readout=0)
    found = {}
    for targets in ("prefixes", "all_positions"):
        (train, *_), network, trainer = build(model, train_targets=targets, **settings)
        trainer._meet_training(train)
        network.train()
        batches = list(train)
        counts = [b.count if targets == "all_positions" else len(b) for b in batches]
        found[targets] = (
            sum(trainer._loss_of(batch).item() * count for batch, count in zip(batches, counts)),
            sum(counts),
        )
        if isinstance(network, Factored):
            network.select = False
            again = sum(network.calculate_loss(b).item() * n for b, n in zip(batches, counts))
            assert again == pytest.approx(found[targets][0], rel=1e-5)
    assert found["prefixes"][1] == found["all_positions"][1] > 100
    assert found["all_positions"][0] == pytest.approx(found["prefixes"][0], rel=1e-4 / 10)


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bce", "gbce"])
@pytest.mark.parametrize("model", ["SASRec", "HRNNFeat"])
def test_a_tiny_log_is_learnt_by_heart_with_every_loss(build, model, loss):
    rows = [
        {
            "session_id": f"s{n}",
            "user_id": f"u{n}",
            "item_id": f"i{(n * 3 + k) % 12}",
            "timestamp": 100.0 * n + k,
        }
        for n in range(20)
        for k in range(4)
    ]
    extra = NO_DROPOUT
    if model == "HRNNFeat":
        extra = {"user_state": "none", "dropout_input": 0.0, "id_dropout": 0.0}
        if loss.endswith("bce"):  # which knows no probabilities
            extra["pointer"] = "none"
    (train, _, _), _, trainer = build(
        model,
        rows=rows,
        train_targets="all_positions",
        train_loss=loss,
        negatives=8,
        learning_rate=0.01 if model == "HRNNFeat" else 0.003,
        weight_decay=0.0,
        split={"session_time": [0.5, 0.0, 0.5]},
        **extra,
    )
    for epoch in range(60 if model == "HRNNFeat" else 150):
        trainer._train_epoch(train, epoch)
    (_, _, test), _, _ = build(model, rows=rows, split={"session_time": [0.5, 0.0, 0.5]}, **extra)
    assert trainer.evaluate(test, load_best_model=False)["hit@1"] == 1.0


def test_what_cannot_be_is_said(build):
    cases = [
        ({"model": "NARM", "train_targets": "all_positions"}, "NARM is none"),
        ({"model": "CORE", "train_loss": "bce"}, "CORE does not"),
        ({"model": "CORE", "score": "cosine"}, "leave score out"),
        ({"model": "Caser", "score": "cosine"}, "knows no cosine"),
        ({"model": "SASRec", "train_loss": "bpr"}, "one of softmax, sampled_softmax, bce, gbce"),
        ({"model": "SASRec", "data_layout": "recbole", "train_loss": "bce"}, "data_layout: pointers"),
        (
            {"model": "SASRec", "data_layout": "recbole", "train_targets": "all_positions"},
            "train_targets out",
        ),
        ({"model": "Pop", "train_loss": "softmax"}, "Pop here is none"),
        ({"model": "S3Rec", "train_targets": "all_positions"}, "S3Rec here is none"),
        ({"model": "SASRec", "train_targets": "some"}, "prefixes, all_positions"),
        ({"model": "HRNNFeat", "loss_type": "TOP1", "train_loss": "bce", "pointer": "none"}, "leave one out"),
        ({"model": "HRNNFeat", "user_state": "init", "train_targets": "prefixes"}, "user_state: none"),
    ]
    for settings, part in cases:
        with pytest.raises(UsageError, match=part):
            (train, *_), _, trainer = build(**settings)
            trainer.fit(train, saved=False, verbose=False)


def test_an_empty_history_has_no_positions_for_recboles_models(build):
    with pytest.raises(UsageError, match="empty history"):
        build("SASRec", train_targets="all_positions", empty_history=True, split=SPLIT)


@pytest.mark.parametrize("settings", [{}, {"score": "cosine", "temperature": 0.1}])
def test_ranks_by_counting_are_those_of_the_whole_matrix(build, settings):
    """With a cosine the model is ranked as it is trained."""
    (train, _, test), network, trainer = build("SASRec", split=SPLIT, **settings)
    trainer._train_epoch(train, 0)
    trainer.eval_collector.start()
    metrics = trainer.evaluate(test, load_best_model=False)
    kept = trainer.eval_collector.targets()
    data = test._dataset
    with torch.no_grad():
        rows = data[torch.arange(len(data))]
        states, table = (
            network.forward(rows["item_id_list"], rows["item_length"]),
            network.item_embedding.weight,
        )
        if settings:
            states, table = (torch.nn.functional.normalize(x, dim=1) for x in (states, table))
        scores = states @ table.T
    scores[:, 0] = -torch.inf
    own = scores.gather(1, rows["item_id"].unsqueeze(1))
    rank = (scores > own).sum(1) + 1
    in_order = torch.argsort(rows["event_index"])
    assert kept["rank"].tolist() == rank[in_order].tolist()
    assert kept["top"][:, :5].tolist() == scores[in_order].topk(5).indices.tolist()
    assert metrics["hit@5"] == pytest.approx((rank <= 5).float().mean().item(), abs=1e-6)
    assert metrics["ndcg@5"] == pytest.approx(
        sum(1 / math.log2(r + 1) for r in rank.tolist() if r <= 5) / len(rank), abs=1e-6
    )


@pytest.mark.parametrize("model", ["SASRec", "HGN"])
def test_sampled_evaluation_ranks_among_the_candidates(build, model):
    """A sequence is encoded once; scores are those that `predict` gives each candidate."""
    (_, _, test), network, trainer = build(model, split=SPLIT, mode="uni20")
    network.eval()
    trainer._meet(test)
    trainer.tot_item_num = test._dataset.item_num
    for batch in test:
        rows, candidates, _, target = batch
        with torch.no_grad():
            _, scores, _, _ = trainer._neg_sample_batch_eval(batch)
            for column in range(candidates.shape[1]):
                rows["item_id"] = candidates[:, column]
                torch.testing.assert_close(
                    scores.scores[:, column], network.predict(rows), atol=1e-5, rtol=1e-5
                )
        unique = [
            len({float(s) for s, i in zip(row, items)}) for row, items in zip(scores.scores, candidates)
        ]
        ranks = scores.ranks(target)
        for row, rank in enumerate(ranks.tolist()):
            better = {
                int(i)
                for s, i in zip(scores.scores[row], candidates[row])
                if s > scores.scores[row, 0] and i != target[row]
            }
            assert rank == len(better) + 1
        assert max(unique) > 1


def test_trained_in_buckets_or_not_ranks_as_well(build):
    """One log, three seeds each: the means differ by less than the seeds do, or than a tenth."""

    def score(seed, buckets):
        (train, _, test), _, trainer = build("SASRec", seed=seed, length_buckets=buckets, split=SPLIT)
        for epoch in range(6):
            trainer._train_epoch(train, epoch)
        return trainer.evaluate(test, load_best_model=False)["ndcg@5"]

    with_buckets, without = ([score(seed, buckets) for seed in (1, 2, 3)] for buckets in (True, False))
    spread = max(max(with_buckets) - min(with_buckets), max(without) - min(without), 0.1)
    assert abs(sum(with_buckets) - sum(without)) / 3 < spread


def test_resumed_training_is_the_uninterrupted_one(build, trained_in_two_halves):
    settings = {"train_targets": "all_positions", "train_loss": "sampled_softmax"}

    def fresh():
        return build("SASRec", epochs=4, eval_step=1, stopping_step=9, negatives=16, split=SPLIT, **settings)

    trained_in_two_halves(fresh)


def test_a_model_with_a_past_limit_gets_the_past(build):
    (train, *_), network, trainer = build("SASRec", train_targets="all_positions", split=SPLIT)
    network.past_limit = 7
    trainer._meet_training(train)
    assert {batch.past_items.shape[1] for batch in train} == {7}
    assert any(batch.past_items.any() for batch in train)


def test_a_loss_that_is_no_number_stops_training(build):
    (train, *_), network, trainer = build("SASRec", split=SPLIT)
    with torch.no_grad():
        network.item_embedding.weight[1:] = float("nan")
    with pytest.raises(ValueError, match="nan"):
        trainer._train_epoch(train, 0)


def test_the_log_says_once_by_which_ways_steps_go(build, caplog):
    (train, valid, _), _, trainer = build("GRU4Rec", epochs=2, train_loss="softmax")
    with caplog.at_level("INFO"):
        trainer.fit(train, valid, saved=False, verbose=False)
    (said,) = [line for line in caplog.messages if line.startswith("training in ")]
    told = said.removeprefix("training in fp32 on cpu: ")
    ways = [way for way in ("oneDNN", "torch's own operations") if f" by {way}" in told]
    assert told != said and ways and "graphs" not in told
    parts = {
        part
        for each in told.split("; ")
        for part in each.partition(" by ")[0].replace(" and ", ", ").split(", ")
    }
    assert parts == {"softmax", "GRU", "linear layers", "looked-up rows"}
