"""Triton kernels against torch in float64: on a GPU where there is one, else in Triton's interpreter.

The interpreter multiplies no bfloat16, so float16 stands for it there.
"""

import os
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton", reason="no Triton here: make test-kernels brings it")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no GPU here: make test-kernels has Triton interpret", allow_module_level=True)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOW = torch.bfloat16 if DEVICE == "cuda" else torch.float16
ROUNDED = 2e-2 if DEVICE == "cuda" else 4e-3


@pytest.fixture
def kernels(monkeypatch):
    """The modules of kernels; on a CPU as Triton's interpreter runs them."""
    from recbole_ext.model.kernels import norm, recurrence, rows, softmax

    monkeypatch.setattr(recurrence, "BACKWARD", LOW)
    return SimpleNamespace(norm=norm, recurrence=recurrence, rows=rows, softmax=softmax)


def draw(*size, scale=1.0, dtype=torch.float32):
    return (torch.randn(*size, device=DEVICE) * scale).to(dtype)


def near(found, expected, tolerance):
    """Whether two tensors agree, by the length of their difference."""
    gap = (found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300)
    assert gap < tolerance, f"{float(gap):.2e} apart"


def mixture(rows):
    return tuple(torch.log(torch.rand(rows, device=DEVICE) + 0.01) for _ in range(2))


def reference(states, vectors, target, weight, mixed):
    """Loss and gradients in float64, and the softmax's share in the mixture."""
    s, v = (x.double().requires_grad_() for x in (states, vectors))
    alone = F.cross_entropy(s @ v.T, target, reduction="none")
    loss = alone
    if mixed is not None:
        loss = -torch.logaddexp(mixed[0].double() - alone, mixed[1].double())
    total = (loss * weight.double()).sum()
    total.backward()
    share = None if mixed is None else (mixed[0].double() - alone + loss).exp().detach()
    return total.detach(), s.grad, v.grad, share


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("columns", "width"), [(43, 48), (43, 43), (5000, 5008)])
def test_logits_become_their_gradient(kernels, columns, width, mixed):
    torch.manual_seed(1)
    logits, weight = draw(6, width, scale=3), torch.rand(6, device=DEVICE)
    target = torch.randint(0, columns, (6,), device=DEVICE)
    mix = mixture(6) if mixed else None
    eye = torch.eye(columns, device=DEVICE)
    loss, gradient, _, share = reference(logits[:, :columns], eye, target, weight, mix)
    parts = None if mix is None else (*mix, torch.empty(6, device=DEVICE))
    found = kernels.softmax.gradient(logits, target, weight, parts, columns)
    near(found, loss, 1e-6)
    near(logits[:, :columns], gradient, 1e-5)
    assert not logits[:, columns:].any()
    if parts is not None:
        near(parts[2], share, 1e-5)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("rows", "columns", "width"), [(37, 300, 20), (200, 1000, 64), (1, 3, 128)])
def test_fused_softmax(kernels, rows, columns, width, mixed):
    torch.manual_seed(2)
    states, vectors = draw(rows, width, dtype=LOW), draw(columns, width, scale=0.3, dtype=LOW)
    target = torch.randint(0, columns, (rows,), device=DEVICE)
    weight = torch.rand(rows, device=DEVICE)
    weight[0] = 0.5
    mix = mixture(rows) if mixed else None
    loss, d_states, d_vectors, share = reference(states, vectors, target, weight, mix)
    found = kernels.softmax.fused(states, vectors, target, weight, mix, torch.float32)
    near(found[0], loss, 1e-4)
    near(found[1], d_states, ROUNDED)
    near(found[2], d_vectors, ROUNDED)
    if share is not None:
        near(found[3], share, 1e-3)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_gradient_of_looked_up_rows(kernels, size):
    torch.manual_seed(3)
    table = draw(9, 20).requires_grad_()
    items = torch.randint(0, 9, (5, 10), device=DEVICE)
    gradient = draw(5, 10, 20) * size
    gradient[1, 2] *= 1e-6  # beside much larger ones it keeps its digits
    kernels.rows.look_up(table, items, 0).backward(gradient)
    flat = gradient.view(-1, 20).double()
    expected = torch.zeros(9, 20, device=DEVICE).double().index_add_(0, items.flatten(), flat)
    expected[0] = 0
    near(table.grad, expected, 1e-6)
    order = torch.randperm(50, device=DEVICE)
    turned = kernels.rows.sum_of_rows(gradient.view(-1, 20)[order], items.flatten()[order], 9, 0)
    assert torch.equal(turned, table.grad), "the order of the rows is of no account, to the last bit"


def test_rows_that_are_not_apart_in_memory(kernels):
    """As positions 0 … L - 1 of n sessions are, one tensor that is expanded."""
    for length in (1, 3):
        table = draw(4, 8).requires_grad_()
        places = torch.arange(length, device=DEVICE).unsqueeze(0).expand(5, length)
        kernels.rows.look_up(table, places).sum().backward()
        assert (table.grad[:length] == 5).all() and not table.grad[length:].any()


