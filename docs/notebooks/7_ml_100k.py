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
from recbole_ext.errors import UsageError

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
# `run_recbole` is RecBole's own function, with its own data sets and loaders. To be done in seconds it reads only the
# films that somebody gave five stars (RecBole's `val_interval`), of each person the last twenty before the one to
# guess. The last film of each person is tested, the one before it chooses the epoch (`LS`).

# %%
data = {"val_interval": {"rating": "[5,5]"}, "MAX_ITEM_LIST_LENGTH": 20}
network = {"hidden_size": 32, "inner_size": 64, "n_layers": 1, "n_heads": 1}
training = {"learning_rate": 0.003, "train_batch_size": 512, "train_neg_sample_args": None}
held_out = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
measured = {"metrics": ["Hit", "NDCG"], "topk": [10], "valid_metric": "NDCG@10"}
quiet = {"state": "ERROR", "show_progress": False}
same = {**data, **network, **training, **held_out, **measured, **quiet}
common = {"epochs": EPOCHS, **same}
theirs = run_recbole(model="SASRec", dataset="ml-100k", config_dict=common)
pd.Series(theirs["test_result"], name="test").to_frame()

# %% [markdown]
# ## The same, with a record
#
# `recbole_ext.run` takes the same names and keys and comes to the same figures, to the last digit. It leaves a
# record, the rank of each tested film, a learning curve, and a model that can be asked.

# %%
runs = {"RecBole's rows": recbole_ext.run("SASRec", "ml-100k", **common)}
assert runs["RecBole's rows"]["test"] == theirs["test_result"]
pd.Series(runs["RecBole's rows"]["files"], name="file").to_frame()

# %% [markdown]
# A slip of the pen is refused, where RecBole would train with the default and say nothing:

# %%
try:
    recbole_ext.run("SASRec", "ml-100k", learning_rat=0.01, **common)
except UsageError as refusal:
    print(refusal)

# %% [markdown]
# ## Our rows, our trainer
#
# RecBole copies the films before each target into a table of its own. `data_layout: pointers` keeps one column of
# events and points into it, and the trainer cuts each batch to its longest row. Nothing else changes: with RecBole's
# order of rows (`length_buckets: False`) the losses are RecBole's.

# %%
ours = {"data_layout": "pointers", **same}
runs["our rows"] = recbole_ext.run("SASRec", "ml-100k", epochs=EPOCHS, length_buckets=False, **ours)
losses = pd.DataFrame({name: [e["train_loss"] for e in run["epochs"]] for name, run in runs.items()})
assert (losses["our rows"] / losses["RecBole's rows"] - 1).abs().max() < 1e-3
losses.rename_axis("epoch").reset_index()

# %% [markdown]
# SASRec's states know no later film, so one pass over a person's films learns every position at once (`train_targets:
# all_positions`). That is other training, not only a faster one: fewer steps an epoch, and more epochs in the same
# time.

# %%
every = {"epochs": 6 * EPOCHS, "train_targets": "all_positions", "score": "cosine", **ours}
runs["every position"] = recbole_ext.run("SASRec", "ml-100k", **every)
columns = ["epochs", "training s", "NDCG@10, validation", "NDCG@10, test"]
rows = {
    name: [run["epochs_run"], run["seconds"]["train"], run["best_valid_score"], run["test"]["ndcg@10"]]
    for name, run in runs.items()
}
pd.DataFrame(rows, index=columns).T

# %%
plt.figure(figsize=(6, 2.5))
for name, run in runs.items():
    epochs = pd.DataFrame(run["epochs"])
    seconds = (epochs["epoch"] + 1) * run["seconds"]["train"] / run["epochs_run"]
    plt.plot(seconds, epochs["valid_score"], marker=".", label=name)
plt.title("NDCG@10 on validation, by seconds of training")
plt.legend()
plt.show()

# %% [markdown]
# ## Ask it
#
# Somebody loved *Star Wars* (50) and *The Empire Strikes Back* (172):

# %%
model = recbole_ext.load(runs["every position"])
asked = model.recommend([["50", "172"]], k=5, exclude_seen=True)
assert len(asked) == 5
asked.join(films[["title", "year", "kinds"]], on="item")

# %% [markdown]
# ## What to read next
#
# - [A user of RecBole](../start-recbole.md): what is the same, what is not, and which faults are mended.
# - [Which of RecBole's models run on sessions](../recbole_models.md), and the sentence of those that cannot.
# - [Speed](../speed.md): what makes training and ranking faster, beside RecBole as released.
# - [A model of your own](6_your_own_model.py): RecBole's classes, and what they get here.
