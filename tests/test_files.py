"""Files written whole or not at all, their sums, and the commit of the checkout."""

import errno
import hashlib
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recbole_ext import files
from recbole_ext.errors import UsageError


def test_the_new_file_takes_the_place_of_the_old_one_when_the_block_ends(tmp_path):
    file = tmp_path / "record.json"
    file.write_text("old")
    with files.write_beside(file) as waiting:
        waiting.write_text("new")
        assert file.read_text() == "old" and waiting.parent == tmp_path
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]


def test_of_two_writers_at_once_the_last_one_stays_whole(tmp_path):
    file = tmp_path / "record.json"
    with files.write_beside(file) as one:
        one.write_text("one, which is longer")
        with files.write_beside(file) as other:
            other.write_text("other")
        assert file.read_text() == "other"
    assert file.read_text() == "one, which is longer" and list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_goes_when_it_is_old(tmp_path):
    file, new = tmp_path / "a[1].json", tmp_path / "a[1].json.0123abcd.tmp"
    old = tmp_path / "a[1].json.89abcdef.tmp"
    for left in (old, new):
        left.write_text("half")
    os.utime(old, (1, 1))
    files.write_text(file, "whole")
    assert sorted(tmp_path.iterdir()) == [file, new]


@pytest.mark.parametrize("stop", [ValueError("full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, stop):
    file = tmp_path / "record.json"
    file.write_text("old")
    with pytest.raises(type(stop)), files.write_beside(file) as waiting:
        waiting.write_text("half")
        raise stop
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path):
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(FileNotFoundError), files.write_beside(str(file)):
        pass
    assert file.read_text() == "old"


def test_files_of_one_stem_do_not_share_what_is_half_written(tmp_path):
    with files.write_beside(tmp_path / "a.json") as one, files.write_beside(tmp_path / "a.csv") as other:
        one.write_text("json")
        other.write_text("csv")
    assert (tmp_path / "a.json").read_text() == "json" and (tmp_path / "a.csv").read_text() == "csv"


def test_text_is_utf_8(tmp_path):
    files.write_text(tmp_path / "a", "Käse\n")
    assert (tmp_path / "a").read_bytes() == "Käse\n".encode()


def test_sum_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"a;b\n" * 100_000)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"a;b\n" * 100_000).hexdigest()
    read = []
    (tmp_path / "b").write_bytes(bytes(3 * 2**20 + 1))
    assert files.sha256(tmp_path / "b", read.append) == hashlib.sha256(bytes(3 * 2**20 + 1)).hexdigest()
    assert sum(read) == 3 * 2**20 + 1 and len(read) > 1


def test_commit_of_a_checkout_and_of_none(tmp_path, monkeypatch):
    package = tmp_path / "recbole_ext"
    package.mkdir()
    monkeypatch.setattr(files, "__file__", str(package / "files.py"))
    assert files.commit.__wrapped__() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (package / "files.py").write_text("1")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = files.commit.__wrapped__()
    assert clean is not None and len(clean) == 12 and int(clean, 16) >= 0
    Path(package / "files.py").write_text("2")
    assert files.commit.__wrapped__() == f"{clean}-dirty"


def test_a_full_disk_names_the_file_that_was_to_be_written(tmp_path):
    file = tmp_path / "record.json"
    with pytest.raises(OSError) as said, files.write_beside(file):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write says it, without a name
    assert files.cannot_write(said.value) == f"{file} cannot be written: No space left on device"
    with pytest.raises(UsageError, match=r"record\.json cannot be written: No space left"), files.told():
        raise said.value
    with pytest.raises(FileNotFoundError), files.told():
        (tmp_path / "none").read_text()  # which is no matter of writing


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        files.check_writable(tmp_path / "file" / "b")


def test_an_archive_with_a_changed_bit_is_not_whole_or_holds_the_same(tmp_path):
    """Every bit of it: in members, in their list, where a changed length hides members, and in its end."""
    arrays = {"rank": np.arange(9), "top": np.ones((3, 2)), "event": np.array(["a", "b"])}
    file = tmp_path / "ranks.npz"
    np.savez_compressed(file, **arrays)
    content = file.read_bytes()
    assert files.whole_zip(file)
    refused = 0
    for place in range(0, len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        if not files.whole_zip(file):
            refused += 1
            continue
        with np.load(file) as found:
            assert {name: found[name].tolist() for name in found} == {
                name: array.tolist() for name, array in arrays.items()
            }, place
    assert refused > len(content) / 2
    file.write_bytes(content[:-30])
    assert not files.whole_zip(file)
    with pytest.raises(FileNotFoundError):
        files.whole_zip(tmp_path / "none.npz")


def test_who_is_alone_in_a_folder_clears_what_killed_runs_have_half_written(tmp_path):
    run = tmp_path / "toy" / "GRU4Rec-1"
    half = [run / "ranks.npz.tmp", run / "model.0a1b2c3d.tmp" / "items.json", tmp_path / "last.pth.tmp"]
    theirs = [run / "ranks.npz", tmp_path / "notes.tmp", tmp_path / "toy" / "x.json.tmp"]
    for file in (*half, *theirs):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    with files.cleared(tmp_path):
        assert not half[2].exists() and half[0].exists()
        half[2].touch()  # of a run that is at work
        with files.cleared(tmp_path, "*/*/"), files.cleared(tmp_path):
            assert all(file.exists() for file in half)
    with files.cleared(tmp_path, "*/*/"), files.cleared(tmp_path):
        assert half[2].exists()  # the first of the two is not alone for the second
    with files.cleared(tmp_path):
        assert not half[2].exists()
    assert all(file.exists() for file in theirs) and not half[1].parent.exists()


def test_a_folder_that_comes_while_another_is_moved_there_stays(tmp_path, monkeypatch):
    """As by a second conversion to one place, between the look and the move."""
    made, out = tmp_path / "new", tmp_path / "out"
    for folder in (made, out):
        folder.mkdir()
        (folder / "whose").write_text(folder.name)
    seen = iter([False])
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: next(seen) if path == out else exists(path))
    assert not files.placed_whole(made, out)
    monkeypatch.undo()
    assert (out / "whose").read_text() == "out" and (made / "whose").read_text() == "new"
    assert files.placed_whole(made, tmp_path / "free")
    assert (tmp_path / "free" / "whose").read_text() == "new" and not made.exists()
