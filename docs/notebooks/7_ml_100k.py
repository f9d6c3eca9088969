# %% [markdown]
# # RecBole's own ml-100k
#
# You know RecBole. This notebook stays with its own example, MovieLens 100k, which lies in RecBole's package, so
# nothing is fetched: RecBole's function as ever, then the same model on our rows and trainer, first to the same
# numbers, then faster.

# %%
import os
import tempfile

import matplotlib.pyplot as plt
import pandas as pd

import recbole_ext

recbole_ext.install()  # mends RecBole for today's numpy, pandas and torch; changes nothing before
from recbole.quick_start import run_recbole

EPOCHS = 3  # passes over the training data
os.chdir(tempfile.mkdtemp(prefix="ml-100k-"))  # all files below are written there

# %% [markdown]
# ## The data
#
# 943 people, 1,682 films, 100,000 ratings, in RecBole's atomic files. RecBole finds them by the name `ml-100k`.

# %%
import recbole

folder = os.path.join(os.path.dirname(recbole.__file__), "dataset_example", "ml-100k")
ratings = pd.read_csv(os.path.join(folder, "ml-100k.inter"), sep="\t", dtype=str)
films = pd.read_csv(os.path.join(folder, "ml-100k.item"), sep="\t", dtype=str, index_col=0)
films.columns = ["title", "year", "kinds"]
assert len(ratings) == 100_000
ratings.head(3)

# %% [markdown]
# ## RecBole as ever
#
# `run_recbole` is RecBole's own function, with its own data sets, loaders and trainer. Settings are small ones, so
# that an epoch takes seconds: one layer, the last twenty films of each person. The last film of each is tested, the
# one before chooses the epoch (`LS`).

# %%
common = {
    **{"hidden_size": 32, "inner_size": 64, "n_layers": 1, "n_heads": 1, "MAX_ITEM_LIST_LENGTH": 20},
    **{"epochs": EPOCHS, "learning_rate": 0.003, "train_batch_size": 1024, "train_neg_sample_args": None},
    **{"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}},
    **{"metrics": ["Hit", "NDCG"], "topk": [10], "valid_metric": "NDCG@10", "state": "WARNING"},
}
theirs = run_recbole(model="SASRec", dataset="ml-100k", config_dict=common)
theirs["test_result"]
