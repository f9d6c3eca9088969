"""A study of a log, from its table of events to a model that answers: what `recbole-ext study LOG` does.

The log is converted and looked at; the models of configs/experiment/study.yaml are searched alike on validation, within
a time; the best one on validation is chosen; then the test part is read, once a model, and the chosen run is copied to
where it is asked for lists. Every step passes over what an earlier call has finished.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_ext.bridge.prepare import changed_options, prepare_atomic_files
from recbole_ext.convert.__main__ import summary
from recbole_ext.data.log_facts import Facts, Protocol, log_facts, too_small
from recbole_ext.data.manifest import manifest
from recbole_ext.data.splits import split_of
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.promotion import promotion
from recbole_ext.experiment import cells, ledger
from recbole_ext.experiment.checked import asked_of
from recbole_ext.experiment.conduct import alone, run_experiment
from recbole_ext.experiment.grid import PAGE, Grid
from recbole_ext.experiment.groups import groups_of
from recbole_ext.experiment.plan import Entry, Experiment, read_experiment
from recbole_ext.experiment.results import compared, tested
from recbole_ext.experiment.timed import Chosen, of_models, searched_in_time
from recbole_ext.experiment.workers import end_where_imported
from recbole_ext.files import cannot_write, check_writable, events_file, scratch_beside, write_text
from recbole_ext.kept import Kept
from recbole_ext.records import RECORD
from recbole_ext.report.formats import listed
from recbole_ext.report.log_page import in_words, log_page
from recbole_ext.report.study_page import Found, study_page
from recbole_ext.report.study_text import study_text
from recbole_ext.run.model_place import FOLDER, MODEL
from recbole_ext.settings.files import config_files, merge
from recbole_ext.settings.split import straddles
from recbole_ext.wording import several

ZOO = "study"  # of configs/experiment
DATA = "atomic_data"  # where atomic files are unless data_path says otherwise
CHOSEN, LOG_PAGE, EXPERIMENT, INDEX, TEXT, STATE = (
    "chosen",
    "log.html",
    "experiment",
    "index.html",
    "study.txt",
    "study.json",
)
# training targets times items from which on a CPU takes minutes for an epoch of the full softmax, and what is done then
MANY_SCORES = 5 * 10**8
SAMPLED = {"train_loss": "sampled_softmax", "target_log_q": False}
SIMPLEST = ("Pop", "CategoryPop", "SessionPop", "RepeatLast")  # models of which the best one is the floor


@dataclass(frozen=True)
class Wanted:
    """What is studied, and where and how long.

    dataset: its name. settings: of every run, such as where the log lies and how it is read. folder: of all that the
    study leaves. minutes: for searching and training, of all calls together. seeds: the first one is searched on.
    command: how a shell calls it again.
    """

    dataset: str
    settings: Mapping[str, Any]
    folder: Path
    minutes: float
    seeds: tuple[int, ...]
    command: str = ""


@dataclass(frozen=True)
class Study:
    """What came of it.

    winner: label of the chosen model. chosen: folder of its run. left_out: labels and why. text: the paragraph.
    commands: for the chosen model. index: the first page. failed: whether a model has failed.
    """

    winner: str
    chosen: Path
    left_out: Mapping[str, str]
    text: str
    commands: Sequence[str]
    index: Path
    failed: bool


def study(wanted: Wanted) -> Study:
    """Do what is left of a study, and write its pages.

    Raises:
        UsageError: the log cannot be read, is too small, or the minutes suffice for no model; a setting of the models
            is wrong.
        KeyboardInterrupt: it was stopped; its text says how to go on.
    """
    end_where_imported()
    said = wanted.settings.get("convert_options")
    wanted = _as_before(wanted)
    experiment = _experiment(wanted)
    config = _converted(wanted, experiment, said)
    try:
        check_writable(wanted.folder)
    except OSError as error:
        raise UsageError(cannot_write(error, wanted.folder)) from error
    with alone(wanted.folder, "name another folder with --to"), _resumable(wanted):
        _check_folder(wanted)
        facts = _looked_at(wanted, config)
        experiment, note = _for_this_machine(experiment, facts, str(config["device"].type))
        chosen = _chosen(wanted, experiment)
        return _concluded(wanted, experiment, facts, chosen, note)


def _as_before(wanted: Wanted) -> Wanted:
    """With the settings of an earlier call where this one means the same log: the runs are known by them.

    Options of reading that this call leaves out are that one's; those that it names are compared with the atomic files
    later. UsageError where it means another log, or would split it in another way.
    """
    state = cells.read_json(wanted.folder / STATE) or {}
    before, now = state.get("settings"), wanted.settings
    if not isinstance(before, dict) or state.get("dataset") != wanted.dataset:
        return wanted
    holds = f"{wanted.folder} holds the study of"
    if "raw_path" in now and "raw_path" not in before:
        raise UsageError(
            f"{holds} the data set {wanted.dataset}, by its name: go on with study {wanted.dataset}, or give "
            f"{now['raw_path']} another name with --name"
        )
    if "raw_path" in now and _place(now, "raw_path") != before.get("resolved"):
        raise UsageError(f"{holds} {before['raw_path']}: give {now['raw_path']} another name with --name")
    if _place(now, "data_path") != _place(before, "data_path"):
        raise UsageError(f"{holds} atomic files elsewhere: name another folder with --to")
    if "eval_args" in now and now["eval_args"] != before.get("eval_args"):
        raise UsageError(f"{holds} another split of {wanted.dataset}: name another folder with --to")
    return replace(wanted, settings={key: value for key, value in before.items() if key != "resolved"})


def _place(settings: Mapping[str, Any], key: str) -> str:
    return str(Path(str(settings.get(key, DATA))).resolve())


def _check_folder(wanted: Wanted) -> None:
    """UsageError where the folder is that of another data set's study."""
    before = (cells.read_json(wanted.folder / STATE) or {}).get("dataset", wanted.dataset)
    if before != wanted.dataset:
        raise UsageError(
            f"{wanted.folder} holds the study of {before}, not of {wanted.dataset}: name another folder with --to"
        )
    resolved = {"resolved": _place(wanted.settings, "raw_path")} if "raw_path" in wanted.settings else {}
    _note(wanted.folder, dataset=wanted.dataset, settings={**wanted.settings, **resolved})


