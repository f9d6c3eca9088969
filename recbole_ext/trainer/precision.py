"""Recurrent layers in float32 while the rest of a step is in bfloat16.

Autocast to bfloat16 hands cuDNN's recurrent layers to float16 all the same, whose gradients overflow without a scaler.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def keep_recurrence_exact(model: nn.Module) -> None:
    """Let every GRU, LSTM and RNN of the model leave autocast; what they compute does not change otherwise."""
    for module in model.modules():
        if type(module) in EXACT:
            module.__class__ = EXACT[type(module)]  # not an attribute of the object, so that copies are whole


def _exact_class(layer: Any) -> Any:
    def forward(self: Any, inputs: Any, hx: Any = None) -> Any:
        device = inputs.data.device.type
        with torch.autocast(device, enabled=False):
            return layer.forward(self, _float32(inputs), _float32(hx))

    return type(f"Exact{layer.__name__}", (layer,), {"forward": forward})


EXACT: dict[type[nn.Module], Any] = {layer: _exact_class(layer) for layer in (nn.GRU, nn.LSTM, nn.RNN)}


def _float32(value: Any) -> Any:
    if isinstance(value, tuple) and not isinstance(value, PackedSequence):
        return tuple(map(_float32, value))
    return value.float() if isinstance(value, Tensor | PackedSequence) else value
