"""What commands leave, so that it can be compared, and the moments to disturb them at."""

from __future__ import annotations

import json

import numpy as np

from harness import logs

TEMPORARY = ("*.tmp", "*.part", "tmp-*", "*.old", ".unfinished", ".before-*")


def left_over(folder):
    """Temporary files and folders anywhere in a folder."""
    return sorted(str(path.relative_to(folder)) for pattern in TEMPORARY for path in folder.rglob(pattern))


def moments(tenth, count, salt):
    """Shares of a command's length: all of a thing's kills together are spread evenly over it."""
    random = np.random.default_rng([tenth, salt])
    return [(tenth + 10 * number + float(random.random())) / (10 * count) for number in range(count)]


OPTIONS = {
    "diginetica": [],
    "retailrocket": ["--properties", "item_properties_part1.csv"],
    "csv": ["--session", "sid", "--user", "visitor", "--item", "sku", "--time", "ts", "--event", "action"],
    "session-lists": ["--item-features", "item_category.csv"],
}


def conversions(source, place):
    """Two raw logs of a source in a folder; the words that convert each, less its output, by the log's name."""
    words = {}
    for seed, name in enumerate(("one", "other")):
        (place / name).mkdir()
        for file, content in getattr(logs, source.replace("-", "_"))(np.random.default_rng(seed)).items():
            (place / name / file).write_bytes(content)
        raw = f"{name}/events.csv" if source == "csv" else name
        words[name] = ["convert", source, raw, *OPTIONS[source], "--max-bad-rows", "0.5", "--out"]
    return words


def written(out):
    """The atomic files as bytes, and the manifest but for the moment of the conversion."""
    files = {file.name: file.read_bytes() for file in out.iterdir() if file.name != "manifest.json"}
    manifest = json.loads((out / "manifest.json").read_text())
    return files, {key: value for key, value in manifest.items() if key != "created"}


def outcome(record):
    """What a run has found, but for what it took."""
    return {
        key: record.get(key) for key in ("test", "valid", "best_valid_score", "best_epoch", "test_slices")
    }


def found(folder):
    """What an experiment has found: by cell, the list of what was read of the test part, and what was chosen."""
    from recbole_ext.experiment import ledger

    cells = {
        str(file.parent.relative_to(folder)): outcome(json.loads(file.read_text()))
        for file in folder.glob("runs/experiments/try/toy/*/seed-*/record.json")
    }
    results = folder / "results" / "try"
    read = [
        (row["label"], row["seed"], sorted(row["metrics"].items()))
        for row in ledger.readings(results / "test_readings.csv")
    ]
    return cells, sorted(read), (results / "cells.csv").read_text(), (results / "chosen.yaml").read_text()
