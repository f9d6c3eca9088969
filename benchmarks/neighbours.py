"""How long ranking takes with session neighbours and item rules, beside one prefix at a time.

Writes results/neighbours.md.

    python benchmarks/neighbours.py

Ours: the whole evaluation of the 60,858 Diginetica test prefixes, top-20 lists and metrics included. Theirs: plain
Python on some of the same prefixes, scores and rank alone (benchmarks/one_prefix.py). Both sides have learnt all
training sessions and use the settings of configs/model/. Ranks of the prefixes that both have ranked are compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_section
from side_by_side import ROOT, Side, alternate, conditions, table

MODELS = ("SKNN", "VSKNN", "STAN", "VSTAN", "AR", "SR", "RepeatLast", "SessionPop")
DATA = ROOT / "atomic_data" / "diginetica-sessions"
SEED = 7


def _prepare(model: str, data: str) -> tuple[Any, Any, Any]:
    """(config, training data, test loader) on all training sessions."""
    import recbole_ext

    recbole_ext.install()
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    from recbole_ext.settings.command_line import command_line

    settings = {
        "data_path": str(Path(data).parent),
        "eval_args": {"split": {"given": {"valid_share": 0}}},
        "show_progress": False,
        "use_gpu": False,
        "state": "ERROR",
    }
    with command_line([]):
        config = Config(model, Path(data).name, config_dict=settings)
    train, _, test = data_preparation(config, create_dataset(config))
    return config, train, test


def _sample(test: Any, rows: int) -> Any:
    """(rows,) numbers of rows of the test part, in the order of their events."""
    import numpy as np

    count = len(test._dataset)
    return np.sort(np.random.default_rng(SEED).permutation(count)[:rows])


def ours(model: str, data: str, rows: int) -> dict[str, Any]:
    """Seconds to learn and to evaluate the test part; ranks of some rows."""
    config, train, test = _prepare(model, data)
    from recbole.utils import get_model, get_trainer  # ours by now

    began = time.perf_counter()
    network = get_model(model)(config, train._dataset)
    learn = time.perf_counter() - began
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.eval_collector.data_collect(train)
    trainer.eval_collector.start()
    began, cpu = time.perf_counter(), time.process_time()
    trainer.evaluate(test, load_best_model=False)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    rank = trainer.eval_collector.targets()["rank"]
    return {
        "learn": learn,
        "seconds": seconds,
        "cpu": cpu,
        "prefixes": len(rank),
        "ranks": rank[_sample(test, rows)].tolist(),
    }


def theirs(model: str, data: str, rows: int) -> dict[str, Any]:
    """The same of the plain loop, which ranks `rows` rows."""
    from one_prefix import peer

    config, train, test = _prepare(model, data)
    dataset = train._dataset
    item, session = (dataset.events[field].tolist() for field in (dataset.iid_field, dataset.uid_field))
    spans = zip(dataset.session_start.tolist(), dataset.train_length.tolist())
    sessions = [
        (session[first], float(dataset.event_time[first + length - 1]), item[first : first + length])
        for first, length in spans
        if length
    ]
    sessions.sort(key=lambda known: known[1])
    began = time.perf_counter()
    plain = peer(model, config.final_config_dict, sessions, False)
    learn = time.perf_counter() - began
    chosen = test._dataset[_sample(test, rows)]
    prefixes = [[i for i in prefix if i] for prefix in chosen[f"{dataset.iid_field}_list"].tolist()]
    targets = chosen[dataset.iid_field].tolist()
    began, cpu = time.perf_counter(), time.process_time()
    scored = [plain.scores(prefix) for prefix in prefixes]
    places = [_place(scores, target) for scores, target in zip(scores_of(scored), targets)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"learn": learn, "seconds": seconds, "cpu": cpu, "prefixes": len(prefixes), "ranks": places}


def scores_of(scored: list[dict[int, float]]) -> list[dict[int, float]]:
    """Scores as our side compares them: shares of the row's highest, in float32."""
    import numpy as np

    return [
        dict(zip(scores, np.float32(np.array([*scores.values()]) / max(scores.values())).tolist()))
        if scores
        else {}
        for scores in scored
    ]


def _place(scores: dict[int, float], target: int) -> int:
    """Rank of the target among the items that have a score, 0 where it has none."""
    own = scores.get(target)
    if own is None:
        return 0
    higher = sum(value > own for value in scores.values())
    return higher + (sum(value == own for value in scores.values()) - 1) // 2 + 1


def measure(data: Path, rows: int, repeats: int, threads: int) -> str:
    """The table of both sides."""
    printed = []
    for model in MODELS:
        arguments = {"model": model, "data": str(data), "rows": rows}
        here, there = alternate(
            [
                Side(f"{model}, ours", "neighbours:ours", arguments, repeats),
                Side(f"{model}, one prefix at a time", "neighbours:theirs", arguments, 1),
            ],
            threads,
        )
        fast, plain = here.result, there.result
        scored = [(a, b) for a, b in zip(fast["ranks"], plain["ranks"]) if b]
        alike = sum(a == b for a, b in scored)
        per_prefix = [1000 * side["cpu"] / side["prefixes"] for side in (fast, plain)]
        printed.append(
            (
                model,
                f"{fast['learn']:.1f}",
                f"{fast['seconds']:.1f}",
                f"{fast['cpu']:.1f}",
                f"{per_prefix[0]:.3f}",
                f"{per_prefix[1]:.3f}",
                f"{per_prefix[1] / per_prefix[0]:.1f}×",
                f"{alike} of {len(scored)}",
                f"{here.peak_mb / 1000:.1f}",
            )
        )
        print(*printed[-1], sep=" | ", flush=True)
    head = (
        "model",
        "learning, s",
        f"{fast['prefixes']:,} prefixes, s",
        "CPU s",
        "CPU ms a prefix",
        "one at a time, CPU ms a prefix",
        "ratio",
        "ranks alike",
        "peak GB",
    )
    return table(head, printed)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of atomic files (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "neighbours.md")
    parser.add_argument(
        "--rows", type=int, default=1000, help="prefixes of the plain loop (default %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(argv)
    where = conditions(options.threads, ("numpy", "scipy", "torch", "recbole"))
    text = measure(options.data.resolve(), options.rows, options.repeats, options.threads)
    command = f"`python benchmarks/neighbours.py --rows {options.rows} --repeats {options.repeats}`"
    notes = (
        "Ours: the whole evaluation, with metrics and top-20 lists, of the last run. The ratio is of CPU time, which "
        "does not know what else the machine does. One at a time: plain Python "
        f"(benchmarks/one_prefix.py), scores and rank alone, on {options.rows:,} of the prefixes; `ranks alike`: of "
        "its targets that have a score, those to which both sides give the same rank (the rest differ by the order of "
        "a sum of floats)."
    )
    body = f"{command}; data {options.data.name}; {where}\n\n{text}\n\n{notes}\n"
    write_section(options.out, "Speed of session neighbours and item rules", body)


if __name__ == "__main__":
    main()