def test_a_gradient_that_is_no_number_stays_none(kernels):
    gradient = draw(4, 3)
    gradient[1, 1] = float("nan")
    rows = torch.tensor([0, 1, 2, 1], device=DEVICE)
    assert kernels.rows.sum_of_rows(gradient, rows, 5).isnan().any()
    assert not kernels.rows.sum_of_rows(torch.zeros_like(gradient), rows, 5).any()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("sequences", "steps"), [(3, 5), (20, 4), (1, 1)])
def test_recurrence_is_a_gru(kernels, bias, batch_first, sequences, steps):
    torch.manual_seed(4)
    gru = torch.nn.GRU(7, 32, bias=bias, batch_first=batch_first).double().to(DEVICE)
    x = draw(*((sequences, steps) if batch_first else (steps, sequences)), 7)
    inputs = x.double().requires_grad_()
    expected, _ = gru(inputs)
    gradient = draw(*expected.shape)
    expected.backward(gradient.double())
    wanted = [inputs.grad] + [p.grad.clone() for p in gru.parameters()]
    gru = gru.float()
    gru.zero_grad()
    inputs = x.clone().requires_grad_()
    of_inputs = gru.bias_ih_l0 if bias else None
    gates = F.linear(inputs, gru.weight_ih_l0, of_inputs)
    of_state = gru.bias_hh_l0 if bias else None
    found = kernels.recurrence.recurrence(gates, gru.weight_hh_l0, of_state, batch_first)
    found.backward(gradient)
    near(found, expected, 2e-3)
    for a, b in zip([inputs.grad] + [p.grad for p in gru.parameters()], wanted, strict=True):
        near(a, b, ROUNDED)


@pytest.mark.parametrize(("rows", "width"), [(3, 5), (500, 64), (1, 300)])
def test_layer_norm(kernels, rows, width):
    torch.manual_seed(5)
    x, gradient = draw(2, rows, width) + 3, draw(2, rows, width)
    weight, bias = draw(width), draw(width)
    exact = [part.double().requires_grad_() for part in (x, weight, bias)]
    expected = F.layer_norm(exact[0], (width,), *exact[1:], eps=1e-5)
    expected.backward(gradient.double())
    ours = [part.clone().requires_grad_() for part in (x, weight, bias)]
    found = kernels.norm.layer_norm(*ours, 1e-5)
    found.backward(gradient)
    near(found, expected, 1e-5)
    for a, b in zip(ours, exact, strict=True):
        near(a.grad, b.grad, 1e-5)


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU here")
def test_what_a_gpu_does_not_take_is_found_out(kernels, monkeypatch):
    assert kernels.recurrence.fits(64) and not kernels.recurrence.fits(48)
    assert kernels.softmax.fuses(64) and not kernels.softmax.fuses(200)
    for module, name, asked in (("recurrence", "recurrence", "fits"), ("softmax", "fused", "fuses")):
        module, kept = getattr(kernels, module), getattr(getattr(kernels, module), asked)
        kept.cache_clear()
        monkeypatch.setattr(module, name, lambda *_: 1 / 0)
        assert not kept(64)
        kept.cache_clear()


def test_the_loss_takes_the_fused_way(kernels, monkeypatch):
    from recbole_ext.model import large_softmax

    torch.manual_seed(6)
    monkeypatch.setattr(large_softmax.kernels, "found", lambda: kernels)
    monkeypatch.setattr(large_softmax, "_way", lambda asked: large_softmax._fused)
    monkeypatch.setattr(large_softmax.torch, "bfloat16", LOW)
    states, vectors = draw(30, 16).requires_grad_(), draw(90, 16, scale=0.3).requires_grad_()
    target, weight = torch.randint(0, 90, (30,), device=DEVICE), torch.rand(30, device=DEVICE)
    rest, copied = (part.requires_grad_() for part in mixture(30))
    found = large_softmax.softmax_loss(states, vectors, target, weight, "bf16", mixture=(rest, copied))
    ours = torch.autograd.grad(2 * found, (states, vectors, rest, copied))
    own = F.log_softmax(states @ vectors.T, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    expected = -(torch.logaddexp(rest + own, copied) * weight).sum()
    near(found, expected, 5e-3)
    for a, b in zip(ours, torch.autograd.grad(2 * expected, (states, vectors, rest, copied)), strict=True):
        near(a, b, ROUNDED)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_gru_takes_its_steps_by_the_kernel(kernels, monkeypatch, batch_first):
    from recbole_ext.trainer import fast_layers

    torch.manual_seed(7)
    monkeypatch.setattr(fast_layers.kernels, "found", lambda: kernels)
    gru = torch.nn.GRU(5, 16, batch_first=batch_first).to(DEVICE)
    x = draw(3, 4, 5)
    for found, expected in zip(fast_layers._steps(gru, x), gru(x), strict=True):
        assert found.shape == expected.shape
        near(found, expected, 2e-3)
