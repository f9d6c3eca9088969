"""One experiment, start to end: configuration, data, training, evaluation, record."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_ext.run.checkpoints import Checkpoints
    from recbole_ext.run.record import Run
    from recbole_ext.run.tracking import Called


def run(
    model: str | type,
    dataset: str,
    config_dict: dict[str, Any] | None = None,
    config_file_list: Sequence[str] | None = None,
    saved: bool = True,
    test: bool = True,
    folder: Path | None = None,
    notes: Sequence[str] = (),
    parent: Path | None = None,
    watch: Callable[[int, float], None] | None = None,
    called: Called | None = None,
) -> dict[str, Any]:
    """Train `model` on `dataset`, evaluate it on the test part, and return the run's record.

    Args:
        model: its name, a class of your own, or `file.py:Class`.
        config_dict: keys of RecBole and of configs/*.yaml; they win over every file.
        config_file_list: yaml files, later ones win.
        saved: keep the best checkpoint and test that; otherwise the last epoch's weights are tested.
        test: False leaves the test part alone: the record has no `test`, and a later call with the same folder tests.
        folder: of record and checkpoints; an interrupted run in it goes on. None: a new one in `runs_dir`.
        notes: what a reader of the record has to know of how the run was asked for.
        parent: folder of a finished run of the model on other days, whose weights training goes on from.
        watch: called after each validated epoch with its number, from 0, and its score; what it raises ends the run.
        called: what trackers are told that the run is; None: one by itself.

    Raises:
        recbole_ext.errors.UsageError: an unknown name or key, or a combination that cannot work.
        recbole_ext.errors.ConvertError: raw logs that are missing or cannot be read.
    """
    from recbole_ext.bridge.early import check_checkpoint
    from recbole_ext.run.several import aside, of_this_process

    config = configure(model, dataset, of_this_process(config_dict), config_file_list)
    if config["resume_from"]:
        check_checkpoint(config["resume_from"])  # before data are converted and read
    from recbole.utils import init_logger, init_seed

    from recbole_ext.bridge.patches.logs import end_run
    from recbole_ext.bridge.prepare import prepare_for_run, tell_of_files
    from recbole_ext.files import told
    from recbole_ext.processes import first_before_others, together

    with told(), together(config["device"]), aside(config), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", category=FutureWarning, module=r"recbole\."
        )  # nothing a user can mend
        with first_before_others():
            prepare_for_run(config, told=True)
        config.log_is_told = True  # below, or by the experiment that this is a cell of
        init_seed(config["seed"], config["reproducibility"])
        init_logger(config)
        try:
            if called is None:
                tell_of_files(config)
            getLogger().info(config)
            return _experiment(config, saved, test, folder, notes, parent, watch, called)
        finally:
            end_run()  # what the process says later is not of this run, and its folder may be gone by then


def configure(
    model: str | type,
    dataset: str,
    config_dict: dict[str, Any] | None = None,
    config_file_list: Sequence[str] | None = None,
) -> Any:
    """RecBole's Config of a run, its names, keys and values checked; arguments and errors as for `run`."""
    config = build_config(model, dataset, config_dict, config_file_list)
    from recbole_ext.bridge.data_sets import check_settings
    from recbole_ext.bridge.keys import refuse_unread
    from recbole_ext.errors import UsageError
    from recbole_ext.run.tracking import check_installed

    check_dataset(config)
    config.run_settings.protocol.check_valid_metric()
    check_settings(config)
    refuse_unread(config)
    check_installed(config)
    for key in ("nproc", "world_size"):
        if int(config[key] or 1) > 1:
            raise UsageError(
                f"{key} is {config[key]}, but processes are started by torchrun: leave it out, and write "
                f"torchrun --nproc-per-node={config[key]} run.py --model=… in the place of python run.py"
            )
    if "show_progress" not in config.external_config_dict:
        config["show_progress"] = sys.stderr.isatty()  # a bar in a log file is noise
    return config


def check_dataset(config: Any) -> None:
    """Raise UsageError where the configured data set is unknown and nothing says what to convert to it."""
    from recbole_ext.bridge.names import check_names

    if not config["source"]:
        check_names(config["model"], config["dataset"], Path(config["data_path"]).parent)


def build_config(
    model: str | type,
    dataset: str,
    config_dict: dict[str, Any] | None = None,
    config_file_list: Sequence[str] | None = None,
) -> Any:
    """RecBole's Config of a run, its values checked, whether or not anything reads the keys.

    Raises UsageError for an unknown model and for a value that is wrong.
    """
    from recbole_ext.bridge.registry import install

    install()
    from recbole.config import Config

    from recbole_ext.bridge.names import check_names
    from recbole_ext.bridge.own_models import name_parts, named
    from recbole_ext.errors import UsageError
    from recbole_ext.settings.command_line import command_line

    name = named(model)
    check_names(name)
    try:
        with command_line([]):
            config = Config(name, dataset, list(config_file_list or []) or None, dict(config_dict or {}))
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        # all that Config does is read settings, so whatever it cannot read is one
        raise UsageError(f"a setting cannot be used: {error}") from error
    name_parts(config)
    return config


def _experiment(
    config: Any,
    saved: bool,
    tested: bool,
    folder: Path | None,
    notes: Sequence[str],
    parent: Path | None,
    watch: Callable[[int, float], None] | None,
    called: Called | None,
) -> dict[str, Any]:
    from recbole_ext.errors import UsageError
    from recbole_ext.files import cleared
    from recbole_ext.run.parent import read_parent
    from recbole_ext.run.record import Run
    from recbole_ext.run.several import check_settings_of_several
    from recbole_ext.run.tracking import tracked

    before = None if parent is None else read_parent(parent)
    if parent is None and config["replay_share"] is not None:
        raise UsageError("replay_share is of an update, which goes on from another run: leave it out")

    check_settings_of_several(config, folder, parent)
    run = Run(config, folder, watch)
    run.record["notes"] += notes
    with (
        cleared(Path(config["runs_dir"]), "*/*/"),
        cleared(Path(config["checkpoint_dir"])),
        tracked(run, called),
    ):
        return _carried_out(run, config, saved, tested, folder, parent, before)


