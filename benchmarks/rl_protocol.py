"""Does reinforcement learning help? SASRec with and without it, and what tells the reason of a gain. See results/rl.md.

    python benchmarks/rl_protocol.py run FOLDER --datasets diginetica,retailrocket-buyers --workers 8
    python benchmarks/rl_protocol.py table FOLDER > table.md

Every variant gets the same search (learning rates on the first seed, the best on validation NDCG@10), the same budget
of epochs and the same early stop; the best validation checkpoint is tested. A finished run is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import queue
import statistics
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from side_by_side import ROOT, table

sys.path.insert(0, str(ROOT))

LAGGED = {"target_network": "lagged"}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "SASRec": ("SASRec", {}),
    "SQN": ("SASRecSQN", LAGGED),
    "SQN coin": ("SASRecSQN", {}),
    "SAC": ("SASRecSAC", LAGGED),
    "SNQN": ("SASRecSNQN", LAGGED),
    "SA2C": ("SASRecSA2C", LAGGED),
    "EVAL": ("SASRecSQN", {**LAGGED, "next_action": "logged"}),
    "HIST": ("SASRecSQN", {**LAGGED, "reward_signal": "history"}),
    "gamma 0": ("SASRecSQN", {**LAGGED, "gamma": 0.0}),
    "shuffled": ("SASRecSQN", {**LAGGED, "reward_signal": "shuffled"}),
    "CE free head": ("SASRecSQN", {**LAGGED, "q_weight": 0.0}),
}
COMMON: dict[str, Any] = {
    "train_targets": "all_positions",
    "epochs": 60,
    "stopping_step": 4,
    "train_batch_size": 1024,
    "eval_batch_size": 8192,
    "metrics": ["Hit", "NDCG", "MRR"],
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "state": "ERROR",
    "rewards": {"view": 0.2, "addtocart": 1.0, "transaction": 1.0, "purchase": 1.0},
}
DATASETS: dict[str, dict[str, Any]] = {
    "retailrocket-buyers": {},
    "diginetica": {},
    "diginetica-sessions": {"train_batch_size": 2048},
    # first events are no targets here: whole sessions with an empty history are not to be had for SASRec
    "retailrocket-sqn": {
        "train_batch_size": 2048,
        "empty_history": False,
        "supervised_head": "free",
        "precision": "bf16",
        "epochs": 8,
        "stopping_step": 20,
        "rewards": {"view": 0.2, "addtocart": 1.0},
    },
}
KEPT = (
    "model",
    "dataset",
    "seed",
    "best_valid_score",
    "test",
    "test_by_event",
    "test_reward",
    "epochs",
    "epochs_run",
)
NOTED = ("seconds", "counts", "notes", "commit", "device", "versions")


def settings(dataset: str, variant: str, rate: float, seed: int) -> tuple[str, dict[str, Any]]:
    """Model and keys of one run."""
    model, keys = VARIANTS[variant]
    given = {**COMMON, **DATASETS[dataset], **keys, "learning_rate": rate, "seed": seed}
    if model == "SASRec":
        given.pop("supervised_head", None)
        if dataset.endswith("-sessions"):
            given["rewards"] = None
    return model, given


def one(folder: Path, dataset: str, variant: str, rate: float, seed: int) -> float:
    """Run it unless its record is there; its validation score."""
    from recbole_ext.run.run import run

    name = f"{dataset}_{variant}_{rate}_{seed}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    if file.is_file():
        return float(json.loads(file.read_text(encoding="utf-8"))["best_valid_score"])
    model, given = settings(dataset, variant, rate, seed)
    with tempfile.TemporaryDirectory() as place:
        record = run(
            model, dataset, {**given, "runs_dir": f"{place}/runs", "checkpoint_dir": f"{place}/saved"}
        )
        with np.load(record["files"]["ranks"]) as ranks:
            np.savez_compressed(folder / f"{name}.npz", rank=ranks["rank"], session=ranks["session_id"])
    kept = {key: record[key] for key in KEPT + NOTED if key in record}
    file.write_text(json.dumps({**kept, "variant": variant, "rate": rate}) + "\n", encoding="utf-8")
    print(f"{name}: {record['epochs_run']} epochs, valid {record['best_valid_score']:.4f}", flush=True)
    return float(record["best_valid_score"])


def task(folder: Path, dataset: str, variant: str, rates: list[float], seeds: list[int]) -> None:
    """The search on the first seed, then the other seeds."""
    best = max(rates, key=lambda rate: one(folder, dataset, variant, rate, seeds[0]))
    for seed in seeds[1:]:
        one(folder, dataset, variant, best, seed)


def worker(tasks: Any, folder: Path, rates: list[float], seeds: list[int]) -> None:
    """Do tasks until there is none; one that fails does not stop the others."""
    while True:
        try:
            dataset, variant = tasks.get_nowait()
        except queue.Empty:
            return
        try:
            task(folder, dataset, variant, rates, seeds)
        except Exception:
            traceback.print_exc()


def ndcg(rank: np.ndarray, k: int = 10) -> np.ndarray:
    """(T,) NDCG@k of single targets."""
    return np.where(rank <= k, 1 / np.log2(rank + 1.0), 0.0)


def tested(folder: Path, dataset: str) -> dict[str, list[dict[str, Any]]]:
    """Records by variant, at the learning rate that did best on validation with the first seed."""
    records = [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob(f"{dataset}_*.json"))
    ]
    found = {}
    for variant in VARIANTS:
        own = [r for r in records if r["variant"] == variant and r["dataset"] == dataset]
        if not own:
            continue
        first = min(r["seed"] for r in own)
        best = max((r for r in own if r["seed"] == first), key=lambda r: r["best_valid_score"])["rate"]
        found[variant] = sorted((r for r in own if r["rate"] == best), key=lambda r: r["seed"])
    return found


def gains(
    folder: Path, dataset: str, variant: str, runs: list[dict[str, Any]], peer: list[dict[str, Any]]
) -> str:
    """Difference of NDCG@10 (x 1000) to the peer over the seeds both have, with a 95 % bootstrap over sessions."""
    seeds = sorted({r["seed"] for r in runs} & {r["seed"] for r in peer})
    if not seeds or variant == peer[0]["variant"]:
        return "-"

    def mean_of(records: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        values, session = [], np.empty(0)
        for r in records:
            if r["seed"] in seeds:
                name = f"{dataset}_{r['variant']}_{r['rate']}_{r['seed']}".replace(" ", "-")
                with np.load(folder / f"{name}.npz") as ranks:
                    values.append(ndcg(ranks["rank"]))
                    session = ranks["session"]
        return np.mean(values, axis=0), session

    (ours, session), (theirs, _) = mean_of(runs), mean_of(peer)
    _, place = np.unique(session, return_inverse=True)
    total = np.bincount(place.reshape(-1), weights=ours - theirs)
    count = np.bincount(place.reshape(-1))
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(1000):
        pick = random.integers(len(total), size=len(total))
        drawn.append(total[pick].sum() / count[pick].sum())
    low, high = np.percentile(drawn, [2.5, 97.5]) * 1000
    return f"{(ours - theirs).mean() * 1000:+.1f} [{low:+.1f}, {high:+.1f}]"


T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def spread(values: list[float], digits: int = 4) -> str:
    """Mean and the half-width of its 95 % t-interval over seeds."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) < 2:
        return f"{mean} (one seed)"
    half = T_95.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean} ± {half:.{digits}f}"


