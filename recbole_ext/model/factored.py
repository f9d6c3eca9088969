"""Models whose score is a product of two vectors, of the prefix and of the item: what they share, which they are.

Such a model can be trained with any loss of losses.py and ranked without a matrix of all scores. Our own models say so
by subclassing `Factored`. Of RecBole's models it is found out by comparing numbers, not names (`examine`), on a copy
with noisy weights, as freshly made weights hide differences (biases of zero, say).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.errors import UsageError
from recbole_ext.model.copies import copied
from recbole_ext.model.pointer import Read
from recbole_ext.model.rows import table_rows, unit_rows
from recbole_ext.scores.terms import RowTerms
from recbole_ext.settings.training import Training

TEMPERATURE = 0.07  # of cosine scores where the configuration names none
CLOSE = 1e-4  # share of the largest value by which two float32 computations of one thing may differ
PROBED_ROWS = 32


class Scoring:
    """score(state, vector): their dot product, or with `score: cosine` their cosine over `temperature`."""

    def __init__(self, training: Training):
        self.kind = training.score or "dot"
        self.temperature = (training.temperature or TEMPERATURE) if self.kind == "cosine" else 1.0

    @property
    def plain_cosine(self) -> bool:
        """Whether `vectors` are the unit vectors of items, and no more."""
        return self.kind == "cosine"

    def states(self, states: Tensor) -> Tensor:
        """States (…, d) such that a plain dot product with `vectors(…)` is the score."""
        return unit_rows(states) / self.temperature if self.kind == "cosine" else states

    def vectors(self, vectors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Item vectors (…, d) for a plain dot product; a cosine's may be had in another dtype at no cost."""
        return unit_rows(vectors, dtype) if self.kind == "cosine" else vectors


class ItemRows(Protocol):
    """Item vectors that are made when they are looked up, of tables too large to pass over in every step."""

    def rows(self, items: Tensor) -> Tensor:
        """(…, d) vectors of items (…)."""


Vectors = Tensor | ItemRows  # (n_items, d), or those that are looked up


def look_up(items: Tensor, vectors: Vectors) -> Tensor:
    """(…, d) vectors of items (…)."""
    return table_rows(vectors, items) if isinstance(vectors, Tensor) else vectors.rows(items)


class Factored(ABC):
    """What training and ranking ask of a model whose score is a product."""

    scoring: Scoring
    # whether its own loss multiplies in what targets weigh, see `data.recency.weight_of`
    reads_weights = False
    # whether a training step looks item vectors up one by one, see trainer/row_updates.py
    by_rows = False

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """(n_items, d) vectors of all items, row 0 = padding."""

    @abstractmethod
    def row_states(self, interaction: Any, vectors: Vectors) -> Tensor:
        """(B, d) state of every row's prefix; `vectors` as of `item_vectors`."""

    @abstractmethod
    def position_states(self, items: Tensor, vectors: Vectors) -> Tensor:
        """(n, L, d) state after every position of sessions (n, L), 0 = padding on the right."""

    def examine(self, dataset: Any) -> Examined:
        """What the model allows, see `Examined`; our own models are taken at their word."""
        return Examined(trims=True, factored=True, causal=True)

    def rankable(self) -> Tensor | None:
        """(n_items,) bool, items that may be ranked; None: all but the padding."""
        return None

    def row_table(self) -> nn.Embedding | None:
        """The table of items that a training step `by_rows` reads by look-ups alone; None: there is no such step."""
        return None

    def training_vectors(self) -> Vectors:
        """Item vectors for one training step."""
        return self.item_vectors()

    def read_positions(self, batch: PositionBatch, vectors: Vectors) -> Read:
        """What it makes of all n * L prefixes of a PositionBatch."""
        return Read(self.position_states(batch.items, vectors).flatten(0, 1))

    def read_rows(self, interaction: Any, vectors: Vectors) -> Read:
        """What it makes of every row's prefix."""
        return Read(self.row_states(interaction, vectors))

    def terms(self, interaction: Any, read: Read) -> RowTerms | None:
        """What ranking adds to the product for items that the rows (B) name; read: of these rows; None: nothing."""
        return None if read.looks is None else read.looks.copied()


class LookedUp:
    """ItemRows of a table as it is."""

    def __init__(self, table: nn.Embedding):
        self.table = table

    def rows(self, items: Tensor) -> Tensor:
        """Vectors of these items, (…, d)."""
        # not the layer itself, whose padding has no gradient: the padding is a candidate of RecBole's models
        return F.embedding(items, self.table.weight, sparse=self.table.sparse)


