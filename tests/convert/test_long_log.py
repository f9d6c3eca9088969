"""Generated long logs: so many events in order of time, the same bytes however they are made, planted signals."""

import hashlib

import numpy as np
import polars as pl
import pytest

from recbole_ext.convert import convert
from recbole_ext.convert.synthetic import generate, long_log, property_log
from recbole_ext.errors import ConvertError

EVENTS, ITEMS = 20_000, 500
# what README's figures rest on; of all files but generator.json, which names the version
DEMO = {
    "diginetica": "bfe84e8d743d52e17dd883cbed673d3327dbbdebc7febd5c5e0a34d64e745e8d",
    "retailrocket": "f51773b51c0a950a5696de00d15236c364e05c24542589ebc4212639a6ae9c32",
}


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def made(folder, seed=1):
    return generate("retailrocket", folder, seed=seed, events=EVENTS, items=ITEMS, property_scale=0.05)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """The folder of a log of many blocks, and what its generator says."""
    folder = tmp_path_factory.mktemp("long") / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_log, "SEEDED", 256)
        record = made(folder)
    return folder, record


@pytest.fixture(scope="module")
def events(log):
    return pl.read_csv(log[0] / "events.csv")


@pytest.mark.parametrize("source", DEMO)
def test_short_logs_keep_their_bytes(source, tmp_path):
    generate(source, tmp_path / "log", scale=0.002, seed=1)
    names = sorted(path for path in (tmp_path / "log").iterdir() if path.name != "generator.json")
    content = b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in names)
    assert hashlib.sha256(content).hexdigest() == DEMO[source]


@pytest.mark.parametrize(("at_once", "property_rows"), [(1, 1_000), (5, 77_777)])
def test_the_same_bytes_however_many_are_made_at_once(log, tmp_path, monkeypatch, at_once, property_rows):
    monkeypatch.setattr(long_log, "SEEDED", 256)
    monkeypatch.setattr(long_log, "AT_ONCE", at_once)
    monkeypatch.setattr(property_log, "PROPERTY_BLOCK", property_rows)
    made(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(log[0])


def test_another_seed_gives_other_bytes(log, tmp_path):
    made(tmp_path / "other", seed=2)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in digests(log[0]).items())


def test_so_many_events_in_order_of_time(log, events):
    counts = log[1]["counts"]
    assert events.height == counts["events"] == EVENTS and events["timestamp"].is_sorted()
    kinds = dict(events["event"].value_counts().iter_rows())
    assert [kinds[kind] for kind in long_log.KINDS] == [
        counts["views"],
        counts["addtocarts"],
        counts["transactions"],
    ]
    assert kinds["addtocart"] / EVENTS == pytest.approx(0.08, abs=0.01)
    assert kinds["transaction"] / EVENTS == pytest.approx(0.02, abs=0.005)
    assert events["visitorid"].n_unique() == counts["visitors"]
    assert events["itemid"].n_unique() == counts["items_in_events"] <= counts["items"] == ITEMS
    rows = pl.Series((log[0] / "events.csv").read_text().splitlines()[1:])
    row = "14[0-9]{11},[0-9]+,((view|addtocart),[0-9]+,|transaction,[0-9]+,[0-9]+)"
    assert rows.str.contains(f"^{row}$").all()


def test_carts_follow_views_and_purchases_follow_carts(events):
    of_visitor = events.sort("visitorid", "timestamp", maintain_order=True)
    before = of_visitor.with_columns(
        same=(pl.col("itemid") == pl.col("itemid").shift())
        & (pl.col("visitorid") == pl.col("visitorid").shift()),
        was=pl.col("event").shift(),
    )
    carts = before.filter(pl.col("event") == "addtocart")
    sold = before.filter(pl.col("event") == "transaction")
    assert carts["same"].all() and (carts["was"] != "addtocart").all()
    assert sold["same"].all() and (sold["was"] == "addtocart").all()
    orders = sold.sort("timestamp", maintain_order=True)["transactionid"]
    assert orders.unique(maintain_order=True).to_list() == list(range(orders.n_unique()))
    assert sold.group_by("transactionid").agg(pl.col("visitorid").n_unique())["visitorid"].max() == 1


