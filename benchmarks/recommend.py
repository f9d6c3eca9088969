"""How fast a finished run answers, beside RecBole 1.2.1 as released. Writes results/recommend.md, or --out FILE.

    python benchmarks/recommend.py     # the newest run in runs/diginetica-sessions/, or else in runs/diginetica-demo/
    python benchmarks/recommend.py --run runs/diginetica-sessions/HRNNFeat-… --data atomic_data/diginetica-sessions
    python benchmarks/recommend.py … --threads 1 --repeats 5 --million

The whole job: the top 20 of every test prefix, from a file of prefixes to one of lists, the model opened on the way.
Beside it RecBole's `full_sort_topk` on its own SASRec over as many items, batch for batch, in a process that never
imports us; it is given some of the rows, as it takes the same time for each. One request, in process, one thread:
beside it the same model by RecBole's way to ask, `full_sort_predict`, and RecBole's SASRec by it. Where the run was
exported (`recbole-ext export RUN --onnx`), the folder in it is asked too.
Every run is a process of its own and the sides take turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recbole_runs import percentiles
from report import write_section
from side_by_side import MB, ROOT, Measured, Side, alternate, conditions, peak_bytes, table

PACKAGES = ("torch", "numpy", "pandas", "recbole", "safetensors")
BATCH = 1024  # of both sides
EXPORTED = "onnx"  # in a run's folder
WARM = 5  # requests that are not timed


# --- what our processes do -----------------------------------------------------------------------------------


def write_prefixes(data: str, out: str, run: str) -> int:
    """Write every prefix of the test sessions that has a next event, a line each; how many.

    Test sessions are those of the part `test`, or in data without a column split those that the run was tested on.
    """
    import numpy as np
    import polars as pl

    folder = Path(data)
    log = pl.read_csv(folder / f"{folder.name}.inter", separator="\t", infer_schema_length=0, quote_char=None)
    log = log.rename({name: name.partition(":")[0] for name in log.columns})
    if "split" in log.columns:
        tested = pl.col("split") == "test"
    else:
        with np.load(Path(run) / "ranks.npz") as ranks:
            tested = pl.col("session_id").is_in(np.unique(ranks["session_token"]).tolist())
    sessions = log.filter(tested).group_by("session_id", maintain_order=True).agg(pl.col("item_id"))
    lines = [
        json.dumps({"session": f"{name}-{n}", "items": items[:n]})
        for name, items in sessions.rows()
        for n in range(1, len(items))
    ]
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def whole_job(run: str, prefixes: str, out: str, k: int = 20) -> dict[str, float]:
    """Open the model and write the lists of all prefixes."""
    began = time.perf_counter()
    import recbole_ext
    from recbole_ext.recommend.files import recommend_file

    recommender = recbole_ext.load(run)
    opened = time.perf_counter()
    report = recommend_file(recommender, Path(prefixes), Path(out), k)
    return {"rows": report.sessions, "open": opened - began, "lists": time.perf_counter() - opened}


def one_request(run: str, prefixes: str, requests: int, k: int = 20) -> dict[str, float]:
    """Milliseconds of one session's lists, from names to names."""
    import torch

    import recbole_ext

    torch.set_num_threads(1)
    recommender = recbole_ext.load(run)
    taken = []
    for items in _sessions(prefixes, requests + WARM):
        began = time.perf_counter()
        recommender.lists([items], k).of(0)
        taken.append((time.perf_counter() - began) * 1e3)
    return percentiles(taken[WARM:])


def same_model(run: str, prefixes: str, requests: int, k: int = 20) -> dict[str, float]:
    """Milliseconds of the same by the model's `full_sort_predict`, as RecBole asks any model, its row being made."""
    import torch

    import recbole_ext
    from recbole_ext.recommend.asked import asked
    from recbole_ext.recommend.folder import read

    torch.set_num_threads(1)
    state, folder = recbole_ext.load(run)._state, read(run)
    model = folder.part(folder.catalogue, torch.device("cpu")).model
    taken = []
    with torch.no_grad():
        for items in _sessions(prefixes, requests + WARM):
            row = state.ranking.scorer.rows(asked([items], None, state.catalogue, False).live)
            began = time.perf_counter()
            model.full_sort_predict(row).view(1, -1).topk(k)
            taken.append((time.perf_counter() - began) * 1e3)
    return percentiles(taken[WARM:])