@contextmanager
def _resumable(wanted: Wanted) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        used = _used(wanted.folder)
        raise KeyboardInterrupt(
            f"{used / 60:.1f} of {wanted.minutes:g} minutes are used, and what is finished stays: the same command "
            "goes on"
        ) from stop


def _experiment(wanted: Wanted) -> Experiment:
    """The models of the yaml file on this log, all in the study's folder."""
    read = read_experiment(config_files(f"experiment/{ZOO}.yaml")[-1])
    if any(entry.of for entry in read.models):
        raise UsageError(
            f"configs/experiment/{ZOO}.yaml has a blend of other models (of), and a study runs its models one by one: "
            "leave it out"
        )
    own = {"runs_dir": str(wanted.folder)}
    return replace(
        read,
        name=f"study-{wanted.dataset}",  # as trackers and the page have it
        datasets=(wanted.dataset,),
        seeds=wanted.seeds,
        settings=merge(read.settings, wanted.settings, own),
        report=wanted.folder / EXPERIMENT,
        test=True,
        quiet=True,
    )


# --- the log ------------------------------------------------------------------------------------------------


def _converted(wanted: Wanted, experiment: Experiment, said: Any) -> Any:
    """Convert the log where it is not; RecBole's Config of a run, for what all of them share.

    said: options of reading that this call names.
    """
    config = _config(experiment)
    folder = Path(config["data_path"])
    converted_before = events_file(folder, wanted.dataset) is not None
    if converted_before:
        for key, before, now in changed_options(said, folder):
            raise UsageError(
                f"{folder} was converted with {key} {before}, and now {key} is {now}: delete that folder to convert "
                "again, or give another --name"
            )
    prepare_atomic_files(config, "give it another name with --name, or delete that folder to convert again")
    if converted_before:
        print(f"{folder} was converted before", flush=True)
    elif known := manifest(str(folder)):
        print(summary(known, folder), flush=True)
    if straddles(split_of(config).name) or config["benchmark_filename"]:
        raise UsageError(
            f"the settings of {wanted.dataset} split it inside of sessions or name its parts, and a study needs whole "
            "sessions: set eval_args.split to session_time, given or session_random"
        )
    return config


