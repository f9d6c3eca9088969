"""One run from the command line to its record, and the sentences for a user's mistakes."""

import io
import json
import logging
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from recbole_ext import records
from recbole_ext.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy(here, write_log, random_log):
    """Atomic files of a small log as data set `toy`; its settings."""
    items = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
    write_log(random_log(sessions=80, ties=False), items=items)
    return {
        "data_path": "data",
        "epochs": 2,
        "use_gpu": False,
        "eval_args": {"split": {"session_time": [7, 1, 2]}},
    }


def test_a_run_leaves_its_record(toy, here):
    import recbole_ext

    record = recbole_ext.run("HRNNFeat", "toy", embedding_size=8, hidden_size=8, **toy)
    folder = Path(record["files"]["record"]).parent
    assert folder.is_relative_to("runs") and records.read(folder) == record
    assert (folder / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"
    assert [e["epoch"] for e in record["epochs"]] == [0, 1]
    assert record["best_valid_score"] == max(e["valid_score"] for e in record["epochs"])
    assert record["versions"]["recbole"] == "1.2.1" and record["seed"] == 2020
    kept = np.load(folder / "ranks.npz")
    rank = kept["rank"]
    assert len(rank) == record["counts"]["test_targets"] > 20
    for k in (5, 10, 20):
        assert record["test"][f"hit@{k}"] == pytest.approx((rank <= k).mean(), abs=1e-6)
        assert record["test"][f"mrr@{k}"] == pytest.approx(((rank <= k) / rank).mean(), abs=1e-6)
    tokens = kept["item_token"]
    log = {}
    for line in (here / "data/toy/toy.inter").read_text().splitlines()[1:]:
        session, _, item, *_ = line.split("\t")
        log.setdefault(session, []).append(item)
    for session, target, length in zip(kept["session_token"], tokens[kept["item"]], kept["item_length"]):
        assert log[session][length] == target


@pytest.mark.parametrize("events", ["text", "text with an empty line", "parquet"])
def test_what_loads_for_long_says_how_far_it_is(toy, here, monkeypatch, caplog, events):
    """Through all stages, and in the run's log in one line; pandas reads what has empty lines."""
    import recbole_ext
    from recbole_ext import progress
    from recbole_ext.bridge.data_sets import STAGES

    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0)
    file = here / "data/toy/toy.inter"
    if events == "parquet":
        table = pl.read_csv(file, separator="\t", schema_overrides={"session_id:token": pl.String})
        table.write_parquet(f"{file}.parquet")
        file.unlink()
    elif events == "text with an empty line":
        file.write_text(file.read_text().replace("\n", "\n\n", 1))
    caplog.set_level(logging.INFO)
    recbole_ext.run("Pop", "toy", data_path="data", use_gpu=False, eval_args=toy["eval_args"])
    ends = np.cumsum([*STAGES.values()][:-1]) / sum(STAGES.values())
    assert {f"{end:.0%}" for end in ends} <= set(re.findall(r"loading toy +(\d+%)", terminal.getvalue()))
    said = [record.getMessage() for record in caplog.records if record.name == progress.__name__]
    assert sum(line.startswith("loading toy took ") for line in said) == 1


@pytest.mark.parametrize("number", [0, 1])
def test_of_several_processes_the_first_says_how_far_it_is(monkeypatch, number):
    from recbole_ext.bridge import data_sets
    from recbole_ext.progress import _stage

    monkeypatch.setattr(data_sets, "current", lambda: SimpleNamespace(number=number))
    with data_sets.loading({"dataset": "toy"}):
        assert (_stage.get() is None) == (number == 1)
    assert _stage.get() is None


def test_what_visitors_did_before_is_found_with_a_line_in_the_log(
    make_config, write_log, random_log, monkeypatch, caplog
):
    import recbole.data

    from recbole_ext import progress

    write_log(random_log(ties=False))
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    dataset = recbole.data.create_dataset(make_config("HRNNFeat", split={"session_time": [7, 1, 2]}))
    train, _, _ = dataset.build()
    with caplog.at_level(logging.INFO):
        assert train.past is train.past
    assert caplog.text.count("finding what visitors did before took") == 1


