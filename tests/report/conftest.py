"""A made-up experiment as large as a real one: two data sets, six models, three seeds, slices, a failed run, hostile
labels. Values are drawn, then tested with z-tests, so that intervals, tests and ranking agree with each other."""

import math
from pathlib import Path

import numpy as np
import pytest

METRICS = ["ndcg@10", "hit@20", "mrr@20"]
HOSTILE = '<b onmouseover="alert(1)">GRU4Rec</b> & $x^2$'
MODELS = {  # label: class, level, training seconds, parameters, epochs
    "HRNNFeat": ("HRNNFeat", 0.237, 412.0, 4_812_300, 14),
    "SASRec": ("SASRec", 0.225, 655.0, 2_901_120, 42),
    "VSTAN": ("VSTAN", 0.2265, 3.1, None, 1),
    HOSTILE: ("GRU4Rec", 0.201, 298.0, 2_893_056, 31),
    "NARM": ("NARM", 0.199, 530.0, 3_010_400, 26),
    "Pop": ("Pop", 0.006, 0.3, 1, 1),
}
SLICES = {
    "item": [("cold", 812), ("few-shot 1-5", 75), ("warm", 59_971)],
    "session_length": [("2", 20_100), ("3–4", 19_800), ("5–9", 15_400), ("10 and more", 5_558)],
    "event": [("view", 55_300), ("addtocart", 4_600), ("purchase", 958)],
}


def _p(z):
    return math.erfc(abs(z) / math.sqrt(2))


def _value(random, mean, targets, seeds):
    error = math.sqrt(max(mean * 0.6, 1e-4) / targets)
    seed_values = [round(float(mean + random.normal(0, 0.0012 if mean > 0.02 else 0.0)), 6) for _ in seeds]
    mean = sum(seed_values) / len(seed_values)
    return {
        "mean": mean,
        "low": max(0.0, mean - 1.96 * error),
        "high": mean + 1.96 * error,
        "seed_std": float(np.std(seed_values, ddof=1)) if len(seeds) > 1 else None,
        "seed_values": seed_values,
    }


