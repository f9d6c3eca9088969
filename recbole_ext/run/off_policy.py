"""What a run collects to estimate the value of a policy; the estimators are in evaluate/off_policy.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.off_policy import Behaviour, estimate, shrunken_rewards
from recbole_ext.rewards import check_rewards, event_kinds, target_rewards
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.ranks import rows_at_a_time
from recbole_ext.scores.sparse import SparseScores
from recbole_ext.segments import holder_of, spans
from recbole_ext.settings.protocol_values import OffPolicySettings as Settings


def action_chances(
    scores: Tensor, items: Tensor, rewards: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    """(B,) pi(items[b] | row b) and (B,) sum_a pi(a | row b) rewards[a]; `scores` (B, n_items) are overwritten.

    Scores of -inf, and those that are no number, are no candidates and have no chance. Best items that tie share it.
    """
    scores.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)
    best = scores.max(dim=1, keepdim=True).values
    own = items.unsqueeze(1)
    if settings.policy == "softmax":
        best.clamp_min_(torch.finfo(scores.dtype).min)  # a row without candidates
        odds = scores.sub_(best).div_(settings.temperature).exp_()
        return _normalised(odds, own, rewards)
    open_ = scores > -torch.inf
    top = (scores == best) & open_
    chance, expected = _normalised(top.to(scores.dtype), own, rewards)
    any_chance, any_expected = _normalised(open_.to(scores.dtype), own, rewards)
    share = settings.epsilon
    return (1 - share) * chance + share * any_chance, (1 - share) * expected + share * any_expected


def _normalised(odds: Tensor, own: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
    total = odds.sum(dim=1).clamp_min(torch.finfo(odds.dtype).tiny)
    return odds.gather(1, own).squeeze(1) / total, odds @ rewards / total


def _pieces(scores: Tensor | FactoredScores | SparseScores) -> Iterator[tuple[slice, Tensor]]:
    """Rows of scores that may be overwritten, some at a time."""
    if not isinstance(scores, Tensor):  # they come in chunks
        for piece, chunk in scores.chunks():
            yield piece, chunk if chunk.dtype == torch.float32 else chunk.float()
        return
    rows = rows_at_a_time(scores.shape[1], scores.is_cuda)
    for first in range(0, len(scores), rows):
        piece = slice(first, min(first + rows, len(scores)))
        yield piece, scores[piece].to(torch.float32, copy=True)


class OffPolicy:
    """Learns beta and r_hat from the training and validation parts, then takes in the test part batch by batch.

    train, valid, test: SessionDataset. Raises UsageError, before any training, where they cannot tell.
    """

    def __init__(self, config: Any, train: Any, valid: Any | None, test: Any):
        self.settings, self._test = Settings.read(config["off_policy"] or {}, "off_policy"), test
        self._rewards, self._event_field = config["rewards"], config["EVENT_FIELD"]
        if getattr(test, "events", None) is None or test.event_field not in test.inter_feat:
            raise UsageError(
                f"off_policy needs to know which event a target is, and {config['model']} runs on RecBole's own data "
                "set here: use a sequential model with data_layout: pointers, or leave off_policy out"
            )
        if self._event_field not in test.events or self._event_field not in test.field2id_token:
            raise UsageError(
                f"off_policy needs the kind of each event, but the .inter file has no column {self._event_field}: "
                "set EVENT_FIELD to it, or leave off_policy out"
            )
        if valid is None or not len(valid):
            raise UsageError(
                "off_policy weighs its picture of the log's policy on validation targets, and there are none: "
                "give eval_args.split a validation part, or leave off_policy out"
            )
        trained = _training_targets(train)
        item, reward = self._items(trained), self._reward_of(trained, "training targets")
        held_out = valid.inter_feat[valid.event_field].numpy().astype(np.int64)
        self.behaviour = Behaviour(self._last(trained), item, test.item_num)
        self.behaviour.fit(self._last(held_out), self._items(held_out))
        self.guess = shrunken_rewards(item, reward, test.item_num)
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(
        self,
        scores: Tensor | FactoredScores | CandidateScores | SparseScores,
        events: Tensor,
        items: Tensor,
    ) -> None:
        """Take in a batch: scores of B rows, their targets' places among the events (B,), and items (B,)."""
        if isinstance(scores, CandidateScores):
            raise UsageError(
                "off_policy needs the chance of every item, not of sampled ones: set eval_args.mode: full"
            )
        assert len(scores) == len(items) == len(events), "one target a row"
        for piece, chunk in _pieces(scores):
            rewards = torch.as_tensor(self.guess, dtype=chunk.dtype, device=chunk.device)
            chance, expected = action_chances(chunk, items[piece].to(chunk.device), rewards, self.settings)
            self._kept.append((events[piece].cpu(), chance.cpu(), expected.cpu()))

    def to_record(self) -> dict[str, Any]:
        """The settings, the weights of beta's terms, and the estimates of what was taken in, which is forgotten."""
        events, chance, expected = (torch.cat(parts).numpy() for parts in zip(*self._kept))
        self._kept = []
        order = np.argsort(events, kind="stable")  # whatever batches they came in
        events, chance, expected = events[order], chance[order].astype(float), expected[order].astype(float)
        item = self._items(events)
        found = estimate(
            chance,
            self.behaviour.chances(self._last(events), item),
            self._reward_of(events, "test targets"),
            expected,
            self.guess[item],
            holder_of(events, self._test.session_start),
            self.settings,
        )
        terms = dict(zip(("transitions", "popularity", "uniform"), self.behaviour.weights.tolist()))
        return {"settings": self.settings.model_dump(), "behaviour": terms, **found.to_record()}

    # all parts share the events, so one data set can be asked of any of them

    def _items(self, events: np.ndarray) -> np.ndarray:
        return self._test.events[self._test.iid_field].numpy()[events]

    def _last(self, events: np.ndarray) -> np.ndarray:
        """(T,) the item before each event in its session, 0 for a session's first."""
        first = self._test.session_start[holder_of(events, self._test.session_start)] == events
        return np.where(first, 0, self._items(np.maximum(events - 1, 0)))

    def _reward_of(self, events: np.ndarray, holders: str) -> np.ndarray:
        ids = self._test.events[self._event_field].numpy()[events]
        kind = event_kinds(self._test, self._event_field, ids)
        check_rewards(self._rewards, kind, holders)
        return target_rewards(kind, self._rewards)


def _training_targets(train: Any) -> np.ndarray:
    """(N,) places of the training part's targets among the events; train.inter_feat need not hold them."""
    passed = 0 if train.empty_history else 1  # events of a session that are no targets
    return spans(train.session_start + passed, np.maximum(train.train_length - passed, 0))
