"""Items taken wholly out of training: `cold_items: {holdout: 0.2, seed: 1, fold: 0}`.

After the protocol of CatPro-CL: a share of the items that training sessions hold is drawn, and each of their events
leaves every training session, whose events before and after it become neighbours. Validation and test sessions stay
whole, so there such items are targets, and inputs that are known by their features only.

The items of one `seed` lie in one random order, of which fold 0 is the first `holdout`, fold 1 the next and so on: the
folds of a seed share no item. A model whose settings are chosen on the cold validation targets of one fold and which is
reported on the test targets of others has met none of the reported items before.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from recbole_ext.settings.protocol import Protocol
from recbole_ext.settings.protocol_values import ColdItems


def settings_of(config: Any) -> ColdItems | None:
    """The key `cold_items`, None where nothing is held out; UsageError for a value that cannot be used."""
    value = config["cold_items"]
    return None if value is None else Protocol.read({"cold_items": value}).cold_items


def drawn(tokens: Sequence[str] | np.ndarray, wanted: ColdItems) -> np.ndarray:
    """Which of the items (I,), named by different tokens, are held out: (I,) bool.

    An item's place in the order depends on its token and the seed alone, not on the order or number of the others.
    Shares are rounded down, to one item at least.
    """
    key = str(wanted.seed).encode()
    places = [hashlib.blake2b(str(token).encode(), key=key, digest_size=16).digest() for token in tokens]
    in_order = np.array(sorted(range(len(tokens)), key=places.__getitem__), dtype=np.int64)
    size = max(1, math.floor(wanted.holdout * len(tokens) + 1e-9))
    held_out = np.zeros(len(tokens), dtype=bool)
    held_out[in_order[wanted.fold * size : (wanted.fold + 1) * size]] = True
    return held_out


def target_note(name: str, held_out: np.ndarray, trained: np.ndarray) -> str:
    """How many of a part's targets are cold; held_out, trained: (T,) bool of each target's item."""
    natural = int((~trained & ~held_out).sum())
    return (
        f"{name}: {int(held_out.sum()):,} held-out and {natural:,} natural cold targets of {len(held_out):,}"
    )
