"""Tomorrow's model: neighbours are what a refit is, networks go on from yesterday's rows, by the items' names."""

import contextlib
import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import recbole_ext
from recbole_ext import records
from recbole_ext.bridge.checkpoint import read_checkpoint
from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.promotion import promotion
from recbole_ext.recommend.update import EPOCHS, REPLAY_SHARE, update

from .conftest import FEATURES, without_curves, write_shop

DAYS = 96  # sessions of the old log; the others are new
GIVEN = {
    "data_path": "data",
    "use_gpu": False,
    "state": "ERROR",
    "show_progress": False,
    "eval_args": {"split": {"session_time": [0.9, 0.05, 0.05]}},
}
SASREC = {
    **{"hidden_size": 8, "inner_size": 8, "MAX_ITEM_LIST_LENGTH": 6, "epochs": 1},
    "train_neg_sample_args": None,
}
HEAD = "session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token"
ITEM_HEAD = "item_id:token\tcategory:token\tprice:float\tavailable:token"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The shop's log in three places: `data` holds the old days, `new` those after, `whole` all; its runs by name."""
    folder = tmp_path_factory.mktemp("days")
    log, items = write_shop(folder)
    (folder / "data").rename(folder / "whole")
    old = log["session"].str[1:].astype(int) < DAYS
    known = set(log.loc[old, "item"])
    _write(folder / "data" / "shop", log[old], items[items["item"].isin(known)])
    _write(folder / "new", log[~old], items)
    made: dict[str, Path] = {}

    def run(model, **keys):
        label = f"{model} {json.dumps(keys)}"
        if label not in made:
            # RecBole names checkpoints by the second
            given = {**GIVEN, **keys, "checkpoint_dir": f"saved-{len(made)}"}
            record = recbole_ext.run(model, "shop", **given)
            made[label] = Path(record["files"]["record"]).parent
        return made[label]

    with contextlib.chdir(folder), without_curves():
        yield run


def _write(folder, log, items):
    folder.mkdir(parents=True)
    rows = ["\t".join(map(str, row)) for row in log.itertuples(index=False)]
    rows = [
        "\t".join(map(str, (session, user, item, time, event)))
        for session, user, item, time, event in log[["session", "user", "item", "time", "event"]].itertuples(
            index=False
        )
    ]
    (folder / "shop.inter").write_text("\n".join([HEAD, *rows]) + "\n")
    rows = ["\t".join(row) for row in items.itertuples(index=False)]
    (folder / "shop.item").write_text("\n".join([ITEM_HEAD, *rows]) + "\n")


def ranks(folder):
    """Rank of each target by its place in the log and its item's name, and the best items by name."""
    with np.load(Path(folder) / "ranks.npz") as kept:
        name = kept["item_token"]
        table = pd.DataFrame({"place": kept["event_index"], "item": name[kept["item"]], "rank": kept["rank"]})
        return table.assign(best=[" ".join(row) for row in name[kept["top"]]]).sort_values(
            "place", ignore_index=True
        )


@pytest.mark.parametrize("model", ["VSTAN", "SR", "SessionPop", "Pop"])
def test_what_counts_is_what_a_refit_is(shop, model):
    record = update(shop(model), ["new"])
    again = recbole_ext.run(model, "shop", **{**GIVEN, "data_path": "whole"})
    assert record["parent"]["kind"] == "exact" and record["test"] == again["test"]
    folder = Path(record["files"]["record"]).parent
    pd.testing.assert_frame_equal(ranks(folder), ranks(Path(again["files"]["record"]).parent))
    assert (
        recbole_ext.load(folder)
        .recommend([["i3"]], k=3)
        .equals(recbole_ext.load(Path(again["files"]["record"]).parent).recommend([["i3"]], k=3))
    )


