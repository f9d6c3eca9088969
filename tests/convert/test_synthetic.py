"""Generated logs: the schema, the same bytes for a seed, every planted signal measured in the files."""

import hashlib
import json
import os

import numpy as np
import polars as pl
import pytest

from recbole_ext.convert import __main__ as command_line
from recbole_ext.convert import convert
from recbole_ext.convert.synthetic import diginetica, generate
from recbole_ext.convert.synthetic.world import make_world
from recbole_ext.errors import ConvertError

FILES = [
    "generator.json",
    "product-categories.csv",
    "products.csv",
    "train-item-views.csv",
    "train-purchases.csv",
]
SCALE, SEED = 0.04, 1


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def read(folder, name):
    return pl.read_csv(folder / name, separator=";", null_values="NA", try_parse_dates=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo logs, as generated once."""
    folder = tmp_path_factory.mktemp("demo") / "diginetica-demo"
    generate("diginetica", folder, scale=SCALE, seed=SEED)
    return folder


@pytest.fixture(scope="module")
def views(demo):
    """Views in order of sessions and time, with their items' category and log2 price."""
    items = read(demo, "products.csv").join(read(demo, "product-categories.csv"), on="itemId")
    views = read(demo, "train-item-views.csv").join(items, on="itemId", how="left")
    return views.sort("eventdate", "sessionId", "timeframe")


@pytest.fixture(scope="module")
def steps(views):
    """Each event after a session's first, with the item and category before it."""
    before = {name: pl.col(name).shift(1).over("sessionId") for name in ("itemId", "categoryId")}
    return views.with_columns(**{f"{name}_before": shifted for name, shifted in before.items()}).drop_nulls(
        "itemId_before"
    )


def test_the_owners_files_and_headers(demo):
    assert sorted(os.listdir(demo)) == FILES
    headers = {name: (demo / name).read_text().splitlines()[:2] for name in FILES[1:]}
    assert {name: lines[0] for name, lines in headers.items()} == {
        "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate",
        "train-purchases.csv": "sessionId;userId;timeframe;eventdate;ordernumber;itemId",
        "product-categories.csv": "itemId;categoryId",
        "products.csv": "itemId;pricelog2;product.name.tokens",
    }
    number = "[0-9]+"
    for name, row in {
        "train-item-views.csv": rf"{number};(NA|{number});{number};{number};2016-[0-9-]{{5}}",
        "train-purchases.csv": rf"{number};(NA|{number});{number};2016-[0-9-]{{5}};{number};{number}",
        "product-categories.csv": f"{number};{number}",
        "products.csv": f"{number};{number};{number}(,{number}){{5}}",
    }.items():
        rows = pl.Series((demo / name).read_text().splitlines()[1:])
        assert rows.str.contains(f"^{row}$").all(), name


def test_a_seed_gives_its_bytes_and_no_other_does(demo, tmp_path):
    generate("diginetica", tmp_path / "again", scale=SCALE, seed=SEED)
    assert digests(tmp_path / "again") == digests(demo)
    generate("diginetica", tmp_path / "other", scale=SCALE, seed=SEED + 1)
    other = digests(tmp_path / "other")
    assert all(other[name] != digest for name, digest in digests(demo).items())


def test_the_block_size_bounds_memory_and_keeps_the_plan(tmp_path, monkeypatch):
    sizes = []
    original = diginetica._make_block
    monkeypatch.setattr(diginetica, "BLOCK", 500)
    monkeypatch.setattr(diginetica, "_make_block", lambda *a: sizes.append(len(a[3])) or original(*a))
    record = generate("diginetica", tmp_path / "blocks", scale=0.005)
    assert sizes == [500, 500, 500, 52]
    views = read(tmp_path / "blocks", "train-item-views.csv")
    assert views["sessionId"].n_unique() == record["counts"]["sessions"] == 1552
    assert views["eventdate"].is_sorted()


def test_size_follows_scale(demo, tmp_path):
    small = generate("diginetica", tmp_path / "small", scale=SCALE / 2)["counts"]
    full = json.loads((demo / "generator.json").read_text())["counts"]
    for name in ("sessions", "views", "items"):
        assert full[name] / small[name] == pytest.approx(2, rel=0.03)
    assert full["sessions"] == round(310_324 * SCALE)
    assert full["items"] == round(184_047 * SCALE)
    assert full["views"] / full["sessions"] == pytest.approx(1_235_380 / 310_324, rel=0.05)
    bytes_of = lambda folder: (folder / "train-item-views.csv").stat().st_size  # noqa: E731
    assert bytes_of(demo) / bytes_of(tmp_path / "small") == pytest.approx(2, rel=0.05)


def test_the_record_tells_what_the_files_hold(demo, views):
    record = json.loads((demo / "generator.json").read_text())
    assert record["options"] == {"scale": SCALE, "seed": SEED, "known_users": 0.6}
    assert record["counts"] == {
        "sessions": views["sessionId"].n_unique(),
        "views": views.height,
        "purchases": read(demo, "train-purchases.csv").height,
        "items": read(demo, "products.csv").height,
        "items_viewed": views["itemId"].n_unique(),
        "categories": read(demo, "product-categories.csv")["categoryId"].n_unique(),
        "users": views["userId"].drop_nulls().n_unique(),
    }


def test_popularity_is_skewed_inside_categories(views):
    counts = views.group_by("categoryId", "itemId").len().sort("len", descending=True)
    tops = counts.group_by("categoryId").agg(
        top=pl.col("len").head(3).sum() / pl.col("len").sum(), fair=3 / pl.len(), items=pl.len()
    )
    large = tops.filter(pl.col("items") >= 20)
    assert large.height > 30
    assert (large["top"] > 1.5 * large["fair"]).all()
    assert (large["top"] / large["fair"]).median() > 3


def test_a_session_keeps_to_its_category(steps):
    same = (steps["categoryId"] == steps["categoryId_before"]).mean()
    chance = (steps["categoryId"] == steps["categoryId_before"].shuffle(seed=0)).mean()
    assert chance < 0.06
    assert same > 0.6


def test_successors_are_learnable(steps):
    # An item's three most frequent followers in the first 100 days, against its category's three most viewed.
    cut = steps["eventdate"].min() + pl.duration(days=100)
    past, future = steps.filter(pl.col("eventdate") < cut), steps.filter(pl.col("eventdate") >= cut)

    def top3(rows, key, value):
        counts = rows.group_by(key, value).len().sort("len", value, descending=True)
        return counts.group_by(key, maintain_order=True).head(3).select(key, value)

    def hits(table, key, value):
        return (
            future.join(table, left_on=[key, "itemId"], right_on=[key, value], how="semi").height
            / future.height
        )

    followers = hits(top3(past, "itemId_before", "itemId"), "itemId_before", "itemId")
    popular = hits(
        top3(past.select("itemId", categoryId_before="categoryId"), "categoryId_before", "itemId"),
        "categoryId_before",
        "itemId",
    )
    assert followers > 0.25
    assert followers > 1.5 * popular


def test_some_steps_repeat_an_item_of_the_session(views):
    repeats = 1 - views.select("sessionId", "itemId").n_unique() / views.height
    assert 0.05 < repeats < 0.4


def test_users_return_on_later_days_and_keep_their_taste(views):
    sessions = views.group_by("sessionId").agg(
        pl.col("userId").first(),
        day=pl.col("eventdate").first(),
        days=pl.col("eventdate").n_unique(),
        category=pl.col("categoryId").mode().min(),
    )
    assert (sessions["days"] == 1).all()
    known = sessions.drop_nulls("userId").sort("userId", "day")
    assert known.height / sessions.height == pytest.approx(0.6, abs=0.001)
    assert known.select("userId", "day").n_unique() == known.height  # once a day at most
    returns = known.height - known["userId"].n_unique()
    assert returns / sessions.height > 0.35

    pairs = known.with_columns(
        category_before=pl.col("category").shift(1).over("userId"),
    ).drop_nulls("category_before")
    same = (pairs["category"] == pairs["category_before"]).mean()
    chance = (pairs["category"] == pairs["category_before"].shuffle(seed=0)).mean()
    assert chance < 0.06
    assert same > 5 * chance


def test_a_users_style_shows_from_session_to_session(views):
    # Price against the category's mean is a stand-in for style; it must correlate across the sessions of one
    # user, and not across those of two.
    priced = views.with_columns(over=pl.col("pricelog2") - pl.col("pricelog2").mean().over("categoryId"))
    sessions = (
        priced.drop_nulls("userId")
        .group_by("sessionId")
        .agg(pl.col("userId").first(), pl.col("eventdate").first(), pl.col("over").mean(), pl.len())
    )
    long = sessions.filter(pl.col("len") >= 3).sort("userId", "eventdate")
    pairs = long.with_columns(over_before=pl.col("over").shift(1).over("userId")).drop_nulls("over_before")
    assert pairs.select(pl.corr("over", "over_before")).item() > 0.4
    shuffled = pairs.with_columns(pl.col("over_before").shuffle(seed=0))
    assert abs(shuffled.select(pl.corr("over", "over_before")).item()) < 0.1


def test_earlier_sessions_tell_the_second_event(views):
    # The first event of a session shows no style, the second does: what earlier sessions told about the user
    # helps before the session itself has told anything, which is what a user level is for.
    priced = views.with_columns(over=pl.col("pricelog2") - pl.col("pricelog2").mean().over("categoryId"))
    priced = priced.drop_nulls("userId").with_columns(position=pl.int_range(pl.len()).over("sessionId"))
    sessions = priced.group_by("sessionId").agg(
        pl.col("userId").first(),
        pl.col("eventdate").first(),
        mean=pl.col("over").mean(),
        first=pl.col("over").get(0),
        second=pl.col("over").filter(pl.col("position") == 1).first(),
    )
    pairs = (
        sessions.sort("userId", "eventdate")
        .with_columns(before=pl.col("mean").shift(1).over("userId"))
        .drop_nulls(["before", "second"])
    )
    assert pairs.select(pl.corr("before", "second")).item() > 0.25
    assert abs(pairs.select(pl.corr("before", "first")).item()) < 0.1


def test_no_item_before_its_birth_and_some_are_cold(demo, views):
    world = make_world(
        np.random.default_rng([SEED, 0]), diginetica.SHAPE, SCALE, round(round(310_324 * SCALE) * 0.6)
    )
    born = pl.DataFrame({"itemId": world.item_id, "birth": world.birth})
    first = pl.lit(diginetica.FIRST_DAY)
    day = views.join(born, on="itemId").with_columns(day=(pl.col("eventdate") - first).dt.total_days())
    assert day.height == views.height
    assert (day["day"] >= day["birth"]).all()
    assert (day["day"] < diginetica.SHAPE.days).all() and day["day"].min() == 0
    assert (world.birth > 0).mean() == pytest.approx(0.3, abs=0.05)

    last = views.filter(
        pl.col("eventdate") >= pl.lit(diginetica.FIRST_DAY) + pl.duration(days=diginetica.SHAPE.days - 15)
    )
    seen = views.filter(pl.col("eventdate") < last["eventdate"].min())["itemId"].unique()
    cold = 1 - last["itemId"].is_in(seen.implode()).mean()
    assert 0.01 < cold < 0.15


def test_prices_and_names_tell_the_category(demo):
    items = read(demo, "products.csv").join(read(demo, "product-categories.csv"), on="itemId")
    within = (
        items["pricelog2"] - items.select(pl.col("pricelog2").mean().over("categoryId")).to_series()
    ).var()
    assert 1 - within / items["pricelog2"].var() > 0.5

    named = items.with_columns(token=pl.col("product.name.tokens").str.split(",")).explode("token")
    # A token's most frequent category, learnt on even items, names the category of odd items.
    even = named.filter(pl.col("itemId") % 2 == 0)
    counts = (
        even.group_by("token", "categoryId")
        .len()
        .with_columns(share=pl.col("len") / pl.col("len").sum().over("token"))
    )
    best = counts.sort("share", "len", descending=True).group_by("token", maintain_order=True).first()
    odd = named.filter(pl.col("itemId") % 2 == 1).join(best, on="token", suffix="_told")
    told = odd.sort("share", "len", descending=True).group_by("itemId", maintain_order=True).first()
    assert (told["categoryId"] == told["categoryId_told"]).mean() > 0.8


def test_purchases_follow_views(demo, views):
    purchases = read(demo, "train-purchases.csv")
    assert 0.008 < purchases.height / views.height < 0.025
    seen = views.group_by("sessionId", "itemId").agg(
        viewed=pl.col("timeframe").min(), user=pl.col("userId").first(), day=pl.col("eventdate").first()
    )
    joined = purchases.join(seen, on=["sessionId", "itemId"])
    assert joined.height == purchases.height
    assert (joined["timeframe"] > joined["viewed"]).all()
    assert joined["userId"].eq_missing(joined["user"]).all()
    assert purchases["ordernumber"].to_list() == list(range(1, purchases.height + 1))
    # A purchase's own day, not its session's: the day of the session plus its timeframe, or the day after.
    later = (joined["eventdate"] - joined["day"]).dt.total_days()
    whole = joined["timeframe"] // diginetica.DAY_MS
    assert (later - whole).is_in([0, 1]).all()
    assert (whole > 0).sum() > 5


def test_rows_of_a_session_are_in_no_order(demo):
    raw = read(demo, "train-item-views.csv")
    gaps = raw.with_columns(gap=pl.col("timeframe").diff().over("sessionId")).drop_nulls("gap")["gap"]
    assert 0.4 < (gaps < 0).mean() < 0.6
    assert not raw["sessionId"].is_sorted()
    seconds = raw.select("sessionId", pl.col("timeframe") // 1000)
    assert seconds.n_unique() == raw.height  # no ties that the row order would have to break


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nobody_or_everybody_is_known(tmp_path, share):
    record = generate("diginetica", tmp_path / "raw", scale=0.003, known_users=share)
    users = read(tmp_path / "raw", "train-item-views.csv")["userId"]
    assert users.is_null().mean() == 1 - share
    assert (record["counts"]["users"] > 0) == (share > 0)


def test_a_world_of_one_session(tmp_path):
    assert generate("diginetica", tmp_path / "raw", scale=1e-6)["counts"]["sessions"] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 0}, "--scale is 0"),
        ({"scale": float("nan")}, "--scale is nan"),
        ({"scale": 1e6}, "above 0 to 100"),
        ({"seed": -1}, "--seed is -1"),
        ({"known_users": 1.2}, "--known-users is 1.2"),
        ({"property_scale": 2}, "--property-scale is read only with source retailrocket"),
    ],
)
def test_values_out_of_range_are_refused(tmp_path, options, sentence):
    with pytest.raises(ConvertError, match=sentence):
        generate("diginetica", tmp_path / "raw", **options)
    assert not (tmp_path / "raw").exists()