def test_visitors_come_back_and_walks_have_successors(log, events, tmp_path):
    manifest = convert("retailrocket", log[0], tmp_path / "d", strict=True)
    assert manifest["counts"]["users"] == log[1]["counts"]["visitors"]
    per_user = manifest["counts"]["sessions"] / manifest["counts"]["users"]
    assert per_user == pytest.approx(3.2, abs=0.2)
    assert EVENTS / manifest["counts"]["sessions"] == pytest.approx(5, abs=0.2)
    views = pl.read_csv(tmp_path / "d" / "d.inter", separator="\t").filter(pl.col("event:token") == "view")
    pairs = views.select(
        "session_id:token",
        last=pl.col("item_id:token").shift().over("session_id:token"),
        item="item_id:token",
    ).drop_nulls()

    def told(pairs):
        """Share of the steps to an item's most frequent follower of the first half, in the second half."""
        half = pairs.height // 2
        first = pairs.head(half).group_by("last", "item").len().sort("len", "item", descending=True)
        best = first.unique("last", keep="first", maintain_order=True)
        return pairs.tail(half).join(best, on=["last", "item"], how="semi").height / half

    shuffled = pairs.with_columns(pl.col("item").shuffle(seed=0))
    assert told(pairs) > 0.3 > 5 * told(shuffled)


def test_no_item_before_its_birth_and_popular_ones_are_few(log, events):
    world = long_log.make_world(
        np.random.default_rng([1, 0]), long_log.shape_of(EVENTS, ITEMS), 1.0, round(EVENTS / 5)
    )
    born = pl.DataFrame({"itemid": long_log.item_ids(world, 1), "birth": world.birth})
    days = events.join(born, on="itemid").with_columns(
        day=(pl.col("timestamp") - property_log.FIRST_MS) // property_log.DAY_MS
    )
    assert days.height == EVENTS
    # what is born decides the day that a session starts on
    assert (days["day"] >= days["birth"]).all() and (world.birth > 0).any()
    of_item = events["itemid"].value_counts()["count"].sort(descending=True)
    assert of_item.head(ITEMS // 10).sum() / EVENTS > 0.3


def test_items_follow_the_root_of_the_events():
    assert long_log.items_of(100_000_000) == 1_500_000
    assert long_log.items_of(1_000_000) == 150_000
    assert long_log.items_of(1) >= 1


@pytest.mark.parametrize("events", [1, 7])
def test_a_few_events_are_a_log(events, tmp_path):
    generate("retailrocket", tmp_path / "log", events=events, items=40, property_scale=0.01)
    assert pl.read_csv(tmp_path / "log" / "events.csv").height == events


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "retailrocket", "events": 9, "scale": 1}, "--events is read only without --scale"),
        ({"source": "retailrocket", "items": 9}, "--items is read only with --events"),
        ({"source": "diginetica", "events": 9}, "--events is read only with source retailrocket"),
        ({"source": "retailrocket", "events": 0}, "--events is 0"),
    ],
)
def test_options_that_do_not_go_together(options, says, tmp_path):
    with pytest.raises(ConvertError, match=says):
        generate(out=tmp_path / "log", **options)
    assert not (tmp_path / "log").exists()


def test_events_as_parquet_are_those_of_the_text(log, tmp_path):
    manifest = convert("retailrocket", log[0], tmp_path / "d", inter="both", as_of="event")
    text = pl.read_csv(tmp_path / "d" / "d.inter", separator="\t", infer_schema=False)
    parquet = pl.read_parquet(tmp_path / "d" / "d.inter.parquet")
    assert parquet.columns == text.columns and parquet.height == EVENTS
    floats = [name for name in text.columns if name.endswith(":float")]
    assert "timestamp:float" in floats
    assert [parquet.schema[name] for name in floats] == [pl.Float64] * len(floats)
    tokens = [name for name in text.columns if name not in floats]
    kinds = {name: parquet.schema[name] for name in tokens}
    assert kinds["event:token"] == pl.String and kinds["item_id:token"].is_integer()
    assert parquet.with_columns(pl.col(tokens).cast(pl.String)).equals(
        text.with_columns(pl.col(floats).cast(pl.Float64))
    )
    assert [output["name"] for output in manifest["outputs"]] == ["d.inter", "d.inter.parquet", "d.item"]
    assert manifest["options"]["inter"] == "both"
