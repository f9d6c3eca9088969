#!/usr/bin/env bash
# torch 2.13.0 (seen 2026-11-28, Python 3.11, CPU, float32): the gradient of torch.nn.functional.normalize at a row of zeros
# is 1e12 (one over its eps) times the one that comes in. That is the derivative of the documented v / max(|v|, eps), so no
# error of arithmetic, but what follows is: (1) a padding row of nn.Embedding(padding_idx=0) that is zero leaves zero at
# Adam's first step, by the learning rate in every component, where the loss reads F.normalize(embedding.weight), since
# padding_idx masks look-ups only; (2) clip_grad_norm_ to 1 takes that row's gradient for the norm and leaves the other rows
# next to none (here 2e-11 of theirs); (3) two of them in a row give 1e24, whose square is infinite in float32: Adam's second
# moment of the row is inf from the first step and the row never moves.
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 2>/dev/null
cat > look.py <<'P'
import torch
import torch.nn.functional as F

RATE = 0.001
COMING = torch.tensor([[0.5, -1.0, 2.0, -0.25]])

def gradient(times):
    zero = torch.zeros(1, 4, requires_grad=True)
    out = zero
    for _ in range(times):
        out = F.normalize(out, dim=-1)
    out.backward(COMING)
    return zero.grad

def table():
    """10 items of 4 components, row 0 the padding, zero as nn.Embedding makes it; scores by cosine, a softmax over all."""
    torch.manual_seed(1)
    items = torch.nn.Embedding(10, 4, padding_idx=0)
    assert items.weight[0].eq(0).all()
    state, target = F.normalize(torch.randn(8, 4), dim=-1), torch.randint(1, 10, (8,))

    def loss(times=1):
        vectors = items.weight
        for _ in range(times):
            vectors = F.normalize(vectors, dim=-1)
        return F.cross_entropy(state @ vectors.T, target)

    return items, loss

print(f"torch {torch.__version__}")
once, twice = gradient(1), gradient(2)
print(f"incoming            {COMING[0].tolist()}")
print(f"after one normalize {once[0].tolist()}")
print(f"after two           {twice[0].tolist()}; squared {twice.square()[0].tolist()}")
assert torch.allclose(once / COMING, torch.tensor(1e12)) and torch.allclose(twice / COMING, torch.tensor(1e24))
assert twice.square().isinf().all()

items, loss = table()
adam = torch.optim.Adam(items.parameters(), lr=RATE)
loss().backward()
size = items.weight.grad.norm(dim=1)
adam.step()
row = items.weight[0].detach()
print(f"padding row: gradient {size[0]:.1e}, other rows' largest {size[1:].max():.1e}")
print(f"  after Adam's first step {row.tolist()}")
assert size[0] > 1e10 and size[1:].max() < 1, size
assert torch.allclose(row.abs(), torch.tensor(RATE)), row

items, loss = table()
loss().backward()
before = items.weight.grad[1:].norm().item()
torch.nn.utils.clip_grad_norm_(items.parameters(), 1.0)
after = items.weight.grad[1:].norm().item()
print(f"clip_grad_norm_(1.0): the other rows' gradient {before:.1e} before, {after:.1e} after")
assert before < 1 and after < 1e-9 * before, (before, after)

items, loss = table()
adam = torch.optim.Adam(items.parameters(), lr=RATE)
start = items.weight.detach().clone()
for _ in range(100):
    adam.zero_grad()
    loss(times=2).backward()
    adam.step()
moment = adam.state[items.weight]["exp_avg_sq"]
moved = (items.weight.detach() - start).abs().amax(dim=1)
print(f"two normalizes, 100 steps of Adam: padding row's second moment {moment[0].tolist()}, moved by {moved[0]:.0e}")
print(f"  other rows' second moment at most {moment[1:].max():.1e}, moved by {moved[1:].min():.1e} or more")
assert moment[0].isinf().all() and moment[1:].isfinite().all(), moment
assert moved[0] == 0 and moved[1:].min() > RATE, moved
P
env/bin/python look.py
