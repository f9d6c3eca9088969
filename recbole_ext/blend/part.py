"""A model that is one of a blend: its own settings, data, model and trainer, as it would have them alone.

Rows of the blend and of the component are matched by the place of their target among the log's events.
"""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.bridge.checkpoint import (
    check_numbering,
    check_training,
    load_other_parameter,
    numbering,
    random_state,
    read_checkpoint,
    restore_random_state,
    training_sums,
)
from recbole_ext.bridge.choice import path_of
from recbole_ext.bridge.data_sets import loading
from recbole_ext.bridge.keys import refuse_unread
from recbole_ext.bridge.names import check_names
from recbole_ext.bridge.stored_config import config_from_plain
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.plain import config_to_plain
from recbole_ext.scores.dense import DenseScores, RowScores
from recbole_ext.settings import roles
from recbole_ext.settings.command_line import command_line
from recbole_ext.settings.files import merge
from recbole_ext.settings.of_model import settings_class
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import OF_STEPS, Training
from recbole_ext.trainer.collector import RankCollector
from recbole_ext.trainer.session import SessionTrainer

# keys of the blend's run that say nothing of a component
_OF_THE_RUN = ("model", "dataset", "resume_from", "config_files", "config_file_list")


def component_config(config: Any, name: str, settings: dict[str, Any], label: str) -> Any:
    """Config of model `name` as `run` would make it from the blend's files and keys, with `settings` over them.

    Raises UsageError for a key that nothing reads and for a value that cannot be used.
    """
    from recbole.config import Config

    given = {
        key: value
        for key, value in config.external_config_dict.items()
        if key not in _OF_THE_RUN and not key.startswith("blend_")
    }
    check_names(name)
    try:
        with command_line([]):
            own = Config(name, config["dataset"], config_dict=copy.deepcopy(merge(given, settings)))
    except UsageError as error:
        raise UsageError(f"{label} in the blend: {error}") from error
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise UsageError(f"{label} in the blend: a setting cannot be used: {error}") from error
    own["show_progress"] = settings_of(config, Place).show_progress
    try:
        refuse_unread(own, settings)
    except UsageError as error:
        raise UsageError(f"{label} in the blend: {error}") from error
    return own


def checkpoint_config(config: Any, file: str, name: str = "blend_from") -> Any:
    """Config of the run that left checkpoint `file`, to be used in the run of a model that is made of it.

    name: the key that names the file. Raises UsageError when the file is no checkpoint, or its data, split, seed or a
    key given now differ; keys of the model's own are not looked at.
    """
    stored = read_checkpoint(file, "cpu", bool(settings_of(config, Place).trust_pickle)).get("config")
    if not isinstance(stored, dict):
        raise UsageError(f"{name} names {file}, which is no checkpoint of ours: train it again")
    own = config_from_plain(stored)
    if own.model_class is None:
        way = (
            f"blend_models: [FILE.py:{own['model']}, …]"
            if name == "blend_from"
            else "docs/your_model.md says how"
        )
        raise UsageError(
            f"{name} names {file}, whose model {own['model']} is a class of one's own: name it too, {way}"
        )
    if own["model"] == config["model"]:
        kind = "blend" if name == "blend_from" else config["model"]
        raise UsageError(f"{name} names {file}, which is a {kind}: name checkpoints of single models")
    mine = settings_class(config.model_class).model_fields
    asked = {key: config[key] for key in config.external_config_dict if key not in mine}
    rows = {key: config[key] for key in ("dataset", "seed", *roles.rows_of(config.final_config_dict))}
    free = (*roles.places(), *roles.measures())  # in which the run that blends may differ
    unread = OF_STEPS if path_of(own).one_pass or path_of(config).one_pass else ()
    for key, wanted in {**asked, **rows}.items():
        if key in unread:
            continue
        if key not in rows and (key in (*_OF_THE_RUN, *free) or key not in own):
            continue  # one that this model does not have is the other's
        if _plain(own[key]) != _plain(wanted):
            raise UsageError(
                f"{name} names {file}, which was made with {key} {own[key]}, and this run has {key} {wanted}: "
                "take runs of one data set, split and seed, and give no other keys of theirs"
            )
    # what it has learnt from is its own: reinforcement learning's rewards
    kept = ("rewards",) if getattr(own.model_class, "learns_transitions", False) else ()
    for key in (*free, "device"):
        if key in config and key not in (*_OF_THE_RUN, *kept):
            own[key] = config[key]
    return own


def _plain(value: Any) -> Any:
    return config_to_plain(SimpleNamespace(final_config_dict={"value": value}))["value"]


