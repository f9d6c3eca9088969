"""Softmax cross-entropy over a large catalogue: its gradient in place of the logits, or without any logits in memory.

`gradient` turns logits into their gradient. `fused` never writes them: one pass over the catalogue sums exp(logit) and
exp(logit) times vector together, as attention does over its keys (FlashAttention, Dao et al., NeurIPS 2022), which is
the loss and the gradient of the states; a second pass makes the logits again for the gradient of the vectors, as
Cut Cross-Entropy does (Wijmans et al., ICLR 2025). That is five products in the place of three, and pays while vectors
are short.
"""

from __future__ import annotations

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from recbole_ext.model.kernels.probe import AMPERE, Kept, runs

BLOCK = 4096
WARPS = 16
WIDEST = 128  # of vectors for which `fused` is the faster way
LOG2E = tl.constexpr(1.4426950408889634)
Mixed = tuple[Tensor, Tensor, Tensor]


@triton.jit
def _mix(value, log_rest, log_copied, row, here):
    """Loss of a mixture, and the softmax's share in it, for losses `value` of the softmax alone."""
    generated = tl.load(log_rest + row, mask=here, other=0.0).to(tl.float32) - value
    copied = tl.load(log_copied + row, mask=here, other=0.0).to(tl.float32)
    more = tl.maximum(generated, copied)
    both = more + tl.log(tl.exp(generated - more) + tl.exp(copied - more))
    return -both, tl.exp(generated - both)


