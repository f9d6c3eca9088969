"""What the terms of a loss are made of: one batch as the two networks see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from recbole_ext.data.transitions import Transitions
from recbole_ext.model.rl.network import Encoded, Network, still


@dataclass
class Step:
    """N transitions of a batch, and what the trained and the target network say of them.

    main, other: the trained and the target network. encoded: the batch by `main`, M states. reward: (N,) r.
    done: (N,) bool, the session ends. state: (N, d) s_t for the Q head. taken: (N,) Q(s, a). others: (N, K) Q of the
    negative actions, greedy: (N,) Q of the action looked ahead to at s', where a term has made them. noted: scalars to
    log, by name.
    """

    main: Network
    other: Network
    batch: Any
    encoded: Encoded
    at: Transitions
    reward: Tensor
    done: Tensor
    state: Tensor
    taken: Tensor
    others: Tensor | None = None
    greedy: Tensor | None = None
    noted: dict[str, Tensor] = field(default_factory=dict)

    def mean(self, values: Tensor) -> Tensor:
        """Scalar mean of (N,) over the transitions that are learnt."""
        return (self.at.share * values).sum()

    @cached_property
    def seen(self) -> Tensor:
        """(M, d) states of the batch by the target network, without dropout and gradient."""
        with torch.no_grad(), still(self.other):
            return self.other.encode(self.batch).critic
