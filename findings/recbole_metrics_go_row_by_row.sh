#!/usr/bin/env bash
# RecBole 1.2.1 (seen 2026-11-29, Python 3.11, numpy 1.26.4): MRR, MAP and NDCG go through the rows of an evaluation one by
# one in Python, a write an array row, where Hit, Recall and Precision take all rows at once. Of 60,000 test rows that is
# some .3 s for MRR and NDCG, at every validation: on a GPU more than the ranking of these rows among 43,000 items (.07 s).
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 PyYAML==6.0.3 \
  setuptools==80.10.2 tqdm==4.67.1 colorlog==4.7.2 colorama==0.4.4 tensorboard==2.20.0 tabulate==0.9.0 plotly==5.24.1 \
  texttable==1.7.0 psutil==6.1.1 2>/dev/null
env/bin/pip install -q --no-deps thop==0.1.1.post2209072238 recbole==1.2.1 2>/dev/null
cat > look.py <<'P'
import time, warnings
warnings.filterwarnings("ignore")
import numpy as np, recbole
np.float = float  # the alias that RecBole's own Config puts back
from recbole.evaluator import metrics

class Counted(np.ndarray):
    writes = 0
    def __setitem__(self, place, value):
        Counted.writes += 1
        super().__setitem__(place, value)

rows, k = 60_000, 20
hits = np.arange(k) == np.random.default_rng(1).integers(0, 2 * k, (rows, 1))  # one target a row
targets = np.ones(rows, int)
print(f"recbole {recbole.__version__}, numpy {np.__version__}: {rows:,} rows, lists of {k}")
writes = {}
for name in ("Hit", "Recall", "Precision", "MRR", "MAP", "NDCG"):
    metric = getattr(metrics, name)
    given = (targets,) if name in ("Recall", "MAP", "NDCG") else ()
    began = time.perf_counter()
    metric.metric_info(None, hits, *given)
    seconds = time.perf_counter() - began
    Counted.writes = 0
    metric.metric_info(None, hits[:1000].view(Counted), *(part[:1000] for part in given))
    writes[name] = Counted.writes
    print(f"{name:9} {seconds:.3f} s; writes to arrays for 1,000 rows: {Counted.writes:,}")
assert max(writes[name] for name in ("Hit", "Recall", "Precision")) == 0, writes
assert min(writes[name] for name in ("MRR", "MAP", "NDCG")) >= 1000, writes
P
env/bin/python look.py
