"""What entering our models into RecBole leaves as it was."""

import gc
from contextlib import suppress

import pytest

from recbole_ext.bridge import registry


@pytest.mark.parametrize("collecting", [True, False])
def test_what_looks_for_garbage_is_as_it_was_after_the_imports(collecting):
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        with suppress(KeyError), registry._uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() == collecting and gc.get_freeze_count() == 0
    finally:
        (gc.enable if before else gc.disable)()
