"""Scores of two models made comparable and added: S = (1 - w) a + w b, row by row, for one weight w or for many.

What a and b are says `scale`:

    softmax   a = softmax(s / T): the model's own chances, T its temperature; S is the mixture of the two
    zscore    a = (s - mean(s)) / std(s) over the row's items that the model can score
    rank      a = 1 / (RANK_OFFSET + rank of the item in the row) among the RANK_TOP best, 0 for the others;
              reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)

An item that only one of the two can score (the other says -inf) counts as the other's lowest in that row; one that
neither can score is no candidate. At w = 0 and w = 1 the scores are the one model's own, untouched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from recbole_ext.scores.dense import RowScores
from recbole_ext.scores.ranks import target_ranks
from recbole_ext.scores.top import listed_items

RANK_OFFSET = 60.0  # as in the reference
RANK_TOP = 1000
BISECTIONS = 24


def scaled(scores: Tensor, scale: str, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The scaled scores (b, n_items) of raw ones, and where the raw ones are -inf; there stands the row's lowest.

    A row that is -inf throughout becomes 0. Scores that are no number make their row so.
    """
    scores = scores.float()
    hidden = scores == -torch.inf
    if scale == "softmax":
        values = torch.softmax(scores / temperature, dim=1)
    elif scale == "zscore":
        values = _zscores(scores, hidden)
    else:
        values = _reciprocal_ranks(scores)
    lowest = values.masked_fill(hidden, torch.inf).amin(dim=1, keepdim=True)
    lowest.masked_fill_(hidden.all(dim=1, keepdim=True), 0)
    return torch.where(hidden, lowest, values), hidden


def _zscores(scores: Tensor, hidden: Tensor) -> Tensor:
    count = (~hidden).sum(dim=1, keepdim=True).clamp_min(1)
    centred = scores - scores.masked_fill(hidden, 0).sum(dim=1, keepdim=True) / count
    spread = centred.masked_fill(hidden, 0).square().sum(dim=1, keepdim=True).div_(count).sqrt_()
    return centred / torch.where(spread > 0, spread, 1)  # alike throughout: 0


def _reciprocal_ranks(scores: Tensor) -> Tensor:
    """Items that tie share the middle of their ranks; those that tie across the end of the list are off it."""
    width = scores.shape[1]
    best, items = scores.topk(min(RANK_TOP + 1, width), dim=1)
    place = torch.arange(best.shape[1], device=scores.device).expand_as(best)
    change = best[:, 1:] != best[:, :-1]
    edge = torch.ones_like(change[:, :1])
    first = place.masked_fill(~torch.cat((edge, change), dim=1), 0).cummax(dim=1).values
    last = place.masked_fill(~torch.cat((change, edge), dim=1), width).flip(1).cummin(dim=1).values.flip(1)
    values = 1 / (RANK_OFFSET + 1 + (first + last) / 2)
    values[best == -torch.inf] = 0
    if best.shape[1] < width:
        values[best == best[:, -1:]] = 0
    values[best.isnan()] = torch.nan
    return torch.zeros_like(scores).scatter_(1, items, values)


