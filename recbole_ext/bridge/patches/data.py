"""Patches for what RecBole 1.2.1 reads of a data set, how it orders events and what it counts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from recbole_ext.errors import UsageError
from recbole_ext.wording import several


def patch_atomic_files() -> None:
    """Replace `Dataset._load_feat` by the reading of data/atomic.py, events from parquet where there is such a file,
    and read histories under any ITEM_ID_FIELD."""
    from recbole.data.dataset import SequentialDataset, dataset
    from recbole.utils import FeatureSource

    from recbole_ext.data.atomic import inter_file, load_feat

    load_text = dataset.Dataset._load_inter_feat

    def _load_inter_feat(self: Any, token: str, dataset_path: str) -> None:
        file = inter_file(dataset_path, token)
        if self.benchmark_filename_list is None and file.suffix == ".parquet":
            self.inter_feat = self._load_feat(str(file), FeatureSource.INTERACTION)
        else:
            load_text(self, token, dataset_path)

    dataset.Dataset._load_feat = load_feat
    dataset.Dataset._load_inter_feat = _load_inter_feat
    SequentialDataset._benchmark_presets = _benchmark_presets


def _benchmark_presets(self: Any) -> None:
    """`SequentialDataset._benchmark_presets` (sequential_dataset.py:151) for any ITEM_ID_FIELD; no history is empty."""
    from recbole.utils import FeatureSource, FeatureType

    suffix = self.config["LIST_SUFFIX"]
    for field in self.inter_feat:
        if field + suffix in self.inter_feat:
            setattr(self, f"{field}_list_field", field + suffix)
    self.item_id_list_field = self.iid_field + suffix
    length = self.inter_feat[self.item_id_list_field].map(len)
    if (length == 0).any():
        empty = several(int((length == 0).sum()), "row")
        raise UsageError(
            f"{self.item_id_list_field} is empty in {empty} of {self.dataset_name}: leave such rows out"
        )
    self.set_field_property(self.item_list_length_field, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)
    self.inter_feat[self.item_list_length_field] = length


def patch_event_order() -> None:
    """Check the time column before anything is filtered, and keep the order of the file where times tie."""
    from recbole.data.dataset.dataset import Dataset

    from recbole_ext.data import times

    change_format = Dataset._change_feat_format

    def _change_feat_format(self: Any) -> None:
        if not getattr(self, "orders_events", False):
            times.in_order(self)
        change_format(self)

    Dataset._filter_nan_user_or_item = _filter_missing
    Dataset._remove_duplication = _remove_duplication
    Dataset._change_feat_format = _change_feat_format


def _filter_missing(self: Any) -> None:
    """`Dataset._filter_nan_user_or_item` (dataset.py:817), which takes labels for places once it has dropped a row,
    and events without a time."""
    from recbole_ext.data.times import keep_timed

    for field, name in ((self.uid_field, "user_feat"), (self.iid_field, "item_feat")):
        for table_name in (name, "inter_feat") if field is not None else ():
            table = getattr(self, table_name)
            if table is None:
                continue
            missing = table.index[_is_missing(table[field])]
            if len(missing):
                lines = ", ".join(str(place + 2) for place in missing[:5])
                more = ", …" if len(missing) > 5 else ""
                self.logger.warning(
                    f"{table_name}: {several(len(missing), 'row')} without {field} left out (lines {lines}{more})"
                )
                table.drop(missing, inplace=True)
    keep_timed(self)
    self.inter_feat.reset_index(drop=True, inplace=True)


def _is_missing(column: Any) -> Any:
    """Of ids that are texts still, or codes of them (data/coded.py)."""
    return column < 0 if column.dtype.kind == "i" else column.isna()


def _remove_duplication(self: Any) -> None:
    """`Dataset._remove_duplication` (dataset.py:841) with a stable sort."""
    keep = self.config["rm_dup_inter"]
    if keep is None:
        return
    self._check_field("uid_field", "iid_field")
    if self.time_field in self.inter_feat:
        self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
    else:
        self.logger.warning(f"rm_dup_inter: {keep} without a time column keeps the {keep} one of the file")
    self.inter_feat.drop_duplicates(subset=[self.uid_field, self.iid_field], keep=keep, inplace=True)


def patch_numbers() -> None:
    """Take numbers that are not finite for missing, and count by the training part, see data/numbers.py."""
    from recbole.data.dataset.dataset import Dataset

    from recbole_ext.data import numbers

    fill, change_format, build = Dataset._fill_nan, Dataset._change_feat_format, Dataset.build

    def _fill_nan(self: Any) -> None:
        numbers.take(self)
        fill(self)

    def _change_feat_format(self: Any) -> None:
        change_format(self)
        if vars(self).pop("recounts_events", False):
            numbers.place_events(self)

    def build_and_recount(self: Any) -> Any:
        if getattr(self, "orders_events", False):
            return build(self)
        self.recounts_events = True
        parts = build(self)
        numbers.recount_events(self, parts)
        _recount(self, parts[0])
        _redraw_histories(parts[0])
        return parts

    Dataset._fill_nan = _fill_nan
    Dataset._change_feat_format = _change_feat_format
    Dataset.build = build_and_recount


def _recount(dataset: Any, train: Any) -> None:
    """Of one of RecBole's own data sets: the tables of items and users, which its parts share."""
    from recbole_ext.data import numbers

    rows = train.inter_feat.interaction
    for name, field in (("item", dataset.iid_field), ("user", dataset.uid_field)):
        if getattr(dataset, f"{name}_feat") is None or field is None:
            continue
        trained = torch.zeros(getattr(dataset, f"{name}_num"), dtype=torch.bool)
        trained[rows[field].long()] = True
        history = rows.get(field + (dataset.config["LIST_SUFFIX"] or "_list"))
        if history is not None:
            trained[history.long()] = True
            trained[0] = False
        numbers.recount(dataset, name, trained)


