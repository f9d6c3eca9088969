"""How the lines of an experiment call its jobs and what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_ext.experiment import cells
from recbole_ext.experiment.cells import Job
from recbole_ext.report import formats

CELLS = "cells.csv"  # of a report: every cell and how it ended


def name_of(job: Job) -> str:
    """`diginetica SASRec seed 2`, or what of the search it is."""
    if job.tries is None:
        return f"{job.dataset} {job.label} seed {job.seed}"
    return f"{job.dataset} {job.label} search {shown(job.tries)}"


def shown(settings: Mapping[str, Any]) -> str:
    """`learning_rate=0.001 dropout=0.2`; a number that was drawn with four digits."""
    return " ".join(f"{key}={_short(value)}" for key, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and len(str(value)) > 8 else str(value)


def result(job: Job, record: Mapping[str, Any]) -> str:
    """What came of a cell: its test score, or the validation score of the run that was chosen."""
    if "test" in record:
        return cells.test_score(record)
    return f"{valid_score(cells.choosing_folder(job))} (test not read)"


def valid_score(folder: Path) -> str:
    """The best validation score of the run in a folder."""
    record = cells.read_record(folder) or {}
    score = record.get("best_valid_score")
    return f"validation {record.get('valid_metric')} {'none' if score is None else formats.score(score)}"
