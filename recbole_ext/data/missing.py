"""Missing values of float item features: which they are, and the training items' mean in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from recbole.utils import FeatureType


def missing_values(
    items: Any, kinds: Mapping[str, Any], widths: Mapping[str, int]
) -> dict[str, torch.Tensor]:
    """(item_num,) or (item_num, L) bool for float and float_seq columns of a data frame, before RecBole fills them.

    items: None where there are no features. kinds, widths: RecBole's field2type and field2seqlen.
    """
    missing = {}
    for field in items if items is not None else ():
        column = items[field]
        if kinds[field] == FeatureType.FLOAT:
            missing[field] = torch.from_numpy(column.isna().to_numpy())
        elif kinds[field] == FeatureType.FLOAT_SEQ:
            lengths = torch.tensor([0 if isinstance(value, float) else len(value) for value in column])
            missing[field] = torch.arange(widths[field]) >= lengths.unsqueeze(1)
    return missing


def fill(items: Any, missing: Mapping[str, torch.Tensor], trained: torch.Tensor) -> None:
    """Put the mean of the trained items (item_num,) bool in place; RecBole's mean knows future items."""
    for field, gap in missing.items():
        values = items[field]
        if values.dim() > 1 or not gap.any():  # discretised ones keep RecBole's value
            continue
        known = values[trained & ~gap].double().sort().values  # one order, whatever the ids
        values[gap] = known.mean().to(values.dtype) if len(known) else 0