def test_a_network_goes_on(shop):
    """It starts at the old weights: with a learning rate of next to nothing rows stay where they were."""
    parent = shop("HRNNFeat", **FEATURES)
    record = update(parent, ["new"], keys={"learning_rate": 1e-12, "weight_decay": 0.0})
    assert record["config"]["epochs"] == EPOCHS and record["epochs_run"] == EPOCHS
    told = record["parent"]
    assert (told["folder"], told["kind"]) == (str(parent), "warm")
    assert told["items"] == 40 and told["new_items"] >= 1 and told["started_items"] >= 1
    before = read_checkpoint(json.loads((parent / "record.json").read_text())["checkpoint"])
    after = read_checkpoint(record["checkpoint"])
    was, now = (names(checkpoint, "item_id") for checkpoint in (before, after))
    seen = before["state_dict"]["items.seen"]
    table, old = after["state_dict"]["items.ids.weight"], before["state_dict"]["items.ids.weight"]
    for row, name in enumerate(now):
        if name in was and seen[was.index(name)]:
            torch.testing.assert_close(table[row], old[was.index(name)])
    for name, value in before["state_dict"].items():
        if name.startswith("session_grus"):
            torch.testing.assert_close(after["state_dict"][name], value)
    newly = [
        row
        for row, name in enumerate(now)
        if row and name not in was and after["state_dict"]["items.seen"][row]
    ]
    assert newly and table[newly].abs().max() < 1e-9  # known by their features
    step = next(iter(after["optimizer"]["state"].values()))["step"]
    assert step > next(iter(before["optimizer"]["state"].values()))["step"]
    assert (Path(record["files"]["record"]).parent / "model" / "model.json").is_file()


def names(checkpoint, field):
    return checkpoint["numbering"][field].numpy().tobytes().decode().split("\0")


def test_a_share_of_the_old_sessions_trains_again(shop):
    """All 20 new ones, and a quarter of the 88 that the parent trained on; 1 is every session, as without the key."""
    parent = shop("HRNNFeat", **FEATURES)
    assert update(parent, ["new"])["config"]["replay_share"] == REPLAY_SHARE
    records = [update(parent, ["new"], keys={"replay_share": 0.25}) for _ in range(2)]
    told = {name: records[0]["parent"][name] for name in ("new_sessions", "sessions_again", "old_sessions")}
    assert told == {"new_sessions": 20, "sessions_again": 22, "old_sessions": 88}
    assert records[0]["test"] == records[1]["test"]
    whole = update(parent, ["new"], keys={"replay_share": 1})
    assert "old_sessions" not in whole["parent"]
    assert whole["test"] == update(parent, ["new"], keys={"replay_share": None})["test"]


def test_a_run_that_does_not_say_what_it_knew_goes_on_whole(shop, tmp_path):
    """As runs of older versions: nothing is drawn unasked, and asked for it is refused."""
    parent = shop("HRNNFeat", **FEATURES)
    old = tmp_path / "old"
    shutil.copytree(parent, old)
    record = records.read(old)
    del record["trained_to"]
    records.write(old, record)
    assert "old_sessions" not in update(old, ["new"])["parent"]
    with pytest.raises(UsageError, match="write replay_share: 1 this time"):
        update(old, ["new"], keys={"replay_share": 0.5})


@pytest.mark.parametrize("average", [None, 0.9])
def test_the_first_visitor_who_returns(shop, average):
    """The pointer to a visitor's past is not in the parent, and starts as it is made; what was there goes on."""
    log = Path("data/shop/shop.inter")
    lines = log.read_text().splitlines()
    alone = [line.split("\t") for line in lines[1:]]
    alone = ["\t".join([row[0], "", *row[2:]]) for row in alone]
    Path("alone/shop").mkdir(parents=True, exist_ok=True)
    Path("alone/shop/shop.inter").write_text("\n".join([lines[0], *alone]) + "\n")
    shutil.copy("data/shop/shop.item", "alone/shop/shop.item")
    parent = shop(
        "HRNNFeat", **{**FEATURES, "data_path": "alone", "pointer": "user", "weight_average": average}
    )
    record = update(parent, ["new"], keys={"learning_rate": 1e-12, "weight_decay": 0.0})
    before = read_checkpoint(json.loads((parent / "record.json").read_text())["checkpoint"])
    after = read_checkpoint(record["checkpoint"])
    if average:
        before, after = before["weight_average"], after["weight_average"]
    before, after = (stored["weights" if average else "state_dict"] for stored in (before, after))
    gates = "look_back.gates.weight"
    assert "look_back.user.by_distance" in set(after) - set(before) and len(after[gates]) == 2
    torch.testing.assert_close(after[gates][:1], before[gates])
    torch.testing.assert_close(after["session_grus.0.weight_hh_l0"], before["session_grus.0.weight_hh_l0"])
    again = update(Path(record["files"]["record"]).parent, ["much"] if Path("much").exists() else [_later()])
    assert again["parent"]["kind"] == "warm"