def _looked_at(wanted: Wanted, config: Any) -> Facts:
    """Facts of the log, and its page."""
    folder = Path(config["data_path"])
    kept = Kept(wanted.folder / ".log")
    protocol = Protocol.of(config, str(folder))
    inputs = [cells.data_identity(folder, wanted.dataset), str(folder), repr(protocol)]
    facts: Facts = kept.get("facts", inputs, lambda: log_facts(folder, wanted.dataset, protocol))
    _write(wanted.folder / LOG_PAGE, log_page(facts, manifest(str(folder)).get("rows") or {}, kept))
    kept.drop_others()
    print(f"{in_words(facts)}\n  {wanted.folder / LOG_PAGE}", flush=True)
    if said := too_small(facts):
        raise UsageError(said)
    return facts


def _for_this_machine(experiment: Experiment, facts: Facts, device: str) -> tuple[Experiment, str]:
    """The experiment, on a CPU with sampled negatives in the place of all items where these are many; a sentence on it.

    Of models whose loss can be that one and whose settings leave it open.
    """
    scores = facts["targets"]["train"] * facts["items"]
    if device != "cpu" or scores < MANY_SCORES or set(SAMPLED) & set(experiment.settings):
        return experiment, ""
    models = [_sampled(experiment, entry) for entry in experiment.models]
    changed = [entry.label for entry, before in zip(models, experiment.models) if entry != before]
    if not changed:
        return experiment, ""
    note = (
        f"There is no GPU, and {facts['items']:,} items to tell apart: in the training of {listed(changed, 8)} 2,048 "
        "drawn ones stand for all of them in each step (train_loss: sampled_softmax), which may cost a few per cent."
    )
    print(note, flush=True)
    return replace(experiment, models=tuple(models)), note


def _sampled(experiment: Experiment, entry: Entry) -> Entry:
    """The model with a sampled loss; as it is where it says something of its loss, or has no such one."""
    if set(SAMPLED) & set(entry.settings):
        return entry
    tried = replace(entry, settings={**entry.settings, **SAMPLED})
    try:
        asked_of(of_models(experiment, [tried]), experiment.datasets[0], tried).configured({}, None)
    except UsageError:
        return entry
    return tried


def _config(experiment: Experiment) -> Any:
    """That of the first model."""
    return asked_of(experiment, experiment.datasets[0], experiment.models[0]).configured({}, None)


# --- the models ---------------------------------------------------------------------------------------------


def _chosen(wanted: Wanted, experiment: Experiment) -> Chosen:
    used = _used(wanted.folder)
    left = max(60 * wanted.minutes - used, 0.0)
    if used:
        print(f"{used / 60:.1f} of {wanted.minutes:g} minutes were used before", flush=True)

    def spent(seconds: float) -> None:
        nonlocal used
        used += seconds
        _note(wanted.folder, seconds_used=used)

    found = searched_in_time(
        experiment, left, wanted.folder / "experiments" / experiment.name / ".chosen", spent
    )
    if not found.finished and found.failed:
        label, reason = next(iter(found.failed.items()))
        raise UsageError(f"no model could be trained on {wanted.dataset}; {label}: {reason}")
    if not found.finished:
        raise UsageError(
            f"{wanted.minutes:g} minutes are too few for any model on {wanted.dataset}, even for {found.late[0]}: the "
            "same command with more --minutes goes on"
        )
    return found


