"""Events read as codes are those that RecBole's way reads as texts: all attributes, ids, rows and errors."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_ext.data import blocks, coded
from recbole_ext.data.codes import Codes, narrow, renumbered
from recbole_ext.data.light import Events, Rows
from recbole_ext.data.tokens import Ids, Tokens

TIME_SPLIT = {"session_time": [0.6, 0.2, 0.2]}
ODD = ('"', "NA", "null", 'a "b', "07", "7", "é")


def odd(rows):
    """The log with items of odd names, cells that are empty, rows that are there twice, and one without an item."""
    rows = [dict(row) for row in rows]
    for number, row in enumerate(rows):
        if number % 5 == 0:
            row["item_id"] = ODD[number % len(ODD)]
        if number % 17 == 3:
            row["event"] = ""
        row["weight"] = ["", "NaN", "-1.5", "3e2", f"{number / 7:.3f}"][number % 5] if number > 40 else number
    rows[9]["item_id"] = rows[20]["session_id"] = ""
    rows[30]["timestamp"] = ""
    return [*rows, *rows[50:55]]


ITEMS = [
    {
        "item_id": item,
        "category": "" if n == 3 else f"c{n % 4}",
        "price": "" if n == 4 else n / 7,
        "tags": "a b",
    }
    for n, item in enumerate(["i1", "unseen", '"', "NA", *(f"i{n}" for n in range(3, 30, 2)), "7", "i1"])
]
USERS = [{"session_id": f"s{n}", "age": n % 9} for n in range(0, 70, 3)]

CASES = {
    "plain": {},
    "limits": {
        "split": TIME_SPLIT,
        "item_inter_num_interval": "[3,inf)",
        "user_inter_num_interval": "[2,inf)",
        "inter_num_part": "train",
        "max_sessions_per_user": 5,
    },
    "whole log": {"item_inter_num_interval": "[3,inf)", "inter_num_part": "all", "rm_dup_inter": "first"},
    "last of two": {"rm_dup_inter": "last", "val_interval": {"weight": "[0,inf)"}},
    "items with features": {"filter_inter_by_user_or_item": True},
    "cold": {"split": TIME_SPLIT, "cold_items": {"holdout": 0.2, "seed": 1}},
    "at random": {
        "split": {"session_random": {"shares": [0.6, 0.2, 0.2], "seed": 3}},
        "item_inter_num_interval": "[2,inf)",
    },
    "given": {"split": {"given": None}, "item_inter_num_interval": "[2,inf)"},
    "numbers": {"split": TIME_SPLIT, "normalize_field": ["weight", "price"], "empty_history": True},
    "buckets": {
        "numerical_features": ["weight", "price"],
        "discretization": {"weight": {"method": "ED", "bucket": 3}},
    },
    "label": {"threshold": {"weight": 2}},
    "few columns": {"load_col": {"inter": ["session_id", "item_id", "timestamp"]}},
    "parts of sessions": {"split": {"RS": [0.6, 0.2, 0.2]}, "MAX_ITEM_LIST_LENGTH": 3},
}


def plain(value):
    """What RecBole has in the place of what holds less."""
    if isinstance(value, Tokens):
        return np.asarray(value)
    if isinstance(value, Ids):
        return dict(value)
    if isinstance(value, pd.DataFrame):
        return {field: plain(column.to_numpy()) for field, column in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return value.astype(np.int64)
    return dict(value.interaction) if hasattr(value, "interaction") else value


def assert_same(left, right, where):
    left, right = plain(left), plain(right)
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert list(left) == list(right), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), where
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        equal = all(map(np.array_equal, left, right)) if left.dtype == object else None
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f") if equal is None else equal, (
            where
        )
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, pair in enumerate(zip(left, right)):
            assert_same(*pair, f"{where}[{number}]")
    else:
        assert left == right or type(left).__module__.startswith(("recbole_ext", "recbole.")), where


def assert_same_counts(left, right):
    from recbole.data.dataset import SequentialDataset

    assert str(left) == str(right)
    for name in ("avg_actions_of_users", "avg_actions_of_items"):
        assert getattr(right, name) == getattr(SequentialDataset, name).fget(right)  # RecBole's own


def attributes(dataset):
    return {
        k: v for k, v in sorted(vars(dataset).items()) if k not in ("config", "logger", "codes", "code_of")
    }


def made(config):
    import recbole.data
    from recbole.utils import init_seed

    init_seed(1, True)
    return recbole.data.create_dataset(config)


@pytest.fixture
def both(monkeypatch, make_config):
    """Data sets of a config, as texts and as codes."""

    def of(model="GRU4Rec", **settings):
        with monkeypatch.context() as patched:
            patched.setattr(coded, "unfit", lambda *of: "the test says so")
            texts = made(make_config(model, **settings))
        assert not isinstance(texts.field2id_token["item_id"], Tokens)
        codes = made(make_config(model, **settings))
        assert isinstance(codes.field2id_token["item_id"], Tokens)
        return texts, codes

    return of


def assert_all_same(texts, codes):
    assert_same(attributes(texts), attributes(codes), "data set")
    for name, left, right in zip(("train", "valid", "test"), texts.build(), codes.build()):
        assert_same(attributes(left), attributes(right), name)
        if len(left):
            assert_same(left[np.arange(len(left))], right[np.arange(len(right))], f"{name}'s batch")
            assert_same_counts(left, right)


@pytest.mark.parametrize("block", [16, 2**24])
@pytest.mark.parametrize("case", CASES)
def test_all_is_as_of_texts(write_log, random_log, both, monkeypatch, tmp_path, case, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    rows = odd(random_log())
    if case == "given":
        of_session = {
            row["session_id"]: ("train", "train", "valid", "test")[n % 4] for n, row in enumerate(rows)
        }
        rows = [{**row, "split": of_session[row["session_id"]]} for row in rows]
    write_log(rows, items=ITEMS, manifest={"time_origin": 0}, types={"weight": "float"})
    lines = ["session_id:token\tage:float", *(f"{row['session_id']}\t{row['age']}" for row in USERS)]
    (tmp_path / "data" / "toy" / "toy.user").write_text("\n".join(lines) + "\n")
    assert_all_same(*both(**CASES[case]))


@pytest.mark.parametrize("model", ["Pop", "HRNNFeat"])
def test_other_data_sets_are_as_of_texts(write_log, random_log, both, model):
    write_log(random_log(), items=ITEMS[:-1], manifest={"time_origin": 0})
    assert_all_same(*both(model, split=TIME_SPLIT, item_inter_num_interval="[2,inf)"))


def test_parquet_is_read_as_its_text(write_log, random_log, make_config, tmp_path):
    """Beside the text, where it is not older; and alone, by RecBole's own data sets too."""
    rows = [{**row, "shelf": n % 7 if n % 11 else ""} for n, row in enumerate(odd(random_log()))]
    write_log(rows, types={"weight": "float", "shelf": "token"})
    text = tmp_path / "data" / "toy" / "toy.inter"
    from_text = made(make_config(split=TIME_SPLIT))
    own = made(make_config(data_layout="recbole"))
    log = pl.read_csv(text, separator="\t", quote_char=None, infer_schema=False)
    floats = [name for name in log.columns if name.endswith(":float")]
    log = log.with_columns(pl.col(floats).cast(pl.Float64, strict=False))
    log = log.with_columns(pl.col("event:token").fill_null("").cast(pl.Categorical))
    log = log.with_columns(pl.col("shelf:token").cast(pl.Int64))
    log.write_parquet(f"{text}.parquet")
    text.write_text("session_id:token\nnobody\n")
    import os

    os.utime(text, ns=(0, 0))
    from_parquet = made(make_config(split=TIME_SPLIT))
    assert isinstance(from_parquet.field2id_token["item_id"], Tokens)
    assert_all_same(from_text, from_parquet)
    text.unlink()
    assert_same(attributes(own), attributes(made(make_config(data_layout="recbole"))), "RecBole's")


