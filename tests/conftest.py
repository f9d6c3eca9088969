"""Shared fixtures: the real data folder, and one process-wide install of the extension."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real logs; their place is RECBOLE_EXT_SHARED_DATA, by default ../shared/data beside the checkout."""
    place = Path(os.environ.get("RECBOLE_EXT_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (place / "diginetica").is_dir():
        pytest.skip(f"no real data at {place}: set RECBOLE_EXT_SHARED_DATA to the folder that holds diginetica/")
    return place
