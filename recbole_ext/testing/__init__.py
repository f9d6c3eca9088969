"""What any model has to do, as tests to inherit: our models, RecBole's and a user's own.

    from recbole_ext.testing import ModelContract

    class TestMine(ModelContract):
        model = Mine
        settings = {"hidden_size": 16}

Each test is a clause, explained in docs/your_model.md. pytest is needed by who runs them, not by the package.
"""

from recbole_ext.bridge.registry import register_model
from recbole_ext.testing.contract import ModelContract
from recbole_ext.testing.runs import Fitted, fit
from recbole_ext.testing.toys import Session, odd_log, one_item_log, ring_log, write_log

__all__ = [
    "Fitted",
    "ModelContract",
    "Session",
    "fit",
    "odd_log",
    "one_item_log",
    "register_model",
    "ring_log",
    "write_log",
]
