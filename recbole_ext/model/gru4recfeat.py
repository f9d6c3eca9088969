"""GRU4RecFeat: RecBole's GRU4Rec over items known by id and features, so that it ranks items it never saw.

Reference: Tan et al., "Improved Recurrent Neural Networks for Session-based Recommendations", DLRS 2016; the encoder is
RecBole's, unchanged. What differs: see `Featured`. Without item features and with `score: dot` it is RecBole's GRU4Rec
with a softmax over the training items only.
"""

from __future__ import annotations

from recbole.model.sequential_recommender.gru4rec import GRU4Rec

from recbole_ext.model.featured import Featured, FeaturedSettings
from recbole_ext.settings.base import Number, Whole, key


class GRU4RecFeatSettings(FeaturedSettings):
    """Keys of GRU4RecFeat."""

    embedding_size: Whole = key(64, "size of item vectors", ge=1)
    hidden_size: Whole = key(128, "size of states", ge=1)
    num_layers: Whole = key(1, "GRU layers", ge=1)
    dropout_prob: Number = key(0.3, "on the item vectors that enter the GRU", ge=0, lt=1)


class GRU4RecFeat(Featured, GRU4Rec):
    """GRU4Rec with an ItemEncoder on both sides; `embedding_size` is the size of an item vector."""

    settings_class = GRU4RecFeatSettings