class DotProductModel(Factored):
    """A RecBole model that scores `forward(item_seq, …) @ item_embedding.weight.T`.

    forward is given what its parameters are called: item_seq, item_seq_len, user (Caser).
    """

    def __init__(self, model: Any, scoring: Scoring):
        self.model = model
        self.scoring = scoring

    def item_vectors(self) -> Tensor:
        return self.model.item_embedding.weight

    def row_table(self) -> nn.Embedding:
        table: nn.Embedding = self.model.item_embedding
        return table

    def training_vectors(self) -> Vectors:
        return LookedUp(self.row_table()) if self.by_rows else self.item_vectors()

    def row_states(self, interaction: Any, vectors: Vectors) -> Tensor:
        model = self.model
        states: Tensor = model.forward(*[interaction[field] for field in self._inputs()])
        return states

    def _inputs(self) -> list[str]:
        model = self.model
        fields = {
            "item_seq": model.ITEM_SEQ,
            "seq_item": model.ITEM_SEQ,
            "item_seq_len": model.ITEM_SEQ_LEN,
            "user": model.USER_ID,
        }
        names = [p.name for p in inspect.signature(model.forward).parameters.values() if p.default is p.empty]
        return [fields[name] for name in names]

    def position_states(self, items: Tensor, vectors: Vectors) -> Tensor:
        return states_everywhere(self.model, items)


def states_everywhere(model: Any, items: Tensor) -> Tensor:
    """(n, L, d) what the forward of a RecBole model makes of every position of sessions (n, L)."""
    length = (items != 0).sum(1).clamp_min(1)
    with _every_position(model):
        states: Tensor = model.forward(items, length)
    return states


@contextmanager
def _every_position(model: Any) -> Iterator[None]:
    """Within the block the model's forward keeps all positions, where it would pick each row's last."""
    model.gather_indexes = lambda output, index: output
    try:
        yield
    finally:
        del model.gather_indexes


@dataclass(frozen=True)
class Examined:
    """What comparing numbers says of a model.

    trims: it scores a batch alike whether rows are padded to the maximum or to the longest. factored: its score is a
    product of vectors. causal: a position's state knows no later event. softmax: its own loss is the softmax over all
    items of these scores. weight_terms: it is that plus terms of the weights alone (`weight_terms`).
    """

    trims: bool = False
    factored: bool = False
    causal: bool = False
    softmax: bool = False
    weight_terms: bool = False


def examine(model: Any, dataset: Any) -> Examined:
    """Compare the ways to compute a model's scores and loss, on rows of a SessionDataset; our own models are taken
    at their word, and of one that cannot be copied nothing is found."""
    if isinstance(model, Factored):
        return model.examine(dataset)
    rows = probed_rows(dataset)
    if rows is None:
        return Examined()
    random = torch.get_rng_state()
    try:
        with torch.no_grad():
            noisy = _noisy_copy(model)
            if noisy is None:
                return Examined()
            return _compare(noisy, *[r.to(next(noisy.parameters()).device) for r in rows])
    finally:
        torch.set_rng_state(random)


def probed_rows(dataset: Any) -> tuple[Any, Any] | None:
    """The same few rows of short prefixes padded to the maximum and trimmed; None where all are long."""
    length = dataset.inter_feat[dataset.item_list_length_field]
    rows_up_to = torch.bincount(length, minlength=1).cumsum(0)
    short = int(rows_up_to[: dataset.max_item_list_len][-1])
    if not short:
        return None
    ranks = torch.linspace(0, short - 1, min(PROBED_ROWS, short)).long()  # among the rows by length
    chosen = torch.cat(_of_ranks(ranks, length, rows_up_to))
    before = dataset.trimmed
    try:
        dataset.trimmed = False
        padded = dataset[chosen]
        dataset.trimmed = True
        return padded, dataset[chosen]
    finally:
        dataset.trimmed = before


def _of_ranks(ranks: Tensor, length: Tensor, rows_up_to: Tensor) -> list[Tensor]:
    """The rows of these places in the order by length, without sorting millions of them."""
    own = torch.searchsorted(rows_up_to, ranks, right=True)
    found = []
    for one in own.unique().tolist():
        before = int(rows_up_to[one - 1]) if one else 0
        found.append(torch.nonzero(length == one).squeeze(1)[ranks[own == one] - before])
    return found


