"""Metrics that are their formulas: patches/metrics.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_ext.bridge import patches as compat

from .toy import measured_lists


def list_metrics(folder: Path) -> Any:
    """The same with a list of one item; the padding is no item."""
    return measured_lists(folder, [[1, 2], [1, 0], [1, 2]])[0]


SHORT_LIST_BY_HAND = {
    "itemcoverage@2": 0.4,  # 2 of 5
    "averagepopularity@2": 5.0,  # (4.5 + 6 + 4.5) / 3
    "giniindex@2": 0.64,  # (2*2 + 4*3) / 5 / 5
    "shannonentropy@2": 0.336506,  # -(3/5 ln 3/5 + 2/5 ln 2/5) / 2
    "tailpercentage@2": 0.0,
}


def candidate_counts(folder: Path) -> Any:
    """Of items 1 to 4: two users whose history holds one and two of them; then two drawn candidates each."""
    from recbole.data.interaction import Interaction
    from recbole.trainer import Trainer

    nowhere = -torch.inf
    scores = torch.tensor([[0.0, 0.3, nowhere, 0.1, nowhere], [0.0, 0.3, 0.2, 0.1, nowhere]])
    collector = SimpleNamespace(candidates=None)
    trainer = SimpleNamespace(
        model=SimpleNamespace(
            full_sort_predict=lambda rows: scores.clone(),
            predict=lambda rows: scores[[0, 0, 1, 1], [2, 1, 4, 1]],
        ),
        **{"device": "cpu", "tot_item_num": 5, "test_batch_size": 9, "eval_collector": collector},
        config={"eval_type": ranking_type(), "ITEM_ID_FIELD": "item_id"},
    )
    rows, number = Interaction({"item_id": torch.tensor([2, 1, 4, 1])}), torch.tensor([0, 0, 1, 1])
    history = (torch.tensor([0, 1, 1]), torch.tensor([1, 2, 3]))
    found = []
    for evaluate, batch in (
        (Trainer._full_sort_batch_eval, (rows, history, torch.tensor([0, 1]), torch.tensor([3, 4]))),
        (Trainer._neg_sample_batch_eval, (rows, number, torch.tensor([0, 1]), torch.tensor([2, 4]))),
    ):
        evaluate(trainer, batch)
        found.append(None if collector.candidates is None else collector.candidates.tolist())
    return found


def ranking_type() -> Any:
    from recbole.utils import EvaluatorType

    return EvaluatorType.RANKING


class Counted(np.ndarray):
    """Counts the writes to it and to what is made like it."""

    writes = 0

    def __setitem__(self, key: Any, value: Any) -> None:
        Counted.writes += 1
        super().__setitem__(key, value)


HITS = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]], dtype=bool)


TARGETS = np.array([2, 1, 7, 1])


def metric_rows(folder: Path) -> Any:
    """How often the three metrics write to an array, and what they say of four rows."""
    from recbole.evaluator import metrics

    Counted.writes = 0
    hits, found = HITS.view(Counted), []
    for metric, given in ((metrics.MRR, ()), (metrics.MAP, (TARGETS,)), (metrics.NDCG, (TARGETS,))):
        values = metric.metric_info(None, hits, *given)
        found.append(np.round(np.asarray(values)[:, [0, 3]], 6).tolist())
    return [Counted.writes, found]


METRICS_BY_HAND = [
    [[0.0, 0.5], [0.0, 0.0], [1.0, 1.0], [0.0, 0.333333]],
    [[0.0, 0.5], [0.0, 0.0], [1.0, 1.0], [0.0, 0.333333]],  # (1/2 + 2/4) / 2, 4/4, 1/3
    # (1/lg 3 + 1/lg 5) / (1 + 1/lg 3), 1, 1/lg 4
    [[0.0, 0.650921], [0.0, 0.0], [1.0, 1.0], [0.0, 0.5]],
]


EXPECTED: dict[str, Any] = {
    "list_metrics": SHORT_LIST_BY_HAND,
    "candidate_counts": [[3, 2], [2, 2]],
    "metric_rows": [0, METRICS_BY_HAND],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "list_metrics": "'itemcoverage@2': 0.5",
    "candidate_counts": "[None, None]",
    "metric_rows": f"[14, {METRICS_BY_HAND}",
}


@pytest.mark.parametrize("kind", [bool, int])
def test_metrics_of_all_rows_are_those_of_each(kind):
    """… as RecBole counts them, to the last bit."""
    from recbole.evaluator import metrics

    compat.apply()
    draw = np.random.default_rng(4)
    hits = draw.random((300, 20)) < draw.random((300, 1)) ** 3
    targets = hits.sum(1) + draw.integers(0, 3, 300)
    if kind is bool:  # rows of one target, as a collector of single targets has them
        hits[:] = np.arange(20) == draw.integers(0, 30, (300, 1))
        targets = np.ones(300, bool)
    places = np.arange(1, 21)
    gain = 1.0 / np.log2(places.astype(float) + 1)
    ideal = np.cumsum(gain)
    mrr, average, ndcg = (np.zeros((300, 20)) for _ in range(3))
    for row, (hit, number) in enumerate(zip(hits, targets)):
        most = min(int(number), 20) or 20
        if hit.any():
            mrr[row, hit.argmax() :] = 1 / (hit.argmax() + 1)
        average[row] = np.cumsum(hit.cumsum() / places * hit) / np.minimum(places, most)
        ndcg[row] = np.cumsum(np.where(hit, gain, 0)) / ideal[np.minimum(places, most) - 1]
    assert np.array_equal(metrics.MRR.metric_info(None, hits), mrr)
    assert np.array_equal(metrics.MAP.metric_info(None, hits, targets), average)
    assert np.array_equal(metrics.NDCG.metric_info(None, hits, targets), ndcg)