def _tests(models, targets):
    tests = []
    for metric in METRICS[:2]:  # as evaluate.comparison: the first metric and hit@20
        pairs = [(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]
        for a, b in pairs:
            difference = a["metrics"][metric]["mean"] - b["metrics"][metric]["mean"]
            error = math.sqrt(0.5 * max(a["metrics"][metric]["mean"], 1e-4) / targets) * 0.8
            p = _p(difference / error)
            tests.append(
                {
                    "a": a["model"],
                    "b": b["model"],
                    "metric": metric,
                    "difference": difference,
                    "low": difference - 1.96 * error,
                    "high": difference + 1.96 * error,
                    "p": p,
                    "p_holm": min(1.0, p * len(pairs)),
                }
            )
    return tests


def make_comparison(
    dataset="diginetica-sessions", targets=60_858, seeds=(1, 2, 3), models=MODELS, shift=0.0, slices=SLICES
):
    random = np.random.default_rng(7)
    found = []
    for label, (name, level, seconds, parameters, epochs) in models.items():
        level = max(0.004, level + shift * (1 if name in ("SASRec", "VSTAN") else -0.5))
        metrics = {
            metric: _value(random, level * factor, targets, seeds)
            for metric, factor in zip(METRICS, (1.0, 2.32, 0.81))
        }
        found.append(
            {
                "model": label,
                "name": name,
                "seeds": list(seeds),
                "folders": [f"runs/{dataset}/{name}-{seed}" for seed in seeds],
                "metrics": metrics,
                "beyond": {
                    "coverage@20": 0.0005 if name == "Pop" else 0.62 + 0.3 * level,
                    "gini@20": 0.9995 if name == "Pop" else 0.71 - 0.2 * level,
                    "popularity@20": 1431.25 if name == "Pop" else 30 + 100 * level,
                },
                "category_hit": {
                    "category@1": {"mean": 0.3 + level, "low": 0.29 + level, "high": 0.31 + level},
                    "category_hit@10": {"mean": 0.45 + level, "low": 0.44 + level, "high": 0.46 + level},
                    "targets": targets - 100,
                    "unknown": 100,
                },
                "reward": {
                    "reward@10": {
                        "mean": 0.9 * level,
                        "low": 0.88 * level,
                        "high": 0.92 * level,
                        "sum": 0.9 * level * targets,
                    }
                },
                "seconds": {"train": seconds, "test": 0.4 + 8 * level, "prepare": 4.2},
                "epochs": float(epochs),
                "parameters": parameters,
            }
        )
    found.sort(key=lambda m: -m["metrics"]["ndcg@10"]["mean"])
    parts = {
        dimension: [
            {
                "slice": name,
                "targets": size,
                "sessions": max(1, size // 3),
                "small": size < 100,
                "metrics": {
                    m["model"]: {metric: _slice_value(m, metric, name, place, size) for metric in METRICS}
                    for m in found
                },
            }
            for place, (name, size) in enumerate(names)
        ]
        for dimension, names in slices.items()
    }
    return {
        "dataset": dataset,
        "targets": targets,
        "sessions": targets // 3,
        "items": 43_097,
        "metrics": METRICS,
        "models": found,
        "tests": _tests(found, targets),
        "slices": parts,
        "notes": [f"{found[0]['model']}: its runs differ in learning_rate, not in their seed only"],
    }


def _slice_value(model, metric, name, place, size):
    knows_features = model["name"] == "HRNNFeat"
    factor = {"cold": 0.45 if knows_features else 0.0, "few-shot 1-5": 0.6 if knows_features else 0.3}.get(
        name, 1.1 - 0.08 * place
    )
    mean = model["metrics"][metric]["mean"] * factor
    error = math.sqrt(max(mean * 0.6, 1e-5) / size)
    return {"mean": mean, "low": max(0.0, mean - 1.96 * error), "high": mean + 1.96 * error}


def make_records(comparison):
    random = np.random.default_rng(11)
    manifest = {
        "format": 1,
        "converter": "session-lists",
        "version": "0.1.0",
        "created": "2026-11-25T20:13:23+00:00",
        "options": {"train": "all_train_seq.txt", "test": "test.txt", "strict": False},
        "sources": [
            {"name": "all_train_seq.txt", "bytes": 31_415_926, "sha256": "16" * 32},
            {"name": "test.txt", "bytes": 2_718_281, "sha256": "e1" * 32},
        ],
        "rows": {
            "all_train_seq.txt": {
                "read": 186_670,
                "kept": 186_668,
                "dropped": {"item number is negative": 2},
            },
            "test.txt": {"read": 15_979, "kept": 15_979, "dropped": {}},
        },
        "counts": {"sessions": 202_647, "items": 43_097, "events": {"train": 906_101, "test": 76_837}},
        "outputs": [{"name": "toy.inter", "rows": 982_938, "bytes": 41_000_000, "sha256": "ab" * 32}],
    }
    records = []
    for model in comparison["models"]:
        for seed, folder in zip(model["seeds"], model["folders"]):
            epochs = int(model["epochs"])
            level = model["metrics"]["ndcg@10"]["mean"]
            rate = 0.25 + 2.0 / epochs
            records.append(
                {
                    "label": model["model"],
                    "folder": folder,
                    "model": model["name"],
                    "dataset": comparison["dataset"],
                    "seed": seed,
                    "protocol": "one ranking per (prefix, target) row",
                    "split": "given valid_share 0.1: the data's own test sessions; targets: all",
                    "valid_metric": "NDCG@10",
                    "started": "2026-11-25T20:16:34+00:00",
                    "command": ["run.py", f"--model={model['name']}", f"--seed={seed}"],
                    "config": {
                        "seed": seed,
                        "learning_rate": 0.001 if model["name"] != "NARM" else 0.0005,
                        "train_batch_size": 2048 if model["name"] == "SASRec" else 1024,
                        "epochs": 100,
                        "topk": [5, 10, 20],
                        "eval_args": {"split": {"given": {"valid_share": 0.1}}, "mode": {"valid": "full"}},
                        "MAX_ITEM_LIST_LENGTH": 50,
                        **({"hidden_size": 100, "dropout_prob": 0.2} if model["parameters"] else {"k": 500}),
                        **(
                            {"item_features": ["category"], "user_state": "init"}
                            if model["name"] == "HRNNFeat"
                            else {}
                        ),
                    },
                    "versions": {
                        "python": "3.11.7",
                        "recbole_ext": "0.1.0",
                        "recbole": "1.2.1",
                        "torch": "2.13.0+cpu",
                    },
                    "commit": "45bbd18ef801",
                    "device": "cpu (1 threads)" if model["name"] in ("Pop", "VSTAN") else "NVIDIA H100",
                    "threads": 1,
                    "data": manifest,
                    "notes": ["item features in use: category"] if model["name"] == "HRNNFeat" else [],
                    "seconds": model["seconds"],
                    "epochs": [
                        {
                            "epoch": e,
                            "train_loss": 9.0 - math.log(1 + e),
                            "valid_score": float(
                                level * 1.05 * (1 - math.exp(-rate * (e + 1))) + random.normal(0, 0.002)
                            )
                            if e % 2 == 0 or epochs < 20
                            else None,
                        }
                        for e in range(epochs)
                    ],
                    "epochs_run": epochs,
                    "best_valid_score": level * 1.04,
                    "test": {
                        m: v["seed_values"][list(model["seeds"]).index(seed)]
                        for m, v in model["metrics"].items()
                    },
                }
            )
    return records


def make_searches(comparison):
    searches = []
    for model in comparison["models"][:2]:
        trials = [
            {
                "settings": {"learning_rate": rate, "dropout_prob": drop},
                "valid_score": 0.24 - 4 * abs(rate - 0.001) - 0.05 * abs(drop - 0.2),
                "epochs": 12,
                "seconds": 300.0 + 20 * drop,
            }
            for rate in (0.0005, 0.001, 0.002)
            for drop in (0.0, 0.2, 0.4)
        ]
        searches.append(
            {
                "dataset": comparison["dataset"],
                "label": model["model"],
                "trials": trials,
                "chosen": {"learning_rate": 0.001, "dropout_prob": 0.2},
            }
        )
    return searches


def make_experiment(comparisons, **changes):
    datasets = [c["dataset"] for c in comparisons]
    return {
        "name": "neighbours-and-networks",
        "title": "Neighbours, networks and item features on session logs",
        "command": "python run.py --experiment=neighbours --out='results/neighbours & <networks>'",
        "file": "title: Neighbours <script>alert(2)</script>\ndatasets: [diginetica-sessions, retailrocket-sessions]\n"
        "models: [HRNNFeat, SASRec, VSTAN, GRU4Rec, NARM, Pop]\nseeds: [1, 2, 3]\nbaseline: SASRec\n",
        "datasets": datasets,
        "seeds": [1, 2, 3],
        "refit": False,
        "baseline": "SASRec",
        "commit": "45bbd18ef801",
        "started": "2026-11-25T19:02:11+00:00",
        "failed": [
            {
                "dataset": datasets[-1] if datasets else "toy",
                "label": "NARM",
                "seed": 3,
                "reason": "CUDA out of memory. Tried to allocate 2.00 GiB (<GPU 0>)",
            }
        ],
        "readings": [
            {"time": "2026-11-25T20:16:34+00:00", "dataset": c["dataset"], "label": m["model"], "seed": s}
            for c in comparisons
            for m in c["models"]
            for s in m["seeds"]
        ],
        **changes,
    }


def make_example():
    """(experiment, comparisons, records, searches) of the whole made-up experiment."""
    first = make_comparison()
    second = make_comparison(
        "retailrocket-sessions", targets=15_132, shift=0.014, slices={"item": SLICES["item"]}
    )
    for model in second["models"]:
        if model["model"] == "NARM":
            model["seeds"], model["folders"] = [1, 2], model["folders"][:2]
        del model["reward"], model["category_hit"]
    comparisons = [first, second]
    records = [record for c in comparisons for record in make_records(c)]
    return make_experiment(comparisons), comparisons, records, make_searches(first)


@pytest.fixture
def example():
    return make_example()


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory) -> Path:
    """The made-up experiment's report, written once."""
    from recbole_ext.report.experiment_report import write_report

    folder = tmp_path_factory.mktemp("report") / "neighbours"
    write_report(folder, *make_example())
    return folder


@pytest.fixture
def hostile_label() -> str:
    return HOSTILE


@pytest.fixture
def comparison_of():
    """`make_comparison`, whose keywords change the made-up comparison."""
    return make_comparison


@pytest.fixture
def experiment_of():
    return make_experiment


@pytest.fixture
def records_of():
    return make_records
