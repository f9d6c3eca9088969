"""One run of an experiment: what identifies it, where it lies, whether it is finished, and doing it.

A cell is (data set, label, seed): it is tested. Before it come the runs of the search, on the first seed, which never
read the test part, and under `refit` a run that finds the number of epochs, which does not either.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_ext import records
from recbole_ext.errors import UsageError
from recbole_ext.experiment import ledger
from recbole_ext.experiment.measured import measured
from recbole_ext.experiment.optuna_study import Place, Pruned, Watch
from recbole_ext.files import cannot_write, sha256, whole_zip, write_text
from recbole_ext.kept import Kept
from recbole_ext.plain import config_to_plain
from recbole_ext.report import formats
from recbole_ext.settings import roles
from recbole_ext.settings.files import merge

RANKS, IDENTITY, FAILED, TRACE = "ranks.npz", "cell.json", "failed.json", "error.txt"


@dataclass(frozen=True)
class Job:
    """A run to do, as a process gets it.

    identity: what the run is, see `identity_of`; its folder is emptied where it holds another one.
    tries: for the search, the combination that is tried; None: a cell. trial: of a study, if that asked for it.
    found: folder of the search's best run, which the first seed need not make again.
    parts: the two cells that a blend of the experiment is made of. kept: a blend needs the checkpoint of the run that
    chose the number of epochs. notes: for the record.
    metrics, topk: what is to be measured of the test part; no part of the identity, as the ranks say it.
    experiment, called: its name and the line that calls the job, for trackers.
    """

    dataset: str
    label: str
    model: str
    seed: int
    settings: Mapping[str, Any]
    files: tuple[str, ...]
    folder: Path
    identity: Mapping[str, Any]
    ledger: Path
    tries: Mapping[str, Any] | None = None
    trial: Place | None = None
    refit: bool = False
    test: bool = True
    found: Path | None = None
    parts: tuple[Job, ...] = ()
    kept: bool = False
    notes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    topk: tuple[int, ...] = ()
    experiment: str = ""
    called: str = ""

    def with_choice(self, chosen: Mapping[str, Any], found: Path | None) -> Job:
        """The cell with what the search has chosen; `found` for the seed of the search only."""
        return replace(self, settings=merge(self.settings, chosen), found=found)


@dataclass(frozen=True)
class Outcome:
    """How a job ended: seconds it took, and one line why it failed, if it did."""

    seconds: float
    failed: str | None = None


# --- identity -----------------------------------------------------------------------------------------------


def identity_of(config: Any, data: str) -> dict[str, Any]:
    """All that determines a run's result but machine and code: its resolved settings and `data_identity`."""
    plain = roles.identity(config_to_plain(config))
    return json.loads(json.dumps({"config": plain, "data": data}, default=str))  # as it is read back


