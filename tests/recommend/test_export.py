"""Exported folders: the run's lists without torch, and what is refused."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import recbole_ext
from recbole_ext import sealed
from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.recommend import Session, arrays
from recbole_ext.recommend.export import export
from recbole_ext.recommend.lists import run_of
from recbole_ext.scores import terms
from recbole_ext.scores.top import best_items

pytest.importorskip("onnxruntime")
ROOT = Path(recbole_ext.__file__).parents[1]
FEW = {"epochs": 1, "learning_rate": 0.01}
RECBOLE_S = {**FEW, "train_neg_sample_args": None}
HRNN = {**FEW, "embedding_size": 8, "hidden_size": 8}
# label to model and settings; None: one of conftest's
RUNS = {
    "HRNNFeat": None,
    "HRNNFeat, session": ("HRNNFeat", {**HRNN, "pointer": "session", "empty_history": True, "look_back": 3}),
    "HRNNFeat, raised": (
        "HRNNFeat",
        {**HRNN, "pointer": "none", "feature_fusion": "gate", "score": "dot", "cold_bias": -0.5},
    ),
    "SASRecFeat": (
        "SASRecFeat",
        {**FEW, "hidden_size": 8, "inner_size": 8, "pointer": "user", "readout": True},
    ),
    "GRU4RecFeat": ("GRU4RecFeat", HRNN),
    "SASRec": ("SASRec", {**RECBOLE_S, "hidden_size": 8, "inner_size": 8, "MAX_ITEM_LIST_LENGTH": 4}),
    "GRU4Rec": ("GRU4Rec", {**RECBOLE_S, "embedding_size": 8, "hidden_size": 8}),
    "NARM": ("NARM", {**RECBOLE_S, "embedding_size": 8, "hidden_size": 8}),
    "CORE": ("CORE", {**RECBOLE_S, "embedding_size": 8, "inner_size": 8}),
    "VSTAN": None,
    "AR": ("AR", {"fill": "popularity"}),
    "LINK": ("LINK", {}),
}
# what the package asks for, less what docs/export.md has installed
BLOCKED = ("torch", "recbole", "scipy", "sklearn", "polars", "yaml", "safetensors", "matplotlib", "filelock")
WITHOUT = (
    f"BLOCKED = {BLOCKED}"
    + """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Blocked())