def _later():
    """A folder of the new days' sessions once more, 60 days later and under other names."""
    lines = (Path("new") / "shop.inter").read_text().replace("\ns", "\nmuch").splitlines()
    rows = [row.split("\t") for row in lines[1:]]
    moved = ["\t".join([*row[:3], str(float(row[3]) + 5e6), row[4]]) for row in rows]
    shutil.copytree("new", "much")
    (Path("much") / "shop.inter").write_text("\n".join([lines[0], *moved]) + "\n")
    return "much"


def test_items_without_features_start_from_what_was_clicked_beside_them(shop):
    parent = shop(
        "GRU4Rec", embedding_size=8, hidden_size=8, epochs=2, train_neg_sample_args=None, loss_type="CE"
    )
    record = update(parent, ["new"], keys={"learning_rate": 1e-12})
    before = read_checkpoint(json.loads((parent / "record.json").read_text())["checkpoint"])
    after = read_checkpoint(record["checkpoint"])
    was, now = names(before, "item_id"), names(after, "item_id")
    log = pd.read_csv(Path(record["config"]["data_path"]) / "shop.inter", sep="\t")
    log.columns = [column.partition(":")[0] for column in log.columns]
    trained = sorted(log.groupby("session_id")["timestamp"].min().sort_values().index[:108])  # .9 of 120
    trained = log[log["session_id"].isin(trained)].groupby("session_id", sort=False)["item_id"].apply(list)
    with np.load(parent / "ranks.npz") as kept:
        old = set(kept["item_token"][kept["item_count"] > 0])
    newly = sorted({item for items in trained for item in items} - old)
    vectors = dict(zip(was, before["state_dict"]["item_embedding.weight"]))
    assert newly
    for item in newly:
        beside = [
            vectors[other]
            for items in trained
            for one, two in zip(items, items[1:])
            for own, other in ((one, two), (two, one))
            if own == item and other in old
        ]
        start = torch.stack(beside or [vectors[name] for name in old]).mean(0)
        row = after["state_dict"]["item_embedding.weight"][now.index(item)]
        torch.testing.assert_close(row, start, atol=1e-6, rtol=1e-4)


def test_an_average_goes_on(shop):
    parent = shop("HRNNFeat", **FEATURES, weight_average=0.9)
    record = update(parent, ["new"], keys={"learning_rate": 1e-12, "weight_decay": 0.0})
    before = read_checkpoint(json.loads((parent / "record.json").read_text())["checkpoint"])
    after = read_checkpoint(record["checkpoint"])
    assert before["weight_average"]["mass"] < after["weight_average"]["mass"] < 1
    name = "session_grus.0.weight_hh_l0"
    torch.testing.assert_close(
        after["weight_average"]["weights"][name], before["weight_average"]["weights"][name]
    )
    assert not torch.equal(after["state_dict"][name], after["weight_average"]["weights"][name])


def test_days_are_forgotten_and_a_run_goes_on_twice(shop):
    parent = shop("VSTAN")
    once = update(parent, ["new"], forget_before=date(1970, 1, 5))
    log = pd.read_csv(Path(once["config"]["data_path"]) / "shop.inter", sep="\t")
    manifest = json.loads((Path(once["config"]["data_path"]) / "manifest.json").read_text())
    assert manifest["time_origin"] >= 4 * 86400 and log["timestamp:float"].min() == 0
    assert manifest["notes"]["session forgotten"] > 0
    shutil.copytree("new", "more", dirs_exist_ok=True)
    text = (Path("new") / "shop.inter").read_text().replace("\ns", "\nlater").splitlines()
    moved = [text[0]] + [
        "\t".join([*row[:3], str(float(row[3]) + 5e6), row[4]]) for row in (r.split("\t") for r in text[1:])
    ]
    (Path("more") / "shop.inter").write_text("\n".join(moved) + "\n")
    twice = update(Path(once["files"]["record"]).parent, ["more"])
    assert Path(twice["config"]["data_path"]).parent.parent == Path(once["config"]["data_path"]).parent.parent
    assert twice["counts"]["train_rows"] > once["counts"]["train_rows"]