def _noisy_copy(model: Any) -> Any:
    """A copy to compute with; None of a model that holds what cannot be copied."""
    try:
        twin = copied(model)
    except Exception:  # a foreign model can hold anything
        return None
    noise = torch.Generator().manual_seed(1)
    for parameter in twin.parameters():
        drawn = torch.randn(parameter.shape, generator=noise) * 0.1
        parameter.add_(drawn.to(parameter.device, parameter.dtype))
    for module in twin.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # a copy's weights lie apart, which cuDNN complains of
    twin.eval()
    return twin


def _compare(model: Any, padded: Any, trimmed: Any) -> Examined:
    scores = _result(lambda: model.full_sort_predict(padded))
    if scores is None:
        return Examined()
    trims = _close(scores, _result(lambda: model.full_sort_predict(trimmed)))
    if not isinstance(getattr(model, "item_embedding", None), torch.nn.Embedding):
        return Examined(trims=trims)
    product = DotProductModel(model, Scoring(Training()))
    vectors = product.item_vectors()
    batch = trimmed if trims else padded
    states = _result(lambda: product.row_states(batch, vectors))
    if states is None or not _fits(states, vectors) or not _close(scores, states @ vectors.T):
        return Examined(trims=trims)
    target = padded[model.POS_ITEM_ID]
    entropy = F.cross_entropy(scores.view(len(target), -1), target)
    own = _result(lambda: model.calculate_loss(padded))
    softmax = _close(entropy, own)
    beside = None if softmax else _result(lambda: weight_terms(model, padded))
    return Examined(
        trims,
        True,
        _causal(model, product, batch, states),
        softmax,
        beside is not None and _close(entropy + beside.sum(), own),
    )


def weight_terms(model: Any, interaction: Any) -> Tensor:
    """What a RecBole model adds to its softmax that depends on its weights alone, such as L2 terms.

    Found by computing its own loss with a state and a cross-entropy of zero.
    """
    state = torch.zeros_like(model.item_embedding.weight[:1])
    model.forward = lambda *_: state
    model.loss_fct.forward = lambda *_: state.new_zeros(())
    try:
        terms: Tensor = model.calculate_loss(interaction[:1])
    finally:
        del model.forward, model.loss_fct.forward
    return terms


def _causal(model: Any, product: DotProductModel, batch: Any, states: Tensor) -> bool:
    """Whether the state at every position is that of the prefix up to it."""
    items, length = batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN]
    vectors = product.item_vectors()
    every = _result(lambda: product.position_states(items, vectors))
    if every is None or every.dim() != 3 or every.shape[:2] != items.shape:
        return False
    last = every[torch.arange(len(length)), length - 1]
    if not _close(states, last):
        return False
    for shorter in {1, max(1, int(length.max()) // 2)}:
        cut = length.clamp_max(shorter)
        prefix = items * (torch.arange(items.shape[1], device=items.device) < cut.unsqueeze(1))
        again = _result(partial(model.forward, prefix, cut))
        if not _close(every[torch.arange(len(cut)), cut - 1], again):
            return False
    return True


def _fits(states: Tensor, vectors: Tensor) -> bool:
    return states.dim() == 2 and states.shape[1] == vectors.shape[1]


def _result(compute: Callable[[], Any]) -> Tensor | None:
    try:
        found = compute()
    except Exception:  # a foreign model can refuse in any way; then it does not have the property
        return None
    return found if isinstance(found, Tensor) else None


def _close(expected: Tensor, found: Tensor | None) -> bool:
    if found is None or found.numel() != expected.numel():
        return False
    known = expected.isfinite()
    scale = expected[known].abs().max() if known.any() else expected.new_ones(())
    return bool(torch.allclose(found.reshape(expected.shape), expected, rtol=0, atol=float(CLOSE * scale)))


def factored_of(model: Any, examined: Examined, training: Training) -> Factored | None:
    """How a model is trained and ranked as a product, None where it is none.

    Raises UsageError when a setting asks for what the model cannot do.
    """
    if isinstance(model, Factored):
        return model
    if examined.factored:
        return DotProductModel(model, Scoring(training))
    if training.score == "cosine":
        raise UsageError(
            f"score: cosine needs a model that scores by a product of vectors, which {type(model).__name__} does not: "
            "leave score out"
        )
    return None
