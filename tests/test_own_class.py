"""A class of one's own: by RecBole's documented way, handed to `run`, and as `file.py:Class` on the command line."""

import contextlib
import linecache
import os
import re
import sys
import types
from pathlib import Path

import pytest

import recbole_ext
from recbole_ext.bridge.own_models import FILES, named
from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.testing.toys import ring_log, write_log

SOURCE = """
from recbole.model.sequential_recommender import GRU4Rec


class {name}(GRU4Rec):
    defaults = {{"embedding_size": 8, "hidden_size": 8, "num_layers": 1, "dropout_prob": 0.0, "loss_type": "CE"}}
"""
KEYS = {
    **{"epochs": 1, "use_gpu": False, "topk": [5], "metrics": ["NDCG"], "valid_metric": "NDCG@5"},
    **{"eval_args": {"split": {"given": {"valid_share": 0}}, "order": "TO"}, "state": "ERROR"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch, no_curves):
    """A working directory with the ring, and with a file that holds a class."""
    recbole_ext.install()
    write_log(tmp_path / "atomic_data", "ring", ring_log())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILES, "")
    return tmp_path


def make(folder, name):
    """The class, which nothing has registered."""
    file = folder / f"{name.lower()}_file.py"
    file.write_text(SOURCE.format(name=name))
    return file


def loaded(file, name):
    space = {"__name__": file.stem}
    exec(compile(file.read_text(), str(file), "exec"), space)
    return space[name]


