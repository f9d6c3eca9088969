"""Every patch of recbole_ext.bridge.patches mends what it says: a scenario breaks without it and is right with it.

Without: the scenario runs in a process of its own with `apply(skip=[patch])`, see harness.py. With: it runs with all
patches, in this process unless it looks at what an import does.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_ext.bridge import patches as compat

from .harness import EXPECTED, FAULTS, SCENARIOS
from .test_arrays import FEATURES, scipy_has_update


def no_fault_here(name: str) -> str:
    """Why this environment has not the fault that the patch mends, or an empty string."""
    if name == "numpy_aliases" and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        return f"numpy {np.__version__} still has the old names"
    if name == "pandas_three" and int(pd.__version__.split(".")[0]) < 3:
        return f"pandas {pd.__version__} still applies len to every element"
    if name == "scipy_dok" and scipy_has_update():
        return "this scipy still has dok_matrix._update"
    return ""


def test_every_patch_has_a_scenario_and_says_what_it_mends():
    assert [name for name, scenario in SCENARIOS.items() if scenario is None] == []
    assert set(FAULTS) == set(SCENARIOS) == {"ray_optional", *EXPECTED}
    assert all(".py:" in patch.mends for patch in compat.PATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_breaks_without_its_patch(name: str, tmp_path: Path, own_process):
    if no_fault_here(name):
        pytest.skip(no_fault_here(name))
    outcome = own_process(name, tmp_path, [name])
    found = str(outcome.get("error", outcome.get("result")))
    assert any(fault in found for fault in FAULTS[name].split("|")), found
    if name == "pandas_three":  # the silent part: missing values reach the model
        assert not np.array_equal(outcome["result"]["plain"]["price"], FEATURES["plain"]["price"])


@pytest.mark.parametrize(
    "name", [name for name in EXPECTED if name not in ("sklearn_later", "anomaly_detection", "device_choice")]
)
def test_scenario_is_right_with_all_patches(name: str, patched: Path):
    result = SCENARIOS[name](patched)
    assert json.loads(json.dumps(result)) == EXPECTED[name]


@pytest.mark.parametrize("name", ["sklearn_later", "anomaly_detection", "device_choice"])
def test_scenario_is_right_in_a_process_of_its_own(name: str, tmp_path: Path, own_process):
    assert own_process(name, tmp_path, []) == {"result": EXPECTED[name]}


def test_applying_twice_changes_nothing(patched: Path):
    import recbole.config
    import recbole.data.utils
    from recbole.trainer import Trainer

    def state() -> list[Any]:
        return [dict(vars(recbole.config.Config)), dict(vars(Trainer)), recbole.data.utils.create_dataset]

    before = state()
    compat.apply()
    assert state() == before


def test_skipping_an_unknown_patch_is_an_error():
    with pytest.raises(ValueError, match="no patch is called pandas_tree"):
        compat.apply(skip=["pandas_tree"])
