"""A small log, a yaml writer, and stand-ins for comparison and page, which have tests of their own."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

SETTINGS = {
    "data_path": "data",
    "epochs": 3,
    "use_gpu": False,
    "embedding_size": 8,
    "hidden_size": 8,
    "train_batch_size": 64,
    "eval_args": {"split": {"session_time": [6, 2, 2]}},
}


EMBEDDED = ("GRU4Rec", "GRU4RecF", "HRNNFeat", "Blend")
READERS = {"embedding_size": EMBEDDED, "hidden_size": (*EMBEDDED, "SASRec", "SASRecSA2C")}


@pytest.fixture
def here(tmp_path, monkeypatch, write_log, random_log):
    """A working directory with the atomic files of a small log as data set `toy`."""
    monkeypatch.chdir(tmp_path)
    items = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
    write_log(random_log(sessions=80, ties=False), items=items)
    return tmp_path


@pytest.fixture(autouse=True)
def reported(monkeypatch):
    """What the report was asked for: a list of (folder, experiment, comparisons, records, searches)."""
    calls = []

    def write_report(folder, experiment, comparisons, records, searches, kept):
        calls.append((folder, experiment, comparisons, records, searches))
        page = Path(folder) / "index.html"
        page.write_text("page")
        return [page]

    def compare(folders, metrics=None, baseline=None, labels=None):
        return {"folders": [str(folder) for folder in folders], "baseline": baseline, "labels": list(labels)}

    for name, function in (
        ("recbole_ext.report.experiment_report", write_report),
        ("recbole_ext.evaluate.comparison", compare),
    ):
        module = ModuleType(name)
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, name, module)
        package, _, leaf = name.rpartition(".")
        monkeypatch.setattr(
            sys.modules.get(package) or __import__(package, fromlist=["_"]), leaf, module, raising=False
        )
    return calls


@pytest.fixture(autouse=True)
def _no_curves(no_curves):
    """None in any test of experiments."""


@pytest.fixture
def write_experiment(here):
    """Write an experiment's yaml; returns its path."""

    def write(stem="try", **keys):
        content = {
            "datasets": ["toy"],
            "seeds": [1, 2],
            "settings": SETTINGS,
            "models": ["Pop", "GRU4Rec"],
            **keys,
        }
        models = [model.get("model") if isinstance(model, dict) else model for model in content["models"]]
        for key, readers in READERS.items():  # a key that none of the models reads would be refused
            settings = content["settings"]
            if not set(readers) & set(models) and settings and settings.get(key) == SETTINGS[key]:
                content["settings"] = {name: value for name, value in settings.items() if name != key}
        file = here / f"{stem}.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(file)

    return write
