"""The benchmarks compare like with like: the same bytes from both converters, sides in turn, one run's memory."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from recbole_ext.convert import convert
from recbole_ext.convert.synthetic import generate

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def row_by_row(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import row_by_row

    return row_by_row


@pytest.fixture
def side_by_side(monkeypatch, tmp_path):
    """The module, and on the path of its processes a module `jobs` of small functions."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "jobs.py").write_text(
        "import os\n"
        "def note(path, name):\n"
        "    with open(path, 'a') as stream: stream.write(name)\n"
        "    return [os.getpid(), os.environ['POLARS_MAX_THREADS']]\n"
        "def fill(size): return len(bytearray(b'x') * size)\n"
        "def fail(): raise ValueError('no such luck')\n"
    )
    import side_by_side

    return side_by_side


def assert_same_files(source, raw, tmp_path, row_by_row, lines):
    """Both converters on `raw`: the files and the accounts are the same, and long enough to mean something."""
    ours = convert(source, raw, tmp_path / "ours" / source)
    theirs = getattr(row_by_row, source)(str(raw), str(tmp_path / "theirs" / source))
    for suffix, least in lines.items():
        mine, other = (tmp_path / side / source / f"{source}.{suffix}" for side in ("ours", "theirs"))
        assert mine.read_bytes() == other.read_bytes()
        assert mine.read_bytes().count(b"\n") > least
    for key in ("rows", "counts", "sources", "time_origin"):
        assert ours[key] == theirs[key], key
    assert {o["name"]: o for o in ours["outputs"]} == {o["name"]: o for o in theirs["outputs"]}


@pytest.mark.parametrize(("source", "scale"), [("retailrocket", 0.003), ("diginetica", 0.003)])
def test_row_by_row_writes_the_same_of_generated_logs(source, scale, tmp_path, row_by_row) -> None:
    generate(source, tmp_path / "raw", scale=scale)
    assert_same_files(source, tmp_path / "raw", tmp_path, row_by_row, {"inter": 3000, "item": 300})


def test_row_by_row_writes_the_same_where_rows_tie_repeat_and_come_late(tmp_path, row_by_row) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    day, minute = 86_400_000, 60_000
    start = 1_433_116_800_000  # 2015-06-01 00:00
    events = [
        (start + 20 * day, 7, "view", 30, ""),  # the last session: the test period starts on the 15th
        (start + 40 * minute, 9, "transaction", 10, "1"),
        (start + 40 * minute, 9, "view", 20, ""),  # of one moment: view first
        (start + 40 * minute, 9, "view", 10, ""),
        (start + 40 * minute, 9, "view", 20, ""),  # repeated
        (start + 10 * minute, 9, "view", 10, ""),  # 30 minutes before: the same session
        (start + 70 * minute + 1, 9, "view", 10, ""),  # 1 ms more: another
        (start + 10 * minute, 8, "addtocart", 40, ""),  # a session that starts with another's
    ]
    lines = [",".join(map(str, event)) for event in events]
    (raw / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n" + "\n".join(lines) + "\n"
    )
    (raw / "category_tree.csv").write_text("categoryid,parentid\n3,2\n2,1\n1,\n5,6\n")
    test = start + 14 * day
    rows = [
        (test - 1, 10, "categoryid", "3"),
        (test, 10, "categoryid", "2"),  # in the test period
        (test - 2, 10, "available", "0"),
        (test - 1, 10, "888", "n5.000"),
        (test - 7, 20, "available", "1"),
        (test - 7, 20, "available", "0"),  # outdone by the one of the same moment
        (test - 7, 20, "categoryid", "5"),  # a parent that the tree does not have
        (test - 9, 20, "categoryid", "1"),  # older, though it comes later
        (test - 9, 50, "categoryid", "1"),  # an item without events
        (test - 9, 40, "categoryid", "77"),  # not in the tree
        (test - 7, 40, "available", "0"),  # outdone by the next, as above in the other order
        (test - 7, 40, "available", "1"),
    ]
    texts = [",".join(map(str, row)) + "\n" for row in rows]
    for part, some in (("1", texts[::2]), ("2", texts[1::2])):
        (raw / f"item_properties_part{part}.csv").write_text(
            "timestamp,itemid,property,value\n" + "".join(some)
        )
    assert_same_files("retailrocket", raw, tmp_path, row_by_row, {"inter": 7, "item": 4})
    item = (tmp_path / "theirs" / "retailrocket" / "retailrocket.item").read_text().splitlines()
    assert item[1:] == ["10\t3\t3 2 1\t0", "20\t5\t5\t1", "30\t\t\t", "40\t77\t77\t1"]
    inter = (tmp_path / "theirs" / "retailrocket" / "retailrocket.inter").read_text().splitlines()
    assert [line.split("\t")[:3] + line.split("\t")[4:] for line in inter[1:]] == [
        ["1", "8", "40", "addtocart"],
        ["2", "9", "10", "view"],
        ["2", "9", "20", "view"],
        ["2", "9", "10", "view"],
        ["2", "9", "10", "transaction"],
        ["3", "9", "10", "view"],
        ["4", "7", "30", "view"],
    ]


