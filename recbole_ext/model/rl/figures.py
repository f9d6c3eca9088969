"""What the steps of an epoch note, summed on the device, and whether a step ran off."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Figures(nn.Module):
    """Sums of what steps note under `names`, the largest Q values, and the first step that is no good.

    limit: largest |Q| of a step that is. None of it is part of a checkpoint.
    """

    sums: Tensor
    tops: Tensor
    clock: Tensor
    first_bad: Tensor

    def __init__(self, names: tuple[str, ...], limit: float):
        super().__init__()
        self.names, self.limit = tuple(dict.fromkeys(names)), limit
        self.register_buffer("sums", torch.zeros(len(self.names)), persistent=False)
        self.register_buffer("tops", torch.full((2,), -torch.inf), persistent=False)  # Q taken, greedy Q
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("first_bad", torch.full((), -1), persistent=False)

    def add(
        self,
        noted: dict[str, Tensor],
        taken: Tensor,
        learnt: Tensor,
        greedy: Tensor | None,
        ongoing: Tensor,
        loss: Tensor,
    ) -> None:
        """Add a step: scalars by name; Q of the actions taken (N,), and where it counts (N,) bool; the same of the
        action looked ahead to, None: not known; the loss."""
        assert noted.keys() <= set(self.names), f"no method names these: {noted.keys() - set(self.names)}"
        zero = self.sums.new_zeros(())
        self.sums.add_(torch.stack([noted.get(name, zero).detach().to(self.sums) for name in self.names]))
        tops = [
            _top(taken, learnt),
            _top(taken if greedy is None else greedy, ongoing & (greedy is not None)),
        ]
        self.tops.copy_(torch.maximum(self.tops, torch.stack(tops).to(self.tops)))
        self.clock.add_(1)
        highest = torch.maximum((taken * learnt).abs().amax(), tops[1].clamp_min(0).to(taken))
        wild = ~loss.isfinite() | ~(highest.nan_to_num(torch.inf) <= self.limit)
        self.first_bad.copy_(torch.where((self.first_bad < 0) & wild, self.clock, self.first_bad))

    def means(self, steps: int) -> dict[str, float]:
        """By name, the mean over the last `steps` steps, which then start anew."""
        found = dict(zip(self.names, (self.sums / max(steps, 1)).tolist()))
        found["q_taken_max"], found["q_greedy_max"] = self.tops.tolist()
        self.sums.zero_()
        self.tops.fill_(-torch.inf)
        return found

    def tensors(self) -> list[Tensor]:
        """What `add` changes."""
        return [self.sums, self.tops, self.clock, self.first_bad]


def _top(values: Tensor, counts: Tensor) -> Tensor:
    return torch.where(counts, values, -torch.inf).amax()
