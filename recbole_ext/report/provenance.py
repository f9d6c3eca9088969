"""Where an experiment's numbers come from: failed runs, readings of the test part, machines, data, command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.report.contents import MISSING, Cell, Column, Table, in_order, sortable
from recbole_ext.report.words import NONE, count, known, metric_name, score, several, shown_value, size


@dataclass(frozen=True)
class Manifest:
    """One data set's manifest: what it was made of, by which options, and the whole of it."""

    dataset: str
    facts: str
    sources: Table
    options: str
    whole: str


def failed_table(experiment: Mapping[str, Any]) -> Table | None:
    """Cells that did not finish and why; None where all did."""
    failed = experiment.get("failed") or []
    if not failed:
        return None
    columns = [
        Column("data set", numeric=False),
        Column("model", numeric=False),
        Column("seed"),
        Column("reason", numeric=False),
    ]
    rows = [
        [
            Cell(str(f.get("dataset", ""))),
            Cell(str(f.get("label", ""))),
            Cell(str(f.get("seed", "")), sortable(f.get("seed"))),
            Cell(str(f.get("reason", ""))),
        ]
        for f in failed
    ]
    return Table("failed", f"{several(len(failed), 'run')} failed and missing above", columns, rows)


def readings_table(experiment: Mapping[str, Any]) -> Table | None:
    """Every time the test part was read; None where no reading was noted."""
    readings = experiment.get("readings") or []
    if not readings:
        return None
    known_keys = ["time", "dataset", "label", "seed"]
    keys = [k for k in known_keys if any(k in r for r in readings)]
    keys += [k for k in in_order(k for r in readings for k in r) if k not in known_keys]
    columns = [Column(key.replace("_", " "), numeric=key == "seed") for key in keys]
    rows = [[_reading_cell(r.get(key, MISSING)) for key in keys] for r in readings]
    return Table("readings", f"The test part was read {several(len(readings), 'time')}", columns, rows)


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
    rows = [[Cell("experiment commit"), Cell(str(experiment.get("commit") or "not in a checkout"))]]
    rows.append([Cell("experiment started"), Cell(str(experiment.get("started") or NONE))])
    for key, values in facts.items():
        tally = {value: values.count(value) for value in in_order(values)}
        if len(tally) == 1:
            rows.append([Cell(key), Cell(next(iter(tally)))])
            continue
        shown = "; ".join(f"{value} ({several(n, 'run')})" for value, n in tally.items())
        rows.append([Cell(key), Cell(shown, mark="⚠ differs", tone="warn")])
    columns = [Column("what", numeric=False), Column("value", numeric=False)]
    return Table("environment", "Where it ran", columns, rows, sortable=False)


def _environment_of(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run commit": str(record.get("commit") or "not in a checkout"),
        "device": str(record.get("device") or NONE),
        "threads": str(record.get("threads") or NONE),
        **{str(name): str(value) for name, value in (record.get("versions") or {}).items()},
    }


def manifests(records: Sequence[Mapping[str, Any]]) -> list[Manifest]:
    """The manifests of the data that the runs read, one a data set and version of it."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for record in records:
        data = record.get("data")
        if isinstance(data, Mapping):
            found.setdefault(
                (str(record.get("dataset")), json.dumps(data, sort_keys=True, default=str)), data
            )
    return [_manifest(dataset, data) for (dataset, _), data in found.items()]


def _manifest(dataset: str, data: Mapping[str, Any]) -> Manifest:
    rows = []
    for kind in ("sources", "outputs"):
        for file in data.get(kind) or []:
            lines = (data.get("rows") or {}).get(file.get("name")) or {}
            dropped = ", ".join(f"{reason}: {count(n)}" for reason, n in (lines.get("dropped") or {}).items())
            read, kept = lines.get("read", file.get("rows")), lines.get("kept", file.get("rows"))
            rows.append(
                [
                    Cell(str(file.get("name", ""))),
                    Cell("read" if kind == "sources" else "written"),
                    Cell(size(file.get("bytes")), sortable(file.get("bytes"))),
                    Cell(count(read), sortable(read)),
                    Cell(count(kept), sortable(kept)),
                    Cell(dropped or NONE),
                    Cell(str(file.get("sha256", ""))),
                ]
            )
    columns = [
        Column("file", numeric=False),
        Column("", numeric=False),
        Column("size"),
        Column("rows"),
        Column("kept"),
        Column("dropped by reason", numeric=False),
        Column("SHA-256", numeric=False),
    ]
    counts = ", ".join(f"{k.replace('_', ' ')} {_counted(v)}" for k, v in (data.get("counts") or {}).items())
    made = f"converter {data.get('converter')}, version {data.get('version')}"
    made += f", made {data['created']}" if data.get("created") else ""
    return Manifest(
        dataset,
        f"{made}. {counts}." if counts else f"{made}.",
        Table("manifest", f"Files of {dataset}", columns, rows),
        ", ".join(f"{k}: {shown_value(v)}" for k, v in (data.get("options") or {}).items()),
        json.dumps(data, indent=1, ensure_ascii=False, default=str),
    )


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
