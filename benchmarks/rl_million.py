"""A few training steps of SASRecSQN on a generated log with a million items."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np


def train_a_little(actions: str, items: int = 1_000_000) -> dict[str, float]:
    """Peak memory is the process's; `actions` is q_actions. Each item comes once, in sessions of four."""
    from recbole_runs import open_run

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "million"
        data.mkdir()
        order = np.random.default_rng(1).permutation(items)
        lines = [f"s{place // 4}\ti{item}\t{place}\n" for place, item in enumerate(order)]
        head = "session_id:token\titem_id:token\ttimestamp:float\n"
        (data / "million.inter").write_text(head + "".join(lines), encoding="utf-8")
        settings = {
            "train_targets": "all_positions",
            "train_loss": "sampled_softmax",
            "q_actions": actions,
            "rewards": {"view": 0.2},
            "target_network": "lagged",
            "eval_args": {
                "split": {"session_time": [0.98, 0.01, 0.01]},
                "order": "TO",
                "group_by": "user",
                "mode": "full",
            },
        }
        run = open_run(True, str(data), "SASRecSQN", settings)
        trainer, train = run["trainer"], run["train"]
        trainer._meet_training(train)
        trainer.model.train()
        loss = 0.0
        for number, batch in enumerate(train):
            loss += float(trainer._step(batch, trainer._loss_of))
            if number == 3:
                break
    return {"loss": loss}
