"""What reinforcement learning adds to a training step, and d3rlpy's agents beside it. Writes results/rl_speed.md.

    python benchmarks/rl.py                                    # 2 threads, CPU
    python benchmarks/rl.py --peer-python /tmp/d3/bin/python   # an environment with d3rlpy, which needs other packages

Every run is a process of its own and the sides take turns. SASRec, SASRecSQN and SASRecSA2C (its warm-up over) train on
the same rows in batches of the same size. d3rlpy's DQN and discrete SAC learn from random transitions with states of
the size of SASRec's and as many actions as the log has items: it has no encoder, so its steps do less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import write_section
from side_by_side import ROOT, Side, conditions, run_once, table
from train import Line, figure, measure, median

PACKAGES = ("torch", "numpy", "pandas", "recbole")
VIEWS = {"rewards": {"view": 0.2}}
SAMPLED = {"train_loss": "sampled_softmax", "q_actions": "sampled"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "SASRec": ("SASRec", {}),
    "SASRecSQN, coin": ("SASRecSQN", VIEWS),
    "SASRecSQN, lagged copy": ("SASRecSQN", {**VIEWS, "target_network": "lagged"}),
    "SASRecSQN, sampled (2,048)": ("SASRecSQN", {**VIEWS, **SAMPLED, "target_network": "lagged"}),
    "SASRecSA2C, coin": ("SASRecSA2C", {**VIEWS, "warm_up_steps": 0}),
    "SASRecSA2C, lagged copy": ("SASRecSA2C", {**VIEWS, "warm_up_steps": 0, "target_network": "lagged"}),
}
PEER = """
import json, sys, time
import d3rlpy
import numpy as np, torch
order = json.loads(sys.argv[1])
torch.set_num_threads(order["threads"])
rng = np.random.default_rng(1)
n, actions = 4096, order["actions"]
data = d3rlpy.dataset.MDPDataset(
    observations=rng.normal(size=(n, 64)).astype(np.float32),
    actions=rng.integers(0, actions, size=(n, 1)),
    rewards=np.full(n, 0.2, np.float32),
    terminals=(np.arange(n) % 5 == 4).astype(np.float32),
    action_space=d3rlpy.ActionSpace.DISCRETE, action_size=actions)
config = {"DQN": d3rlpy.algos.DQNConfig, "SAC": d3rlpy.algos.DiscreteSACConfig}[order["agent"]]
agent = config(batch_size=order["batch"]).create(device="cpu:0")
agent.build_with_dataset(data)
buffer = data.buffer if hasattr(data, "buffer") else data
times = []
for step in range(order["steps"] + 1):
    batch = data.sample_transition_batch(order["batch"])
    began = time.perf_counter()
    agent.update(batch)
    times.append(time.perf_counter() - began)
print(json.dumps({"transitions_per_second": order["batch"] / float(np.median(times[1:]))}))
"""


def steps(
    data: Path, positions: bool, repeats: int, batches: int, threads: int, batch_size: int
) -> tuple[str, dict[str, float]]:
    """The table of one kind of batch, and SQN's transitions a second with all items and with sampled ones."""
    kind: dict[str, Any] = {"train_batch_size": batch_size}
    if positions:
        kind["train_targets"] = "all_positions"
    sides = []
    for label, (model, settings) in MODELS.items():
        given = {
            "ours": True,
            "data": str(data),
            "model": model,
            "settings": {**settings, **kind},
            "batches": batches,
        }
        sides.append((Line(label, True, model, settings), Side(label, "recbole_runs:train_steps", given)))
    found = measure(sides, repeats, threads)
    base = median(found["SASRec"], "targets_per_second")
    rows = []
    for label in MODELS:
        speed = median(found[label], "targets_per_second")
        peak = median(found[label], "peak_gb")
        rows.append((label, figure(speed, ",.0f"), figure(base / speed, ".2f", "×"), figure(peak)))
    ways = {"all items": "SASRecSQN, lagged copy", "sampled": "SASRecSQN, sampled (2,048)"}
    speeds = {way: median(found[label], "targets_per_second") for way, label in ways.items()}
    return table(("model", "transitions/s, median", "cost of a step", "peak GB"), rows), speeds


def peer(python: str, actions: int, batch: int, threads: int, number: int) -> dict[str, float]:
    """Transitions a second of d3rlpy's agents; empty where that environment has no d3rlpy."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    found = {}
    for agent in ("DQN", "SAC"):
        order = {"agent": agent, "actions": actions, "batch": batch, "steps": number, "threads": threads}
        child = subprocess.run(
            [python, "-c", PEER, json.dumps(order)], capture_output=True, text=True, env=environment
        )
        if child.returncode:
            print(f"d3rlpy {agent} did not run: {child.stderr.strip().splitlines()[-1]}")
            continue
        found[agent] = json.loads(child.stdout.strip().splitlines()[-1])["transitions_per_second"]
    return found


def item_count(data: Path) -> int:
    """Distinct items of the log."""
    with (data / f"{data.name}.inter").open(encoding="utf-8") as stream:
        place = [column.partition(":")[0] for column in next(stream).rstrip("\n").split("\t")].index(
            "item_id"
        )
        return len({line.split("\t")[place] for line in stream})


def million(threads: int, actions: str) -> float:
    """Peak memory in GB of a few steps of SASRecSQN with a million items."""
    side = Side("a million items", "rl_million:train_a_little", {"actions": actions})
    return float(run_once(side, threads)["peak_bytes"]) / 1e9


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT / "atomic_data" / "diginetica-sessions")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "rl_speed.md")
    parser.add_argument("--peer-python", default=sys.executable, help="Python of an environment with d3rlpy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=2048, help="rows or sessions of one of our batches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-million", action="store_true", help="leave the run with a million items out")
    given = parser.parse_args()
    data = given.data.resolve()
    if not (data / f"{data.name}.inter").is_file():
        parser.error(
            f"{data} holds no atomic files: convert a log first (docs/convert.md), or name a folder by --data"
        )
    text = [conditions(given.threads, PACKAGES), ""]
    speeds: dict[str, float] = {}
    for positions, label in ((False, "One row a prefix"), (True, "Every position")):
        part, found = steps(data, positions, given.repeats, given.batches, given.threads, given.batch_size)
        speeds.update({f"{label.lower()}, {way}": speed for way, speed in found.items()})
        text += [f"### {label}", "", part, ""]
    items = item_count(data)
    ran = False
    for batch in (32, 256):  # its default, and the papers' batch
        for agent, speed in peer(given.peer_python, items, batch, given.threads, 3).items():
            ran = True
            ratios = ", ".join(f"{ours / speed:.0f}× ({label})" for label, ours in speeds.items())
            agent = f"d3rlpy {agent}, {items:,} actions, batches of {batch}"
            text.append(f"- {agent}: {speed:,.0f} transitions/s; SASRecSQN {ratios}")
    if not ran:
        text.append(
            "- d3rlpy was not there: pip install d3rlpy in an environment of its own, then --peer-python"
        )
    if not given.no_million:
        for actions in ("sampled", "all"):
            text.append(
                f"- a million items, q_actions {actions}: peak {million(given.threads, actions):.1f} GB"
            )
    report = "\n".join(text)
    print(report)
    write_section(given.out, f"Cost of reinforcement learning, {data.name}", report)


if __name__ == "__main__":
    main()