def _sessions(prefixes: str, count: int) -> list[list[str]]:
    """Some of the prefixes, all over the file, at least one after the first WARM."""
    lines = Path(prefixes).read_text(encoding="utf-8").splitlines()
    step = max(len(lines) // count, 1)
    return [json.loads(line)["items"] for line in lines[::step][:count]]


def opened(run: str) -> dict[str, float]:
    """Seconds of the first and of a second `load`, torch and pandas being imported, and memory that the second adds."""
    import pandas  # noqa: F401
    import torch  # noqa: F401

    began = time.perf_counter()
    import recbole_ext

    kept = [recbole_ext.load(run)]
    first = time.perf_counter() - began
    before, began = peak_bytes(), time.perf_counter()
    kept.append(recbole_ext.load(run))
    second = time.perf_counter() - began
    weights = sum(file.stat().st_size for file in kept[0].path.glob("*.safetensors"))
    return {"first": first, "second": second, "memory": (peak_bytes() - before) / MB, "weights": weights / MB}


def many_items(items: int, width: int, requests: int, k: int = 20) -> dict[str, float]:
    """Milliseconds of one state's product with the vectors of many items and its k best, one thread."""
    import torch

    from recbole_ext.scores.factored import FactoredScores
    from recbole_ext.scores.table import ItemTable
    from recbole_ext.scores.top import best_items

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    vectors = ItemTable(torch.randn(items, width, generator=generator))
    taken = []
    for _ in range(requests + 3):
        state = torch.randn(1, width, generator=generator)
        began = time.perf_counter()
        for _, scores in FactoredScores(state, vectors).chunks():
            best_items(scores, k)
        taken.append((time.perf_counter() - began) * 1e3)
    return percentiles(taken[3:])


# --- the tables ----------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace, folder: Path) -> str:
    """The section of the report."""
    me, theirs = "recommend", "recbole_runs"
    prefixes, out = str(folder / "prefixes.jsonl"), str(folder / "lists.parquet")
    count = write_prefixes(given.data, prefixes, given.run)
    peer: dict[str, Any] = {"data": given.data, "model": "SASRec", "settings": {"use_gpu": False}}
    job, topk = alternate(
        [
            Side(
                "ours", f"{me}:whole_job", {"run": given.run, "prefixes": prefixes, "out": out}, given.repeats
            ),
            Side(
                "RecBole",
                f"{theirs}:ask",
                {**peer, "rows": given.peer_rows, "batch": BATCH, "requests": given.requests},
                given.repeats,
            ),
        ],
        given.threads,
    )
    request = {"run": given.run, "prefixes": prefixes, "requests": given.requests}
    once, same, first = alternate(
        [
            Side("one request", f"{me}:one_request", request, given.repeats),
            Side("same model", f"{me}:same_model", request, given.repeats),
            Side("load", f"{me}:opened", {"run": given.run}, given.repeats),
        ],
        1,
    )
    rows = [*_job_rows(job, topk, count), *_request_rows(once, same, topk), *_load_rows(first)]
    exported = Path(given.run) / EXPORTED
    if exported.is_dir():
        request = {**request, "run": str(exported)}
        (there,) = alternate([Side("exported", f"{me}:one_request", request, given.repeats)], 1)
        rows.append(("one request, the run's exported folder", _ms(there.result), "", ""))
    if given.million:
        wide = {"items": 1_000_000, "width": 64, "requests": 30}
        (million,) = alternate([Side("million", f"{me}:many_items", wide, given.repeats)], 1)
        rows.append(("1,000,000 items × 64, product and top 20", _ms(million.result), "", ""))
    head = ("what", "ours", "RecBole", "times faster")
    said = conditions(given.threads, PACKAGES)
    return f"{Path(given.run).name}. {said}. Single requests: one thread.\n\n{table(head, rows)}"


def newest(runs: Path) -> Path:
    """The newest run that was made on the public lists, or else on the demo data."""
    for dataset in ("diginetica-sessions", "diginetica-demo"):
        found = sorted((runs / dataset).glob("*/model/model.json"), key=lambda file: file.stat().st_mtime)
        if found:
            return found[-1].parents[1]
    raise SystemExit(f"there is no run in {runs}: make demo leaves one, or name one with --run")


def _job_rows(job: Measured, topk: Measured, count: int) -> list[tuple[str, ...]]:
    whole = job.seconds
    ours, peer = count / job.result["lists"], topk.result["rows_per_second"]
    return [
        (
            f"lists of {count:,} prefixes, from file to file; RecBole's SASRec",
            f"{job.times()} s",
            f"{count / peer:.0f} s",
            f"{count / peer / whole:.1f}",
        ),
        ("prefixes a second, the model open", f"{ours:,.0f}", f"{peer:,.0f}", f"{ours / peer:.1f}"),
        ("peak memory", f"{job.peak_mb:,.0f} MB", f"{topk.peak_mb:,.0f} MB", ""),
    ]


def _request_rows(once: Measured, same: Measured, other: Measured) -> list[tuple[str, ...]]:
    own = once.result["p50"]
    return [
        (f"one request; {what}", _ms(once.result), _ms(peer.result), f"{peer.result['p50'] / own:.1f}")
        for what, peer in (
            ("the same model by full_sort_predict", same),
            ("RecBole's SASRec by it", other),
        )
    ]


def _load_rows(first: Measured) -> list[tuple[str, ...]]:
    found = first.result
    return [
        ("load, the first in a process", f"{found['first']:.2f} s", "", ""),
        ("load, once more", f"{found['second']:.2f} s", "", ""),
        ("memory of it", f"{found['memory']:.0f} MB for {found['weights']:.0f} MB of files", "", ""),
    ]


def _ms(found: dict[str, float]) -> str:
    return f"p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a run's folder")
    parser.add_argument("--data", type=Path, help="its atomic files")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "recommend.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--peer-rows", type=int, default=4096, help="rows that RecBole is given")
    parser.add_argument("--million", action="store_true", help="1,000,000 items too")
    given = parser.parse_args(arguments)
    given.run = (given.run or newest(Path("runs"))).resolve()
    if given.data is None:
        stated = json.loads((given.run / "model" / "model.json").read_text(encoding="utf-8"))
        given.data = Path("atomic_data") / stated["dataset"]
    given.run, given.data = str(given.run), str(given.data.resolve())
    with tempfile.TemporaryDirectory() as folder:
        text = measure(given, Path(folder))
    print(text)
    write_section(given.out, "Recommend", text)


if __name__ == "__main__":
    main()