def test_recboles_documented_way(folder):
    """Config, loaders, the class, `get_trainer` by its name: nothing of ours but install()."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import ModelType, get_trainer, init_seed

    from recbole_ext.trainer.session import SessionTrainer

    cls = loaded(make(folder, "ByHand"), "ByHand")
    config = Config(
        cls, "ring", config_dict={**KEYS, **cls.defaults, "checkpoint_dir": str(folder / "saved")}
    )
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = cls(config, train.dataset)
    trainer_class = get_trainer(ModelType.SEQUENTIAL, "ByHand")
    assert trainer_class is SessionTrainer is get_trainer(config["MODEL_TYPE"], config["model"])
    trainer = trainer_class(config, model)
    trainer.fit(train, valid, verbose=False)
    assert trainer.factored is not None  # and it gets what it qualifies for
    assert 0 < trainer.evaluate(test)["ndcg@5"] <= 1


def test_a_class_is_run(folder):
    cls = loaded(make(folder, "HandedOver"), "HandedOver")
    record = recbole_ext.run(cls, "ring", **{**KEYS, "train_targets": "all_positions"})
    assert record["model"] == "HandedOver" and record["config"]["hidden_size"] == 8
    assert 0 < record["test"]["ndcg@5"] <= 1


def test_a_class_of_a_notebook_has_the_keys_that_its_cell_reads(folder, monkeypatch):
    """Its module has no file; Python knows the text of a cell as Jupyter enters it."""
    from recbole_ext.run.run import configure

    cell = SOURCE.format(name="OfACell") + (
        "\n    def __init__(self, config, dataset):\n"
        "        super().__init__(config, dataset)\n"
        "        self.power = config['my_power']\n"
    )
    name = "<cell 3>"
    monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(keepends=True), name))
    notebook = types.ModuleType("of_a_notebook")
    monkeypatch.setitem(sys.modules, "of_a_notebook", notebook)
    exec(compile(cell, name, "exec"), vars(notebook))
    assert configure(notebook.OfACell, "ring", {**KEYS, "my_power": 2.0})["my_power"] == 2.0
    with pytest.raises(UsageError, match=r"my_powers.*did you mean my_power\b"):
        configure(notebook.OfACell, "ring", {**KEYS, "my_powers": 2.0})


def test_a_class_of_recboles_is_run_by_its_name(folder):
    from recbole.model.general_recommender.pop import Pop  # ours takes its place

    keys = {key: value for key, value in KEYS.items() if key != "epochs"}
    assert recbole_ext.run(Pop, "ring", **keys)["model"] == "Pop"


def test_a_class_in_a_file_is_run(folder, capsys):
    file = make(folder, "OfAFile")
    words = [f"--{key}={value}" for key, value in KEYS.items()]
    assert main(["run", f"--model={file}:OfAFile", "--dataset=ring", *words]) == 0
    assert "OfAFile on ring" in capsys.readouterr().out
    assert os.environ[FILES] == f"{file}:OfAFile"


def test_a_process_of_a_grid_knows_the_class(folder, capsys):
    file = make(folder, "OfAGrid").relative_to(folder)
    words = [f"--{key}={value}" for key, value in KEYS.items()]
    assert (
        main(["run", f"--model={file}:OfAGrid,SKNN", "--dataset=ring", "--workers=1", "--threads=1", *words])
        == 0
    )
    assert (folder / "runs/experiments/ring/ring/OfAGrid/seed-2020/record.json").is_file()


def test_a_file_whose_name_is_taken(folder):
    """By a module that is loaded already: json.py is not json."""
    file = make(folder, "OfJson").rename(folder / "json.py")
    import json

    assert named(f"{file}:OfJson") == "OfJson"
    assert sys.modules["json"] is json and Path(sys.modules["json_of_models"].__file__) == file


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("no.py:Model", "the model Model is to come from .*no.py, which does not exist"),
        ("typed_file.py:Tiped", "has no class Tiped: did you mean Typed"),
        ("typed_file.py:defaults", "has no class defaults"),
        ("typed_file.py:GRU4Rec", None),
    ],
)
def test_what_a_file_may_lack(folder, given, sentence):
    make(folder, "Typed")
    if sentence is None:  # an import of the file's is a class too
        assert named(given) == "GRU4Rec"
        return
    with pytest.raises(UsageError, match=sentence):
        named(given)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import torchnope.deep", "imports torchnope, which is not found: pip install torchnope"),
        ("class Broken(", r"broken.py is no Python, line 2: "),
    ],
)
def test_a_file_that_cannot_be_run(folder, line, sentence):
    (folder / "broken.py").write_text(f"import os\n{line}\n")
    with pytest.raises(UsageError, match=sentence):
        named("broken.py:Model")
    assert "broken" not in sys.modules


def test_a_fault_of_the_file_is_shown_as_it_is(folder):
    (folder / "faulty.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        named("faulty.py:Model")


def test_text_for_a_number_of_the_class(folder):
    file = make(folder, "Sized")
    file.write_text(
        file.read_text().replace("{", '{"wide": 4, ', 1)
        + """
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.more = [0.0] * config["wide"]
"""
    )
    with pytest.raises(
        UsageError, match="Sized cannot be made with wide=abc: its default is 4, so write a number"
    ):
        recbole_ext.run(f"{file}:Sized", "ring", **KEYS, wide="abc")


def test_a_grid_takes_a_key_of_the_class(folder, monkeypatch, capsys):
    """Which its file alone knows; a key that nothing reads is still refused early."""
    from recbole_ext.experiment import conduct

    file = make(folder, "Keyed")
    file.write_text(file.read_text().replace('"loss_type": "CE"', '"loss_type": "CE", "vector_size": 4'))
    begun = []
    monkeypatch.setattr(conduct, "run_experiment", lambda *given, **_: begun.append(given) or 0)
    words = [f"--model=Pop,{file.name}:Keyed", "--dataset=ring", "--epochs=1"]
    assert main([*words, "--vector_size=8"]) == 0 and len(begun) == 1
    assert main(["--model=Pop,FPMC", "--dataset=ring", "--vectr_size=8"]) == 2 and len(begun) == 1
    assert "unknown key vectr_size" in capsys.readouterr().err


# --- what runs of such classes leave ------------------------------------------------------------------------


def words(keys):
    return [f"--{key}={value}" for key, value in keys.items()]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A folder with runs of a class of a file, alone and in a blend."""
    from recbole_ext.run import record

    folder = tmp_path_factory.mktemp("left")
    write_log(folder / "atomic_data", "ring", ring_log())
    make(folder, "Left")
    blend = {"blend_models": "[left_file.py:Left,AR]", "blend_weight": 0.5}
    blend["blend_settings"] = "{left_file.py:Left: {hidden_size: 4}}"
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv(FILES, "")
        patch.setattr(record, "plot_learning_curve", lambda *given: given[-1].touch())
        for model, keys in (
            ("left_file.py:Left", {"runs_dir": "alone"}),
            ("Blend", {**blend, "runs_dir": "blend"}),
        ):
            assert main([f"--model={model}", "--dataset=ring", *words({**KEYS, **keys})]) == 0
    return folder


@pytest.fixture
def beside(left, monkeypatch):
    """The same folder, in a process that has not registered its class."""
    from recbole_ext.bridge import registry

    monkeypatch.chdir(left)
    monkeypatch.setenv(FILES, "")
    monkeypatch.setattr(registry, "_strangers", {})
    name = "recbole.model.sequential_recommender.left"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delitem(sys.modules, "left_file", raising=False)
    yield {kind: str(next(Path(kind, "ring").iterdir())) for kind in ("alone", "blend")}
    for module in (name, "left_file", "later"):
        sys.modules.pop(module, None)


