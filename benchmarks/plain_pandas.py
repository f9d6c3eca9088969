"""Retail Rocket's events to an .inter file as a script in pandas does it, all rows at once.

What the conversion of long logs is measured against (benchmarks/long_log.py); on clean logs the bytes are ours.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

KINDS = {"view": 0, "addtocart": 1, "transaction": 2}
COLUMNS = {
    "session": "session_id:token",
    "visitorid": "user_id:token",
    "itemid": "item_id:token",
    "second": "timestamp:float",
    "event": "event:token",
}


def events(raw: str, out: str, gap_minutes: float = 30) -> dict[str, Any]:
    """events.csv of `raw` to OUT/NAME.inter; name and sum of the file, as the manifest has them."""
    log = pd.read_csv(Path(raw) / "events.csv").drop_duplicates()
    log["kind"] = log["event"].map(KINDS)
    log = log.sort_values(["visitorid", "timestamp", "kind"], kind="stable")
    opens = log["visitorid"] != log["visitorid"].shift()
    opens |= log["timestamp"].diff() > gap_minutes * 60_000
    log["session"] = opens.cumsum()
    log["start"] = log.groupby("session")["timestamp"].transform("first")
    log = log.sort_values(["start", "session"], kind="stable")
    log["session"] = (log["session"] != log["session"].shift()).cumsum()
    log["second"] = log["timestamp"] // 1000
    log["second"] -= log["second"].min()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{folder.name}.inter"
    log[list(COLUMNS)].rename(columns=COLUMNS).to_csv(file, sep="\t", index=False)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"outputs": [{"name": file.name, "sha256": digest}]}
