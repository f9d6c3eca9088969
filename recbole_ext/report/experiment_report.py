"""The report of an experiment: index.html (one file, opens offline), report.md, report.csv and figures/*.png.

What to say is gathered once, as a `Report` of tables, pictures and sentences; page and Markdown only set it.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.report import contents, plots, provenance
from recbole_ext.report.contents import Table
from recbole_ext.report.markdown import render_markdown
from recbole_ext.report.page import render_page
from recbole_ext.report.plots import Picture, Style
from recbole_ext.report.provenance import Manifest
from recbole_ext.report.words import NONE, answer, count, differing, listed, several, spaced

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Slices:
    """The metrics by one dimension of the targets."""

    dimension: str
    picture: Picture | None
    table: Table


@dataclass(frozen=True)
class Part:
    """What the report shows of one data set, in the page's order; None or empty: there is nothing to show."""

    dataset: str
    anchor: str
    notes: Sequence[str]
    ranking: Table | None
    forest: Picture | None
    matrices: Sequence[Table]
    reward: Table | None
    categories: Table | None
    cold: Picture | None
    slices: Sequence[Slices]
    cost: Picture | None
    cost_table: Table | None
    curves: Picture | None
    curves_missing: str
    searches: Sequence[Table]
    differences: Table | None
    own: Table | None
    configs: Sequence[tuple[str, str]]
    runs: Table | None

    @property
    def pictures(self) -> list[Picture]:
        found = [self.forest, self.cold, *(s.picture for s in self.slices), self.cost, self.curves]
        return [picture for picture in found if picture is not None]


@dataclass(frozen=True)
class Report:
    """The whole report; `facts` are (term, text) of its head, `answers` one paragraph a data set."""

    title: str
    facts: Sequence[tuple[str, str]]
    answers: Sequence[str]
    cautions: Sequence[str]
    parts: Sequence[Part]
    failed: Table | None
    readings: Table | None
    readings_note: str
    environment: Table
    manifests: Sequence[Manifest]
    command: str
    file: str


def write_report(
    folder: Path,
    experiment: Fields,
    comparisons: Sequence[Fields],
    records: Sequence[Fields],
    searches: Sequence[Fields],
) -> list[Path]:
    """Write the report of an experiment into `folder` and return the files: page, Markdown, CSV, pictures.

    Each file is written beside its place and renamed into it, the page last; the same input gives the same bytes.

    Args:
        experiment: name, title, command, calls (dicts of time, commit, runs, command),
            file (its yaml or None), datasets, seeds, refit, baseline (a label or None),
            commit, started, failed (dicts of dataset, label, seed, reason), readings of the test part (dicts of
            time, dataset, label, seed …).
        comparisons: one a data set, as `recbole_ext.evaluate.comparison.compare` makes them: dataset, targets,
            sessions, items, metrics, models (best first), tests, slices, notes.
        records: the record.json of every finished run, with `label` and `folder`.
        searches: dataset, label, trials (settings, valid_score, epochs, seconds) and the chosen settings.

    Raises:
        UsageError: `folder` cannot be written.
    """
    report = gather(experiment, comparisons, records, searches)
    folder = Path(folder)
    files: dict[Path, bytes] = {}
    for picture in (p for part in report.parts for p in part.pictures):
        files[folder / "figures" / f"{picture.name}.png"] = picture.png
    files[folder / "report.csv"] = _csv(comparisons).encode("utf-8")
    files[folder / "report.md"] = _clean(render_markdown(report)).encode("utf-8")
    files[folder / "index.html"] = _clean(render_page(report)).encode("utf-8")
    for path, content in files.items():
        _put(path, content)
    return list(reversed(files))


def gather(
    experiment: Fields,
    comparisons: Sequence[Fields],
    records: Sequence[Fields],
    searches: Sequence[Fields],
) -> Report:
    """Everything that the report says, as tables, pictures and sentences."""
    baseline = experiment.get("baseline")
    labels = list(dict.fromkeys(m["model"] for c in comparisons for m in c["models"]))
    look = plots.styles(labels + [r["label"] for r in records])
    parts = [
        _part(i, c, _of_dataset(records, c), _of_dataset(searches, c), baseline, look)
        for i, c in enumerate(comparisons, 1)
    ]
    compared = {c["dataset"] for c in comparisons}
    missing = [d for d in experiment.get("datasets") or [] if d not in compared]
    answers = [answer(c, baseline) for c in comparisons]
    answers += [f"On {dataset} no run finished, so there is nothing to compare." for dataset in missing]
    failed = experiment.get("failed") or []
    return Report(
        title=str(experiment.get("title") or experiment.get("name") or "Experiment"),
        facts=_facts(experiment, labels, records),
        answers=answers or ["No run finished, so there is nothing to compare."],
        cautions=_cautions(failed, records),
        parts=parts,
        failed=provenance.failed_table(experiment),
        readings=provenance.readings_table(experiment),
        readings_note=_readings_note(experiment),
        environment=provenance.environment_table(experiment, records),
        manifests=provenance.manifests(records),
        command=provenance.command_text(experiment.get("command"), experiment.get("calls") or ()),
        file=str(experiment.get("file") or ""),
    )


