"""Faults put in on purpose: kills, mutated logs, harmed files, wrong settings, two processes at once.

All of it: `python -m pytest tests/robustness -m robustness`, which ends in a table of what was tried, right and wrong;
`python benchmarks/robustness.py` does the same and writes results/robustness.md. Every test has ten tenths, equal parts
of its tries, and a run of all tests takes the first of them: its kills and pairs, and a fourth of its cheaper tries.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# a run of all tests has to cost less than a minute: each fourth of its logs, harms and keys, and none of COSTLY
STEP = 4
COSTLY = ("test_a_harmed_file_of_an_experiment", "test_a_killed_experiment")
sys.path.insert(0, str(HERE))  # for harness/

from harness.tally import KEY, Tally, lines  # noqa: E402


def pytest_generate_tests(metafunc):
    if "tenth" in metafunc.fixturenames:
        metafunc.parametrize("tenth", range(10), ids=lambda number: f"tenth-{number}")


def _is_whole(config):
    return "robustness" in (config.option.markexpr or "")


def pytest_collection_modifyitems(config, items):
    """All tests here are marked; without `-m robustness` only the first tenth of them stays."""
    whole = _is_whole(config)
    kept, left = [], []
    for item in items:
        here = HERE in item.path.parents
        if here:
            item.add_marker(pytest.mark.robustness)
        first = not here or (item.originalname not in COSTLY and item.callspec.params["tenth"] == 0)
        (kept if whole or first else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [
        report for report in reports if getattr(report, "when", "") == "call"
    ]  # teardown has the same again
    rows = [row for report in calls for key, row in report.user_properties if key == KEY]
    if rows:
        terminalreporter.section("robustness: tried, right, wrong")
        for part, what, tried, right, wrong, how in lines(rows):
            terminalreporter.write_line(
                f"{part} {what}: {tried} tried, {right} right, {wrong} wrong" + (f" ({how})" if how else "")
            )


@pytest.fixture
def tally(request):
    """Call with a part and a thing for a Tally, a block of tries."""
    step = 1 if _is_whole(request.config) else STEP
    return lambda part, what: Tally(part, what, request.node.user_properties, step)


@pytest.fixture(scope="session")
def toy_runs(tmp_path_factory):
    """A folder with the toy's files and a run of each kind of model, made once; the records by model."""
    from harness import toy

    folder = tmp_path_factory.mktemp("toy")
    toy.write_toy(folder)
    return folder, {model: toy.run(folder, model) for model in toy.SMALL}


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """What starts our commands as processes that can be killed."""
    from harness.forked import Forks

    made = Forks(tmp_path_factory.mktemp("said"))
    yield made
    made.close()
