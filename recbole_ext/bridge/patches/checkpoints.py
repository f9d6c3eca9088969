"""Patches for what RecBole 1.2.1 stores: checkpoints without pickle, exact resume, no unasked unpickling.

A checkpoint of ours has the keys RecBole's users know (config, epoch, cur_step, best_valid_score, state_dict,
other_parameter, optimizer) and loads with torch.load(weights_only=True): the config is plain data, and scipy
and numpy values of other_parameter are tensors with a tag. It adds best_valid_result, train_loss_dict, valid_scores,
epoch_values, train_seconds, optimizers, rng, numbering (the names behind the ids), trained_on (sums of the training
part) and weight_average: the average and
the weights that training goes on from, where state_dict is the average.
"""

from __future__ import annotations

import os
import sys
import time
from logging import getLogger
from pathlib import Path
from typing import Any

import torch

from recbole_ext.bridge.checkpoint import (
    _encoded_other_parameter,
    _loader_states,
    _trusts,
    check_numbering,
    check_settings,
    check_training,
    copy_checkpoint,
    load_other_parameter,
    meet_data,
    numbering,
    random_state,
    read_checkpoint,
    restore_random_state,
    training_sums,
    write_checkpoint,
)
from recbole_ext.bridge.saved_data import made_of, what_differs, write_made_of
from recbole_ext.bridge.stored_config import config_from_plain
from recbole_ext.errors import UsageError
from recbole_ext.plain import config_to_plain

# --- checkpoints patch --------------------------------------------------------------------------------------


