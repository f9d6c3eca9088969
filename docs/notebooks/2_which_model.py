# %% [markdown]
# # Which model for my log?
#
# Three questions to the log say which models are worth trying. Then a few of them are trained on the same visits, and
# a test says which differences are more than chance. The log is generated; it stands for yours.

# %%
import os
import tempfile

import matplotlib.pyplot as plt
import pandas as pd

import recbole_ext
from recbole_ext.convert.synthetic import generate
from recbole_ext.report.answer import answer
from recbole_ext.report.tables import comparison_frame

EPOCHS = 6  # passes over the training data
SCALE = 0.012  # of the log: 1 has 310,000 visits
os.chdir(tempfile.mkdtemp(prefix="which-model-"))  # all files below are written there

# %% [markdown]
# ## The log
#
# Yours would be converted by `recbole_ext.convert("events", "my_log.csv", "atomic_data/shop")`, as in
# [the first notebook](1_from_a_csv.py). The result is a plain table, in order of time within each visit.

# %%
generate("diginetica", "raw", scale=SCALE)
manifest = recbole_ext.convert("diginetica", "raw", "atomic_data/shop")
log = pd.read_csv("atomic_data/shop/shop.inter", sep="\t", dtype=str)
log = log.rename(columns=lambda name: name.partition(":")[0]).astype({"timestamp": float})
log.head()

# %% [markdown]
# ## Three questions
#
# - How often does a visitor come back to a product of the same visit? Then a model that can copy is worth much.
# - How many visits are of somebody who was there before? Then the visitor's past may help.
# - How many of the newest events are of products that nobody had seen before? Only features can rank those.

# %%
last_week = log["timestamp"] >= log["timestamp"].max() - 7 * 86400
facts = {
    "repeats within a visit": log.duplicated(["session_id", "item_id"]).mean(),
    "visits of returning visitors": log.groupby("session_id")["user_id"].first().dropna().duplicated().mean(),
    "new products in the last week": (~log[last_week]["item_id"].isin(log[~last_week]["item_id"])).mean(),
}
pd.Series(facts, name="share").to_frame()

# %% [markdown]
# | your log | try |
# |---|---|
# | any | `HRNNFeat`; `VSTAN`, which needs no training; `Pop`, the floor that each has to pass |
# | many repeats | `HRNNFeat`, or `SASRecFeat` with `pointer="session"`: they can copy from the visit |
# | returning visitors | `HRNNFeat`, which also reads the visitor's past ([no. 4](4_returning_visitors.py)) |
# | new products every day | `HRNNFeat`, `SASRecFeat`, `CategoryPop`: they know features ([no. 3](3_cold_items.py)) |
# | training must take a second | `VSTAN`, `SKNN`, `SR` ([neighbours](../neighbours.md)) |
# | you know RecBole | `SASRec`, `GRU4Rec` and the others have their names here too |

# %% [markdown]
# ## Train
#
# All read the same visits, choose their epoch on the same validation days and are tested on the same last week.
# SASRec gets what makes it strong on a small log: it learns from every position of a visit, by cosine scores. With
# RecBole's defaults it would learn little here, and the comparison would flatter the others.

# %%
week = {"split": {"session_time": {"test_days": 7, "valid_days": 7}}}
common = {"eval_args": week, "state": "WARNING"}
fair = {"train_targets": "all_positions", "score": "cosine", "train_batch_size": "auto"}
records = [
    recbole_ext.run("Pop", "shop", **common),
    recbole_ext.run("VSTAN", "shop", **common),
    recbole_ext.run("SASRec", "shop", epochs=EPOCHS, **fair, **common),
    recbole_ext.run("HRNNFeat", "shop", epochs=EPOCHS, **common),
]
columns = ["hit@10", "ndcg@10", "mrr@10"]
pd.DataFrame([{"model": r["model"], **{c: r["test"][c] for c in columns}} for r in records])

# %% [markdown]
# ## Is the difference more than chance?
#
# A mean of some hundred events moves when other visitors come. `compare` draws the visits anew a thousand times for
# the intervals, and tests each pair of models on the same events, with a correction for the number of pairs (Holm).

# %%
found = recbole_ext.compare(records)
print(answer(found))

# %%
figures = comparison_frame(found)
ndcg = figures[figures["metric"] == "ndcg@10"]
whole = ndcg[ndcg["dimension"] == "all"].set_index("model")[::-1]
reach = [whole["mean"] - whole["low"], whole["high"] - whole["mean"]]
whole["mean"].plot(kind="barh", xerr=reach, figsize=(6, 2.5), ylabel="", title="NDCG@10, with 95 %")
plt.show()

# %% [markdown]
# Whatever the size of the log, this much has to hold: a model that learns is better than the floor, beyond chance.

# %%
tests = pd.DataFrame(found["tests"])
tests = tests[tests["metric"] == "ndcg@10"][["a", "b", "difference", "low", "high", "p_holm"]]
floor = tests[tests["b"] == "Pop"]
assert len(floor) == 3 and floor["difference"].min() > 0 and floor["p_holm"].max() < 0.05
tests

# %% [markdown]
# ## Where does it win?
#
# One mean hides a lot. The same events by kind: products that training saw often, seldom or never; events that repeat
# one of the visit. The grey lines are intervals: where they are long, the log is too small to say.

# %%
_, places = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for place, dimension in zip(places, ("item", "repeat")):
    part = ndcg[ndcg["dimension"] == dimension]
    part = part.assign(slice=part["slice"] + "\n" + part["targets"].astype(str) + " events")
    mean, low, high = (part.pivot(index="slice", columns="model", values=v) for v in ("mean", "low", "high"))
    reach = [[mean[model] - low[model], high[model] - mean[model]] for model in mean]
    mean.plot(kind="bar", yerr=reach, ax=place, rot=0, ecolor="grey", xlabel="", legend=False)
    place.set_title(f"NDCG@10 by {dimension}")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# Products without a training event are found by models that know features, and by those alone: for the others they
# are numbers of which nothing was learnt. On a log with many of them this decides.

# %%
cold = figures[(figures["slice"] == "cold") & (figures["metric"] == "hit@20")].set_index("model")["mean"]
assert cold["HRNNFeat"] > max(cold["VSTAN"], cold["SASRec"], cold["Pop"])
cold.rename("HR@20, products that training never saw").to_frame()

# %% [markdown]
# `recbole-ext compare RUN RUN` prints all of it: more kinds of events, how varied the lists are, what training cost.
# From the last, what a shop with a large log looks at first:

# %%
cost = {
    m["model"]: {"training s": m["seconds"]["train"], "parameters": m["parameters"]} for m in found["models"]
}
whole[["mean"]].join(pd.DataFrame(cost).T)[::-1]

# %% [markdown]
# ## What to read next
#
# - One seed and no search is a first look. A fair comparison gives every model the same search and several seeds:
#   [experiments](../experiments.md) do it from one file, and read the test part once.
# - [What was measured](../../results/README.md) on five real logs, up to nineteen models, three seeds.
# - [Evaluation](../evaluation.md): what intervals and tests are made of, and how to add a slice of your own.