def test_a_newer_text_is_read_instead_of_parquet(write_log, random_log, make_config, tmp_path):
    import os

    write_log(random_log())
    parquet = tmp_path / "data" / "toy" / "toy.inter.parquet"
    pl.DataFrame({"session_id:token": ["a"]}).write_parquet(parquet)
    os.utime(parquet, ns=(0, 0))
    assert made(make_config()).inter_num == len(random_log())


def test_parquet_with_other_columns_is_refused(make_config, tmp_path):
    from recbole_ext.errors import UsageError

    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    pl.DataFrame({"session_id:token": [1.5]}).write_parquet(folder / "toy.inter.parquet")
    with pytest.raises(UsageError, match=r"column 'session_id:token' holds Float64"):
        made(make_config())


def _own(step):
    from recbole_ext.data.session_dataset import SessionDataset

    def override(self, *given):
        return getattr(super(Own, self), step)(*given)

    Own = type("Own", (SessionDataset,), {step: override})
    return Own


REASONS = {
    "encoding": {"encoding": "latin-1"},
    "alias_of_item_id": {"alias_of_item_id": ["event"]},
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_codes_do_not_know_is_read_as_recbole_does(write_log, random_log, make_config, reason):
    write_log(random_log())
    dataset = made(make_config(**REASONS[reason]))
    assert not isinstance(dataset.field2id_token["item_id"], Tokens)


def test_steps_of_a_data_set_of_ones_own_are_taken(write_log, random_log, make_config):
    write_log(random_log())
    for step in ("_remap_ID_all", "_data_filtering"):
        dataset = _own(step)(make_config())
        assert not isinstance(dataset.field2id_token["item_id"], Tokens)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("s\ta\t1\n\ns\tb\t2\n", ["a", "b"]),  # an empty line
        ("s\ta\t1\n  \ns\tb\t2\n", ["a", "b"]),  # one of blanks
        ("s\ta\tNA\ns\ta\t1\ns\tb\tnull\ns\tb\t2\n", ["a", "b"]),  # words for a missing number
        ("s\ta\t1\t\ns\tb\t2\n", ["a", "b"]),  # an empty cell too many
        ("s\ta\n\ts\t1\ns\tb\t2\ns\tc\t3\n", ["b", "c"]),  # too few cells, and no session
    ],
)
@pytest.mark.parametrize("block", [4, 2**24])
def test_odd_lines_are_read_as_pandas_reads_them(make_config, monkeypatch, tmp_path, text, items, block):
    monkeypatch.setattr(blocks, "_BLOCK", block)
    folder = tmp_path / "data" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.inter").write_bytes(b"session_id:token\titem_id:token\ttimestamp:float\n" + text.encode())
    dataset = made(make_config())
    assert np.asarray(dataset.field2id_token["item_id"]).tolist() == ["[PAD]", *items]
    assert np.asarray(dataset.field2id_token["session_id"]).tolist() == ["[PAD]", "s"]


