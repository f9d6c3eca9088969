"""Every metric that RecBole offers: a case worked out on paper, and what models of every kind are given, read again."""

import math
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_ext.errors import UsageError
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.settings.protocol_values import OF_LISTS, OF_VALUES, RANKING
from recbole_ext.testing.runs import dense, fit
from recbole_ext.testing.toys import odd_log
from recbole_ext.trainer.collector import RankCollector

NOWHERE = -math.inf
# items 1 to 6; the targets 2, 4 and 3 have the ranks 2, 2 (one item ties) and, ranked nowhere, the last one of all
SCORES = torch.tensor(
    [
        [NOWHERE, 0.9, 0.5, 0.1, NOWHERE, NOWHERE, NOWHERE],
        [NOWHERE, 0.2, 0.8, 0.4, 0.4, 0.1, 0.0],
        [NOWHERE, 0.7, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE],
    ]
)
TARGET = torch.tensor([2, 4, 3])
COUNTS = Counter({1: 5, 2: 3, 3: 2, 4: 1})
# lists: 1 2 3, then nothing; 2 3 4 1 5 6; 1, then nothing
BY_HAND = {
    "hit@1": 0,
    "hit@3": 2 / 3,
    "hit@10": 1,
    "recall@3": 2 / 3,
    "precision@3": 2 / 9,
    "precision@10": 3 / 30,
    "mrr@3": 1 / 3,
    "map@3": 1 / 3,
    "ndcg@3": 2 / 3 / math.log2(3),
    "gauc": (4 / 5 + 4 / 5 + 0) / 3,
    "itemcoverage@1": 2 / 6,
    "itemcoverage@3": 4 / 6,
    "itemcoverage@10": 1,
    "averagepopularity@1": (5 + 3 + 5) / 3,
    "averagepopularity@3": (10 / 3 + 6 / 3 + 5) / 3,
    "averagepopularity@10": (10 / 3 + 11 / 6 + 5) / 3,
    "giniindex@1": 13 / 18,  # 3 * 1 + 5 * 2 over 6 * 3
    "giniindex@3": 17 / 42,  # -1 * 1 + 1 * 2 + 3 * 2 + 5 * 2 over 6 * 7
    "shannonentropy@3": -(3 * 2 / 7 * math.log(2 / 7) + math.log(1 / 7) / 7) / 4,
    "tailpercentage@1": 0,
    "tailpercentage@3": (1 / 3 + 2 / 3 + 0) / 3,  # items 3 and 4
}
BY_HAND_SAMPLED = {  # among 3, 4 and 4 candidates; lists: 1 2; 2 3 4 1; 1
    "hit@3": 2 / 3,
    "hit@10": 1,
    "ndcg@3": 2 / 3 / math.log2(3),
    "gauc": (1 / 2 + 2 / 3 + 0) / 3,
    "itemcoverage@3": 4 / 6,
    "itemcoverage@10": 4 / 6,
    "giniindex@10": 21 / 42,  # -1 * 1 + 1 * 1 + 3 * 2 + 5 * 3 over 6 * 7
    "averagepopularity@10": (4 + 11 / 4 + 5) / 3,
    "tailpercentage@10": (0 + 1 / 2 + 0) / 3,
}


def as_factored():
    """The second row's scores as a product; no other row can be one, as all rows rank the same items."""
    return FactoredScores(torch.ones(1, 1), SCORES[1:2].nan_to_num(neginf=0).T)


def as_sparse():
    """Item 6 of the second row has a score below the known ones; no other row ranks what is not known."""
    known = sp.csr_matrix(SCORES.nan_to_num(neginf=0).numpy())
    return SparseScores(known, np.zeros(SCORES.shape[1]), np.array([False, True, False]))


def as_candidates():
    items = torch.tensor([[2, 1, 4, 4], [4, 3, 2, 1], [3, 1, 5, 6]])
    return CandidateScores(SCORES.gather(1, items), items, SCORES.shape[1])


