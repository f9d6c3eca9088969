"""Vectors of item features: tokens, lists of tokens and numbers of the `.item` file, by rows or of all items."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from recbole.utils import FeatureType
from torch import Tensor, nn

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

    def forward(self, items: Tensor | None = None) -> Tensor:
        """(n, dim) feature vectors of items (n,); None: of all."""
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

    def described(self) -> Tensor:
        """(n_items,) bool: items of which at least one feature is known."""
        return torch.stack([getattr(self, f"known_{field}").any(1) for field in self.fields]).any(0)


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
        self._matrix: tuple[TokenMatrix, list[tuple[Tensor, int]]] | None = (
            None  # of a CPU, and of which tables
        )

    def forward(self, embedding: nn.Module) -> Tensor:
        """(n_items, dim) mean of the vectors of each item's tokens, 0 where it has none."""
        if self._multiplies(embedding):
            return self._as_matrix().means(embedding)
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

    def _multiplies(self, embedding: Any) -> bool:
        """Whether a product with a sparse matrix gives all means: on a CPU whose torch has MKL's, of more than a token
        an item."""
        return (
            isinstance(embedding, nn.Embedding)
            and embedding.weight.dtype == torch.float32
            and embedding.weight.device.type == "cpu"
            and torch.backends.mkl.is_available()
            and any(tokens.shape[1] > 1 for tokens in self._tables())
        )

    def _as_matrix(self) -> TokenMatrix:
        """Made when first asked for, and again where a table has changed since."""
        now = [(table, _changes(table)) for table in self._tables()]
        kept = self._matrix
        if kept is None or not all(a is b and old == new for (a, old), (b, new) in zip(kept[1], now)):
            kept = self._matrix = TokenMatrix(*self._pairs()), now
        return kept[0]

    def _pairs(self) -> tuple[Tensor, Tensor, int]:
        """(K,) item and (K,) token of each token that an item has, and how many items there are."""
        tables = self._tables()
        count = sum(map(len, tables))
        item = torch.arange(count) if self.place is None else self.place.argsort()
        found = [torch.nonzero(tokens, as_tuple=True) for tokens in tables]
        rows = [own[row] for own, (row, _) in zip(item.split([*map(len, tables)]), found)]
        return torch.cat(rows), torch.cat([tokens[pair] for tokens, pair in zip(tables, found)]), count

    def _tables(self) -> list[Tensor]:
        return [getattr(self, f"table_{number}") for number in range(self.tables)]


def _changes(table: Tensor) -> int:
    """How often a tensor was changed in place; 0 of one made for inference, which torch does not count of."""
    return 0 if table.is_inference() else table._version


class TokenMatrix:
    """Which tokens an item has, as a sparse matrix: all means at once are a product with it, and their gradient is one
    with its transpose, a fifth of what looking rows up and adding them takes on a CPU."""

    def __init__(self, item: Tensor, token: Tensor, items: int):
        """item, token: (K,) of each token that an item has."""
        self._pairs, self._items = (item, token), items
        self._of_items: Tensor | None = None
        self.count = torch.bincount(item, minlength=items).clamp_min(1).unsqueeze(1).float()

    def means(self, embedding: Any) -> Tensor:
        """(n_items, dim) mean of the vectors of each item's tokens."""
        if self._of_items is None:
            self._of_items = self._sparse(*self._pairs, (self._items, embedding.num_embeddings))
            self._of_tokens = self._sparse(*self._pairs[::-1], (embedding.num_embeddings, self._items))
        means: Tensor = _Means.apply(embedding.weight, self._of_items, self._of_tokens, self.count)
        return means

    @staticmethod
    def _sparse(row: Tensor, column: Tensor, shape: tuple[int, int]) -> Tensor:
        with warnings.catch_warnings():  # that its layout may still change
            warnings.simplefilter("ignore")
            ones = torch.ones(len(row))
            return torch.sparse_coo_tensor(torch.stack([row, column]), ones, shape).to_sparse_csr()


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, of_items: Tensor, of_tokens: Tensor, count: Tensor) -> Tensor:
        ctx.parts = of_tokens, count
        return (of_items @ vectors).div_(count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        of_tokens, count = ctx.parts
        return of_tokens @ (gradients[0] / count), None, None, None


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
