"""Optimizers that import no compiler do what torch's do."""

import copy
import subprocess
import sys

import pytest
import torch

from recbole_ext.trainer import eager as module
from recbole_ext.trainer.eager import eager, without_compiler


@pytest.fixture
def not_imported(monkeypatch):
    """As in a process where nobody has imported the compiler."""
    monkeypatch.setattr(module, "COMPILER", "no.such.module")


def _pair(kind, **settings):
    parameters = [torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)) for _ in range(2)]
    return parameters, [kind([one], lr=0.1, **settings) for one in parameters]


@pytest.mark.parametrize("settings", [{}, {"fused": True}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_steps_are_the_same(kind, settings, not_imported):
    (ours, theirs), (optimizer, plain) = _pair(kind, **settings)
    optimizer = eager(optimizer)
    assert optimizer.step.__func__ is not type(optimizer).step
    for number in range(3):
        for one, step in ((ours, optimizer), (theirs, plain)):
            step.zero_grad()
            assert one.grad is None
            (one * (number + 1)).sin().sum().backward()
            step.step()
    assert torch.equal(ours, theirs)


def test_a_state_goes_on_in_either(not_imported):
    (ours, theirs), (optimizer, plain) = _pair(torch.optim.Adam)
    optimizer = eager(optimizer)
    ours.grad = theirs.grad = torch.ones(2, 3)
    plain.step()
    optimizer.load_state_dict(copy.deepcopy(plain.state_dict()))
    ours.data.copy_(theirs.data)
    optimizer.step()
    plain.step()
    assert torch.equal(ours, theirs)
    assert str(optimizer.state_dict()) == str(plain.state_dict())


def test_hooks_and_closures_are_called(not_imported):
    (one, _), (optimizer, _) = _pair(torch.optim.SGD)
    optimizer, called = eager(optimizer), []
    one.grad = torch.ones(2, 3)
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    optimizer.step()
    optimizer.step(lambda: called.append("closure"))
    assert called == ["after", "closure", "after"]


def test_where_somebody_has_the_compiler_all_stays(monkeypatch):
    monkeypatch.setattr(module, "COMPILER", "torch")
    _, (optimizer, _) = _pair(torch.optim.SGD)
    before = dict(vars(optimizer))
    assert vars(eager(optimizer)) == before
    with without_compiler():
        pass


def test_no_compiler_is_imported():
    code = """
import sys, torch
from recbole_ext.trainer.eager import eager, without_compiler
weight = torch.nn.Parameter(torch.ones(3))
with without_compiler():
    optimizer = eager(torch.optim.Adam([weight], fused=True))
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
for _ in range(2):
    optimizer.zero_grad()
    weight.sum().backward()
    optimizer.step()
    scheduler.step()
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
torch.compile(lambda x: x + 1, backend="eager")(torch.ones(3))  # and is there for who wants it
optimizer.step()
print("torch._dynamo" in sys.modules, weight.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True [")
