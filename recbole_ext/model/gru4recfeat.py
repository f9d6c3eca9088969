"""GRU4RecFeat: RecBole's GRU4Rec over items known by id and features, so that it ranks items it never saw.

Reference: Tan et al., "Improved Recurrent Neural Networks for Session-based Recommendations", DLRS 2016; the encoder is
RecBole's, unchanged. What differs: see `Featured`. Without item features and with `score: dot` it is RecBole's GRU4Rec
with a softmax over the training items only.
"""

from __future__ import annotations

from recbole.model.sequential_recommender.gru4rec import GRU4Rec

from recbole_ext.model.featured import Featured


class GRU4RecFeat(Featured, GRU4Rec):
    """GRU4Rec with an ItemEncoder on both sides; `embedding_size` is the size of an item vector."""