def fitted_temperature(rows: RowScores, items: Tensor) -> float:
    """The T > 0 that makes targets likeliest under softmax(s / T): s of B rows, target items (B,).

    Targets of which the model knows nothing (-inf) are left out; 1 where none is left or the scores say nothing.
    The likelihood is concave in 1 / T, so its slope, mean target score less mean expected score, is bisected.
    """
    scores = torch.cat([chunk.clone() for _, chunk in rows.chunks()])
    own = scores.gather(1, items.unsqueeze(1)).squeeze(1)
    known = own.isfinite()
    scores, own = scores[known].float(), own[known].float()
    finite = scores[scores.isfinite()]
    spread = float(finite.std()) if len(finite) > 1 else 0.0
    if not spread > 0:
        return 1.0
    value = scores.masked_fill(scores == -torch.inf, 0)
    low, high = math.log(1e-3 / spread), math.log(1e3 / spread)  # of 1 / T
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        expected = (torch.softmax(scores * math.exp(middle), dim=1) * value).sum(dim=1)
        if float((own - expected).mean()) > 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def side_by_side(first: RowScores, second: RowScores) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows and their scores by both, some at a time, whatever the chunks in which each comes."""
    sources = first.chunks(), second.chunks()
    held = [next(source) for source in sources] if len(first) else []
    start = 0
    while start < len(first):
        held = [pair if pair[0].stop > start else next(source) for pair, source in zip(held, sources)]
        stop = min(piece.stop for piece, _ in held)
        a, b = (scores[start - piece.start : stop - piece.start] for piece, scores in held)
        yield slice(start, stop), a, b
        start = stop


class BlendScores:
    """RowScores of two models, blended with `weight` of the second.

    temperatures: of the two, for scale softmax. `chunks` and `dense` give the logarithm of a softmax's mixture, so that
    a softmax of the scores is the mixture again; ranks are those of the mixture itself, which tells more values apart.
    """

    def __init__(
        self,
        pair: tuple[RowScores, RowScores],
        weight: float,
        scale: str,
        temperatures: Sequence[float] = (1.0, 1.0),
    ):
        assert len(pair[0]) == len(pair[1]) and pair[0].width == pair[1].width, (
            "rows and items of one data set"
        )
        self.pair, self.weight, self.scale, self.temperatures = pair, weight, scale, temperatures
        self._known: tuple[Tensor, Tensor] | None = None  # items and their ranks

    def __len__(self) -> int:
        return len(self.pair[0])

    @property
    def width(self) -> int:
        """As RowScores'."""
        return self.pair[0].width

    def _alone(self) -> RowScores | None:
        return self.pair[int(self.weight)] if self.weight in (0, 1) else None

    def _scaled_chunks(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Rows, both models' scaled scores, and where neither has one."""
        for piece, first, second in side_by_side(*self.pair):
            a, a_hidden = scaled(first, self.scale, self.temperatures[0])
            b, b_hidden = scaled(second, self.scale, self.temperatures[1])
            yield piece, a, b, a_hidden & b_hidden

    def ranked_chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and scores as they are ranked, before a logarithm makes unequal ones alike."""
        alone = self._alone()
        if alone is not None:
            yield from alone.chunks()
            return
        for piece, a, b, hidden in self._scaled_chunks():
            yield piece, torch.lerp(a, b, self.weight).masked_fill_(hidden, -torch.inf)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """As RowScores'."""
        logarithm = self.scale == "softmax" and self._alone() is None
        for piece, scores in self.ranked_chunks():
            if logarithm:
                hidden = scores == -torch.inf
                scores.clamp_min_(torch.finfo(scores.dtype).tiny).log_().masked_fill_(hidden, -torch.inf)
            yield piece, scores

    def ranks(self, items: Tensor) -> Tensor:
        """As RowScores'."""
        if self._known is None or not torch.equal(self._known[0], items):
            self._known = items, weighted_ranks(self, [self.weight], items)[0]
        return self._known[1]

    def top(self, k: int) -> Tensor:
        """As RowScores'."""
        return torch.cat([listed_items(scores, k) for _, scores in self.ranked_chunks()])

    def under(self, weight: float) -> BlendScores:
        """The same pair blended with another weight."""
        return BlendScores(self.pair, weight, self.scale, self.temperatures)

    def at(self, weights: Sequence[float], items: Tensor) -> list[BlendScores]:
        """The same pair blended with each of `weights`, the ranks of items (B,) known, for one scaling of each row."""
        blends = [self.under(weight) for weight in weights]
        for blend, ranks in zip(blends, weighted_ranks(self, weights, items)):
            blend._known = items, ranks
        return blends

    def dense(self) -> Tensor:
        """(B, n_items) all scores, as `chunks` gives them."""
        return torch.cat([scores.clone() for _, scores in self.chunks()])

    def of_candidates(self, items: Tensor) -> Tensor:
        """(B, C) blended scores of items (B, C)."""
        return torch.cat([scores.gather(1, items[piece]) for piece, scores in self.ranked_chunks()])


def weighted_ranks(scores: BlendScores, weights: Sequence[float], items: Tensor) -> Tensor:
    """(len(weights), B) rank of item `items[b]` in row b under each weight."""
    found = torch.empty(len(weights), len(items), dtype=torch.int64, device=items.device)
    inner = [place for place, weight in enumerate(weights) if weight not in (0, 1)]
    for place in set(range(len(weights))) - set(inner):
        found[place] = scores.pair[int(weights[place])].ranks(items)
    if not inner:
        return found
    for piece, a, b, hidden in scores._scaled_chunks():
        for place in inner:
            blended = torch.lerp(a, b, weights[place]).masked_fill_(hidden, -torch.inf)
            rows = torch.arange(len(blended), device=blended.device)
            found[place, piece] = target_ranks(blended, rows, items[piece])
    return found
