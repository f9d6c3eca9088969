"""Generated Retail Rocket logs: the owner's schema and skews, the same bytes for a seed, planted signals."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from recbole_ext.convert import convert
from recbole_ext.convert.synthetic import generate, property_log, retailrocket
from recbole_ext.errors import ConvertError

SCALE = 0.02
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "retailrocket-demo"
    generate("retailrocket", folder, scale=SCALE, seed=1)
    return folder


@pytest.fixture(scope="module")
def events(demo):
    return pl.read_csv(demo / "events.csv")


@pytest.fixture(scope="module")
def properties(demo):
    parts = [pl.read_csv(demo / f"item_properties_part{n}.csv", infer_schema=False) for n in (1, 2)]
    return pl.concat(parts).with_columns(pl.col("timestamp", "itemid").cast(pl.Int64))


@pytest.fixture(scope="module")
def converted(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("atomic") / "d"
    return convert("retailrocket", demo, out, strict=True), pl.read_csv(out / "d.inter", separator="\t")


@pytest.fixture(scope="module")
def steps(demo, converted):
    """Each view after a session's first one, with the item before it, category and visitor."""
    _, inter = converted
    views = inter.filter(pl.col("event:token") == "view").select(
        session="session_id:token", user="user_id:token", item="item_id:token"
    )
    views = views.join(category_of(demo), on="item", how="left", maintain_order="left")
    return views.with_columns(
        item_before=pl.col("item").shift(1).over("session"),
        category_before=pl.col("category").shift(1).over("session"),
    )


def make_demo_world():
    return retailrocket.make_world(
        np.random.default_rng([1, 0]), retailrocket.SHAPE, SCALE, round(retailrocket.SHAPE.sessions * SCALE)
    )


def category_of(demo):
    rows = pl.concat([pl.read_csv(demo / f"item_properties_part{n}.csv", infer_schema=False) for n in (1, 2)])
    first = rows.filter(pl.col("property") == "categoryid").sort("timestamp")
    return first.group_by(pl.col("itemid").cast(pl.Int64).alias("item")).agg(category=pl.col("value").first())


def test_the_owners_files_and_headers(demo):
    patterns = {
        "events.csv": (
            "timestamp,visitorid,event,itemid,transactionid",
            "14[0-9]{11},[0-9]+,((view|addtocart),[0-9]+,|transaction,[0-9]+,[0-9]+)",
        ),
        "category_tree.csv": ("categoryid,parentid", "[0-9]+,[0-9]*"),
        "item_properties_part1.csv": (
            "timestamp,itemid,property,value",
            r"14[0-9]{11},[0-9]+,(categoryid,[0-9]+|available,[01]|790,n[0-9]+[.][0-9]{3}|"
            r"[0-9]+,(n[0-9]+[.][0-9]{3}|[0-9]+)( (n[0-9]+[.][0-9]{3}|[0-9]+))*)",
        ),
    }
    patterns["item_properties_part2.csv"] = patterns["item_properties_part1.csv"]
    assert sorted(os.listdir(demo)) == sorted([*patterns, "generator.json"])
    for name, (header, row) in patterns.items():
        lines = (demo / name).read_text().splitlines()
        assert lines[0] == header
        assert pl.Series(lines[1:]).str.contains(f"^{row}$").all(), name


def test_a_seed_gives_its_bytes_and_no_other_does(demo, tmp_path):
    """Also with another number of threads."""
    script = (
        f"from recbole_ext.convert.synthetic import generate; generate('retailrocket', 'again', {SCALE}, 1)"
    )
    environment = {
        **os.environ,
        "POLARS_MAX_THREADS": "3",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    assert digests(tmp_path / "again") == digests(demo)
    generate("retailrocket", tmp_path / "other", scale=SCALE, seed=2)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in digests(demo).items())


