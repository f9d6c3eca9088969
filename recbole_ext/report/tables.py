"""Plain-text tables for the terminal."""

from __future__ import annotations

from typing import Any


def result_table(record: dict[str, Any]) -> str:
    """The test metrics of a run, one row a metric, one column a cut-off, and what they were measured on."""
    metrics: dict[str, dict[int, float]] = {}
    single: dict[str, float] = {}
    for key, value in record["test"].items():
        name, _, k = key.partition("@")
        name = "HR" if name == "hit" else name.upper() if name in ("ndcg", "mrr") else name.capitalize()
        if k:
            metrics.setdefault(name, {})[int(k)] = value
        else:
            single[name] = value
    cutoffs = sorted({k for row in metrics.values() for k in row})
    head = f"{record['model']} on {record['dataset']} (seed {record['seed']})"
    lines = ["", head, "-" * len(head), "  " + record["protocol"], "  split " + record["split"]]
    lines += [f"  {note}" for note in record["notes"]]
    lines.append(
        f"  {record['counts']['test_targets']:,} test targets, {record['counts']['items']:,} items ranked"
    )
    lines.append("")
    lines.append(f"{'':10}" + "".join(f"{'@' + str(k):>9}" for k in cutoffs))
    for name, row in metrics.items():
        lines.append(f"  {name:8}" + "".join(f"{row[k]:9.4f}" if k in row else f"{'':9}" for k in cutoffs))
    lines += [f"  {name:8}{value:9.4f}" for name, value in single.items()]
    seconds = record["seconds"]
    lines.append("")
    best = record["best_valid_score"]
    scored = "no validation" if best is None else f"best validation {record['valid_metric']} {best:.4f}"
    epochs = "1 epoch" if record["epochs_run"] == 1 else f"{record['epochs_run']} epochs"
    lines.append(f"  {epochs} in {seconds['train']:.1f} s on {record['device']}, {scored}")
    lines += [f"  {label:15}{path}" for label, path in record["files"].items()]
    return "\n".join(lines)
