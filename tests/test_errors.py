"""Exceptions and the hint of the nearest name."""

import pytest

from recbole_ext.convert import ConvertError as of_the_converters
from recbole_ext.errors import ConvertError, UsageError, did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("epohs", ["seed", "epochs"], ": did you mean epochs?"),
        ("EPOCHS", ["epochs"], ": did you mean epochs?"),
        ("hrnfeat", ["HRNNFeat", "GRU4Rec"], ": did you mean HRNNFeat?"),  # as it is to be written
        ("skuu", ("sku", "skew"), ": did you mean sku?"),  # the nearest of two near ones
        ("price", ["item", "session"], ""),
        ("price", [], ""),
    ],
)
def test_nearest_name(name, known, said):
    assert did_you_mean(name, known) == said


def test_an_error_of_a_conversion_is_caught_as_a_users_mistake():
    assert of_the_converters is ConvertError
    with pytest.raises(UsageError, match="no rows"):
        raise ConvertError("no rows")