@pytest.mark.parametrize(
    ("model", "during", "said"),
    [
        ("GRU4Rec", "recbole_ext.data.blocks.read", "the same command begins anew"),
        ("GRU4Rec", "recbole_ext.data.rows.PrefixRows.data_augmentation", "the same command begins anew"),
        (
            "GRU4Rec",
            "recbole_ext.trainer.session.SessionTrainer.evaluate",
            "continue with --resume_from=saved/",
        ),
        ("AR", "recbole.trainer.Trainer.evaluate", "the same command begins anew"),
    ],
)
def test_ctrl_c_says_how_to_go_on(toy, monkeypatch, capsys, model, during, said):
    """While data are loaded, and in the test; a model that counts takes no checkpoint to go on from."""
    from recbole_ext.cli import command

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    owner, _, name = during.rpartition(".")
    monkeypatch.setattr(pkgutil.resolve_name(owner), name, interrupted)
    split = (
        "--eval_args={'split': {'session_time': [8, 0, 2]}}"  # nothing validates, so only the test evaluates
    )
    epochs = ["--epochs=1"] if model == "GRU4Rec" else []
    words = [f"--model={model}", "--dataset=toy", "--data_path=data", "--use_gpu=False", split, *epochs]
    assert command("run", words, "run.py") == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"interrupted: {said}")


@pytest.mark.parametrize("model", ["GRU4Rec", "Pop", "ItemKNN"])
def test_every_model_ranks_the_same_targets(toy, model):
    import recbole_ext

    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", FutureWarning
        )  # RecBole's are nothing that a notebook's reader can mend
        ours = recbole_ext.run("HRNNFeat", "toy", embedding_size=8, hidden_size=8, **toy)
    if model in ("Pop", "ItemKNN"):  # they learn in one pass, so epochs: 2 would be refused
        del toy["epochs"]
    other = recbole_ext.run(model, "toy", **toy)
    arrays = [np.load(record["files"]["ranks"]) for record in (ours, other)]
    for column in ("session_token", "item_length"):
        assert (arrays[0][column] == arrays[1][column]).all()
    targets = [a["item_token"][a["item"]] for a in arrays]
    assert (targets[0] == targets[1]).all()


def test_recbole_s_own_run_and_load_know_hrnnfeat(toy):
    import recbole_ext

    recbole_ext.install()
    from recbole.quick_start import load_data_and_model, run_recbole

    result = run_recbole(model="HRNNFeat", dataset="toy", config_dict={"state": "ERROR", **toy})
    (checkpoint,) = Path("saved").glob("HRNNFeat-*.pth")
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["config"]
    config, model, _, _, _, test = load_data_and_model(str(checkpoint))
    from recbole.utils import get_trainer

    again = get_trainer(config["MODEL_TYPE"], "HRNNFeat")(config, model)
    assert again.evaluate(test, load_best_model=False) == result["test_result"]


@pytest.mark.parametrize("more", [{}, {"weight_average": 0.9, "recency": 0.5}], ids=["plain", "averaged"])
def test_resuming_equals_not_stopping(toy, more):
    import recbole_ext

    # without validation sessions the checkpoint is of the last epoch
    split = {"eval_args": {"split": {"session_time": [8, 0, 2]}}}
    settings = {"embedding_size": 8, "hidden_size": 8, **toy, **split, **more}
    whole = recbole_ext.run("HRNNFeat", "toy", **{**settings, "epochs": 4, "checkpoint_dir": "whole"})
    half = recbole_ext.run("HRNNFeat", "toy", **{**settings, "epochs": 2, "checkpoint_dir": "half"})
    assert half["epochs"] == whole["epochs"][:2]
    assert half["best_valid_score"] is None
    rest = recbole_ext.run(
        "HRNNFeat",
        "toy",
        **{**settings, "epochs": 4, "resume_from": half["checkpoint"], "checkpoint_dir": "half"},
    )
    assert rest["epochs"] == whole["epochs"]
    assert rest["test"] == whole["test"]


