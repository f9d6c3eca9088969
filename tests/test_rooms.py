"""The house: no circle of files, no import of the package's top from inside, lazy imports included."""

import graphlib
from pathlib import Path

import pytest

grimp = pytest.importorskip("grimp")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def imports():
    """Every file of ours to the files of ours that it imports, at import time or later."""
    graph = grimp.build_graph("recbole_ext", cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


@pytest.mark.once
def test_no_circles(imports):
    order = list(
        graphlib.TopologicalSorter(imports).static_order()
    )  # raises CycleError, which names the circle
    assert len(order) == len(imports) > 100


@pytest.mark.once
def test_nothing_inside_imports_the_top(imports):
    assert [module for module, used in imports.items() if "recbole_ext" in used] == []


@pytest.mark.once
def test_arrows_point_one_way():
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True) == EXIT_STATUS_SUCCESS
