"""The tables of an experiment's report, once for the page and for Markdown: plain data, no markup.

Input are the comparisons, records and searches that `recbole_ext.report.experiment_report.write_report` documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.report.words import (
    NONE,
    UNTESTED,
    Test,
    Tests,
    amount,
    best_model,
    count,
    interval,
    known,
    metric_name,
    roughly,
    score,
    seconds,
    several,
    shown_value,
    signed,
    spaced,
    stars,
)

# settings that say where and how often a run happened, not what the model is
NOT_A_SETTING = frozenset(
    {"seed", "model", "dataset", "runs_dir", "checkpoint_dir", "data_path", "raw_path", "resume_from"}
    | {"blend_from", "blend_components"}
    | {"dataset_save_path", "dataloaders_save_path", "benchmark_filename", "show_progress", "state", "worker"}
    | {"gpu_id", "local_rank", "single_spec", "log_wandb", "wandb_project"}
    | {"MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type"}
)
OF_TRAINING = frozenset(
    {
        "epochs",
        "stopping_step",
        "learner",
        "learning_rate",
        "weight_decay",
        "score",
        "temperature",
        "train_loss",
    }
    | {"train_batch_size", "train_neg_sample_args", "train_targets", "label_smoothing", "clip_grad_norm"}
)
MISSING = object()
STARS = "*** Holm-adjusted p < .001 · ** < .01 · * < .05 · n.s. not significant · ? not tested"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what it sorts by (None: its text), a mark behind it and smaller lines below it."""

    text: str
    sort: float | None = None
    mark: str = ""
    detail: Sequence[str] = ()
    tone: str = ""  # best, more, less, quiet or warn: how the page colours it, never the only sign


@dataclass(frozen=True)
class Column:
    """A column's head; `unit` stands below it, `numeric` columns sort by number and stand right."""

    title: str
    numeric: bool = True
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption; `ordered` is the column that it comes sorted by and the direction."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    legend: Sequence[str] = ()
    ordered: tuple[int, str] | None = None
    sortable: bool = True

    @property
    def name_column(self) -> int:
        """The column that names its rows: the first one of words."""
        return next((i for i, column in enumerate(self.columns) if not column.numeric), 0)


# --- one data set -------------------------------------------------------------------------------------------


def ranking_table(comparison: Mapping[str, Any], baseline: str | None) -> Table:
    """The models, best first: metrics with intervals and marks, differences on the first metric, costs, spread."""
    metrics, models, tests = comparison["metrics"], comparison["models"], Tests(comparison)
    labels = [m["model"] for m in models]
    baseline = baseline if baseline in labels else None
    leaders = {metric: best_model(comparison, metric) for metric in metrics}
    extras = in_order(key for m in models for key in m.get("beyond") or {})
    columns = [Column("#"), Column("model", numeric=False), Column("seeds")]
    columns += [Column(metric_name(m)) for m in metrics]
    first = metrics[0] if metrics else None
    if first and len(models) > 1:
        columns.append(Column("to best", unit=metric_name(first)))
        if baseline:
            columns.append(Column("to baseline", unit=metric_name(first)))
    columns += [Column("training"), Column("ranking", unit="test part"), Column("parameters")]
    columns += [
        Column(metric_name(key.partition("@")[0]), unit="".join(key.partition("@")[1:])) for key in extras
    ]
    rows = []
    for place, model in enumerate(models, 1):
        label = model["model"]
        row = [
            Cell(str(place), place),
            _model_cell(model, baseline),
            Cell(count(len(model["seeds"])), len(model["seeds"])),
        ]
        for metric in metrics:
            against = tests.between(label, baseline, metric) if baseline else UNTESTED
            row.append(_metric_cell(model, metric, leaders[metric], tests, against))
        if first and len(models) > 1:
            leader = leaders[first]
            row.append(_difference_cell(comparison, tests, label, leader))
            if baseline:
                row.append(_difference_cell(comparison, tests, label, baseline))
        row += [
            Cell(seconds(model["seconds"].get("train")), sortable(model["seconds"].get("train"))),
            Cell(seconds(model["seconds"].get("test")), sortable(model["seconds"].get("test"))),
            Cell(roughly(model.get("parameters")), sortable(model.get("parameters"))),
        ]
        beyond = model.get("beyond") or {}
        row += [Cell(amount(beyond.get(key)), sortable(beyond.get(key))) for key in extras]
        rows.append(row)
    caption = (
        f"{several(len(models), 'model')} on {count(comparison.get('targets'))} test targets of "
        f"{count(comparison.get('sessions'))} sessions, {count(comparison.get('items'))} items ranked; best first"
    )
    legend = _ranking_legend(len(models), baseline, bool(tests), any(len(m["seeds"]) > 1 for m in models))
    return Table("ranking", caption, columns, rows, legend, ordered=(0, "ascending"))


