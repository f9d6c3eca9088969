"""The report of an experiment, or of runs that somebody compares: index.html (one file, opens offline), report.md,
report.csv and figures/*.svg.

What to say is gathered once, as a `Report` of sections; page and Markdown only set it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_ext.errors import UsageError
from recbole_ext.files import write_beside
from recbole_ext.kept import Kept
from recbole_ext.progress import progress
from recbole_ext.records import read
from recbole_ext.report import plots, provenance
from recbole_ext.report.answer import answer
from recbole_ext.report.document import Notes, Report, Section
from recbole_ext.report.formats import NONE, count, differing
from recbole_ext.report.markdown import render_markdown
from recbole_ext.report.page import render_page
from recbole_ext.report.sections import SECTIONS
from recbole_ext.report.sections.findings import Findings, slug
from recbole_ext.report.tables import CSV_COLUMNS, csv_rows
from recbole_ext.wording import several

Fields = Mapping[str, Any]


def write_report(
    folder: Path,
    experiment: Fields,
    comparisons: Sequence[Fields],
    records: Sequence[Fields],
    searches: Sequence[Fields],
    kept: Kept | None = None,
) -> list[Path]:
    """Write the report of an experiment into `folder` and return the files: page, Markdown, CSV, figures.

    Each file is written beside its place and renamed into it, the page last; the same input gives the same bytes.

    Args:
        experiment: name, title, command, calls (dicts of time, commit, runs, command),
            file (its yaml or None), datasets, seeds, refit, baseline (a label or None),
            commit, started, failed (dicts of dataset, label, seed, reason), readings of the test part (dicts of
            time, dataset, label, seed …).
        comparisons: one a data set, as `recbole_ext.evaluate.comparison.compare` makes them: dataset, targets,
            sessions, items, metrics, models (best first), tests, slices, notes.
        records: the record.json of every finished run, with `label` and `folder`.
        searches: dataset, label, trials (settings, valid_score, epochs, seconds; pruned, or the reason of a failure)
            and the chosen settings; lower_is_better, sampler, pruner, limit (in words) and importance (key to share).
        kept: where figures that were drawn before are; None: all are drawn.

    Raises:
        UsageError: `folder` cannot be written.
    """
    report = gather(experiment, comparisons, records, searches, kept)
    folder = Path(folder)
    files: dict[Path, bytes] = {}
    for figure in report.figures:
        files[folder / figure.file] = figure.svg.encode("utf-8")
    files[folder / "report.csv"] = _csv(comparisons).encode("utf-8")
    files[folder / "report.md"] = _clean(render_markdown(report)).encode("utf-8")
    files[folder / "index.html"] = _clean(render_page(report)).encode("utf-8")
    for path, content in files.items():
        _put(path, content)
    return list(reversed(files))


def write_comparison(
    folder: Path, comparison: Fields, baseline: str | None = None, command: Sequence[str] = ()
) -> list[Path]:
    """As `write_report`, of runs that belong to no experiment.

    comparison: as `recbole_ext.evaluate.comparison.compare` makes it, of folders. baseline: a label of it. command:
    what the page says that it was made by.
    """
    records = [
        {**read(Path(place)), "label": model["model"], "folder": place}
        for model in comparison["models"]
        for place in model["folders"]
    ]
    dataset = comparison["dataset"]
    said = {
        "title": f"Runs on {dataset} compared",
        "datasets": [dataset],
        "seeds": sorted({seed for model in comparison["models"] for seed in model["seeds"]}),
        "baseline": baseline,
        "command": list(command),
    }
    return write_report(folder, said, [comparison], records, [])


def gather(
    experiment: Fields,
    comparisons: Sequence[Fields],
    records: Sequence[Fields],
    searches: Sequence[Fields],
    kept: Kept | None = None,
) -> Report:
    """Everything that the report says: a section a data set, then those of the whole experiment."""
    baseline = experiment.get("baseline")
    labels = list(dict.fromkeys(m["model"] for c in comparisons for m in c["models"]))
    look = plots.styles(labels + [r["label"] for r in records])
    sections = []
    for number, comparison in enumerate(comparisons, 1):
        own, searched = _of_dataset(records, comparison), _of_dataset(searches, comparison)
        stem = f"{number}-{slug(comparison['dataset'])}"
        sections.append(_section(Findings(comparison, own, searched, baseline, look, stem, kept or Kept())))
    compared = {c["dataset"] for c in comparisons}
    missing = [d for d in experiment.get("datasets") or [] if d not in compared]
    answers = [answer(c, baseline) for c in comparisons]
    answers += [f"On {dataset} no run finished, so there is nothing to compare." for dataset in missing]
    return Report(
        title=str(experiment.get("title") or experiment.get("name") or "Experiment"),
        facts=_facts(experiment, labels, records),
        answers=answers or ["No run finished, so there is nothing to compare."],
        cautions=_cautions(experiment.get("failed") or [], records),
        sections=[*sections, *provenance.sections_of(experiment, records)],
    )


def _section(found: Findings) -> Section:
    """What is to be said of one data set; its title stands also where that is nothing."""
    notes = [*provenance.notes_of(found.records), *(found.comparison.get("notes") or [])]
    parts = []
    with progress(f"drawing the page of {found.comparison['dataset']}", len(SECTIONS)) as advance:
        for make in SECTIONS:
            section = make(found)
            parts += [] if section is None else [section]
            advance(1)
    return Section(found.comparison["dataset"], [*([Notes(notes)] if notes else []), *parts])


def _facts(experiment: Fields, labels: Sequence[str], records: Sequence[Fields]) -> list[tuple[str, str]]:
    """What a comparison of runs has no key of is not said."""
    refit = (
        "on the training and validation parts" if experiment.get("refit") else "no, the training part only"
    )
    facts = {
        "name": ("experiment", str(experiment.get("name") or NONE)),
        "": ("models", count(len(labels))),
        "datasets": ("data sets", ", ".join(map(str, experiment.get("datasets") or [])) or NONE),
        "seeds": ("seeds", ", ".join(map(str, experiment.get("seeds") or [])) or NONE),
        " ": ("finished runs", count(len(records))),
        "baseline": ("baseline", str(experiment.get("baseline") or "none")),
        "refit": ("refit", refit),
        "started": ("last call", str(experiment.get("started") or NONE)),
        "commit": ("by commit", str(experiment.get("commit") or "not in a checkout")),
    }
    return [fact for key, fact in facts.items() if key in experiment or not key.strip()]


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


def _of_dataset(found: Sequence[Fields], comparison: Fields) -> list[Fields]:
    return [each for each in found if each.get("dataset") == comparison["dataset"]]


def _csv(comparisons: Sequence[Fields]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    writer.writerows(csv_rows(comparisons))
    return out.getvalue()


def _clean(text: str) -> str:
    """Without what no UTF-8 file may hold: the lone surrogates of undecodable file names."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_beside(path) as waiting:
            waiting.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {path}: {error.strerror}; name another folder"
        ) from error
