"""The gradients of several processes as one flat tensor: one sum a step is all that the processes tell each other.

Each process has the mean gradient over its own n targets. It packs n * gradient, n * losses and n behind each other;
the sums over the processes, divided by that of n, are the gradient and the losses of the whole batch. Packing and
unpacking stay on the device, so that both may be parts of CUDA graphs, with the sum between them. (DDP adds up bucket
by bucket while backward goes on. Backward is one graph here, so the sum comes after it.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.clip_grad import clip_grad_norm_

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.processes import add_up, anywhere


class SharedGradients:
    """Those of a model's trained weights."""

    def __init__(self, model: nn.Module):
        learnt = [weight for weight in model.parameters() if weight.requires_grad]
        # odd sizes last: the others begin where a GPU reads four numbers at once
        self.learnt = sorted(learnt, key=lambda weight: weight.numel() % 4 > 0)
        self.size = sum(weight.numel() for weight in self.learnt)
        self.flat = torch.empty(0)

    def of_all(self, losses: Sequence[Tensor], targets: int | Tensor) -> tuple[Tensor, ...]:
        """Give the weights the whole batch's gradients; its losses. losses, gradients: means over so many targets."""
        learning = self.learning()
        self.pack(losses, targets)
        self.add()
        return self.unpack(learning)

    def learning(self) -> tuple[bool, ...]:
        """Which weights have a gradient in any process; the others stay without, as in a single one."""
        return anywhere(tuple(weight.grad is not None for weight in self.learnt))

    def pack(self, losses: Sequence[Tensor], targets: int | Tensor) -> None:
        """Lay n * gradients, n * losses and n into the flat tensor, of which the gradients are no parts any more."""
        first = self.learnt[0]
        size = self.size + len(losses) + 1
        if self.flat.numel() != size:
            self.flat = torch.empty(size, device=first.device)
        pieces = [_gradient(weight).flatten().float() for weight in self.learnt]
        tail = [loss.detach().float().reshape(1) for loss in losses]
        torch.cat([*pieces, *tail, self.flat.new_ones(1)], out=self.flat)
        self.flat.mul_(targets)

    def add(self) -> None:
        """Sum over the processes; never part of a graph."""
        add_up(self.flat)

    def unpack(self, learning: Sequence[bool]) -> tuple[Tensor, ...]:
        """Let the weights that learn have their part of the sum as gradients; the losses."""
        self.flat.div_(self.flat[-1].clone().clamp_min(1))
        begin = 0
        for weight, learns in zip(self.learnt, learning):
            piece = self.flat[begin : begin + weight.numel()].view_as(weight)
            begin += weight.numel()
            weight.grad = piece.to(weight.dtype) if learns else None
        return tuple(self.flat[begin:-1].clone().unbind())


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def clip(weights: Iterable[Tensor], max_norm: float, **settings: Any) -> None:
    """As clip_grad_norm_, which multiplies all gradients by one where their norm is small enough; that is a pass over
    them, which a CPU takes long for."""
    weights = list(weights)
    if settings or any(weight.device.type != "cpu" for weight in weights):
        clip_grad_norm_(weights, max_norm, **settings)
        return
    sizes = [torch.linalg.vector_norm(weight.grad) for weight in weights if weight.grad is not None]
    if sizes and not torch.linalg.vector_norm(torch.stack(sizes)) + 1e-6 <= max_norm:
        clip_grad_norm_(weights, max_norm)


def as_given(losses: Any) -> tuple[Tensor, ...]:
    """One loss or several as a tuple."""
    return losses if isinstance(losses, tuple) else (losses,)


def targets_in(batch: Any) -> int | Tensor:
    """How many targets a batch's loss is the mean of."""
    if isinstance(batch, PositionBatch | UserBatch):
        return (batch.targets != 0).sum()
    return len(batch)
