"""A run, and runs side by side, as plain text for the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from recbole_ext.evaluate.intervals import LEVEL
from recbole_ext.evaluate.slices import SMALL
from recbole_ext.report.formats import metric_name, spaced
from recbole_ext.wording import several

GAP = "  "


# --- one run ------------------------------------------------------------------------------------------------


def result_table(record: dict[str, Any]) -> str:
    """The test metrics of a run, one row a metric, one column a cut-off, and what they were measured on."""
    metrics, single = _by_name(record["test"])
    cutoffs = sorted({k for row in metrics.values() for k in row})
    called = f" ({record['label']})" if record.get("label", record["model"]) != record["model"] else ""
    head = f"{record['model']}{called} on {record['dataset']} (seed {record['seed']})"
    lines = ["", head, "-" * len(head), "  " + record["protocol"], "  split " + record["split"]]
    lines += [f"  {note}" for note in record["notes"]]
    counts = record["counts"]
    lines.append(
        f"  {several(counts['test_targets'], 'test target')}, {several(counts['items'], 'item')} ranked"
    )
    lines.append("")
    lines.append(f"{'':10}" + "".join(f"{'@' + str(k):>9}" for k in cutoffs))
    lines += _rows(metrics, cutoffs)
    lines += [f"  {name:8}{value:9.4f}" for name, value in single.items()]
    for kind, values in record.get("test_by_event", {}).items():
        lines += [
            "",
            f"  {kind}: {several(values['targets'], 'target')}",
            *_rows(_by_name(values)[0], cutoffs),
        ]
    lines += _slice_lines(record.get("test_slices", {}), cutoffs)
    if "test_reward" in record:
        rewards, _ = _by_name(record["test_reward"])
        given = ", ".join(f"{kind} {value:g}" for kind, value in record["config"]["rewards"].items())
        lines += ["", f"  reward ({given})", *_rows({"sum": rewards["Reward"]}, cutoffs, 1)]
        lines += _rows({"a target": rewards["Reward per target"]}, cutoffs)
    if "off_policy" in record:
        lines += ["", *_off_policy(record["off_policy"])]
    last = record["epochs"][-1] if record.get("epochs") else {}
    if "q_taken" in last:
        values = ", ".join(f"{name} {last[name]:.4f}" for name in Q_VALUES if name in last)
        lines += ["", f"  last epoch: {values}"]
    seconds = record["seconds"]
    lines.append("")
    best = record["best_valid_score"]
    scored = "no validation" if best is None else f"best validation {record['valid_metric']} {best:.4f}"
    lines.append(
        f"  {several(record['epochs_run'], 'epoch')} in {seconds['train']:.1f} s on {record['device']}, {scored}"
    )
    lines += [f"  {label:15}{path}" for label, path in record["files"].items()]
    return "\n".join(lines)


SLICES = {"item": "{} items", "visitor": "{} visitors"}  # what a single run shows of them; reports show all


def _slice_lines(found: dict[str, dict[str, Any]], cutoffs: list[int]) -> list[str]:
    """HR and NDCG for cold and warm items, new and returning visitors, at 10 or the largest cut-off."""
    k = 10 if 10 in cutoffs else max(cutoffs, default=0)
    rows = [
        f"  {shown.format(name):22}{values['targets']:>9,}{'*' if values['small'] else ' '}"
        f"{values[f'hit@{k}']:10.4f}{values[f'ndcg@{k}']:10.4f}"
        for dimension, shown in SLICES.items()
        for name, values in found.get(dimension, {}).items()
    ]
    if not rows:
        return []
    head = f"  {'':22}{'targets':>9} {f'HR@{k}':>10}{f'NDCG@{k}':>10}"
    small = [f"  * under {SMALL} targets"] if any("*" in row for row in rows) else []
    return ["", head, *rows, *small]


def _off_policy(found: dict[str, Any]) -> list[str]:
    """Reward a target that the log earned and that the model's policy would earn, with intervals."""
    settings = found["settings"]
    setting = "temperature" if settings["policy"] == "softmax" else "epsilon"
    lines = [f"  off-policy reward a target ({settings['policy']}, {setting} {settings[setting]:g})"]
    for label, key in (("the log", "log"), ("SNIPS", "snips"), ("DR", "dr"), ("SNDR", "sndr")):
        value = found[key]
        if value["value"] is None:
            lines.append(f"  {label:8}     none: the policy never does what the log did")
            continue
        lines.append(
            f"  {label:8}{value['value']:9.4f}   95 % from {value['low']:.4f} to {value['high']:.4f}"
        )
    lines.append(
        f"  {found['targets']:,} targets weigh like {found['effective']:,.0f}; mean weight {found['mean_weight']:.2f}, "
        f"{100 * found['clipped']:.1f} % of the weights clipped at {settings['clip']:g}"
    )
    return lines