@pytest.fixture
def measured(write_log, make_config, random_log):
    def measure(*batches, candidates=None, metrics=(*RANKING, *OF_LISTS), **settings):
        """What the Evaluator says of batches (scores, rows, targets, columns)."""
        from recbole.evaluator import Evaluator

        write_log(random_log())
        config = make_config(
            **{
                "metrics": list(metrics),
                "topk": [1, 3, 10],
                "valid_metric": "GAUC",
                "tail_ratio": 2,
                **settings,
            }
        )
        collector = RankCollector(config)
        collector.data_struct.set("data.num_items", SCORES.shape[1])
        collector.data_struct.set("data.count_items", COUNTS)
        for scores, rows, targets, columns in batches:
            collector.candidates = candidates
            collector.eval_batch_collect(scores, columns, rows, targets)
        return dict(Evaluator(config).evaluate(collector.get_data_struct()))

    return measure


def told(found, by_hand):
    assert {key: found[key] for key in by_hand} == pytest.approx(by_hand, abs=1e-6)


def test_a_matrix_by_hand(measured):
    """In two batches, as an evaluation comes."""
    found = measured(
        (SCORES[:2].clone(), torch.arange(2), TARGET[:2], {}),
        (SCORES[2:].clone(), torch.arange(1), TARGET[2:], {}),
    )
    told(found, BY_HAND)


def test_sparse_scores_by_hand(measured):
    told(measured((as_sparse(), torch.arange(3), TARGET, {})), BY_HAND)


def test_a_product_by_hand(measured):
    found = measured((as_factored(), torch.arange(1), TARGET[1:2], {}))
    alone = measured((SCORES[1:2].clone(), torch.arange(1), TARGET[1:2], {}))
    told(found, {**alone, "gauc": 4 / 5, "itemcoverage@3": 3 / 6, "hit@3": 1})


def test_sampled_candidates_by_hand(measured):
    told(measured((as_candidates(), torch.arange(3), TARGET, {})), BY_HAND_SAMPLED)


def test_several_targets_of_a_user_by_hand(measured):
    """Item 1 is the user's history, 4 a target that is ranked nowhere; 3 beats two of the negatives 2, 5, 6."""
    scores = torch.tensor([[NOWHERE, NOWHERE, 0.9, 0.5, NOWHERE, 0.1, 0.2]])
    found = measured((scores, torch.tensor([0, 0]), torch.tensor([3, 4]), {}), candidates=torch.tensor([5]))
    expected = {
        **{"gauc": (2 / 3 + 0) / 2, "recall@1": 0, "recall@3": 1 / 2, "recall@10": 1 / 2, "hit@10": 1},
        **{"precision@10": 1 / 10, "mrr@3": 1 / 2, "itemcoverage@10": 4 / 6, "map@3": 1 / 4},
        "ndcg@3": 1 / math.log2(3) / (1 + 1 / math.log2(3)),
    }
    told(found, expected)


VALUES = torch.tensor([0.9, NOWHERE, 0.2, NOWHERE])
LABELS = torch.tensor([1.0, 1.0, 0.0, 0.0])


def of_labels(measured, metrics, scores, labels=LABELS):
    settings = {"metrics": metrics, "mode": "uni3", "valid_metric": metrics[0]}
    return measured((scores, torch.arange(4), TARGET, {"label": labels}), **settings)


def test_auc_and_logloss_by_hand(measured, monkeypatch):
    """Of four pairs two are right and one ties, both being ranked nowhere."""
    found = of_labels(measured, ["AUC", "LogLoss"], VALUES)
    least = 1e-15
    told(found, {"auc": 2.5 / 4, "logloss": -(math.log(0.9) + math.log(least) + math.log(0.8)) / 4})


def test_mae_and_rmse_by_hand(measured):
    found = of_labels(
        measured, ["MAE", "RMSE"], torch.tensor([0.9, 0.5, 0.2, 0.0]), torch.tensor([1.0, 0, 0, 0])
    )
    told(found, {"mae": 0.8 / 4, "rmse": math.sqrt((0.01 + 0.25 + 0.04) / 4)})


@pytest.mark.parametrize("metric", ["MAE", "RMSE"])
def test_no_score_has_no_distance(measured, metric):
    with pytest.raises(
        UsageError, match=f"^{metric} measures how far a score is from its label, and GRU4Rec"
    ):
        of_labels(measured, [metric], VALUES)


# --- whole runs ---------------------------------------------------------------------------------------------

