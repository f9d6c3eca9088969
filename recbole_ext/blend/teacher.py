"""What a finished run has to teach of items: its chances of the next one after each item alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recbole_ext.blend.part import Component, checkpoint_config
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.segments import pointers_of

AT_A_TIME = 1024  # sessions of one item that are scored together


@torch.no_grad()
def taught(config: Any, dataset: SessionDataset, file: str, temperature: float, most: int) -> sp.csr_matrix:
    """(n_items, n_items) row: softmax(scores of all items after the row's item / temperature), its `most` largest.

    Rows of items without training events are empty. No more than some rows of all scores exist at a time.
    Raises UsageError when the file is no checkpoint, of another data set, split or seed, or of a model that cannot rank
    for one item alone.
    """
    own = checkpoint_config(config, file, "teacher")
    part = Component(own, own["model"], file)
    if type(part.dataset) is not SessionDataset or part.config["model"] == "Blend":
        raise UsageError(
            f"teacher names {file}, and {part.label} ranks by more than the items of a session: name a run of a model "
            "such as SASRec"
        )
    part.start_ranking()
    most = min(most, dataset.item_num - 1)
    trained = dataset.train_items.nonzero().view(-1)
    # whole from the start: small arrays kept between large ones would hold their memory
    chances = np.empty((len(trained), most))
    items = np.empty((len(trained), most), dtype=np.int32)
    first = 0
    for piece in trained.split(AT_A_TIME):
        for _, scores in part.after(piece).chunks():
            scores[:, 0] = -torch.inf
            found = torch.softmax(scores / temperature, dim=1).topk(most, dim=1)
            rows = slice(first, first + len(scores))
            chances[rows], items[rows] = found.values.cpu().numpy(), found.indices.cpu().numpy()
            first += len(scores)
    per_row = np.where(dataset.train_items.numpy(), most, 0)
    shape = (dataset.item_num, dataset.item_num)
    matrix = sp.csr_matrix((chances.ravel(), items.ravel(), pointers_of(per_row)), shape=shape)
    matrix.sort_indices()
    return matrix