def patch_checkpoints() -> None:
    """Replace the places where RecBole saves and loads checkpoints by ones that need no pickle."""
    from recbole.quick_start import quick_start
    from recbole.trainer import trainer as recbole_trainer

    trainer = recbole_trainer.Trainer
    evaluate, fit, valid_epoch = trainer.evaluate, trainer.fit, trainer._valid_epoch

    def fit_and_resume(self: Any, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> Any:
        meet_data(self, train_data)
        _resume_generators(self, train_data, valid_data)
        self._fit_began = time.perf_counter() - getattr(self, "seconds_before", 0.0)
        return fit(self, train_data, valid_data, *args, **kwargs)

    def remember_valid_epoch(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._last_valid = valid_epoch(self, *args, **kwargs)
        self.valid_scores = {
            **getattr(self, "valid_scores", {}),
            max(self.train_loss_dict, default=0): float(self._last_valid[0]),
        }
        return self._last_valid

    def evaluate_loaded(
        self: Any,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        if eval_data and load_best_model:
            _load_for_evaluation(self, str(model_file or self.saved_model_file))
        return evaluate(self, eval_data, load_best_model=False, show_progress=show_progress)

    trainer.met = None  # the training part that `numbered` and `trained_on` are of
    trainer.numbered = None  # what `numbering` says of the data, once they are known
    trainer.trained_on = None  # likewise of `training_sums`
    trainer.resumed_from = None
    trainer.resumes_with = frozenset()  # settings in which what goes on may differ from what was begun
    trainer._resumed_numbering = trainer._resumed_training = None
    trainer.fit = fit_and_resume
    trainer._valid_epoch = remember_valid_epoch
    trainer._save_checkpoint = _save_checkpoint
    trainer.resume_checkpoint = _resume_checkpoint
    trainer.evaluate = evaluate_loaded
    recbole_trainer.PretrainTrainer.save_pretrained_model = _save_pretrained_model
    recbole_trainer.DecisionTreeTrainer._save_checkpoint = _save_decision_tree
    _rebind(quick_start.load_data_and_model, load_data_and_model)


def _save_checkpoint(self: Any, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
    """`Trainer._save_checkpoint` (trainer.py:289) as plain data, with what an exact resume needs."""
    file = str(kwargs.pop("saved_model_file", self.saved_model_file))
    optimizers = {
        k: v for k, v in vars(self).items() if isinstance(v, torch.optim.Optimizer) and k != "optimizer"
    }
    # fit saves before it stores the result of the epoch that is being saved
    last_score, last_result = getattr(self, "_last_valid", (None, None))
    newest_is_best = last_score == self.best_valid_score and self.cur_step == 0
    best_result = last_result if newest_is_best else self.best_valid_result
    average = getattr(self, "average", None)
    weights = self.model.state_dict()
    if average is not None:
        weights.update(average.averaged())
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "cur_step": self.cur_step,
        "best_valid_score": float(self.best_valid_score),
        "best_valid_result": {k: float(v) for k, v in best_result.items()} if best_result else None,
        "train_loss_dict": {k: float(v) for k, v in self.train_loss_dict.items() if v is not None},
        "valid_scores": dict(getattr(self, "valid_scores", {})),
        "epoch_values": {epoch: dict(values) for epoch, values in getattr(self, "epoch_values", {}).items()},
        "train_seconds": _train_seconds(self),
        "state_dict": weights,
        "other_parameter": _encoded_other_parameter(self.model, _trusts(self.config)),
        "optimizer": self.optimizer.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "rng": {**random_state(), "loaders": _loader_states(self)},
    }
    if average is not None:
        state["weight_average"] = average.state_dict()
    if self.numbered is not None:
        state["numbering"] = self.numbered
        state["trained_on"] = self.trained_on
    write_checkpoint(state, file)
    if verbose:
        self.logger.info(f"Saving current: {file}")


def _train_seconds(self: Any) -> float:
    """Of this and of earlier calls; where the resumed training had ended, nothing is fitted here."""
    began = getattr(self, "_fit_began", None)
    before: float = getattr(self, "seconds_before", 0.0)
    return before if began is None else time.perf_counter() - began


def _resume_checkpoint(self: Any, resume_file: str) -> None:
    """`Trainer.resume_checkpoint` (trainer.py:314) that also restores optimizers, results and random state.

    The next `fit` goes on as if it had never stopped, on the same device. It saves where the trainer would have saved
    without resuming, and what it goes on from stays as it is.
    """
    self.resumed_from = str(resume_file)
    checkpoint = read_checkpoint(self.resumed_from, self.device, _trusts(self.config))
    self._resumed_numbering = checkpoint.get("numbering")
    self._resumed_training = checkpoint.get("trained_on")
    if self.numbered is not None:  # else the data come with the next fit
        check_numbering(self._resumed_numbering, self.numbered, self.resumed_from)
        check_training(self._resumed_training, self.trained_on, self.resumed_from)
    if checkpoint["config"]["model"].lower() == self.config["model"].lower():
        check_settings(checkpoint["config"], self.config, self.resumed_from, self.resumes_with)
    self.start_epoch = checkpoint["epoch"] + 1
    self.cur_step = checkpoint["cur_step"]
    self.best_valid_score = checkpoint["best_valid_score"]
    self.best_valid_result = checkpoint.get("best_valid_result", self.best_valid_result)
    self.train_loss_dict = dict(checkpoint.get("train_loss_dict", self.train_loss_dict))
    self.valid_scores = dict(checkpoint.get("valid_scores", {}))
    self.epoch_values = dict(checkpoint.get("epoch_values", {}))
    self.seconds_before = checkpoint.get("train_seconds", 0.0)
    if checkpoint["config"]["model"].lower() != self.config["model"].lower():
        self.logger.warning(
            f"{resume_file} holds a {checkpoint['config']['model']}, and this is a {self.config['model']}; "
            "loading its parameters may fail"
        )
    self.model.load_state_dict(checkpoint["state_dict"])
    load_other_parameter(self.model, checkpoint.get("other_parameter"))
    average = checkpoint.get("weight_average")
    if average is not None:
        self.model.load_state_dict(average["weights"], strict=False)
        if hasattr(self, "resume_average"):
            self.resume_average(average)
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    for name, state in checkpoint.get("optimizers", {}).items():
        getattr(self, name).load_state_dict(state)
    self._resumed_rng = checkpoint.get("rng")
    if self._resumed_rng:
        restore_random_state(self._resumed_rng)
    copy_checkpoint(self.resumed_from, str(self.saved_model_file))
    self.logger.info(f"Checkpoint loaded. Resume training from epoch {self.start_epoch}")


def _resume_generators(trainer: Any, *loaders: Any) -> None:
    """At the start of fit after a resume, put random state and the loaders' shuffling where they were."""
    trainer._fit_loaders = loaders
    state = getattr(trainer, "_resumed_rng", None)
    if not state:
        return
    trainer._resumed_rng = None
    restore_random_state(state)
    for loader, generator_state in zip(loaders, state["loaders"], strict=False):
        if generator_state is not None and getattr(loader, "generator", None) is not None:
            loader.generator.set_state(generator_state.cpu())


def _load_for_evaluation(trainer: Any, file: str) -> None:
    checkpoint = read_checkpoint(file, trainer.device, _trusts(trainer.config))
    trainer.model.load_state_dict(checkpoint["state_dict"])
    load_other_parameter(trainer.model, checkpoint.get("other_parameter"))
    trainer.logger.info(f"Loading model structure and parameters from {file}")


def _save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
    """`PretrainTrainer.save_pretrained_model` (trainer.py:755) as plain data."""
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "state_dict": self.model.state_dict(),
        "optimizer": self.optimizer.state_dict(),
        "other_parameter": _encoded_other_parameter(self.model, _trusts(self.config)),
    }
    write_checkpoint(state, saved_model_file)
    self.saved_model_file = saved_model_file


def _save_decision_tree(self: Any, epoch: int) -> None:
    """`DecisionTreeTrainer._save_checkpoint` (trainer.py:984) as plain data; state_dict is a file name."""
    state = {
        "config": config_to_plain(self.config),
        "epoch": epoch,
        "cur_step": self.cur_step,
        "best_valid_score": float(self.best_valid_score),
        "state_dict": self.temp_best_file,
        "other_parameter": None,
    }
    write_checkpoint(state, self.saved_model_file)


def load_data_and_model(model_file: str, trust_pickle: bool = False) -> tuple[Any, ...]:
    """RecBole's `load_data_and_model` (run/run.py:233) for our checkpoints; its own with `trust_pickle`.

    Returns config, model, dataset, train_data, valid_data, test_data. Raises UsageError as `read_checkpoint`.
    """
    import recbole.data.utils
    from recbole.utils import get_model, init_logger, init_seed

    checkpoint = read_checkpoint(str(model_file), "cpu", trust_pickle)
    stored = checkpoint["config"]
    config = config_from_plain(stored if isinstance(stored, dict) else config_to_plain(stored))
    config["trust_pickle"] = trust_pickle
    if config.model_class is None:
        raise UsageError(
            f"{model_file} is of the class {config['model']}, which is not known here: import it and call "
            f"recbole_ext.bridge.registry.register_model({config['model']}) first"
        )
    init_seed(config["seed"], config["reproducibility"])
    init_logger(config)
    logger = getLogger()
    logger.info(config)
    dataset = recbole.data.utils.create_dataset(config)
    logger.info(dataset)
    train_data, valid_data, test_data = recbole.data.utils.data_preparation(config, dataset)
    check_numbering(checkpoint.get("numbering"), numbering(train_data._dataset), str(model_file))
    check_training(checkpoint.get("trained_on"), training_sums(train_data._dataset), str(model_file))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train_data._dataset).to(config["device"])
    model.load_state_dict(checkpoint["state_dict"])
    load_other_parameter(model, _to_device(checkpoint.get("other_parameter"), config["device"]))
    return config, model, dataset, train_data, valid_data, test_data


def _to_device(value: Any, device: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to_device(item, device) for key, item in value.items()}
    return [_to_device(item, device) for item in value] if isinstance(value, list) else value


# --- data caches patch --------------------------------------------------------------------------------------


def patch_data_caches() -> None:
    """Let create_dataset and load_split_dataloaders unpickle a file only with `trust_pickle: True`, and only where all
    that its content depends on is the same now: RecBole looks at some of its own keys alone."""
    from recbole.data import utils
    from recbole.data.dataset.dataset import Dataset

    upstream_create, upstream_load = utils.create_dataset, utils.load_split_dataloaders
    upstream_save, save_dataset = utils.save_split_dataloaders, Dataset.save

    def create_dataset(config: Any) -> Any:
        default = f"{config['dataset']}-{_dataset_class_name(config)}.pth"
        with _CacheGuard(config, "dataset_save_path", default):
            return upstream_create(config)

    def load_split_dataloaders(config: Any) -> Any:
        default = f"{config['dataset']}-for-{config['model']}-dataloader.pth"
        with _CacheGuard(config, "dataloaders_save_path", default):
            return upstream_load(config)

    def save_split_dataloaders(config: Any, dataloaders: Any) -> None:
        upstream_save(config, dataloaders)
        name = f"{config['dataset']}-for-{config['model']}-dataloader.pth"
        write_made_of(config, "dataloaders_save_path", Path(config["checkpoint_dir"]) / name)

    def save(self: Any) -> None:
        save_dataset(self)
        name = f"{self.config['dataset']}-{type(self).__name__}.pth"
        write_made_of(self.config, "dataset_save_path", Path(self.config["checkpoint_dir"]) / name)

    _rebind(upstream_create, create_dataset)
    _rebind(upstream_load, load_split_dataloaders)
    _rebind(upstream_save, save_split_dataloaders)
    Dataset.save = save


def patch_saved_loaders() -> None:
    """Let save_split_dataloaders give loaders and samplers their generators back."""
    from recbole.data import utils

    upstream_save = utils.save_split_dataloaders

    def save_split_dataloaders(config: Any, dataloaders: Any) -> None:
        before = [
            (loader, loader.generator, getattr(loader.sampler, "generator", None)) for loader in dataloaders
        ]
        try:
            upstream_save(config, dataloaders)
        finally:
            for loader, own, of_sampler in before:
                loader.generator, loader.sampler.generator = own, of_sampler

    _rebind(upstream_save, save_split_dataloaders)


class _CacheGuard:
    """While open, RecBole does not find the pickle at `key`'s path unless it is trusted and made of what is there now.

    Raises UsageError when the user named the file; one that lies unasked at the default name is passed over.
    """

    def __init__(self, config: Any, key: str, default: str) -> None:
        self.config, self.key = config, key
        self.asked = config[key]
        self.file = str(self.asked or os.path.join(config["checkpoint_dir"], default))

    def __enter__(self) -> None:
        # noted now, as making data sets and loaders works some settings out
        self.config.made_of = {**getattr(self.config, "made_of", {}), self.key: made_of(self.config)}
        if not os.path.exists(self.file):
            return
        obstacle = None
        if not _trusts(self.config):
            obstacle = "is a pickle, which can run any code: set trust_pickle: True if you made it yourself"
        else:
            changed = what_differs(self.file, self.config.made_of[self.key])
            if changed:
                obstacle = f"was made of something else: {changed}"
        if obstacle is None:
            return
        if self.asked:
            raise UsageError(f"{self.key} {self.file} {obstacle}; or remove {self.key}")
        getLogger().warning(f"Passing over {self.file}: it {obstacle}")
        self.config[self.key] = os.path.join(os.devnull, "passed-over")  # a path that cannot exist

    def __exit__(self, *exception: Any) -> None:
        self.config[self.key] = self.asked


def _dataset_class_name(config: Any) -> str:
    """Name of the class that create_dataset will choose (data/utils.py:38-52)."""
    import recbole.data.dataset as datasets
    from recbole.utils import ModelType

    if hasattr(datasets, f"{config['model']}Dataset"):
        return f"{config['model']}Dataset"
    names = {ModelType.SEQUENTIAL: "SequentialDataset", ModelType.KNOWLEDGE: "KnowledgeBasedDataset"}
    chosen: type = getattr(datasets, names.get(config["MODEL_TYPE"], "Dataset"))
    return chosen.__name__


def _rebind(upstream: Any, ours: Any) -> None:
    """Put `ours` wherever a RecBole module already holds the function `upstream` under its name."""
    attribute = upstream.__name__
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get(attribute) is upstream:
            setattr(module, attribute, ours)
