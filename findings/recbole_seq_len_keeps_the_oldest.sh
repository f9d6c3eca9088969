#!/usr/bin/env bash
# RecBole 1.2.1 (seen 2026-11-29, Python 3.11, pandas 2.3.3): `seq_len: {item_id_list: 3}`, the one way to shorten the
# histories of ready-made (benchmark) files, keeps the first three events of each, which are the oldest. A sequential model
# then predicts the target of a history of six from events 1 to 3, as if 4 to 6 had not been. MAX_ITEM_LIST_LENGTH, which
# cuts to the latest where RecBole makes the histories itself, does not touch such files. Nothing is said either way.
set -euo pipefail
PYTHON=${PYTHON:-python3.11}
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT; cd "$place"
"$PYTHON" -m venv env
env/bin/pip install -q torch==2.13.0 numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 PyYAML==6.0.3 \
  setuptools==80.10.2 tqdm==4.67.1 colorlog==4.7.2 colorama==0.4.4 tensorboard==2.20.0 tabulate==0.9.0 plotly==5.24.1 \
  texttable==1.7.0 psutil==6.1.1 2>/dev/null
env/bin/pip install -q --no-deps thop==0.1.1.post2209072238 recbole==1.2.1 2>/dev/null
mkdir -p data/shop
for part in train valid test; do
  printf 'session_id:token\titem_id_list:token_seq\titem_id:token\ns-%s\ta b c d e f\tg\n' $part > data/shop/shop.$part.inter
done
cat > look.py <<'P'
import sys, warnings
warnings.filterwarnings("ignore")
sys.argv = ["look"]
import pandas, recbole
from recbole.config import Config
from recbole.data.dataset import SequentialDataset

FILES = {
    "data_path": "data/", "benchmark_filename": ["train", "valid", "test"], "USER_ID_FIELD": "session_id",
    "alias_of_item_id": ["item_id_list"], "train_neg_sample_args": None,
    "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
}

def history(**settings):
    dataset = SequentialDataset(Config(model="SASRec", dataset="shop", config_dict={**FILES, **settings}))
    row = dataset.build()[0].inter_feat[0]
    return dataset.id2token("item_id", row["item_id_list"].tolist()), int(row["item_length"])

print(f"recbole {recbole.__version__}, pandas {pandas.__version__}; the file's history: a b c d e f, target g")
whole, length = history(MAX_ITEM_LIST_LENGTH=3)
print(f"MAX_ITEM_LIST_LENGTH: 3     -> {' '.join(whole)}, item_length {length}")
cut, said = history(seq_len={"item_id_list": 3})
print(f"seq_len: {{item_id_list: 3}} -> {' '.join(cut)}, item_length {said}")
assert list(whole) == list("abcdef"), whole
assert list(cut) == list("abc") and said == 3, (cut, said)
P
env/bin/python look.py 2>&1 | grep -v -i warn
