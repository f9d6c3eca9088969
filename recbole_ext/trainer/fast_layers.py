"""Layers of a model as they train fastest, with the same weights under the same names.

Anywhere: RecBole's GELU becomes torch's. On a CPU: linear maps are multiplied by oneDNN, and dropout draws its mask
faster, the same one. On a GPU: an embedding's gradient is made without a sort, a layer norm is one kernel each way,
RecBole's attention makes queries, keys and values in one product. GRU on a GPU under `precision: bf16`: its steps are
one kernel each way, in float32 but for what is multiplied; other recurrent layers stay in float32 altogether.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from recbole.model.layers import FeedForward, MultiHeadAttention
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recbole_ext.model import beside, kernels
from recbole_ext.model.rows import table_rows
from recbole_ext.scores.products import linear
from recbole_ext.scores.ways import GRU, KERNELS, NORMS, took


def speed_up(model: nn.Module, gpu: bool, low: bool) -> None:
    """Give the model's layers these forwards; gpu: what helps a GPU; low: what `precision: bf16` asks for."""
    faster = {FeedForward: FedForward} | (FASTER if gpu else ON_CPU) | (EXACT if low else {})
    for module in model.modules():
        # the class, and no attribute of the object, so that copies are whole
        module.__class__ = faster.get(type(module), type(module))


class FedForward(FeedForward):
    """RecBole's, whose GELU takes one pass in training instead of five; ranking keeps RecBole's last bits."""

    def forward(self, input_tensor: Tensor) -> Tensor:
        """(n, L, d) states of positions (n, L)."""
        if not self.training or self.intermediate_act_fn != self.gelu:
            return super().forward(input_tensor)
        found = self.dropout(self.dense_2(F.gelu(self.dense_1(input_tensor))))
        return self.LayerNorm(found + input_tensor)


class Mapped(nn.Linear):
    """A linear map whose products in training are oneDNN's, on a CPU; ranking keeps torch's last bits."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, m) of rows (…, k)."""
        if not self.training or not torch.is_grad_enabled():
            return super().forward(input)
        return linear(input, self.weight, self.bias)


class Dropped(nn.Dropout):
    """torch's, whose mask on a CPU is made of the same random numbers in two fifths of the time."""

    drawn: Sequence[Callable[[], Tensor]] = ()  # masks of calls to come

    def draw(self, *shapes: tuple[int, ...]) -> None:
        """Begin to draw the masks of the next calls, of so many float32 numbers each, beside what comes before them."""
        if self.training and 0 < self.p < 1:
            self.drawn = [beside.start(partial(self._mask, torch.empty(shape))) for shape in shapes]

    def _mask(self, like: Tensor) -> Tensor:
        kept = torch.empty_like(like, dtype=torch.float64).uniform_() < 1 - self.p
        return kept.to(like.dtype).div_(1 - self.p)

    def forward(self, input: Tensor) -> Tensor:
        """As given, a share `p` of the numbers zero and the others divided by what is left of 1, in training."""
        if not self.training or self.inplace or not 0 < self.p < 1 or not input.is_cpu:
            return super().forward(input)
        mask = None
        if self.drawn:
            first, *self.drawn = self.drawn
            mask = first()
        if mask is None or mask.shape != input.shape or mask.dtype != input.dtype:
            mask = self._mask(input)
        return input * mask


ON_CPU: dict[type[nn.Module], Any] = {nn.Linear: Mapped, nn.Dropout: Dropped}


class MergedAttention(MultiHeadAttention):
    """RecBole's, with one product for queries, keys and values."""

    def forward(self, input_tensor: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, L, d) states of positions (n, L)."""
        parts = (self.query, self.key, self.value)
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        heads = (3, self.num_attention_heads, self.attention_head_size)
        found = F.linear(input_tensor, weight, bias).unflatten(-1, heads)
        query, key, value = found.permute(2, 0, 3, 1, 4).contiguous().unbind()  # (n, heads, L, …)
        scores = query @ key.transpose(-1, -2)
        scores = torch.add(attention_mask, scores, alpha=1 / self.sqrt_attention_head_size)
        context = self.attn_dropout(self.softmax(scores)) @ value
        found = self.out_dropout(self.dense(context.transpose(1, 2).flatten(2)))
        return self.LayerNorm(found + input_tensor)


class Normed(nn.LayerNorm):
    """A layer norm in one kernel each way."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, d) rows of mean 0 and variance 1, times a weight, plus a bias."""
        learns = input.is_cuda and input.dtype == torch.float32 and torch.is_grad_enabled()
        found = kernels.found() if learns and not torch.is_autocast_enabled("cuda") else None
        if found is None or len(self.normalized_shape) != 1 or self.weight is None or self.bias is None:
            return super().forward(input)
        took(NORMS, KERNELS)
        return found.norm.layer_norm(input, self.weight, self.bias, self.eps)


class LookedUp(nn.Embedding):
    """An embedding whose gradient is made without a sort, on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        """(…, d) rows of the table."""
        if self.sparse or self.max_norm is not None or self.scale_grad_by_freq or not self.weight.is_cuda:
            return super().forward(input)
        return table_rows(self.weight, input, -1 if self.padding_idx is None else self.padding_idx)


FASTER: dict[type[nn.Module], Any] = {
    nn.Embedding: LookedUp,
    nn.LayerNorm: Normed,
    MultiHeadAttention: MergedAttention,
}


def _exact_class(layer: Any) -> Any:
    def forward(self: Any, input: Any, hx: Any = None) -> Any:
        device = input.data.device.type
        with torch.autocast(device, enabled=False):
            if hx is None and _takes(self, input):
                took(GRU, KERNELS)
                return _steps(self, input.float())
            return layer.forward(self, _float32(input), _float32(hx))

    return type(f"Exact{layer.__name__}", (layer,), {"forward": forward})


# by these names they are pickled
ExactGRU, ExactLSTM, ExactRNN = (_exact_class(layer) for layer in (nn.GRU, nn.LSTM, nn.RNN))
EXACT: dict[type[nn.Module], Any] = {nn.GRU: ExactGRU, nn.LSTM: ExactLSTM, nn.RNN: ExactRNN}


def _takes(layer: Any, inputs: Any) -> bool:
    """Whether the kernel does what this layer does; ranking stays in float32."""
    return (
        isinstance(layer, nn.GRU)
        and isinstance(inputs, Tensor)
        and inputs.is_cuda
        and inputs.dim() == 3
        and inputs.numel() > 0
        and torch.is_grad_enabled()
        and layer.num_layers == 1
        and not layer.bidirectional
        and (found := kernels.found()) is not None
        and bool(found.recurrence.fits(layer.hidden_size))
    )


def _steps(layer: nn.GRU, inputs: Tensor) -> tuple[Tensor, Tensor]:
    weights: list[Any] = layer._flat_weights
    given, fed_back, *bias = weights
    of_given, of_fed_back = bias or (None, None)
    gates = F.linear(inputs, given, of_given)
    states = kernels.found().recurrence.recurrence(gates, fed_back, of_fed_back, layer.batch_first)
    return states, states.select(1 if layer.batch_first else 0, -1).unsqueeze(0)


def _float32(value: Any) -> Any:
    if isinstance(value, tuple) and not isinstance(value, PackedSequence):
        return tuple(map(_float32, value))
    return value.float() if isinstance(value, Tensor | PackedSequence) else value
