"""Layers that a GPU trains faster compute what they did, and keep their weights and names."""

import copy
import pickle

import pytest
import torch
from recbole.model.layers import TransformerEncoder
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from recbole_ext.model.beside import beside
from recbole_ext.trainer.fast_layers import MergedAttention, speed_up

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def test_recurrent_layers_stay_in_float32():
    torch.manual_seed(0)
    model = nn.ModuleDict({"gru": nn.GRU(4, 3), "lstm": nn.LSTM(4, 3), "linear": nn.Linear(4, 3)})
    x = torch.randn(5, 2, 4)
    expected = [model[name](x)[0] for name in ("gru", "lstm")]
    names = list(model.state_dict())
    speed_up(model, gpu=False, low=True)
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


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_a_transformer_computes_what_it_did(act):
    torch.manual_seed(0)
    encoder = TransformerEncoder(2, 2, 8, 16, 0.0, 0.0, act, 1e-12).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    mask = torch.where(torch.ones(5, 5).tril().bool(), 0.0, -10000.0).expand(3, 1, 5, 5).double()

    def computed():
        encoder.zero_grad()
        found = encoder(x, mask)[-1]
        found.square().sum().backward()
        return [found.detach(), *(parameter.grad.clone() for parameter in encoder.parameters())]

    names, before = list(encoder.state_dict()), computed()
    speed_up(encoder, gpu=True, low=False)
    assert any(type(module) is MergedAttention for module in encoder.modules())
    assert list(encoder.state_dict()) == names
    for a, b in zip(computed(), before, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_layers_of_a_cpu_compute_and_draw_what_they_did():
    """In training and out of it; the mask and what the generator draws after it are torch's."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Dropout(0.4), nn.Linear(32, 48), nn.Dropout(0.0))
    fast = copy.deepcopy(plain)
    speed_up(fast, gpu=False, low=False)
    assert type(fast[0]) is not nn.Dropout and type(fast[1]) is not nn.Linear
    x = torch.randn(7, 9, 32).transpose(0, 1)
    for training in (True, False):
        found = []
        for model in (plain, fast):
            torch.manual_seed(1)
            given = x.clone().requires_grad_()
            made = model.train(training)(given)
            made.square().sum().backward()
            weights = [weight.grad.clone() for weight in model.parameters()]
            found.append([made.detach(), given.grad, *weights, torch.rand(3)])
            model.zero_grad()
        for a, b in zip(*found):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    dropped = fast.train()[0](x)
    assert 0.3 < float((dropped == 0).float().mean()) < 0.5


@gpu
@pytest.mark.parametrize("low", [False, True])
def test_every_layer_on_a_gpu(low):
    """Embedding, layer norm and GRU by their kernels, next to the plain ones."""
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.items = nn.Embedding(50, 32, padding_idx=0)
            self.norm = nn.LayerNorm(32)
            self.gru = nn.GRU(32, 64, batch_first=True)

        def forward(self, items):
            return self.gru(self.norm(self.items(items)))

    plain = Model().cuda()
    fast = copy.deepcopy(plain)
    speed_up(fast, gpu=True, low=low)
    items = torch.randint(0, 50, (6, 7), device="cuda")
    for model in (plain, fast):
        states, last = model(items)
        (states.square().sum() + last.sum()).backward()
    torch.testing.assert_close(fast(items)[0], plain(items)[0], rtol=0, atol=5e-3)
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        gap = (a.grad - b.grad).norm() / b.grad.norm()
        assert gap < (2e-2 if low else 1e-4)


@pytest.mark.parametrize("within", [False, True])
def test_masks_that_are_drawn_ahead_are_the_same(within, two_threads):
    """Two of three calls', and another's than was thought of; nothing of them is left for the calls after it."""
    layer = nn.Sequential(nn.Dropout(0.4))
    speed_up(layer, gpu=False, low=False)
    x, y = torch.ones(5, 7), torch.ones(3, 5)
    found = []
    for shapes in ((), ((5, 7), (3, 5))):
        torch.manual_seed(1)
        with beside(within):
            if shapes:
                layer[0].draw(*shapes)
            found.append([layer(x), layer(y), layer(x)])
    for one, other in zip(*found):
        assert torch.equal(one, other) and 0 < int((one == 0).sum()) < one.numel()
    layer[0].draw((2, 2))
    assert layer(x).shape == x.shape and pickle.loads(pickle.dumps(layer))(x).shape == x.shape
    layer.eval()[0].draw((5, 7))
    assert torch.equal(layer(x), x) and not layer[0].drawn


def test_a_model_of_such_layers_can_be_pickled():
    model = nn.ModuleDict({"gru": nn.GRU(4, 3), "lstm": nn.LSTM(4, 3), "rnn": nn.RNN(4, 3)})
    speed_up(model, gpu=True, low=True)
    twin = pickle.loads(pickle.dumps(model))
    x = torch.randn(5, 2, 4)
    for name, layer in twin.items():
        assert type(layer) is type(model[name])
        torch.testing.assert_close(layer(input=x)[0], model[name](x)[0])
