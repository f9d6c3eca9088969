"""The model card: figures are those of the ranks, and what a run does not know is not said."""

import numpy as np
import pytest

from recbole_ext.evaluate.intervals import bootstrap_mean, normal_mean
from recbole_ext.report.model_card import model_card


@pytest.fixture
def record():
    return {
        **{
            "model": "HRNNFeat",
            "dataset": "a|b",
            "seed": 1,
            "parameters": 1234,
            "commit": None,
            "device": "cpu",
        },
        **{
            "started": "2026-11-29",
            "versions": {"torch": "2"},
            "seconds": {"train": 75.0},
            "notes": ["a *note*"],
        },
        **{"protocol": "one ranking", "split": "by time", "valid_metric": "NDCG@10", "epochs_run": 9},
        **{"best_epoch": 4, "best_valid_score": 0.25, "test": {"hit@10": 0.5}, "config": {"topk": [5, 10]}},
        "counts": {"train_rows": 1000, "valid_rows": 10, "test_targets": 400, "items": 50},
        "data": {
            "converter": "events",
            "created": "2026-11-28",
            "rows": {"log.csv": {"read": 1500, "kept": 1480, "dropped": {"no item": 20}}},
            "guessed": {"user": "column 'who'"},
        },
    }


@pytest.fixture
def arrays():
    draw = np.random.default_rng(1)
    session = np.repeat(np.arange(100), 4)
    return {
        "rank": np.maximum(1, draw.integers(-10, 30, 400) + (session % 7)),
        "session_token": session.astype(str),
        "item": draw.integers(1, 51, 400),
        "item_count": np.arange(51) % 9,
    }


def test_figures_are_those_of_the_ranks(record, arrays):
    card = model_card(record, arrays, "HRNNFeat-1")
    rank = arrays["rank"]
    hit, ndcg = (rank <= 10), (rank <= 10) / np.log2(rank + 1)
    (row,) = [line for line in card.splitlines() if line.startswith("| all |")]
    assert (
        row.startswith(f"| all | 400 | {hit.mean():.4f}".replace(" 0.", " ."))
        and f"{ndcg.mean():.4f}"[1:] in row
    )
    cold = arrays["item_count"][arrays["item"]] == 0
    assert f"| item: cold \\* | {cold.sum()} | {f'{hit[cold].mean():.4f}'[1:]}" in card
    assert f"- {cold.mean():.1%} of the test targets are items that training never saw" in card
    assert "# HRNNFeat on a\\|b" in card and "a \\*note\\*" in card
    assert "1,500 rows read, 1,480 kept; no item 20" in card and "guessed, user: column 'who'" in card
    assert "Epoch 5 of 9, the best by NDCG@10 on validation (.2500)" in card
    assert "does not say who comes back" in card and "generated" not in card


def test_what_a_run_does_not_know_is_not_said(record):
    record |= {"data": None, "best_epoch": None, "config": {"topk": [5], "generate": {"scale": 1}}}
    card = model_card(record, {}, "r")
    assert "- hit@10: .5000" in card and "| all |" not in card and "converted" not in card
    assert "learns in one pass" in card and "The log is generated" in card
    record["config"]["refit"] = True
    assert "Trained on training + validation for 9 epochs" in model_card(record, {}, "r")


def test_the_interval_is_near_the_bootstrap_s(arrays):
    values = (arrays["rank"] <= 10).astype(float)
    cluster = np.repeat(np.arange(100), 4)
    drawn, normal = bootstrap_mean(values, cluster), normal_mean(values, cluster)
    assert normal[0] == pytest.approx(drawn[0])
    assert normal == pytest.approx(drawn, abs=0.15 * (drawn[2] - drawn[1]))
    assert np.isnan(normal_mean(values, np.zeros(400, dtype=int))[1:]).all()
    assert np.isnan(normal_mean(np.zeros(400), cluster)[1:]).all()
