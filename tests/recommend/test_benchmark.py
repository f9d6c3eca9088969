"""benchmarks/recommend.py on a small run: it measures what it says, and writes its table."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import recommend

    return recommend


def test_its_table(script, hrnn, asked_hrnn, tmp_path, monkeypatch, write_log):
    rows = [
        {"session_id": f"s{n}", "item_id": f"i{(n + step) % 30}", "split": "train" if n < 5 else "test"}
        for n in range(12)
        for step in range(1 + n % 4)
    ]
    write_log(rows)
    data, done = tmp_path / "data" / "toy", []

    def in_this_process(sides, threads):
        """The sides once; of RecBole's a made-up result, tests/test_benchmarks.py runs them."""
        found = []
        for side in sides:
            module, name = side.function.split(":")
            done.append(name)
            made_up = {"rows_per_second": 2.0, "p50": 50.0, "p99": 90.0}
            own = module == "recommend"
            result = getattr(script, name)(**side.arguments) if own else made_up
            found.append(script.Measured(side.name, [2.0], [100.0], result))
        return found

    monkeypatch.setattr(script, "alternate", in_this_process)
    monkeypatch.setattr(script, "many_items", lambda items, width, requests: {"p50": 1.0, "p99": 2.0})
    given = {"run": str(hrnn.folder), "data": str(data), "threads": 1, "repeats": 1}
    text = script.measure(argparse.Namespace(**given, requests=3, peer_rows=5, million=True), tmp_path)
    targets = sum(n % 4 for n in range(5, 12))
    lines = [json.loads(line) for line in (tmp_path / "prefixes.jsonl").read_text().splitlines()]
    assert len(lines) == targets and [len(line["items"]) for line in lines][:3] == [1, 1, 2]
    lists = pl.read_parquet(tmp_path / "lists.parquet")
    expected = asked_hrnn.recommend([line["items"] for line in lines], 20)
    assert lists["item"].to_list() == expected["item"].tolist()
    assert f"lists of {targets} prefixes" in text and f"| {targets / 2:.0f} s" in text
    assert text.count("p50 50.0 ms, p99 90.0 ms") == 1 and "1,000,000 items" in text
    assert done == ["whole_job", "ask", "one_request", "same_model", "opened", "many_items"]


def test_prefixes_of_data_without_parts_are_of_what_the_run_was_tested_on(script, hrnn, tmp_path):
    data = hrnn.folder.parents[2] / "data" / "shop"
    count = script.write_prefixes(str(data), str(tmp_path / "prefixes.jsonl"), str(hrnn.folder))
    lines = [json.loads(line) for line in (tmp_path / "prefixes.jsonl").read_text().splitlines()]
    tested = set(hrnn.ranks["session_token"])
    assert {line["session"].rpartition("-")[0] for line in lines} == tested
    own = hrnn.log[hrnn.log["session"].isin(tested)]
    assert count == len(lines) == len(own) - len(tested)
    assert [line["items"] for line in lines if line["session"].startswith(f"{own['session'].iloc[0]}-")] == [
        own["item"].tolist()[:n] for n in range(1, (own["session"] == own["session"].iloc[0]).sum())
    ]


def test_percentiles_and_many_items(script):
    assert script.percentiles(list(map(float, range(101)))) == {"p50": 50.0, "p99": 99.0}
    assert 0 < script.many_items(500, 4, 3)["p50"] < np.inf


def test_the_table_of_exported_runs(script, hrnn, write_log, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    import export

    write_log(
        [{"session_id": f"s{n}", "item_id": f"i{n + s}", "split": "test"} for n in range(9) for s in range(3)]
    )

    def in_this_process(sides, threads):
        results = [getattr(export, side.function.partition(":")[2])(**side.arguments) for side in sides]
        return [script.Measured(side.name, [2.0], [100.0], result) for side, result in zip(sides, results)]

    monkeypatch.setattr(export, "alternate", in_this_process)
    monkeypatch.setattr(export, "cold_start", lambda folder, session: 1.5)
    given = {
        "run": str(hrnn.folder),
        "data": str(tmp_path / "data" / "toy"),
        "repeats": 1,
        "requests": 3,
        "prefixes": 9,
    }
    lines = export.measure(argparse.Namespace(**given), tmp_path).splitlines()
    assert "9 test prefixes" in lines[0] and len(lines) == 7
    assert [line.count("1.50 s (1.50–1.50)") for line in lines[4:]] == [1, 1, 1]
    assert [line.count("100.000% (") for line in lines[4:]] == [0, 1, 1]


def test_lists_that_differ_are_counted(script, tmp_path):
    import export

    lists = pl.DataFrame(
        {
            "session": [0, 0, 1, 1, 2, 2],
            "rank": [1, 2] * 3,
            "item": ["a", "b"] * 3,
            "score": [2.0, 1.0, 2.0, 1.0, 2.0, 2.0],
        }
    )
    lists.write_parquet(tmp_path / "ours.parquet")
    other = lists.with_columns(
        item=pl.Series(["a", "b", "a", "c", "b", "a"]), score=pl.col("score") * 1.0000001
    )
    other.write_parquet(tmp_path / "theirs.parquet")
    assert export.same_lists(*(str(tmp_path / f"{name}.parquet") for name in ("ours", "theirs"))) == (
        2 / 3,
        1 / 3,
    )


def test_the_newest_run_is_measured(script, tmp_path):
    with pytest.raises(SystemExit, match="make demo"):
        script.newest(tmp_path)
    for place, age in (
        ("diginetica-demo/old", 1),
        ("diginetica-demo/new", 2),
        ("diginetica-sessions/lists", 0),
    ):
        file = tmp_path / place / "model" / "model.json"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (age, age))
    assert script.newest(tmp_path).name == "lists"
    (tmp_path / "diginetica-sessions/lists/model/model.json").unlink()
    assert script.newest(tmp_path).name == "new"
