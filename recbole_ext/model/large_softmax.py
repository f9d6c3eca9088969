"""Softmax cross-entropy over a large catalogue without ever storing all logits: exact, backward included.

The logits of some rows are made, turned into their own gradient in place and multiplied back at once, so memory is that
of one chunk of rows and backward costs nothing. The idea of forming the gradient in the forward pass is Liger-Kernel's
fused linear cross-entropy (Hsu et al. 2024). On a GPU Triton kernels do without logits in memory, or turn them into
gradients (kernels/softmax.py), or torch's own operations where there is none. On a CPU rows become probabilities in
one pass of torch's softmax, or in bfloat16 exponentials as the product is made; what makes a gradient of these, the one
at the target and the weight, is done to the products, which are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from recbole_ext.model import kernels
from recbole_ext.scores.products import by_onednn, product, small_exponentials, takes_bf16
from recbole_ext.scores.ways import KERNELS, ONEDNN, OWN, SOFTMAX, took

CPU_CHUNK_LOGITS = 16 << 20  # 384 rows of 43,000 items: of fewer the items' gradient is added up too often
GPU_CHUNK_BYTES = 512 << 20  # at least
GPU_CHUNK_ROWS = 1536  # and so many rows, as each chunk passes over the gradient of all vectors
GPU_SHARE = 1 / 32  # of its memory, which a chunk with all its rows stays below
CPU_TILED_LOGITS = 96 << 20  # in bfloat16, kept until their rows' sums are known: 2,336 rows of 43,000 items
TILE = 1024  # items
BELOW_TARGET = 40.0  # so that exponentials are small also where a target is improbable
LEAST = 1e-30  # exponential of a target that its loss can be divided by
SMALL = 4.5e-5  # exp(-10), by which the largest exponential may be wrong
Mixture = tuple[Tensor, Tensor]  # log_rest (N,), log_copied (N,)
Mixed = tuple[Tensor, Tensor, Tensor]  # the two of some rows, and the softmax's share in each
FEWEST_ROWS = 32  # of a chunk on the CPU, below which products are slow


def softmax_loss(
    states: Tensor,
    vectors: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    precision: str = "fp32",
    chunk_rows: int | None = None,
    mixture: Mixture | None = None,
) -> Tensor:
    """Sum over rows of `-weight * log softmax(states @ vectors.T)[target]`, a scalar.

    With a mixture of p_gen, the softmax, and something else, of `-weight * log(exp(log_rest) p_gen + exp(log_copied))`.

    Args:
        states: (N, d). vectors: (C, d) of all candidates. target: (N,) int64 in [0, C).
        weight: (N,) float, constant; None: 1 for every row. A row of weight 0 costs time and teaches nothing.
        precision: bf16 rounds logits and their gradient to bfloat16; sums are float32 either way.
        chunk_rows: rows whose logits exist at a time; None: as many as fit a cache (CPU) or 512 MiB (GPU); 1,536 where
            that is more and a GPU has the room.
        mixture: log_rest (N,), the log of what the softmax weighs, and log_copied (N,), the log of what the other part
            gives to the target, finite both; None: the softmax alone.
    """
    if weight is None:
        weight = torch.ones(len(states), device=states.device)
    dtype = torch.bfloat16 if precision == "bf16" else _at_least_float32(states.dtype)
    rows = chunk_rows or _rows_in_a_chunk(len(states), len(vectors), dtype, states.device)
    rest, copied = (None, None) if mixture is None else mixture
    loss: Tensor = _LargeSoftmax.apply(states, vectors, target, weight.detach(), rest, copied, dtype, rows)
    return loss


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _rows_in_a_chunk(rows: int, candidates: int, dtype: torch.dtype, device: torch.device) -> int:
    if device.type == "cpu":
        most = CPU_TILED_LOGITS if _tiles(dtype, device) else CPU_CHUNK_LOGITS
        return max(FEWEST_ROWS, most // candidates // 16 * 16)
    row = candidates * dtype.itemsize
    room = GPU_SHARE * torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    most = max(1, int(max(GPU_CHUNK_BYTES, min(GPU_CHUNK_ROWS * row, room))) // row)
    chunks = -(-rows // most)
    return max(1, -(-rows // max(chunks, 1)))  # chunks of one size


class _LargeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        vectors: Tensor,
        target: Tensor,
        weight: Tensor,
        log_rest: Tensor | None,
        log_copied: Tensor | None,
        dtype: torch.dtype,
        rows: int,
    ) -> Tensor:
        mixture = None
        if log_rest is not None and log_copied is not None:
            exact = _at_least_float32(dtype)
            mixture = log_rest.to(exact).contiguous(), log_copied.to(exact).contiguous()
        with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
            asked = Asked(states, vectors, target, weight, mixture, dtype, rows, ctx.needs_input_grad[:2])
            way = _way(asked)
            took(SOFTMAX, _said(way, asked))
            loss, *gradients, share = way(asked)
            if share is not None and mixture is not None:
                gradients += [-weight * share, -weight * (1 - share)]
        ctx.save_for_backward(*gradients, *(() if mixture else (None, None)))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0]
        if scale.device.type == "cpu" and scale == 1:  # a pass over all items less
            scaled = list(ctx.saved_tensors)
        else:
            scaled = [None if d is None else d * scale.to(d.dtype) for d in ctx.saved_tensors]
        states, vectors, rest, copied = scaled
        return states, vectors, None, None, rest, copied, None, None


Found = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


class Asked(NamedTuple):
    """What the ways below are asked for; the tensors as of `softmax_loss`.

    dtype: of what is multiplied. rows: whose logits exist at a time. wanted: whether states and vectors get gradients.
    """

    states: Tensor
    vectors: Tensor
    target: Tensor
    weight: Tensor
    mixture: Mixture | None
    dtype: torch.dtype
    rows: int
    wanted: tuple[bool, ...]


def _way(asked: Asked) -> Callable[[Asked], Found]:
    """The fastest of the ways below."""
    if asked.states.device.type == "cpu":
        return _of_exponentials if _tiles(asked.dtype, asked.states.device) else _of_probabilities
    low = asked.states.is_cuda and asked.dtype == torch.bfloat16 and all(asked.wanted)
    found = kernels.found() if low else None
    if found is not None and found.softmax.fuses(asked.states.shape[1]):
        return _fused
    return _of_gradients


def _said(way: Callable[[Asked], Found], asked: Asked) -> str:
    """What a way computes with."""
    if way is _fused:
        return f"{KERNELS} without logits in memory"
    if asked.states.is_cuda:
        return OWN if kernels.found() is None or asked.dtype == torch.float64 else KERNELS
    low = asked.dtype != torch.float32 or not by_onednn(asked.states, asked.vectors)
    return OWN if low and way is _of_probabilities else ONEDNN


def _tiles(dtype: torch.dtype, device: torch.device) -> bool:
    return dtype == torch.bfloat16 and takes_bf16(device)


def _fused(asked: Asked) -> Found:
    """As `_of_gradients`, without any logits in memory."""
    states, vectors, target, weight, mixture, dtype, _, _ = asked
    x, table = states.to(dtype).contiguous(), vectors.to(dtype).contiguous()
    loss, d_states, d_vectors, share = kernels.found().softmax.fused(
        x, table, target, weight, mixture, vectors.dtype
    )
    return loss, d_states.to(states.dtype), d_vectors, share


def _of_gradients(asked: Asked) -> Found:
    """The loss, its gradient in states (N, d) and in vectors (C, d) where wanted, and the softmax's share (N,) in the
    probability of each target, where there is a mixture."""
    states, vectors, target, weight, mixture, dtype, rows, wanted = asked
    exact = _at_least_float32(dtype)
    x, table = states.to(dtype), _padded(vectors.to(dtype))
    candidates = len(vectors)
    total = torch.zeros((), dtype=exact, device=x.device)
    d_states = torch.empty_like(states) if wanted[0] else None
    d_vectors: Tensor | None = None
    share = None if mixture is None else torch.empty(len(x), dtype=exact, device=x.device)
    logits = torch.empty(min(rows, len(x)), len(table), dtype=dtype, device=x.device)
    for first in range(0, len(x), rows):
        piece = slice(first, first + rows)
        chunk = logits[: len(x[piece])]
        torch.mm(x[piece], table.T, out=chunk)
        # the padding's vectors are zero, and its gradient is cut off
        total += _to_gradient(chunk, target[piece], weight[piece], candidates, _mixed(mixture, share, piece))
        if d_states is not None:
            d_states[piece] = chunk @ table
        if wanted[1]:
            whole = len(x) <= rows
            d_vectors = chunk.T @ x[piece] if whole else _added(d_vectors, chunk.T, x[piece], exact)
    if d_vectors is not None:
        d_vectors = d_vectors[:candidates].to(vectors.dtype).contiguous()
    return total.to(_at_least_float32(states.dtype)), d_states, d_vectors, share


def _of_probabilities(asked: Asked) -> Found:
    """The same, on a CPU."""
    states, vectors, target, weight, mixture, dtype, rows, wanted = asked
    exact = _at_least_float32(dtype)
    x, table = states.to(dtype), vectors.to(dtype)
    total = torch.zeros((), dtype=exact)
    pull = torch.empty(len(x), 1, dtype=exact)  # weight of each row's gradient
    share = None if mixture is None else torch.empty(len(x), dtype=exact)
    d_states = torch.empty(states.shape, dtype=exact) if wanted[0] else None
    d_vectors: Tensor | None = None
    onednn = by_onednn(x, table)
    by_column = dtype == torch.bfloat16 or onednn  # the order its products are fastest in
    logits = None if onednn else torch.empty(min(rows, len(x)), len(table), dtype=dtype)
    for first in range(0, len(x), rows):
        piece = slice(first, first + rows)
        if logits is None:
            chunk = product(x[piece], table.T)
        else:
            chunk = logits[: len(x[piece])]
            torch.mm(x[piece], table.T, out=chunk)
        torch.softmax(chunk, 1, out=chunk)  # a row is read before it is written
        loss = _losses(chunk, x[piece], table, target[piece])
        value, pull[piece, 0] = _weighed(loss, weight[piece], _mixed(mixture, share, piece))
        total += value
        if d_states is not None:
            d_states[piece] = product(chunk, table)
        if wanted[1]:
            pulled = (x[piece] * pull[piece]).to(dtype)
            pair = (pulled.T.contiguous(), chunk) if by_column else (chunk.T, pulled)
            d_vectors = _added(d_vectors, *pair, exact)
    if d_states is not None:
        d_states = d_states.sub_(table[target]).mul_(pull).to(states.dtype)
    if d_vectors is not None:
        d_vectors = (d_vectors.T if by_column else d_vectors).to(exact).contiguous()
        d_vectors = d_vectors.index_add_(0, target, x * pull, alpha=-1).to(vectors.dtype)
    return total.to(_at_least_float32(states.dtype)), d_states, d_vectors, share


def _of_exponentials(asked: Asked) -> Found:
    """The same, in bfloat16 on a CPU that multiplies it: tile by tile of items, each of which stays in a core's cache.

    e_ri = exp(l_ri - l_r,target - 40) comes with the product. The target's own is known exactly, so it is taken out of
    its tile: with Z the sum of the others, the loss is log(1 + Z / e_target), 0 where the model is sure, and
    1 - p_target is Z / (Z + e_target). A row's gradient in states is that of e over this sum, and for that of the
    vectors the rows are divided by it, which is known once all tiles are made. All e are small enough
    (`small_exponentials`) where no p_target is below exp(-30); where one is, the way of probabilities is gone.
    """
    states, vectors, target, weight, mixture, dtype, rows, wanted = asked
    x, table = states.to(dtype), vectors.to(dtype)
    candidates, width = table.shape
    below = _below_target(x, table, target)
    if below is None:
        return _of_probabilities(asked)
    of_target, shifted, ones = below
    total = torch.zeros(())
    pull, missed = torch.empty(len(x), 1), torch.empty(len(x), 1)  # 1 - p_target
    share = None if mixture is None else torch.empty(len(x))
    d_states = torch.zeros(len(x), width) if wanted[0] else None
    d_vectors: Tensor | None = None
    for first in range(0, len(x), rows):
        piece = slice(first, first + rows)
        tiles, sums = [], []
        for ones_of_tile, of_tile, own_places in zip(
            ones.split(TILE), table.split(TILE), _places(target[piece], candidates)
        ):
            tile = small_exponentials(shifted[piece], ones_of_tile)
            tile[own_places] = 0
            sums.append(tile.sum(1))  # rounded; asked for float32, torch would copy the tile
            if d_states is not None:
                d_states[piece] += tile @ of_tile
            if wanted[1]:
                tiles.append(tile)
        others = torch.stack(sums).sum(0, dtype=torch.float32)
        z = others + of_target[piece]
        if not bool(z.max() < SMALL):
            return _of_probabilities(asked)
        loss = (others / of_target[piece]).log1p()
        value, pull[piece, 0] = _weighed(loss, weight[piece], _mixed(mixture, share, piece))
        total += value
        missed[piece, 0] = others / z
        if d_states is not None:
            d_states[piece] /= z.unsqueeze(1)
        if wanted[1]:
            pulled = (x[piece] * (pull[piece] / z.unsqueeze(1))).to(dtype).T.contiguous()
            if d_vectors is None:
                d_vectors = torch.empty(candidates, width)
                for of_tile, tile in zip(d_vectors.split(TILE), tiles):
                    of_tile.copy_((pulled @ tile).T)
            else:
                for of_tile, tile in zip(d_vectors.split(TILE), tiles):
                    of_tile += (pulled @ tile).T
    if d_states is not None:
        d_states = d_states.addcmul_(table[target], missed, value=-1).mul_(pull).to(states.dtype)
    if d_vectors is not None:
        d_vectors = d_vectors.index_add_(0, target, x * (pull * missed), alpha=-1).to(vectors.dtype)
    return total.to(_at_least_float32(states.dtype)), d_states, d_vectors, share


def _below_target(x: Tensor, table: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """e (N,) of the targets, and x (N, d + 2) and table (C, d + 2) whose products are logits less the target's and 40;
    None where logits are so large that their bfloat16 is far off."""
    width = x.shape[1]
    own = (x.float() * table[target].float()).sum(1)  # l of the targets, as the products sum them
    shift = (own + BELOW_TARGET).to(x.dtype)
    of_target = (own - shift.float()).exp()
    if not bool((of_target > LEAST).all()):
        return None
    shifted, ones = F.pad(x, (0, 2)), F.pad(table, (0, 2))  # an even number of columns
    shifted[:, width], ones[:, width] = -shift, 1
    return of_target, shifted, ones


def _places(target: Tensor, candidates: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each tile of items the rows (k,) whose target (n,) it holds, and where in the tile (k,)."""
    order = target.argsort()
    starts = torch.arange(0, candidates + TILE, TILE)
    bounds = torch.searchsorted(target[order], starts).tolist()
    for start, first, last in zip(starts.tolist(), bounds, bounds[1:]):
        rows = order[first:last]
        yield rows, target[rows] - start


