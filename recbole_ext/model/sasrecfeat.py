"""SASRecFeat: RecBole's SASRec over items known by id and features, so that it ranks items it never saw.

Reference: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018; the encoder is RecBole's, unchanged.
What differs: see `Featured`. Without item features and with `score: dot` it is RecBole's SASRec with a softmax over the
training items only.
"""

from __future__ import annotations

from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_ext.model.featured import Featured


class SASRecFeat(Featured, SASRec):
    """SASRec with an ItemEncoder on both sides; `hidden_size` is the size of an item vector."""
