"""Products of float32 matrices on a CPU by oneDNN, which uses all of its vector units.

torch hands them to MKL, which does so on Intel's CPUs alone: on an AMD EPYC with AVX-512 one thread makes 70 to 100
GFLOP/s of MKL's and 170 to 230 of oneDNN's. oneDNN adds the terms of a number one after the other, by fused multiply
and add, however many rows there are from two on. There MKL does the same up to some 192 terms, so that both give the
same bits, and takes another order beyond. Where oneDNN or AVX-512 is missing, and for other types and devices, all of
this is torch's own.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from recbole_ext.scores.ways import LAYERS, ONEDNN, OWN, took


@functools.cache
def _has_onednn() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def by_onednn(a: Tensor, b: Tensor) -> bool:
    """Whether the product of these is oneDNN's."""
    float32 = a.dtype == b.dtype == torch.float32
    if not float32 or not a.is_cpu or not b.is_cpu or not _has_onednn():
        return False
    autocast = torch.is_autocast_enabled("cpu")
    return a.numel() > 0 and b.numel() > 0 and bool(torch.backends.mkldnn.enabled) and not autocast


def takes_bf16(device: torch.device) -> bool:
    """Whether `small_exponentials` is there: oneDNN, and a CPU whose units multiply bfloat16."""
    return (
        device.type == "cpu" and _has_onednn() and bool(torch.backends.mkldnn.enabled) and _multiplies_bf16()
    )


@functools.cache
def _multiplies_bf16() -> bool:
    says = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # older torch has no such question
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and bool(says())


def small_exponentials(x: Tensor, weight: Tensor) -> Tensor:
    """(n, m) bfloat16 of exp(x @ weight.T), where all are far below 1; x (n, k) and weight (m, k) bfloat16.

    As oneDNN's sigmoid, which it takes of a product before that is rounded: exp(y) / (1 + exp(y)), an exp(y)-th less.
    """
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "sigmoid", [], "")
    return found


def product(a: Tensor, b: Tensor) -> Tensor:
    """a (n, k) @ b (k, m); not differentiable where it is oneDNN's."""
    return _times(a, b.T) if by_onednn(a, b) else a @ b


def _times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(n, m) of x (n, k) and weight (m, k)."""
    if not (weight.is_contiguous() or weight.T.is_contiguous()):
        weight = weight.contiguous()  # of a part of a matrix oneDNN makes a hundred times less
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As F.linear: x (…, k), weight (m, k), bias (m,); differentiable."""
    fits = weight.dim() == 2 and x.shape[-1:] == weight.shape[1:]  # where it does not, torch says so
    fast = fits and by_onednn(x, weight) and not _is_transformed()
    took(LAYERS, ONEDNN if fast else OWN)
    if not fast:
        return torch.nn.functional.linear(x, weight, bias)
    y: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return y.view(*x.shape[:-1], -1)


def _is_transformed() -> bool:
    """Whether torch.func, forward derivatives or a trace look at operations, which know torch's own alone."""
    transforms = getattr(torch._C, "_are_functorch_transforms_active", bool)
    return bool(transforms()) or torch.jit.is_tracing() or forward_ad._current_level >= 0


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _times(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dy = gradients[0]
        wanted = ctx.needs_input_grad
        # where gradients are recorded, a second derivative may be asked for
        times = torch.matmul if torch.is_grad_enabled() else product
        dx = times(dy, weight) if wanted[0] else None
        d_weight = times(dy.T, x) if wanted[1] else None
        return dx, d_weight, dy.sum(0) if wanted[2] else None