def _used(folder: Path) -> float:
    """Seconds of searching and training so far."""
    found = (cells.read_json(folder / STATE) or {}).get("seconds_used", 0.0)
    return float(found) if isinstance(found, int | float) else 0.0


def _note(folder: Path, **more: Any) -> None:
    _write(folder / STATE, json.dumps({**(cells.read_json(folder / STATE) or {}), **more}, indent=1) + "\n")


def _write(file: Path, text: str) -> None:
    try:
        write_text(file, text)
    except OSError as error:
        raise UsageError(cannot_write(error, file)) from error


# --- the end ------------------------------------------------------------------------------------------------


def _concluded(wanted: Wanted, experiment: Experiment, facts: Facts, chosen: Chosen, note: str) -> Study:
    """Choose on validation, read the test part, and say what was found."""
    several_models = of_models(experiment, chosen.finished)
    winner = _best(several_models, chosen.finished)
    print(
        f"{winner.label} is chosen on validation; now the test part of {several(len(chosen.finished), 'model')}",
        flush=True,
    )
    run_experiment(several_models, wanted.command)
    grid = Grid(several_models, tables=False)
    records = tested(grid)
    left_out = {label: reason for label, reason in chosen.failed.items()}
    left_out |= dict.fromkeys(chosen.late, f"{wanted.minutes:g} minutes did not suffice")
    failed = {
        entry.label: "its test failed"
        for entry in chosen.finished
        if not any(record["label"] == entry.label for record in records)
    }
    if winner.label in failed:
        raise UsageError(
            f"the test of {winner.label}, which was chosen, has failed: the same command tries it again"
        )
    comparison = compared(wanted.dataset, records, Kept(grid.place / PAGE))
    floor = _floor(several_models, [entry for entry in chosen.finished if entry.label not in failed])
    run = _run_of(several_models, winner, records)
    against = None
    if floor is not None and floor.label != winner.label:
        metric = comparison["metrics"][0]
        against = promotion(
            run, _run_of(several_models, floor, records), metric, margin=0.0, slice_margin=0.0
        )
    text = study_text(
        winner.label,
        comparison,
        against,
        None if floor is None else floor.label,
        facts,
        {**left_out, **failed},
        _of_search(chosen, wanted.minutes, _used(wanted.folder)),
        _most_readings(grid),
    )
    _copy(Path(run), wanted.folder / CHOSEN)
    cannot = _cannot(wanted.folder / CHOSEN)
    commands = [] if cannot else _commands(wanted.folder / CHOSEN, facts)
    page = Found(
        name=wanted.dataset,
        text=text if not cannot else f"{text} {winner.label} cannot be asked for lists: {cannot}.",
        facts=facts,
        comparison=comparison,
        validation=_validation(several_models, chosen.finished),
        winner=winner.label,
        left_out={**left_out, **failed},
        commands=commands,
        pages={"The log": LOG_PAGE, "The models": f"{EXPERIMENT}/index.html"},
        again=wanted.command,
        notes=[note] if note else [],
        minutes=wanted.minutes,
        used=_used(wanted.folder),
    )
    _write(wanted.folder / TEXT, page.text + "\n")
    _write(wanted.folder / INDEX, study_page(page))
    _note(
        wanted.folder,
        winner=winner.label,
        chosen=str(wanted.folder / CHOSEN),
        run=str(run),
        left_out=dict(page.left_out),
        minutes=wanted.minutes,
        command=wanted.command,
    )
    return Study(
        winner.label,
        wanted.folder / CHOSEN,
        page.left_out,
        page.text,
        commands,
        wanted.folder / INDEX,
        bool(chosen.failed or failed),
    )


def _most_readings(grid: Grid) -> int:
    """How often the test part was read, of the model and seed that it was read most for."""
    read = ledger.readings(grid.groups[0].cells[0].ledger)
    return max(Counter((row["label"], row["seed"]) for row in read).values(), default=0)


