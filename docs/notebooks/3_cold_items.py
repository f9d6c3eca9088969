# %% [markdown]
# # New items, and what their features are worth
#
# A shop gets new products every day. A model that knows products by their number alone cannot rank them: nothing was
# learnt of that number. A model that also knows category, price or brand can. Here a fifth of the products is hidden
# from training, and we look at who finds them.

# %%
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import recbole_ext
from recbole_ext.convert.synthetic import generate
from recbole_ext.errors import UsageError
from recbole_ext.report.tables import comparison_frame

EPOCHS = 6  # passes over the training data
SCALE = 0.012  # of the log: 1 has 310,000 visits
os.chdir(tempfile.mkdtemp(prefix="cold-items-"))  # all files below are written there

# %% [markdown]
# ## The log
#
# A generated shop: most visits stay in one category, and a third of its products appears during the log. The table of
# items holds what is known of them.

# %%
generate("diginetica", "raw", scale=SCALE)
recbole_ext.convert("diginetica", "raw", "atomic_data/shop")
items = pd.read_csv("atomic_data/shop/shop.item", sep="\t", dtype=str)
items.head(3)

# %% [markdown]
# ## Hide a fifth of the products
#
# `cold_items` takes every event of the drawn products out of the training visits. Test visits stay whole, so there
# these products are to be guessed. Products that are new in the log by themselves are cold too.
#
# - `SASRec` knows products by number alone.
# - `SASRecFeat` is the same model with features on both sides: in what it reads, and in what it ranks.
# - `HRNNFeat` is our own, with features and a pointer that copies what the visitor has just seen.
# - `CategoryPop` learns nothing but which category follows which, and names the popular products of it.

# %%
common = {
    "cold_items": {"holdout": 0.2, "seed": 1},
    "eval_args": {"split": {"session_time": {"test_days": 14, "valid_days": 7}}},
    "topk": [10, 20],
    "state": "WARNING",
}
fair = {"train_targets": "all_positions", "score": "cosine", "train_batch_size": "auto"}
records = [
    recbole_ext.run("SASRec", "shop", epochs=EPOCHS, **fair, **common),
    recbole_ext.run("SASRecFeat", "shop", epochs=EPOCHS, **common),
    recbole_ext.run("HRNNFeat", "shop", epochs=EPOCHS, **common),
    recbole_ext.run("CategoryPop", "shop", **common),
]
print(*records[0]["notes"], sep="\n")

# %% [markdown]
# ## Who finds them?
#
# `cold` were never in training, `few-shot` one to five times, `warm` more often. The dotted line is chance: twenty
# products drawn at random.

# %%
found = recbole_ext.compare(records, metrics=["hit@20", "ndcg@10"])
figures = comparison_frame(found)
hits = figures[(figures["dimension"] == "item") & (figures["metric"] == "hit@20")]
table = hits.pivot(index="slice", columns="model", values="mean")
chance = 20 / found["items"]
table.plot(kind="bar", rot=0, figsize=(7, 3), xlabel="", title="HR@20 by how often training saw the product")
plt.axhline(chance, color="black", linestyle=":")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
assert table.loc["warm", "CategoryPop"] > 0.8 * table.loc["warm"].max()

# %% [markdown]
# With features many of the cold products are found, without them few. Of what training saw often the simple counter
# finds as many as the networks: this made-up shop follows its categories closely.
#
# But how can `SASRec` find any at all? A run keeps what is known of each test event in `ranks.npz`, so that a
# question like this needs no training ([what is kept](../evaluation.md#what-the-record-keeps-of-a-target)). Was the
# product in the visit before?

# %%
rows = {}
for record in records:
    kept = np.load(record["files"]["ranks"])
    cold = kept["item_count"][kept["item"]] == 0
    seen, hit = kept["repeat"].astype(bool), kept["rank"] <= 20
    rows[record["model"]] = [hit[cold & seen].mean(), hit[cold & ~seen].mean()]
cold_hits = pd.DataFrame(rows, index=["seen in the visit", "new to the visit"]).T
cold_hits = cold_hits.rename_axis("HR@20, cold products")
cold_hits

# %% [markdown]
# It does not find them, it only repeats them. Of cold products that the visitor has not seen yet it names hardly
# more than chance would; the models with features name dozens of times as many.

# %%
new = cold_hits["new to the visit"]
with_features = min(new["HRNNFeat"], new["SASRecFeat"])
assert with_features > 10 * chance and with_features > 5 * new["SASRec"]
(new / chance).rename("times chance").to_frame()

# %% [markdown]
# ## A product that arrives now
#
# The finished model ranks a new product as soon as it is told of its features; nothing is trained again. We make a
# twin of one that visitors look at: same category, price and words, another number.

# %%
shop = recbole_ext.load(records[2])
visit = shop.examples[0]
best = shop.recommend([visit], k=1, exclude_seen=True)["item"][0]
item = items.rename(columns=lambda name: name.partition(":")[0]).set_index("item_id").loc[best]
twin = {"item": "new-today", "category": item["category"], "price": float(item["price"])}
twin["name"] = item["name"].split()
before = len(shop.items)
shop.add_items([twin])
assert len(shop.items) == before + 1 and "new-today" in shop.items
pd.DataFrame([twin])

# %%
ranked = shop.recommend([visit], k=len(shop.items))
place = int(ranked.loc[ranked["item"] == "new-today", "rank"].iloc[0])
print(f"after {', '.join(visit)} the new product is number {place} of {len(shop.items):,}")
assert place < len(shop.items) / 10

# %% [markdown]
# It stands among the first, though nobody has ever looked at it. A model without features says so instead of
# guessing:

# %%
try:
    recbole_ext.load(records[0]).add_items([twin])
except UsageError as refusal:
    print(refusal)

# %% [markdown]
# ## How cold products are weighed
#
# `cold_bias` is added to the scores of products that training never saw: above 0 they come up more often, at the cost
# of the others. How often the shop wants them is something that training cannot know; it is chosen on validation,
# never on the test part. The picture shows what the dial does:

# %%
lower, higher = (
    recbole_ext.run("SASRecFeat", "shop", epochs=EPOCHS, cold_bias=bias, **common) for bias in (-1.0, 1.0)
)
rows = {}
for record in (lower, records[1], higher):
    cold = record["test_slices"]["item"]["cold"]
    rows[record["config"]["cold_bias"]] = {"all": record["test"]["hit@20"], "cold": cold["hit@20"]}
shares = pd.DataFrame(rows).T.rename_axis("cold_bias")
assert shares["cold"].is_monotonic_increasing
shares.plot(marker="o", figsize=(5, 2.5), title="HR@20 of SASRecFeat")
plt.show()

# %% [markdown]
# ## What to read next
#
# - [New items](../cold_items.md): the protocol, how to choose settings without looking at the tested items, all keys.
# - [What was measured](../../results/cold_items.md) on real logs.
# - [Returning visitors](4_returning_visitors.py): the other thing that a visit alone does not say.
