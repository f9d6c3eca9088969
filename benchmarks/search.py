"""The best of 4 listed settings against pruned trials with the seconds of 12 full ones. Writes results/search.md.

    python benchmarks/search.py                                   # on a GPU; without one as --small
    python benchmarks/search.py --small                           # two CPU cores, generated log, a minute or two
    python benchmarks/search.py --dataset diginetica-sessions --models SASRec,NARM,HRNNFeat --gpu_id 0 --workers 6
    python benchmarks/search.py ... --minutes 30                  # so long for each search but the first
    python benchmarks/search.py --models SASRec --gpu_id 0 --epochs 3 --at_once 1,4,12    # trials a minute instead

Three searches of each model, each an experiment that a second call goes on with: `listed`, four combinations of a small
grid, as the pages had them; `full`, twelve draws of wider ranges, each trained to its end; `pruned`, TPE in the same
ranges with the median rule, for as many seconds as `full` took (trials added up, under as many workers). Each search's
choice is trained again on training + validation with each seed, and its test part is read once. A line a trial.
`--at_once`: instead, how many trials a minute so many processes get through on one machine, validation alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

import yaml  # noqa: E402
from report import write_section  # noqa: E402
from side_by_side import conditions, table  # noqa: E402

from recbole_ext.evaluate.best_of import best_of  # noqa: E402
from recbole_ext.experiment import cells  # noqa: E402
from recbole_ext.experiment.conduct import run_experiment  # noqa: E402
from recbole_ext.experiment.groups import Group, groups_of  # noqa: E402
from recbole_ext.experiment.plan import Experiment, read_experiment  # noqa: E402
from recbole_ext.records import read  # noqa: E402

PACKAGES = ("torch", "recbole", "optuna", "numpy")
HEAD = "# What a larger search brings\n"
METRICS = ("ndcg@10", "hit@20", "mrr@20")
CRAFT = {"train_targets": "all_positions", "score": "cosine", "learner": "adamw", "weight_decay": 0.01}
RATE = {"low": 3e-4, "high": 1e-2, "log": True}
HOT = {"low": 0.04, "high": 0.15, "log": True}
AVERAGE = [None, 0.99, 0.996, 0.999]
# settings, the grid as the pages have it, ranges around it
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "SASRec": (
        {**CRAFT, "recency": 0.5, "hidden_size": 128},
        {"hidden_dropout_prob": [0.3, 0.5], "weight_average": [0.996, 0.999]},
        {
            **{"learning_rate": RATE, "temperature": HOT, "weight_average": AVERAGE},
            **{
                "hidden_dropout_prob": {"low": 0.1, "high": 0.7},
                "attn_dropout_prob": {"low": 0.0, "high": 0.7},
            },
            "n_layers": {"low": 1, "high": 3, "type": "int"},
        },
    ),
    "GRU4Rec": (
        {**CRAFT, "recency": 0.5, "embedding_size": 128},
        {"dropout_prob": [0.3, 0.5], "weight_average": [0.996, 0.999]},
        {
            **{"learning_rate": RATE, "temperature": HOT, "weight_average": AVERAGE},
            **{"dropout_prob": {"low": 0.0, "high": 0.7}, "num_layers": {"low": 1, "high": 2, "type": "int"}},
        },
    ),
    "NARM": (
        {"learner": "adamw", "weight_decay": 0.01, "recency": 0.5, "embedding_size": 128, "hidden_size": 128},
        {"learning_rate": [0.001, 0.003], "weight_average": [0.996, 0.999]},
        {
            **{"learning_rate": RATE, "weight_average": AVERAGE},
            "dropout_probs": [[0.1, 0.3], [0.25, 0.5], [0.25, 0.7], [0.5, 0.5], [0.5, 0.7]],
            "weight_decay": {"low": 1e-4, "high": 0.1, "log": True},
        },
    ),
    "HRNNFeat": (
        {"recency": 0.5},
        {"weight_average": [0.996, 0.999], "temperature": [0.07, 0.09]},
        {
            **{"learning_rate": RATE, "temperature": HOT, "weight_average": AVERAGE},
            **{"dropout_input": {"low": 0.1, "high": 0.7}, "dropout_readout": {"low": 0.1, "high": 0.7}},
        },
    ),
}
COLUMNS = ("model", "search", "trials", "pruned", "seconds", "best valid", "half as many", *METRICS)
AT_ONCE = ("model", "at once", "trials", "seconds", "trials a minute", "beside the first")
FULL, SMALL_FULL = 12, 4
MOST, SMALL_MOST = 6, 2  # pruned trials for each full one, should these end so early
SMALL = {"epochs": 3, "train_batch_size": 1024, "hidden_size": 16}
SMALL_MODEL = ("SASRec", "n_layers")  # and what is not searched then


@dataclass(frozen=True)
class Side:
    """One search of a model: its name, and the keys of its experiment."""

    name: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What came of a side: its trials as the page is told of them, its choice, and test metrics by seed."""

    trials: Sequence[Mapping[str, Any]]
    chosen: Mapping[str, Any]
    tests: Sequence[Mapping[str, float]]
    lower_is_better: bool

    @property
    def seconds(self) -> float:
        return sum(trial["seconds"] or 0.0 for trial in self.trials)

    @property
    def scores(self) -> list[float]:
        return [trial["valid_score"] for trial in self.trials if trial["valid_score"] is not None]