"""
)


@pytest.fixture(scope="module")
def pair(shop_run, hrnn, vstan, tmp_path_factory):
    """A run by its label, asked as it is and as it was exported."""
    made = {}

    def of(label, int8=False):
        if (label, int8) not in made:
            run = {"HRNNFeat": hrnn, "VSTAN": vstan}.get(label) or shop_run(
                RUNS[label][0], f"to export: {label}", **RUNS[label][1]
            )
            out = tmp_path_factory.mktemp("exported") / "folder"
            assert export(run.folder, out, int8).same == 256
            made[label, int8] = run, recbole_ext.load(run.folder), recbole_ext.load(out)
        return made[label, int8]

    return of


def same(ours, theirs):
    """The same items in the same order, but where two have one score."""
    assert ours["session"].tolist() == theirs["session"].tolist()
    np.testing.assert_allclose(theirs["score"], ours["score"], rtol=1e-4, atol=1e-4)
    differ = ours["item"].to_numpy() != theirs["item"].to_numpy()
    if differ.any():
        assert sorted(ours["item"][differ]) == sorted(theirs["item"][differ])
        near = [
            np.isclose(ours["score"][i], ours["score"].drop(i), rtol=1e-4).any()
            for i in np.flatnonzero(differ)
        ]
        assert all(near)


@pytest.mark.parametrize(
    ("label", "int8"),
    [
        *((label, False) for label in RUNS),
        *((label, True) for label in ("HRNNFeat", "HRNNFeat, raised", "CORE")),
    ],
)
def test_the_top_20_of_every_test_prefix_are_the_run_s(pair, label, int8):
    run, ours, theirs = pair(label, int8)
    asked, past = run.prefixes()
    assert theirs.reads_history == ours.reads_history == (label in ("HRNNFeat", "SASRecFeat"))
    history = past if ours.reads_history else None
    expected = ours.recommend(asked, 20, history=history)
    assert expected["session"].nunique() > 40
    same(expected, theirs.recommend(asked, 20, history=history))


def test_what_groups_of_items_share_is_multiplied_once(shop_run, tmp_path, monkeypatch):
    run = shop_run("HRNNFeat", "categories alone", **HRNN, item_features=["category"])
    export(run.folder, tmp_path / "grouped")
    monkeypatch.setattr("recbole_ext.scores.table.SHARED", 0.0)
    export(run.folder, tmp_path / "plain")
    plain, grouped = recbole_ext.load(tmp_path / "plain"), recbole_ext.load(tmp_path / "grouped")
    first, second = plain._state.ranking, grouped._state.ranking
    assert first.shared is None and len(second.shared) < len(second.table)
    states = np.random.default_rng(1).standard_normal((3, first.table.shape[1])).astype(np.float32)
    np.testing.assert_allclose(second._products(states), states @ first.table.T, rtol=1e-4, atol=1e-5)
    asked, _ = run.prefixes()
    same(recbole_ext.load(run.folder).recommend(asked, 20), grouped.recommend(asked, 20))


@pytest.mark.parametrize("label", ["HRNNFeat", "HRNNFeat, session", "HRNNFeat, raised", "CORE", "VSTAN"])
def test_it_is_asked_in_every_way(pair, label):
    _, ours, theirs = pair(label)
    sessions = [["i1", "i2"], [], ["nope", "i7"], ["i20", "i39", "i20", "i5", "i38"]]
    for options in (
        {"k": 60, "fill": True},
        {"exclude": ["i3", "i21"], "exclude_seen": True},
        {"candidates": [["i3", "i21"], ["i8"], [], ["i9", "i10", "nope"]]},
        {"candidates": ["i3", "i4", "i5", "i6"], "exclude": {2: ["i4"]}},
        {"where": "available == 1 and price < 9 and category in ['c1', 'c2']"},
        {"where": "price > 100"},
        {"empty": "popular", "why": True},
    ):
        expected, found = (one.recommend(sessions, **{"k": 7, **options}) for one in (ours, theirs))
        same(expected, found)
        assert found.attrs["report"] == expected.attrs["report"]
        evidence = expected.columns[4:].tolist()
        if options.get("why"):
            assert evidence == found.columns[4:].tolist() and len(evidence) >= 2
            for name in evidence:
                np.testing.assert_allclose(expected[name], found[name], rtol=1e-3, atol=1e-6)
    same(
        *(
            one.similar(["i3", "i9"], 5).rename(columns={"item": "session", "similar": "item"})
            for one in (ours, theirs)
        )
    )
    assert theirs.category("i3") == ours.category("i3") == "category c3"
    assert theirs.about() == ours.about() and theirs.examples == ours.examples
    if label == "HRNNFeat":
        asked = [Session(["i1"], history=[["i30", "i31"], ["i32"]]), Session(["i2"])]
        lists = [one.recommend(asked, 9, why=True) for one in (ours, theirs)]
        same(*lists)
        assert lists[1]["from_past"].max() > 0
        np.testing.assert_allclose(lists[0]["from_past"], lists[1]["from_past"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("label", ["HRNNFeat", "VSTAN"])
def test_neither_torch_nor_recbole_is_imported(pair, tmp_path, label):
    _, ours, theirs = pair(label)
    (tmp_path / "asked.jsonl").write_text('["i1", "i2"]\n["i9"]\n')
    code = WITHOUT + (
        "import recbole_ext, recbole_ext.cli\n"
        "asker = recbole_ext.load(sys.argv[1])\n"
        "found = asker.recommend([['i1', 'i2'], ['i9']], 5, where='available == 1', why=True)\n"
        "asker.similar('i1', 3)\n"
        "assert recbole_ext.cli.main(['recommend', sys.argv[1], 'asked.jsonl', '--out', 'lists.jsonl']) == 0\n"
        "assert recbole_ext.cli.main(['recommend', sys.argv[1], '--examples']) == 0\n"
        "from recbole_ext.recommend.serve.door import Serving\n"
        "from recbole_ext.recommend.serve.process import opened\n"
        "from pathlib import Path\n"
        "assert opened(Serving(Path(sys.argv[1]))).service.served.now.recommender.model == asker.model\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & set(BLOCKED), loaded\n"
        "print(found['item'].tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(theirs.path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = ours.recommend([["i1", "i2"], ["i9"]], 5, where="available == 1")["item"].tolist()
    assert done.stdout.splitlines()[-1] == str(expected)
    assert len((tmp_path / "lists.jsonl").read_text().splitlines()) == 2
    needs = (theirs.path / "requirements.txt").read_text()
    assert ("onnxruntime" in needs) == (label == "HRNNFeat") and "torch" not in needs


def test_what_the_page_has_installed_is_what_is_needed():
    import tomllib
    from importlib import metadata

    from recbole_ext.recommend.serve import PACKAGES

    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| [serving]")]
    listed = line.split("pip install ")[1].split("`")[0].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(wanted):
        return {re.match(r"[\w-]+", one)[0] for one in wanted}

    assert {name.replace("_", "-") for name in PACKAGES} <= set(listed)
    assert set(listed) - {"pydantic", "jinja2"} == names(project["optional-dependencies"]["serve"])
    imported = {"yaml": "pyyaml"}
    blocked = {imported.get(name, name) for name in BLOCKED} - {"scipy", "sklearn"}  # RecBole's
    of_recbole = {name.lower() for name in names(metadata.requires("recbole"))} | {"setuptools"}
    ours = {"numpy", "pandas", "pydantic", "jinja2"}
    assert names(project["dependencies"]) - blocked - (of_recbole - ours) == ours


# --- refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("RepeatLast", {}, "RepeatLast cannot be exported, only HRNNFeat, .*: load the run itself"),
        ("STAMP", {**RECBOLE_S, "embedding_size": 8}, "STAMP cannot be exported"),
        (
            "HRNNFeat",
            {**HRNN, "user_state": "init", "train_loss": "softmax"},
            "user_state init cannot be exported.*train it with user_state none",
        ),
    ],
)
def test_other_models_are_refused_by_name(shop_run, tmp_path, model, settings, said):
    run = shop_run(model, f"{model}, refused", **settings)
    with pytest.raises(UsageError, match=said):
        export(run.folder, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_or_cut_file_is_refused(pair, tmp_path):
    _, _, theirs = pair("GRU4RecFeat")
    files = {file.name: file.read_bytes() for file in theirs.path.iterdir()}
    assert len(files) == 8 and files["README.md"].startswith(b"# GRU4RecFeat")
    place = tmp_path / "folder"
    for name, whole in files.items():
        for harmed in (whole[: len(whole) // 2], whole[:-3] + b"x" + whole[-2:], None):
            place.mkdir()
            for other, content in files.items():
                if other != name:
                    (place / other).write_bytes(content)
                elif harmed is not None:
                    (place / other).write_bytes(harmed)
            with pytest.raises(UsageError, match=r"cut or changed|is missing|no SHA256SUMS|is no part of it"):
                recbole_ext.load(place)
            for file in place.iterdir():
                file.unlink()
            place.rmdir()


def test_another_version_and_another_device_are_refused(pair, tmp_path):
    _, _, theirs = pair("GRU4RecFeat")
    stated = json.dumps({**json.loads((theirs.path / "export.json").read_text()), "format": 2})
    sealed.write(tmp_path / "folder", {"export.json": lambda path: path.write_text(stated)})
    with pytest.raises(UsageError, match="format 2, and this version reads format 1"):
        recbole_ext.load(tmp_path / "folder")
    with pytest.raises(UsageError, match="computes on the CPU"):
        recbole_ext.load(theirs.path, device="cuda")


def test_new_items_and_foreign_folders_are_refused(pair, vstan, tmp_path):
    _, _, theirs = pair("HRNNFeat")
    with pytest.raises(UsageError, match="exported with the items that there were"):
        theirs.add_items([{"item": "new", "category": "c1"}])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="no exported folder: name another one"):
        export(vstan.folder, tmp_path / "own")
    assert [file.name for file in tmp_path.rglob("*")] == ["own", "letter.txt"]
    with pytest.raises(UsageError, match="VSTAN has no item vectors, which int8 is about"):
        export(vstan.folder, tmp_path / "folder", int8=True)
    with pytest.raises(UsageError, match="there is no folder"):
        export(tmp_path / "nowhere", tmp_path / "folder")


def test_without_torch_a_run_is_refused(vstan, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more)
    )
    with pytest.raises(UsageError, match="a run is opened by torch, not installed here: export the run"):
        recbole_ext.load(vstan.folder)
    assert main(["export", str(vstan.folder), "--onnx"]) == 2
    assert "a run is exported by torch, not installed here" in capsys.readouterr().err


def test_without_onnx_a_network_is_refused(hrnn, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnx" else find(name, *more)
    )
    with pytest.raises(UsageError, match=r"export needs onnx: pip install recbole-ext\[onnx\]"):
        export(hrnn.folder, tmp_path / "folder")


def test_the_command_writes_beside_the_run_and_again(vstan, capsys):
    for _ in range(2):  # the second one takes the place of the first
        assert main(["export", str(vstan.folder), "--onnx"]) == 0
        assert "256 of 256 lists of made-up sessions are the run's" in capsys.readouterr().out
    assert recbole_ext.load(vstan.folder / "onnx").model == "VSTAN"
    assert not [file for file in vstan.folder.iterdir() if file.name.startswith("onnx.")]
    assert main(["export", str(vstan.folder)]) == 2
    assert "--onnx is the one" in capsys.readouterr().err
    assert main(["recommend", str(vstan.folder / "onnx"), "--session", "i1,i2", "--k", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"VSTAN of {vstan.folder.name}, ") and "after i1, i2" in shown


def test_it_says_which_run_it_is_of(pair, tmp_path):
    pytest.importorskip("starlette")
    from recbole_ext.recommend.serve.served import Served

    run, ours, theirs = pair("HRNNFeat")
    assert ours.run == theirs.run == Served(theirs.path).now.run == run.folder.name
    assert json.loads((run.folder / "model" / "model.json").read_text())["run"] == run.folder.name
    stated = {k: v for k, v in theirs.stated.items() if k != "run"}  # as folders of before
    assert [run_of(stated, tmp_path / name) for name in ("a/onnx", "a/model")] == ["onnx", "a"]


# --- arrays as tensors ----------------------------------------------------------------------------------------


def test_best_items_are_those_of_tensors():
    random = np.random.default_rng(2)
    scores = random.integers(0, 6, (40, 30)).astype(np.float32)  # many ties
    scores[random.random(scores.shape) < 0.3] = -np.inf
    scores[0] = -np.inf
    wide = np.concatenate([scores] * 90, axis=1) + (
        random.random((40, 2700)) < 0.01
    )  # looked through by blocks
    for given, k in ((scores, 1), (scores, 7), (scores, 30), (wide.astype(np.float32), 20)):
        items, values = arrays.best_items(given, k)
        expected, expected_values = best_items(torch.from_numpy(given), k)
        np.testing.assert_array_equal(values, expected_values.numpy())
        there = values > -np.inf
        np.testing.assert_array_equal(items[there], expected.numpy()[there])


@pytest.mark.parametrize("kind", ["Copied", "Raised"])
def test_terms_are_those_of_tensors(kind):
    random = np.random.default_rng(3)
    scores = random.normal(size=(50, 20)).astype(np.float32)
    scores[:, [0, 4, 9]] = -np.inf
    scores[1] = -np.inf
    items = random.integers(0, 20, (50, 6))
    items[2] = 0
    if kind == "Copied":
        share = np.log(random.dirichlet(np.ones(7), 50)).astype(np.float32)
        share[:, 1:][items == 0] = -1e30
        given = (items, share[:, 1:], share[:, 0])
    else:
        given = (items, ((items != 0) & (items < 10)).astype(np.float32))
    expected = getattr(terms, kind)(*map(torch.from_numpy, given)).add_to(torch.from_numpy(scores.copy()))
    getattr(arrays, kind)(*given).add_to(scores)
    finite = scores > -1e28
    np.testing.assert_array_equal(finite, expected.numpy() > -1e28)
    np.testing.assert_allclose(scores[finite], expected.numpy()[finite], rtol=1e-5, atol=1e-5)
