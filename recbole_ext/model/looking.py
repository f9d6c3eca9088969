"""Looking back over whole sessions in training, on a CPU: forward and backward by hand.

What `LookBack._looked` computes of states that are their own keys, see pointer.py. In autograd that is some hundred
operations, each of which takes longer to begin than to do; here they are a third of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model.rows import SMALLEST
from recbole_ext.scores.products import product

NEVER = -1e30  # a logit of what cannot be; finite, so that gradients are numbers
WEIGHTS = 4  # of an attention: query, key, liked, by_distance


class Sight(NamedTuple):
    """What may be looked at. valid: (n, L, L) bool, of each prefix its events; distance: (L, L) int64.

    known: (n, P) bool, the earlier events of the visitor; None: nobody looks at them. rows: (R,) of the n that have
    any, whose vectors alone are there.
    """

    valid: Tensor
    distance: Tensor
    known: Tensor | None
    rows: Tensor | None


def look(
    states: Tensor,
    values: Tensor,
    past: Tensor | None,
    sight: Sight,
    readout: Sequence[Tensor] | None,
    pointers: Sequence[Tensor] | None,
    dropped: Tensor | None,
    unit: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What is read (n, L, e), log_share (n, L, L + P) and log_rest (n, L), None without pointers; differentiable once.

    Args:
        states: (n, L, e). values: (n, L, e). past: (R, P, e) or (n, P, e) vectors of earlier events, if any.
        readout: the weights of its attention and of the map that mixes; None: there is none.
        pointers: weight and bias of the gates, and the weights of the attentions over the session and over the past.
        dropped: (n, L, e) what the read-out's find is multiplied with; None: nothing is dropped.
        unit: the read-out mixes directions.
    """
    given = (states, values, past, dropped, *(readout or ()), *(pointers or ()))
    read, *looks = _Look.apply(sight, readout is not None, pointers is not None, unit, *given)
    return (read, *looks) if looks else (read, None, None)