OTHERS = {
    "rate": ("GRU4Rec", {"learning_rate": 0.1}, r"learning_rate was 0\.001 and is 0\.1"),
    "learner": ("GRU4Rec", {"learner": "sgd"}, 'learner was "adam" and is "sgd"'),
    "decay": ("HRNNFeat", {"weight_decay": 0.1}, "weight_decay was"),
    "dropout": ("HRNNFeat", {"id_dropout": 0.5}, "id_dropout was"),
    "seed": ("GRU4Rec", {"seed": 3}, "seed was 2020 and is 3"),
    "valid_metric": ("GRU4Rec", {"valid_metric": "Hit@5"}, "valid_metric was"),
    "two": ("GRU4Rec", {"seed": 3, "learner": "sgd"}, "learner was .*, seed was"),
    "gamma": ("SASRecSQN", {"gamma": 0.9}, "gamma was"),
}


@pytest.mark.parametrize(("model", "other", "said"), OTHERS.values(), ids=OTHERS)
def test_resuming_with_other_settings_is_refused(toy, model, other, said):
    import recbole_ext

    more = {"HRNNFeat": {"embedding_size": 8}, "SASRecSQN": {"hidden_size": 8}}.get(model, {})
    half = recbole_ext.run(model, "toy", **{**toy, **more, "epochs": 1})
    before = Path(half["checkpoint"]).read_bytes()
    with pytest.raises(
        UsageError, match=f"is of a run with other settings \\(.*{said}.*give it the settings"
    ):
        recbole_ext.run(
            model, "toy", **{**toy, **more, **other, "epochs": 2, "resume_from": half["checkpoint"]}
        )
    assert Path(half["checkpoint"]).read_bytes() == before


VALUES = [
    ({"item_features": ["catgory"]}, "did you mean category"),
    ({"item_features": ["event"]}, "it has category"),
    ({"item_features": "event"}, "item_features is 'event': it has to be a list"),
    ({"LINK_USER_FIELD": "usr_id"}, "usr_id"),
    ({"valid_metric": "NDCG@7"}, "NDCG@7"),
    ({"metrics": ["Foo"]}, "Foo"),
    ({"topk": [0]}, "topk"),
    ({"epochs": "abc"}, "epochs is 'abc'"),
    ({"epochs": -1}, "epochs is -1"),
    ({"train_batch_size": 0}, "train_batch_size"),
    ({"dropout_input": 2}, "dropout_input"),
    ({"temperature": 0}, "temperature"),
    ({"id_dropout": -0.5}, "id_dropout"),
    ({"max_user_sessions": 0}, "max_user_sessions"),
    ({"learner": "adm"}, "did you mean adam"),
    ({"eval_args": "foo"}, "eval_args"),
    ({"eval_args": {"mode": "full100"}}, "full100"),
    ({"runs_dir": "data/toy/toy.inter"}, "runs_dir"),
    ({"resume_from": "nowhere.pth"}, "nowhere.pth"),
    ({"resume_from": "data/toy/toy.inter"}, "toy.inter"),
]


