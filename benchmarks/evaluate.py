"""How fast evaluation is beside RecBole 1.2.1 as released: full ranking and uni100. Writes results/speed.md.

    python benchmarks/evaluate.py

Rows are test rows of leave-one-out on the real Diginetica session lists, weights are untrained, 2 threads. That both
sides count the same hits is tested in tests/scores/test_ranks.py and tests/trainer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import bars, write_section
from side_by_side import ROOT, Side, conditions, table
from train import PACKAGES, RUNS, Line, measure, median, real_data


def evaluation(data: Path, repeats: int, rows: int, threads: int) -> tuple[str, dict[str, float]]:
    """The table of evaluations, and ratios for the picture."""
    printed, ratios = [], {}
    for mode, model in (("full", "SASRec"), ("full", "GRU4Rec"), ("uni100", "SASRec")):
        sides = []
        for line in (Line("RecBole", False, model, {}), Line("ours", True, model, {})):
            few = max(1, rows // 32) if mode != "full" and not line.ours else rows
            arguments = {
                "ours": line.ours,
                "data": str(data),
                "model": model,
                "settings": {},
                "rows": few,
                "mode": mode,
            }
            sides.append((line, Side(f"{model} {mode}, {line.label}", f"{RUNS}:evaluate_rows", arguments)))
        found = measure(sides, repeats, threads)
        base = median(found["RecBole"], "rows_per_second")
        for line, _ in sides:
            runs = found[line.label]
            speed = median(runs, "rows_per_second")
            spread = [run["rows_per_second"] for run in runs]
            text = f"{speed:,.0f} ({min(spread):,.0f}–{max(spread):,.0f})" if spread else "failed"
            peak = f"{median(runs, 'peak_gb'):.1f}"
            printed.append((model, mode, line.label, text, f"{speed / base:.1f}×", peak))
            ratios[f"{model} {mode}: {line.label}"] = speed / base
    head = ("model", "ranking", "side", "rows/s, median (least–most)", "ratio", "peak GB")
    return table(head, printed), ratios


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, help="folder of atomic files; default: the real Diginetica lists"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    data = (options.data or real_data(ROOT / "atomic_data")).resolve()
    where = conditions(options.threads, PACKAGES)  # before the picture changes
    text, ratios = evaluation(data, options.repeats, options.rows, options.threads)
    picture = options.out.with_name("speed_evaluation.png")
    bars(picture, ratios, "Evaluation, times RecBole")
    command = f"`python benchmarks/evaluate.py --repeats {options.repeats}`"
    body = f"{command}; data {data.name}; {where}\n\n{text}\n\n![]({picture.name})\n"
    write_section(options.out, "Evaluation on a CPU", body)


if __name__ == "__main__":
    main()