def _ranking_legend(models: int, baseline: str | None, tested: bool, seeds: bool) -> list[str]:
    below = "below a mean: its 95 % interval over test sessions"
    legend = [below + ("; ± standard deviation over seeds" if seeds else "")]
    if models > 1 and tested:
        legend.append("bold: highest mean · ≈ not distinguishable from it (Holm p ≥ .05)")
        legend.append(f"differences: {STARS}")
        if baseline:
            legend.append(f"▲ ▼ significantly above or below the baseline {baseline} (Holm p < .05)")
    return legend


def _model_cell(model: Mapping[str, Any], baseline: str | None) -> Cell:
    detail = [model["name"]] if model.get("name") and model["name"] != model["model"] else []
    detail += ["baseline"] if model["model"] == baseline else []
    return Cell(model["model"], None, detail=detail)


def _metric_cell(
    model: Mapping[str, Any], metric: str, leader: str | None, tests: Tests, against_baseline: Test
) -> Cell:
    found = model["metrics"].get(metric) or {}
    if not known(found.get("mean")):
        return Cell(NONE, None, tone="quiet")
    is_best = model["model"] == leader
    mark = ""
    if not is_best and leader is not None:
        to_best = tests.between(model["model"], leader, metric)
        if to_best.tested and not to_best.decided:
            mark = "≈"
    mark += "▲" if against_baseline.better else "▼" if against_baseline.worse else ""
    spread = f"± {score(found['seed_std'])}" if known(found.get("seed_std")) else ""
    detail = [part for part in (interval(found), spread) if part]
    return Cell(score(found["mean"]), found["mean"], mark, detail, "best" if is_best else "")


def _difference_cell(comparison: Mapping[str, Any], tests: Tests, label: str, other: str | None) -> Cell:
    """First metric of `label` minus that of `other`: as tested, else of the means, marked as untested."""
    if label == other or other is None:
        return Cell(NONE, 0.0, tone="quiet")
    metric = comparison["metrics"][0]
    test = tests.between(label, other, metric)
    if known(test.difference):
        return Cell(signed(test.difference), test.difference, stars(test.p_holm), _bounds(test))
    means = {m["model"]: (m["metrics"].get(metric) or {}).get("mean") for m in comparison["models"]}
    mean, others = means[label], means[other]
    if not (known(mean) and known(others)):
        return Cell(NONE, None, tone="quiet")
    return Cell(signed(mean - others), mean - others, "?", tone="quiet")


def _bounds(test: Test) -> list[str]:
    return [f"{signed(test.low)} to {signed(test.high)}"] if known(test.low) and known(test.high) else []


def test_matrix(comparison: Mapping[str, Any], metric: str) -> Table | None:
    """Row minus column for every pair, with stars; None where fewer than two models or no test of `metric`."""
    labels = [m["model"] for m in comparison["models"]]
    tests = Tests(comparison)
    if len(labels) < 2 or not any(t["metric"] == metric for t in comparison.get("tests") or []):
        return None
    columns = [Column("row minus column", numeric=False)]
    columns += [Column(str(i), unit=label) for i, label in enumerate(labels, 1)]
    rows = []
    for i, label in enumerate(labels, 1):
        row = [Cell(f"{i} {label}", float(i))]
        for other in labels:
            test = tests.between(label, other, metric)
            if label == other:
                row.append(Cell("", None, tone="quiet"))
            elif not known(test.difference):
                row.append(Cell("?", None, tone="quiet"))
            else:
                tone = "more" if test.better else "less" if test.worse else "quiet"
                row.append(Cell(signed(test.difference), test.difference, stars(test.p_holm), tone=tone))
        rows.append(row)
    legend = [f"{STARS}; the sign says who is ahead"]
    return Table(
        "tests", f"Differences in {metric_name(metric)}, pair by pair", columns, rows, legend, sortable=False
    )