@pytest.mark.parametrize("settings, hint", VALUES, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_wrong_values_are_named_before_training(toy, settings, hint):
    import recbole_ext
    from recbole_ext.errors import UsageError

    with pytest.raises(UsageError, match=hint):
        recbole_ext.run("HRNNFeat", "toy", **{"embedding_size": 4, "hidden_size": 4, **toy, **settings})


def test_settings_that_a_protocol_would_ignore_are_refused(toy):
    import recbole_ext
    from recbole_ext.errors import UsageError

    split = {"eval_args": {"split": {"RS": [8, 1, 1]}}, "eval_targets": "last"}
    with pytest.raises(UsageError, match="eval_targets"):
        recbole_ext.run("BPR", "toy", **{**toy, **split})
    with pytest.raises(UsageError, match="selected_features of GRU4RecF names class"):
        recbole_ext.run("GRU4RecF", "toy", **toy)


@pytest.mark.parametrize(
    ("model", "given", "told"),
    [("GRU4Rec", {"train_batch_size": "auto"}, True), ("GRU4Rec", {}, False), ("HRNNFeat", {}, True)],
)
def test_a_small_log_trains_in_small_batches(toy, model, given, told):
    import recbole_ext

    record = recbole_ext.run(model, "toy", **{**toy, "epochs": 1, **given})
    assert any(note.startswith("train_batch_size auto: 256") for note in record["notes"]) == told


def test_ties_fall_alike_in_metrics_and_ranks(toy):
    import recbole_ext

    record = recbole_ext.run("Pop", "toy", **{**toy, "epochs": 1})
    rank = np.load(record["files"]["ranks"])["rank"]
    for k in (5, 10, 20):
        assert record["test"][f"hit@{k}"] == pytest.approx((rank <= k).mean(), abs=1e-6)


MISTAKES = [
    (
        ["--model=Pop", "--dataset=diginetica", "--convert_options=[1, 2]"],
        "convert_options is [1, 2]: it has to be a mapping",
    ),
    (["--model=HRNFeat", "--dataset=diginetica"], "did you mean HRNNFeat?"),
    (["--model=HRNNFeat", "--dataset=diginetca"], "did you mean diginetica?"),
    (["--model=HRNNFeat", "--dataset=diginetica", "--learning_rte=1"], "did you mean learning_rate?"),
    (["--model=HRNNFeat"], "--dataset=NAME"),
    (["--model=HRNNFeat", "--dataset=diginetica", "epochs=3"], "epochs=3"),
    (["--model=HRNNFeat", "--dataset=diginetica", "--config_files=no.yaml"], "no.yaml"),
    (["--model=HRNNFeat", "--dataset=diginetica", "--raw_path=nowhere"], "make demo"),
    (
        ["--model=HRNNFeat", "--dataset=diginetica", "--nproc=2"],
        "nproc is 2, but processes are started by torchrun",
    ),
    (
        ["--model=HRNNFeat", "--dataset=diginetica", "--world_size=2"],
        "world_size is 2, but processes are started by torchrun",
    ),
    (["--model=BPR", "--dataset=diginetica-demo"], "use split LS"),
    (["--model=HRNNFeat", "--dataset=diginetica-demo", "--user_state=most"], "user_state is 'most'"),
]


@pytest.mark.parametrize("arguments, hint", MISTAKES, ids=lambda v: v[-1] if isinstance(v, list) else "")
def test_mistakes_are_answered_in_one_sentence(here, capsys, arguments, hint):
    from recbole_ext.cli import main

    assert main(arguments) == 2
    one_sentence(capsys.readouterr().err, hint)


def test_run_py_answers_a_mistake_in_one_sentence(here):
    """What the others do in this process."""
    arguments, hint = MISTAKES[1]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments], capture_output=True, text=True, cwd=here
    )
    assert done.returncode == 2
    one_sentence(done.stderr, hint)


def one_sentence(text, hint):
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and hint in errors[0]
    assert "Traceback" not in text


def test_importing_loads_neither_torch_nor_recbole():
    code = "import sys, recbole_ext; print({'torch', 'recbole', 'polars'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_help(capsys):
    from recbole_ext.cli import main

    assert main(["run", "--help"]) == 0
    assert "--model=HRNNFeat" in capsys.readouterr().out


# --- a disk that takes no more ------------------------------------------------------------------------------


def command(toy, *more):
    from recbole_ext.cli import main

    words = [f"--{key}={value}" for key, value in toy.items() if key != "eval_args"]
    split = "--eval_args={split: {session_time: [7, 1, 2]}}"
    return main(
        ["--model=GRU4Rec", "--dataset=toy", "--embedding_size=8", "--hidden_size=8", *words, split, *more]
    )


@pytest.mark.parametrize("key", ["runs_dir", "checkpoint_dir"])
def test_a_folder_that_cannot_be_written_is_told_before_training(toy, here, capsys, monkeypatch, key):
    from recbole_ext.run import run

    monkeypatch.setattr(run, "_train", lambda *args: pytest.fail("it trains"))
    (here / "file").touch()
    assert command(toy, f"--{key}=file/runs") == 2
    assert (
        f"error: {key} file/runs is no folder that can be written: Not a directory" in capsys.readouterr().err
    )


def test_a_learning_curve_leaves_the_pictures_of_a_notebook_alone(tmp_path):
    """Their backend, without which Jupyter shows none of them, and those that are open."""
    import matplotlib
    import matplotlib.pyplot as plt

    from recbole_ext.run.curve import plot_learning_curve

    before = matplotlib.get_backend()
    matplotlib.use("svg")  # as Jupyter has its own
    try:
        own = plt.figure()
        epochs = [
            {"epoch": n, "train_loss": 3.0 - n, "valid_score": s} for n, s in enumerate((0.1, None, 0.2))
        ]
        plot_learning_curve(epochs, "NDCG@10", 0.2, "a run", tmp_path / "curve.png")
        assert matplotlib.get_backend() == "svg" and plt.get_fignums() == [own.number]
        assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    finally:
        plt.close("all")
        matplotlib.use(before)