@triton.jit
def _gradient(
    logits,
    target,
    weight,
    loss,
    log_rest,
    log_copied,
    share,
    columns,
    width,
    stride,
    BLOCK: tl.constexpr,
    MIXED: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    base = logits + row * stride
    place = tl.load(target + row)
    w = tl.load(weight + row).to(tl.float32)
    # before the first pass, whose reductions part it from the stores
    own = tl.load(base + place).to(tl.float32)
    lane = tl.arange(0, BLOCK)
    whole = columns // BLOCK * BLOCK  # blocks without an end in them need no mask
    column = whole + lane
    inside = column < columns
    # read by a mask whose end is a multiple of 16, eight numbers at once; a mask by `columns` would read one by one
    last = tl.load(base + column, mask=column < width, other=float("-inf")).to(tl.float32) * LOG2E
    last = tl.where(inside, last, float("-inf"))
    most = last
    for first in range(0, whole, BLOCK):
        most = tl.maximum(most, tl.load(base + first + lane).to(tl.float32) * LOG2E)
    highest = tl.max(most, axis=0)
    sums = tl.exp2(last - highest)
    for first in range(0, whole, BLOCK):
        sums += tl.exp2(tl.load(base + first + lane).to(tl.float32) * LOG2E - highest)
    total = tl.sum(sums, axis=0)
    log2_total = highest + tl.log2(total)
    value = log2_total / LOG2E - own
    if MIXED:
        value, part = _mix(value, log_rest, log_copied, row, True)
        tl.store(share + row, part)
        pull = w * part
    else:
        pull = w
    tl.store(loss + row, value * w)
    for first in range(0, whole, BLOCK):
        x = tl.load(base + first + lane).to(tl.float32)
        tl.store(base + first + lane, (tl.exp2(x * LOG2E - log2_total) * pull).to(logits.dtype.element_ty))
    tl.store(
        base + column, (tl.exp2(last - log2_total) * pull).to(logits.dtype.element_ty), mask=column < width
    )
    tl.debug_barrier()  # the target's is written over
    tl.store(base + place, ((tl.exp2(own * LOG2E - log2_total) - 1.0) * pull).to(logits.dtype.element_ty))


def gradient(
    logits: Tensor, target: Tensor, weight: Tensor, mixed: Mixed | None = None, columns: int | None = None
) -> Tensor:
    """Sum of the rows' weighted losses; logits (n, C) become weight * share * (softmax - one-hot).

    mixed: as of `large_softmax._to_gradient`, whose counterpart this is. columns: how many of the C are candidates; the
    gradient of the others is 0.
    """
    rows, width = logits.shape
    target, weight = target.contiguous(), weight.contiguous()
    loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    parts = (loss, loss, loss) if mixed is None else mixed  # pointers that are not looked at
    _gradient[(rows,)](
        logits,
        target,
        weight,
        loss,
        *parts,
        columns or width,
        width,
        logits.stride(0),
        BLOCK=BLOCK,
        MIXED=mixed is not None,
        num_warps=WARPS,
    )
    return loss.sum()


@triton.jit(do_not_specialize=["rows"])
def _sum_part(
    states,
    vectors,
    highest,
    total,
    found,
    rows,
    columns,
    width,
    part_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Of some rows and one part of the columns: the highest logit, sum of exp and of exp times vector."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    part = tl.program_id(1)
    lane = tl.arange(0, WIDTH)
    here = row < rows
    x = tl.load(
        states + row[:, None] * width + lane[None, :], mask=here[:, None] & (lane < width)[None, :], other=0.0
    )
    most = tl.full([ROWS], -1e30, tl.float32)
    sums = tl.zeros([ROWS], tl.float32)
    pulled = tl.zeros([ROWS, WIDTH], tl.float32)
    begin = part * part_columns
    end = tl.minimum(begin + part_columns, columns)
    for first in range(begin, end, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        known = column < end
        e = tl.load(
            vectors + column[:, None].to(tl.int64) * width + lane[None, :],
            mask=known[:, None] & (lane < width)[None, :],
            other=0.0,
        )
        logits = tl.dot(x, tl.trans(e)) * LOG2E
        logits = tl.where(known[None, :], logits, -1e30)
        new = tl.maximum(most, tl.max(logits, axis=1))
        less = tl.exp2(most - new)
        probability = tl.exp2(logits - new[:, None])
        sums = sums * less + tl.sum(probability, axis=1)
        pulled = tl.dot(probability.to(e.dtype), e, pulled * less[:, None])
        most = new
    tl.store(highest + part * rows + row, most, mask=here)
    tl.store(total + part * rows + row, sums, mask=here)
    place = (part * rows + row[:, None]).to(tl.int64) * WIDTH + lane[None, :]
    tl.store(found + place, pulled, mask=here[:, None])


@triton.jit(do_not_specialize=["rows"])
def _join_parts(
    states,
    vectors,
    target,
    weight,
    highest,
    total,
    found,
    loss,
    log_rest,
    log_copied,
    share,
    log_total,
    pull_of,
    d_states,
    rows,
    width,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    MIXED: tl.constexpr,
):
    """One row: its loss, the gradient of its state, and what its logits' gradient is made of."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, WIDTH)
    part = tl.arange(0, PARTS)
    most = tl.load(highest + part * rows + row)
    new = tl.max(most, axis=0)
    less = tl.exp2(most - new)
    sums = tl.sum(tl.load(total + part * rows + row) * less, axis=0)
    parts = tl.load(found + (part[:, None] * rows + row) * WIDTH + lane[None, :])
    mean = tl.sum(parts * less[:, None], axis=0) / sums
    log2_total = new + tl.log2(sums)
    place = tl.load(target + row)
    own = tl.load(vectors + place * width + lane, mask=lane < width, other=0.0).to(tl.float32)
    x = tl.load(states + row * width + lane, mask=lane < width, other=0.0).to(tl.float32)
    value = log2_total / LOG2E - tl.sum(own * x, axis=0)
    w = tl.load(weight + row).to(tl.float32)
    if MIXED:
        value, portion = _mix(value, log_rest, log_copied, row, True)
        tl.store(share + row, portion)
        pull = w * portion
    else:
        pull = w
    tl.store(loss + row, value * w)
    tl.store(log_total + row, log2_total)
    tl.store(pull_of + row, pull)
    tl.store(
        d_states + row * width + lane, ((mean - own) * pull).to(d_states.dtype.element_ty), mask=lane < width
    )


@triton.jit(do_not_specialize=["rows"])
def _pull_vectors(
    states,
    vectors,
    target,
    log_total,
    pull_of,
    d_vectors,
    rows,
    columns,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TARGETS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Of some columns: the gradient of their vectors, over all rows."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    lane = tl.arange(0, WIDTH)
    here = (column < columns)[:, None] & (lane < width)[None, :]
    place = column[:, None].to(tl.int64) * width + lane[None, :]
    e = tl.load(vectors + place, mask=here, other=0.0)
    pulled = tl.zeros([COLUMNS, WIDTH], tl.float32)
    for first in range(0, rows, ROWS):
        row = first + tl.arange(0, ROWS)
        known = row < rows
        x = tl.load(
            states + row[:, None] * width + lane[None, :],
            mask=known[:, None] & (lane < width)[None, :],
            other=0.0,
        )
        log2_total = tl.load(log_total + row, mask=known, other=0.0)
        pull = tl.load(pull_of + row, mask=known, other=0.0)
        logits = tl.dot(e, tl.trans(x))
        probability = tl.exp2(logits * LOG2E - log2_total[None, :])
        pulled = tl.dot((probability * pull[None, :]).to(x.dtype), x, pulled)
    begin = tl.program_id(0) * COLUMNS
    for first in range(0, rows, TARGETS):  # of what few rows have their target here
        row = first + tl.arange(0, TARGETS)
        known = row < rows
        own = tl.load(target + row, mask=known, other=-1) - begin
        if tl.max(((own >= 0) & (own < COLUMNS)).to(tl.int32), axis=0) > 0:
            x = tl.load(
                states + row[:, None] * width + lane[None, :],
                mask=known[:, None] & (lane < width)[None, :],
                other=0.0,
            )
            pull = tl.load(pull_of + row, mask=known, other=0.0)
            there = tl.arange(0, COLUMNS)[:, None] == own[None, :]
            pulled = tl.dot(tl.where(there, -pull[None, :], 0.0).to(x.dtype), x, pulled)
    tl.store(d_vectors + place, pulled.to(d_vectors.dtype.element_ty), mask=here)


# fastest of some ten each on an H200, 4,096 rows, 43,000 columns, 64 and 128 wide
SUM_ROWS, SUM_COLUMNS, SUM_WARPS, SUM_STAGES = 128, 64, 4, 3
PULL_ROWS, PULL_COLUMNS, PULL_WARPS, PULL_STAGES = 64, 64, 4, 3
PULL_TARGETS = 128
MOST_PARTS = 16


@Kept
def fuses(width: int) -> bool:
    """Whether `fused` is the faster way for vectors of this width, and the GPU takes it."""
    if width > WIDEST or torch.cuda.get_device_capability() < AMPERE:
        return False
    return runs(lambda: _try(width))


def _try(width: int) -> None:
    vectors = torch.zeros(1, width, dtype=torch.bfloat16, device="cuda")
    fused(vectors, vectors, torch.zeros(1, dtype=torch.int64, device="cuda"), torch.ones(1, device="cuda"))


def fused(
    states: Tensor,
    vectors: Tensor,
    target: Tensor,
    weight: Tensor,
    mixture: tuple[Tensor, Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Loss, its gradient in states (N, d) and in vectors (C, d), and the softmax's share (N,) where there is a mixture,
    for bfloat16 states and vectors; no logits are written to memory.

    dtype: of the vectors' gradient; None: theirs.
    As `large_softmax._of_gradients`, whose counterpart this is.
    """
    (rows, width), columns, device = states.shape, len(vectors), states.device
    states, vectors = states.contiguous(), vectors.contiguous()
    target, weight = target.contiguous(), weight.contiguous()
    wide = _padded_width(width)
    blocks = triton.cdiv(rows, SUM_ROWS)
    parts = 1
    while parts < MOST_PARTS and blocks * parts < 256:
        parts *= 2
    part_columns = triton.cdiv(triton.cdiv(columns, parts), SUM_COLUMNS) * SUM_COLUMNS
    exact = partial(torch.empty, dtype=torch.float32, device=device)
    highest, total = exact(2, parts, rows).unbind()
    found = exact(parts, rows, wide)
    _sum_part[(blocks, parts)](
        states,
        vectors,
        highest,
        total,
        found,
        rows,
        columns,
        width,
        part_columns,
        ROWS=SUM_ROWS,
        COLUMNS=SUM_COLUMNS,
        WIDTH=wide,
        num_warps=SUM_WARPS,
        num_stages=SUM_STAGES,
    )
    loss, log_total, pull = exact(3, rows).unbind()
    share = None if mixture is None else exact(rows)
    mixed = (loss, loss, loss) if mixture is None else (*mixture, share)
    d_states = exact(rows, width)
    _join_parts[(rows,)](
        states,
        vectors,
        target,
        weight,
        highest,
        total,
        found,
        loss,
        *mixed,
        log_total,
        pull,
        d_states,
        rows,
        width,
        PARTS=parts,
        WIDTH=wide,
        MIXED=mixture is not None,
        num_warps=1,
    )
    d_vectors = _of_vectors(states, vectors, target, log_total, pull, dtype or vectors.dtype)
    return loss.sum(), d_states, d_vectors, share


def _of_vectors(
    states: Tensor, vectors: Tensor, target: Tensor, log_total: Tensor, pull: Tensor, dtype: torch.dtype
) -> Tensor:
    """(C, d) gradient of the vectors; log_total (N,) in base 2, and pull (N,), what each row's gradient weighs."""
    (rows, width), columns = states.shape, len(vectors)
    d_vectors = torch.empty(columns, width, dtype=dtype, device=states.device)
    _pull_vectors[(triton.cdiv(columns, PULL_COLUMNS),)](
        states,
        vectors,
        target,
        log_total,
        pull,
        d_vectors,
        rows,
        columns,
        width,
        ROWS=PULL_ROWS,
        COLUMNS=PULL_COLUMNS,
        TARGETS=PULL_TARGETS,
        WIDTH=_padded_width(width),
        num_warps=PULL_WARPS,
        num_stages=PULL_STAGES,
    )
    return d_vectors


def _padded_width(width: int) -> int:
    """What the matrix units take: a power of two, and 16 at least."""
    return max(16, int(triton.next_power_of_2(width)))
