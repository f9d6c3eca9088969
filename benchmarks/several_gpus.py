"""How fast training is on several GPUs of one machine beside one of them, at the same targets a step. Adds to
results/speed.md.

    python benchmarks/several_gpus.py --data atomic_data/diginetica-sessions --counts 1,2
    python benchmarks/several_gpus.py --data atomic_data/large --models SASRec,HRNNFeat --batches 16384 --steps 120
    python benchmarks/several_gpus.py --data … --cpu --batches 1024 --steps 40        # processes on a CPU, by gloo

Each run is torchrun with so many processes, the numbers of processes in turn, and has all sizes of batches one after
the other; settings are those of run.py, without
dropout. Time is that of blocks of steps in which no CUDA graph was made, to the end of the last kernel. `loss apart`:
how far the first fifty losses are from those of the first number of processes, at most; negatives are others in each.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

from report import write_section  # noqa: E402
from side_by_side import conditions, table  # noqa: E402

PACKAGES = ("torch", "recbole", "numpy")
# without dropout: drawn numbers differ with the number of processes, and losses then too
HRNNFEAT = {
    **{"user_state": "none", "pointer": "session"},
    **dict.fromkeys(("dropout_input", "dropout_session", "dropout_readout", "id_dropout"), 0.0),
}
SASREC = {"train_targets": "all_positions", "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
SAMPLED = {"train_loss": "sampled_softmax", "negatives": 2048}
MODELS: dict[str, dict[str, Any]] = {
    "HRNNFeat": HRNNFEAT,
    "SASRec": SASREC,
    "HRNNFeat+sampled": {**HRNNFEAT, **SAMPLED},
    "SASRec+sampled": {**SASREC, **SAMPLED},
}
FIRST = 20  # steps that are not counted
BLOCK = 20  # steps between two looks at the clock
HEAD = ("model", "targets a step", "processes", "ms a step, median (least–most)", "ratio", "loss apart")


# --- in a process that torchrun has started ---------------------------------------------------------------


class Timed:
    """Iterates over a loader's batches, and notes the seconds of each block of steps and whether it made a graph."""

    def __init__(self, trainer: Any, steps: int, block: int):
        self.trainer, self.steps, self.block = trainer, steps, block
        self.blocks: list[tuple[float, bool]] = []
        self.done = 0

    def of(self, loader_class: type) -> Any:
        def iterate(loader: Any) -> Iterator[Any]:
            began, graphs = self._now(), self._graphs()
            for batch in loader_class.__iter__(loader):  # type: ignore[attr-defined]
                if self.done == self.steps:
                    return
                yield batch
                self.done += 1
                if self.done % self.block == 0:
                    now, made = self._now(), self._graphs()
                    self.blocks.append(((now - began) / self.block, made != graphs or self.done <= FIRST))
                    began, graphs = now, made

        return iterate

    def _now(self) -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def _graphs(self) -> int:
        found = getattr(self.trainer, "_graphs", None)
        return len(found.graphs) if found is not None else 0


def work(order: Mapping[str, Any], report: Path) -> None:
    """Train some steps, as `run.py` would; the first process writes what it saw."""
    from recbole_ext.run.several import of_this_process

    sys.argv = sys.argv[:1]
    from recbole_ext.bridge.prepare import prepare_for_run
    from recbole_ext.processes import current, first_before_others, together
    from recbole_ext.run.run import _trainer, configure

    config = configure(order["model"], order["dataset"], of_this_process(order["settings"]))
    import recbole.data
    from recbole.utils import init_seed

    with together(config["device"]):
        with first_before_others():
            prepare_for_run(config)
        init_seed(config["seed"], config["reproducibility"])
        train, _, _ = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
        found = {}
        for batch in order["batches"]:
            config["train_batch_size"] = batch
            init_seed(config["seed"], config["reproducibility"])
            found[batch] = _timed_steps(_trainer(config, train), train, order)
            gc.collect()  # the trainer and its memory
        if current().number == 0:
            whole = {"batches": found, "items": int(train._dataset.item_num)}
            report.write_text(json.dumps(whole), encoding="utf-8")


def _timed_steps(trainer: Any, train: Any, order: Mapping[str, Any]) -> dict[str, Any]:
    """Some steps of a trainer that is new."""
    losses: list[float] = []
    step, loader = trainer._step, type(train)
    trainer._step = lambda *given: _noted(step(*given), losses)
    timed = Timed(trainer, order["steps"], order["block"])
    train.__class__ = type("Timed", (loader,), {"__iter__": timed.of(loader)})
    epoch = 0
    while timed.done < order["steps"]:
        trainer._train_epoch(train, epoch)
        epoch += 1
    train.__class__ = loader
    return {"blocks": timed.blocks, "losses": losses}


