"""Patches for RecBole 1.2.1's metrics: the padding is no item, lists may be shorter than k, candidates are counted, and
no metric goes row by row.

A list of recommended items holds 0, the padding, where the model ranks no item any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def patch_list_metrics() -> None:
    """Replace what the five metrics of recommended lists count."""
    from recbole.evaluator import metrics

    for metric in (metrics.ItemCoverage, metrics.GiniIndex):
        metric.used_info = _lists_and_items
    metrics.ItemCoverage.get_coverage = _coverage
    metrics.GiniIndex.get_gini = _gini
    metrics.ShannonEntropy.get_entropy = _entropy
    metrics.AveragePopularity.get_pop = _popularity
    metrics.TailPercentage.get_tail = _tail
    for metric in (metrics.AveragePopularity, metrics.TailPercentage):
        metric.metric_info = _mean_so_far
        metric.topk_result = _mean_of_lists


def _lists_and_items(self: Any, dataobject: Any) -> tuple[np.ndarray, int]:
    return dataobject.get("rec.items").numpy(), dataobject.get("data.num_items") - 1


def _counts(item_matrix: np.ndarray) -> np.ndarray:
    """How often each recommended item is, in ascending order."""
    return np.sort(np.unique(item_matrix[item_matrix != 0], return_counts=True)[1])


def _coverage(self: Any, item_matrix: np.ndarray, num_items: int) -> float:
    """Share of the `num_items` items that stand in any list (U, k)."""
    return len(_counts(item_matrix)) / num_items


def _gini(self: Any, item_matrix: np.ndarray, num_items: int) -> float:
    """sum_i (2 i - n - 1) c_(i) / (n sum_i c_i), see evaluate/beyond.py."""
    counts = _counts(item_matrix)
    place = np.arange(num_items - len(counts) + 1, num_items + 1)
    return float(np.sum((2 * place - num_items - 1) * counts) / max(counts.sum(), 1) / num_items)


def _entropy(self: Any, item_matrix: np.ndarray) -> float:
    """-sum p ln p over the number of different items, as RecBole's code has it; its formula does not divide."""
    counts = _counts(item_matrix)
    share = counts / max(counts.sum(), 1)
    return float(-np.sum(share * np.log(share)) / max(len(counts), 1))


def _popularity(self: Any, item_matrix: np.ndarray, item_count: Mapping[int, int]) -> np.ndarray:
    """(U, k) training events of each recommended item, NaN where there is none."""
    counts = np.zeros(int(max(item_matrix.max(initial=0), max(item_count, default=0))) + 1)
    counts[list(item_count)] = list(item_count.values())
    return np.where(item_matrix != 0, counts[item_matrix], np.nan)


def _tail(self: Any, item_matrix: np.ndarray, count_items: Mapping[int, int]) -> np.ndarray:
    """(U, k) 1 where a recommended item is of the tail, NaN where there is none."""
    if self.tail > 1:
        tail = [item for item, count in count_items.items() if count <= self.tail]
    else:
        by_count = sorted(count_items, key=lambda item: (count_items[item], item))
        tail = by_count[: max(int(len(by_count) * self.tail), 1)]
    return np.where(item_matrix != 0, np.isin(item_matrix, tail), np.nan)


def _mean_so_far(self: Any, values: np.ndarray) -> np.ndarray:
    """(U, k) mean of the first 1, 2, … k of each list; NaN where nothing stands there."""
    known = ~np.isnan(values)
    number = known.cumsum(axis=1)
    return np.where(number > 0, np.where(known, values, 0).cumsum(axis=1) / np.maximum(number, 1), np.nan)


def _mean_of_lists(self: Any, metric: str, value: np.ndarray) -> dict[str, float]:
    """Mean over the lists that hold anything; 0 where none does."""
    found = {}
    for k in self.topk:
        column = value[:, k - 1]
        known = column[~np.isnan(column)]
        found[f"{metric}@{k}"] = round(float(known.mean()) if len(known) else 0.0, self.decimal_place)
    return found


PIECE = 1 << 14  # targets: 3 MB of numbers for lists of 20