# --- codes ------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.sampled_from(["1", "2", "10", "01", "x", "é", "99999999999", None]), max_size=8),
        max_size=4,
    ),
    st.lists(st.sampled_from(["2", "x", "new", None]), max_size=4),
)
def test_ids_are_those_of_pandas(parts, features):
    column = Codes()
    for part in parts:
        column.add(pl.Series(part, dtype=pl.String))
    more = column.more(pl.Series(features, dtype=pl.String))
    columns = [column.taken(), more]
    ids, code = renumbered(columns, len(column))
    expected, names = pd.factorize(np.array([*sum(parts, []), *features], dtype=object))
    assert np.concatenate(ids).tolist() == (expected + 1).tolist()
    assert Tokens(column.names(code)).tolist() == ["[PAD]", *names]


CELLS = [
    "0",
    "1",
    "5",
    "12",
    "-3",
    "-0",
    "+5",
    " 5",
    "  5",
    "05",
    "5 ",
    "5.0",
    "1e3",
    "2147483648",
    "",
    "x",
    "\v5",
]


@given(
    st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(CELLS)), min_size=1, max_size=12),
    st.booleans(),
)
def test_columns_of_numbers_are_those_of_their_texts(rows, small_blocks):
    """However a number is written, a token is what is written there."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(blocks, "_BLOCK", 8 if small_blocks else 2**20)
        file = Path(folder, "log.inter")
        file.write_text("a:token\tb:token\tc:token\n" + "".join(f"{a}\t{b}\tc\n" for a, b in rows))
        columns, codes = blocks.read(file, ["a", "b", "c"], dict.fromkeys("abc", "token"), "\t")
    for name, cells in zip("ab", zip(*rows)):
        told = codes[name].names(columns[name]).cast(pl.String).to_list()
        assert told == [cell or None for cell in cells]


@pytest.mark.parametrize(
    "numbers", [["0", "7", "12"], ["0", "+7", "12"], ["-1", "2"], ["4194304", "1"], ["1 ", "2"]]
)
def test_only_whole_numbers_as_they_are_written_are_their_own_codes(numbers):
    column = Codes()
    column.add(pl.Series(numbers))
    codes = column.taken()
    own = numbers == ["0", "7", "12"]
    assert (codes.tolist() == [0, 7, 12]) is own
    assert column.names(codes).cast(pl.String).to_list() == numbers


def test_narrow_types_hold_what_they_are_for():
    assert [narrow(n).name for n in (127, 128, 32768, 2**31)] == ["int8", "int16", "int32", "int64"]


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["b", "aaaaaaa", "[PAD]"], [7, 123456, 3]])
def test_tokens_are_an_array_of_texts_and_a_dict(names):
    array = np.array(["[PAD]", *map(str, names)])
    tokens = Tokens(pl.Series(names))
    assert np.asarray(tokens).dtype == array.dtype == tokens.dtype and tokens.shape == array.shape
    for index in (
        2,
        -1,
        [1, 3],
        np.array([[0, 1], [2, -2]]),
        torch.tensor([3, 0]),
        slice(1, None, 2),
        array > "a",
    ):
        assert np.array_equal(tokens[index], array[index]), index
    assert isinstance(tokens[1], str) and list(tokens) == tokens.tolist() == array.tolist()
    for index in (4, [1, -5], [True]):
        with pytest.raises(IndexError):
            tokens[index]
    assert np.asarray(tokens.some(np.array([3, 1]))).tolist() == array[[3, 1]].tolist()
    ids = Ids(tokens)
    assert dict(ids) == dict(zip(array.tolist(), range(4))) and len(ids) == len(dict(ids))
    assert ids[str(names[1])] == 2 and "none" not in ids and ids.get("none") is None


# --- events and rows --------------------------------------------------------------------------------------------------


def test_rows_are_an_interaction_of_their_events_columns():
    from recbole.data.interaction import Interaction

    item, time = torch.tensor([5, 6, 7, 8], dtype=torch.int8), torch.tensor([0.5, 1.5, 2.5, 3.5])
    events = Events({"item": item, "time": time})
    index, length = torch.tensor([3, 1, 2], dtype=torch.int32), torch.tensor([2, 1, 1], dtype=torch.int8)
    rows = Rows(events, index, ["item", "time"], {"length": length}, "event")
    whole = Interaction(
        {"item": item[index.long()].long(), "time": time[index.long()], "length": length.long()}
    )
    whole.update(Interaction({"event": index}))

    def same():
        assert rows.columns == whole.columns and len(rows) == len(whole)
        for field in whole.columns:
            assert rows[field].dtype == whole[field].dtype and torch.equal(rows[field], whole[field]), field
        for chosen in (torch.tensor([2, 0]), np.array([1]), slice(1, None), [0, 2]):
            for field, column in whole[chosen].interaction.items():
                assert torch.equal(rows[chosen][field], column), (chosen, field)

    same()
    assert events.narrow("item").dtype == torch.int8 and events["item"].dtype == torch.int64
    assert torch.equal(events[torch.tensor([2])]["item"], torch.tensor([7]))
    for table in (rows, whole):
        table.update(Interaction({"weight": torch.tensor([0.1, 0.2, 0.3])}))
        table.sort("item")
    same()
    taken = rows.taken(torch.tensor([2, 0]))
    assert taken["item"].tolist() == [8, 6] and taken["weight"].tolist() == whole["weight"][[2, 0]].tolist()
    for table in (rows, whole):
        table.drop("item")
        table["time"] = torch.zeros(3)
    same()
    assert "item" in events and taken["item"].tolist() == [8, 6]
    events.interaction["item"] = torch.tensor([0, 10, 20, 30])
    assert taken["item"].tolist() == [30, 10]
