"""How soon and how fast an exported run answers, beside the run itself. Writes results/export.md.

    python benchmarks/export.py --run runs/diginetica-sessions/HRNNFeat-… --data atomic_data/diginetica-sessions
    python benchmarks/export.py … --repeats 7 --requests 500

Cold start: the wall time of a process that imports us, loads the model, answers one session and ends. One request: in
process, from names to names. The whole job: the top 20 of every test prefix, whose lists are compared with the run's.
Every run is a process of its own, of one thread, and torch, onnxruntime and its 8 bits take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recommend import WARM, _sessions, write_prefixes
from report import write_section
from side_by_side import MB, ROOT, THREADS, Side, alternate, conditions, table

PACKAGES = ("torch", "onnxruntime", "numpy", "pandas", "recbole")
COLD = "import sys, recbole_ext\nrecbole_ext.load(sys.argv[1]).lists([sys.argv[2].split(',')], 20).of(0)"
K = 20
KINDS = ("the run, torch", "exported", "exported, int8")


# --- what the processes do -----------------------------------------------------------------------------------


def one_request(folder: str, prefixes: str, requests: int) -> dict[str, float]:
    """Milliseconds of one session's lists, from names to names, and whether torch was there."""
    from recbole_runs import percentiles

    import recbole_ext

    asker = recbole_ext.load(folder)
    taken = []
    for items in _sessions(prefixes, requests + WARM):
        began = time.perf_counter()
        asker.lists([items], K).of(0)
        taken.append((time.perf_counter() - began) * 1e3)
    return {**percentiles(taken[WARM:]), "torch": float("torch" in sys.modules)}


def whole_job(folder: str, prefixes: str, out: str) -> float:
    """Seconds of the lists of all prefixes, the model open."""
    import recbole_ext
    from recbole_ext.recommend.files import recommend_file

    asker = recbole_ext.load(folder)
    began = time.perf_counter()
    recommend_file(asker, Path(prefixes), Path(out), K)
    return time.perf_counter() - began


def cold_start(folder: str, session: Sequence[str]) -> float:
    """Seconds of a whole process that answers one session."""
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", COLD, folder, ",".join(session)], env=environment, check=True)
    return time.perf_counter() - began


# --- the table -----------------------------------------------------------------------------------------------


def measure(given: argparse.Namespace, folder: Path) -> str:
    """The section of the report."""
    from recbole_ext.recommend.export import export

    prefixes = str(folder / "prefixes.jsonl")
    count = write_prefixes(given.data, prefixes, given.run)
    if given.prefixes and given.prefixes < count:
        lines = Path(prefixes).read_text(encoding="utf-8").splitlines(keepends=True)
        some = lines[:: -(-count // given.prefixes)]
        Path(prefixes).write_text("".join(some), encoding="utf-8")
        count = len(some)
    folders = [given.run, str(folder / "onnx"), str(folder / "int8")]
    sizes = [export(given.run, place, int8=place.endswith("int8")).size for place in folders[1:]]
    sizes.insert(0, sum(file.stat().st_size for file in (Path(given.run) / "model").iterdir()))
    session = _sessions(prefixes, 1)[0]
    starts = list(zip(*([cold_start(place, session) for place in folders] for _ in range(given.repeats))))
    asked = {"prefixes": prefixes, "requests": given.requests}
    once = alternate(
        [
            Side(kind, "export:one_request", {"folder": place, **asked}, given.repeats)
            for kind, place in zip(KINDS, folders)
        ],
        1,
    )
    lists = [str(folder / f"lists{number}.parquet") for number in range(len(folders))]
    jobs = alternate(
        [
            Side(kind, "export:whole_job", {"folder": place, "prefixes": prefixes, "out": out}, 1)
            for kind, place, out in zip(KINDS, folders, lists)
        ],
        1,
    )
    rows = []
    for number, kind in enumerate(KINDS):
        own = once[number].result
        rows.append(
            (
                kind,
                f"{statistics.median(starts[number]):.2f} s ({min(starts[number]):.2f}–{max(starts[number]):.2f})",
                f"p50 {own['p50']:.1f} ms, p99 {own['p99']:.1f} ms",
                f"{once[number].peak_mb:,.0f} MB",
                f"{sizes[number] / MB:,.0f} MB",
                f"{count / jobs[number].result:,.0f}",
                "{:.3%} ({:.3%} in one order)".format(*same_lists(lists[0], lists[number])) if number else "",
            )
        )
    head = ("", "cold start", "one request", "peak memory", "folder", "prefixes a second", "same top 20")
    said = conditions(1, PACKAGES)
    return f"{Path(given.run).name}, {count:,} test prefixes. {said}.\n\n{table(head, rows)}"


def same_lists(first: str, second: str) -> tuple[float, float]:
    """Shares of the sessions that have the same items, and that have them in the same order."""
    import polars as pl

    ours, theirs = (pl.read_parquet(file).sort("session", "rank") for file in (first, second))
    lists = [one.group_by("session", maintain_order=True).agg("item") for one in (ours, theirs)]
    assert lists[0]["session"].equals(lists[1]["session"])
    pairs = list(zip(lists[0]["item"].to_list(), lists[1]["item"].to_list()))
    same = sum(set(one) == set(other) for one, other in pairs)
    return same / len(pairs), sum(one == other for one, other in pairs) / len(pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="a run's folder, of a network")
    parser.add_argument("--data", default="atomic_data/diginetica-sessions", help="its atomic files")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "export.md")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prefixes", type=int, default=0, help="of the whole job, all over; 0: all")
    parser.add_argument("--requests", type=int, default=300)
    given = parser.parse_args(arguments)
    given.run, given.data = (str(Path(place).resolve()) for place in (given.run, given.data))
    with tempfile.TemporaryDirectory() as folder:
        text = measure(given, Path(folder))
    print(text)
    write_section(given.out, "Exported", text)


if __name__ == "__main__":
    main()
