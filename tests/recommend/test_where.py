"""Conditions on features, by hand on six items."""

import numpy as np
import pytest
import torch

from recbole_ext.data.catalogue import Catalogue
from recbole_ext.errors import UsageError
from recbole_ext.recommend.where import matching


@pytest.fixture(scope="module")
def shop():
    """Items a to e: colours, prices with one missing, stock as a token, and tags."""
    nothing = torch.zeros(6, dtype=torch.int64)
    missing = torch.tensor([False, False, False, True, False, False])
    return Catalogue(
        item_field="item_id",
        session_field="session_id",
        time_field=None,
        event_field=None,
        names={
            "item_id": ["[PAD]", "a", "b", "c", "d", "e"],
            "colour": ["[PAD]", "red", "blue"],
            "available": ["[PAD]", "0", "1"],
            "tags": ["[PAD]", "new", "sale"],
        },
        features={
            "colour": torch.tensor([0, 1, 2, 1, 0, 2]),
            "price": torch.tensor([0.0, 10.0, 50.0, 24.0, 80.0, 9.5]),
            "available": torch.tensor([0, 2, 1, 2, 2, 0]),
            "tags": torch.tensor([[0, 0], [1, 2], [2, 0], [0, 0], [1, 0], [2, 1]]),
        },
        missing={"price": missing},
        kinds={
            "item_id": "token",
            "colour": "token",
            "price": "float",
            "available": "token",
            "tags": "token_seq",
        },
        sources={},
        widths={},
        sizes={},
        seen=nothing.bool(),
        counts=nothing,
        recent=nothing,
        time_origin=0.0,
        returns=False,
    )


@pytest.mark.parametrize(
    ("condition", "items"),
    [
        ("price < 50", "ae"),
        ("price <= 50", "abe"),
        ("50 > price", "ae"),
        ("10 <= price < 80", "ab"),
        ("price == 9.5", "e"),
        ("price != 10", "bde"),  # c has no price
        ("colour == 'red'", "ac"),
        ("colour != 'red'", "be"),  # d has no colour
        ("colour in ['red', 'green']", "ac"),
        ("colour not in ('red',)", "be"),
        ("price in [10, 80]", "ad"),
        ("available == 1", "acd"),
        ("available == '1' and price < 50", "a"),
        ("available >= 1", "acd"),
        ("available == 1 and not (price > 20)", "ac"),
        ("price > 60 or colour == 'blue'", "bde"),
        ("'sale' in tags", "abe"),
        ("'sale' not in tags", "d"),  # c has no tags
        ("price > -1", "abde"),
        ("colour == 'green'", ""),
    ],
)
def test_conditions(shop, condition, items):
    found = matching(condition, shop)
    assert "".join(shop.item_names[found]) == items and not found[0]


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("cost < 3", "no feature cost"),
        ("pric < 3", "did you mean price"),
        ("price <", "is no condition"),
        ("", "is no condition"),
        ("price", "cannot read 'price'"),
        ("price + 1 < 3", "cannot read"),
        ("__import__('os').system('true') == 0", "cannot read"),
        ("price.__class__ == 1", "cannot read"),
        ("price < 'red'", "write a number"),
        ("colour < 3", "holds names"),
        ("price == 'cheap'", "write a number"),
        ("tags == 'new'", "a sequence"),
        ("'red' in colour", "no sequence"),
        ("price is 3", "cannot read"),
        ("(" * 300 + "price < 1" + ")" * 300, "where"),
        ("not " * 5000 + "price < 1", "where"),
        ("price < 1 or " * 2000 + "price < 1", "characters"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_run(shop, condition, said):
    with pytest.raises(UsageError, match=said):
        matching(condition, shop)


def test_new_items_have_the_features_that_they_are_given(shop):
    more = shop.grown(
        ["f", "g"],
        {
            "colour": ["blue", "violet"],
            "price": [3, None],
            "tags": ["new sale", ["sale"]],
            "available": [1, ""],
        },
    )
    assert "".join(more.item_names[matching("price < 10", more)]) == "ef"
    assert "".join(more.item_names[matching("colour == 'blue'", more)]) == "bef"
    assert "".join(more.item_names[matching("'sale' in tags", more)]) == "abefg"
    assert "".join(more.item_names[matching("available == 1", more)]) == "acdf"
    assert more.missing["price"].tolist()[-2:] == [False, True]
    assert not more.seen[-2:].any() and shop.item_num == 6
    for names, features, said in (
        (["a"], {}, "item a is there already"),
        (["h", "h"], {}, "item h is there already"),
        (["h"], {"size": [1]}, "no feature size"),
        (["h"], {"price": ["dear"]}, "price of item h is 'dear'"),
    ):
        with pytest.raises(UsageError, match=said):
            shop.grown(names, features)


def test_plain_and_back(shop):
    described, names, tensors = shop.to_plain()
    again = Catalogue.from_plain(described, names, tensors)
    assert again.names == shop.names and again.kinds == shop.kinds
    for name in ("colour", "price", "available", "tags"):
        ours, theirs = again.column(name), shop.column(name)
        assert [str(value) for value in ours] == [str(value) for value in theirs]
    assert np.array_equal(again.seen, shop.seen)