@pytest.mark.parametrize("names", [("record.json",), ("ranks.npz", "learning_curve.png", "record.json")])
def test_the_table_is_printed_whatever_cannot_be_written(toy, here, capsys, disk_full, names):
    disk_full(*names)
    assert command(toy) == 1
    out = capsys.readouterr().out
    assert "NDCG" in out and "test targets" in out
    for name in names:
        assert f"{name} cannot be written: No space left on device" in out
    (folder,) = Path("runs/toy").iterdir()
    assert not set(names) & {file.name for file in folder.iterdir()}
    assert not list(here.rglob("*.tmp"))


def test_a_checkpoint_that_cannot_be_written_ends_a_run_in_one_sentence(toy, here, capsys, monkeypatch):
    def half(state, file):
        Path(file).write_bytes(b"PK")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(torch, "save", half)
    assert command(toy) == 2
    said = capsys.readouterr().err
    assert ".pth cannot be written: only a part of it was written (is the disk full?)" in said
    assert "Traceback" not in said and not list(here.rglob("*.tmp"))


def test_a_run_has_the_label_that_it_is_given(toy, here, capsys):
    assert command(toy, "--label=small, plain") == 0
    assert "GRU4Rec (small, plain) on toy (seed 2020)" in capsys.readouterr().out
    (folder,) = Path("runs/toy").iterdir()
    assert json.loads((folder / "record.json").read_text())["label"] == "small, plain"
    for wrong in ("a\x1b[31mb", "a\nb", " ", "a" * 101):
        assert command(toy, f"--label={wrong}") == 2
        said = capsys.readouterr().err
        assert "label is" in said and "write a name of one line" in said and "\x1b" not in said
    assert command(toy, "--seed=1,2", "--label=both") == 2
    assert "--label is for a single run: write it beside model, in models" in capsys.readouterr().err


def test_the_table_names_the_checkpoint_that_loads(toy, here, capsys):
    from recbole_ext.bridge.patches.checkpoints import load_data_and_model

    assert command(toy) == 0
    out = capsys.readouterr().out
    (file,) = re.findall(r"^  checkpoint +(\S+)$", out, re.MULTILINE)
    assert load_data_and_model(file)[0]["model"] == "GRU4Rec"
    assert re.search(r"^  record +runs/toy/GRU4Rec-2020-\S+/record.json$", out, re.MULTILINE)


def test_wandb_that_is_not_there_is_told_before_anything_runs(toy, here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert command(toy, "--log_wandb=True") == 2
    one_sentence(
        capsys.readouterr().err, "log_wandb needs wandb, which is not installed: pip install 'recbole-ext"
    )
    assert not Path("runs").exists()


def test_a_name_may_be_a_number_and_stand_after_a_space(toy, here, capsys):
    from recbole_ext.cli import main

    Path("data/2019").mkdir()
    Path("data/2019/2019.inter").write_bytes(Path("data/toy/toy.inter").read_bytes())
    words = ["--data_path=data", "--use_gpu=False", "--eval_args={split: {session_time: [7, 1, 2]}}"]
    assert main(["run", "--model", "Pop", "--dataset=2019", *words]) == 0
    assert "Pop on 2019 (seed" in capsys.readouterr().out
    assert main(["run", "--model=Pop,SessionPop", "--dataset", "2019,toy", *words]) == 0
    assert "[4/4] toy SessionPop" in capsys.readouterr().out
    assert main(["run", "Pop", "--dataset=toy", *words]) == 2
    one_sentence(capsys.readouterr().err, "argument Pop is not of the form --key=value")


def test_a_learner_that_never_works_is_not_offered(toy, here, capsys):
    assert command(toy, "--learner=sparse_adam") == 2
    one_sentence(capsys.readouterr().err, "learner is 'sparse_adam': it has to be one of adam, adamw, sgd")
