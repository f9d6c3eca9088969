"""The process of `runs.rank_in_fresh_process`: a line of JSON names a checkpoint, a fork of this one ranks by it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from typing import Any


def main() -> None:
    """Answer each line of standard input by one on standard output; `error` is empty where all went well."""
    import torch

    from recbole_ext.bridge.registry import install

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what RecBole prints is no answer
    install()
    torch.optim.SGD(
        [torch.zeros(1)], lr=0.0
    )  # torch imports its compiler for the first optimizer, for seconds
    for line in sys.stdin:
        print(json.dumps({"error": _in_a_fork(json.loads(line))}), file=answers, flush=True)


def _in_a_fork(wanted: dict[str, Any]) -> str:
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        error = ""
        try:
            _rank(wanted)
        except BaseException:
            error = traceback.format_exc()
        with os.fdopen(writes, "w") as stream:
            stream.write(error)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as stream:
        error = stream.read()
    _, status = os.waitpid(child, 0)
    return error or (f"it ended with status {status}" if status else "")


def _rank(wanted: dict[str, Any]) -> None:
    import numpy as np
    import torch
    from recbole.quick_start import load_data_and_model
    from recbole.utils import get_trainer

    from recbole_ext.testing import runs

    torch.set_num_threads(wanted["threads"])
    os.chdir(wanted["folder"])
    if wanted["file"] is not None:
        _register(wanted["module"], wanted["file"], wanted["class"])
    config, model, _, _, _, test = load_data_and_model(wanted["checkpoint"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector = runs._keeper(config)
    ranked = runs.rank(trainer, test)
    np.savez(wanted["out"], scores=ranked.scores, rank=ranked.rank, row=ranked.row)


def _register(module: str, file: str, name: str) -> None:
    from recbole_ext.bridge.registry import register_model

    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None and spec.loader is not None
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])
    register_model(getattr(sys.modules[module], name))


if __name__ == "__main__":
    main()