def same(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether a folder's identity, written now or by an earlier version, is that of a job."""
    return before is not None and _less_place(before) == _less_place(now)


def _less_place(found: Mapping[str, Any]) -> dict[str, Any]:
    config = found.get("config")
    return {**found, "config": roles.identity(config)} if isinstance(config, Mapping) else dict(found)


def data_identity(folder: str | Path, dataset: str) -> str:
    """A hash of the atomic files: of the manifest's sums where it tells of them, else of the files."""
    from recbole_ext.data.manifest import edited_note, manifest

    known = manifest(str(folder))
    parts = {key: known.get(key) for key in ("outputs", "time_origin", "eval_targets")}
    if not parts["outputs"] or edited_note(str(folder)):
        files = sorted(file for file in Path(folder).glob(f"{dataset}.*") if file.is_file())
        parts["outputs"] = [(file.name, sha256(file)) for file in files]
    return digest(parts)


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a value of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first thing in which two identities differ, in words; empty where they are the same."""
    for part in sorted(set(before) | set(now)):
        old, new = before.get(part), now.get(part)
        if old == new:
            continue
        if part == "data":
            return "the atomic files are others"
        if part == "search":
            return "it was chosen by another search"
        if part == "config" and isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = (
                key for key in set(old) | set(new) if (key in old, old.get(key)) != (key in new, new.get(key))
            )
            key = min(keys)  # a key that is nothing may be there on one side alone
            return f"{key} was {_shown(old.get(key))} and is {_shown(new.get(key))}"
        return f"{part} was {_shown(old)} and is {_shown(new)}"
    return ""


def _shown(value: Any) -> str:
    text = "nothing" if value is None or value == [] else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- what a folder holds ------------------------------------------------------------------------------------


def read_json(file: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None where it is missing or broken."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_json(file: Path, value: Any) -> None:
    """Write a value of plain data, whole or not at all."""
    write_text(file, json.dumps(value, indent=1) + "\n")


def record_of(job: Job) -> dict[str, Any] | None:
    """The record of a finished run, with label and folder; None where it has to be done or goes on."""
    _take_back(job)
    if not same(read_json(job.folder / IDENTITY), job.identity):
        return None
    record = read_record(job.folder)
    if record is None or not (_scored(record) if job.tries is not None else "test" in record or not job.test):
        return None
    if job.tries is None and job.test:
        found = measured(record, job.folder, job.metrics, job.topk)
        if found is None:
            return None
        record = found
    return {**record, "label": job.label, "folder": str(job.folder)}


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in a folder; None where there is none, or none that is as a run has written it."""
    try:
        record = records.read(folder)
    except (OSError, UsageError):
        return None
    known = all(key in record for key in ("valid_metric", "best_valid_score", "seconds"))
    return record if known else None


def harmed(job: Job, kept: Kept | None = None) -> str:
    """Which file of a job was cut, changed or lost after it was written; empty where that is of none.

    kept: knows of files that were looked through before.
    """
    for folder in (job.folder, job.folder / "valid"):
        file = folder / records.RECORD
        if file.is_file() and read_record(folder) is None:
            return str(file.relative_to(job.folder))
    record, file = read_record(job.folder), job.folder / RANKS
    wanted = record is not None and "ranks" in record.get("files", {})
    return RANKS if wanted and not (file.is_file() and _whole(file, kept or Kept())) else ""


def _whole(file: Path, kept: Kept) -> bool:
    return bool(kept.get("whole", sha256(file) if kept.folder else "", lambda: whole_zip(file)))


def choosing_folder(job: Job) -> Path:
    """Where the run lies that finds a cell's number of epochs on validation."""
    if not job.refit:
        return job.folder
    return job.found or job.folder / "valid"


def standing(job: Job) -> str:
    """Why a job that is not finished is done, for the output; empty where it was never begun."""
    before = read_json(job.folder / IDENTITY)
    if before is None:
        return ""
    changed = difference(_less_place(before), _less_place(job.identity))
    if changed:
        return f"runs again: {changed}"
    if (job.folder / FAILED).is_file():
        return "failed before: tries again"
    if file := harmed(job):
        return f"runs again: its {file} was cut, changed or lost"
    record = read_record(job.folder)
    if record is not None and "test" in record:
        return "runs again: its ranks do not say all metrics that are asked for"
    if record is not None:
        return "goes on with the test"
    begun = any(job.folder.glob("*.pth")) or any((job.folder / "valid").glob("*.pth"))
    chosen = job.refit and read_record(job.folder / "valid") is not None and not any(job.folder.glob("*.pth"))
    return "goes on where it was interrupted" if begun and not chosen else ""


def list_reading(job: Job, record: Mapping[str, Any]) -> None:
    """Put a finished cell on the list of readings, where an interruption came between the two."""
    settings = digest(job.identity)
    known = {
        (row["dataset"], row["label"], row["seed"], row["settings"]) for row in ledger.readings(job.ledger)
    }
    if "test" in record and (job.dataset, job.label, job.seed, settings) not in known:
        try:
            ledger.append(job.ledger, job.label, settings, record)
        except OSError as error:  # the next call lists it
            print(f"error: {cannot_write(error, job.ledger)}", file=sys.stderr)


# --- doing it -----------------------------------------------------------------------------------------------


def do(job: Job) -> Outcome:
    """Do the job, or what is left of it; an error of any kind is its outcome."""
    began = time.perf_counter()
    try:
        _make_folder(job)
        _try(job) if job.tries is not None else _cell(job)
    except Exception as error:  # the others go on
        reason = _reason(error)
        with suppress(OSError):  # the disk may be what has failed
            if _set_aside(job).is_dir():
                shutil.rmtree(job.folder, ignore_errors=True)
                _set_aside(job).rename(job.folder)
            write_json(job.folder / FAILED, {"reason": reason})
            (job.folder / TRACE).write_text(traceback.format_exc(), encoding="utf-8")
        return Outcome(time.perf_counter() - began, reason)
    shutil.rmtree(_set_aside(job), ignore_errors=True)
    return Outcome(time.perf_counter() - began)


def _reason(error: Exception) -> str:
    """One line why a job failed."""
    if isinstance(error, OSError) and error.filename is not None:
        return cannot_write(error)
    reason = f"{error}" if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
    return (reason.splitlines() or [type(error).__name__])[0]


def _set_aside(job: Job) -> Path:
    """Where a finished run of other settings waits until the one that takes its folder is finished too."""
    return job.folder.with_name(f".before-{job.folder.name}")


def _take_back(job: Job) -> None:
    """Put a finished run that was set aside where it was, if it is what the job asks for."""
    if same(read_json(_set_aside(job) / IDENTITY), job.identity):
        shutil.rmtree(job.folder, ignore_errors=True)
        _set_aside(job).rename(job.folder)


def _make_folder(job: Job) -> None:
    if not same(read_json(job.folder / IDENTITY), job.identity):
        if read_record(job.folder) is not None:
            shutil.rmtree(_set_aside(job), ignore_errors=True)
            job.folder.rename(_set_aside(job))
        shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.folder / IDENTITY, job.identity)
    for name in (FAILED, TRACE):
        (job.folder / name).unlink(missing_ok=True)


