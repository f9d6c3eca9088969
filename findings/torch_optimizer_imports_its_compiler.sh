#!/usr/bin/env bash
# torch 2.13.0 (seen 2026-11-29, Python 3.11, CPU): an eager program that never compiles anything still imports torch's
# compiler. `import torch` leaves torch._dynamo out, but making any optimizer of torch.optim brings it in (add_param_group
# is kept from the compiler by a decorator that imports it at the first call), and so does the first step() of one that
# was made without. Here that is 804 more modules and 1.2 s, as long as `import torch` itself takes where
# files are warm, in every process that trains, one step or a million.
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 2>/dev/null
cat > look.py <<'P'
import sys, time

begun = time.perf_counter()
import torch

imported = time.perf_counter() - begun
assert "torch._dynamo" not in sys.modules
before = len(sys.modules)
weight = torch.nn.Parameter(torch.ones(3))
begun = time.perf_counter()
optimizer = torch.optim.SGD([weight], lr=0.1)
made, modules = time.perf_counter() - begun, len(sys.modules) - before
weight.sum().backward()
begun = time.perf_counter()
optimizer.step()
print(f"torch {torch.__version__}: import torch {imported:.2f} s, {before} modules in all")
print(f"making SGD of one parameter: {made:.2f} s, {modules} more modules, torch._dynamo {'torch._dynamo' in sys.modules}")
print(f"its step: {(time.perf_counter() - begun) * 1000:.2f} ms")
assert "torch._dynamo" in sys.modules and modules > 300, modules
P
cat > step.py <<'P'
import sys

import torch
from torch.optim import Optimizer

method = Optimizer.add_param_group.__wrapped__  # beneath the decorator
vars(method)["__dynamo_disable"] = method  # what it looks for before it imports
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.SGD([weight], lr=0.1)
weight.sum().backward()
without = "torch._dynamo" in sys.modules
optimizer.step()
print(f"torch._dynamo there: {without} when SGD was made without, {'torch._dynamo' in sys.modules} after its first step")
assert not without and "torch._dynamo" in sys.modules
P
env/bin/python look.py
env/bin/python look.py
env/bin/python step.py