def report(folder: Path, dataset: str, peer: str) -> str:
    """The table of one data set, compared with variant `peer`."""
    found = tested(folder, dataset)
    rows = []
    for variant, runs in found.items():
        cells = [variant, f"{runs[0]['rate']:g}", ", ".join(str(r["seed"]) for r in runs)]
        cells.append(f"{statistics.mean(r['epochs_run'] for r in runs):.0f}")
        cells += [spread([r["test"][key] for r in runs]) for key in ("ndcg@10", "hit@20")]
        kinds = sorted({kind for r in runs for kind in r.get("test_by_event", {})} - {"view"})
        by_kind = []
        for kind in ("view", *kinds):
            known = [r["test_by_event"][kind]["ndcg@10"] for r in runs if kind in r.get("test_by_event", {})]
            by_kind.append(f"{kind} {statistics.mean(known):.4f}" if known else "")
        cells.append(", ".join(filter(None, by_kind)) or "-")
        rewards = [r["test_reward"]["reward@10"] for r in runs if "test_reward" in r]
        cells.append(spread(rewards, 1) if rewards else "-")
        cells.append(gains(folder, dataset, variant, runs, found[peer]) if peer in found else "-")
        rows.append(cells)
    head = ("variant", "rate", "seeds", "epochs", "NDCG@10", "HR@20", "NDCG@10 by event", "reward@10")
    return table((*head, f"NDCG@10 x 1000 beside {peer} [95 % over sessions]"), rows)


def main() -> None:
    """Run the grid, or print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--rates", default="0.0005,0.001,0.003")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    datasets, variants = given.datasets.split(","), given.variants.split(",")
    unknown = [name for name in datasets if name not in DATASETS] + [
        name for name in variants if name not in VARIANTS
    ]
    if unknown:
        parser.error(f"{unknown[0]} is neither a data set nor a variant of this protocol")
    if given.what == "table":
        for dataset in datasets:
            free = DATASETS[dataset].get("supervised_head") == "free"
            print(f"### {dataset}\n\n{report(given.folder, dataset, 'CE free head' if free else 'SASRec')}\n")
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    rates, seeds = (
        [float(rate) for rate in given.rates.split(",")],
        [int(seed) for seed in given.seeds.split(",")],
    )
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        tasks = manager.Queue()
        for dataset in datasets:
            for variant in variants:
                tasks.put((dataset, variant))
        processes = [
            context.Process(target=worker, args=(tasks, given.folder, rates, seeds))
            for _ in range(given.workers)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
