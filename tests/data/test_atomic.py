"""Atomic files as they are written: no quoting, no word that means missing, no mark before the first column."""

import re

import numpy as np
import pytest

from recbole_ext.errors import UsageError

HEAD = "session_id:token\titem_id:token\ttimestamp:float"
NAMES = ("NA", "null", "None", "nan", "N/A", "NULL", "", '"', 'an "odd" one', "'", "#", " ")


@pytest.fixture
def write(tmp_path):
    def written(text, suffix="inter", encoding="utf-8"):
        folder = tmp_path / "data" / "toy"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"toy.{suffix}").write_bytes(text.encode(encoding))

    return written


def lines(items):
    """Two sessions of all items in turn, one second an event."""
    rows = [f"s{s}\t{item}\t{n}" for s in range(2) for n, item in enumerate(items)]
    return "\n".join([HEAD, *rows]) + "\n"


@pytest.mark.parametrize("layout", ["pointers", "recbole"])
def test_items_keep_their_names_whatever_these_look_like(write, make_config, layout):
    from recbole.data import create_dataset

    write(lines(NAMES))
    dataset = create_dataset(make_config(data_layout=layout))
    names = [name for name in NAMES if name]  # an event of no item is left out
    assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", *names]
    assert len(dataset.inter_feat) == 2 * len(names)


def test_a_quotation_mark_swallows_no_rows_of_features(write, make_config):
    from recbole.data import create_dataset

    write(lines(["a", "b", "c"]))
    write('item_id:token\ttitle:token\twords:token_seq\na\t"12 inch\t"x y\nb\tnull\tNA\nc\t\t"\n', "item")
    dataset = create_dataset(make_config())
    titles = dataset.field2id_token["title"][dataset.item_feat["title"].astype(int)]
    assert titles.tolist() == ["[PAD]", '"12 inch', "null", "[PAD]"]
    words = [dataset.field2id_token["words"][ids].tolist() for ids in dataset.item_feat["words"][1:]]
    assert words == [['"x', "y"], ["NA"], ['"']]


def test_missing_numbers_are_written_as_recbole_reads_them(write, make_config):
    from recbole.data import create_dataset

    write(lines(["a", "b", "c", "d"]))
    write("item_id:token\tprice:float\tv:float_seq\na\t1\t1 2\nb\tNA\tNA\nc\tnull\t\nd\t\tnan 4\n", "item")
    dataset = create_dataset(make_config())
    assert dataset.missing_features["price"].tolist() == [True, False, True, True, True]
    assert dataset.missing_features["v"].tolist() == [
        *([True, True], [False, False], [True, True], [True, True], [True, False]),
    ]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_lines_of_any_system_are_read(write, make_config, end):
    from recbole.data import create_dataset

    write(lines(["a", "b"]).replace("\n", end).removesuffix(end))
    dataset = create_dataset(make_config())
    assert dataset.field2id_token["item_id"].tolist() == ["[PAD]", "a", "b"]
    assert dataset.inter_feat["timestamp"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("encoding", [None, "UTF8"])
def test_a_byte_order_mark_belongs_to_no_column(write, make_config, encoding):
    from recbole.data import create_dataset

    from recbole_ext.bridge.config_files import is_session_data
    from recbole_ext.data.columns import check_columns

    write(lines(["a", "b"]), encoding="utf-8-sig")
    config = make_config(**({} if encoding is None else {"encoding": encoding}))
    check_columns(config)
    assert create_dataset(config).inter_num == 4
    assert is_session_data("toy", config["data_path"].removesuffix("toy"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            HEAD + "\ns\ta\t1\ns\tb\tnoon\n",
            "toy.inter, line 3: timestamp is 'noon', and its column holds numbers",
        ),
        (HEAD + "\ns\ta\t1\tx\ns\tb\t2\n", "toy.inter, line 2: 4 cells under a head of 3 columns"),
        (HEAD + "\ns\ta\t1\n\ns\tb\t2\t3\t4", "toy.inter, line 4: 5 cells under a head of 3 columns"),
        (HEAD + "\titem_id:token\ns\ta\t1\tb\n", "toy.inter, line 1: there are two columns item_id"),
        (HEAD + "\tkind:text\ns\ta\t1\tb\n", "toy.inter, line 1: column kind is of type 'text'"),
    ],
)
@pytest.mark.parametrize("block", [8, 2**24])
def test_what_cannot_be_read_is_said_with_its_line(write, make_config, monkeypatch, text, sentence, block):
    from recbole.data import create_dataset

    from recbole_ext.data import atomic

    monkeypatch.setattr(atomic, "_BLOCK", block)
    write(text)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        create_dataset(make_config())


def test_a_number_in_a_sequence_that_is_none_is_said(write, make_config):
    from recbole.data import create_dataset

    write(lines(["a", "b"]))
    write("item_id:token\tv:float_seq\na\t1 2\nb\t3 x\n", "item")
    with pytest.raises(UsageError, match=r"toy.item, row 2: v holds '3 x'"):
        create_dataset(make_config())


def test_a_log_of_names_goes_through_the_writer_and_back(tmp_path, make_config):
    """What the converters write is read as the same names; a tab or a line break cannot be written."""
    from recbole.data import create_dataset

    from recbole_ext.convert.atomic import write_dataset
    from recbole_ext.convert.engine import pl
    from recbole_ext.errors import ConvertError

    names = [name for name in NAMES if name.strip()]
    inter = pl.DataFrame(
        {"session_id": ["s"] * len(names), "item_id": names, "timestamp": np.arange(len(names)) / 1}
    )
    write_dataset(tmp_path / "data" / "toy", inter, None, {})
    assert create_dataset(make_config()).field2id_token["item_id"].tolist() == ["[PAD]", *names]
    for text in ("a\tb", "a\nb", "a\rb"):
        with pytest.raises(ConvertError, match="holds a tab or a line break"):
            write_dataset(tmp_path / "x", inter.with_columns(item_id=pl.lit(text)), None, {})


def test_empty_cells_at_the_end_of_lines_are_no_fault(write, make_config):
    from recbole.data import create_dataset

    write(HEAD + "\ns\ta\t1\t\t\ns\tb\t2\n")
    assert create_dataset(make_config()).inter_num == 2