def measured(metric: Any, data: Any) -> dict[str, float]:
    """What `metric.calculate_metric(data)` returns, bit by bit, in little memory.

    RecBole's metrics of hits make up to six matrices (T, K) of 8 bytes each, of which the mean over T is all that is
    asked for. Here they are made by pieces.
    """
    if type(metric) not in _of_hits() or max(metric.topk) < 2:  # numpy sums a single column in another order
        return dict(metric.calculate_metric(data))
    from recbole.evaluator.collector import DataStruct

    table = data.get("rec.topk")  # (T, K + 1)
    values: list[tuple[str, np.ndarray]] = []

    def take(name: str, value: np.ndarray) -> dict[str, float]:
        values.append((name, value))
        return {}

    metric.topk_result = take
    total, name = np.empty((0, max(metric.topk))), ""
    try:
        for piece in table.split(PIECE):
            part = DataStruct()
            part.set("rec.topk", piece)
            metric.calculate_metric(part)
            name, value = values.pop()
            # row by row, as over all at once
            total = np.concatenate((total, value)).sum(axis=0, keepdims=True)
    finally:
        del metric.topk_result
    return dict(metric.topk_result(name, total / len(table)))


def _of_hits() -> tuple[type, ...]:
    from recbole.evaluator import metrics

    return metrics.Hit, metrics.MRR, metrics.MAP, metrics.Recall, metrics.NDCG, metrics.Precision


def patch_metric_rows() -> None:
    """Count MRR, MAP and NDCG of all rows at once: the same numbers to the last bit."""
    from recbole.evaluator import metrics

    metrics.MRR.metric_info = _reciprocal_ranks
    metrics.MAP.metric_info = _average_precisions
    metrics.NDCG.metric_info = _gains


def _reciprocal_ranks(self: Any, pos_index: np.ndarray) -> np.ndarray:
    """(U, k) of hits (U, k) bool: one over the place of the first one, from there on."""
    first = pos_index.argmax(axis=1)[:, None]
    hit = np.take_along_axis(pos_index, first, 1)
    return np.where((np.arange(pos_index.shape[1]) >= first) & hit, 1 / (first + 1), 0.0)


def _average_precisions(self: Any, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
    """(U, k) of hits (U, k) bool, and of how many targets a row has (U,)."""
    places = np.arange(1, pos_index.shape[1] + 1)
    summed = np.cumsum(pos_index.cumsum(axis=1) / places * pos_index, axis=1)
    return summed / np.minimum(places, _most_hits(pos_index, pos_len))


def _gains(self: Any, pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
    """(U, k) of hits (U, k) bool, and of how many targets a row has (U,)."""
    width = pos_index.shape[1]
    gain = 1.0 / np.log2(np.arange(1, width + 1).astype(float) + 1)
    most = _most_hits(pos_index, pos_len)
    if len(most) and (most == most[0]).all():
        most = most[:1]
    best = np.cumsum(gain)[np.minimum(np.arange(1, width + 1), most) - 1]
    return np.cumsum(np.where(pos_index, gain, 0), axis=1) / best


def _most_hits(pos_index: np.ndarray, pos_len: np.ndarray) -> np.ndarray:
    """(U, 1) how many hits the best list of a row has; a row without targets, which has none, counts as a full one."""
    width = pos_index.shape[1]
    return np.where(pos_len > 0, np.minimum(pos_len, width), width)[:, None]


def patch_candidate_counts() -> None:
    """Let RecBole's Trainer say how many candidates a row has, before items that are ranked nowhere look like none."""
    from recbole.trainer import trainer as recbole_trainer

    trainer = recbole_trainer.Trainer
    full, sampled = trainer._full_sort_batch_eval, trainer._neg_sample_batch_eval

    def _full_sort_batch_eval(self: Any, batched_data: Any) -> Any:
        found = full(self, batched_data)
        history, scores = batched_data[1], found[1]
        if history is not None and hasattr(self.eval_collector, "candidates"):
            items = torch.full((len(scores),), self.tot_item_num - 1, device=scores.device)
            rows = history[0].to(scores.device)
            self.eval_collector.candidates = items - torch.bincount(rows, minlength=len(scores))
        return found

    def _neg_sample_batch_eval(self: Any, batched_data: Any) -> Any:
        found = sampled(self, batched_data)
        scores = found[1]
        if scores.dim() == 2 and hasattr(self.eval_collector, "candidates"):
            chosen = torch.zeros_like(scores, dtype=torch.bool)
            chosen[batched_data[1], batched_data[0][self.config["ITEM_ID_FIELD"]]] = True
            self.eval_collector.candidates = chosen.sum(1)
        return found

    trainer._full_sort_batch_eval = _full_sort_batch_eval
    trainer._neg_sample_batch_eval = _neg_sample_batch_eval