def _part(
    number: int,
    comparison: Fields,
    records: Sequence[Fields],
    searches: Sequence[Fields],
    baseline: str | None,
    look: Mapping[str, Style],
) -> Part:
    stem = f"{number}-{_slug(comparison['dataset'])}"
    some = bool(comparison["models"])
    matrices = [contents.test_matrix(comparison, metric) for metric in comparison["metrics"]]
    curves = plots.learning_curves(records, look, f"{stem}-learning")
    return Part(
        dataset=comparison["dataset"],
        anchor=f"data-{stem}",
        notes=[*provenance.notes_of(records), *(comparison.get("notes") or [])],
        ranking=contents.ranking_table(comparison, baseline) if some else None,
        forest=plots.forest(comparison, look, baseline, f"{stem}-ranking"),
        matrices=[m for m in matrices if m is not None],
        reward=contents.reward_table(comparison),
        categories=contents.category_table(comparison),
        cold=plots.cold_and_warm(comparison, f"{stem}-cold-warm"),
        slices=_slices(comparison, look, stem),
        cost=plots.cost(comparison, look, f"{stem}-cost"),
        cost_table=contents.cost_table(comparison) if some else None,
        curves=curves,
        curves_missing=_without_curve(records),
        searches=[contents.search_table(search) for search in searches],
        differences=contents.shared_differences(records),
        own=contents.own_settings(records),
        configs=contents.full_configs(records),
        runs=contents.runs_table(records, comparison["metrics"]),
    )


def _slices(comparison: Fields, look: Mapping[str, Style], stem: str) -> list[Slices]:
    found = []
    for number, dimension in enumerate(comparison.get("slices") or {}, 1):
        table = contents.slice_table(comparison, dimension)
        if table is not None:
            name = f"{stem}-by-{number}-{_slug(dimension)}"
            found.append(
                Slices(spaced(dimension), plots.slice_dots(comparison, dimension, look, name), table)
            )
    return found


def _without_curve(records: Sequence[Fields]) -> str:
    """Which models have no learning curve, in a sentence."""
    scored = {r["label"] for r in records if plots.curve_of(r)}
    flat = list(dict.fromkeys(r["label"] for r in records if r["label"] not in scored))
    if not flat:
        return ""
    return f"No curve of {listed(flat, 12)}: fewer than two epochs were validated."


def _facts(experiment: Fields, labels: Sequence[str], records: Sequence[Fields]) -> list[tuple[str, str]]:
    seeds = ", ".join(map(str, experiment.get("seeds") or [])) or NONE
    refit = (
        "on the training and validation parts" if experiment.get("refit") else "no, the training part only"
    )
    return [
        ("experiment", str(experiment.get("name") or NONE)),
        ("models", count(len(labels))),
        ("data sets", ", ".join(map(str, experiment.get("datasets") or [])) or NONE),
        ("seeds", seeds),
        ("finished runs", count(len(records))),
        ("baseline", str(experiment.get("baseline") or "none")),
        ("refit", refit),
        ("page drawn", str(experiment.get("started") or NONE)),
        ("by commit", str(experiment.get("commit") or "not in a checkout")),
    ]


def _cautions(failed: Sequence[Fields], records: Sequence[Fields]) -> list[str]:
    cautions = []
    if failed:
        total = len(failed) + len(records)
        cautions.append(
            f"{len(failed)} of {several(total, 'run')} failed and {'is' if len(failed) == 1 else 'are'} missing from "
            "every table and picture but the list of failed runs."
        )
    commits, devices = (sorted({str(r.get(key)) for r in records}) for key in ("commit", "device"))
    if len(commits) > 1:
        cautions.append(f"The runs are of {differing('commits', commits)}.")
    if len(devices) > 1:
        cautions.append(
            f"The runs are on {differing('devices', devices)}. Compare seconds only within one device."
        )
    return cautions


def _readings_note(experiment: Fields) -> str:
    """How often the test part of each data set was read."""
    readings = experiment.get("readings") or []
    by_dataset: dict[str, int] = {}
    for reading in readings:
        name = str(reading.get("dataset"))
        by_dataset[name] = by_dataset.get(name, 0) + 1
    each = "; ".join(f"{name} {several(n, 'time')}" for name, n in by_dataset.items())
    return f"Every reading of a test part is noted, so that choosing on it would show. {each}."


def _of_dataset(found: Sequence[Fields], comparison: Fields) -> list[Fields]:
    return [each for each in found if each.get("dataset") == comparison["dataset"]]


def _slug(text: str) -> str:
    """What of a name is safe in a file's name and in an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"


def _csv(comparisons: Sequence[Fields]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(contents.CSV_COLUMNS)
    writer.writerows(contents.csv_rows(comparisons))
    return out.getvalue()


def _clean(text: str) -> str:
    """Without what no UTF-8 file may hold: the lone surrogates of undecodable file names."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _put(path: Path, content: bytes) -> None:
    waiting = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        waiting.write_bytes(content)
        os.replace(waiting, path)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {path}: {error.strerror}; name another folder"
        ) from error
