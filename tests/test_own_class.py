"""A class of one's own: by RecBole's documented way, handed to `run`, and as `file.py:Class` on the command line."""

import linecache
import os
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
