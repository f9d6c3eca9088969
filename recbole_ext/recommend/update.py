"""Tomorrow's model: the new days join the log of a finished run, and a new run goes on from it.

What is exact and what is warm, by model: docs/update.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from recbole_ext import records
from recbole_ext.bridge.early import check_events
from recbole_ext.bridge.own_models import OF_FILE, require
from recbole_ext.bridge.prepare import with_settings
from recbole_ext.convert import check_options, converted
from recbole_ext.convert.join import AtomicLog, Columns, inter_file, join, name_of
from recbole_ext.errors import ConvertError, UsageError
from recbole_ext.plain import decode
from recbole_ext.recommend.folder import read
from recbole_ext.recommend.parent_ranks import rank_parent
from recbole_ext.run.parent import BLEND_STANDS, WARM, kind_of, read_parent
from recbole_ext.settings.files import merge
from recbole_ext.settings.of_model import WORKED_OUT

UPDATES = "updates"  # beside the data sets of the first log
# settings of a network that goes on, where nothing else is said (results/update.md)
EPOCHS = 3
REPLAY_SHARE = 0.05
# keys of a run that say nothing of the next one
_OF_ONE_RUN = frozenset({"model", "dataset", "data_path", "resume_from", "generate", "raw_path", "epochs"})
# keys that say how many weights a network has, which go on
_OF_WEIGHTS = frozenset(
    {
        *("embedding_size", "hidden_size", "inner_size", "kernel_size"),
        *("num_layers", "n_layers", "block_num"),
    }
)


def update(
    run: str | Path,
    events: Sequence[str | Path],
    forget_before: date | None = None,
    log: str | Path | None = None,
    keys: Mapping[str, Any] | None = None,
    rank_old: bool = True,
    max_bad_rows: float | None = None,
) -> dict[str, Any]:
    """The record of a new run of the same model on the log of `run` with new days behind it.

    Args:
        run: folder of a finished run.
        events: new days, in order: `.inter` files or folders that hold one, or raw logs, which the run's `source` reads
            with its `convert_options`.
        forget_before: sessions that start before that day (UTC) leave the log.
        log: folder that the joined log is written to, <data_path>/<dataset>; None: one of its own in
            <data_path>/updates/. One that was made of the same files is used again.
        keys: settings that differ from those of `run`. Where a network goes on and nothing is said of them, `epochs` is
            3, `replay_share` 0.05, and `cuda_graphs` off, as capturing costs more than so few steps save.
            `convert_options` are of the new days alone, and stand over those of the run.
        max_bad_rows: bad rows of a raw log that are left out and counted, as a share of its rows; None: as in the run's
            `convert_options`.
        rank_old: ask the old model for its lists of the new test targets too, so that `promote` can compare the two.

    Raises UsageError where the run cannot go on, the files do not fit its log, or a key cannot be used.
    """
    from recbole_ext.run.run import run as new_run

    folder = Path(run)
    if not events:
        raise UsageError("there are no new events: name a file or a folder of them with --events")
    record = read_parent(folder)
    settings = decode(record["config"])
    keys = dict(keys or {})
    reading = keys.pop("convert_options", None)
    model, dataset = str(record["model"]), str(record["dataset"])
    _check_model(model, record, folder)
    old = Path(settings["data_path"])
    if inter_file(old) is None:
        raise UsageError(f"the log of {folder} is not in {old}: update where it is, or put it there")
    # a mistake is found before any work
    wanted = _settings(folder, record, old.parent, settings, keys)
    with _atomic([Path(path) for path in events], settings, reading, max_bad_rows) as found:
        columns = _columns(settings)
        out = Path(log) / dataset if log is not None else _place(old, found, forget_before, columns)
        joined = join(old, found, out, forget_before, columns)
    wanted["data_path"] = str(out.parent)
    counts = "; ".join(f"{count:,} × {note}" for note, count in joined["notes"].items())
    notes = [f"updated from {folder} with {', '.join(map(str, events))}{': ' if counts else ''}{counts}"]
    made = new_run(model, dataset, wanted, notes=notes, parent=folder)
    if rank_old:
        child = Path(made["files"]["record"]).parent
        try:
            made["files"]["parent"] = str(rank_parent(folder, child, out, columns))
        except UsageError as error:  # the new run stands all the same
            made["notes"].append(f"the parent's lists of the new targets are missing: {error}")
        records.write(child, made)
    return made


def _check_model(model: str, record: Mapping[str, Any], folder: Path) -> None:
    """UsageError for a model that is known to be unable to go on, and for a class that nobody has named: a record that
    comes from elsewhere has no file run."""
    if OF_FILE in model:
        raise UsageError(
            f"the record of {folder} calls its model {model}, which no run writes: it was changed"
        )
    if model == "Blend":
        raise UsageError(BLEND_STANDS)
    require(record, folder)


def _settings(
    folder: Path, record: Mapping[str, Any], place: Path, old: Mapping[str, Any], keys: Mapping[str, Any]
) -> dict[str, Any]:
    """What the new run is given: the old run's values where they are no defaults, and `keys` over them, all checked."""
    from recbole_ext.run.run import build_config, configure

    model, dataset = str(record["model"]), str(record["dataset"])
    for key in ("model", "dataset", "data_path", "resume_from"):
        if key in keys:
            raise UsageError(f"{key} cannot be changed in an update: leave it out, or train anew")
    plain = build_config(model, dataset, {"data_path": str(place)})
    inherited = {
        key: value
        for key, value in old.items()
        if key not in _OF_ONE_RUN | WORKED_OUT and key in plain and plain[key] != value
    }
    runs = Path(str(inherited.get("runs_dir", "")))
    if runs.name == dataset and folder.resolve().parent != (runs / dataset).resolve():
        inherited["runs_dir"] = str(
            runs.parent
        )  # a study's folder is named as its data set is, and so is one in it
    given = merge({**inherited, "data_path": str(place)}, keys)
    if kind_of(configure(model, dataset, given)) == WARM:
        for key in sorted(_OF_WEIGHTS & set(keys) & set(old)):
            if keys[key] != old[key]:
                raise UsageError(
                    f"{key} is {old[key]} in the run that goes on, and its weights have that size: leave {key} out, or "
                    "train anew"
                )
        _check_weights(folder, model, dataset, {**inherited, "data_path": str(place)}, keys)
        given.setdefault("epochs", EPOCHS)
        given.setdefault("cuda_graphs", False)
        # a parent that says where its training ended: new sessions can be told from old ones
        if "trained_to" in record and not given.get("worker"):
            given.setdefault("replay_share", REPLAY_SHARE)
    configure(model, dataset, given)
    return given