def probabilities(
    states: Tensor, vectors: Tensor, target: Tensor, weight: Tensor, mixture: Mixture | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Weighted sum of losses, as `softmax_loss`, the probabilities (N, C), what each row's gradient weighs (N, 1), and
    the softmax's share (N,) where there is a mixture, all on a CPU and at once."""
    found = product(states, vectors.T)
    torch.softmax(found, 1, out=found)  # a row is read before it is written
    loss = _losses(found, states, vectors, target)
    share = None if mixture is None else torch.empty_like(loss)
    total, pull = _weighed(loss, weight, _mixed(mixture, share, slice(None)))
    return total, found, pull.unsqueeze(1), share


def exponentials(
    states: Tensor, vectors: Tensor, target: Tensor, weight: Tensor, mixture: Mixture | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor] | None:
    """As `probabilities`, of bfloat16 states and vectors in the place of the probabilities e (N, C), 0 at the target,
    with their sum and the target's (N, 1) and the share (N, 1) of e in it, see `_of_exponentials`; None where they are
    not small enough."""
    below = _below_target(states, vectors, target)
    if below is None:
        return None
    of_target, shifted, ones = below
    found = small_exponentials(shifted, ones)
    found.scatter_(1, target.unsqueeze(1), 0)
    others = found.sum(1, dtype=torch.float32)
    z = others + of_target
    if not bool(z.max() < SMALL):
        return None
    loss = (others / of_target).log1p()
    share = None if mixture is None else torch.empty_like(loss)
    total, pull = _weighed(loss, weight, _mixed(mixture, share, slice(None)))
    return total, found, pull.unsqueeze(1), share, z.unsqueeze(1), (others / z).unsqueeze(1)


def _losses(probability: Tensor, x: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """(n,) minus the log of each target's probability."""
    exact = _at_least_float32(x.dtype)
    own = probability.gather(1, target.unsqueeze(1)).squeeze(1).to(exact)
    loss = -own.log()
    lost = own == 0  # too small for a number, where its log is not
    if lost.any():
        loss[lost] = F.cross_entropy((x[lost] @ table.T).to(exact), target[lost], reduction="none")
    return loss


def _mixed(mixture: Mixture | None, share: Tensor | None, piece: slice) -> Mixed | None:
    return None if mixture is None or share is None else (mixture[0][piece], mixture[1][piece], share[piece])


def _added(sum_: Tensor | None, a: Tensor, b: Tensor, exact: torch.dtype) -> Tensor:
    """`sum_ + a @ b`, summed at least in float32."""
    if sum_ is not None and exact == a.dtype and not by_onednn(a, b):
        return sum_.addmm_(a, b)
    more = product(a, b)
    return more.to(exact) if sum_ is None else sum_.add_(more)


def _padded(table: Tensor) -> Tensor:
    """On a GPU, zero rows up to a multiple of 16: products of odd sizes are up to three times slower there."""
    missing = -len(table) % 16
    return F.pad(table, (0, 0, 0, missing)) if table.is_cuda and missing else table


def _to_gradient(
    logits: Tensor, target: Tensor, weight: Tensor, candidates: int, mixed: Mixed | None = None
) -> Tensor:
    """Sum of the rows' weighted losses; `logits` (n, C) become weight * share * (softmax - one-hot), in place.

    candidates: how many of the C columns there are; the others are padding, whose gradient is of no account.
    mixed: log_rest and log_copied (n,), and the share (n,) to be written; None: no mixture, a share of 1.
    """
    found = kernels.found() if logits.is_cuda and logits.dtype != torch.float64 else None
    if found is not None:
        return found.softmax.gradient(logits, target, weight, mixed, candidates)
    logits = logits[:, :candidates]
    exact = _at_least_float32(logits.dtype)
    place = target.unsqueeze(1)
    own = logits.gather(1, place).to(exact)
    highest = logits.amax(1, keepdim=True)
    probability = logits.sub_(highest).exp_()
    total = probability.sum(1, keepdim=True, dtype=exact)
    loss = total.log() + highest.to(exact) - own
    value, pull = _weighed(loss.squeeze(1), weight, mixed)
    w = pull.unsqueeze(1)
    probability.mul_((w / total).to(logits.dtype))
    probability.scatter_add_(1, place, -w.to(logits.dtype))
    return value


def _weighed(loss: Tensor, weight: Tensor, mixed: Mixed | None) -> tuple[Tensor, Tensor]:
    """Sum of the weighted losses (n,), or of those of the mixture, and what each row's gradient of them weighs (n,)."""
    w = weight.to(loss.dtype)
    if mixed is None:
        return (loss * w).sum(), w
    log_rest, log_copied, share = mixed
    generated = log_rest - loss
    both = torch.logaddexp(generated, log_copied)
    share.copy_((generated - both).exp())
    return -(both * w).sum(), w * share
