"""What numpy, pandas, scipy and Python types of today make of RecBole: patches/arrays.py.

Scenarios are run by test_every_patch.py.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from .toy import POPULARITY, make_config, measured_lists, run_toy


def numpy_aliases(folder: Path) -> Any:
    make_config("BPR", folder)
    return [np.float is np.float64, np.unicode is np.str_]


FEATURE_FILES = {
    "inter": "session_id:token\titem_id:token\ttimestamp:float\n"
    + "".join(f"s1\ti{k}\t{k}\n" for k in range(1, 6)),
    "item": "item_id:token\tcategory:token\tprice:float\tname:token_seq\tvec:float_seq\n"
    "i1\ta\t1\tx y\t1 2\n"  # i5 has no row at all
    "i2\t\t3\t\t4\n"
    "i3\tb\t\ty\t\n"
    "i4\ta\t2\tz\t0 2 3\n",
}


def item_features(folder: Path, columns: list[str], **more: Any) -> dict[str, Any]:
    """The item features that RecBole hands to a model, by field, row 0 = padding."""
    from recbole.data import create_dataset

    data = folder / "data" / "toy"
    if not data.exists():
        data.mkdir(parents=True)
        for suffix, text in FEATURE_FILES.items():
            (data / f"toy.{suffix}").write_text(text)
    load = {"inter": ["session_id", "item_id", "timestamp"], "item": ["item_id", *columns]}
    more = {"load_col": load, "filter_inter_by_user_or_item": False, **more}
    dataset = create_dataset(make_config("BPR", folder, **more))
    dataset._change_feat_format()
    return {column: dataset.item_feat[column].tolist() for column in columns}


def pandas_three(folder: Path) -> Any:
    seen: dict[str, Any] = {}
    cases: dict[str, tuple[list[str], dict[str, Any]]] = {
        "plain": (["category", "price"], {}),
        "sequences": (["name", "vec"], {}),
        "normalized": (["price", "vec"], {"normalize_field": ["price", "vec"]}),
        "discretized": (
            ["price", "vec"],
            {
                "numerical_features": ["price", "vec"],
                "discretization": {name: {"method": "ED", "bucket": 2} for name in ("price", "vec")},
            },
        ),
    }
    for name, (columns, more) in cases.items():
        try:
            seen[name] = item_features(folder, columns, **more)
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    return seen


# worked out on paper: missing token 0, missing price the mean of 1, 3, 2, missing sequence empty
FEATURES = {
    "plain": {"category": [0, 1, 0, 2, 1, 0], "price": [2, 1, 3, 2, 2, 2]},
    "sequences": {
        "name": [[0, 0], [1, 2], [0, 0], [2, 0], [3, 0], [0, 0]],
        "vec": [[0, 0, 0], [1, 2, 0], [4, 0, 0], [0, 0, 0], [0, 2, 3], [0, 0, 0]],
    },
    "normalized": {
        "price": [0.5, 0, 1, 0.5, 0.5, 0.5],
        "vec": [[0, 0, 0], [0.25, 0.5, 0], [1, 0, 0], [0, 0, 0], [0, 0.5, 0.75], [0, 0, 0]],
    },
    "discretized": {  # pairs (1, bucket), buckets 1 and 2 of [1, 3] and [0, 4]; padding (0, 0)
        "price": [[1, 1], [1, 1], [1, 2], [1, 1], [1, 1], [1, 1]],
        "vec": [
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [1, 1], [0, 0]],
            [[1, 2], [0, 0], [0, 0]],
            [[0, 0], [0, 0], [0, 0]],
            [[1, 1], [1, 1], [1, 2]],
            [[0, 0], [0, 0], [0, 0]],
        ],
    },
}


FEATURES["discretized"]["vec"][4][2] = [1, 2]  # 3 * 2 / 4 + 1 = 2.5


def scipy_dok(folder: Path) -> Any:
    return sorted(run_toy("LightGCN", folder, embedding_size=4)["test_result"])


def collector_ints(folder: Path) -> Any:
    """Three users with two recommended items each, of five; items 1, 2, 3 were seen 6, 3 and 1 times."""
    return measured_lists(folder, [[1, 2], [1, 3], [1, 2]])


POPULARITY_BY_HAND = {
    "itemcoverage@2": 0.6,  # 3 of 5
    "averagepopularity@2": 4.166667,  # (4.5 + 3.5 + 4.5) / 3
    "giniindex@2": 0.533333,  # (0*1 + 2*2 + 4*3) / 6 / 5
    "shannonentropy@2": 0.337135,  # -(1/2 ln 1/2 + 1/3 ln 1/3 + 1/6 ln 1/6) / 3
    "tailpercentage@2": 0.166667,  # item 3, half of one user's list
}


def empty_sets(folder: Path) -> Any:
    """How many sets 12 users and the padding have, and what is sampled for one of them."""
    from recbole.data import create_dataset
    from recbole.sampler import RepeatableSampler
    from recbole.utils import init_seed

    dataset = create_dataset(make_config("BPR", folder))
    sampler = RepeatableSampler(["test"], dataset).set_phase("test")
    used = sampler.used_ids
    init_seed(1, True)
    drawn = sampler.sample_by_user_ids(np.array([3, 4]), np.array([1, 2]), 50).reshape(50, 2)
    never = not (drawn == torch.tensor([1, 2])).any()
    return [len(used), len({id(ids) for ids in used}), max(map(len, used)), drawn.unique().tolist(), never]


def scipy_has_update() -> bool:
    method = getattr(scipy.sparse.dok_matrix, "_update", None)
    return method is not None and method.__module__.startswith("scipy")


EXPECTED: dict[str, Any] = {
    "numpy_aliases": [True, True],
    "pandas_three": FEATURES,
    "scipy_dok": ["hit@3", "ndcg@3"],
    "collector_ints": [POPULARITY_BY_HAND, ["data.count_items", "data.num_items"]],
    "empty_sets": [13, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8], True],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "numpy_aliases": "was removed in the NumPy 2.0 release",
    "pandas_three": "does not match length of index",
    "scipy_dok": "_update",
    "collector_ints": "object has no attribute 'cpu'",
    "empty_sets": "[13, 13, 0",
}


def test_popularity_metrics_of_a_whole_run(patched: Path, monkeypatch: pytest.MonkeyPatch):
    from recbole.evaluator import Evaluator

    structs = []
    evaluate = Evaluator.evaluate
    monkeypatch.setattr(
        Evaluator, "evaluate", lambda self, data: structs.append(data) or evaluate(self, data)
    )
    result = run_toy("Pop", patched, metrics=[*POPULARITY, "Hit"], topk=[1], valid_metric="Hit@1")[
        "test_result"
    ]
    sessions: dict[str, list[str]] = {}
    for line in (patched / "data/toy/toy.inter").read_text().splitlines()[1:]:
        session, item, _ = line.split("\t")
        sessions.setdefault(session, []).append(item)
    in_training = Counter(item for items in sessions.values() for item in items[:-2])  # then valid, test
    counted = structs[-1].get("data.count_items")
    assert sorted(counted.values()) == sorted(in_training.values())
    recommended = structs[-1].get("rec.items").flatten().tolist()
    assert result["averagepopularity@1"] == pytest.approx(
        np.mean([counted[i] for i in recommended]), abs=1e-4
    )
    assert result["itemcoverage@1"] == pytest.approx(len(set(recommended)) / 8, abs=1e-4)