def test_counts_are_the_owners_times_scale(demo, events, properties):
    record = json.loads((demo / "generator.json").read_text())["counts"]
    kinds = dict(events["event"].value_counts().iter_rows())
    assert kinds == {"view": round(2_664_312 * SCALE), "addtocart": round(69_332 * SCALE), "transaction": 449}
    assert properties.height == record["property_rows"] == round(20_275_902 * SCALE)
    assert events["visitorid"].n_unique() == record["visitors"] == pytest.approx(1_407_580 * SCALE, rel=0.01)
    assert events["itemid"].n_unique() == record["items_in_events"]
    of = dict(properties["property"].value_counts().iter_rows())
    for name, rows in property_log.NAMED.items():
        assert of[name] == pytest.approx(rows * SCALE, abs=2)
    assert 900 < len(of) <= 1104
    others = sorted((rows for name, rows in of.items() if name not in property_log.NAMED), reverse=True)
    assert of["364"] in others[:3]
    assert sum(others[:100]) > 0.5 * sum(others) and others[0] < of["categoryid"]


def test_skews(events, properties):
    views = events.filter(pl.col("event") == "view")
    of_visitor = views["visitorid"].value_counts()["count"]
    assert of_visitor.max() > 100
    of_visitor = events["visitorid"].value_counts()["count"]
    assert (of_visitor == 1).mean() == pytest.approx(0.71, abs=0.01)  # the owner's
    assert of_visitor.mean() == pytest.approx(1.96, abs=0.03)
    of_item = views["itemid"].value_counts()["count"].sort(descending=True)
    assert of_item.head(len(of_item) // 100).sum() / of_item.sum() > 0.1
    known = views["itemid"].unique().is_in(properties["itemid"].unique().implode()).mean()
    assert known == pytest.approx(0.9, abs=0.02)


def test_no_file_is_in_order_of_time(events, properties):
    for rows in (events, properties):
        steps = rows["timestamp"].diff().drop_nulls()
        falling, rising = (steps < 0).mean(), (steps > 0).mean()
        assert falling > 0.3 and falling == pytest.approx(rising, abs=0.05)


def test_events_lie_within_the_owners_days(events):
    days = events["timestamp"].cast(pl.Datetime("ms")).dt.date()
    assert (str(days.min()), str(days.max())) == ("2015-05-03", "2015-09-18")


def test_properties_change_weekly(properties):
    weeks = properties["timestamp"].unique().sort()
    assert len(weeks) == 18
    assert ((weeks - weeks[0]) % WEEK_MS == 0).all()
    assert weeks[0] == 1431226800000  # 2015-05-10 03:00 UTC
    assert properties.select("timestamp", "itemid", "property").is_unique().all()  # no two values at a time


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("available", 1, 1), ("790", 0.99, 1), ("categoryid", 0.03, 0.15)],  # categories change rarely
)
def test_a_later_row_is_a_change(properties, name, least, most):
    rows = properties.filter(pl.col("property") == name).sort("itemid", "timestamp")
    before = rows.select(pl.col("value").shift(1).over("itemid")).to_series()
    changed = (rows["value"] != before).drop_nulls()
    assert len(changed) == rows.height - rows["itemid"].n_unique() > 5000
    assert least <= changed.mean() <= most