@pytest.mark.parametrize("model, keys", [("VSTAN", {}), ("HRNNFeat", FEATURES)])
def test_the_parent_is_ranked_on_the_same_targets(shop, model, keys):
    """The parent's ranks are the places in the lists that a shop would get, the visitor's past and new items told."""
    parent = shop(model, **keys)
    record = update(parent, ["new"], keys={"learning_rate": 1e-12} if keys else {})
    child = Path(record["files"]["record"]).parent
    assert Path(record["files"]["parent"]) == child / "parent"
    assert json.loads((child / "record.json").read_text())["files"]["parent"] == str(child / "parent")
    found = promotion(child, child / "parent", "hit@20")
    assert found["targets"] == record["counts"]["test_targets"]
    asked = recbole_ext.load(parent)
    if keys:
        items = pd.read_csv("new/shop.item", sep="\t").rename(columns=lambda name: name.partition(":")[0])
        known = items["item_id"].isin(asked.items)
        asked.add_items(
            items[~known].rename(columns={"item_id": "item"}).astype({"category": str, "available": str})
        )
    with np.load(child / "parent" / "ranks.npz") as kept:
        own = {name: kept[name] for name in kept.files}
    log = pd.read_csv(Path(record["config"]["data_path"]) / "shop.inter", sep="\t", dtype=str)
    log.columns = [column.partition(":")[0] for column in log.columns]
    log["timestamp"] = log["timestamp"].astype(float)
    for target in range(0, len(own["rank"]), 5):
        session = log[log["session_id"] == own["session_token"][target]].head(int(own["position"][target]))
        user = session["user_id"].iloc[0]
        past = log[(log["user_id"] == user) & (log["timestamp"] < session["timestamp"].iloc[0])]
        question = session.rename(columns={"session_id": "session", "item_id": "item", "timestamp": "time"})
        past = past.rename(
            columns={"session_id": "session", "item_id": "item", "timestamp": "time", "user_id": "user"}
        )
        origin = json.loads((Path(record["config"]["data_path"]) / "manifest.json").read_text())[
            "time_origin"
        ]
        question["time"] += origin
        past["time"] += origin
        question = question.rename(columns={"user_id": "user"})
        more = {"history": past[["user", "session", "item", "time"]]} if len(past) and keys else {}
        best = asked.recommend(question, k=20, **more)["item"].tolist()
        name = own["item_token"][own["item"][target]]
        rank = best.index(name) + 1 if name in best else 99
        assert rank == own["rank"][target] or min(rank, own["rank"][target]) > 20


def test_raw_logs_are_read_as_the_first_ones_were(shop):
    """The shop's own csv, sessions cut by idle time: new days are converted with the run's options, and join."""
    log = pd.concat(
        [pd.read_csv(f"{place}/shop.inter", sep="\t", dtype=str) for place in ("data/shop", "new")]
    )
    log.columns = ["session", "user", "item", "time", "event"]
    log["user"] = log["user"].fillna(log["session"])
    log["time"] = log["time"].astype(float).astype(int) + 1_500_000_000
    old = log["session"].str[1:].astype(int) < DAYS
    for name, rows in (("old", log[old]), ("later", log[~old]), ("all", log)):
        Path(name).mkdir()
        rows.drop(columns="session").to_csv(f"{name}/events.csv", index=False)
    made = {}
    for name in ("old", "all"):
        raw = {"source": "csv", "raw_path": f"{name}/events.csv", "convert_options": {"gap_minutes": 20}}
        made[name] = recbole_ext.run("SR", f"{name}shop", **{**GIVEN, **raw})
    record = update(Path(made["old"]["files"]["record"]).parent, ["later/events.csv"])
    assert record["test"] == made["all"]["test"] and record["counts"] == made["all"]["counts"]
    assert record["data"]["options"]["gap_minutes"] == 20 and "updated from" in record["notes"][0]


def test_of_a_study_s_choice_the_new_run_lies_in_the_study_s_folder(shop):
    """Which is called as the data set is, where all others have a folder of that name."""
    plain = shop("VSTAN", runs_dir="studies/shop")
    assert plain.parent == Path("studies/shop/shop")
    chosen = shutil.copytree(plain, "studies/shop/chosen")

    def folder_of(parent):
        return Path(update(parent, ["new"], rank_old=False)["files"]["record"]).parent

    new = folder_of(chosen)
    assert new.parent == Path("studies/shop")
    assert (
        json.loads((new / "record.json").read_text())["config"]["runs_dir"] == "studies"
    )  # so the next one too
    assert folder_of(plain).parent == plain.parent  # somebody wanted it so


