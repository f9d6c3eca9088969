"""Looking back over whole sessions in training, on a CPU: forward and backward by hand.

What `LookBack._looked` computes of states that are their own keys, see pointer.py. In autograd that is some hundred
operations, each of which takes longer to begin than to do; here they are half of it, with fewer passes.
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
NONE = (None,) * 4  # in the place of an attention's weights


class Sight(NamedTuple):
    """What may be looked at: hidden (n, L, L) bool, of each prefix the events that it does not look at; distance (L, L)
    int64; unknown (n, P) bool, which earlier events of the visitor there are not; rows (R,) those of the n that have
    any, whose vectors alone are there; None: all.
    """

    hidden: Tensor
    distance: Tensor
    unknown: Tensor | None
    rows: Tensor | None


class Learnt(NamedTuple):
    """Weights of a LookBack, or their gradients, None where it has no such part; of an attention query, key, liked and
    by_distance."""

    readout: Sequence[Any] = NONE
    mix: Any = None
    gates: Sequence[Any] = (None, None)
    session: Sequence[Any] = NONE
    user: Sequence[Any] = NONE


def look(
    states: Tensor,
    values: Tensor,
    past: Tensor | None,
    dropped: Tensor | None,
    sight: Sight,
    learnt: Learnt,
    unit: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """What is read (n, L, e), log_share (n, L, L + P) and log_rest (n, L), None without pointers; differentiable once.

    Args:
        states: (n, L, e). values: (n, L, e). past: (R, P, e) or (n, P, e) vectors of earlier events; None: not read.
        dropped: (n, L, e) what the read-out's find is multiplied with; None: nothing is dropped.
        unit: the read-out mixes directions.
    """
    weights = *learnt.readout, learnt.mix, *learnt.gates, *learnt.session, *learnt.user
    found: tuple[Tensor, ...] = _Look.apply(sight, unit, states, values, past, dropped, *weights)
    return found if len(found) == 3 else (found[0], None, None)


class _Look(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sight: Sight,
        unit: bool,
        states: Tensor,
        values: Tensor,
        past: Tensor | None,
        dropped: Tensor | None,
        *weights: Tensor | None,
    ) -> tuple[Tensor, ...]:
        learnt = _learnt(weights)
        states = states.contiguous()
        n, length, width = states.shape
        flat = states.view(-1, width)
        ctx.save_for_backward(states, values, past, dropped, *weights)
        ctx.sight, ctx.read, ctx.pointed = sight, None, None
        read = states
        if learnt.mix is not None:
            near = _attend(states, states, learnt.readout, sight.distance, sight.hidden)
            share = near.log.exp().masked_fill_(sight.hidden, 0)
            found = torch.bmm(share, values).view(-1, width)
            joined = flat.new_empty(len(flat), 2, width)
            joined[:, 0] = flat
            torch.mul(found, 1 if dropped is None else dropped.view(-1, width), out=joined[:, 1])
            size = None
            if unit:
                size = torch.linalg.vector_norm(joined, dim=-1, keepdim=True).clamp_min_(SMALLEST)
                joined.div_(size)
            read = product(joined.view(-1, 2 * width), learnt.mix.T).view(n, length, width)
            ctx.read = near, share, joined, size
        gate, bias = learnt.gates
        if gate is None or bias is None:
            return (read.clone() if read is states else read,)
        near = _attend(states, states, learnt.session, sight.distance, sight.hidden)
        shares, nothing, earlier = [near.log], [sight.hidden.all(-1)], None
        if past is not None and sight.unknown is not None:
            unknown, ago = sight.unknown.unsqueeze(1), torch.arange(past.shape[1]).unsqueeze(0)
            nothing.append(unknown.all(-1).expand(-1, length))
            rows = slice(None) if sight.rows is None else sight.rows
            earlier = _attend(states[rows], past, learnt.user, ago, unknown[rows])
            share = earlier.log
            if sight.rows is not None:  # 0 in rows that have none, which nothing reads
                share = share.new_zeros(n, length, past.shape[1]).index_copy_(0, sight.rows, share)
            shares.append(share)
        blocked = torch.stack(nothing, dim=-1)
        logits = states.new_zeros(n, length, 1 + len(bias))
        logits[:, :, 1:] = torch.addmm(bias, flat, gate.T).view_as(blocked).masked_fill_(blocked, NEVER)
        gates = torch.log_softmax(logits, -1)
        log_share = torch.cat([s + gates[:, :, g : g + 1] for g, s in enumerate(shares, 1)], dim=-1)
        ctx.pointed = near, earlier, gates, blocked
        return read.clone() if read is states else read, log_share, gates[:, :, 0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, values, _, dropped, *weights = ctx.saved_tensors
        sight, learnt = ctx.sight, _learnt(weights)
        n, length, width = states.shape
        d_values = d_past = None
        d_learnt = Learnt()
        d_read = gradients[0].reshape(-1, width)
        if ctx.read is None:
            d_states = d_read.clone()
        else:
            near, share, joined, size = ctx.read
            d_joined = product(d_read, learnt.mix).view(-1, 2, width)
            d_mix = product(d_read.T, joined.view(-1, 2 * width))
            if size is not None:
                inverse = torch.where(size > SMALLEST, size.reciprocal(), 0.0)
                along = torch.linalg.vecdot(joined, d_joined).unsqueeze(-1)
                d_joined.addcmul_(joined, along, value=-1).mul_(inverse)
            d_states = d_joined[:, 0].contiguous()
            d_found = d_joined[:, 1] * (1 if dropped is None else dropped.view(-1, width))
            d_found = d_found.view(n, length, width)
            d_values = torch.bmm(share.transpose(1, 2), d_found)
            d_log = torch.bmm(d_found, values.transpose(1, 2)).mul_(share)
            d_keys, d_readout = _attended(near, learnt.readout, d_log, d_states)
            d_states += d_keys.view(-1, width)
            d_learnt = d_learnt._replace(readout=d_readout, mix=d_mix)
        if ctx.pointed is not None:
            near, earlier, gates, blocked = ctx.pointed
            pieces = gradients[1].split((length, gradients[1].shape[2] - length), dim=2)[: gates.shape[2] - 1]
            d_gates = torch.stack([gradients[2], *(piece.sum(-1) for piece in pieces)], dim=-1)
            d_gates = _of_logits(d_gates, gates)[:, :, 1:].masked_fill(blocked, 0).flatten(0, 1)
            d_states.addmm_(d_gates, learnt.gates[0])
            d_keys, d_session = _attended(near, learnt.session, pieces[0], d_states)
            d_states += d_keys.view(-1, width)
            of_gates = d_gates.T @ states.view(-1, width), d_gates.sum(0)
            d_learnt = d_learnt._replace(gates=of_gates, session=d_session)
            if earlier is not None:
                rows = torch.arange(n) if sight.rows is None else sight.rows
                d_asking = torch.zeros_like(earlier.wanted)
                d_past, d_user = _attended(earlier, learnt.user, pieces[1][rows], d_asking.view(-1, width))
                d_states.view(n, length, width).index_add_(0, rows, d_asking)
                d_learnt = d_learnt._replace(user=d_user)
        d_weights = *d_learnt.readout, d_learnt.mix, *d_learnt.gates, *d_learnt.session, *d_learnt.user
        return None, None, d_states.view(n, length, width), d_values, d_past, None, *d_weights


def _learnt(weights: Sequence[Any]) -> Learnt:
    return Learnt(weights[:4], weights[4], weights[5:7], weights[7:11], weights[11:])


class _Attended(NamedTuple):
    """One attention: what asked, what it was asked of, and what was found.

    asked: (n * Q, e) W_q h. wanted: (n, Q, e) what meets the keys (n, K, e). log: (n, Q, K) of the weights.
    """

    states: Tensor
    keys: Tensor
    distance: Tensor
    hidden: Tensor
    asked: Tensor
    wanted: Tensor
    log: Tensor


def _attend(
    states: Tensor, keys: Tensor, weights: Sequence[Any], distance: Tensor, hidden: Tensor
) -> _Attended:
    """As `Attention`, of states (n, Q, e)."""
    query, key, liked, by_distance = weights
    asked = product(states.view(-1, states.shape[2]), query.T)
    wanted = torch.add(liked, product(asked, key), alpha=len(liked) ** -0.5).view_as(states)
    logits = torch.baddbmm(by_distance[distance], wanted, keys.transpose(1, 2))
    log = torch.log_softmax(logits.masked_fill_(hidden, NEVER), -1)
    return _Attended(states, keys, distance, hidden, asked, wanted, log)


def _attended(
    found: _Attended, weights: Sequence[Any], d_log: Tensor, d_states: Tensor
) -> tuple[Tensor, Sequence[Tensor]]:
    """Gradients of the keys and of the weights; that of the states is added to d_states (n * Q, e)."""
    query, key, liked, by_distance = weights
    states = found.states.view(-1, len(liked))
    d = _of_logits(d_log, found.log).masked_fill_(found.hidden, 0)
    by_place = d.sum((0, 1)) if len(found.distance) == 1 else d.sum(0).flatten()
    d_distance = torch.zeros_like(by_distance).index_add_(0, found.distance.flatten(), by_place)
    d_keys = torch.bmm(d.transpose(1, 2), found.wanted)
    d_wanted = torch.bmm(d, found.keys).view(-1, len(liked))
    d_liked = d_wanted.sum(0)
    d_wanted.mul_(len(liked) ** -0.5)
    d_asked = product(d_wanted, key.T)
    d_states += product(d_asked, query)
    d_query, d_key = product(d_asked.T, states), product(found.asked.T, d_wanted)
    return d_keys, (d_query, d_key, d_liked, d_distance)


def _of_logits(d_log: Tensor, log: Tensor) -> Tensor:
    """The gradient of what a log-softmax is of."""
    return torch.ops.aten._log_softmax_backward_data(d_log.contiguous(), log, -1, log.dtype)
