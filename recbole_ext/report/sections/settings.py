"""The settings of the models, and every run that was made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.report.document import Cell, Listing, Section, Table, section
from recbole_ext.report.formats import count, metric_name, score, seconds, shown_value
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import lines, numbers, sortable, value_cell, words
from recbole_ext.settings import roles
from recbole_ext.wording import several


def settings(found: Findings) -> Section | None:
    """What differs between the runs, and all settings of each model, folded."""
    whole = [
        Listing(text, title=f"All settings of {label}", fold="long")
        for label, text in full_configs(found.records)
    ]
    return section("Settings", shared_differences(found.records), own_settings(found.records), *whole)


def runs(found: Findings) -> Section | None:
    """A table of every run."""
    return section("Every run", runs_table(found.records, found.comparison["metrics"]))


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
    columns = words("setting", *settings)
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
    columns = words("model", "settings")
    return Table("own", "Settings that only some of the models have", columns, rows, sortable=False)


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
        blended = bool(config.get("blend_from"))  # a blend of finished runs trains nothing
        for key, value in roles.shown_settings(config).items():
            values = mine.setdefault(key, [])
            told = "its models'" if blended and roles.of_training(key) else shown_value(value)
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
    columns = [*words("model"), *numbers("seed", *map(metric_name, metrics))]
    columns += [*numbers("best validation score", "epochs", "training"), *words("folder")]
    rows = [_run(record, metrics) for record in records]
    return Table("runs", several(len(records), "finished run"), columns, rows, fold="long")


def _run(record: Mapping[str, Any], metrics: Sequence[str]) -> list[Cell]:
    test, best = record.get("test") or {}, record.get("best_valid_score")
    return [
        Cell(record["label"]),
        value_cell(str, record.get("seed")),
        *[value_cell(score, test.get(metric)) for metric in metrics],
        Cell(score(best), sortable(best), detail=lines(str(record.get("valid_metric") or ""))),
        value_cell(count, record.get("epochs_run")),
        value_cell(seconds, (record.get("seconds") or {}).get("train")),
        Cell(str(record.get("folder") or "")),
    ]