MODELS = [
    "GRU4Rec",
    "BERT4Rec",
    "SKNN",
    "RepeatLast",
    "Pop",
    "EASE",
    "HRNNFeat",
]  # both ways, and every kind of scores
CUTS = [1, 5, 40]


def read_again(run):
    """The metrics from the scores that the collector was given, target by target, in plain Python."""
    counts = run.train._dataset.training_counts().tolist()
    n = len(counts) - 1
    found = {}
    rows = []
    for given, _, targets in run.ranked.batches:
        scores = dense(given).double().numpy()
        for row, target in enumerate(targets.tolist()):
            if isinstance(given, CandidateScores):
                field = set(given.items[row].tolist())
            elif run.config["eval_args"]["mode"]["test"] != "full":
                field = {item for item in range(1, n + 1) if scores[row, item] > NOWHERE}
            else:
                field = set(range(1, n + 1))
            ranked = [item for item in field if scores[row, item] > NOWHERE]
            listed = sorted(ranked, key=lambda item: (-scores[row, item], item))
            rank = n  # of a target that is ranked nowhere
            if target in ranked:
                others = [scores[row, item] for item in ranked if item != target]
                own = scores[row, target]
                rank = 1 + sum(s > own for s in others) + sum(s == own for s in others) // 2
            rows.append((rank, len(field), listed))
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    found["gauc"] = mean([(size - min(rank, size)) / (size - 1) for rank, size, _ in rows])
    few = max(int(sum(c > 0 for c in counts) * 0.1), 1)
    tail = sorted((item for item in range(1, n + 1) if counts[item]), key=lambda i: (counts[i], i))[:few]
    for k in CUTS:
        hits = [rank <= k for rank, *_ in rows]
        found[f"hit@{k}"] = found[f"recall@{k}"] = mean(hits)
        found[f"precision@{k}"] = mean(hits) / k
        found[f"mrr@{k}"] = found[f"map@{k}"] = mean([hit / r for hit, (r, *_) in zip(hits, rows)])
        found[f"ndcg@{k}"] = mean([hit / math.log2(r + 1) for hit, (r, *_) in zip(hits, rows)])
        lists = [listed[:k] for *_, listed in rows if listed]
        often = Counter(item for items in lists for item in items)
        total = sum(often.values())
        found[f"itemcoverage@{k}"] = len(often) / n
        found[f"averagepopularity@{k}"] = mean([mean([counts[i] for i in items]) for items in lists])
        found[f"tailpercentage@{k}"] = mean([mean([i in tail for i in items]) for items in lists])
        ordered = sorted(often.get(item, 0) for item in range(1, n + 1))
        found[f"giniindex@{k}"] = sum((2 * p - n - 1) * c for p, c in enumerate(ordered, 1)) / (n * total)
        shares = [c / total for c in often.values()]
        found[f"shannonentropy@{k}"] = -sum(p * math.log(p) for p in shares) / len(shares)
    return found


@pytest.mark.parametrize("mode", ["full", "uni3", "pop3"])
@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_is_measured_at_is_what_its_scores_say(model, mode, tmp_path):
    settings = {
        "eval_args": {"split": {"given": {"valid_share": 0}}, "mode": mode},
        "metrics": [*RANKING, *OF_LISTS],
        "topk": CUTS,
        "valid_metric": "GAUC",
    }
    run = fit(model, tmp_path, odd_log(), settings, common={"epochs": 1})
    again = read_again(run)
    assert run.ranked.metrics == pytest.approx(again, abs=1e-6)
    assert set(run.ranked.metrics) == set(again)
    assert 0 <= again["gauc"] <= 1


