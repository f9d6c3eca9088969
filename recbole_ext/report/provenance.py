"""Where an experiment's numbers come from: failed runs, readings of the test part, machines, data, command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.report.document import Block, Cell, Listing, Prose, Section, Table, section
from recbole_ext.report.formats import NONE, count, known, metric_name, score, shown_value, size, spaced
from recbole_ext.report.tables import MISSING, in_order, numbers, sortable, value_cell, words
from recbole_ext.wording import several


def sections_of(experiment: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """What a report says of the whole experiment, after its data sets."""
    command = command_text(experiment.get("command"), experiment.get("calls") or ())
    file = str(experiment.get("file") or "")
    found = [
        section("Failed runs", failed_table(experiment)),
        section("Readings of the test part", *readings(experiment)),
        section("Environment", environment_table(experiment, records)),
        section("Data", *manifests(records)),
        section(
            "Command",
            Listing(command),
            section("Experiment file", Listing(file, "yaml") if file else None),
        ),
    ]
    return [each for each in found if each is not None]


def failed_table(experiment: Mapping[str, Any]) -> Table | None:
    """Cells that did not finish and why, a reason once for all models and seeds that it is of; None where all did."""
    failed = experiment.get("failed") or []
    if not failed:
        return None
    columns = [*words("data set", "models"), *numbers("seeds"), *words("reason")]
    seeds: dict[tuple[str, str, str], list[Any]] = {}  # by data set, reason and model
    for f in failed:
        of = (str(f.get("dataset", "")), str(f.get("reason", "")), str(f.get("label", "")))
        seeds.setdefault(of, []).append(f.get("seed", ""))
    labels: dict[tuple[str, str, str], list[str]] = {}  # by data set, reason and seeds
    for (dataset, reason, label), own in seeds.items():
        labels.setdefault((dataset, reason, ", ".join(map(str, own))), []).append(label)
    rows = [
        [
            Cell(dataset),
            Cell(", ".join(own)),
            Cell(of, sortable(seeds[dataset, reason, own[0]][0])),
            Cell(reason),
        ]
        for (dataset, reason, of), own in labels.items()
    ]
    return Table("failed", f"{several(len(failed), 'run')} failed and missing above", columns, rows)


def readings(experiment: Mapping[str, Any]) -> list[Block]:
    """How often the test part of each data set was read, and every reading; nothing where none was noted."""
    table = readings_table(experiment)
    if table is None:
        return []
    names = [str(reading.get("dataset")) for reading in experiment["readings"]]
    each = "; ".join(f"{name} {several(names.count(name), 'time')}" for name in in_order(names))
    return [
        Prose(f"Every reading of a test part is noted, so that choosing on it would show. {each}."),
        table,
    ]


def readings_table(experiment: Mapping[str, Any]) -> Table | None:
    """Every time the test part was read; None where no reading was noted."""
    found = experiment.get("readings") or []
    if not found:
        return None
    known_keys = ["time", "dataset", "label", "seed"]
    keys = [k for k in known_keys if any(k in r for r in found)]
    keys += [k for k in in_order(k for r in found for k in r) if k not in known_keys]
    columns = [(numbers if key == "seed" else words)(spaced(key))[0] for key in keys]
    rows = [[_reading_cell(r.get(key, MISSING)) for key in keys] for r in found]
    caption = f"The test part was read {several(len(found), 'time')}"
    return Table("readings", caption, columns, rows, fold="long")


def _reading_cell(value: Any) -> Cell:
    if value is MISSING or value is None:
        return Cell("", None)
    if isinstance(value, Mapping) and all(known(each) for each in value.values()):
        return Cell(", ".join(f"{metric_name(str(key))} {score(each)}" for key, each in value.items()))
    return Cell(value if isinstance(value, str) else shown_value(value), sortable(value))


def environment_table(experiment: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Table:
    """Versions, device, threads and commit of the runs; where runs differ, how many had which."""
    facts: dict[str, list[str]] = {}
    for record in records:
        for key, value in _environment_of(record).items():
            facts.setdefault(key, []).append(value)
    rows = []
    if "commit" in experiment:  # not of runs that belong to none
        rows.append([Cell("experiment commit"), Cell(str(experiment["commit"] or "not in a checkout"))])
        rows.append([Cell("experiment started"), Cell(str(experiment.get("started") or NONE))])
    for key, values in facts.items():
        tally = {value: values.count(value) for value in in_order(values)}
        if len(tally) == 1:
            rows.append([Cell(key), Cell(next(iter(tally)))])
            continue
        shown = "; ".join(f"{value} ({several(n, 'run')})" for value, n in tally.items())
        rows.append([Cell(key), Cell(shown, mark="⚠ differs", tone="warn")])
    return Table("environment", "Where it ran", words("what", "value"), rows, sortable=False)


def _environment_of(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run commit": str(record.get("commit") or "not in a checkout"),
        "device": str(record.get("device") or NONE),
        "threads": str(record.get("threads") or NONE),
        **{str(name): str(value) for name, value in (record.get("versions") or {}).items()},
    }


def manifests(records: Sequence[Mapping[str, Any]]) -> list[Section | None]:
    """The manifests of the data that the runs read, one a data set and version of it."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for record in records:
        data = record.get("data")
        if isinstance(data, Mapping):
            found.setdefault(
                (str(record.get("dataset")), json.dumps(data, sort_keys=True, default=str)), data
            )
    return [_manifest(dataset, data) for (dataset, _), data in found.items()]


