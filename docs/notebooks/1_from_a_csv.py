# %% [markdown]
# # From a csv to live recommendations
#
# You have a table of who looked at which product. Here it becomes a model, its quality is measured on the newest
# days, and a server answers while a visitor clicks. All of it takes about a minute on two cores.
#
# The table is a made one, so that the notebook runs anywhere. To use yours, read it in the place of `events.csv`.

# %%
import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

import matplotlib.pyplot as plt
import pandas as pd

import recbole_ext
from recbole_ext.cli.new import example_events, example_items
from recbole_ext.report.text import result_table

EPOCHS = 10  # passes over the training data
os.chdir(tempfile.mkdtemp(prefix="from-a-csv-"))  # all files below are written there

# %% [markdown]
# ## The log
#
# A line says who, when, what kind of event, and which product. A second table says what is known of each product;
# without one everything below works too, but new products cannot be told apart.

# %%
pd.DataFrame(example_events()).to_csv("events.csv", index=False)
pd.DataFrame(example_items()).to_csv("items.csv", index=False)
events = pd.read_csv("events.csv", parse_dates=["time"])
events.head()

# %%
items = pd.read_csv("items.csv").set_index("product")
items.head(3)

# %%
by_day = events.groupby([events["time"].dt.date, "event"]).size().unstack(fill_value=0)
by_day.plot(kind="bar", stacked=True, figsize=(9, 2.5), xlabel="", title="Events a day", rot=90)
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Convert
#
# Columns are guessed from their names and values. Look at the guesses before you believe a figure: a column that was
# taken for another one is the most common fault. A wrong guess is put right by name, as in `item="sku"`
# ([all options](../convert.md)).

# %%
manifest = recbole_ext.convert("events", "events.csv", "atomic_data/shop", items="items.csv")
pd.Series(manifest["guessed"], name="guessed")

# %% [markdown]
# The manifest also counts every line that was left out, by its reason. Here all lines are kept.

# %%
lines = pd.DataFrame(manifest["rows"]).T
assert (lines["read"] == lines["kept"]).all()
lines

# %% [markdown]
# ## Train and measure
#
# The log is cut by time: the oldest eight tenths of the visits train, the next tenth chooses the best epoch, and the
# newest tenth is guessed once, at the end. Each event after a visit's first is to be guessed from those before it.
# `state="WARNING"` leaves RecBole's log lines out; without it you see each epoch.

# %%
record = recbole_ext.run("HRNNFeat", "shop", epochs=EPOCHS, state="WARNING")
print(result_table(record))

# %% [markdown]
# HR@10 is the share of cases in which the product that came next is among the ten that the model names. To see
# whether that is much, compare it with ten products drawn at random.

# %%
chance = 10 / record["counts"]["items"]
print(f"HR@10 {record['test']['hit@10']:.3f}, by chance {chance:.3f}")
assert record["test"]["hit@10"] > 2 * chance

# %%
epochs = pd.DataFrame(record["epochs"])
epochs.plot(x="epoch", y="valid_score", marker="o", figsize=(5, 2.5), legend=False)
plt.title(f"{record['valid_metric']} on the days that choose the epoch")
plt.show()

# %% [markdown]
# ## Lists
#
# A finished run is asked without its data: the record names the folder, and the folder may be copied to another
# machine. A visitor has seen `p003` and `p010`. `why` adds what speaks for an item: it is of the same category as the
# last one, or the visitor has just seen it.

# %%
shop = recbole_ext.load(record)
lists = shop.recommend([["p003", "p010"]], k=5, why=True)
lists.join(items[["title", "category", "price"]], on="item")

# %% [markdown]
# Conditions are applied before the best are chosen, so a list stays full while the shop has such products.

# %%
cheap = shop.recommend([["p003", "p010"]], k=5, where="price < 100", exclude_seen=True)
assert len(cheap) == 5 and not set(cheap["item"]) & {"p003", "p010"}
assert (items.loc[cheap["item"], "price"] < 100).all()
cheap.join(items[["title", "price"]], on="item")

# %% [markdown]
# ## Live
#
# `recbole-ext serve RUN` answers over HTTP; here the notebook starts it on any free port and reads the address that
# it names. It needs `pip install 'recbole-ext[serve]'`.

# %%
run_folder = os.path.dirname(record["files"]["record"])
command = [sys.executable, "-m", "recbole_ext", "serve", run_folder, "--port", "0"]
server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
atexit.register(server.kill)  # should a cell below fail
address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
print(f"serving at {address}")


# %%
def ask(visit, k=5):
    """The names of the k best products after a visit's products so far."""
    question = json.dumps({"sessions": [visit], "k": k}).encode()
    with urllib.request.urlopen(f"{address}/recommend", question) as reply:
        return json.load(reply)["lists"][0]["items"]


clicks = ["p003", "p010", "p045", "p046"]  # two lamps, then two tables
answers = {" ".join(clicks[:n]): ask(clicks[:n]) for n in range(1, len(clicks) + 1)}
pd.DataFrame(answers.values(), index=list(answers), columns=[1, 2, 3, 4, 5]).rename_axis("seen so far")

# %% [markdown]
# The list follows the visitor from the first category to the second. What is served is what the model answers
# offline, item by item, so what was measured above is what visitors get.

# %%
visits = [clicks[:n] for n in range(1, len(clicks) + 1)]
offline = shop.recommend(visits, k=5).groupby("session")["item"].apply(list).tolist()
assert list(answers.values()) == offline
server.terminate()
assert server.wait(timeout=60) == 0  # it finishes what is under way

# %% [markdown]
# ## What to read next
#
# - [Which model for my log?](2_which_model.py): whether another model would do better on it.
# - [A shop, every day](../start-shop.md): new days join the log, and yesterday's model goes on from there.
# - [Serve](../serving.md): tokens, several processes, another model swapped in without a lost request.
# - [Ask for lists](../recommend.md): a visitor's past, candidates, files of any size.