@pytest.mark.parametrize("model", ["GRU4Rec", "SKNN", "Pop"])
@pytest.mark.parametrize("metrics", [["AUC", "LogLoss"], ["MAE", "RMSE"]])
def test_what_is_measured_by_labels_is_what_the_scores_say(model, metrics, tmp_path, monkeypatch):
    """One positive and three drawn negatives a target; SKNN gives most of them no score."""
    from recbole.evaluator import Evaluator

    given = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(Evaluator, "evaluate", lambda self, data: given.append(data) or evaluate(self, data))
    settings = {
        "eval_args": {"split": {"given": {"valid_share": 0}}, "mode": "uni3"},
        **{"metrics": metrics, "valid_metric": metrics[0], "topk": [1]},
    }
    import recbole_ext
    from recbole_ext.testing.runs import LOG, SETTINGS, readable
    from recbole_ext.testing.toys import write_log

    write_log(tmp_path / "data", LOG, odd_log())
    places = {"data_path": str(tmp_path / "data"), "runs_dir": str(tmp_path / "runs")}
    common = {**SETTINGS, "epochs": 1, "checkpoint_dir": str(tmp_path / "saved")}
    monkeypatch.chdir(tmp_path)
    keys = readable(model, {**places, **settings}, common)
    if model == "SKNN" and "MAE" in metrics:
        with pytest.raises(UsageError, match=r"^MAE measures how"):
            recbole_ext.run(model, LOG, **keys)
        return
    found = recbole_ext.run(model, LOG, **keys)["test"]
    scores, labels = (given[-1].get(name).numpy().astype(float) for name in ("rec.score", "data.label"))
    assert labels.sum() * 4 == len(labels) > 40
    if metrics[0] == "MAE":
        expected = {"mae": np.abs(scores - labels).mean(), "rmse": np.sqrt(((scores - labels) ** 2).mean())}
    else:
        better = (scores[labels == 1][:, None] - scores[labels == 0]) > 0
        equal = scores[labels == 1][:, None] == scores[labels == 0]
        chance = scores.clip(1e-15, 1 - 1e-15)
        expected = {
            "auc": (better + equal / 2).mean(),
            "logloss": -(labels * np.log(chance) + (1 - labels) * np.log(1 - chance)).mean(),
        }
    assert found == pytest.approx(expected, abs=1e-6)


def test_every_metric_is_tried():
    names = {key.partition("@")[0] for key in BY_HAND} | {"auc", "logloss", "mae", "rmse"}
    assert names == {name.lower() for name in (*RANKING, *OF_LISTS, *OF_VALUES)}


@pytest.mark.parametrize("metrics", [["AUC"], ["NDCG", "LogLoss"]])
def test_metrics_of_labels_need_labels(write_log, make_config, random_log, metrics):
    write_log(random_log())
    with pytest.raises(UsageError, match=f"names {metrics[-1]}, .* set eval_args.mode"):
        make_config(metrics=metrics, valid_metric=metrics[0])


@pytest.mark.parametrize("name", ["Hit", "MRR", "MAP", "Recall", "NDCG", "Precision"])
@pytest.mark.parametrize("piece", [1, 97, 5000])
def test_metrics_by_pieces_are_recboles_bit_by_bit_in_less_memory(name, piece, monkeypatch):
    import tracemalloc

    from recbole.evaluator import metrics
    from recbole.evaluator.collector import DataStruct

    from recbole_ext.bridge.patches import metrics as ours
    from recbole_ext.bridge.registry import install

    install()  # what numpy has dropped
    draw = torch.Generator().manual_seed(1)
    hits = (torch.rand(2000, 20, generator=draw) < 0.1).int()
    more = torch.randint(0, 4, (2000, 1), generator=draw).int()
    data = DataStruct()
    data.set("rec.topk", torch.cat((hits, (hits.sum(1, keepdim=True) + more).clamp(min=1).int()), dim=1))
    metric = getattr(metrics, name)({"topk": [1, 5, 20], "metric_decimal_place": 17})
    monkeypatch.setattr(ours, "PIECE", piece)
    peaks, found = [], []
    for measure in (metric.calculate_metric, lambda data: ours.measured(metric, data)):
        tracemalloc.start()
        found.append(measure(data))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert found[0] == found[1] and len(found[0]) == 3 and found[0][f"{name.lower()}@20"] > 0
    assert piece != 97 or peaks[1] < peaks[0] / 2
    assert "topk_result" not in vars(metric)  # it is as it was


def test_a_metric_of_ones_own_is_asked_as_it_is():
    from recbole.evaluator import metrics

    from recbole_ext.bridge.patches.metrics import measured

    class Own(metrics.NDCG):
        def calculate_metric(self, data):
            return {"own@5": data}

    assert measured(Own({"topk": [5], "metric_decimal_place": 4}), 0.5) == {"own@5": 0.5}
