"""A model folder behind HTTP: many clients are answered together, and the model changes without a lost request.

`question`, `batcher` and `served` know no transport; `app` gives them to HTTP, `process` runs one process of it and
`workers` several. It needs the extra packages of `pip install 'recbole-ext[serve]'`.
"""

from __future__ import annotations

from recbole_ext.errors import needs

PACKAGES = ("starlette", "uvicorn", "prometheus_client", "pydantic", "jinja2")


def require_packages() -> None:
    """Raise UsageError, saying what to install, where the extra packages are not there."""
    for name in PACKAGES:
        needs(name, "serve")