def test_the_command(shop, capsys):
    folder = shop("VSTAN")
    assert main(["update", str(folder), "--events", "new", "--log", "joined", "--k=50"]) == 0
    assert "VSTAN on shop" in capsys.readouterr().out
    assert Path("joined/shop/shop.inter").is_file()
    newest = max(Path("runs/shop").glob("VSTAN-*"), key=lambda place: place.name)
    assert json.loads((newest / "record.json").read_text())["config"]["k"] == 50


@pytest.mark.parametrize(
    "words, says",
    [
        (["nowhere", "--events", "new"], "not the folder of a finished run"),
        (["VSTAN", "--events", "absent"], "absent, which does not exist"),
        (["VSTAN", "--events", "new", "--dataset=other"], "dataset cannot be changed in an update"),
        (["VSTAN", "--events", "new", "--kk=3"], "kk"),
        (
            ["HRNNFeat", "--events", "new", "--replay_share=1.5"],
            "replay_share is 1.5: it has to be a number from 0 to 1",
        ),
        (["HRNNFeat", "--events", "new", "--replay_share=-0.1"], "replay_share is -0.1"),
        (
            ["VSTAN", "--events", "new", "--replay_share=0.5"],
            "VSTAN learns in one pass and does not read replay_share",
        ),
        (["VSTAN", "--events", "new", "--forget-before", "Monday"], "write a day as YYYY-MM-DD"),
        (["VSTAN", "--events", "new", "--forget-before", "2100-01-01"], "leaves no session"),
        (["VSTAN", "--events", "data"], "no source that would read it"),
    ],
)
def test_what_cannot_be_done(shop, capsys, words, says):
    words = ["update", *words]
    if words[1] in ("VSTAN", "HRNNFeat"):
        words[1] = str(shop(words[1], **(FEATURES if words[1] == "HRNNFeat" else {})))
    assert main(words) == 2 and says in capsys.readouterr().err


def test_a_key_of_other_weights_is_named_before_any_work(shop, capsys):
    words = ["update", str(shop("HRNNFeat", **FEATURES)), "--events", "new", "--log", "nothing"]
    assert main([*words, "--embedding_size=64"]) == 2
    assert "embedding_size is 8 in the run that goes on" in capsys.readouterr().err
    assert not Path("nothing").exists()


@pytest.mark.parametrize(
    "model, given, keys, named",
    [
        ("HRNNFeat", FEATURES, ["--user_state=init"], "user_state"),
        ("HRNNFeat", FEATURES, ["--learning_rate=0.1", "--item_features=[]"], "item_features"),
        ("HRNNFeat", FEATURES, ["--pointer=none", "--feature_fusion=gate"], "feature_fusion"),
        ("SASRec", SASREC, ["--MAX_ITEM_LIST_LENGTH=4", "--hidden_dropout_prob=0.1"], "MAX_ITEM_LIST_LENGTH"),
        ("SASRec", SASREC, ["--n_layers=1"], "n_layers is 2"),
    ],
)
def test_any_key_of_other_weights_is_named_before_any_work(shop, capsys, model, given, keys, named):
    words = ["update", str(shop(model, **given)), "--events", "new", "--log", "nothing", *keys]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {named} ") and "train anew" in said and said.count("\n") == 1


def test_keys_of_the_same_weights_are_taken(shop, capsys):
    """The files are looked for next."""
    for model, given, keys in (
        ("HRNNFeat", FEATURES, ["--learning_rate=0.1", "--MAX_ITEM_LIST_LENGTH=9", "--dropout_user=0.3"]),
        ("SASRec", SASREC, ["--hidden_dropout_prob=0.1", "--train_batch_size=64"]),
    ):
        assert main(["update", str(shop(model, **given)), "--events", "data", *keys]) == 2
        assert "no source that would read it" in capsys.readouterr().err