def test_sides_take_turns_in_processes_of_their_own(side_by_side, tmp_path) -> None:
    log = tmp_path / "log"
    sides = [
        side_by_side.Side(name, "jobs:note", {"path": str(log), "name": name}, repeats)
        for name, repeats in (("a", 3), ("b", 3), ("c", 1))
    ]
    measured = side_by_side.alternate(sides, threads=5)
    assert log.read_text() == "ababcab"
    assert [len(side.runs) for side in measured] == [3, 3, 1]
    processes = [side.result[0] for side in measured]
    assert len({os.getpid(), *processes}) == 4
    assert measured[0].result[1] == "5"


def test_peak_memory_is_that_of_the_run(side_by_side) -> None:
    ballast = bytearray(b"x") * 300_000_000  # of this process, which must not count
    small, large = (side_by_side.Side("fill", "jobs:fill", {"size": size}) for size in (1, 200_000_000))
    little = side_by_side.run_once(small)["peak_bytes"]
    assert little < 100_000_000 < len(ballast)
    assert 190_000_000 < side_by_side.run_once(large)["peak_bytes"] - little < 250_000_000


@pytest.mark.parametrize("failing", ["all", "other"])
def test_sides_that_fail_leave_no_figures_that_are_none(side_by_side, failing, monkeypatch, tmp_path) -> None:
    """Of one that fails the cells are empty; where all do, nothing is written, and the exit code is 1."""
    import evaluate
    import train

    def run_once(side, threads):
        if failing == "all" or side.root != side_by_side.ROOT:
            raise side_by_side.SideFailed("no such luck")
        result = {"rows_per_second": 2.0, "rows_per_cpu_second": 1.0, "found": "sum"}
        return {"result": result, "peak_bytes": 1}

    monkeypatch.setattr(train, "run_once", run_once)
    out = tmp_path / "speed.md"
    words = ["--data", str(tmp_path), "--beside", str(tmp_path), "--out", str(out), "--repeats", "1"]
    if failing == "all":
        with pytest.raises(SystemExit, match="every side has failed, so nothing is written"):
            evaluate.main(words)
        assert not out.exists()
        return
    evaluate.main(words)
    assert "failed" in out.read_text() and "nan" not in out.read_text()


def test_a_run_that_fails_or_asks_for_too_much_memory_is_no_result(side_by_side) -> None:
    with pytest.raises(side_by_side.SideFailed, match="no such luck"):
        side_by_side.run_once(side_by_side.Side("fail", "jobs:fail", {}))
    fill = {"size": 400_000_000}
    assert (
        side_by_side.run_once(side_by_side.Side("fill", "jobs:fill", fill, 1, 1 << 30))["result"]
        == 400_000_000
    )
    with pytest.raises(side_by_side.SideFailed, match="MemoryError"):
        side_by_side.run_once(side_by_side.Side("fill", "jobs:fill", fill, 1, 300 << 20))