class Component:
    """One model of a blend, made from its config in the order, and with the seeds, of a run of its own.

    label: what messages call it. model, trainer: RecBole's. train, valid, test: its loaders. checkpoint: the file it is
    loaded from; None: it is to be trained. stored_result: the validation metrics that this file states.

    Raises UsageError when the model does not rank (prefix, target) rows, or as it would alone.
    """

    def __init__(self, config: Any, label: str, checkpoint: str | None = None):
        import recbole.data
        from recbole.utils import get_model, get_trainer, init_seed

        self.config, self.label, self.checkpoint = config, label, checkpoint
        self.stored_result: dict[str, float] = {}
        self.place_settings = settings_of(config, Place)
        seeds = settings_of(config, Training).seed, self.place_settings.reproducibility
        init_seed(*seeds)
        config.log_is_told = True  # with the data set of whoever has this one
        with loading(config):
            self.dataset = recbole.data.create_dataset(config)
            if not isinstance(self.dataset, SessionDataset):
                raise UsageError(
                    f"{label} does not rank (prefix, target) rows here, which a blend needs: choose a sequential "
                    "model, Pop, ItemKNN, EASE, SLIMElastic or ADMMSLIM, with data_layout: pointers"
                )
            self.train, self.valid, self.test = recbole.data.data_preparation(config, self.dataset)
        init_seed(*seeds)
        self.model = get_model(config["model"])(config, self.train._dataset).to(config["device"])
        self.trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, self.model)
        self.trainer.eval_collector = RankCollector(config)
        self._fresh = random_state()
        target = self.dataset.inter_feat[self.dataset.event_field].long()
        self.place = torch.full((len(self.dataset.events),), -1)
        self.place[target] = torch.arange(len(target))
        if checkpoint is not None:
            self._load(checkpoint)

    def _load(self, file: str) -> None:
        stored = read_checkpoint(file, self.config["device"], bool(self.place_settings.trust_pickle))
        check_numbering(stored.get("numbering"), numbering(self.dataset), file)
        check_training(stored.get("trained_on"), training_sums(self.train._dataset), file)
        try:
            self.model.load_state_dict(stored["state_dict"])
            load_other_parameter(self.model, stored.get("other_parameter"))
            self.stored_result = dict(stored.get("best_valid_result") or {})
        except Exception as error:  # a foreign file can fail in any way
            raise UsageError(
                f"{file} is no checkpoint of {self.label} with this data: {str(error).splitlines()[0]}"
            ) from error

    def check_same_data(self, dataset: SessionDataset) -> None:
        """Raise UsageError unless items, events and training part are those of the blend's data set."""
        own = self.train._dataset
        same = len(own.events) == len(dataset.events) and np.array_equal(
            own.field2id_token[own.iid_field], dataset.field2id_token[dataset.iid_field]
        )
        same = same and all(
            torch.equal(own.events[field], dataset.events[field]) for field in (own.uid_field, own.iid_field)
        )
        if not same or not np.array_equal(own.train_length, dataset.train_length):
            raise self._other("events, items or training part")

    def check_same_rows(self, loader: Any) -> None:
        """Raise UsageError unless the validation or test targets are those of the blend's loader."""
        dataset = loader._dataset
        own = {"valid": self.valid, "test": self.test}[dataset.part]._dataset
        targets = [part.inter_feat[part.event_field].sort().values for part in (own, dataset)]
        if not torch.equal(*targets):
            raise self._other(f"{dataset.part} targets")

    def _other(self, what: str) -> UsageError:
        return UsageError(
            f"{self.label} has other {what} than the blend: leave keys of data and split out of blend_settings, and "
            "blend checkpoints of one data set"
        )

    def fit(self, file: str, saved: bool, resume: bool, show_progress: bool, note: Any) -> None:
        """Train as alone, keeping the best weights in `file`; with `resume` go on from there where it exists."""
        trainer = self.trainer
        trainer.saved_model_file = file
        restore_random_state(self._fresh)
        if resume and Path(file).is_file() and trainer.epochs > 1:  # what learns in one epoch does so again
            trainer.resume_checkpoint(file)
        trainer.fit(self.train, self.valid, saved=saved, show_progress=show_progress, callback_fn=note)
        if saved:
            self._load(file)
        elif isinstance(trainer, SessionTrainer):
            trainer.take_average()

    def start_ranking(self) -> None:
        """Make ready for `scores`, with the weights as they are now."""
        trainer = self.trainer
        self.model.eval()
        trainer.tot_item_num = self.dataset.item_num
        if isinstance(trainer, SessionTrainer):
            trainer.start_ranking(self.test)
            self.dataset.trimmed = self.test._dataset.trimmed
        else:
            trainer.item_tensor = self.dataset.get_item_feature().to(trainer.device)

    def scores(self, events: Tensor) -> RowScores:
        """Scores of the rows whose targets are at places `events` (B,) of the log, as the trainer ranks them."""
        return self._scores(self.dataset[self.place[events.cpu()]])

    def after(self, items: Tensor) -> RowScores:
        """Scores after sessions of one item each, `items` (B,); of a model that reads a session's items alone."""
        dataset = self.dataset
        length = dataset.inter_feat[dataset.item_list_length_field]
        shortest = length.masked_fill(length < 1, length.max() + 1).argmin()
        rows = dataset[shortest.repeat(len(items))]
        prefix = rows[dataset.iid_field + self.config["LIST_SUFFIX"]]
        prefix[:] = 0
        prefix[:, 0] = items
        rows[dataset.item_list_length_field][:] = 1
        return self._scores(rows)

    def _scores(self, rows: Any) -> RowScores:
        rows = self.test.transform(self.dataset, rows)
        batch = rows, None, torch.arange(len(rows)), rows[self.dataset.iid_field]
        found = self.trainer._full_sort_batch_eval(batch)[1]
        return DenseScores(found) if isinstance(found, Tensor) else found
