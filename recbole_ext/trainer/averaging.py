"""The moving average of a model's weights over the steps of training: `weight_average`.

With decay d and weights w_t after step t, `s_t = d s_{t-1} + (1 - d) w_t` from `s_0 = 0`, and the average is
`s_t / (1 - d^t)`, as Adam corrects its moments (Kingma and Ba, ICLR 2015): a weighted mean of w_1 … w_t, from the first
step on. A row that k steps have not moved takes them in at once, `s = d^k s + (1 - d^k) w`, where steps are of rows
alone (row_updates.py). It is what validation, test and checkpoints see; training goes on from w_t.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's trained weights; buffers are the model's."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._mass = 0.0  # 1 - d^t
        self._weights: list[Tensor] = []  # of the same storage as the model's
        self._places: dict[str, int] = {}  # of each name in the list; a weight may have two names
        known: dict[int, int] = {}
        for name, weight in model.named_parameters(remove_duplicate=False):
            if not weight.requires_grad or not weight.is_floating_point():
                continue
            self._places[name] = known.setdefault(id(weight), len(self._weights))
            if self._places[name] == len(self._weights):
                self._weights.append(weight.detach())
        self._sums = [torch.zeros_like(weight) for weight in self._weights]
        self._rows: int | None = None  # place of the weight that goes by rows
        self._steps = 0
        self._taken = torch.zeros(0, dtype=torch.int64)  # the step up to which each of its rows is taken in

    def add(self) -> None:
        """Take the weights in as they are now, on the device only, as it may be part of a graph; then `count`."""
        places = [place for place in range(len(self._sums)) if place != self._rows]
        sums, weights = ([tensors[place] for place in places] for tensors in (self._sums, self._weights))
        torch._foreach_lerp_(sums, weights, 1 - self.decay)

    def count(self) -> None:
        """Say that a step has been added."""
        self._steps += 1
        self._mass = self.decay * self._mass + (1 - self.decay)

    def go_by_rows(self, weight: Tensor) -> None:
        """From here on steps say which rows of a weight (n, …) they move, by `before_moving`; the others stay."""
        if self._rows is not None:
            return
        same = [w.data_ptr() == weight.data_ptr() for w in self._weights]
        self._rows = same.index(True)
        self._taken = torch.full((len(weight),), self._steps, device=weight.device)

    def before_moving(self, rows: Tensor) -> None:
        """Take in what the weight has been up to now in these rows (U,), each named once."""
        if self._rows is None:
            return
        sums, weights = self._sums[self._rows], self._weights[self._rows]
        share = self._share_of_missed(self._taken[rows]).view(-1, *[1] * (sums.dim() - 1))
        sums.index_copy_(0, rows, torch.lerp(sums[rows], weights[rows], share))
        self._taken[rows] = self._steps

    def _take_in_all(self) -> None:
        if self._rows is None:
            return
        sums = self._sums[self._rows]
        share = self._share_of_missed(self._taken).view(-1, *[1] * (sums.dim() - 1))
        sums.lerp_(self._weights[self._rows], share)
        self._taken.fill_(self._steps)

    def _share_of_missed(self, taken: Tensor) -> Tensor:
        """1 - d^k for the k steps since `taken`."""
        return 1 - self.decay ** (self._steps - taken).float()

    def averaged(self) -> dict[str, Tensor]:
        """The average by the names of the model's state_dict; nothing before the first step."""
        self._take_in_all()
        return self._named(self._mean()) if self._mass else {}

    def _mean(self) -> list[Tensor]:
        return list(torch._foreach_div(self._sums, self._mass))

    def _named(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        return {name: tensors[place] for name, place in self._places.items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        if not self._mass:
            yield
            return
        self._take_in_all()
        raw = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self._mean())
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, raw)

    def state_dict(self) -> dict[str, Any]:
        """Plain data to go on from: the sums, their mass, and the weights that training goes on from."""
        self._take_in_all()
        return {"mass": self._mass, "sums": self._named(self._sums), "weights": self._named(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; its weights are the model's to load."""
        self._mass = float(state["mass"])
        self._taken.fill_(self._steps)
        for name, place in self._places.items():
            self._sums[place].copy_(state["sums"][name])