def slice_table(comparison: Mapping[str, Any], dimension: str) -> Table | None:
    """The first metric of every model in every slice of a dimension; None where the dimension has no slice."""
    found = (comparison.get("slices") or {}).get(dimension) or []
    if not found or not comparison["metrics"]:
        return None
    metric = comparison["metrics"][0]
    columns = [Column("model", numeric=False)]
    columns += [
        Column(
            str(s["slice"]) + (" ⚠" if s.get("small") else ""), unit=several(s.get("targets") or 0, "target")
        )
        for s in found
    ]
    tops = [_top_of_slice(s, metric) for s in found]
    rows = []
    for model in comparison["models"]:
        label = model["model"]
        row = [Cell(label)]
        for part, top in zip(found, tops):
            value = (part["metrics"].get(label) or {}).get(metric) or {}
            tone = "best" if known(value.get("mean")) and value["mean"] == top else ""
            row.append(
                Cell(score(value.get("mean")), sortable(value.get("mean")), "", _lines(interval(value)), tone)
            )
        rows.append(row)
    legend = ["bold: highest mean of the slice, not a test"]
    if any(s.get("small") for s in found):
        legend.append("⚠ fewer than 100 targets: read with care")
    return Table(
        f"slices {dimension}", f"{metric_name(metric)} by {spaced(dimension)}", columns, rows, legend
    )


def _top_of_slice(part: Mapping[str, Any], metric: str) -> float | None:
    means = [(values.get(metric) or {}).get("mean") for values in part["metrics"].values()]
    return max((mean for mean in means if known(mean)), default=None)


def cost_table(comparison: Mapping[str, Any]) -> Table:
    """What training and ranking cost, mean over seeds."""
    columns = [
        Column("model", numeric=False),
        Column("preparing data"),
        Column("training"),
        Column("epochs"),
        Column("an epoch"),
        Column("ranking", unit="test part"),
        Column("targets ranked", unit="a second"),
        Column("parameters"),
    ]
    rows = []
    for model in comparison["models"]:
        times, epochs = model["seconds"], model.get("epochs")
        train, test = times.get("train"), times.get("test")
        epoch = train / epochs if known(train) and known(epochs) and epochs > 0 else None
        targets = comparison.get("targets")
        speed = targets / test if known(test) and test > 0 and known(targets) else None
        rows.append(
            [
                Cell(model["model"]),
                Cell(seconds(times.get("prepare")), sortable(times.get("prepare"))),
                Cell(seconds(train), sortable(train)),
                Cell(count(epochs), sortable(epochs)),
                Cell(seconds(epoch), sortable(epoch)),
                Cell(seconds(test), sortable(test)),
                Cell(count(round(speed)) if speed is not None else NONE, speed),
                Cell(count(model.get("parameters")), sortable(model.get("parameters"))),
            ]
        )
    return Table("cost", "Training and inference cost, mean over seeds", columns, rows)


def reward_table(comparison: Mapping[str, Any]) -> Table | None:
    """Mean reward@k of a target and its sum, of the models that have one; None where none has."""
    models = [m for m in comparison["models"] if m.get("reward")]
    if not models:
        return None
    keys = in_order(key for m in models for key in m["reward"])
    summed = any(known(value.get("sum")) for m in models for value in m["reward"].values())
    columns = [Column("model", numeric=False)]
    for key in keys:
        columns.append(Column(metric_name(key), unit="a target, 95 % interval"))
        columns += [Column(metric_name(key), unit="sum")] if summed else []
    rows = []
    for model in models:
        row = [Cell(model["model"])]
        for key in keys:
            value = model["reward"].get(key) or {}
            row.append(
                Cell(score(value.get("mean")), sortable(value.get("mean")), "", _lines(interval(value)))
            )
            row += [Cell(amount(value.get("sum")), sortable(value.get("sum")))] if summed else []
        rows.append(row)
    legend = ["reward@k: the reward of the target's event where the target ranks k or better, else 0"]
    return Table("reward", "Mean reward of a target, and the sum over targets", columns, rows, legend)


def category_table(comparison: Mapping[str, Any]) -> Table | None:
    """How often the target's category was recommended; None where no model knows categories."""
    models = [m for m in comparison["models"] if m.get("category_hit")]
    keys = in_order(key for m in models for key, value in m["category_hit"].items() if value_of(value))
    if not keys:
        return None
    columns = [Column("model", numeric=False), *[Column(metric_name(k), unit="95 % interval") for k in keys]]
    rows = []
    for model in models:
        row = [Cell(model["model"])]
        for key in keys:
            value = value_of(model["category_hit"].get(key))
            row.append(
                Cell(score(value.get("mean")), sortable(value.get("mean")), "", _lines(interval(value)))
            )
        rows.append(row)
    targets = models[0]["category_hit"].get("targets")
    of = f", of the {count(targets)} targets whose category is known" if known(targets) else ""
    legend = [
        "category@1: the best item is of the target's category; category_hit@k: any of the k best is",
    ]
    return Table("categories", f"Hits of the target's category{of}", columns, rows, legend)


def value_of(found: Any) -> Mapping[str, Any]:
    """A metric's value as a dict with `mean`; empty for counts and whatever else is no metric."""
    if isinstance(found, Mapping):
        return found
    return {"mean": found} if isinstance(found, float) else {}


def search_table(search: Mapping[str, Any]) -> Table:
    """Every trial of one model's search, best validation score first, the chosen one marked."""
    trials = sorted(search.get("trials") or [], key=_worth, reverse=True)
    keys = in_order(key for t in trials for key in t.get("settings") or {})
    chosen = search.get("chosen") or {}
    columns = [Column("#"), *[Column(key, numeric=False) for key in keys]]
    columns += [Column("validation score"), Column("epochs"), Column("training")]
    failed = any(trial.get("reason") for trial in trials)
    columns += [Column("failed", numeric=False)] if failed else []
    rows: list[list[Cell]] = []
    for place, trial in enumerate(trials, 1):
        settings = trial.get("settings") or {}
        picked = _same_settings(settings, chosen) and not any(c.tone == "best" for r in rows for c in r)
        row = [Cell(str(place), place, "chosen" if picked else "", tone="best" if picked else "")]
        row += [_setting_cell(settings.get(key, MISSING)) for key in keys]
        row += [
            Cell(score(trial.get("valid_score")), sortable(trial.get("valid_score"))),
            Cell(count(trial.get("epochs")), sortable(trial.get("epochs"))),
            Cell(seconds(trial.get("seconds")), sortable(trial.get("seconds"))),
        ]
        row += [Cell(str(trial.get("reason") or ""))] if failed else []
        rows.append(row)
    what = ", ".join(f"{k}: {shown_value(v)}" for k, v in chosen.items()) or "nothing"
    caption = f"{search.get('label')}: {several(len(trials), 'trial')}; chosen {what}"
    return Table(f"search {search.get('label')}", caption, columns, rows, ordered=(0, "ascending"))


def _worth(trial: Mapping[str, Any]) -> float:
    value = trial.get("valid_score")
    return float(value) if known(value) else -math.inf


