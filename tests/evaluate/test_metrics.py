"""HR, NDCG, MRR and Recall of RecBole's Evaluator against ir-measures, and our ranks against both."""

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import RR, R, Success, nDCG

from recbole_ext.trainer.collector import RankCollector


def test_recbole_s_metrics_equal_ir_measures_and_our_ranks(write_log, make_config, random_log):
    from recbole.data.interaction import Interaction
    from recbole.evaluator import Evaluator

    write_log(random_log())
    config = make_config(metrics=["Hit", "NDCG", "MRR", "Recall"], topk=[5, 10, 20])
    generator = torch.Generator().manual_seed(4)
    rows, items = 64, 120
    scores = torch.rand(rows, items, generator=generator)
    scores[:, 0] = -np.inf
    target = torch.randint(1, items, (rows,), generator=generator)
    collector = RankCollector(config)
    collector.start()
    for part in torch.arange(rows).split(20):
        batch = Interaction({"session_id": part + 1})
        collector.eval_batch_collect(scores[part], batch, torch.arange(len(part)), target[part])
    ours = Evaluator(config).evaluate(collector.get_data_struct())
    kept = collector.targets()

    truth = [ir_measures.Qrel(str(row), str(int(item)), 1) for row, item in enumerate(target)]
    run = [
        ir_measures.ScoredDoc(str(row), str(item), float(scores[row, item]))
        for row in range(rows)
        for item in range(1, items)
    ]
    names = {"hit": Success, "ndcg": nDCG, "mrr": RR, "recall": R}
    expected = ir_measures.calc_aggregate([m @ k for m in names.values() for k in (5, 10, 20)], truth, run)
    rank = kept["rank"]
    by_rank = {"hit": rank > 0, "ndcg": 1 / np.log2(rank + 1), "mrr": 1 / rank, "recall": rank > 0}
    for name, measure in names.items():
        for k in (5, 10, 20):
            assert ours[f"{name}@{k}"] == pytest.approx(expected[measure @ k], abs=1e-6), (name, k)
            from_ranks = (by_rank[name] * (rank <= k)).mean()
            assert ours[f"{name}@{k}"] == pytest.approx(from_ranks, abs=1e-6), (name, k)
    assert kept["session_id"].tolist() == list(range(1, rows + 1))
    assert (kept["top"][np.arange(rows)] == scores.topk(20).indices.numpy()).all()