def _carried_out(
    run: Run, config: Any, saved: bool, tested: bool, folder: Path | None, parent: Path | None, before: Any
) -> dict[str, Any]:
    """The record of a run that nothing stands in the way of. before: what its parent is, where it goes on from one."""
    from recbole_ext.processes import first_before_others
    from recbole_ext.run.checkpoints import Checkpoints, resume
    from recbole_ext.run.parent import begin
    from recbole_ext.run.tracking import Beside

    cached = config["save_dataset"] or config["save_dataloaders"]  # which the others then find
    with first_before_others() if cached else nullcontext():
        loaders = _loaders(config, run)
    off_policy = _off_policy(config, *loaders) if tested else None
    trainer = _trainer(config, loaders[0])
    if run.listeners:
        trainer.wandblogger = Beside(run.listeners, trainer)
    trainer.eval_collector.off_policy = off_policy
    if parent is not None and before is not None:
        # RecBole names checkpoints by the second, and this one must not take the place of the parent's
        trainer.saved_model_file = str(Path(config["checkpoint_dir"]) / f"{run.folder.name}.pth")
        run.record["parent"] = begin(trainer, loaders[0], parent, before)
    if config["resume_from"]:
        resume(trainer, config["resume_from"])
    checkpoints = Checkpoints(trainer, folder, run.epoch(trainer)) if folder is not None else None
    if checkpoints is not None:
        checkpoints.restore()
    with _going_on(trainer, checkpoints):
        _train(run, trainer, *loaders[:2], saved, checkpoints)
        if not tested:
            if checkpoints is not None and run.epochs:
                checkpoints.keep(run.epochs[-1]["epoch"])
            return run.write()
        _test(run, trainer, loaders[2], saved)
    run.keep_model(trainer, loaders[0], loaders[2])
    if off_policy is not None:
        run.record["off_policy"] = off_policy.to_record()
    record = run.write()
    if checkpoints is not None:
        checkpoints.end()
    return record


