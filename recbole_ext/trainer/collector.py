"""Rank and top items of every target, kept beside what RecBole's Evaluator is given.

RecBole's collector joins each batch to all before it; here they are joined once. The lists of top items lie in a file
(trainer/spool.py).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from recbole.evaluator import Collector
from recbole.utils import EvaluatorType
from torch import Tensor

from recbole_ext.errors import UsageError
from recbole_ext.processes import current, joined
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.ranks import TOP, target_ranks
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.scores.top import listed_items
from recbole_ext.trainer.spool import Spool

DISTANCES = ("mae", "rmse")
PER_EVALUATION = (
    "rec.topk",
    "rec.meanrank",
    "rec.score",
    "rec.items",
    "data.label",
)  # RecBole's names, by row


class Listener(Protocol):
    """What else takes in an evaluation, batch by batch."""

    def collect(self, scores: Any, events: Tensor, items: Tensor) -> None:
        """Scores of B rows, their targets' places among the events (B,), and items (B,)."""


class _Without:
    """RecBole's register of needed resources, less those that have been collected already."""

    def __init__(self, register: Any, resources: tuple[str, ...]):
        self._register, self._resources = register, resources

    def need(self, resource: str) -> bool:
        return resource not in self._resources and self._register.need(resource)


class RankCollector(Collector):
    """RecBole's Collector that also keeps, for every target of an evaluation, its rank and the row's top items.

    After `Trainer.evaluate`, `targets()` holds the last evaluation's arrays. off_policy: what else takes in the
    evaluation that is kept; None: nothing.
    """

    register: Any
    off_policy: Listener | None = None

    def __init__(self, config: Any):
        super().__init__(config)
        self.keep = False
        self.candidates: Tensor | None = None  # how many each row of the coming batch has; None: all items
        self._kept: list[dict[str, Tensor]] = []
        self._top = Spool()
        self._rows: dict[str, list[Tensor]] = {}  # of RecBole's data struct, batch by batch

    def start(self) -> None:
        """Keep the targets of the evaluation that follows."""
        self.keep, self._kept, self._top = True, [], Spool()

    def eval_batch_collect(
        self,
        scores_tensor: Tensor | FactoredScores | CandidateScores | SparseScores,
        interaction: Any,
        positive_u: Tensor,
        positive_i: Tensor,
    ) -> None:
        """As RecBole's; scores_tensor: (B, n_items), positive_u, positive_i: (T,) row and item of every target.

        Where every row has one target, its rank decides what the metrics count as hit, so ties fall alike everywhere;
        RecBole's topk leaves them to the order of the items. An item that is ranked nowhere (-inf) is never a hit, nor
        recommended, and last for GAUC.
        """
        if self.config["eval_type"] == EvaluatorType.VALUE:
            self._collect_values(scores_tensor, interaction)
            return
        if self.keep and self.off_policy is not None:
            self.off_policy.collect(scores_tensor, interaction["event_index"], positive_i)
        counted, self.candidates = self.candidates, None
        if isinstance(scores_tensor, Tensor):
            self._collect_matrix(scores_tensor, interaction, positive_u, positive_i, counted)
            return
        scores = scores_tensor
        items = positive_i.to(self.device)
        count = min(max(TOP, *self.topk), scores.width - 1)
        if not (self.keep or self.register.need("rec.items")):
            rank = scores.ranks(items)
            top = rank.new_empty(0, 0)
        elif isinstance(scores, FactoredScores):
            rank, top = scores.ranks_and_top(items, count)
        else:
            rank, top = scores.ranks(items), scores.top(count)
        self._collect_ranks(rank, _sizes(scores, rank))
        self._collect_lists(top)
        if self._needs_more():
            self._collect_more(scores.dense(), interaction, positive_u, positive_i)
        if self.keep:
            rows = torch.arange(len(scores), device=rank.device)
            self._keep(rank, positive_i.to(rank.device), top[:, :TOP], interaction, rows, len(scores), True)

    def _collect_values(self, scores: Any, interaction: Any) -> None:
        """Scores (N,) and labels of metrics that rank nothing: AUC, LogLoss, MAE, RMSE."""
        nowhere = scores.isnan() | scores.isneginf()
        if nowhere.any():
            distances = [name for name in self.config["metrics"] if name.lower() in DISTANCES]
            if distances:
                raise UsageError(
                    f"{distances[0]} measures how far a score is from its label, and {self.config['model']} gives some "
                    "items no score: leave it out of metrics"
                )
            # differences of -inf are no numbers, so that equal ones would not tie
            scores = scores.masked_fill(nowhere, torch.finfo(scores.dtype).min)
        super().eval_batch_collect(scores, interaction, None, None)

    def _collect_matrix(
        self,
        scores: Tensor,
        interaction: Any,
        positive_u: Tensor,
        positive_i: Tensor,
        counted: Tensor | None,
    ) -> None:
        rows = positive_u.to(scores.device)
        items = positive_i.to(scores.device)
        rank = target_ranks(scores, rows, items)
        one_each = torch.equal(rows, torch.arange(len(scores), device=rows.device))
        if counted is None:
            counted = rank.new_full((len(scores),), scores.shape[1] - 1)
        top = rank.new_empty(0, 0)
        if self.keep or self.register.need("rec.items") or not one_each:
            top = listed_items(scores, min(max(TOP, *self.topk), scores.shape[1] - 1))
        if one_each:
            self._collect_ranks(rank, counted)
        else:
            self._collect_several(scores, top, rows, items, counted)
        self._collect_lists(top)
        if self._needs_more():
            self._collect_more(scores, interaction, positive_u, positive_i)
        if self.keep:
            self._keep(rank, items, top[rows][:, :TOP], interaction, rows, len(scores), one_each)

    def _collect_ranks(self, rank: Tensor, counted: Tensor) -> None:
        """Of rows of one target each: its rank (B,), among so many candidates (B,)."""
        if self.register.need("rec.topk"):
            place = torch.arange(1, max(self.topk) + 1, device=rank.device)
            hits = rank.unsqueeze(1) == place  # (B, K)
            self._add("rec.topk", torch.cat((hits, torch.ones_like(hits[:, :1])), dim=1))
        if self.register.need("rec.meanrank"):
            last = torch.minimum(rank, counted)  # a target that is ranked nowhere
            one = torch.ones_like(rank)
            self._add("rec.meanrank", torch.stack((last, counted, one), dim=1).double())

    def _collect_several(
        self, scores: Tensor, top: Tensor, rows: Tensor, items: Tensor, counted: Tensor
    ) -> None:
        """Of rows with several targets: which of the best items are targets, and the sum of the targets' ranks."""
        wanted = torch.zeros_like(scores, dtype=torch.bool)
        wanted[rows, items] = True
        number = wanted.sum(1, keepdim=True)  # (B, 1)
        if self.register.need("rec.topk"):
            best = _padded(top, max(self.topk))
            hits = wanted.gather(1, best) & (best > 0)
            self._add("rec.topk", torch.cat((hits, number), dim=1).to(torch.int32))
        if self.register.need("rec.meanrank"):
            nowhere = scores.isnan() | scores.isneginf()
            ordered, order = scores.masked_fill(nowhere, -torch.inf).sort(dim=1, descending=True)
            places = self._average_rank(ordered).double()
            found = (wanted & ~nowhere).gather(1, order)
            ranks = torch.where(found, places, 0.0).sum(1, keepdim=True)
            lost = (wanted & nowhere).sum(1, keepdim=True)  # they take the last places
            size = counted.unsqueeze(1)
            ranks = ranks + lost * size - lost * (lost - 1) / 2
            self._add("rec.meanrank", torch.cat((ranks, size, number), dim=1).double())

    def _collect_lists(self, top: Tensor) -> None:
        if self.register.need("rec.items"):
            self._add("rec.items", _padded(top, max(self.topk)))

    def _needs_more(self) -> bool:
        """Whether a metric of the user's own asks for all scores."""
        return any(map(self.register.need, ("rec.score", "data.label")))

    def _collect_more(self, scores: Tensor, interaction: Any, positive_u: Tensor, positive_i: Tensor) -> None:
        register = self.register
        self.register = _Without(register, ("rec.topk", "rec.items", "rec.meanrank"))
        try:
            super().eval_batch_collect(scores, interaction, positive_u, positive_i)
        finally:
            self.register = register

    def _keep(
        self,
        rank: Tensor,
        items: Tensor,
        top: Tensor,
        interaction: Any,
        rows: Tensor,
        size: int,
        one_each: bool,
    ) -> None:
        kept = {"item": items, "rank": rank}
        length = self.config["ITEM_LIST_LENGTH_FIELD"]
        for field in ("event_index", self.config["USER_ID_FIELD"], length, self.config["EVENT_FIELD"]):
            # sampled negatives follow the targets in a batch, so the first rows are the targets'
            if field in interaction and (one_each or len(interaction[field]) == size):
                kept[field] = interaction[field][:size].to(rows.device)[rows]
        history = f"{self.config['ITEM_ID_FIELD']}{self.config['LIST_SUFFIX']}"
        if length in kept and history in interaction:
            # before a session's first event the only step is padding
            opened = interaction[history][:size, 0].to(rows.device)[rows] != 0
            kept[length] = kept[length] * opened
        self._kept.append({k: v.cpu() for k, v in kept.items()})
        self._top.add(top.cpu().numpy())

    def _add(self, name: str, rows: Tensor) -> None:
        self._rows.setdefault(name, []).append(rows.detach())

    def get_data_struct(self) -> Any:
        """As RecBole's, of the batches of all processes."""
        data = self.data_struct._data_dict
        for name in list(self._rows):
            rows = torch.cat(self._rows.pop(name))
            data[name] = rows.to(torch.int32) if rows.dtype == torch.bool else rows
        if current().count > 1:
            data.update(joined({key: data[key] for key in PER_EVALUATION if key in data}, self.device))
            if self.keep:
                self._join_kept()
        return super().get_data_struct()

    def _join_kept(self) -> None:
        """Keep what all processes have kept."""
        own = self._together()
        if len(self._top):
            own["top"] = torch.from_numpy(self._top.taken())
        kept, self._top = joined(own, self.device), Spool()
        if "top" in kept:
            self._top.add(kept.pop("top").numpy())
        self._kept = [kept] if kept else []

    def _together(self) -> dict[str, Tensor]:
        """What has been kept of all batches, but for the top items."""
        names = self._kept[0] if self._kept else ()
        return {name: torch.cat([part[name] for part in self._kept]) for name in names}

    def targets(self) -> dict[str, np.ndarray]:
        """item, rank (T,), top (T, 20) and the rows' own columns, in the order of events if known; stops keeping.

        The rows' columns: event_index, session, number of items in the prefix, and the target's event kind (its id).
        """
        self.keep = False
        found = {name: rows.numpy() for name, rows in self._together().items()}
        self._kept = []
        if not found:
            return {}
        in_order = None
        if "event_index" in found:  # evaluation goes by length of the prefix
            in_order = np.argsort(found["event_index"], kind="stable")
            found = {k: v[in_order] for k, v in found.items()}
        first = {"item": found.pop("item"), "rank": found.pop("rank"), "top": self._top.taken(in_order)}
        return {**first, **found}


def _padded(top: Tensor, k: int) -> Tensor:
    """(B, k) the first k of (B, K) items, 0 behind them where there are fewer."""
    return torch.nn.functional.pad(top[:, :k], (0, max(k - top.shape[1], 0)))


def _sizes(scores: Any, rank: Tensor) -> Tensor:
    """(B,) how many items each target is ranked among."""
    if isinstance(scores, CandidateScores):
        return scores.sizes().to(rank.device)
    return rank.new_full((len(scores),), scores.width - 1)