def _noted(loss: Any, losses: list[float]) -> Any:
    """The loss, of which the first fifty are kept, which makes those steps wait for the device."""
    if len(losses) < 50:
        losses.append(float(sum(loss) if isinstance(loss, tuple) else loss))
    return loss


# --- in the process that compares -------------------------------------------------------------------------


def start(order: Mapping[str, Any], count: int) -> dict[str, Any] | None:
    """One run of so many processes; None where it failed, which it has said by then."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        command += [str(Path(__file__).resolve()), "--work", json.dumps(order), str(report)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        child = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
        if child.returncode != 0 or not report.is_file():
            said = [line for line in child.stderr.splitlines() if "Error: " in line] or [child.stderr]
            print(f"{count} processes of {order['model']} have failed: {said[0]}", file=sys.stderr)
            return None
        return dict(json.loads(report.read_text(encoding="utf-8")))


def compared(given: argparse.Namespace) -> tuple[list[tuple[str, ...]], int]:
    """The table's rows, and the number of items."""
    rows, items = [], 0
    batches = list(map(int, given.batches.split(",")))
    for name in given.models.split(","):
        settings = {
            **MODELS[name],
            "data_path": str(given.data.resolve().parent),
            "precision": given.precision,
            "use_gpu": not given.cpu,
            "cuda_graphs": not given.no_graphs,
        }
        order = {
            "model": name.removesuffix("+sampled"),
            "dataset": given.data.resolve().name,
            "steps": given.steps,
            "block": given.block,
            "batches": batches,
            "settings": settings,
        }
        found: dict[int, list[dict[str, Any]]] = {}
        for _ in range(given.repeats):
            for count in given.counts:
                run = start(order, count)
                if run is not None:
                    found.setdefault(count, []).append(run)
                    items = run["items"]
        for batch in batches:
            of_batch = {count: [run["batches"][str(batch)] for run in runs] for count, runs in found.items()}
            rows += _rows(name, batch, of_batch)
        print(table(HEAD, rows), flush=True)
    return rows, items


def _rows(name: str, batch: int, found: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    rows, base = [], 0.0
    first = next((runs[0]["losses"] for runs in found.values()), [])
    for count, runs in found.items():
        taken = [1e3 * seconds for run in runs for seconds, graph in run["blocks"] if not graph]
        text, ratio = "every block made a graph: more --steps", ""
        if taken:
            middle = statistics.median(taken)
            base = base or middle
            text = f"{middle:.2f} ({min(taken):.2f}–{max(taken):.2f})"
            ratio = f"{base / middle:.2f}x"
        apart = max(abs(a - b) / abs(a) for a, b in zip(first, runs[0]["losses"]))
        rows.append((name, f"{batch:,}", str(count), text, ratio, f"{apart:.0e}"))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(".")[0].replace("\n", " "))
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help="folder of atomic files")
    parser.add_argument("--counts", default="1,2", help="numbers of processes; the first is compared with")
    parser.add_argument("--models", default="HRNNFeat,SASRec", help=f"of {', '.join(MODELS)}")
    parser.add_argument(
        "--batches", default="1024,4096,16384", help="targets a step, of all processes together"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--block", type=int, default=BLOCK, help="steps between two looks at the clock")
    parser.add_argument("--no_graphs", action="store_true", help="no CUDA graphs, where steps are long")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed.md")
    given = parser.parse_args(argv)
    if given.work:
        work(json.loads(given.work[0]), Path(given.work[1]))
        return
    if given.data is None:
        parser.error("name the folder of atomic files: --data FOLDER")
    given.counts = list(map(int, given.counts.split(",")))
    rows, items = compared(given)
    if not rows:
        raise SystemExit("every run has failed, so nothing is written: the lines above say why")
    command = " ".join(["python", "benchmarks/several_gpus.py", *(argv or sys.argv[1:])])
    where = (
        f"{'' if given.cpu else _gpus()}{conditions(int(os.environ.get('OMP_NUM_THREADS', '1')), PACKAGES)}"
    )
    text = f"`{command}`; {items - 1:,} items; {where}\n\n{table(HEAD, rows)}\n"
    write_section(given.out, f"Several processes, {given.data.name}", text)


def _gpus() -> str:
    import torch

    return f"{torch.cuda.device_count()} {torch.cuda.get_device_name()}; "


if __name__ == "__main__":
    main()
