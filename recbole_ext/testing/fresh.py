"""The process of `runs.rank_in_fresh_process`: a line of JSON names a checkpoint, another process ranks by it."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import sys
import traceback
from multiprocessing.connection import Connection
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
        print(json.dumps({"error": _in_a_process(json.loads(line))}), file=answers, flush=True)


def _in_a_process(wanted: dict[str, Any]) -> str:
    """What went wrong, if anything, in a process of its own: a fork, in no time, where forks are to be had and safe."""
    forks = hasattr(os, "fork") and sys.platform != "darwin"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    here, there = context.Pipe()
    child = context.Process(target=_answer, args=(wanted, there))
    child.start()
    there.close()
    try:
        error: str = here.recv()
    except EOFError:
        error = ""
    child.join()
    return error or (f"it ended with status {child.exitcode}" if child.exitcode else "")


def _answer(wanted: dict[str, Any], pipe: Connection) -> None:
    from recbole_ext.bridge.registry import install

    install()  # in a fork it is
    error = ""
    try:
        _rank(wanted)
    except BaseException:
        error = traceback.format_exc()
    pipe.send(error)
    pipe.close()
    os._exit(0)  # no thread that a fork has left behind is waited for


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
