"""Tests see nothing of the working folder but what is tracked: a user's own files in it break none."""

import subprocess
from pathlib import Path

import pytest

from recbole_ext.settings.files import configs_dir

ROOT = Path(__file__).resolve().parents[1]


def test_tests_read_tracked_configs_in_an_empty_folder():
    said = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "configs"], capture_output=True, text=True, check=False
    )
    if said.returncode or not said.stdout:
        pytest.skip("no checkout, so nothing is tracked")
    place = configs_dir()
    found = {str(file.relative_to(place.parent)) for file in place.rglob("*") if file.is_file()}
    assert found == set(said.stdout.splitlines()) and not place.is_relative_to(ROOT)
    assert not Path.cwd().is_relative_to(ROOT) and not Path("atomic_data").exists()
