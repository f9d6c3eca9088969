"""A model folder behind HTTP: many clients are answered together, and the model changes without a lost request.

`question`, `batcher` and `served` know no transport; `app` gives them to HTTP, `process` runs one process of it and
`workers` several. It needs the extra packages of `pip install 'recbole-ext[serve]'`.
"""

from __future__ import annotations

import importlib

from recbole_ext.errors import UsageError

PACKAGES = ("starlette", "uvicorn", "prometheus_client")


def require_packages() -> None:
    """Raise UsageError, saying what to install, where the extra packages are not there."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(
                f"serve needs {name}, which is not installed: pip install 'recbole-ext[serve]'"
            ) from error