def experiment_of(given: argparse.Namespace, model: str, side: Side) -> Experiment:
    """The experiment of a side, whose page lies beside its runs."""
    own, _, _ = MODELS[model]
    settings = {"valid_metric": "NDCG@10", "eval_batch_size": 8192, **given.settings}
    fixed = {key: own[key] for key in own if key not in settings and key not in side.keys["search"]}
    content = {
        "name": f"search-{given.dataset}-{model}-{side.name}{'-small' if given.small else ''}",
        "datasets": [given.dataset],
        "seeds": given.seed,
        "settings": settings,
        "models": [{"model": model, "settings": fixed}],
        "refit": True,
        "workers": given.workers,
        **({"threads": given.threads} if given.threads else {}),
        **side.keys,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "search.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return replace(read_experiment(file), report=Path("report"))


def searched(given: argparse.Namespace, model: str, side: Side) -> Found:
    """Do a side, or what is left of it."""
    print(f"--- {model} {side.name}", flush=True)
    experiment = experiment_of(given, model, side)
    if run_experiment(experiment):
        raise SystemExit(f"{model} {side.name} has failed: the lines above say why; the same command goes on")
    (group,) = groups_of(experiment)
    best = group.search.best()
    return Found(
        _trials(group),
        dict(best.tries or {}) if best else {},
        [read(job.folder)["test"] for job in group.cells],
        group.lower_is_better,
    )


def _trials(group: Group) -> list[dict[str, Any]]:
    """As the page is told, with the seconds of data and training of listed ones, as a study counts them."""
    trials = [dict(trial) for trial in group.search.told()["trials"]]
    for job, trial in zip(getattr(group.search, "tries", ()), trials):
        record = cells.read_record(job.folder)
        trial["seconds"] = record and record["seconds"]["train"] + record["seconds"]["prepare"]
    return trials


def ranges_of(given: argparse.Namespace, model: str) -> dict[str, Any]:
    """What is searched: less the key that --small fixes."""
    return {
        key: knob for key, knob in MODELS[model][2].items() if not (given.small and key == SMALL_MODEL[1])
    }


def sides_of(given: argparse.Namespace, model: str) -> dict[str, Found]:
    """All three searches of a model; the last has the seconds of the one before it, or --minutes."""
    grid, ranges = MODELS[model][1], ranges_of(given, model)
    wide = {"search": ranges, "sampler": "random"}
    limit = {"search_minutes": given.minutes} if given.minutes else {"search_trials": given.full}
    found = {"listed": searched(given, model, Side("listed", {"search": grid, "search_trials": 4}))}
    found["full"] = searched(given, model, Side("full", {**wide, **limit}))
    minutes = given.minutes or found["full"].seconds / 60
    tpe = {"search": ranges, "sampler": "tpe", "pruner": given.pruner, "search_minutes": minutes}
    tpe |= {} if given.minutes else {"search_trials": (SMALL_MOST if given.small else MOST) * given.full}
    found["pruned"] = searched(given, model, Side("pruned", tpe))
    return found


def trials_a_minute(given: argparse.Namespace, model: str) -> str:
    """The table of --at_once: the same drawn trials with each number of processes, from nothing to the last one."""
    ranges = ranges_of(given, model)
    rows, first = [], None
    for workers in map(int, given.at_once.split(",")):
        given.workers = workers
        keys = {"search": ranges, "sampler": "random", "search_trials": given.full}
        experiment = replace(experiment_of(given, model, Side(f"at-once-{workers}", keys)), test=False)
        begun = time.perf_counter()
        if run_experiment(experiment):
            raise SystemExit(f"{model}, {workers} at once: the lines above say why; the same command goes on")
        seconds = time.perf_counter() - begun
        first = first or seconds
        rows.append(
            (
                model,
                str(workers),
                str(given.full),
                f"{seconds:.1f}",
                f"{60 * given.full / seconds:.1f}",
                f"{first / seconds:.2f}x",
            )
        )
        print(table(AT_ONCE, rows), flush=True)
    return table(AT_ONCE, rows)


# --- the page -----------------------------------------------------------------------------------------------


def rows_of(model: str, found: Mapping[str, Found]) -> list[tuple[str, ...]]:
    """A row a side: what it spent, what it found on validation and what chance there was in it, what that tests as."""
    rows = []
    for name, side in found.items():
        scores = side.scores
        pruned = sum(1 for trial in side.trials if trial.get("pruned"))
        better = min if side.lower_is_better else max
        best = better(
            trial["valid_score"]
            for trial in side.trials
            if trial["valid_score"] is not None and not trial.get("pruned")
        )
        mean, spread = best_of(scores, side.lower_is_better)
        half = max(0, len(scores) // 2 - 1)
        rows.append(
            (
                *(model, name, str(len(side.trials)), str(pruned), f"{side.seconds:,.0f}"),
                *(f"{best:.4f}", f"{mean[half]:.4f} ± {spread[half]:.4f}"),
                *(_mean([test[metric] for test in side.tests]) for metric in METRICS),
            )
        )
    return rows


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def page(given: argparse.Namespace, found: Mapping[str, Mapping[str, Found]]) -> str:
    rows = [row for model, sides in found.items() for row in rows_of(model, sides)]
    chosen = [
        f"- {model}, {name}: {', '.join(f'{key} {_short(value)}' for key, value in side.chosen.items())}"
        for model, sides in found.items()
        for name, side in sides.items()
    ]
    budget = f"{given.minutes:g} minutes" if given.minutes else f"{given.full} full trials"
    seeds = ", ".join(map(str, given.seed))
    return "\n".join(
        [
            f"Seconds: of the trials, added up, {given.workers} side by side. The second and the third search had "
            f"{budget} of each model (the last trial may end later), the third with TPE and the {given.pruner} pruner. "
            "`half as many`: the expected best of half of the trials, and its standard deviation. "
            f"Test: refitted, seeds {seeds}, each read once.",
            "",
            table(COLUMNS, rows),
            "",
            "What was chosen:",
            "",
            *chosen,
            "",
            _how(given),
        ]
    )


def at_once_text(given: argparse.Namespace, model: str) -> str:
    """The section of --at_once."""
    measured = trials_a_minute(given, model)
    told = (
        f"The same {given.full} drawn trials of {given.epochs} epochs each time, from starting the processes to the "
        "end of the last one."
    )
    return f"{told}\n\n{measured}\n\n{_how(given)}"


def _how(given: argparse.Namespace) -> str:
    command = " ".join(["python", "benchmarks/search.py", *sys.argv[1:]])
    return f"`{command}`; {_device()}{conditions(given.threads or 1, PACKAGES)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _device() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}; " if torch.cuda.is_available() else ""


def _choose_machine(given: argparse.Namespace) -> None:
    """Where nothing is asked for: all of it on a GPU, as --small without one, where it would take a day."""
    import torch

    if torch.cuda.is_available():
        given.gpu_id = "0"
    else:
        given.small = True
        print(
            "no GPU here, so one small model is searched (--small); --models NAMES searches them all the same"
        )


def main() -> None:
    """Search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="diginetica-demo")
    parser.add_argument("--models", default="SASRec,NARM,HRNNFeat", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--seed", default="1,2,3", help="of the tests; the first one's is the search's")
    parser.add_argument("--full", type=int, default=FULL, help="trials to their end that set the budget")
    parser.add_argument("--minutes", type=float, help="of each search but the first, in the place of that")
    parser.add_argument("--pruner", default="median", choices=("median", "hyperband"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of each worker")
    parser.add_argument("--gpu_id", help="such as 0; several by commas")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument(
        "--at_once", help="numbers of processes, such as 1,4,12: trials a minute is all that is measured"
    )
    parser.add_argument("--small", action="store_true", help="one small model on a CPU, few epochs")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "search.md")
    given = parser.parse_args()
    if len(sys.argv) == 1:
        _choose_machine(given)
    given.models = given.models.split(",")
    if unknown := [model for model in given.models if model not in MODELS]:
        parser.error(f"there are no ranges of {unknown[0]}: name some of {', '.join(MODELS)}")
    given.settings = {"epochs": given.epochs, "stopping_step": 2, "train_batch_size": 2048}
    if given.gpu_id is not None:
        given.settings |= {"gpu_id": given.gpu_id, "precision": "bf16"}
    if given.small:
        given.models, given.seed, given.full = [SMALL_MODEL[0]], "1", SMALL_FULL
        given.settings |= {**SMALL, SMALL_MODEL[1]: 1, "use_gpu": False}
    given.seed = [int(seed) for seed in given.seed.split(",")]
    if not given.out.is_file():
        given.out.write_text(HEAD, encoding="utf-8")
    if given.at_once:
        for model in given.models:
            write_section(
                given.out, f"{model} on {given.dataset}: trials a minute", at_once_text(given, model)
            )
        return
    found: dict[str, dict[str, Found]] = {}
    for model in given.models:
        found[model] = sides_of(given, model)
        print(table(COLUMNS, rows_of(model, found[model])), flush=True)
    write_section(given.out, f"{given.dataset}{' (small)' if given.small else ''}", page(given, found))
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
