"""SASRecFeat: RecBole's SASRec over items known by id and features, so that it ranks items it never saw.

Reference: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018; the encoder is RecBole's, unchanged.
What differs: see `Featured`. Without item features and with `score: dot` it is RecBole's SASRec with a softmax over the
training items only.
"""

from __future__ import annotations

from typing import Literal

from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_ext.model.featured import Featured, FeaturedSettings
from recbole_ext.settings.base import Number, Whole, key


class SASRecFeatSettings(FeaturedSettings):
    """Keys of SASRecFeat."""

    hidden_size: Whole = key(64, "size of item vectors and states", ge=1)
    n_layers: Whole = key(2, "transformer layers", ge=1)
    n_heads: Whole = key(2, "attention heads, which share out hidden_size", ge=1)
    inner_size: Whole = key(256, "width of the feed-forward layers", ge=1)
    hidden_dropout_prob: Number = key(0.3, "on item vectors and in the layers", ge=0, lt=1)
    attn_dropout_prob: Number = key(0.3, "on the attention", ge=0, lt=1)
    hidden_act: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = key(
        "gelu", "activation of the feed-forward layers"
    )
    layer_norm_eps: Number = key(1e-12, "keeps layer norms finite", gt=0, le=1)
    initializer_range: Number = key(0.02, "deviation of the first weights", ge=0, le=10)


class SASRecFeat(Featured, SASRec):
    """SASRec with an ItemEncoder on both sides; `hidden_size` is the size of an item vector."""

    settings_class = SASRecFeatSettings
