"""A run's model card, README.md of its model folder: which data, what was measured and how surely, where it ends.

Reference: Mitchell et al., *Model Cards for Model Reporting*, FAT* 2019. What differs: all of it is worked out from the
record, nothing is written by hand, so it says no more than the run knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recbole_ext.evaluate.intervals import normal_mean
from recbole_ext.evaluate.slices import SMALL, is_small, slices
from recbole_ext.evaluate.target_metrics import gains
from recbole_ext.report import formats
from recbole_ext.report.markdown import plain
from recbole_ext.wording import several

Record = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


def model_card(record: Record, arrays: Arrays, run: str) -> str:
    """The card's Markdown. record: of a tested run; arrays: those of its ranks.npz; run: the name of its folder."""
    parts = {
        "": [
            *_facts(record, run),
            "",
            "Ask it: `recbole-ext recommend FOLDER --session ITEM,ITEM`, FOLDER being this one.",
        ],
        "Data": list(_data(record)),
        "How it was measured": list(_protocol(record)),
        "Figures": list(_figures(record, arrays)),
        "How it was chosen": list(_chosen(record)),
        "Limits": list(_limits(record, arrays)),
    }
    title = f"# {plain(record.get('label') or record['model'])} on {plain(record['dataset'])}"
    lines = [title]
    for name, body in parts.items():
        lines += ["", *([f"## {name}", ""] if name else []), *(body or ["Nothing is known."])]
    return "\n".join(lines) + "\n"


def _facts(record: Record, run: str) -> Iterator[str]:
    versions = ", ".join(f"{name} {release}" for name, release in record["versions"].items())
    yield f"- model: {plain(record['model'])}, {record.get('parameters', 0):,} parameters"
    yield f"- run: {plain(run)}, seed {record['seed']}, started {plain(record['started'])}"
    yield f"- commit: {plain(record['commit'] or 'not known')}; {plain(versions)}"
    yield f"- trained on: {plain(record['device'])}, {formats.duration(record['seconds'].get('train'))}"


def _data(record: Record) -> Iterator[str]:
    """Where the log comes from and what became of its rows."""
    made = record["data"] or {}
    if made:
        yield f"- converted by `{made.get('converter', 'unknown')}` on {plain(made.get('created', 'an unknown day'))}"
    for name, rows in (made.get("rows") or {}).items():
        dropped = ", ".join(f"{plain(why)} {count:,}" for why, count in rows.get("dropped", {}).items())
        kept = f"{rows['kept']:,} kept{f'; {dropped}' if dropped else ''}"
        yield f"- {plain(name)}: {several(rows['read'], 'row')} read, {kept}"
    for what, guess in (made.get("guessed") or {}).items():
        yield f"- guessed, {plain(what)}: {plain(guess)}"
    counts = record["counts"]
    valid = counts["valid_rows"]
    yield (
        f"- {several(counts['train_rows'], 'training row')}, {valid:,} of validation, "
        f"{several(counts['test_targets'], 'test target')}, {several(counts['items'], 'item')}"
    )


def _protocol(record: Record) -> Iterator[str]:
    yield f"- {plain(record['protocol'])}"
    yield f"- {plain(record['split'])}"
    yield from (f"- {plain(note)}" for note in record["notes"])


def _figures(record: Record, arrays: Arrays) -> Iterator[str]:
    """Hit and NDCG of all targets and of each slice; what the run measured, where ranks were not kept."""
    session = arrays.get("visit", arrays.get("session_token"))
    if session is None or not len(arrays["rank"]):
        yield from (f"- {name}: {formats.score(value)}" for name, value in record["test"].items())
        return
    topk = record["config"]["topk"]
    k = 10 if 10 in topk else topk[0]
    yield f"Means over test targets and 95 % intervals over sessions. \\* fewer than {SMALL} targets."
    yield from ("", f"| targets | | HR@{k} | NDCG@{k} |", "|---|---:|---|---|")
    cluster = np.unique(session, return_inverse=True)[1].reshape(-1)
    rank = arrays["rank"]
    parts = {("all", ""): np.ones(len(rank), dtype=bool)}
    for dimension, masks in slices(arrays).items():
        parts |= {(dimension, name): mask for name, mask in masks.items() if mask.any()}
    for (dimension, name), mask in parts.items():
        cells = []
        for metric in ("hit", "ndcg"):
            mean, low, high = normal_mean(gains(rank[mask], metric, k), cluster[mask])
            shown = formats.interval({"low": max(low, 0.0), "high": min(high, 1.0)})
            cells.append(f"{formats.score(mean)}{f' ({shown})' if shown else ''}")
        called = f"{dimension.replace('_', ' ')}: {plain(name)}" if name else dimension
        count = int(mask.sum())
        called += " \\*" if is_small(count) else ""
        yield f"| {called} | {count:,} | {cells[0]} | {cells[1]} |"


def _chosen(record: Record) -> Iterator[str]:
    metric, best = plain(record["valid_metric"]), record.get("best_valid_score")
    epochs = record.get("epochs_run", 0)
    if record["config"].get("refit"):
        yield f"Trained on training + validation for {epochs} epochs, as chosen before; nothing stopped it early."
    elif best is None or record.get("best_epoch") is None:
        yield "Nothing was chosen by epoch: it learns in one pass, or had no validation part."
    else:
        epoch = record["best_epoch"] + 1
        yield f"Epoch {epoch} of {epochs}, the best by {metric} on validation ({formats.score(best)})."
    yield "Whether settings were searched, its experiment says; a run by itself has those that it was given."
    if "parent" in record:
        yield "It goes on from another run's weights, on a log that new days have joined."


def _limits(record: Record, arrays: Arrays) -> Iterator[str]:
    yield (
        "- One seed. Intervals are over the test sessions; how much another seed would differ, they do not say, and "
        "`recbole-ext compare` of several does."
    )
    yield (
        "- The log shows what people clicked among what they were shown. Whether they would have liked something else, "
        "or buy more with these lists, only a test in the shop says."
    )
    if "item_count" in arrays:
        count = arrays["item_count"][arrays["item"]]
        cold = float((count == 0).mean()) if len(count) else 0.0
        yield f"- {cold:.1%} of the test targets are items that training never saw."
    if "earlier_sessions" not in arrays:
        yield "- The log does not say who comes back, so nothing is known of returning visitors."
    if record["config"].get("generate"):
        yield "- The log is generated: figures measure the generator, not a shop."