def _loaders(config: Any, run: Run) -> tuple[Any, Any, Any]:
    """Those of training, validation and test."""
    import recbole.data

    from recbole_ext.bridge.data_sets import loading
    from recbole_ext.data.manifest import edited_note
    from recbole_ext.errors import UsageError

    began = time.perf_counter()
    with loading(config):
        dataset = recbole.data.create_dataset(config)
        train, valid, test = recbole.data.data_preparation(config, dataset)
        getLogger().info(str(dataset))  # which is made once, and not by each handler
    if not len(test._dataset):
        raise UsageError(
            f"eval_args.split {config['eval_args']['split']} leaves nothing to rank in the test part: change its shares"
        )
    note = edited_note(config["data_path"])
    if note is not None:
        run.record["notes"].append(note)
    run.data_ready(train, valid, test, time.perf_counter() - began)
    return train, valid, test


def _trainer(config: Any, train: Any) -> Any:
    """The trainer of a fresh model."""
    from recbole.utils import get_trainer, init_seed

    from recbole_ext.bridge.checkpoint import meet_data
    from recbole_ext.bridge.needs import made
    from recbole_ext.run.several import meet_others
    from recbole_ext.trainer.collector import RankCollector

    init_seed(config["seed"], config["reproducibility"])
    began = time.perf_counter()
    model = made(config, train._dataset).to(config["device"])
    seconds = time.perf_counter() - began
    getLogger().info(model)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    meet_others(trainer)
    if getattr(model, "learns_in_one_pass", False):  # it has learnt when it is made
        trainer.seconds_before = seconds
    trainer.eval_collector = RankCollector(config)
    meet_data(trainer, train)
    return trainer


@contextmanager
def _going_on(trainer: Any, checkpoints: Checkpoints | None) -> Iterator[None]:
    """An interrupt names the checkpoint that a single run goes on from, where it has written one."""
    try:
        yield
    except KeyboardInterrupt as stop:
        resumes = checkpoints is None and not getattr(trainer.model, "learns_in_one_pass", False)
        if resumes and Path(trainer.saved_model_file).exists():
            raise KeyboardInterrupt(f"continue with --resume_from={trainer.saved_model_file}") from stop
        raise


def _train(
    run: Run, trainer: Any, train: Any, valid: Any, saved: bool, checkpoints: Checkpoints | None
) -> None:
    from recbole_ext.bridge.needs import refusals
    from recbole_ext.errors import UsageError
    from recbole_ext.run.checkpoints import fit

    began = time.perf_counter() - getattr(trainer, "seconds_before", 0.0)
    try:
        with refusals(run.config):
            best_score, best_valid = fit(
                trainer,
                train,
                valid,
                saved=saved,
                show_progress=run.config["show_progress"],
                callback_fn=checkpoints.after_epoch if checkpoints is not None else run.epoch(trainer),
            )
    except ValueError as error:
        if str(error) != "Training loss is nan":
            raise
        raise UsageError(
            f"the training loss of {run.config['model']} is nan: lower learning_rate, or look at what else was set"
        ) from error
    run.trained(trainer, best_score, best_valid, time.perf_counter() - began)


def _test(run: Run, trainer: Any, test: Any, saved: bool) -> None:
    from recbole_ext.bridge.needs import refusals

    began = time.perf_counter()
    trainer.eval_collector.start()
    with refusals(run.config):
        result = trainer.evaluate(test, load_best_model=saved, show_progress=run.config["show_progress"])
    targets = trainer.eval_collector.targets()
    run.tested(result, targets, test._dataset, time.perf_counter() - began)


def _off_policy(config: Any, train: Any, valid: Any, test: Any) -> Any:
    """What estimates the value of the model's policy beside the metrics, None where it is not asked for."""
    if config["off_policy"] is None:
        return None
    from recbole_ext.run.off_policy import OffPolicy

    return OffPolicy(config, train._dataset, valid._dataset if valid else None, test._dataset)
