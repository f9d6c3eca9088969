"""What jobs import, imported once by the server that workers are copies of: torch, RecBole and our rooms take seconds.

Nothing here may look at a GPU, which a copy of a process that has done so cannot use.
"""

from __future__ import annotations

import importlib
import warnings
from contextlib import suppress

JOBS_NEED = (
    "matplotlib.backends.backend_agg",  # a run draws its learning curve
    "matplotlib.figure",
    "recbole.config",
    "recbole.data",
    "recbole.trainer",
    "recbole_ext.bridge.data_sets",
    "recbole_ext.bridge.needs",
    "recbole_ext.bridge.prepare",
    "recbole_ext.data.session_dataset",
    "recbole_ext.experiment.cells",
    "recbole_ext.run.checkpoints",
    "recbole_ext.run.curve",
    "recbole_ext.run.model_folder",
    "recbole_ext.run.parent",
    "recbole_ext.run.record",
    "recbole_ext.run.run",
    "recbole_ext.run.several",
    "recbole_ext.run.tracking",
    "recbole_ext.trainer.counting",
    "recbole_ext.trainer.rl",
    "recbole_ext.trainer.session",
)

# where it fails, a job says why: an error here would end the server without a word
with suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from recbole_ext.bridge import registry

    registry.install()
    for _name in JOBS_NEED:
        importlib.import_module(_name)

with suppress(ImportError, OSError):  # where there is no Triton, there are no kernels
    from triton.runtime.cache import triton_key

    from recbole_ext.model.kernels import norm, recurrence, rows, softmax  # noqa: F401

    triton_key()  # the sum of Triton's files, by which it finds what it compiled before: half a second, kept then