def test_categories_of_the_log_are_those_of_the_walks(demo, properties):
    """A first row holds the world's category, a later one that or another one of the same parent."""
    tree = dict(pl.read_csv(demo / "category_tree.csv").iter_rows())
    world = make_demo_world()
    number = retailrocket._tree(world, np.random.default_rng([1, 3]), SCALE)[0]
    category = number[world.shelf // 3]
    of = dict(zip(retailrocket.item_ids(world, 1).tolist(), category.tolist()))
    rows = properties.filter(pl.col("property") == "categoryid").sort("timestamp")
    rows = rows.group_by("itemid", maintain_order=True).agg(pl.col("value").cast(pl.Int64))
    distinct = 0
    for item, values in rows.iter_rows():
        assert values[0] == of[item]
        assert {tree[value] for value in values} == {tree[of[item]]}
        distinct += len(set(values))
    assert distinct / rows.height == pytest.approx(442_432 / 417_053, abs=0.01)  # the owner's


def test_an_item_enters_at_the_first_snapshot_after_its_birth(properties):
    world = make_demo_world()
    birth = dict(zip(retailrocket.item_ids(world, 1).tolist(), world.birth.tolist()))
    first = properties.group_by("itemid").agg(pl.col("timestamp").min())
    assert first.height == round(417_053 * SCALE)
    days = sorted((properties["timestamp"].unique() // DAY_MS - retailrocket.FIRST_MS // DAY_MS).to_list())
    for item, time in first.iter_rows():
        entered = time // DAY_MS - retailrocket.FIRST_MS // DAY_MS
        assert entered == min(day for day in days if day >= birth[item])
    assert 0.15 < (first["timestamp"] > first["timestamp"].min()).mean() < 0.4
    for name in ("790", "available", "categoryid"):
        rows = properties.filter(pl.col("property") == name).group_by("itemid").agg(pl.col("timestamp").min())
        assert rows.sort("itemid").equals(first.sort("itemid")), name


def test_every_item_with_properties_has_a_category_of_the_tree(demo, properties):
    tree = pl.read_csv(demo / "category_tree.csv")
    parent = dict(tree.iter_rows())
    assert len(parent) == tree.height
    inner = set(parent.values()) - {None}
    assert inner < set(parent) and None in parent.values()
    depth = []
    for category in parent:
        steps = 1
        while (category := parent[category]) is not None:
            steps += 1
            assert steps <= 6
        depth.append(steps)
    assert max(depth) >= 4
    rows = properties.filter(pl.col("property") == "categoryid")
    assert set(rows["value"].cast(pl.Int64)) <= set(parent) - inner
    assert set(rows["itemid"]) == set(properties["itemid"])


def test_the_log_converts_without_a_drop(demo, converted, events):
    manifest, inter = converted
    assert manifest["rows"]["events.csv"]["dropped"] == {}
    assert manifest["counts"]["users"] == events["visitorid"].n_unique()
    sessions = inter.group_by("user_id:token").agg(n=pl.col("session_id:token").n_unique())
    returning = (sessions["n"] > 1).mean()
    assert returning == pytest.approx(0.134, abs=0.03)  # of the owner's sample: 669 of 5,000
    test_share = (inter["timestamp:float"] + manifest["time_origin"] >= manifest["features_as_of"]).mean()
    assert 0.02 < test_share < 0.1


def test_successors_and_categories_are_learnable(steps):
    follow = steps.drop_nulls("item_before")
    same = (follow["category"] == follow["category_before"]).mean()
    chance = (follow["category"] == follow["category_before"].shuffle(seed=0)).mean()
    assert same > 0.5 and chance < 0.1
    middle = follow.height // 2
    past, future = follow.head(middle), follow.tail(middle)
    counts = past.group_by("item_before", "item").len().sort("len", "item", descending=True)
    top = counts.group_by("item_before", maintain_order=True).head(3)
    hits = future.join(top, on=["item_before", "item"], how="semi").height / future.height
    popular = past["item"].value_counts(sort=True).head(3)["item"]
    assert hits > 0.15 and hits > 5 * future["item"].is_in(popular.implode()).mean()


def test_visitors_keep_their_taste(steps):
    first = steps.group_by("session", maintain_order=True).first().drop_nulls("category")
    pairs = first.with_columns(before=pl.col("category").shift(1).over("user")).drop_nulls("before")
    assert pairs.height > 1000
    same = (pairs["category"] == pairs["before"]).mean()
    chance = (pairs["category"] == pairs["before"].shuffle(seed=0)).mean()
    assert same > 4 * chance


def test_visitors_keep_their_style(steps, properties):
    """A price against its category's mean stands for style; the first view of a session shows none."""
    price = properties.filter(pl.col("property") == "790").sort("timestamp").group_by("itemid").first()
    price = price.select(item="itemid", price=pl.col("value").str.slice(1).cast(pl.Float64).log(2))
    rows = steps.drop_nulls("item_before").join(price, on="item", maintain_order="left")
    rows = rows.with_columns(over=pl.col("price") - pl.col("price").mean().over("category")).drop_nulls(
        "over"
    )
    sessions = rows.group_by("session", maintain_order=True).agg(
        pl.col("user").first(), pl.col("over").mean()
    )
    pairs = sessions.with_columns(before=pl.col("over").shift(1).over("user")).drop_nulls("before")
    assert pairs.height > 150
    assert pairs.select(pl.corr("over", "before")).item() > 0.4
    assert abs(pairs.select(pl.corr("over", pl.col("before").shuffle(seed=0))).item()) < 0.2


def test_carts_follow_views_and_sales_follow_carts(events):
    time = {kind: events.filter(pl.col("event") == kind) for kind in ("view", "addtocart", "transaction")}
    for later, earlier in (("addtocart", "view"), ("transaction", "addtocart")):
        first = time[earlier].group_by("visitorid", "itemid").agg(before=pl.col("timestamp").min())
        joined = time[later].join(first, on=["visitorid", "itemid"])
        assert joined.height == time[later].height
        assert (joined["timestamp"] > joined["before"]).all()
    orders = time["transaction"].group_by("transactionid").agg(pl.col("visitorid").n_unique(), pl.len())
    assert (orders["visitorid"] == 1).all() and orders["len"].max() > 1


def test_new_items_come_over_time(demo, converted):
    manifest, inter = converted
    late = inter["timestamp:float"] + manifest["time_origin"] >= manifest["features_as_of"]
    seen = inter.filter(~late)["item_id:token"].unique()
    cold = ~inter.filter(late)["item_id:token"].is_in(seen.implode())
    assert 0.02 < cold.mean() < 0.5


def test_more_property_rows_come_in_more_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(property_log, "PART_ROWS", 10_000)
    monkeypatch.setattr(property_log, "PROPERTY_BLOCK", 777)
    counts = generate("retailrocket", tmp_path / "raw", scale=0.001, property_scale=3)["counts"]
    parts = sorted((tmp_path / "raw").glob("item_properties_part*.csv"))
    assert len(parts) == 7
    rows = pl.concat([pl.read_csv(part, infer_schema=False) for part in parts])
    assert rows.height == counts["property_rows"] == round(20_275_902 * 0.001 * 3)
    one = generate("retailrocket", tmp_path / "one", scale=0.001)["counts"]
    assert digests(tmp_path / "raw")["events.csv"] == digests(tmp_path / "one")["events.csv"]
    assert one["property_rows"] == round(20_275_902 * 0.001)


@pytest.mark.parametrize("property_scale", [1, 10, 100])
def test_rows_are_those_of_their_number(property_scale):
    """Blocks of any size give the same rows; no value of an item and time comes twice, however long the log."""
    world = retailrocket.make_world(np.random.default_rng([1, 0]), retailrocket.SHAPE, 0.001, 1784)
    rows = 2_000 * property_scale
    log = property_log.PropertyLog(
        world, retailrocket.item_ids(world, 1), np.arange(len(world.department)), rows, 1
    )
    whole = log.block(0, rows)
    pieces = [log.block(first, min(first + 9_999, rows)) for first in range(0, rows, 9_999)]
    assert whole.equals(pl.concat(pieces))
    assert whole.height == rows
    assert whole.select("timestamp", "itemid", "property").is_unique().all()


def test_rows_that_do_not_fit_a_property_go_to_the_others():
    sizes = property_log._fill(np.array([0.6, 0.3, 0.1]), 100, 40)
    assert sizes.tolist() == [40, 40, 20]
    with pytest.raises(ConvertError, match="have only 120: lower it"):
        property_log._fill(np.array([0.6, 0.3, 0.1]), 121, 40)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"known_users": 0.5}, "--known-users is read only with source diginetica"),
        ({"property_scale": 0}, "--property-scale is 0"),
        ({"scale": 50, "property_scale": 10}, "ask for 10,137,951,000 property rows"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, options, sentence):
    with pytest.raises(ConvertError, match=sentence):
        generate("retailrocket", tmp_path / "raw", **options)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 0.003])
def test_small_worlds(tmp_path, scale):
    counts = generate("retailrocket", tmp_path / "raw", scale=scale)["counts"]
    manifest = convert("retailrocket", tmp_path / "raw", tmp_path / "d", strict=True)
    assert manifest["rows"]["events.csv"]["kept"] == counts["events"]