def test_bad_rows_of_new_days_are_borne_where_it_is_said(shop, capsys):
    log = pd.DataFrame(
        {
            "session": np.arange(40) // 4,
            "item": np.arange(40) % 7,
            "time": 1_500_000_000 + 600 * np.arange(40),
        }
    )
    for name in ("good", "bad"):
        Path(name).mkdir()
        log.to_csv(f"{name}/events.csv", index=False)
        log = log.assign(session=log["session"] + 10, time=log["time"] + 100_000)
        log["item"] = log["item"].astype(object).where(log.index > 1, "no\titem")
    raw = {"source": "csv", "raw_path": "good/events.csv", "convert_options": {"session": "session"}}
    run = recbole_ext.run("SR", "goodshop", **{**GIVEN, **raw})
    words = ["update", str(Path(run["files"]["record"]).parent), "--events", "bad/events.csv", "--no-parent"]
    assert main(words) == 2 and "2 of 40 rows are bad" in (said := capsys.readouterr().err)
    assert "raise --max-bad-rows" in said
    assert main([*words, "--max-bad-rows=0.1"]) == 0
    assert main([*words, "--convert_options={strict: true}"]) == 2
    said = capsys.readouterr().err
    assert "the run's option strict allows none" in said and "or give --max-bad-rows SHARE" in said


def test_new_days_may_be_written_otherwise(shop, capsys):
    """Options are named as an update takes them, in its help too, and are of the new days alone."""
    log = pd.DataFrame(
        {
            "session": np.arange(40) // 4,
            "item": np.arange(40) % 7,
            "time": 1_500_000_000 + 600 * np.arange(40),
        }
    )
    Path("first").mkdir()
    log.to_csv("first/events.csv", index=False)
    later = log.assign(session=log["session"] + 10, time=log["time"] + 100_000)
    later.rename(columns={"session": "strange"}).to_csv("first/later.csv", index=False)
    raw = {"source": "events", "raw_path": "first/events.csv", "convert_options": {"session": "session"}}
    run = recbole_ext.run("SR", "firstshop", **{**GIVEN, **raw})
    words = ["update", str(Path(run["files"]["record"]).parent), "--no-parent", "--events"]
    assert main([*words, "first/later.csv"]) == 2
    said = capsys.readouterr().err
    assert said.endswith(
        """(an update takes these options as convert_options: --convert_options="{session: COLUMN}")\n"""
    )
    given = "--convert_options={session: strange}"
    assert main([*words, "first/later.csv", given]) == 0
    newest = max(Path("runs/firstshop").glob("SR-*"), key=lambda place: place.name)
    record = json.loads((newest / "record.json").read_text())
    assert record["config"]["convert_options"] == {"session": "session"}
    assert record["counts"]["train_rows"] > run["counts"]["train_rows"]
    capsys.readouterr()
    for option, named in ((given, "convert_options"), ("--max-bad-rows=0.1", "--max-bad-rows")):
        assert main([*words, "new", option]) == 2
        assert f"error: {named} is of raw logs" in capsys.readouterr().err
    assert main([*words, "first/later.csv", "--convert_options={sesion: strange}"]) == 2
    assert "unknown key sesion in convert_options" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["update", "--help"])
    assert "--convert_options=" in capsys.readouterr().out


def test_new_days_that_are_wrong_end_in_one_sentence(shop, capsys):
    """Times in milliseconds, and those that are none; a log that has all events; nothing is left behind."""
    lines = (Path("new") / "shop.inter").read_text().splitlines()
    Path("wrong").mkdir()
    for time in ("1464220800000", "abc", "inf"):
        row = lines[1].split("\t")
        row[3] = time
        Path("wrong/shop.inter").write_text("\n".join([lines[0], "\t".join(row), *lines[2:]]) + "\n")
        assert main(["update", str(shop("VSTAN")), "--events", "wrong", "--log", "nothing"]) == 2
        said = capsys.readouterr().err
        assert f"line 2: timestamp is '{time}'" in said and "Traceback" not in said
    assert main(["update", str(shop("VSTAN")), "--events", "data/shop", "--log", "nothing"]) == 2
    assert "no new event" in capsys.readouterr().err and not Path("nothing").exists()


def test_a_share_is_of_an_update(shop):
    with pytest.raises(UsageError, match="replay_share is of an update"):
        recbole_ext.run("SASRec", "shop", **GIVEN, replay_share=0.5)


def test_other_models_cannot_go_on(shop):
    with pytest.raises(UsageError, match="update those"):
        from recbole_ext.run.parent import kind_of
        from recbole_ext.run.run import configure

        kind_of(configure("Blend", "shop", {**GIVEN, "blend_models": ["HRNNFeat", "SASRec"]}))
