"""What an approximate index of item vectors would give: time of a request and share of the best 20 that it finds.

    pip install faiss-cpu       # of no package here
    python benchmarks/index.py --run runs/diginetica-sessions/HRNNFeat-… --data atomic_data/diginetica-sessions
    python benchmarks/index.py … --items 1000000 --width 64

The vectors are a run's, the states those of its test prefixes. With `--items` there are more: each is one of the run's,
its first `--width` numbers and as much noise, so the figures say how an index grows and nothing about a shop. Beside
it the product with all of them and its best 20, as `recommend` has them; both take one state at a time and one thread.
An index knows neither of a pointer's mixture, which asks for the sum over all items, nor of `where`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from recbole_runs import percentiles  # noqa: E402
from recommend import write_prefixes  # noqa: E402
from report import write_section  # noqa: E402
from side_by_side import ROOT, conditions, table  # noqa: E402

from recbole_ext.scores.factored import FactoredScores  # noqa: E402
from recbole_ext.scores.table import ItemTable  # noqa: E402
from recbole_ext.scores.top import best_items  # noqa: E402

K = 20
# how an index is made, and what its search is told, quick to thorough
INDEXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "HNSW32": ("efSearch", (32, 128, 512)),
    "IVF1024,Flat": ("nprobe", (4, 16, 64)),
}


def of_run(run: str, data: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_items, d) vectors and (count, d) states of test prefixes, whose product is the score."""
    import recbole_ext
    from recbole_ext.recommend.asked import asked

    state = recbole_ext.load(run)._state
    scorer = state.ranking.scorer
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefixes.jsonl"
        step = max(write_prefixes(data, str(file), run) // count, 1)
        lines = file.read_text(encoding="utf-8").splitlines()[::step][:count]
    live = asked([json.loads(line)["items"] for line in lines], None, state.catalogue, False).live
    with torch.inference_mode():
        found = scorer.scores(live)
    allowed = np.ones(found.width, dtype=bool)
    allowed[found.hidden.numpy()] = False
    vectors, states = found.vectors.numpy(), found.states.numpy()
    return np.ascontiguousarray(vectors[allowed]), np.ascontiguousarray(states)


def more_items(
    vectors: np.ndarray, states: np.ndarray, items: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """As many vectors as `items`, and states for them, of `width` numbers each."""
    random = np.random.default_rng(1)
    kept = np.ascontiguousarray(vectors[:, :width])
    spread = kept.std()
    found = kept[random.integers(len(kept), size=items)]
    found += random.standard_normal(found.shape, dtype=np.float32) * spread
    return found / np.linalg.norm(found, axis=1, keepdims=True), np.ascontiguousarray(states[:, :width])


def timed(ask: Callable[[np.ndarray], np.ndarray], states: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Milliseconds of one state after the other, and (S, K) items found."""
    taken, found = [], []
    for state in states:
        began = time.perf_counter()
        found.append(ask(state[None]))
        taken.append((time.perf_counter() - began) * 1e3)
    return percentiles(taken), np.concatenate(found)


def measure(vectors: np.ndarray, states: np.ndarray, repeats: int) -> list[tuple[str, ...]]:
    """Rows of the table: the sides take turns, `repeats` times."""
    import faiss

    torch.set_num_threads(1)
    items = ItemTable(torch.from_numpy(np.concatenate((np.zeros_like(vectors[:1]), vectors))))

    def exactly(state: np.ndarray) -> np.ndarray:
        ((_, scores),) = FactoredScores(torch.from_numpy(state), items).chunks()
        return best_items(scores, K)[0].numpy() - 1

    sides: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {"all items": ("–", exactly)}
    for name, (setting, values) in INDEXES.items():
        index = faiss.index_factory(vectors.shape[1], name, faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(2)
        began = time.perf_counter()
        index.train(vectors)
        index.add(vectors)
        made = f"{time.perf_counter() - began:.0f} s"
        for value in values:
            sides[f"{name}, {setting} {value}"] = made, _asks(index, setting, value)
    faiss.omp_set_num_threads(1)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    lists: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for name, (_, ask) in sides.items():
            took, lists[name] = timed(ask, states)
            times[name].append(took)
    rows = []
    for name, (made, _) in sides.items():
        same = [len(np.intersect1d(a, b)) for a, b in zip(lists[name], lists["all items"])]
        p50, p99 = (float(np.median([took[key] for took in times[name]])) for key in ("p50", "p99"))
        rows.append((name, f"{np.mean(same) / K:.1%}", f"{p50:.2f} ms", f"{p99:.2f} ms", made))
    return rows


def _asks(index: Any, setting: str, value: int) -> Callable[[np.ndarray], np.ndarray]:
    import faiss

    def ask(state: np.ndarray) -> np.ndarray:
        faiss.ParameterSpace().set_index_parameter(index, setting, value)
        found: np.ndarray = index.search(state, K)[1]
        return found

    return ask


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="a run's folder, of a model with item vectors")
    parser.add_argument("--data", default="atomic_data/diginetica-sessions", help="its atomic files")
    parser.add_argument("--items", type=int, help="as many items, made of the run's")
    parser.add_argument("--width", type=int, default=64, help="numbers of each of these")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "recommend.md")
    given = parser.parse_args(arguments)
    vectors, states = of_run(given.run, given.data, given.requests)
    if given.items:
        vectors, states = more_items(vectors, states, given.items, given.width)
    rows = measure(vectors, states, given.repeats)
    head = ("how", "of the best 20", "p50", "p99", "to make, 2 threads")
    size = f"{len(vectors):,} items × {vectors.shape[1]}"
    text = f"{size}, {len(states)} states. {conditions(1, ('faiss-cpu', 'torch', 'numpy'))}\n\n{table(head, rows)}"
    print(text)
    write_section(given.out, f"An index, {size}", text)


if __name__ == "__main__":
    main()
