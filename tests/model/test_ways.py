"""What a run's log says of how its steps are computed, and probes of kernels: no GPU and no Triton are needed."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from recbole_ext.model import kernels
from recbole_ext.model.kernels.probe import Kept, runs
from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.scores import ways
from recbole_ext.scores.products import by_onednn, takes_bf16

SHORT = "out of resource: shared memory, Required: 200000, Hardware limit: 101376"  # Triton's words


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), 3),
        (RuntimeError("CUDA error: out of memory"), 3),
        (RuntimeError("Triton Error [CUDA]: out of memory"), 3),
        (RuntimeError(SHORT), 1),
        (ValueError("no compiler"), 1),
    ],
)
def test_a_kernel_is_given_up_only_where_it_cannot_run(error, asked):
    """Memory that was out says nothing of it: it is tried again, and kept where it runs then."""
    tries, broken = [], [True]

    def kernel():
        tries.append(1)
        if broken:
            raise error

    probe = Kept(lambda width: runs(kernel))
    assert [probe(64), probe(64)] == [False, False]
    broken.clear()
    assert [probe(64), probe(64)] == [asked == 3] * 2 and len(tries) == asked
    assert probe(128) is True  # a width for itself


def test_all_kernels_are_tried_again_where_memory_was_out(monkeypatch):
    answers = [torch.OutOfMemoryError("out"), None]

    def tried(modules):
        if answer := answers.pop(0):
            raise answer

    modules = SimpleNamespace()
    monkeypatch.setattr(kernels, "_modules", lambda: modules)
    monkeypatch.setattr(kernels, "_try", tried)
    kernels._works.cache_clear()
    try:
        assert [kernels.found(), kernels.found(), kernels.found()] == [None, modules, modules] and not answers
    finally:
        kernels._works.cache_clear()


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.items, self.gru, self.out = nn.Embedding(3, 2), nn.GRU(2, 2), nn.Linear(2, 2)


def test_parts_are_told_by_the_way_they_went():
    ways.forget()
    ways.took(ways.SOFTMAX, ways.ONEDNN)
    ways.took(ways.GRU, ways.KERNELS)
    ways.took(ways.GRU, ways.KERNELS)
    assert ways.told(Small()) == (
        "softmax by oneDNN; GRU by GPU kernels; linear layers and looked-up rows by torch's own operations"
    )
    ways.took(ways.GRU, ways.OWN)  # a second GRU that no kernel fits
    assert "GRU by GPU kernels and torch's own operations" in ways.told(Small())
    ways.forget()
    assert ways.told(nn.Linear(2, 2)) == "linear layers by torch's own operations"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_softmax_notes_its_way(precision):
    ways.forget()
    softmax_loss(torch.ones(2, 3), torch.ones(4, 3), torch.zeros(2, dtype=torch.int64), precision=precision)
    at = torch.ones(2, 3)
    fast = takes_bf16(at.device) if precision == "bf16" else by_onednn(at, torch.ones(4, 3))
    assert ways.told(nn.Identity()) == f"softmax by {ways.ONEDNN if fast else ways.OWN}"
    ways.forget()
