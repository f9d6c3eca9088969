"""Negatives that cannot be drawn: patches/drawing.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError


def drawing_ends(folder: Path) -> Any:
    """A sampler of three items for a session that has two of them, and for one that has all; with a limit of time."""
    import signal

    from recbole.sampler.sampler import AbstractSampler

    class Few(AbstractSampler):
        item_num = 4

        def get_used_ids(self) -> Any:
            return np.array([set(), {1, 3}, {1, 2, 3}], dtype=object)

        def _uni_sampling(self, number: int) -> Any:
            return np.random.choice(
                [1, 3], number
            )  # never the one that may be, as if it were one of millions

    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(RuntimeError("it does not end")))
    signal.alarm(20)
    try:
        drawn = Few("uniform", 1.0).sample_by_key_ids([1, 1], 2).tolist()
        try:
            Few("uniform", 1.0).sample_by_key_ids([1, 2], 1)
        except UsageError as error:
            return [drawn, str(error)]
    finally:
        signal.alarm(0)


EXPECTED: dict[str, Any] = {
    "drawing_ends": [
        [2, 2, 2, 2],
        "negatives cannot be drawn for number 2, which has all of the 3 items that may be: leave it out, or set "
        "train_neg_sample_args: ~ and eval_args.mode: full",
    ],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "drawing_ends": "it does not end",
}