def _check_weights(
    folder: Path, model: str, dataset: str, inherited: Mapping[str, Any], keys: Mapping[str, Any]
) -> None:
    """UsageError, naming the key, where `keys` would make weights that the run in `folder` does not have.

    The model is made over the items of its model folder; where that cannot be done, training will find it.
    """
    from recbole_ext.run.run import configure

    try:
        parent = read(folder)
    except UsageError:  # a run without a model that can be asked
        return

    def shapes(some: Mapping[str, Any]) -> Mapping[str, Any] | None:
        config = configure(model, dataset, merge(inherited, some))
        try:
            return parent.shapes(config)
        except (AttributeError, RuntimeError, ValueError, KeyError, TypeError, IndexError):
            return None

    before = shapes({})
    if not keys or before is None:
        return

    def other(some: Mapping[str, Any]) -> bool:
        now = shapes(some)
        return now is not None and any(before.get(name) != shape for name, shape in now.items())

    if not other(keys):
        return
    names = [key for key in sorted(keys) if other({key: keys[key]})] or sorted(keys)
    raise UsageError(
        f"{' and '.join(names)} would give the model other weights than those of {folder}, which go on: leave it "
        "out, or train anew"
    )


def _columns(settings: Mapping[str, Any]) -> Columns:
    return Columns(
        settings["USER_ID_FIELD"],
        settings["ITEM_ID_FIELD"],
        settings["TIME_FIELD"],
        settings.get("EVENT_FIELD") or "event",
        settings.get("LINK_USER_FIELD") or "user_id",
    )


@contextmanager
def _atomic(
    paths: Sequence[Path], settings: Mapping[str, Any], reading: Any, max_bad_rows: float | None
) -> Iterator[list[Path]]:
    """The paths as atomic files; raw logs are converted for as long as the block lasts.

    reading: options that stand over those of the run, of `settings`.
    """
    for name, value in (("convert_options", reading), ("--max-bad-rows", max_bad_rows)):
        if value is not None and all(inter_file(path) is not None for path in paths):
            raise UsageError(f"{name} is of raw logs, and all that --events names is converted: leave it out")
    source = settings.get("source")
    if reading is not None:
        check_options(source, reading)
    # text is what joining reads
    given = {**(settings.get("convert_options") or {}), **(reading or {}), "inter": "text"}
    if max_bad_rows is not None:
        given.pop("strict", None)
        given["max_bad_rows"] = max_bad_rows
    with tempfile.TemporaryDirectory(prefix="recbole-ext-") as scratch:
        found = []
        for number, path in enumerate(paths):
            if inter_file(path) is not None:
                found.append(path)
                continue
            check_events([path])
            if not source:
                raise UsageError(
                    f"{path} holds no .inter file, and the run's data set names no source that would read it: convert "
                    "it first, and give the .inter file"
                )
            out = Path(scratch) / f"{number}-events"
            try:
                converted(str(source), path, out, check_options(source, given))
            except ConvertError as error:
                raise ConvertError(_of_update(str(error), source)) from error
            found.append(out)
        yield found


def _of_update(said: str, source: Any) -> str:
    """A converter's sentence, in what `update` can be given."""
    if "--strict" in said:
        said = said.replace("--strict allows none", "the run's option strict allows none")
        return said.replace("leave out --strict", "give --max-bad-rows SHARE, which takes its place")
    return with_settings(said, source, "an update", own=("max_bad_rows",))


def _place(old: Path, events: Sequence[Path], forget_before: date | None, columns: Columns) -> Path:
    """A folder of the joined log's own, beside that of the first log, named as the data set is."""
    base = old.parent.parent.parent if old.parent.parent.name == UPDATES else old.parent
    logs = [AtomicLog.read(path) for path in (old, *events)]
    return base / UPDATES / name_of(logs, forget_before, columns) / old.name
