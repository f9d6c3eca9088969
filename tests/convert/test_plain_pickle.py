"""Plain pickles load; every other kind is refused with a sentence, and nothing in it runs."""

import builtins
import collections
import copyreg
import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_ext.convert.plain_pickle import load
from recbole_ext.errors import ConvertError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


class Reduced:
    """Pickles as the call `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def written(tmp_path, data: bytes):
    path = tmp_path / "data.txt"
    path.write_bytes(data)
    return path


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back_equal(tmp_path_factory, value, protocol):
    # Protocols 0 and 2 write bytes as a call of codecs.encode, which is refused; session lists hold none.
    data = pickle.dumps(value, protocol)
    path = written(tmp_path_factory.mktemp("plain"), data)
    if b"_codecs" in data or b"__builtin__\nbytes" in data:
        with pytest.raises(ConvertError):
            load(path)
    else:
        assert load(path) == value


def test_a_pickle_of_python_2_loads(tmp_path):
    assert load(written(tmp_path, b"(lp0\nS'tea'\np1\naI7\naL8L\na.")) == ["tea", 7, 8]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nesting", ["bare", "in a list", "as an argument"])
@pytest.mark.parametrize("function", ["system", "eval", "open"])
def test_a_hostile_pickle_leaves_no_trace(tmp_path, monkeypatch, protocol, nesting, function):
    monkeypatch.chdir(tmp_path)
    attack = {
        "system": Reduced(os.system, "touch trace"),
        "eval": Reduced(builtins.eval, "open('trace', 'w').close()"),
        "open": Reduced(open, "trace", "w"),
    }[function]
    value = {"bare": attack, "in a list": [[1, 2], attack], "as an argument": Reduced(list, [attack])}[
        nesting
    ]
    data = pickle.dumps(value, protocol)
    path = written(tmp_path, data)

    with pytest.raises(ConvertError) as refusal:
        load(path)
    assert os.listdir(tmp_path) == ["data.txt"]
    named = {"system": "system", "eval": "eval", "open": "io.open"}[function]
    if nesting != "as an argument":
        assert named in str(refusal.value)
    assert str(path) in str(refusal.value)

    # The attack is a real one: a plain pickle.load falls for it.
    pickle.loads(data)
    assert (tmp_path / "trace").exists()


def test_classes_and_numpy_values_are_refused_by_name(tmp_path):
    with pytest.raises(ConvertError, match=r"collections\.OrderedDict"):
        load(written(tmp_path, pickle.dumps(collections.OrderedDict(a=1))))
    with pytest.raises(ConvertError, match=r"numpy.*\.tolist\(\)"):
        load(written(tmp_path, pickle.dumps([[np.int64(3)]])))


def test_sets_and_bytearrays_are_refused(tmp_path):
    for value in ({1, 2}, frozenset({3}), bytearray(b"x")):
        with pytest.raises(ConvertError):
            load(written(tmp_path, pickle.dumps(value, 5)))


def test_persistent_ids_are_refused(tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "outside" if value == 99 else None

    for protocol in (0, 4):
        buffer = io.BytesIO()
        Pickler(buffer, protocol).dump([1, 99])
        with pytest.raises(ConvertError, match="PERSID"):
            load(written(tmp_path, buffer.getvalue()))


def test_the_extension_registry_is_refused_even_when_its_cache_is_warm(tmp_path):
    copyreg.add_extension("collections", "OrderedDict", 240)
    try:
        data = pickle.dumps(collections.OrderedDict, 2)
        assert (
            pickle.loads(data) is collections.OrderedDict
        )  # fills copyreg's cache, which asks find_class no more
        with pytest.raises(ConvertError, match="EXT1"):
            load(written(tmp_path, data))
    finally:
        copyreg.remove_extension("collections", "OrderedDict", 240)


def test_every_cut_of_a_file_is_refused(tmp_path):
    data = pickle.dumps(([[1, 2, 3], [400, 70000]], [5, -6]), 4)
    for length in range(len(data)):
        with pytest.raises(ConvertError, match=r"data\.txt"):
            load(written(tmp_path, data[:length]))
    assert load(written(tmp_path, data)) == ([[1, 2, 3], [400, 70000]], [5, -6])


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_garbage_is_refused_or_plain(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("garbage"), data)
    try:
        value = load(path)
    except ConvertError as error:
        assert "\n" not in str(error)
    else:
        assert type(value) in (int, float, str, bytes, list, tuple, dict, bool, type(None))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",  # text of an exabyte
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"K\x01.",  # a frame of an exabyte
        b"I" + b"9" * 100_000 + b"\n.",  # a number that takes quadratic time
    ],
)
def test_claims_of_size_are_not_believed(tmp_path, data):
    with pytest.raises(ConvertError):
        load(written(tmp_path, data))


def test_size_limit_trailing_bytes_and_missing_file(tmp_path):
    path = written(tmp_path, pickle.dumps([1] * 100))
    with pytest.raises(ConvertError, match="more than the 10"):
        load(path, max_bytes=10)
    with pytest.raises(ConvertError, match="4 bytes after the end"):
        load(written(tmp_path, pickle.dumps([1]) + b"more"))
    with pytest.raises(ConvertError, match=r"nowhere\.txt cannot be read"):
        load(tmp_path / "nowhere.txt")


def test_a_call_of_plain_data_is_refused(tmp_path):
    for data in (b"K\x01)R.", b"]}b.", b"(K\x01K\x02o.", b"K\x01)\x81."):
        with pytest.raises(ConvertError):
            load(written(tmp_path, data))


def test_a_memo_of_four_billion_places_is_not_made(tmp_path):
    # Seen before loading: the unpickler would fill 64 GB for these 9 bytes.
    with pytest.raises(ConvertError, match="memo number 4294967280"):
        load(written(tmp_path, b"\x80\x02K\x01r" + struct.pack("<I", 0xFFFFFFF0) + b"."))