Q_VALUES = ("ce", "td_loss", "q_taken", "q_greedy", "overestimation", "advantage_spread", "clipped")


def _by_name(values: dict[str, float]) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Metrics by name and cut-off, and those without cut-off."""
    metrics: dict[str, dict[int, float]] = {}
    single: dict[str, float] = {}
    for key, value in values.items():
        name, _, k = metric_name(key).partition("@")
        if k:
            metrics.setdefault(name, {})[int(k)] = value
        else:
            single[name] = value
    return metrics, single


def _rows(metrics: dict[str, dict[int, float]], cutoffs: list[int], digits: int = 4) -> list[str]:
    """A line a metric, a column a cut-off."""
    return [
        f"  {name:8}" + "".join(f"{row[k]:9.{digits}f}" if k in row else f"{'':9}" for k in cutoffs)
        for name, row in metrics.items()
    ]


# --- several runs ---------------------------------------------------------------------------------------------


def comparison_table(records: Sequence[dict[str, Any]]) -> str:
    """Test metrics of several models at the largest cut-off but one, mean over seeds and standard deviation."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_model.setdefault(record.get("label", record["model"]), []).append(record)
    metrics = [key for key in records[0]["test"] if key.endswith(("@10", "@20"))]
    rewards = [
        f"reward@{k}" for k in (10, 20) if any(f"reward@{k}" in r.get("test_reward", {}) for r in records)
    ]
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(record["seed"] for record in records))
    head = f"{records[0]['dataset']}, seeds {seeds}: mean over seeds ± standard deviation"
    columns = metrics + rewards
    lines = ["", head, f"{'':16}" + "".join(f"{metric_name(column):>18}" for column in columns)]
    for model, runs in by_model.items():
        cells = []
        for column in columns:
            values = [{**run.get("test_reward", {}), **run["test"]}.get(column) for run in runs]
            known = [value for value in values if value is not None]
            cells.append(f"{_spread(known, 1 if column in rewards else 4):>18}")
        lines.append(f"{model:16}" + "".join(cells))
    return "\n".join(lines)


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def comparison_text(found: dict[str, Any]) -> str:
    """Ranking with intervals, what the models are beyond it, paired tests, and slices by the first metric."""
    head = (
        f"{found['dataset']}: {several(found['targets'], 'test target')} of {several(found['sessions'], 'session')}, "
        f"{several(found['items'], 'item')} ranked"
    )
    parts = [
        [head, *(f"note: {note}" for note in found["notes"])],
        _ranking(found),
        _beyond(found),
        _tests(found),
    ]
    parts += [_slices(found, dimension) for dimension in found["slices"]]
    small = any(entry["small"] for entries in found["slices"].values() for entry in entries)
    parts.append([f"* under {SMALL} targets: says little"] if small else [])
    return "\n\n".join("\n".join(part) for part in parts if part)