class _Look(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sight: Sight,
        reads: bool,
        points: bool,
        unit: bool,
        states: Tensor,
        values: Tensor,
        past: Tensor | None,
        dropped: Tensor | None,
        *learnt: Tensor,
    ) -> Any:
        n, length, width = states.shape
        states = states.contiguous()
        flat = states.view(-1, width)
        hidden = ~sight.valid
        kept: list[Tensor | None] = [flat, values, past, dropped, hidden, *learnt]
        read, weights = flat, list(learnt)
        if reads:
            own, mix, weights = weights[:WEIGHTS], weights[WEIGHTS], weights[WEIGHTS + 1 :]
            log, *way = _attend(states, states, own, sight.distance, hidden)
            share = log.exp().masked_fill_(hidden, 0)
            found = share @ values
            both = flat.new_empty(n * length, 2, width)
            both[:, 0] = flat
            torch.mul(
                found.view(-1, width), 1 if dropped is None else dropped.view(-1, width), out=both[:, 1]
            )
            size = None
            if unit:
                size = torch.linalg.vector_norm(both, dim=-1, keepdim=True).clamp_min_(SMALLEST)
                both.div_(size)
            read = product(both.view(-1, 2 * width), mix.T)
            kept += [log, *way, share, both, size]
        read = read.view(n, length, width)
        ctx.sight, ctx.reads, ctx.points, ctx.unit = sight, reads, points, unit
        if not points:
            ctx.save_for_backward(*kept)
            return (read,)
        gate, bias, *weights = weights
        log, *way = _attend(states, states, weights[:WEIGHTS], sight.distance, hidden)
        nothing = [hidden.all(-1)]
        shares = [log]
        kept += [log, *way]
        if sight.known is not None and past is not None:
            unknown, ago = ~sight.known.unsqueeze(1), torch.arange(past.shape[1]).unsqueeze(0)
            nothing.append(unknown.all(-1).expand(-1, length))
            rows = sight.rows
            asking, hidden_past = (states, unknown) if rows is None else (states[rows], unknown[rows])
            log, *way = _attend(asking, past, weights[WEIGHTS:], ago, hidden_past)
            whole = log
            if rows is not None:
                whole = log.new_zeros(n, length, past.shape[1]).index_copy_(0, rows, log)
            shares.append(whole)
            kept += [log, *way, asking, hidden_past]
        blocked = torch.stack(nothing, dim=-1).view(n * length, -1)
        gates = flat.new_zeros(n * length, 1 + len(bias))
        torch.addmm(bias, flat, gate.T, out=gates[:, 1:]).masked_fill_(blocked, NEVER)
        gates = torch.log_softmax(gates, -1)
        by_gate = gates.view(n, length, -1)
        log_share = torch.cat([s + by_gate[:, :, g + 1 : g + 2] for g, s in enumerate(shares)], dim=-1)
        ctx.save_for_backward(*kept, gates, blocked)
        return read, log_share, by_gate[:, :, 0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, values, past, dropped, hidden, *saved = ctx.saved_tensors
        sight: Sight = ctx.sight
        n, length, width = values.shape
        states = flat.view(n, length, width)
        count = (WEIGHTS + 1) * ctx.reads
        if ctx.points:
            count += 2 + WEIGHTS * (1 if sight.known is None or past is None else 2)
        weights, saved = saved[:count], saved[count:]
        d_states = d_past = None
        d_values: Tensor | None = None
        d_weights: list[Tensor] = []
        d_read = gradients[0].reshape(-1, width)
        if ctx.reads:
            own, mix, weights = weights[:WEIGHTS], weights[WEIGHTS], weights[WEIGHTS + 1 :]
            (log, asked, wanted, share, both, size), saved = saved[:6], saved[6:]
            d_both = product(d_read, mix).view(-1, 2, width)
            d_mix = product(d_read.T, both.view(-1, 2 * width))
            if size is not None:
                along = (both * d_both).sum(-1, keepdim=True)
                inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
                d_both.addcmul_(both, along, value=-1).mul_(inverse)
            d_found = d_both[:, 1].contiguous() if dropped is None else d_both[:, 1] * dropped.view(-1, width)
            d_found = d_found.view(n, length, width)
            d_log = torch.bmm(d_found, values.transpose(1, 2)).mul_(share)
            d_values = torch.bmm(share.transpose(1, 2), d_found)
            d_states = d_both[:, 0].contiguous()
            d_keys, d_own = _attended(
                d_log, states, states, own, sight.distance, hidden, (log, asked, wanted), d_states
            )
            d_states += d_keys.view(-1, width)
            d_weights = [*d_own, d_mix]
        else:
            d_states = d_read.clone()
        if ctx.points:
            gate, bias, *weights = weights
            (log, asked, wanted), saved = saved[:3], saved[3:]
            d_share, d_rest = gradients[1:]
            pieces = d_share.split((length, d_share.shape[2] - length), dim=2)
            gates, blocked = saved[-2:]
            d_gates = torch.stack([d_rest, *(piece.sum(-1) for piece in pieces[: len(bias)])], dim=-1)
            d_gates = _of_logits(d_gates.view_as(gates), gates)[:, 1:].masked_fill(blocked, 0)
            d_states.addmm_(d_gates, gate)
            d_keys, d_session = _attended(
                pieces[0],
                states,
                states,
                weights[:WEIGHTS],
                sight.distance,
                hidden,
                (log, asked, wanted),
                d_states,
            )
            d_states += d_keys.view(-1, width)
            d_weights += [d_gates.T @ flat, d_gates.sum(0), *d_session]
            if len(bias) > 1:
                log, asked, wanted, asking, hidden_past = saved[:5]
                ago, rows, piece = torch.arange(past.shape[1]).unsqueeze(0), sight.rows, pieces[1]
                d_asking = torch.zeros_like(asking).view(-1, width)
                d_past, d_user = _attended(
                    piece if rows is None else piece[rows],
                    asking,
                    past,
                    weights[WEIGHTS:],
                    ago,
                    hidden_past,
                    (log, asked, wanted),
                    d_asking,
                )
                d_asking = d_asking.view_as(asking)
                by_session = d_states.view(n, length, width)
                by_session.add_(d_asking) if rows is None else by_session.index_add_(0, rows, d_asking)
                d_weights += d_user
        return None, None, None, None, d_states.view(n, length, width), d_values, d_past, None, *d_weights


def _attend(
    states: Tensor, keys: Tensor, weights: Sequence[Tensor], distance: Tensor, hidden: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `Attention`, the log of the weights (n, L, K), W_q h (n * L, e), and what meets the keys (n, L, e)."""
    query, key, liked, by_distance = weights
    asked = product(states.view(-1, states.shape[2]), query.T)
    wanted = torch.add(liked, product(asked, key), alpha=len(liked) ** -0.5).view_as(states)
    logits = torch.baddbmm(by_distance[distance], wanted, keys.transpose(1, 2))
    return torch.log_softmax(logits.masked_fill_(hidden, NEVER), -1), asked, wanted


def _attended(
    d_log: Tensor,
    states: Tensor,
    keys: Tensor,
    weights: Sequence[Tensor],
    distance: Tensor,
    hidden: Tensor,
    found: tuple[Tensor, Tensor, Tensor],
    d_states: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the keys (n, K, e) and of the weights; that of the states is added to d_states (n * L, e)."""
    query, key, liked, by_distance = weights
    log, asked, wanted = found
    width = len(liked)
    d = _of_logits(d_log, log).masked_fill_(hidden, 0)
    by_place = d.sum(0).sum(0, keepdim=True) if len(distance) == 1 else d.sum(0)
    d_distance = torch.zeros_like(by_distance).index_add_(0, distance.flatten(), by_place.flatten())
    d_keys = torch.bmm(d.transpose(1, 2), wanted)
    d_wanted = torch.bmm(d, keys).view(-1, width)
    d_liked = d_wanted.sum(0)
    d_wanted.mul_(width**-0.5)
    d_asked = product(d_wanted, key.T)
    d_states += product(d_asked, query)
    return d_keys, [
        product(d_asked.T, states.reshape(-1, width)),
        product(asked.T, d_wanted),
        d_liked,
        d_distance,
    ]


def _of_logits(d_log: Tensor, log: Tensor) -> Tensor:
    """The gradient of what a log-softmax is of."""
    return torch.ops.aten._log_softmax_backward_data(d_log.contiguous(), log, -1, log.dtype)
