#!/usr/bin/env bash
# RecBole 1.2.1 (seen 2026-11-28, Python 3.11, PyYAML 6.0.3): every Config() adds its resolver for numbers to PyYAML's own
# class FullLoader once more, for the whole process. After n configurations yaml.FullLoader tries n more patterns at every
# plain number or sign that any code in the process reads, and what other code reads changes too: `1e3`, a text for
# FullLoader before the first Config, is the number 1000.0 after it.
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 PyYAML==6.0.3 \
  setuptools==80.10.2 tqdm==4.67.1 colorlog==4.7.2 colorama==0.4.4 tensorboard==2.20.0 tabulate==0.9.0 plotly==5.24.1 \
  texttable==1.7.0 psutil==6.1.1 2>/dev/null
env/bin/pip install -q --no-deps thop==0.1.1.post2209072238 recbole==1.2.1 2>/dev/null
cat > look.py <<'P'
import sys, warnings
warnings.filterwarnings("ignore")
sys.argv = ["look"]
import recbole, yaml
from recbole.config import Config

def resolvers():
    return len(yaml.FullLoader.yaml_implicit_resolvers["1"])

before, text = resolvers(), yaml.load("x: 1e3", Loader=yaml.FullLoader)["x"]
counts = []
for _ in range(5):
    Config(model="BPR", dataset="ml-100k")
    counts.append(resolvers())
after = yaml.load("x: 1e3", Loader=yaml.FullLoader)["x"]
print(f"recbole {recbole.__version__}, PyYAML {yaml.__version__}")
print(f"patterns that FullLoader tries at a 1: {before} before, {counts} after 1 to 5 configurations")
print(f"1e3 by yaml.FullLoader: {text!r} before, {after!r} after")
assert counts == [before + n for n in range(1, 6)], counts
assert text == "1e3" and after == 1000.0, (text, after)
P
env/bin/python look.py
