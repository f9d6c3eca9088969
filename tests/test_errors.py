"""Exceptions and the hint of the nearest name."""

import pytest

from recbole_ext.convert import ConvertError as of_the_converters
from recbole_ext.errors import ConvertError, UsageError, _edits, did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("epohs", ["seed", "epochs"], ": did you mean epochs?"),
        ("EPOCHS", ["epochs"], ": did you mean epochs?"),
        ("hrnfeat", ["HRNNFeat", "GRU4Rec"], ": did you mean HRNNFeat?"),  # as it is to be written
        ("skuu", ("sku", "skew"), ": did you mean sku?"),  # the nearest of two near ones
        ("GRU4Rek", ["GRU4RecKG", "GRU4Rec"], ": did you mean GRU4Rec?"),  # one edit, not two
        ("SASRce", ["SASRecF", "SASRec"], ": did you mean SASRec?"),  # two letters swapped
        ("HRNN", ["SRGNN", "HRNNFeat"], ": did you mean HRNNFeat?"),  # which begins so
        ("eval_batch_siez", ["train_batch_size", "eval_batch_size"], ": did you mean eval_batch_size?"),
        ("price", ["item", "session"], ""),
        ("price", [], ""),
    ],
)
def test_nearest_name(name, known, said):
    assert did_you_mean(name, known) == said


def test_of_equally_near_names_a_common_one_is_meant():
    assert did_you_mean("NPX", ["NPE", "NPA"], ["NPA"]) == ": did you mean NPA?"
    assert did_you_mean("NPX", ["NPE", "NPA"], ["NPE"]) == ": did you mean NPE?"


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("kitten", "sitting", 3),
        ("ca", "ac", 1),
        ("GRU4Rek", "GRU4RecKG", 3),
        ("ca", "abc", 3),
    ],
)
def test_edits_between_words(one, other, edits):
    assert _edits(one, other) == _edits(other, one) == edits


def test_an_error_of_a_conversion_is_caught_as_a_users_mistake():
    assert of_the_converters is ConvertError
    with pytest.raises(UsageError, match="no rows"):
        raise ConvertError("no rows")