def _of_search(chosen: Chosen, minutes: float, used: float) -> str:
    """A sentence on models that were not searched, and on minutes that were left; empty where all that have a search
    were searched. used: seconds of the minutes."""
    if not chosen.unsearched:
        return ""
    rest = sum(chosen.unsearched.values())
    search = f"about {several(math.ceil(rest / 60), 'minute')}"
    tried = f"Of {listed(list(chosen.unsearched), 8)} one setting was tried"
    left = math.floor(minutes - used / 60)
    enough = "" if chosen.late else f" {math.ceil((used + rest + chosen.kept) / 60)}"
    if left < 1:
        return f"{tried}: a search takes {search} more (--minutes{enough})."
    return (
        f"{tried}, and {left} of {minutes:g} minutes were not used: models are searched all or none, so that none has "
        f"an advantage, and that takes {search} (--minutes{enough})."
    )


def _scores(experiment: Experiment, entry: Entry) -> dict[int, float]:
    """Best validation score of a finished model by seed, larger is better."""
    (group,) = groups_of(of_models(experiment, [entry]))
    sign = -1.0 if group.lower_is_better else 1.0
    found = {}
    for job in group.cells:
        record = cells.read_record(cells.choosing_folder(group.chosen(job)))
        if record is not None and record["best_valid_score"] is not None:
            found[job.seed] = sign * float(record["best_valid_score"])
    return found


def _mean(experiment: Experiment, entry: Entry) -> float:
    found = _scores(experiment, entry)
    return statistics.mean(found.values()) if found else float("-inf")


def _validation(experiment: Experiment, entries: Sequence[Entry]) -> dict[str, float]:
    return {entry.label: _mean(experiment, entry) for entry in entries}


def _best(experiment: Experiment, entries: Sequence[Entry]) -> Entry:
    """The model with the best mean on validation, the first of equal ones, which is the cheapest."""
    return max(entries, key=lambda entry: _mean(experiment, entry))


def _floor(experiment: Experiment, entries: Sequence[Entry]) -> Entry | None:
    simplest = [entry for entry in entries if entry.model in SIMPLEST]
    return _best(experiment, simplest) if simplest else None


def _run_of(experiment: Experiment, entry: Entry, records: Sequence[Mapping[str, Any]]) -> str:
    """Folder of a model's run: of the seed that is best on validation."""
    scores = _scores(experiment, entry)
    own = [record for record in records if record["label"] == entry.label]
    best = max(own, key=lambda record: scores.get(record["seed"], float("-inf")))
    return str(best["folder"])


def _copy(run: Path, out: Path) -> None:
    """Put a copy of the run in the place of an earlier one: all but checkpoints, which its record names."""
    record = (run / RECORD).read_bytes()
    if (out / RECORD).is_file() and (out / RECORD).read_bytes() == record and (out / FOLDER).is_dir():
        return
    try:
        with scratch_beside(out) as made:
            shutil.copytree(
                run, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pth", "valid", cells.IDENTITY)
            )
            if out.exists():
                out.rename(made.with_suffix(".before"))
            made.rename(out)
            shutil.rmtree(made.with_suffix(".before"), ignore_errors=True)
    except OSError as error:
        raise UsageError(cannot_write(error, out)) from error


def _cannot(folder: Path) -> str:
    """Why the model in a run's folder cannot be asked for lists; empty where it can."""
    stated = cells.read_json(folder / FOLDER / MODEL)
    if stated is None:
        return "its run has left no model folder"
    return str(stated.get("cannot") or "").rstrip(".")


def _commands(folder: Path, facts: Facts) -> list[str]:
    """What to type next."""
    place = shlex.quote(str(folder))
    plain = [item for item in facts["top"] if "," not in item and item == item.strip() and item[0] != "-"][:2]
    asked = f"--session {shlex.quote(','.join(plain))}" if plain else "--examples"
    return [
        f"recbole-ext recommend {place} {asked} --k 5",
        f"recbole-ext serve {place}",
        f"recbole-ext update {place} --events NEW_DAYS",
    ]
