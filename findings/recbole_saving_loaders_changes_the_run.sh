#!/usr/bin/env bash
# RecBole 1.2.1 (seen 2026-11-29, Python 3.11, torch 2.13.0): `save_dataloaders: True` changes the run that saves. Saving takes
# the generators out of the live loaders (data/utils.py:94) and does not put them back, so training draws the order of rows
# from the global random state: with the same seed its losses differ from those of a run that does not save, and from those
# of a run that loads what was saved, whose generators are made anew.
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 PyYAML==6.0.3 \
  setuptools==80.10.2 tqdm==4.67.1 colorlog==4.7.2 colorama==0.4.4 tensorboard==2.20.0 tabulate==0.9.0 plotly==5.24.1 \
  texttable==1.7.0 psutil==6.1.1 2>/dev/null
env/bin/pip install -q --no-deps thop==0.1.1.post2209072238 recbole==1.2.1 2>/dev/null
mkdir -p data/shop
env/bin/python - <<'P'
import random
draw = random.Random(1)
rows = [f"s{s}\ti{draw.randrange(40)}\t{s * 10 + e}" for s in range(200) for e in range(6)]
open("data/shop/shop.inter", "w").write("session_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n")
P
cat > look.py <<'P'
import logging, sys, warnings
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
given, sys.argv = sys.argv[1:], ["look"]
import recbole, torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import GRU4Rec
from recbole.trainer import Trainer
from recbole.utils import init_seed

config = Config(model="GRU4Rec", dataset="shop", config_dict={
    "data_path": "data/", "USER_ID_FIELD": "session_id", "load_col": {"inter": ["session_id", "item_id", "timestamp"]},
    "train_neg_sample_args": None, "seed": 5, "use_gpu": False, "train_batch_size": 64, "checkpoint_dir": "saved",
    "save_dataloaders": "save" in given, "embedding_size": 8, "hidden_size": 8,
    "dataloaders_save_path": "saved/shop-for-GRU4Rec-dataloader.pth" if "load" in given else None,
})
init_seed(5, True)
train, _, _ = data_preparation(config, create_dataset(config))
init_seed(5, True)
trainer = Trainer(config, GRU4Rec(config, train.dataset))
losses = [round(trainer._train_epoch(train, epoch), 6) for epoch in range(2)]
print(f"recbole {recbole.__version__}, torch {torch.__version__}, {given[0] if given else 'plain':5}: losses {losses}, "
      f"generator of the loader: {train.generator}")
P
env/bin/python look.py > plain; env/bin/python look.py save > save; env/bin/python look.py load > load
cat plain save load
loss() { grep -o 'losses \[[^]]*\]' "$1"; }
grep -q 'loader: None' save
[ "$(loss plain)" != "$(loss save)" ]
[ "$(loss plain)" = "$(loss load)" ]
