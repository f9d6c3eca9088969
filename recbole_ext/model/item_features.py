"""Vectors of item features: tokens, lists of tokens and numbers of the `.item` file, by rows or of all items."""

from __future__ import annotations

from typing import Any

import torch
from recbole.utils import FeatureType
from torch import Tensor, nn

from recbole_ext.model.passes import Sums
from recbole_ext.scores.products import linear

TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
FEW_NUMBERS = 8  # of a field


class FeatureEncoder(nn.Module):
    """Sum over the feature fields of an item: embeddings of tokens (mean over a sequence), linear maps of numbers.

    A token that no training item carries counts as missing; a missing value adds nothing. Numbers are standardised by
    the training items.
    """

    def __init__(self, dataset: Any, fields: list[str], dim: int, seen: Tensor):
        """seen: (n_items,) bool, items of the training part; `fields`: columns of the `.item` file."""
        super().__init__()
        self.fields = fields
        self.tokens = nn.ModuleDict()  # each item's of a column of tokens; `embeddings` are of all tokens
        self.embeddings = nn.ModuleDict()
        self.linears = nn.ModuleDict()
        features = dataset.get_item_feature()
        for field in fields:
            if dataset.field2type[field] in TOKENS:
                tokens = _seen_tokens(features[field], seen, dataset.num(field))
                self.embeddings[field] = nn.Embedding(dataset.num(field), dim, padding_idx=0)
                self.tokens[field] = ItemTokens(tokens)
                known = (tokens > 0).any(1, keepdim=True)
            else:
                numbers = features[field]
                if field in (dataset.config["numerical_features"] or []):
                    numbers = numbers[..., 0]  # RecBole stores (value, bucket) for these
                missing = getattr(dataset, "missing_features", {}).get(field)
                value, known = _standardised(numbers, missing, seen)
                self.linears[field] = nn.Linear(value.shape[1], dim, bias=False)
                self.register_buffer(f"value_{field}", value, persistent=False)
            self.register_buffer(f"known_{field}", known, persistent=False)
        self._sums: tuple[Sums, list[tuple[Tensor, int]]] | None = None  # of a CPU, and of which buffers

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(n, dim) feature vectors of items (n,); None: of all."""
        if items is None and self._multiplies():
            return self._of_all()
        parts = []
        for field in self.fields:
            if field in self.linears:
                value = getattr(self, f"value_{field}")
                parts.append(self.linears[field](value if items is None else value[items]))
            elif items is None:
                parts.append(self.tokens[field](self.embeddings[field]))
            else:
                tokens: Any = self.tokens[field]
                parts.append(tokens.of(items, self.embeddings[field]))
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    def _multiplies(self) -> bool:
        """Whether one product with a sparse matrix of all tokens and numbers makes all vectors: on a CPU, where looking
        rows up and adding them takes ten times as long."""
        return all(weight.is_cpu and weight.dtype == torch.float32 for weight in self.parameters())

    def _of_all(self) -> Tensor:
        tables = [table for _, table in self._tables()]
        long = [field for field in self.fields if self._is_long(field)]
        parts = [linear(getattr(self, f"value_{field}"), self._weight(field)) for field in long]
        if tables:
            parts.append(self._as_sums().of(torch.cat(tables)))
        return sum(parts[1:], parts[0])

    def _is_long(self, field: str) -> bool:
        """Whether a field is numbers that a product with a dense matrix is faster for."""
        return field in self.linears and getattr(self, f"value_{field}").shape[1] > FEW_NUMBERS

    def _tables(self) -> list[tuple[str, Tensor]]:
        """Each other field and its vectors (columns, dim): of its tokens, or of its numbers."""
        return [(field, self._table(field)) for field in self.fields if not self._is_long(field)]

    def _table(self, field: str) -> Tensor:
        return self._weight(field).T if field in self.linears else self._weight(field)

    def _weight(self, field: str) -> Tensor:
        layer: Any = self.linears[field] if field in self.linears else self.embeddings[field]
        weight: Tensor = layer.weight
        return weight

    def _as_sums(self) -> Sums:
        """Made when first asked for, and again where a buffer has changed since."""
        now = [(buffer, _changes(buffer)) for buffer in self.buffers()]
        kept = self._sums
        if (
            kept is None
            or len(kept[1]) != len(now)
            or not all(a is b and old == new for (a, old), (b, new) in zip(kept[1], now))
        ):
            kept = self._sums = self._made_sums(), now
        return kept[0]

    def _made_sums(self) -> Sums:
        cells, before, items = [], 0, 0
        for field, table in self._tables():
            item, column, value = self._cells(field)
            cells.append((item, column + before, value))
            before += len(table)
            items = len(getattr(self, f"known_{field}"))
        item, column, value = map(torch.cat, zip(*cells))
        return Sums(item, column, value, (items, before))

    def _cells(self, field: str) -> Cells:
        if field in self.linears:
            return _number_cells(getattr(self, f"value_{field}"))
        tokens: Any = self.tokens[field]
        found: Cells = tokens.cells()
        return found

    def described(self) -> Tensor:
        """(n_items,) bool: items of which at least one feature is known."""
        return torch.stack([getattr(self, f"known_{field}").any(1) for field in self.fields]).any(0)


Cells = tuple[Tensor, Tensor, Tensor]  # (K,) item, (K,) column, (K,) value


class ItemTokens(nn.Module):
    """The tokens of each item, in tables of items of like length, so that one long text does not make all others long.

    There are at most four times as many cells as tokens.
    """

    def __init__(self, tokens: Tensor):
        """tokens: (n_items, T) int64, 0 = none."""
        super().__init__()
        length = (tokens > 0).sum(1)
        self.tables = 1
        place = None
        if tokens.numel() <= 4 * (int(length.sum()) + len(tokens)):
            self.register_buffer("table_0", tokens, persistent=False)
        else:
            # real tokens first; tables of 1, 2, 4, 8 … columns
            tokens = tokens.gather(1, (tokens == 0).to(torch.uint8).argsort(dim=1, stable=True))
            width = 2 ** torch.ceil(torch.log2(length.clamp_min(1).double())).long()
            widths = width.unique().tolist()
            rows = [torch.nonzero(width == wide).squeeze(1) for wide in widths]
            for number, (wide, which) in enumerate(zip(widths, rows)):
                self.register_buffer(f"table_{number}", tokens[which, :wide].clone(), persistent=False)
            self.tables = len(rows)
            place = torch.cat(rows).argsort()
        self.place: Tensor | None
        self.register_buffer("place", place, persistent=False)

    def forward(self, embedding: nn.Module) -> Tensor:
        """(n_items, dim) mean of the vectors of each item's tokens, 0 where it has none."""
        means = [_mean_vector(tokens, embedding) for tokens in self._tables()]
        return means[0] if self.place is None else torch.cat(means).index_select(0, self.place)

    def of(self, items: Tensor, embedding: nn.Module) -> Tensor:
        """(n, dim) the same of items (n,) alone."""
        if self.place is None:
            return _mean_vector(self._tables()[0][items], embedding)
        place = self.place[items]  # in all tables, one after another
        order, means, first = [], [], 0
        for tokens in self._tables():
            row = torch.nonzero((place >= first) & (place < first + len(tokens))).squeeze(1)
            order.append(row)
            means.append(_mean_vector(tokens[place[row] - first], embedding))
            first += len(tokens)
        return torch.cat(means).index_select(0, torch.cat(order).argsort())

    def cells(self) -> Cells:
        """Of the matrix that makes the means of all items."""
        tables = self._tables()
        count = sum(map(len, tables))
        item = torch.arange(count) if self.place is None else self.place.argsort()
        found = [torch.nonzero(tokens, as_tuple=True) for tokens in tables]
        rows = [own[row] for own, (row, _) in zip(item.split([*map(len, tables)]), found)]
        row, token = torch.cat(rows), torch.cat([tokens[pair] for tokens, pair in zip(tables, found)])
        return row, token, torch.bincount(row, minlength=count)[row].float().reciprocal()

    def _tables(self) -> list[Tensor]:
        return [getattr(self, f"table_{number}") for number in range(self.tables)]


