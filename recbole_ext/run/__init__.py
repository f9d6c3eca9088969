"""One run: prepare, fit, test, record, checkpoints. The room answers a call, as `recbole_ext.run` does."""

from __future__ import annotations

from typing import Any

from recbole_ext.rooms import answer_calls


def _run(model: str, dataset: str, **config: Any) -> dict[str, Any]:
    from recbole_ext.run.run import run

    return run(model, dataset, config)


answer_calls(__name__, _run)