def _redraw_histories(train: Any) -> None:
    """Of DIEN's negative histories, which are drawn before the split, the items that training does not know."""
    from recbole_ext.data.negatives import give_up, training_items, uniform

    field, rows = getattr(train, "neg_item_list_field", None), train.inter_feat.interaction
    if field not in rows:
        return
    own = rows[train.iid_field + train.config["LIST_SUFFIX"]].numpy()
    drawn, items = rows[field].numpy(), training_items(train)
    left = (drawn > 0) & ~np.isin(drawn, items)
    for rounds in itertools.count():
        if not left.any():
            return
        give_up(rounds)
        drawn[left] = uniform(items, int(left.sum()))
        left &= drawn == own


def patch_samplers() -> None:
    """Draw training negatives among what trains, and count popularity by training events."""
    from recbole.data import utils
    from recbole.data.transform import MaskItemSequence
    from recbole.model.sequential_recommender.s3rec import S3Rec
    from recbole.sampler.sampler import RepeatableSampler, Sampler

    from recbole_ext.data import negatives

    create, mask, make = utils.create_samplers, MaskItemSequence.__call__, S3Rec.__init__

    def create_samplers(config: Any, dataset: Any, built_datasets: Any) -> Any:
        train = built_datasets[0]
        samplers = create(config, train, built_datasets)  # a repeatable one takes the first for the whole log
        if samplers[0] is not None:
            samplers[0].trained = negatives.training_items(train)
        return samplers

    def _get_candidates_list(self: Any) -> Any:
        datasets = getattr(self, "datasets", None) or [self.dataset]
        return list(negatives.training_events(datasets[0]))

    def _uni_sampling(self: Any, sample_num: int) -> np.ndarray:
        trained = getattr(self, "trained", None)
        if trained is not None and self.phase == "train":
            return negatives.uniform(trained, sample_num)
        return np.random.randint(1, self.item_num, sample_num)

    def mask_with_trained(self: Any, dataset: Any, interaction: Any) -> Any:
        if getattr(self, "trained", None) is None:
            self.trained = negatives.training_items(dataset)
        return mask(self, dataset, interaction)

    def make_with_trained(self: Any, config: Any, dataset: Any) -> None:
        make(self, config, dataset)
        self.trained = negatives.training_items(dataset)
        if config["train_stage"] == "pretrain":
            self.notes = [
                "this is S3Rec's first stage, which has learnt to fill in masked items and not what comes next: train "
                "it on with --train_stage=finetune --pre_model_path=CHECKPOINT before it is compared"
            ]

    utils.create_samplers = create_samplers
    for sampler in (Sampler, RepeatableSampler):
        sampler._get_candidates_list = _get_candidates_list
        sampler._uni_sampling = _uni_sampling
    MaskItemSequence.__call__ = mask_with_trained
    S3Rec.__init__ = make_with_trained


def patch_row_numbers() -> None:
    """Shadow `list` in RecBole's module of loaders, which makes one of a range alone."""
    from recbole.data.dataloader import abstract_dataloader

    abstract_dataloader.list = lambda rows: rows  # type: ignore[attr-defined]