def test_an_interrupted_run_leaves_the_old_logs(tmp_path, monkeypatch):
    generate("diginetica", tmp_path / "raw", scale=0.003)
    before = digests(tmp_path / "raw")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(diginetica, "_write_products", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate("diginetica", tmp_path / "raw", scale=0.003, seed=2)
    assert digests(tmp_path / "raw") == before
    assert os.listdir(tmp_path) == ["raw"]


def test_command_line_and_converter_agree(tmp_path, capsys):
    raw, out = tmp_path / "raw", tmp_path / "demo"
    arguments = ["synthetic", "diginetica", "--scale", "0.01", "--seed", "3", "--out", str(raw)]
    assert command_line.main(arguments) == 0
    assert "3,103 sessions" in capsys.readouterr().out
    assert command_line.main([*arguments[:2], "--scale", "-1"]) == 2
    record = json.loads((raw / "generator.json").read_text())["counts"]
    manifest = convert("diginetica", raw, out, strict=True)
    counts = manifest["counts"]
    assert all(not rows["dropped"] for rows in manifest["rows"].values())
    assert (counts["sessions"], counts["users"], counts["items"]) == (
        record["sessions"],
        record["users"],
        record["items_viewed"],
    )
    assert counts["events"] == {"view": record["views"], "purchase": record["purchases"]}
