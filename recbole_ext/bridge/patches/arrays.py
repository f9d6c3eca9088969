"""Patches for what RecBole asks of numpy, pandas, scipy and its metric collector (RecBole 1.2.1)."""

from __future__ import annotations

import builtins
import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# RecBole's names -> today's; np.long exists again in numpy 2 and is then left as it is
NUMPY_ALIASES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
}


def patch_numpy_aliases() -> None:
    """Give numpy the old aliases that RecBole's code reads, only where they are missing."""
    from recbole.config.configurator import Config

    def compatibility_settings(self: Any) -> None:
        set_numpy_aliases()

    Config.compatibility_settings = compatibility_settings
    set_numpy_aliases()  # metrics and Interaction read np.float without a Config as well


def set_numpy_aliases() -> None:
    """Set the missing ones of NUMPY_ALIASES on numpy."""
    for name, value in NUMPY_ALIASES.items():
        if name not in vars(np):  # hasattr would make numpy 1 warn
            setattr(np, name, value)


def patch_pandas_three() -> None:
    """Shadow `len` in RecBole's data set modules and replace `Dataset._fill_nan`.

    On pandas 2 the result is what RecBole gave there; on pandas 3 it is the same again.
    """
    from recbole.data.dataset import dataset, kg_dataset, sequential_dataset

    for module in (dataset, kg_dataset, sequential_dataset):
        setattr(module, "len", elementwise_len)  # noqa: B010 - a module global that shadows the builtin
    dataset.Dataset._fill_nan = _fill_nan
    # read-only columns, which are copied
    dataset.Dataset._dataframe_to_interaction = _without_warnings(dataset.Dataset._dataframe_to_interaction)


def _without_warnings(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return quiet


def elementwise_len(value: Any) -> Any:
    """builtins.len, but the Series of lengths for a Series of arrays, as `agg(len)` gave on pandas 2."""
    of_objects = isinstance(value, pd.Series) and value.dtype == object and builtins.len(value) > 0
    if of_objects and isinstance(value.iloc[0], np.ndarray | list | tuple):
        return value.map(builtins.len)
    return builtins.len(value)


def _fill_nan(self: Any) -> None:
    """`Dataset._fill_nan` without chained inplace calls: token 0 ([PAD]), float the mean, sequence []."""
    from recbole.utils import FeatureType

    for feat_name in self.feat_name_list:
        feat = getattr(self, feat_name)
        for field in feat:
            ftype = self.field2type[field]
            if ftype == FeatureType.TOKEN:
                feat[field] = feat[field].fillna(0)
            elif ftype == FeatureType.FLOAT:
                feat[field] = feat[field].fillna(feat[field].mean())
            else:
                empty = np.array([], dtype=np.int64 if ftype == FeatureType.TOKEN_SEQ else np.float64)
                feat[field] = [empty if isinstance(value, float) else value for value in feat[field]]


def patch_scipy_dok() -> None:
    """Give dok_matrix back the private `_update(dict)` that seven RecBole models call, where it is gone."""
    from scipy.sparse import dok_matrix

    if hasattr(dok_matrix, "_update"):
        return

    def _update(self: Any, data: dict[tuple[int, int], float]) -> None:
        self._dict.update(data)

    dok_matrix._update = _update


def patch_collector() -> None:
    """Replace `Collector.get_data_struct` by one that moves only tensors to the CPU."""
    import torch
    from recbole.evaluator.collector import Collector

    from recbole_ext.trainer.collector import PER_EVALUATION

    def get_data_struct(self: Any) -> Any:
        data = self.data_struct._data_dict
        for key, value in data.items():
            if isinstance(value, torch.Tensor):
                data[key] = value.cpu()
        returned = copy.deepcopy(self.data_struct)
        for key in PER_EVALUATION:
            data.pop(key, None)
        return returned

    Collector.get_data_struct = get_data_struct


def patch_empty_sets() -> None:
    """Give `RepeatableSampler.used_ids` one empty set that all users share, which cannot be changed."""
    from recbole.sampler.sampler import RepeatableSampler

    def get_used_ids(self: Any) -> np.ndarray:
        # sampling replaces the whole array, and all others only read it
        return np.full(self.user_num, frozenset(), dtype=object)

    RepeatableSampler.get_used_ids = get_used_ids
