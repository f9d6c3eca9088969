"""GRUs side by side over whole sessions, on a CPU: forward and backward by hand.

What torch's `nn.GRU` computes (Cho et al., EMNLP 2014, with the reset gate behind the product), from states of zero:

    r = sigmoid(W_r x + b_r + U_r h + c_r)    z = sigmoid(W_z x + b_z + U_z h + c_z)
    n = tanh(W_n x + b_n + r * (U_n h + c_n))   h' = n + z * (h - n)

On a CPU torch takes some thirty small operations a step in autograd. Here the inputs of all steps are one product, a
step is six operations and four backward, all GRUs at once, and the weights' gradients are one product at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_ext.scores.products import by_onednn, linear, product
from recbole_ext.scores.ways import GRU, ONEDNN, OWN, took


def on_cpu(inputs: Tensor) -> bool:
    """Whether `side_by_side` is the faster way for inputs, which it takes as they are."""
    return inputs.is_cpu and inputs.requires_grad and not torch.is_autocast_enabled("cpu")


def side_by_side(grus: nn.ModuleList, inputs: Sequence[Tensor]) -> list[Tensor]:
    """(L, n, H) states of each of G GRUs of one layer over its inputs (L, n, I); the G are of one size.

    Differentiable once.
    """
    weights = [
        weight
        for gru in grus
        for weight in (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
    ]
    states: Tensor = _SideBySide.apply(len(grus), *inputs, *weights)
    return list(states.unbind())


class _SideBySide(torch.autograd.Function):
    """Gates lie as (G, L, n, 3, H), in torch's order r, z, n."""

    @staticmethod
    def forward(ctx: Any, count: int, *given: Tensor) -> Tensor:
        inputs, weights = given[:count], given[count:]
        ih, hh, b_ih, b_hh = (weights[kind::4] for kind in range(4))
        steps, rows = inputs[0].shape[:2]
        hidden = hh[0].shape[1]
        x = [piece.contiguous().view(steps * rows, -1) for piece in inputs]
        took(GRU, ONEDNN if by_onednn(x[0], ih[0]) else OWN)
        gates = x[0].new_empty(count, steps, rows, 3, hidden)
        for part in range(count):
            gates[part] = linear(x[part], ih[part], b_ih[part]).view(steps, rows, 3, hidden)
        recurrent, bias = torch.stack(hh), torch.stack(b_hh).unsqueeze(1)
        turned = recurrent.transpose(1, 2)  # (G, H, 3 H)
        states = gates.new_empty(count, steps, rows, hidden)
        of_state = gates.new_empty(count, steps, rows, hidden)  # U_n h + c_n
        state = gates.new_zeros(count, rows, hidden)
        for step in range(steps):
            gate = gates[:, step]
            own = torch.baddbmm(bias, state, turned).view(count, rows, 3, hidden)
            both = gate[:, :, :2].add_(own[:, :, :2]).sigmoid_()
            of_state[:, step] = own[:, :, 2]
            new = gate[:, :, 2].addcmul_(both[:, :, 0], own[:, :, 2]).tanh_()
            torch.lerp(new, state, both[:, :, 1], out=states[:, step])
            state = states[:, step]
        ctx.save_for_backward(gates, states, of_state, recurrent, *x, *ih)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gates, states, of_state, recurrent, *others = ctx.saved_tensors
        count, steps, rows, hidden = states.shape
        x, ih = others[:count], others[count:]
        r, z, new = gates.unbind(3)
        before = torch.cat((states.new_zeros(count, 1, rows, hidden), states[:, :-1]), dim=1)
        # what a state's gradient is multiplied with to be that of what enters its gates
        to_new = (1 - z) * (1 - new * new)
        factor = torch.empty_like(gates)
        torch.mul((before - new).mul_(z), 1 - z, out=factor[..., 1, :])
        torch.mul(to_new, r, out=factor[..., 2, :])
        torch.mul(factor[..., 2, :] * of_state, 1 - r, out=factor[..., 0, :])
        d_states = torch.empty_like(states)
        carried = None
        for step in range(steps - 1, -1, -1):
            d = gradients[0][:, step] if carried is None else gradients[0][:, step] + carried
            d_states[:, step] = d
            d_gate = factor[:, step].mul_(d.unsqueeze(2))
            if step:
                carried = torch.baddbmm(d * z[:, step], d_gate.flatten(2), recurrent)
        d_own = factor.view(count, steps * rows, 3 * hidden)
        bias_own = d_own.sum(1)
        d_hh = [product(d_own[part].T, before[part].view(-1, hidden)) for part in range(count)]
        # the same for the inputs but for n, where r is not between
        torch.mul(d_states, to_new, out=factor[..., 2, :])
        bias = d_own.sum(1)
        d_x = [product(d_own[part], ih[part]).view(steps, rows, -1) for part in range(count)]
        d_ih = [product(d_own[part].T, x[part]) for part in range(count)]
        d_weights = [d for part in range(count) for d in (d_ih[part], d_hh[part], bias[part], bias_own[part])]
        return None, *d_x, *d_weights
