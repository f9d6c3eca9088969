"""Shared fixtures: the real data folder, small logs written by the tests, and configs that read them."""

import errno
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run; HYPOTHESIS_PROFILE=default looks for new ones.
# A busy machine is slow, which says nothing of the code.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# What the versions of the stack may change: `make test-base` runs these files and folders, less what is slow. The rest
# is run once, on today's stack.
EACH_STACK = (
    *(
        "bridge/test_builtin_models.py",
        "bridge/patches/",
    ),
    *("data/test_atomic.py", "data/test_coded.py", "data/test_filters.py", "data/test_general.py"),
    *("data/test_numbers.py", "data/test_session_dataset.py", "data/test_splits.py"),
    *(
        "scores/test_ranks.py",
        "test_released_recbole.py",
        "trainer/test_metrics.py",
        "trainer/test_session.py",
    ),
)


def pytest_collection_modifyitems(items):
    """The commands of the README first: they take minutes each, and one process would end with them alone."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
    here = Path(__file__).parent
    for item in items:
        on_each = item.path.relative_to(here).as_posix().startswith(EACH_STACK)
        if not on_each or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.once)


def pytest_configure(config):
    """Before a test is collected: the package reads the configs/ that are tracked, not what a user has put there."""
    from recbole_ext.settings import files

    tracked = _tracked("configs")
    if tracked is None or not (ROOT / "configs").samefile(
        files.configs_dir()
    ):  # no checkout, or a wheel is tested
        return
    place = tempfile.TemporaryDirectory(prefix="tracked-")
    config.add_cleanup(place.cleanup)
    for name in tracked:
        copy = Path(place.name, name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    files.__file__ = str(Path(place.name, "recbole_ext", "settings", "files.py"))


@pytest.fixture(scope="session", autouse=True)
def _in_an_empty_folder(tmp_path_factory):
    """A user's configs/, atomic_data/ and runs/ lie in the checkout, from which pytest is called."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    yield
    os.chdir(before)


def _tracked(folder):
    """Names of the files in a folder of the checkout that git knows and that are there; None outside a checkout."""
    words = ["git", "-C", str(ROOT), "ls-files", "-z", "--", folder]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return [name for name in said.split("\0") if (ROOT / name).is_file()] or None


REAL_DATA = Path(os.environ.get("RECBOLE_EXT_SHARED_DATA", ROOT.parent / "shared" / "data"))


def pytest_terminal_summary(terminalreporter):
    """Say how many tests read real logs, so that a run where they were skipped does not look like one."""
    seen = _seen(terminalreporter.stats)
    terminalreporter.write_line(f"real logs: {len(seen['real logs'])} tests read {REAL_DATA}")
    browsers = ", ".join(sorted(set(seen["browser"].values()))) or "none"
    terminalreporter.write_line(f"browser: {len(seen['browser'])} tests looked at a page in {browsers}")


def _seen(stats):
    """What the tests noted, by kind and test; it comes with their reports, from whichever process they ran in."""
    seen = {"real logs": {}, "browser": {}}
    for report in (report for reports in stats.values() for report in reports):
        for kind, note in getattr(report, "user_properties", ()):
            if kind in seen:
                seen[kind][report.nodeid] = note
    return seen


@pytest.fixture
def seen_in_browser(record_property):
    """Notes that a test looked at a page in a browser of this name and version."""
    return lambda name, version: record_property("browser", f"{name} {version}")


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no name leads anywhere
    "--window-size=1400,1000",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium or Chrome; the tests skip where there is none, and fail where none starts."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install selenium")
    programs = [found for name in BROWSERS if (found := shutil.which(name))]
    driver = shutil.which("chromedriver")
    if not programs or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    os.environ["SE_OFFLINE"] = "true"  # selenium looks for no driver of its own
    started = _start(webdriver, programs, driver)
    yield started
    started.quit()


def _start(webdriver, programs, driver):
    """The first of the programs that the driver can start: two of them may be there, of two versions."""
    from selenium.common.exceptions import WebDriverException

    for program in programs:
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in ARGUMENTS:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
        except WebDriverException:
            if program == programs[-1]:
                raise