def _number_cells(value: Tensor) -> Cells:
    """Of the matrix that numbers (n_items, L) are."""
    item, column = torch.nonzero(value, as_tuple=True)
    return item, column, value[item, column]


def _changes(table: Tensor) -> int:
    """How often a tensor was changed in place; 0 of one made for inference, which torch does not count of."""
    return 0 if table.is_inference() else table._version


def _mean_vector(tokens: Tensor, embedding: nn.Module) -> Tensor:
    """(n, dim) mean of the vectors of tokens (n, T), 0 = none."""
    if tokens.shape[1] == 1:  # a mean over one token: two passes over all items less
        one: Tensor = embedding(tokens.squeeze(1))
        return one
    count = (tokens > 0).sum(1, keepdim=True).clamp_min(1)
    mean: Tensor = embedding(tokens).sum(1) / count
    return mean


def _seen_tokens(tokens: Tensor, seen: Tensor, vocabulary: int) -> Tensor:
    """(n_items, T) tokens, 0 for those that no training item carries; tokens: (n_items,) or (n_items, T)."""
    tokens = tokens if tokens.dim() == 2 else tokens.unsqueeze(1)
    known = torch.zeros(vocabulary, dtype=torch.bool)
    known[tokens[seen].reshape(-1)] = True
    return torch.where(known[tokens], tokens, 0)


def _standardised(numbers: Tensor, missing: Tensor | None, seen: Tensor) -> tuple[Tensor, Tensor]:
    """(n_items, L) numbers by mean and deviation of training items' known values, 0 where missing, and what is known.

    numbers: (n_items,) or (n_items, L) float; missing: bool of the same shape, None: nothing is.
    """
    numbers = (numbers if numbers.dim() == 2 else numbers.unsqueeze(1)).float()
    known = torch.ones_like(numbers, dtype=torch.bool) if missing is None else ~missing.view_as(numbers)
    known[0] = False  # padding
    trained = (known & seen.unsqueeze(1)).double()
    count = trained.sum(0).clamp_min(1)
    mean = (numbers * trained).sum(0) / count
    scale = ((numbers - mean).square() * trained).sum(0).div(count).sqrt().clamp_min(1e-6)
    # five deviations: one absurd price must not drown an item's other features
    standard = ((numbers - mean) / scale).clamp(-5, 5) * known
    return standard.float(), known