def _manifest(dataset: str, data: Mapping[str, Any]) -> Section | None:
    """What the data set was made of, by which options, and the whole manifest."""
    counts = ", ".join(f"{spaced(k)} {_counted(v)}" for k, v in (data.get("counts") or {}).items())
    made = f"converter {data.get('converter')}, version {data.get('version')}"
    made += f", made {data['created']}" if data.get("created") else ""
    options = ", ".join(f"{k}: {shown_value(v)}" for k, v in (data.get("options") or {}).items())
    whole = json.dumps(data, indent=1, ensure_ascii=False, default=str)
    return section(
        dataset,
        Prose(f"{made}. {counts}." if counts else f"{made}."),
        _files_table(dataset, data),
        Prose(f"Options: {options}") if options else None,
        Listing(whole, title="The whole manifest", fold="long"),
    )


def _files_table(dataset: str, data: Mapping[str, Any]) -> Table:
    rows = []
    for kind, word in (("sources", "read"), ("outputs", "written")):
        for file in data.get(kind) or []:
            lines = (data.get("rows") or {}).get(file.get("name")) or {}
            dropped = ", ".join(f"{reason}: {count(n)}" for reason, n in (lines.get("dropped") or {}).items())
            rows.append(
                [
                    Cell(str(file.get("name", ""))),
                    Cell(word),
                    value_cell(size, file.get("bytes")),
                    value_cell(count, lines.get("read", file.get("rows"))),
                    value_cell(count, lines.get("kept", file.get("rows"))),
                    Cell(dropped or NONE),
                    Cell(str(file.get("sha256", ""))),
                ]
            )
    columns = [*words("file", ""), *numbers("size", "rows", "kept"), *words("dropped by reason", "SHA-256")]
    return Table("manifest", f"Files of {dataset}", columns, rows)


def _counted(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{k} {_counted(v)}" for k, v in value.items()) + ")"
    return count(value) if known(value) else str(value)


def notes_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Protocol, split and what the runs noted of the data, each said once and by which models where not by all."""
    said: dict[str, list[str]] = {}
    for record in records:
        for note in [f"{record.get('protocol')}; split {record.get('split')}", *(record.get("notes") or [])]:
            labels = said.setdefault(note, [])
            labels += [record["label"]] if record["label"] not in labels else []
    everyone = len({record["label"] for record in records})
    return [
        note if len(labels) == everyone else f"{', '.join(labels)}: {note}" for note, labels in said.items()
    ]


def command_text(command: Any, calls: Sequence[Mapping[str, Any]] = ()) -> str:
    """The calls that made the runs as one would type them, what they did above each; without any the command itself."""
    if calls:
        done = "# {time}, commit {commit}: {runs} runs\n{command}"
        return "\n".join(done.format(**{**call, "commit": call["commit"] or "unknown"}) for call in calls)
    return shlex.join(map(str, command)) if isinstance(command, list | tuple) else str(command or "")
