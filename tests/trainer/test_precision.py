"""Recurrent layers leave autocast, and compute what they did."""

import copy

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from recbole_ext.trainer.precision import keep_recurrence_exact


def test_recurrent_layers_stay_in_float32():
    torch.manual_seed(0)
    model = nn.ModuleDict({"gru": nn.GRU(4, 3), "lstm": nn.LSTM(4, 3), "linear": nn.Linear(4, 3)})
    x = torch.randn(5, 2, 4)
    expected = [model[name](x)[0] for name in ("gru", "lstm")]
    names = list(model.state_dict())
    keep_recurrence_exact(model)
    assert list(model.state_dict()) == names and isinstance(model["gru"], nn.GRU)
    for twin in (model, copy.deepcopy(model)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert twin["linear"](x).dtype == torch.bfloat16
            for name, value in zip(("gru", "lstm"), expected):
                found = twin[name](x.bfloat16().float())[0]
                assert found.dtype == torch.float32
                torch.testing.assert_close(found, value, atol=2e-2, rtol=0)
            packed = pack_sequence([x[:, 0], x[:3, 1]])
            assert twin["gru"](packed, torch.zeros(1, 2, 3).bfloat16())[0].data.dtype == torch.float32