LISTS = ["--session=i1,i2", "--k=2"]


@pytest.mark.parametrize("kind", ["alone", "blend"])
def test_a_run_is_asked_with_its_file_named_and_runs_none_else(beside, kind, capsys):
    assert main(["recommend", beside[kind], *LISTS]) == 2
    assert "add --model=left_file.py:Left, or in Python" in capsys.readouterr().err
    assert "left_file" not in sys.modules
    with pytest.raises(UsageError, match=r"is the class Left of left_file\.py.*register_model\(Left\)"):
        recbole_ext.load(beside[kind])
    assert "left_file" not in sys.modules
    assert main(["recommend", beside[kind], *LISTS, "--model=left_file.py:Left"]) == 0
    said = capsys.readouterr()
    assert "after i1, i2" in said.out and "has changed" not in said.err


def test_a_file_that_has_changed_is_told(beside, capsys):
    changed = Path("later.py")
    changed.write_text(Path("left_file.py").read_text() + "\n# later\n")
    assert main(["recommend", beside["alone"], *LISTS, f"--model={changed}:Left"]) == 0
    assert "note: later.py has changed since the run of Left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "left_file.py:GRU4Rec",
            r"names the class GRU4Rec, and that of \S+ is Left: write \S*left_file.py:Left\n",
        ),
        (
            "Left",
            r"is Left, and says in which file the class of the run's model is: write \S*left_file.py:Left\n",
        ),
        ("", "is empty, and says in which file"),
        ("gone.py:Left", "to come from .*gone.py, which does not exist"),
    ],
)
@pytest.mark.parametrize("command", ["recommend", "serve", "update"])
def test_a_file_that_is_not_the_run_s(beside, command, given, said, capsys):
    more = {"recommend": LISTS, "update": ["--events", "new"]}.get(command, [])
    assert main([command, beside["alone"], *more, f"--model={given}"]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_update_asks_for_the_file_and_goes_on_with_it(beside, capsys):
    from recbole_ext.recommend.update import update

    words = ["update", beside["alone"], "--events", "saved"]
    assert main(words) == 2
    assert "add --model=left_file.py:Left" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"is the class Left of left_file\.py"):
        update(beside["alone"], ["saved"])
    assert main([*words, "--model=left_file.py:Left"]) == 2
    assert "saved holds no .inter file" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["left_file.py:Left", "Blend"])
def test_a_record_from_elsewhere_runs_no_file(beside, model, tmp_path):
    """Its sum can be made anew by whoever changes it."""
    from recbole_ext import records
    from recbole_ext.recommend.update import update

    record = records.read(Path(beside["blend"]))
    record["config"]["blend_models"] = ["left_file.py:Left", "AR"]
    records.write(tmp_path, {**record, "model": model, "own_classes": []})
    with pytest.raises(UsageError, match=r"it was changed|update those, and blend them anew"):
        update(tmp_path, ["nothing"])
    assert "left_file" not in sys.modules


def test_such_a_class_is_not_exported_which_is_said_without_it(beside, capsys):
    for run in beside.values():
        assert main(["export", run, "--onnx"]) == 2
        assert "cannot be exported, only HRNNFeat" in capsys.readouterr().err


def test_a_checkpoint_of_such_a_class(beside):
    """RecBole's own door says what it lacks; a blend takes it with the class named."""
    from recbole_ext.bridge.patches.checkpoints import load_data_and_model
    from recbole_ext.run.run import configure

    file = next(str(file) for file in Path("saved").glob("Left-*.pth"))
    with pytest.raises(UsageError, match="is of the class Left, which is not known here: import it"):
        load_data_and_model(file)
    whole = min(map(str, Path("saved").glob("Blend-*.pth")), key=len)  # its models' own have longer names
    with pytest.raises(UsageError, match="a model of the blend is the class Left of one's own"):
        load_data_and_model(whole)
    other = next(str(file) for file in Path("saved").glob("Blend-*-2-AR.pth"))
    blend = {**KEYS, "blend_from": [file, other], "blend_weight": 0.5}
    with pytest.raises(UsageError, match=r"a class of one's own: name it too, blend_models: \[FILE.py:Left"):
        configure("Blend", "ring", blend)
    assert configure("Blend", "ring", {**blend, "blend_models": ["left_file.py:Left", "AR"]})[
        "blend_models"
    ] == ["Left", "AR"]