def _run(job: Job, folder: Path, test: bool, watch: Watch | None = None, **keys: Any) -> dict[str, Any]:
    from recbole_ext.run.run import run
    from recbole_ext.run.tracking import Called

    called = Called(job.called, job.experiment, "cell" if job.tries is None else "search")
    if folder != job.folder:
        called = Called(f"{job.called}, its number of epochs", job.experiment, "epochs")
    settings = {**job.settings, "seed": job.seed, "checkpoint_dir": str(folder), **keys}
    if job.parts:
        settings = _settings_of_blend(job, settings)
    record = run(
        job.model,
        job.dataset,
        settings,
        job.files,
        test=test,
        folder=folder,
        notes=job.notes,
        watch=None if watch is None else watch.after_epoch,
        called=called,
    )
    if "not_written" not in record:
        return record
    if test:  # what was read of the test part is on the list, and on the terminal
        with suppress(OSError):
            ledger.append(job.ledger, job.label, digest(job.identity), record)
    raise UsageError(", but ".join(filter(None, (test_score(record), record["not_written"][0]))))


def test_score(record: Mapping[str, Any]) -> str:
    """`NDCG@10 .3120`; empty of a run whose test part was not read."""
    metric = record["valid_metric"]
    return f"{metric} {formats.score(record['test'][metric.lower()])}" if "test" in record else ""


def _try(job: Job) -> None:
    watch = Watch(job.trial) if job.trial is not None else None
    if watch is not None and watch.ended:
        return
    try:
        record = _run(job, job.folder, test=False, watch=watch)
    except Pruned:
        if watch is not None:
            watch.prune()
        drop_checkpoints(job.folder)
        return
    if not _scored(record):
        raise UsageError(
            "a search needs validation sessions, and the split leaves none: give it some, or no search"
        )
    if watch is not None:
        watch.complete(record)


def _cell(job: Job) -> None:
    keys: dict[str, Any] = {}
    if job.refit:
        place = job.folder / "valid"
        record = read_record(choosing_folder(job)) or _run(job, place, test=False)
        keys = {"refit": True, **_refit_settings(record)}
        if not job.kept:
            drop_checkpoints(place)
    elif job.found is not None and not any(job.folder.glob("*.pth")):
        for file in job.found.glob("*.pth"):  # the search's best run goes on here
            os.replace(file, job.folder / file.name)
    if not job.test and (job.refit or read_record(job.folder) is not None):
        return
    record = _run(job, job.folder, job.test, **keys)
    if job.test:
        ledger.append(job.ledger, job.label, digest(job.identity), record)


def _settings_of_blend(job: Job, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the blend of two finished cells: their checkpoints, and of `settings` what holds for both of them.

    A part's checkpoint is that of the run that chose its epochs, in the run that `refit` asks for that of the cell.
    """
    refit = bool(settings.get("refit"))
    files = [checkpoint(part, part.folder if refit else choosing_folder(part)) for part in job.parts]
    theirs = [part.settings for part in job.parts]
    common = {
        key: value
        for key, value in settings.items()
        if key.startswith("blend_") or all(own.get(key, value) == value for own in theirs)
    }
    for key in ("blend_models", "blend_settings", *(("epochs",) if refit else ())):
        common.pop(key, None)
    return {**common, "blend_from": files}


def checkpoint(job: Job, folder: Path) -> str:
    """The checkpoint of the best epoch of a cell's run; UsageError where it is gone."""
    from recbole_ext.run.checkpoints import BEST

    if not (folder / BEST).is_file():
        raise UsageError(
            f"the checkpoint of {job.label} is not in {folder}: remove {job.folder} and its model is trained again"
        )
    return str(folder / BEST)


def _refit_settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a run has found on validation and its refit is to take.

    As many epochs as were best, or what the trainer says in `for_record["refit"]`.
    """
    if not _scored(record):
        raise UsageError(
            "refit needs validation sessions to choose the number of epochs on, and the split leaves none: give it "
            "some, or write refit: false"
        )
    if "refit" in record:
        return dict(record["refit"])
    if record["best_epoch"] is None:
        raise UsageError(
            f"{record['model']} does not say which epoch was best, so it cannot be refitted: write refit: false"
        )
    return {"epochs": record["best_epoch"] + 1}


def _scored(record: Mapping[str, Any]) -> bool:
    return record["best_valid_score"] is not None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that is only asked for its validation score."""
    for file in folder.glob("*.pth"):
        file.unlink()