def test_pandas_writes_the_same_events_of_a_long_log(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import plain_pandas

    generate("retailrocket", tmp_path / "raw", events=4_000, items=200, property_scale=0.001)
    theirs = plain_pandas.events(str(tmp_path / "raw"), str(tmp_path / "theirs" / "log"))
    ours = convert("retailrocket", tmp_path / "raw", tmp_path / "ours" / "log", properties=[])
    assert theirs["outputs"][0]["sha256"] == ours["outputs"][0]["sha256"]


def test_medians_and_spread(side_by_side) -> None:
    measured = side_by_side.Measured("ours", [3.0, 1.0, 2.0], [10.0, 40.0, 30.0])
    assert (measured.seconds, measured.peak_mb, measured.times()) == (2.0, 30.0, "2.00 (1.00–3.00)")
    assert side_by_side.Measured("once", [1.5], [1.0]).times() == "1.50"


def script(tmp_path, *words):
    folders = ["--raw", str(tmp_path / "rr"), "--diginetica", str(tmp_path / "digi")]
    command = [sys.executable, str(BENCHMARKS / "convert.py"), *folders, "--repeats", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)


@pytest.mark.slow
def test_the_script_prints_its_tables(tmp_path) -> None:
    run = script(tmp_path, "--scale", "0.002")
    assert run.returncode == 0, run.stderr
    rows = {line.split("|")[1].strip(): line for line in run.stdout.splitlines() if line.startswith("|")}
    for source in ("retailrocket", "diginetica"):
        assert "at scale 1" in rows[source]
        assert "byte for byte" in rows[f"{source}, row by row"]
        assert {f"{source}, times faster", f"{source}, time of twice the rows"} <= rows.keys()
    again = script(tmp_path, "--scale", "0.004")
    assert again.returncode == 2
    assert "holds retailrocket logs of scale 0.002" in again.stderr
    assert again.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_script_reports_a_larger_property_log(tmp_path) -> None:
    run = script(tmp_path, "--scale", "0.001", "--property-rows", "3")
    assert run.returncode == 0, run.stderr
    assert "retailrocket, 60,828 property rows" in run.stdout
    assert "finishes in 4 GiB" in run.stdout


def test_the_real_lists_are_converted_where_they_are_missing(tmp_path, monkeypatch) -> None:
    lists = tmp_path / "shared" / "diginetica" / "sessions"
    lists.mkdir(parents=True)
    (lists / "all_train_seq.txt").write_bytes(pickle.dumps([[1, 2, 3], [2, 3]]))
    (lists / "test.txt").write_bytes(pickle.dumps(([[1], [1, 2]], [2, 3])))
    (lists / "item_category.csv").write_text("item,category\n1,a\n2,b\n")
    monkeypatch.setenv("RECBOLE_EXT_SHARED_DATA", str(tmp_path / "shared"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train

    out = train.real_data(tmp_path / "atomic_data")
    assert {"diginetica-sessions.inter", "diginetica-sessions.item"} <= {file.name for file in out.iterdir()}
    shutil.rmtree(lists)
    assert train.real_data(tmp_path / "atomic_data") == out  # which need not be there then


def test_a_report_keeps_its_other_sections(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from report import bars, write_section

    file = tmp_path / "results" / "speed.md"
    write_section(file, "One", "first")
    write_section(file, "Two", "second\n\n| a |\n")
    write_section(file, "One", "third")
    assert file.read_text() == "# Speed\n\n## One\n\nthird\n\n## Two\n\nsecond\n\n| a |\n"
    bars(tmp_path / "bars.svg", {"RecBole": 1.0, "ours": 5.0}, "ratios")
    assert (tmp_path / "bars.svg").stat().st_size > 5000


@pytest.fixture
def off_policy(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("off_policy_benchmark", BENCHMARKS / "off_policy.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_true_value_is_that_of_drawn_sessions(off_policy) -> None:
    """What the log's own policy is said to earn, and where sessions are said to be, on 200,000 sessions."""
    shop = off_policy.make_shop(0.0005, 1)
    last, item, reward, session = off_policy.draw(shop, np.random.default_rng(2), 200_000)
    assert shop.beta.sum(axis=1) == pytest.approx(1)
    visited = np.bincount(last - 1, minlength=len(shop.first)) / len(last)
    assert np.abs(visited - shop.state).max() < 0.002
    assert shop.value(shop.beta) == pytest.approx(reward.mean(), abs=0.002)
    common = last == np.bincount(last).argmax()
    chosen = np.bincount(item[common] - 1, minlength=len(shop.first)) / common.sum()
    assert np.abs(chosen - shop.beta[last[common][0] - 1]).max() < 0.02
    inside = session[1:] == session[:-1]
    assert (last[1:][inside] == item[:-1][inside]).all() and inside.any()


def test_the_script_on_off_policy_estimates_prints_its_tables(off_policy, tmp_path, capsys) -> None:
    out = tmp_path / "found.md"
    off_policy.main(["--logs", "2", "--sessions", "500", "--bootstrap", "100", "--out", str(out)])
    text = out.read_text()
    assert text in capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| 500")
    ]
    assert [row[4] for row in rows] == ["the log", *["SNIPS", "DR", "SNDR"] * 4] * 2


@pytest.fixture
def rl_protocol(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import rl_protocol

    return rl_protocol


@pytest.mark.slow
def test_the_protocol_of_reinforcement_learning_runs_and_tabulates(
    rl_protocol, tmp_path, monkeypatch, write_log, random_log, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=80, ties=False), name="diginetica")
    small = {
        "hidden_size": 8,
        "inner_size": 8,
        "data_path": "data",
        "use_gpu": False,
        "epochs": 2,
        "source": None,
    }
    small["eval_args"] = {"split": {"session_time": [0.6, 0.2, 0.2]}}
    monkeypatch.setitem(rl_protocol.DATASETS, "diginetica", small)
    for variant in ("SASRec", "SQN"):
        rl_protocol.task(tmp_path / "out", "diginetica", variant, [0.001, 0.01], [1, 2])
    files = sorted((tmp_path / "out").glob("*.json"))
    assert len(files) == 6  # two rates with the first seed, the better one with the second
    before = [file.stat().st_mtime_ns for file in files]
    rl_protocol.task(tmp_path / "out", "diginetica", "SQN", [0.001, 0.01], [1, 2])
    assert [file.stat().st_mtime_ns for file in files] == before
    text = rl_protocol.report(tmp_path / "out", "diginetica", "SASRec")
    runs = [json.loads(file.read_text()) for file in files]
    sqn = [r for r in runs if r["variant"] == "SQN"]
    chosen = max((r for r in sqn if r["seed"] == 1), key=lambda r: r["best_valid_score"])["rate"]
    mean = np.mean([r["test"]["ndcg@10"] for r in sqn if r["rate"] == chosen])
    (line,) = [line for line in text.splitlines() if line.startswith("| SQN ")]
    assert f"{mean:.4f} ±" in line and "[" in line and "1, 2" in line


# The script, but for its runs: the first is in a process of its own, as all are, and the others are here, since
# starting a process takes far longer than a few small steps.
COST = """
import sys
import recbole_runs, rl, train
apart, started = train.run_once, []
def run_once(side, threads):
    if started:
        module, name = side.function.split(":")
        assert module == "recbole_runs"
        return {"result": getattr(recbole_runs, name)(**side.arguments), "peak_bytes": 1}
    started.append(side)
    return apart(side, threads)
train.run_once = run_once
rl.main()
assert started
"""


@pytest.mark.slow
def test_the_cost_of_reinforcement_learning_is_measured(tmp_path, write_log, random_log) -> None:
    write_log(random_log(sessions=300, ties=False))
    data, out = tmp_path / "data" / "toy", tmp_path / "speed.md"
    words = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--repeats=1",
        "--batches=1",
        "--batch-size=64",
        "--threads=1",
        "--no-million",
    ]
    words += ["--peer-python", sys.executable]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (BENCHMARKS, BENCHMARKS.parent)))}
    done = subprocess.run(
        [sys.executable, "-c", COST, *words], capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    text = out.read_text()
    for name in ("SASRec ", "SASRecSQN, coin", "SASRecSA2C, lagged copy"):
        assert text.count(f"| {name}") == 2
    assert find_spec("d3rlpy") or "pip install d3rlpy" in text


@pytest.mark.parametrize("model", ["VSTAN", "VSKNN", "SR", "RepeatLast"])
def test_both_sides_of_the_neighbours_rank_alike(model, monkeypatch, tmp_path, write_log, random_log):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.chdir(tmp_path)
    import neighbours

    rows = random_log(sessions=60, items=12, seed=1)
    rows = [{**row, "split": "train" if int(row["session_id"][1:]) < 45 else "test"} for row in rows]
    write_log(rows, manifest={"time_origin": None})
    fast, plain = (
        side(model, str(tmp_path / "data" / "toy"), 25) for side in (neighbours.ours, neighbours.theirs)
    )
    assert plain["prefixes"] == 25 == len(fast["ranks"]) < fast["prefixes"]
    scored = [(a, b) for a, b in zip(fast["ranks"], plain["ranks"]) if b]
    assert len(scored) > (1 if model == "RepeatLast" else 12) and all(a == b for a, b in scored)


@pytest.fixture
def cold_items(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import cold_items

    return cold_items


def test_gains_of_tied_targets_are_those_of_a_random_order(cold_items) -> None:
    """Alone first; four that share places 19 to 22; one of 100 that share all; a target that is no candidate."""
    hit, reciprocal = cold_items.expected_gains(np.array([0, 18, 0, 500]), np.array([0, 3, 99, 0]))
    assert hit == pytest.approx([1, 2 / 4, 20 / 100, 0])
    every = sum(1 / rank for rank in range(1, 21))
    assert reciprocal == pytest.approx([1, (1 / 19 + 1 / 20) / 4, every / 100, 0])


def test_scores_within_a_millionth_tie(cold_items) -> None:
    import torch

    scores = torch.tensor([[-torch.inf, 5.0, 5.0 + 1e-6, 4.9, 7.0], [-torch.inf, 0.1, 0.2, 0.3, 0.4]])
    higher, tied = cold_items.counted(scores, torch.tensor([5.0, 0.3]))
    assert higher.tolist() == [1, 1] and tied.tolist() == [1, 0]


def test_cold_items_runs_and_writes_its_table(cold_items, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    generate("diginetica", tmp_path / "raw_data" / "diginetica-demo", scale=0.003, seed=1)
    variants = ["SASRecFeat", "GRU4Rec", "CategoryPop", "Random"]
    cold_items.run(tmp_path / "runs", ["diginetica-demo"], variants, [0, 1], {"epochs": 1})
    gains = cold_items.Gains(tmp_path / "runs", "diginetica-demo", "SASRecFeat", [0, 1], "test")
    one = cold_items.Gains(tmp_path / "runs", "diginetica-demo", "SASRecFeat", [1], "test")
    assert gains.cold[gains.held_out].all() and gains.held_out.any()
    assert len(gains.cold) == 2 * len(one.cold)
    assert (gains.session == np.tile(one.session, 2)).all()  # a session's targets of all folds stay together
    text = cold_items.table(tmp_path / "runs", "diginetica-demo", variants, [0, 1], "test")
    lines = text.splitlines()
    assert sum(line.startswith("| ") for line in lines) == 1 + len(variants)
    held = int(gains.held_out.sum())
    assert f"{held:,} are held out" in text and f"{gains.hit[gains.cold].mean():.4f} [" in text


@pytest.fixture
def large(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import large

    return large


def test_large_logs_are_sorted_and_the_same_as_text_and_parquet(tmp_path, large, monkeypatch) -> None:
    import polars as pl

    monkeypatch.setattr(large, "_STRETCH", 300)
    for name in ("log", "again"):
        (tmp_path / name).mkdir()
        large.write_log(tmp_path / name / "toy", 1000, parquet=True)
    text, again = (tmp_path / name / "toy" / "toy.inter" for name in ("log", "again"))
    assert text.read_bytes() == again.read_bytes()
    log = pl.read_parquet(f"{text}.parquet")
    columns = ["session_id:token", "user_id:token", "item_id:token", "timestamp:float", "event:token"]
    assert log.columns == columns and len(log) == 1000
    kinds = {name: log[name].dtype for name in columns}
    assert kinds["timestamp:float"] == pl.Float64 and kinds["item_id:token"] == pl.Int64
    assert pl.read_csv(text, separator="\t", schema=kinds).equals(log)
    session, time = log["session_id:token"].cast(int), log["timestamp:float"]
    start = log.group_by("session_id:token", maintain_order=True).agg(pl.col("timestamp:float").first())
    assert session.is_sorted() and start["timestamp:float"].is_sorted() and session.n_unique() > 200
    assert log.select((time.diff() >= 0) | (session.diff() > 0)).to_series()[1:].all()


def test_sides_of_other_rows_are_not_compared(monkeypatch, large) -> None:
    options = large._parser().parse_args(["--events", "400", "--repeats", "1"])
    rows = iter([[3, 1, 1], [3, 1, 2]])
    run = {"seconds": 1, "peak_bytes": 1}
    monkeypatch.setattr(
        large, "run_once", lambda side, threads: {**run, "result": {"cpu": 1, "wall": 1, "rows": next(rows)}}
    )
    sides = large._sides(Path("nowhere"), 400, options)
    assert [side.name for side in sides] == ["RecBole as released", "ours"]
    with pytest.raises(large.SideFailed, match="other rows"):
        large._alternated(sides, options)


def test_several_processes_are_compared_by_blocks_without_a_new_graph(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import several_gpus

    one = {"blocks": [(9.0, True), (0.004, False), (0.002, False), (0.003, False)], "losses": [8.0, 4.0]}
    two = {"blocks": [(9.0, True), (0.002, False)], "losses": [8.0, 5.0]}
    rows = several_gpus._rows("SASRec", 4096, {1: [one], 2: [two]})
    assert rows == [
        ("SASRec", "4,096", "1", "3.00 (2.00–4.00)", "1.00x", "0e+00"),
        ("SASRec", "4,096", "2", "2.00 (2.00–2.00)", "1.50x", "2e-01"),
    ]


@pytest.mark.slow
def test_several_processes_on_a_cpu(tmp_path) -> None:
    raw, data = tmp_path / "raw", tmp_path / "toy-log"
    generate("retailrocket", raw, events=4_000, items=100, property_scale=0.001)
    convert("retailrocket", raw, data, properties=[])
    command = [sys.executable, str(BENCHMARKS / "several_gpus.py"), "--data", str(data), "--cpu"]
    command += ["--models", "SASRec", "--batches", "64", "--steps", "60", "--precision", "fp32"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path / "speed.md")], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("failed") == 0
    rows = [
        line.split("|")
        for line in (tmp_path / "speed.md").read_text().splitlines()
        if line.startswith("| SASRec")
    ]
    assert [row[3].strip() for row in rows] == ["1", "2"]
    assert all(float(row[6]) < 1e-5 for row in rows)  # the same losses
