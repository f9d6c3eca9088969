"""The converters as they are usually written: the csv module, dicts and loops, one row after the other.

What the speed of ours is measured against (benchmarks/convert.py). On clean logs the .inter and .item files are ours,
byte for byte, and so are `rows`, `counts` and `sources` of the manifest. It does less: a row that is not as it should
be ends it with a traceback, files have no other names or packing, and the manifest has no notes.
"""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

EPOCH = date(1970, 1, 1)
DAY_MS = 86_400_000
KINDS = {"view": 0, "addtocart": 1, "transaction": 2}


# --- Retail Rocket


def retailrocket(raw: str, out: str, test_days: int = 7, gap_minutes: float = 30) -> dict[str, Any]:
    """events.csv, category_tree.csv and item_properties_part*.csv of `raw` to atomic files in `out`; the manifest."""
    folder, target = Path(raw), Path(out)
    rows: dict[str, dict[str, Any]] = {}

    events = []
    seen = set()
    read = 0
    with (folder / "events.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream)
        next(lines)
        for timestamp, visitor, kind, item, transaction in lines:
            read += 1
            row = (int(timestamp), int(visitor), kind, int(item), transaction)
            if row not in seen:
                seen.add(row)
                events.append((int(visitor), int(timestamp), KINDS[kind], int(item), kind))
    rows["events.csv"] = _row_counts(read, {"duplicate row": read - len(events)})
    del seen

    events.sort(key=itemgetter(0, 1, 2))  # visitor, time, kind
    sessions: list[list[tuple[int, int, int, int, str]]] = []
    last_visitor, last_time = None, 0
    for event in events:
        visitor_id, time = event[0], event[1]
        if visitor_id != last_visitor or time - last_time > gap_minutes * 60_000:
            sessions.append([])
        sessions[-1].append(event)
        last_visitor, last_time = visitor_id, time
    sessions.sort(key=lambda session: session[0][1])
    last_day = datetime.fromtimestamp(sessions[-1][0][1] / 1000, UTC).date()
    test_start = int(((last_day - timedelta(days=test_days - 1)) - EPOCH).days) * DAY_MS

    items = {event[3] for event in events}
    last_values: dict[tuple[str, int], tuple[int, str]] = {}
    for part in sorted(folder.glob("item_properties_part*.csv")):
        read = 0
        dropped = {
            "property not asked for": 0,
            "item without events": 0,
            "not yet known before the test period": 0,
        }
        with part.open(newline="", encoding="utf-8") as stream:
            lines = csv.reader(stream)
            next(lines)
            for timestamp, item, name, value in lines:
                read += 1
                time, item_id = int(timestamp), int(item)
                if name not in ("categoryid", "available"):
                    dropped["property not asked for"] += 1
                elif item_id not in items:
                    dropped["item without events"] += 1
                elif time >= test_start:
                    dropped["not yet known before the test period"] += 1
                else:
                    said = (time, value)
                    if said > last_values.get((name, item_id), (-1, "")):
                        last_values[name, item_id] = said
        rows[part.name] = _row_counts(read, dropped)

    parents: dict[str, str] = {}
    read = 0
    with (folder / "category_tree.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream)
        next(lines)
        for category, parent in lines:
            read += 1
            parents.setdefault(category, parent)
    rows["category_tree.csv"] = _row_counts(
        read, {"category has another parent already": read - len(parents)}
    )

    target.mkdir(parents=True, exist_ok=True)
    origin = min(event[1] for event in events) // 1000
    with (target / f"{target.name}.inter").open("w", encoding="utf-8") as stream:
        stream.write("session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token\n")
        for number, session in enumerate(sessions, start=1):
            for visitor_id, time, _, item_id, kind in session:
                stream.write(f"{number}\t{visitor_id}\t{item_id}\t{time // 1000 - origin}\t{kind}\n")
    with (target / f"{target.name}.item").open("w", encoding="utf-8") as stream:
        stream.write("item_id:token\tcategory:token\tcategory_path:token_seq\tavailable:token\n")
        for item_id in sorted(items):
            category = last_values.get(("categoryid", item_id), (0, ""))[1]
            available = last_values.get(("available", item_id), (0, ""))[1]
            stream.write(f"{item_id}\t{category}\t{' '.join(_path(category, parents))}\t{available}\n")
    counts = {
        "sessions": len(sessions),
        "users": len({event[0] for event in events}),
        "items": len(items),
        "events": {kind: sum(event[4] == kind for event in events) for kind in KINDS},
    }
    sources = [folder / name for name in rows]
    sources.insert(1, sources.pop())  # the tree stands after the events
    return _write_manifest(target, "retailrocket", sources, rows, counts, origin, (len(events), len(items)))


def _path(category: str, parents: dict[str, str]) -> list[str]:
    """The category, its parent, … the root."""
    path = [category] if category else []
    parent = parents.get(category, "")
    while parent in parents and parent not in path:
        path.append(parent)
        parent = parents[parent]
    return path


# --- Diginetica


def diginetica(raw: str, out: str) -> dict[str, Any]:
    """The owner's four files in `raw` to atomic files in `out`; the manifest."""
    folder, target = Path(raw), Path(out)
    rows: dict[str, dict[str, Any]] = {}
    days: dict[int, int] = {}  # of each session, the first of its views' days
    views, purchases = [], []
    seen: set[tuple[Any, ...]] = set()
    read = 0
    with (folder / "train-item-views.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream, delimiter=";")
        next(lines)
        for session, user, item, timeframe, eventdate in lines:
            read += 1
            row: tuple[Any, ...] = (int(session), user, int(item), int(timeframe), eventdate)
            if row in seen:
                continue
            seen.add(row)
            day = (date.fromisoformat(eventdate) - EPOCH).days
            days[row[0]] = min(day, days.get(row[0], day))
            views.append((row[0], user, row[2], row[3], "view"))
    rows["train-item-views.csv"] = _row_counts(read, {"duplicate row": read - len(views)})

    seen = set()
    read = without_views = 0
    with (folder / "train-purchases.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream, delimiter=";")
        next(lines)
        for session, user, timeframe, eventdate, order, item in lines:
            read += 1
            row = (int(session), user, int(timeframe), eventdate, order, int(item))
            if row in seen:
                continue
            seen.add(row)
            if row[0] in days:
                purchases.append((row[0], user, row[5], row[2], "purchase"))
            else:
                without_views += 1
    dropped = {"duplicate row": read - len(seen), "purchase of a session without views": without_views}
    rows["train-purchases.csv"] = _row_counts(read, dropped)
    del seen

    sessions: dict[int, list[tuple[int, str, int, str]]] = {}
    for session_id, user, item_id, after, kind in views + purchases:
        event = (days[session_id] * DAY_MS + after, user, item_id, kind)
        sessions.setdefault(session_id, []).append(event)
    for events in sessions.values():
        events.sort(key=itemgetter(0))
    order_of = sorted(sessions, key=lambda number: (sessions[number][0][0] // 1000, number))
    origin = sessions[order_of[0]][0][0] // 1000

    target.mkdir(parents=True, exist_ok=True)
    items, users = set(), set()
    with (target / f"{target.name}.inter").open("w", encoding="utf-8") as stream:
        stream.write("session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token\n")
        for session_id in order_of:
            known = [user for _, user, _, _ in sessions[session_id] if user not in ("", "NA")]
            user = known[0] if known else ""
            users.update(known[:1])
            for time, _, item_id, kind in sessions[session_id]:
                items.add(item_id)
                stream.write(f"{session_id}\t{user}\t{item_id}\t{time // 1000 - origin}\t{kind}\n")

    categories: dict[int, str] = {}
    products: dict[int, tuple[str, str]] = {}
    read = 0
    with (folder / "product-categories.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream, delimiter=";")
        next(lines)
        for item, category in lines:
            read += 1
            categories.setdefault(int(item), "" if category == "NA" else category)
    rows["product-categories.csv"] = _row_counts(
        read, {"item has another category already": read - len(categories)}
    )
    read = 0
    with (folder / "products.csv").open(newline="", encoding="utf-8") as stream:
        lines = csv.reader(stream, delimiter=";")
        next(lines)
        for item, price_log2, tokens in lines:
            read += 1
            price = "" if price_log2 in ("", "NA") else str(round(2.0 ** float(price_log2), 6))
            name = " ".join(token for token in tokens.split(",") if token) if tokens != "NA" else ""
            products.setdefault(int(item), (price, name))
    rows["products.csv"] = _row_counts(read, {"item has another product row already": read - len(products)})
    with (target / f"{target.name}.item").open("w", encoding="utf-8") as stream:
        stream.write("item_id:token\tcategory:token\tprice:float\tname:token_seq\n")
        for item_id in sorted(items):
            price, name = products.get(item_id, ("", ""))
            stream.write(f"{item_id}\t{categories.get(item_id, '')}\t{price}\t{name}\n")
    counts = {
        "sessions": len(sessions),
        "users": len(users),
        "items": len(items),
        "events": {"view": len(views), "purchase": len(purchases)},
    }
    sources = [folder / name for name in rows]
    sizes = len(views) + len(purchases), len(items)
    return _write_manifest(target, "diginetica", sources, rows, counts, origin, sizes)


# --- manifest


def _row_counts(read: int, dropped: dict[str, int]) -> dict[str, Any]:
    """The manifest's entry for one file."""
    counted = {reason: count for reason, count in sorted(dropped.items()) if count}
    return {"read": read, "kept": read - sum(counted.values()), "dropped": counted}


def _file_record(path: Path) -> dict[str, Any]:
    """Name, size in bytes and SHA-256 of one file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _write_manifest(
    out: Path,
    converter: str,
    sources: list[Path],
    rows: dict[str, dict[str, Any]],
    counts: dict[str, Any],
    origin: int,
    sizes: tuple[int, int],
) -> dict[str, Any]:
    """Write and return the manifest; `sizes` are the rows of .inter and .item."""
    outputs = [
        {**_file_record(out / f"{out.name}.{suffix}"), "rows": size}
        for suffix, size in zip(("inter", "item"), sizes)
    ]
    manifest = {
        "converter": converter,
        "time_origin": float(origin),
        "sources": [_file_record(path) for path in sources],
        "rows": rows,
        "counts": counts,
        "outputs": outputs,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest
