"""Small raw logs in each source's schema, whose faults and ties are those of real ones; no two seeds make the same."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import numpy as np

Files = dict[str, bytes]
Random = np.random.Generator


def _text(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def diginetica(random: Random) -> Files:
    views, bought = [], []
    for session in random.permutation(14) + 1:
        user, day, time = random.choice(["NA", "", "7", "8"]), int(random.integers(1, 29)), 0
        for _ in range(int(random.integers(1, 6))):
            time += int(random.integers(0, 4)) * 700
            views.append(f"{session};{user};{random.integers(1, 12)};{time};2016-05-{day:02}")
        if random.random() < 0.3:
            bought.append(f"{session};{user};{time + 500};2016-06-01;{len(bought)};{random.integers(1, 12)}")
    bought.append(f"99;NA;5;2016-06-01;{len(bought)};3")
    products = [
        f"{item};{random.integers(-2, 12)};{item},{item + 1},,9" for item in range(1, 12) if item != 5
    ]
    categories = [f"{item};{item % 4}" for item in range(1, 14)] + ["3;2", "4;"]
    return {
        "train-item-views.csv": _text("sessionId;userId;itemId;timeframe;eventdate", views),
        "train-purchases.csv": _text("sessionId;userId;timeframe;eventdate;ordernumber;itemId", bought),
        "product-categories.csv": _text("itemId;categoryId", categories),
        "products.csv": _text("itemId;pricelog2;product.name.tokens", products),
    }


def retailrocket(random: Random) -> Files:
    start = 1_433_221_332_117
    events, said = [], []
    for _ in range(60):
        time = start + int(random.integers(0, 12)) * 86_400_000 + int(random.integers(0, 90)) * 60_000
        kind = random.choice(["view", "view", "view", "addtocart", "transaction"])
        sold = random.integers(1, 99) if kind == "transaction" else ""
        events.append(f"{time},{random.integers(1, 9)},{kind},{random.integers(1, 15)},{sold}")
    for _ in range(50):
        name = random.choice(["categoryid", "available", "790"])
        value = {"categoryid": random.integers(1, 9), "available": random.integers(0, 2), "790": "n277.200"}[
            name
        ]
        time = start + int(random.integers(-3, 10)) * 86_400_000
        said.append(f"{time},{random.integers(1, 18)},{name},{value}")
    return {
        "events.csv": _text("timestamp,visitorid,event,itemid,transactionid", events),
        "item_properties_part1.csv": _text("timestamp,itemid,property,value", said),
    }


def csv(random: Random) -> Files:
    mark, unit = random.choice([",", ";", "|"]), random.choice(["s", "ms", "iso"])
    rows = []
    for session in random.permutation(14):
        user, time = random.choice(["", f"u{session % 5}"]), 1_433_221_332 + int(random.integers(0, 900_000))
        for _ in range(int(random.integers(1, 6))):
            time += int(random.integers(0, 3)) * 40
            day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time)
            shown = {
                "s": time,
                "ms": time * 1000 + int(random.integers(0, 1000)),
                "iso": f"{day:%Y-%m-%dT%H:%M:%S}",
            }
            kind = random.choice(["view", "buy"])
            rows.append(
                mark.join(
                    [f"s{session}", user, f"item {random.integers(1, 12)}", str(shown[unit]), kind, "x"]
                )
            )
    return {"events.csv": _text(mark.join(["sid", "visitor", "sku", "ts", "action", "page"]), rows)}


def session_lists(random: Random) -> Files:
    def session(least: int) -> list[int]:
        return [int(item) for item in random.integers(1, 20, int(random.integers(least, 7)))]

    train, test = [session(1) for _ in range(12)], [session(2) for _ in range(5)]
    ladders = [[one[:size] for size in range(len(one), 1, -1)] for one in test]
    if random.random() < 0.4:
        ladders = [ladder[::-1] for ladder in ladders]
    pairs = [pair for ladder in ladders for pair in ladder]
    rows = [f"{item},{item % 5},{item / 2}" for item in range(1, 20)] + ["3,4,", "40,1,2.5"]
    return {
        "all_train_seq.txt": pickle.dumps(train),
        "test.txt": pickle.dumps(([pair[:-1] for pair in pairs], [pair[-1] for pair in pairs])),
        "item_category.csv": _text("item,category,price:float", rows),
    }