def _same_settings(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether a trial is the chosen one; `chosen` may hold the settings alone or the whole trial."""
    wanted = chosen.get("settings", chosen) if isinstance(chosen.get("settings"), Mapping) else chosen
    return bool(settings) and all(key in wanted and wanted[key] == value for key, value in settings.items())


def _setting_cell(value: Any) -> Cell:
    if value is MISSING:
        return Cell("", None)
    return Cell(shown_value(value), float(value) if known(value) else None)


def shared_differences(records: Sequence[Mapping[str, Any]]) -> Table | None:
    """Settings that every model has and that are not the same for all; None where there are none."""
    settings = _settings_by_label(records)
    if len(settings) < 2:
        return None
    keys = [
        key
        for key in sorted({key for found in settings.values() for key in found})
        if all(key in found for found in settings.values())
        and len({found[key] for found in settings.values()}) > 1
    ]
    if not keys:
        return None
    columns = [Column("setting", numeric=False), *[Column(label, numeric=False) for label in settings]]
    rows = [[Cell(key), *[_text_or_number(found[key]) for found in settings.values()]] for key in keys]
    return Table("differences", "Settings that all models have and that differ", columns, rows)


def own_settings(records: Sequence[Mapping[str, Any]]) -> Table | None:
    """Settings that only some of the models know, model by model; None where there are none."""
    settings = _settings_by_label(records)
    common = set.intersection(*(set(found) for found in settings.values())) if settings else set()
    rows = []
    for label, found in settings.items():
        own = [f"{key}: {found[key]}" for key in sorted(found) if key not in common]
        if own:
            rows.append([Cell(label), Cell(" · ".join(own))])
    if len(settings) < 2 or not rows:
        return None
    columns = [Column("model", numeric=False), Column("settings", numeric=False)]
    return Table("own settings", "Settings that only some of the models have", columns, rows, sortable=False)


def _text_or_number(text: str) -> Cell:
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def _settings_by_label(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """label -> key -> value as shown; values that differ between the seeds of a model stand side by side."""
    found: dict[str, dict[str, list[str]]] = {}
    for record in records:
        mine = found.setdefault(record["label"], {})
        config = record.get("config") or {}
        for key, value in config.items():
            if key not in NOT_A_SETTING:
                values = mine.setdefault(key, [])
                # a blend of finished runs trains nothing
                told = (
                    "its models'" if config.get("blend_from") and key in OF_TRAINING else shown_value(value)
                )
                values += [told] if told not in values else []
    return {label: {key: " or ".join(v) for key, v in mine.items()} for label, mine in found.items()}


def full_configs(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(label, settings one a line) of every model, as its first run had them."""
    first: dict[str, Mapping[str, Any]] = {}
    for record in records:
        first.setdefault(record["label"], record.get("config") or {})
    return [
        (label, "\n".join(f"{key}: {shown_value(config[key])}" for key in sorted(config)))
        for label, config in first.items()
    ]


def runs_table(records: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> Table | None:
    """Every finished run of a data set; None where there is none."""
    if not records:
        return None
    columns = [Column("model", numeric=False), Column("seed"), *[Column(metric_name(m)) for m in metrics]]
    columns += [
        Column("best validation score"),
        Column("epochs"),
        Column("training"),
        Column("folder", numeric=False),
    ]
    rows = []
    for record in records:
        test = record.get("test") or {}
        rows.append(
            [
                Cell(record["label"]),
                Cell(str(record.get("seed")), sortable(record.get("seed"))),
                *[Cell(score(test.get(m)), sortable(test.get(m))) for m in metrics],
                Cell(
                    score(record.get("best_valid_score")),
                    sortable(record.get("best_valid_score")),
                    detail=_lines(str(record.get("valid_metric") or "")),
                ),
                Cell(count(record.get("epochs_run")), sortable(record.get("epochs_run"))),
                Cell(seconds(_of(record, "seconds", "train")), sortable(_of(record, "seconds", "train"))),
                Cell(str(record.get("folder") or "")),
            ]
        )
    return Table("runs", several(len(records), "finished run"), columns, rows)


# --- report.csv ---------------------------------------------------------------------------------------------

CSV_COLUMNS = (
    *("dataset", "model", "metric", "dimension", "slice"),
    *("mean", "low", "high", "seed_std", "targets", "sessions", "seeds"),
)


def csv_rows(comparisons: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """One row per (data set, model, metric, slice); dimension and slice are "all" for the whole test part."""
    rows: list[list[Any]] = []
    for comparison in comparisons:
        dataset = comparison["dataset"]
        seeds = {m["model"]: len(m["seeds"]) for m in comparison["models"]}
        whole = [comparison.get("targets"), comparison.get("sessions")]
        for model in comparison["models"]:
            label = model["model"]
            found = {**model["metrics"], **(model.get("reward") or {})}
            single = {**(model.get("beyond") or {}), **(model.get("category_hit") or {})}
            found |= {metric: value_of(value) for metric, value in single.items() if value_of(value)}
            for metric, value in found.items():
                rows.append([dataset, label, metric, "all", "all", *_numbers(value), *whole, seeds[label]])
        for dimension, parts in (comparison.get("slices") or {}).items():
            for part in parts:
                size_of = [part.get("targets"), part.get("sessions")]
                for label, metrics in part["metrics"].items():
                    for metric, value in metrics.items():
                        place = [dataset, label, metric, dimension, part["slice"]]
                        rows.append([*place, *_numbers(value), *size_of, seeds.get(label)])
    return rows


def _numbers(value: Mapping[str, Any]) -> list[Any]:
    return [value.get(key) if known(value.get(key)) else None for key in ("mean", "low", "high", "seed_std")]


def _of(record: Mapping[str, Any], *keys: str) -> Any:
    value: Any = record
    for key in keys:
        value = (value or {}).get(key)
    return value


def sortable(value: Any) -> float | None:
    return float(value) if known(value) else None


def _lines(text: str) -> list[str]:
    return [text] if text else []


def in_order(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
