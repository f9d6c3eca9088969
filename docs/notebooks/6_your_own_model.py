# %% [markdown]
# # A model of your own in forty lines
#
# An idea for a model should be a class, and nothing else: how sessions are read, trained fast, ranked, tested,
# compared and served is there already. The idea here: what somebody looked at a moment ago counts most, and how fast
# the rest fades is learnt from the log, for each dimension of the vectors on its own.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from recbole.model.abstract_recommender import SequentialRecommender
from safetensors.torch import load_file
from torch import nn

import recbole_ext
from recbole_ext.convert.synthetic import generate
from recbole_ext.errors import UsageError
from recbole_ext.report.answer import answer
from recbole_ext.testing import ring_log, write_log

EPOCHS = 15  # passes over the training data
SCALE = 0.01  # of the log: 1 has 310,000 visits
os.chdir(tempfile.mkdtemp(prefix="your-own-model-"))  # all files below are written there

# %% [markdown]
# ## The class
#
# It is a model as RecBole knows them: `calculate_loss` learns, `full_sort_predict` scores all items, `predict` those
# of the rows. `defaults` are its settings; a misspelt one is refused. With B sessions of at most L events and vectors
# of size d, the state is h = W Σ_j σ(f)^(n − j) v_j, and the score of item i is h · v_i.


# %%
class Fading(SequentialRecommender):
    """The sum of a session's item vectors, each faded by its age, in every dimension at a pace of its own."""

    defaults = {"vector_size": 64, "input_dropout": 0.2, "loss_type": "CE"}
    carries_methods = True  # FadingSQN, FadingSA2C … are models too

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = config["vector_size"]
        self.item_embedding = nn.Embedding(self.n_items, size, padding_idx=0)
        self.fade = nn.Parameter(torch.zeros(size))  # half is left after one event, at first
        self.turn = nn.Linear(size, size)
        self.dropout = nn.Dropout(config["input_dropout"])
        self.loss_fct = nn.CrossEntropyLoss()

    def forward(self, item_seq, item_seq_len):
        """(B, d) states; item_seq: (B, L), 0 = padding on the right; item_seq_len: (B,)."""
        vectors = self.dropout(self.item_embedding(item_seq))  # (B, L, d)
        place = torch.arange(item_seq.shape[1], device=item_seq.device)
        age = (item_seq_len.unsqueeze(1) - 1 - place).clamp(min=0)  # (B, L)
        left = torch.sigmoid(self.fade) ** age.unsqueeze(2)  # (B, L, d)
        left = left * (item_seq > 0).unsqueeze(2)  # nothing of padding
        return self.turn((left * vectors).sum(1))

    def full_sort_predict(self, interaction):
        """(B, n_items) scores of all items."""
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return states @ self.item_embedding.weight.T

    def predict(self, interaction):
        """(B,) scores of the rows' own items."""
        scores = self.full_sort_predict(interaction)
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)

    def calculate_loss(self, interaction):
        """The cross-entropy over all items."""
        return self.loss_fct(self.full_sort_predict(interaction), interaction[self.POS_ITEM_ID])


# %% [markdown]
# ## Does it learn at all?
#
# Ten items in a ring, each followed by the next: whatever reads a session's last item has to get every guess right.
# Try this before any real log; a sign that is wrong, or a score that is not what is trained, shows here in seconds.

# %%
write_log(Path("atomic_data"), "ring", ring_log())
by_heart = {"vector_size": 16, "input_dropout": 0.0, "learning_rate": 0.01, "epochs": 30}
measured = {"topk": [1, 5], "valid_metric": "NDCG@5", "eval_args": {"split": {"given": {"valid_share": 0}}}}
ring = recbole_ext.run(Fading, "ring", **by_heart, **measured, state="WARNING")
assert ring["test"]["hit@1"] == 1.0
ring["test"]["hit@1"]

# %% [markdown]
# A setting that nothing reads is refused, so a slip of the pen costs no evening:

# %%
try:
    recbole_ext.run(Fading, "ring", vektor_size=16)
except UsageError as refusal:
    print(refusal)

# %% [markdown]
# ## Is it any good?
#
# A log of a made-up shop, and three others beside it: the most popular items, the nearest sessions, and SASRec,
# which learns at every position of a session. All read the same sessions and guess the same events.

# %%
generate("diginetica", "raw", scale=SCALE)
recbole_ext.convert("diginetica", "raw", "atomic_data/shop")
common = {"eval_args": {"split": {"session_time": {"test_days": 14, "valid_days": 7}}}, "state": "WARNING"}
learning = {"epochs": EPOCHS, "score": "cosine", "train_batch_size": "auto", **common}
mine = recbole_ext.run(Fading, "shop", learning_rate=0.01, **learning)
others = [
    recbole_ext.run("Pop", "shop", **common),
    recbole_ext.run("VSTAN", "shop", **common),
    recbole_ext.run("SASRec", "shop", learning_rate=0.003, train_targets="all_positions", **learning),
]
found = recbole_ext.compare([mine, *others])
print(answer(found))

# %%
values = {m["model"]: m["metrics"]["ndcg@10"]["mean"] for m in found["models"]}
pd.Series(values)[::-1].plot(kind="barh", figsize=(6, 2.5), title="NDCG@10")
plt.show()
assert values["Fading"] > 2 * values["Pop"]

# %% [markdown]
# `score: cosine` was not written in the class. The trainer compares numbers when training starts: it finds that the
# score is a product of a state and the item vectors, so all that is known of such models applies, losses over samples
# and cosine scores too ([speed](../speed.md)).
#
# ## What has it learnt?
#
# The weights lie in the run's model folder, in a form that needs no pickle. How much of an event is left after one
# more?

# %%
weights = load_file(Path(mine["files"]["model"]) / "weights.safetensors")
left = torch.sigmoid(weights["model.weight.fade"]).numpy()
plt.figure(figsize=(5, 2.5))
plt.hist(left, bins=20)
plt.title("share of a dimension that is left after one event")
plt.show()
assert left.min() < 0.5 < left.max()  # it began with half, everywhere

# %% [markdown]
# ## It serves, too
#
# A run of it leaves a model folder like any other, which is asked, exported and served. The class has to be known
# where the folder is opened, so a shop keeps it in a file and imports that.

# %%
shop = recbole_ext.load(mine)
lists = shop.recommend(shop.examples, k=3)
assert lists.groupby("session").size().eq(3).all()
lists

# %% [markdown]
# ## Before you rely on it
#
# Put the class into `fading.py`, and beside it a test that inherits what one expects of any model:
#
#     from fading import Fading
#     from recbole_ext.testing import ModelContract
#
#     class TestFading(ModelContract):
#         model = Fading
#         settings = {"vector_size": 16, "input_dropout": 0.0}
#
# `pytest` then looks for rows that see each other, padding that counts, state that a checkpoint forgets, test events
# in training, and a dozen other faults that no metric shows. `python run.py --model=fading.py:Fading` runs it from
# the file.
#
# ## What to read next
#
# - [A model of your own](../your_model.md): every clause of the contract, trainers and data sets of your own.
# - [Experiments](../experiments.md): the same search for your model and its rivals, then a page with intervals.
# - [Reinforcement learning](5_reinforcement_learning.py): `FadingSA2C` is a model already.
