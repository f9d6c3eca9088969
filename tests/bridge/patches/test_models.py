"""Models that RecBole's own rows and losses break: patches/models.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from recbole_ext.errors import UsageError

from .toy import make_config, toy_data


def nothing_masked(folder: Path) -> Any:
    """How many of three items may be masked; BERT4Rec's loss of a batch without a mask, DIEN's of prefixes of one."""
    from recbole.data.transform import MaskItemSequence
    from recbole.model.sequential_recommender.bert4rec import BERT4Rec
    from recbole.model.sequential_recommender.dien import InterestExtractorNetwork

    conf = make_config("BERT4Rec", folder, MAX_ITEM_LIST_LENGTH=3, train_neg_sample_args=None)
    masks = MaskItemSequence(conf)
    model = BERT4Rec(conf, toy_data(conf))
    number = torch.zeros(1, 1, dtype=torch.int64)
    batch = {"Mask_item_id_list": torch.tensor([[1, 2, 0]]), "Pos_item_id": number, "Neg_item_id": number}
    loss = model.calculate_loss({**batch, "MASK_INDEX": number})
    network = InterestExtractorNetwork(4, 4, [8, 1])
    states = torch.ones(2, 2, 4, requires_grad=True)
    auxiliary = network.auxiliary_loss(states, states, states, torch.tensor([0, 0]))
    return [masks.mask_item_length, float(loss), float(auxiliary), loss.requires_grad]


def fearec_rows(folder: Path) -> Any:
    """Rows of each target, and the prefix of row 1 of a data set that makes prefixes when it is asked."""
    from recbole.data.interaction import Interaction
    from recbole.model.sequential_recommender.fearec import FEARec

    class Data:
        inter_feat = Interaction({"item_id": torch.tensor([5, 2, 5])})

        def __getitem__(self, index: Any) -> Any:
            return Interaction({"item_id_list": torch.tensor([[1, 0], [2, 3], [4, 4]])[index]})

    found = FEARec.get_same_item_index(SimpleNamespace(ITEM_ID="item_id"), Data())
    conf = make_config("FEARec", folder, train_neg_sample_args=None)
    made = toy_data(conf).build()[0]
    rows = made.inter_feat
    del rows.interaction["item_id_list"]
    made.__class__ = type("Made", (type(made),), {"__getitem__": Data.__getitem__})
    prefix = FEARec(conf, made).dataset.inter_feat["item_id_list"][1]
    return [{str(item): places.tolist() for item, places in found.items()}, prefix.tolist()]


def line_negatives(folder: Path) -> Any:
    """The users that LINE draws among where only two train, of whom both have met the second item."""
    from recbole.data.interaction import Interaction
    from recbole.model.general_recommender.line import LINE

    model = SimpleNamespace(USER_ID="user", n_users=6, device="cpu", random_pr=0)
    model.interaction_feat = Interaction({"user": torch.tensor([1, 3, 3])})
    model.used_ids = np.array([set(), {1}, {1, 3}])
    model.random_list = LINE.get_user_id_list(model)
    model.random_list_length = len(model.random_list)
    model.random_num = lambda number: LINE.random_num(model, number)
    found = [model.random_list.tolist(), LINE.sampler(model, torch.tensor([1, 1])).tolist()]
    try:
        LINE.sampler(model, torch.tensor([1, 2]))
    except UsageError as error:
        found.append(str(error))
    return found


EXPECTED: dict[str, Any] = {
    "nothing_masked": [1, 0.0, 0.0, True],
    "fearec_rows": [{"2": [1], "5": [0, 2]}, [2, 3]],
    "line_negatives": [
        [1, 3],
        [3, 3],
        "LINE learns from users who have not met an item, and there is an item that all of them have: leave it out "
        "with item_inter_num_interval, or choose another model",
    ],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "nothing_masked": "[0, nan, nan",
    "fearec_rows": "item_id_list",
    "line_negatives": "[[1, 2, 3, 4, 5]",
}
