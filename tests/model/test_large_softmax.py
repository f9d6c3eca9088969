"""Chunked softmax cross-entropy against torch's whole one: loss, gradients, weights, memory."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from recbole_ext.model import large_softmax
from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.model.rows import unit_rows
from recbole_ext.scores.products import takes_bf16


def test_three_items_by_hand():
    states = torch.tensor([[1.0], [2.0]])
    vectors = torch.tensor([[0.0], [math.log(2)], [math.log(3)]])
    # exp of scores: (1, 2, 3) and (1, 4, 9)
    expected = -math.log(2 / 6) - 0.5 * math.log(9 / 14)
    loss = softmax_loss(states, vectors, torch.tensor([1, 2]), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def problem(rows=37, items=101, width=8, dtype=torch.float64):
    torch.manual_seed(0)
    states = torch.randn(rows, width, dtype=dtype, requires_grad=True)
    vectors = torch.randn(items, width, dtype=dtype, requires_grad=True)
    weight = torch.rand(rows, dtype=dtype)
    weight[3] = 0
    return states, vectors, torch.randint(0, items, (rows,)), weight


@pytest.mark.parametrize("chunk", [1, 5, 37, 64, None])
def test_any_chunk_equals_the_whole(chunk):
    states, vectors, target, weight = problem()
    expected = (F.cross_entropy(states @ vectors.T, target, reduction="none") * weight).sum()
    loss = softmax_loss(states, vectors, target, weight, chunk_rows=chunk)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    ours = torch.autograd.grad(3 * loss, (states, vectors))
    theirs = torch.autograd.grad(3 * expected, (states, vectors))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_target_that_the_softmax_gives_nothing(precision):
    """Its probability is no number any more, its loss is."""
    states = torch.tensor([[200.0], [1.0]], requires_grad=True)
    vectors = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    loss = softmax_loss(states, vectors, torch.tensor([1, 0]), precision=precision)
    assert loss.item() == pytest.approx(400 + math.log(1 + math.exp(-1) + math.exp(-2)), rel=1e-3)
    d_states, d_vectors = torch.autograd.grad(loss, (states, vectors))
    assert d_states[0].item() == pytest.approx(2) and d_vectors[1].item() == pytest.approx(-200, rel=1e-2)


@pytest.mark.parametrize("on", ["probabilities", "gradients"])
@pytest.mark.parametrize("chunk", [7, 64])
def test_both_ways_of_a_mixture_are_its_loss(on, chunk, monkeypatch):
    """That of CPUs, and that of a GPU without Triton."""
    monkeypatch.setattr(large_softmax, "_of_probabilities", getattr(large_softmax, f"_of_{on}"))
    states, vectors, target, weight = problem()
    rest, copied = torch.rand(2, 37, dtype=torch.float64).log().requires_grad_().unbind()
    own = torch.log_softmax(states @ vectors.T, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    expected = -(torch.logaddexp(rest + own, copied) * weight).sum()
    loss = softmax_loss(states, vectors, target, weight, chunk_rows=chunk, mixture=(rest, copied))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    inputs = (states, vectors, rest, copied)
    for a, b in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [16, 64])
def test_bf16_differs_by_its_rounding_only(chunk):
    states, vectors, target, weight = problem(64, 999, 16, torch.float32)
    expected = torch.autograd.grad(softmax_loss(states, vectors, target, weight), (states, vectors))
    found = torch.autograd.grad(
        softmax_loss(states, vectors, target, weight, "bf16", chunk), (states, vectors)
    )
    for a, b in zip(found, expected):
        assert 1e-5 < (a - b).norm() / b.norm() < 1e-2


low = pytest.mark.skipif(
    not takes_bf16(torch.device("cpu")), reason="this CPU does not multiply bfloat16, or torch has no oneDNN"
)


@low
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("chunk", [16, None])
def test_tiles_of_exponentials_are_the_softmax(chunk, mixed, monkeypatch):
    """That of an unlikely target too."""
    monkeypatch.setattr(large_softmax, "TILE", 100)
    states, vectors, target, weight = problem(64, 999, 16, torch.float32)
    states.data[0] *= 3
    x = states.detach().bfloat16().float().requires_grad_()
    table = vectors.detach().bfloat16().float().requires_grad_()
    p = torch.log_softmax(x @ table.T, 1)
    target[0] = (p[0] + 29).abs().argmin()
    assert float(p[0, target[0]].detach()) == pytest.approx(-29, abs=0.9)
    own = p.gather(1, target.unsqueeze(1)).squeeze(1)
    inputs, mixture = [x, table], None
    if mixed:
        mixture = [part.log().requires_grad_() for part in torch.rand(2, 64)]
        inputs, own = inputs + mixture, torch.logaddexp(mixture[0] + own, mixture[1])
    monkeypatch.setattr(large_softmax, "_of_probabilities", None)  # it is not needed
    loss = softmax_loss(x, table, target, weight, "bf16", chunk, mixture)
    expected = -(own * weight).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=2e-3)
    for a, b in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs)):
        assert (a - b).norm() / b.norm() < 1e-2


@low
def test_an_unlikely_target_is_left_to_the_other_way(monkeypatch):
    asked = []
    other = large_softmax._of_probabilities
    monkeypatch.setattr(large_softmax, "_of_probabilities", lambda a: asked.append(a) or other(a))
    x, table = torch.tensor([[5.0], [1.0]], requires_grad=True), torch.tensor([[4.0], [-4.0]])
    loss = softmax_loss(x, table, torch.tensor([1, 0]), precision="bf16")
    assert len(asked) == 1 and loss.item() == pytest.approx(40, rel=1e-3)
    softmax_loss(x, table, torch.tensor([0, 0]), precision="bf16")
    assert len(asked) == 1


def test_only_what_is_wanted_gets_a_gradient():
    states, vectors, target, weight = problem()
    loss = softmax_loss(states.detach(), vectors, target, weight)
    loss.backward()
    assert states.grad is None and vectors.grad is not None


def test_unit_rows_is_normalize():
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(unit_rows(x), F.normalize(x, dim=-1))


ROOT = Path(__file__).resolve().parents[2]
MEMORY = """
import torch
from recbole_ext.model.large_softmax import softmax_loss
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith("VmHWM")) / 1024
torch.set_num_threads(1)
small = torch.nn.Parameter(torch.randn(100, 8))
softmax_loss(torch.randn(9, 8), small, torch.zeros(9, dtype=torch.long)).backward()
vectors = torch.nn.Parameter(torch.randn(200_000, 8))
before = peak()
softmax_loss(torch.randn(1024, 8), vectors, torch.arange(1024)).backward()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_logits_are_never_stored_whole():
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(run.stdout) < 200, "the logits alone are 780 MiB"


@pytest.mark.parametrize("scale", [0.5, 1.0, 5.0])
def test_the_softmax_in_bf16_goes_to_zero_where_the_model_is_sure(scale):
    """Loss and gradients are those of what is left, however little that is."""
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(2000, 64, generator=draw).bfloat16().float()
    target = torch.arange(64)
    states = (scale * vectors[target]).bfloat16().float()

    def run(dtype, precision):
        leaves = [part.to(dtype).detach().clone().requires_grad_() for part in (states, vectors)]
        loss = softmax_loss(*leaves, target, precision=precision)
        loss.backward()
        return [loss.detach().double(), *(leaf.grad.double() for leaf in leaves)]

    found, exact = run(torch.float32, "bf16"), run(torch.float64, "fp32")
    assert found[0] >= 0
    for one, other in zip(found, exact):
        # 64 rows; a hundredth of what is left, and what float32 has of a gradient of one
        assert (one - other).abs().max() <= 0.02 * other.abs().max() + 1e-5
