"""Item vectors made of an id embedding and item features, used for the input and for the scored items alike.

RecBole's feature models (GRU4RecF, SASRecF, FDSA) put features into the input only, so an item without training
interactions keeps a random vector on the output side. Here an item that training never saw has no id part at all:
it is known by its features alone, on both sides.
"""

from __future__ import annotations

from logging import getLogger
from typing import Any

import torch
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_ext.config import UsageError

TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)


class FeatureEncoder(nn.Module):
    """Sum over the feature fields of an item: embeddings of tokens (mean over a sequence), linear maps of numbers.

    A token that no training item carries counts as missing; a missing value adds nothing. Numbers are standardised by
    the training items.
    """

    def __init__(self, dataset: Any, fields: list[str], dim: int, seen: Tensor):
        """seen: (n_items,) bool, items of the training part; `fields`: columns of the `.item` file."""
        super().__init__()
        self.fields = fields
        self.embeddings = nn.ModuleDict()
        self.linears = nn.ModuleDict()
        features = dataset.get_item_feature()
        for field in fields:
            kind = dataset.field2type[field]
            value = features[field]
            if kind in TOKENS:
                tokens = value if value.dim() == 2 else value.unsqueeze(1)  # (n_items, T)
                known = torch.zeros(dataset.num(field), dtype=torch.bool)
                known[tokens[seen].reshape(-1)] = True
                known[0] = False
                self.register_buffer(
                    f"value_{field}", torch.where(known[tokens], tokens, 0), persistent=False
                )
                self.embeddings[field] = nn.Embedding(dataset.num(field), dim, padding_idx=0)
            else:
                if field in (dataset.config["numerical_features"] or []):
                    value = value[..., 0]  # RecBole stores (value, bucket) for these
                numbers = (value if value.dim() == 2 else value.unsqueeze(1)).float()
                known_numbers = numbers[seen]
                mean = known_numbers.mean(0)
                scale = known_numbers.std(0, unbiased=False).clamp_min(1e-6)
                standard = ((numbers - mean) / scale).clamp(-5, 5)
                standard[0] = 0
                self.register_buffer(f"value_{field}", standard, persistent=False)
                self.linears[field] = nn.Linear(numbers.shape[1], dim, bias=False)

    def forward(self) -> Tensor:
        """(n_items, dim) feature vectors of all items."""
        parts = []
        for field in self.fields:
            value = getattr(self, f"value_{field}")
            if field in self.linears:
                parts.append(self.linears[field](value))
                continue
            vectors = self.embeddings[field](value)  # (n_items, T, dim)
            count = (value > 0).sum(1, keepdim=True).clamp_min(1)
            parts.append(vectors.sum(1) / count)
        return torch.stack(parts).sum(0)

    def described(self) -> Tensor:
        """(n_items,) bool: items of which at least one feature is known."""
        known = [getattr(self, f"value_{f}").ne(0).any(1) for f in self.fields]
        return torch.stack(known).any(0)


class ItemEncoder(nn.Module):
    """The table of item vectors: id part and feature part, fused.

    feature_fusion:
        sum: `e + f`. gate: `g * e + (1 - g) * f` with `g = sigmoid(W [e; f])`, and `f` alone without an id part.
        parallel: `[e; f]`, for p-RNN's two networks side by side (Hidasi et al., RecSys 2016).
    id_dropout: share of items whose whole id part is dropped in a training step, so that the feature part learns to
    stand alone; the same items are dropped on both sides.
    """

    seen: Tensor

    def __init__(self, config: Any, dataset: Any, fields: list[str], dim: int):
        super().__init__()
        self.fusion = config["feature_fusion"] if fields else "sum"
        if self.fusion not in ("sum", "gate", "parallel"):
            raise UsageError(f"feature_fusion is {self.fusion!r}: it has to be sum, gate or parallel")
        self.id_dropout = float(config["id_dropout"]) if fields else 0.0
        self.n_items = dataset.item_num
        seen = torch.as_tensor(dataset.train_items, dtype=torch.bool)
        self.register_buffer("seen", seen)
        self.ids = nn.Embedding(self.n_items, dim, padding_idx=0)
        self.features = FeatureEncoder(dataset, fields, dim, seen) if fields else None
        self.gate = nn.Linear(2 * dim, dim) if self.fusion == "gate" else None
        self.parts = [dim, dim] if self.fusion == "parallel" else [dim]

    def table(self) -> Tensor:
        """(n_items, sum(parts)) vectors of all items, row 0 (padding) zero."""
        keep = self.seen
        if self.training and self.id_dropout > 0:
            keep = keep & (torch.rand(self.n_items, device=keep.device) >= self.id_dropout)
        mask = keep.unsqueeze(1).to(self.ids.weight.dtype)
        e = self.ids.weight * mask  # (n_items, dim)
        if self.features is None:
            return e
        f = self.features()
        if self.fusion == "parallel":
            return torch.cat((e, f), dim=1)
        if self.gate is None:
            return e + f
        g = torch.sigmoid(self.gate(torch.cat((e, f), dim=1))) * mask
        return g * e + (1 - g) * f

    def rankable(self) -> Tensor:
        """(n_items,) bool: items with an id part or a known feature; nothing is known of the others."""
        known = self.seen.clone()
        if self.features is not None:
            known |= self.features.described()
        known[0] = False
        return known


def item_feature_fields(dataset: Any, wanted: list[str] | None) -> list[str]:
    """Feature columns of the `.item` file: all of them for None, else the named ones, which have to exist."""
    iid = dataset.iid_field
    present = [] if dataset.item_feat is None else [c for c in dataset.item_feat.columns if c != iid]
    if wanted is None:
        return present
    missing = [field for field in wanted if field not in present]
    if missing:
        getLogger().warning(
            "item_features names %s, which the .item file does not have (it has %s): left out",
            ", ".join(missing),
            ", ".join(present) or "no features",
        )
    return [field for field in wanted if field in present]