@pytest.fixture(autouse=True)
def _count_tests_on_real_data(request):
    if "shared_data" in request.fixturenames:
        request.getfixturevalue("shared_data")  # skips where the logs are absent
        request.node.user_properties.append(("real logs", True))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real logs; their place is RECBOLE_EXT_SHARED_DATA, by default ../shared/data beside the checkout."""
    place = REAL_DATA
    if not (place / "diginetica").is_dir():
        pytest.skip(
            f"no real data at {place}: set RECBOLE_EXT_SHARED_DATA to the folder that holds diginetica/"
        )
    return place


@pytest.fixture
def two_threads():
    """torch may use two threads, whatever the machine has."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_curves(monkeypatch):
    """Drawing a run's learning curve takes longer than the run; tests of a single run look at it."""
    from recbole_ext.run import record

    monkeypatch.setattr(record, "plot_learning_curve", lambda *args: args[-1].touch())


@pytest.fixture
def disk_full(monkeypatch):
    """Call with names of files: none of them is written, as the disk is full when one is to take its place."""
    from recbole_ext import files

    replace = os.replace

    def full(*names):
        def refused(source, target):
            if Path(target).name in names:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", refused)

    return full


@pytest.fixture
def write_log(tmp_path):
    """Write NAME.inter (and .item, manifest.json) under tmp_path/data/NAME; rows are dicts."""

    def write(rows, name="toy", items=None, manifest=None, types=None):
        types = {
            "session_id": "token",
            "user_id": "token",
            "item_id": "token",
            "timestamp": "float",
            "event": "token",
            "split": "token",
            "category": "token",
            "price": "float",
            "tags": "token_seq",
            "scores": "float_seq",
            **(types or {}),
        }
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, table in (("inter", rows), ("item", items)):
            if table is None:
                continue
            columns = list(table[0])
            lines = ["\t".join(f"{column}:{types[column]}" for column in columns)]
            lines += ["\t".join(str(row[column]) for column in columns) for row in table]
            (folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if manifest is not None:
            (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return name

    return write


@pytest.fixture
def make_config(tmp_path):
    """RecBole's Config of a model on a log of `write_log`, after recbole_ext.install()."""
    import recbole_ext

    recbole_ext.install()
    from recbole.config import Config

    def make(model="GRU4Rec", dataset="toy", split=None, **settings):
        eval_args = {"order": "TO", "group_by": "user", "mode": settings.pop("mode", "full")}
        eval_args["split"] = split or {"LS": "valid_and_test"}
        values = {
            "data_path": str(tmp_path / "data"),
            "checkpoint_dir": str(tmp_path / "saved"),
            "USER_ID_FIELD": "session_id",
            "load_col": None,
            "filter_inter_by_user_or_item": False,
            "eval_args": eval_args,
            "epochs": 1,
            "train_batch_size": 64,
            "eval_batch_size": 64,
            "metrics": ["Hit", "NDCG", "MRR"],
            "topk": [1, 5],
            "valid_metric": "NDCG@5",
            "show_progress": False,
            "use_gpu": False,
            "state": "ERROR",
            "metric_decimal_place": 9,
            **settings,
        }
        return Config(model, dataset, config_dict=values)

    return make


@pytest.fixture(scope="session")
def random_log():
    """Rows of a log in the atomic files' order: 1 to `longest` events a session, ties, repeated items."""

    def rows(sessions=60, items=30, longest=9, seed=0, ties=True):
        random = np.random.default_rng(seed)
        starts = np.sort(random.integers(0, 5000, sessions))
        log = []
        for number, start in enumerate(starts):
            time = float(start)
            for _ in range(random.integers(1, longest + 1)):
                log.append(
                    {
                        "session_id": f"s{number}",
                        "user_id": "" if number % 3 == 0 else f"u{number % 7}",
                        "item_id": f"i{random.integers(items)}",
                        "timestamp": time,
                        "event": random.choice(["view", "purchase"]),
                    }
                )
                time += float(random.integers(0 if ties else 1, 40))
        return log

    return rows
