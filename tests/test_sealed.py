"""A folder that is whole or absent, and refused when it is not as it was written."""

import hashlib
import shutil

import pytest

from recbole_ext import sealed
from recbole_ext.errors import UsageError


def writing(text):
    return lambda path: path.write_text(text)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "runs" / "model"
    sealed.write(place, {"a.json": writing("[1, 2]\n"), "b.bin": lambda path: path.write_bytes(bytes(200))})
    return place


def test_the_sums_are_those_that_sha256sum_knows(folder):
    found = sealed.check(folder)
    assert set(found) == {"a.json", "b.bin"}
    assert found["a.json"] == hashlib.sha256(b"[1, 2]\n").hexdigest()
    assert (folder / "SHA256SUMS").read_text().splitlines()[0] == f"{found['a.json']}  a.json"


def test_a_second_write_takes_the_place_of_the_first_and_leaves_nothing_beside(folder):
    sealed.write(folder, {"c": writing("new")})
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    assert sealed.check(folder).keys() == {"c"}


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_folder_and_nothing_else(folder, error):
    def fail(path):
        path.write_text("half")
        raise error

    with pytest.raises(type(error)):
        sealed.write(folder, {"a.json": writing("new"), "b.bin": fail})
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    assert (folder / "a.json").read_text() == "[1, 2]\n" and sealed.check(folder)


def test_no_byte_can_be_changed_nor_cut_off(folder, tmp_path):
    """Every file cut and changed at places all over it, the sums among them."""
    refused = 0
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for place in sorted({*range(0, len(whole), max(len(whole) // 40, 1)), len(whole) - 1}):
            changed = bytearray(whole)
            changed[place] ^= 1
            for content in (bytes(changed), whole[:place]):
                file.write_bytes(content)
                with pytest.raises(UsageError, match=r"copy|it again"):
                    sealed.check(folder)
                refused += 1
        file.write_bytes(whole)
    assert refused > 150 and sealed.check(folder)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "b.bin").unlink(), "b.bin is missing"),
        (lambda f: (f / "more").write_text("x"), "more is no part of it"),
        (lambda f: (f / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
        (lambda f: (f / "SHA256SUMS").write_text(""), "cut or changed"),
        (
            lambda f: (f / "SHA256SUMS").write_text("0" * 64 + "  ../secret\n"),
            "cut or changed",
        ),
        (lambda f: ((f / "b.bin").unlink(), (f / "b.bin").mkdir()), "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(folder, harm, said):
    harm(folder)
    with pytest.raises(UsageError, match=said):
        sealed.check(folder)


def test_a_copy_is_as_good(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert sealed.check(tmp_path / "copy") == sealed.check(folder)