def promotion_text(found: dict[str, Any]) -> str:
    """Verdict and reasons, then all targets and every slice: both values, the change with interval, what it means."""
    head = [
        f"{found['verdict']}: {found['new']} for {found['old']}",
        *(f"  {reason}" for reason in found["reasons"]),
        *(f"note: {note}" for note in found["notes"]),
    ]
    metric = metric_name(found["metric"])
    rows = [["targets", "number ", "sessions", f"old {metric}", "new", f"change [{LEVEL} %]", "is"]]
    for row in found["rows"]:
        of = "all" if row["slice"] == "all" else f"{spaced(row['dimension'])}: {row['slice']}"
        change = "-" if row["change"] is None else f"{100 * row['change']:+.1f} %"
        if row["low"] is not None:
            change += f" [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
        number = f"{row['targets']:,}{'*' if row['small'] else ' '}"
        values = [f"{row[name]:.4f}" for name in ("old", "new")]
        state = row["state"] + (" (must be)" if row["guarded"] else "")
        rows.append([of, number, f"{row['sessions']:,}", *values, change, state])
    small = [f"* under {SMALL} targets: says little"] if any(row["small"] for row in found["rows"]) else []
    return "\n".join([*head, "", *_aligned(rows, left=1), *small])


def _ranking(found: dict[str, Any]) -> list[str]:
    rows = [["model", "seeds", *(f"{metric_name(metric)} [{LEVEL} %]" for metric in found["metrics"])]]
    for model in found["models"]:
        cells = [model["model"], str(len(model["seeds"]))]
        for metric in found["metrics"]:
            values = model["metrics"][metric]
            spread = "" if values["seed_std"] is None else f" ±{values['seed_std']:.4f}"
            cells.append(_interval(values) + spread)
        rows.append(cells)
    repeated = any(len(model["seeds"]) > 1 for model in found["models"])
    legend = ["±: standard deviation over seeds"] if repeated else []
    return _aligned(rows, left=1) + legend


def _beyond(found: dict[str, Any]) -> list[str]:
    names = list(found["models"][0]["beyond"])
    categories = [name for name in next(iter(_categories(found)), {}) if "@" in name]
    rewards = list(found["models"][0].get("reward", {}))
    rows = [["", *map(metric_name, [*names, *categories, *rewards]), "parameters", "training s", "epochs"]]
    for model in found["models"]:
        hits, earned = model.get("category_hit", {}), model.get("reward", {})
        cells = [_number(model["beyond"][name], 1 if "popularity" in name else 4) for name in names]
        cells += [_number(hits.get(name, {}).get("mean"), 4) for name in categories]
        cells += [_number(earned.get(name, {}).get("mean"), 4) for name in rewards]
        cells += [
            _number(model["parameters"], 0),
            _number(model["seconds"]["train"], 1),
            _number(model["epochs"], 1),
        ]
        rows.append([model["model"], *cells])
    unknown = max((hit["unknown"] for hit in _categories(found)), default=0)
    legend = [f"category hits leave out {several(unknown, 'target')} of unknown category"] if unknown else []
    return _aligned(rows, left=1) + legend


def _categories(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [model["category_hit"] for model in found["models"] if "category_hit" in model]


def _tests(found: dict[str, Any]) -> list[str]:
    rows = [["paired test", "metric", f"difference [{LEVEL} %]", "p", "p (Holm)"]]
    for test in found["tests"]:
        difference = _interval({**test, "mean": test["difference"]}, sign="+")
        pair = f"{test['a']} - {test['b']}"
        rows.append(
            [pair, metric_name(test["metric"]), difference, f"{test['p']:.4f}", f"{test['p_holm']:.4f}"]
        )
    return _aligned(rows, left=2) if len(rows) > 1 else []


def _slices(found: dict[str, Any], dimension: str) -> list[str]:
    metric = found["metrics"][0]
    labels = [model["model"] for model in found["models"]]
    rows = [[f"{metric_name(metric)} by {spaced(dimension)}", "targets ", "sessions", *labels]]
    for entry in found["slices"][dimension]:
        mark = "*" if entry["small"] else " "
        cells = [_interval(entry["metrics"][label][metric]) for label in labels]
        rows.append([entry["slice"], f"{entry['targets']:,}{mark}", f"{entry['sessions']:,}", *cells])
    return _aligned(rows, left=1)


def _interval(values: dict[str, Any], sign: str = "") -> str:
    """`0.4216 [0.4011, 0.4420]`; without the brackets where there is no interval."""
    mean, low, high = (values[key] for key in ("mean", "low", "high"))
    return f"{mean:{sign}.4f}" + ("" if low is None else f" [{low:{sign}.4f}, {high:{sign}.4f}]")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of equal columns, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append(GAP.join(cells).rstrip())
    return lines
