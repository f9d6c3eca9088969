"""Every sequential and general model of RecBole's on sessions: it trains, evaluates, saves and loads, or says why not.

`python tests/bridge/test_every_model.py --write` writes docs/recbole_models.md, the table of what came out.
"""

import sys
import tempfile
from pathlib import Path

import pytest

import recbole_ext
from recbole_ext.bridge.names import _recbole_models
from recbole_ext.errors import UsageError
from recbole_ext.testing.runs import SETTINGS, fit
from recbole_ext.testing.toys import odd_log

recbole_ext.install()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "recbole_models.md"
KINDS = {name: kind for kind in ("sequential", "general") for name in _recbole_models(kind)}
# what a small log asks for beside its features
GIVEN = {
    "S3Rec": {"item_attribute": "category", "pretrain_epochs": 1, "save_step": 1},
    **{model: {"reranker_CAN_NUM": 5} for model in ("GRU4RecCPR", "SASRecCPR")},
    **{model: {"selected_features": ["category"]} for model in ("FDSA", "GRU4RecF", "SASRecF")},
}
RUNS = "trains, evaluates, saves, loads"
HEAD = """# RecBole's own models on sessions

Every sequential and general model of RecBole 1.2.1 on the sessions of a small log, under a split that keeps sessions
whole: one epoch, an evaluation, a checkpoint, and `load_data_and_model`, whose model has the same metrics; or the
sentence that a run is refused with before it trains. `python tests/bridge/test_every_model.py --write` makes the table,
and that test holds it.

| model | kind | given | on sessions |
|---|---|---|---|
"""


def outcome(model: str, folder: Path) -> str:
    """What a run of the model comes to; AssertionError where the loaded model has other metrics."""
    from recbole.quick_start import load_data_and_model
    from recbole.utils import get_trainer, init_seed

    split = {"eval_args": {"split": {"given": {"valid_share": 0.2}}}}
    common = {**SETTINGS, **split, "epochs": 1, "eval_step": 1, "learning_rate": 0.001}
    try:
        run = fit(model, folder, odd_log(), GIVEN.get(model, {}), common=common)
    except UsageError as error:
        return f"refused: {error}"
    assert len(run.ranked.metrics) == 4 and 0 <= run.ranked.metrics["ndcg@5"] <= 1
    config, network, _, _, _, test = load_data_and_model(run.checkpoint)
    loaded = get_trainer(config["MODEL_TYPE"], model)(config, network)
    metrics = []
    for trainer, part in ((run.trainer, run.test), (loaded, test)):
        init_seed(7, True)  # Random and ADMMSLIM draw as they score
        metrics.append(dict(trainer.evaluate(part, load_best_model=False, show_progress=False)))
    assert metrics[0] == metrics[1]
    return RUNS


def row(model: str, came_to: str) -> str:
    given = ", ".join(f"`{key}: {value}`" for key, value in GIVEN.get(model, {}).items())
    return f"| {model} | {KINDS[model]} | {given} | {came_to} |"


@pytest.mark.parametrize("model", sorted(KINDS))
def test_it_runs_or_says_why_not(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert row(model, outcome(model, tmp_path)) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_every_model_once():
    rows = PAGE.read_text(encoding="utf-8").removeprefix(HEAD).splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == sorted(KINDS)
    assert sum(line.endswith(f"| {RUNS} |") for line in rows) > 30


@pytest.mark.parametrize(
    ("model", "settings", "sentence"),
    [
        ("S3Rec", {}, "item_attribute is class, .* set it to one of category$"),
        ("S3Rec", {"item_attribute": "session_id"}, "which session_id is not"),
        (
            "S3Rec",
            {"pretrain_epochs": 1},
            "save_step is 50, and pretrain_epochs 1: .* set save_step to 1 or less",
        ),
        ("S3Rec", {"train_stage": "finetune"}, "pre_model_path is empty, .* train_stage: pretrain$"),
        ("S3Rec", {"train_stage": "finetune", "pre_model_path": "no.pth"}, "pre_model_path is no.pth"),
        ("GRU4RecCPR", {}, "reranker_CAN_NUM is 100, and there are 12 items: .* set it to 12 or less"),
        ("SASRecCPR", {"reranker_CAN_NUM": 50}, "reranker_CAN_NUM is 50, and there are 12 items"),
        (
            "FOSSIL",
            {"MAX_ITEM_LIST_LENGTH": 2},
            "order_len is 3, and MAX_ITEM_LIST_LENGTH 2: .* to 2 or less",
        ),
        ("HRM", {"high_order": 9}, "high_order is 9, and MAX_ITEM_LIST_LENGTH 8"),
        ("SHAN", {"MAX_ITEM_LIST_LENGTH": 1}, "short_item_length is 2, and MAX_ITEM_LIST_LENGTH 1"),
        ("FEARec", {"MAX_ITEM_LIST_LENGTH": 1}, "FEARec takes prefixes apart .* set it to 2 or more"),
        ("NCL", {"eval_args": {"split": {"LS": "valid_and_test"}}}, "pip install faiss-cpu"),
        ("SASRecF", {"selected_features": ["price"]}, "selected_features of SASRecF names price"),
        ("NARM", {"loss_type": "none"}, "loss_type"),
        ("GCSAN", {"weight": 1.5}, "^weight is 1.5, .* from 0 to 1$"),
    ],
)
def test_what_a_model_asks_for_is_said(model, settings, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=sentence):
        fit(model, tmp_path, odd_log(), settings, common={**SETTINGS, "epochs": 1})


@pytest.mark.parametrize(
    ("model", "key"),
    [("DiffRec", "mlp_act_func"), ("LDiffRec", "mean_type")],
    ids=["unbound", "unimplemented"],
)
def test_a_word_that_a_constructor_does_not_know_is_a_sentence(
    model, key, write_log, random_log, make_config
):
    """RecBole's end in whatever their code runs into."""
    import recbole.data

    from recbole_ext.bridge.needs import made

    write_log(random_log())
    config = make_config(model, **{key: "banana"})
    train, _, _ = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
    with pytest.raises(UsageError, match=f"^{model} cannot be made with .*{key}=banana.*: .+$"):
        made(config, train._dataset)


LEAVE_ONE_OUT = {"eval_args": {"split": {"LS": "valid_and_test"}}}
QUIET = {"data_path": "data", "use_gpu": False, "show_progress": False, "state": "ERROR", "epochs": 1}


@pytest.mark.parametrize(
    ("model", "settings", "sentence"),
    [
        (
            "FEARec",
            {"use_filter": "banana"},
            "^FEARec cannot run with use_filter=banana: AttributeError: .+$",
        ),
        (
            "DIEN",
            {**LEAVE_ONE_OUT, "gru_type": "banana"},
            "^DIEN cannot run with gru_type=banana: UnboundLocalError: .+$",
        ),
        (
            "FISM",
            {**LEAVE_ONE_OUT, "reg_weights": [0.1]},
            r"^FISM cannot run with reg_weights=\[0.1\]: not enough",
        ),
        ("KGIN", LEAVE_ONE_OUT, r"^KGIN cannot have its data from \S+: \[toy.kg\] not found in .+$"),
        ("FM", LEAVE_ONE_OUT, "^LABEL_FIELD is label, and FM learns from such a column"),
    ],
)
def test_what_a_model_of_recboles_fails_on_is_a_sentence(
    model, settings, sentence, write_log, random_log, tmp_path, monkeypatch
):
    """In its training, in its data, and in what it wants of them."""
    write_log(random_log(sessions=30))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        recbole_ext.run(model, "toy", **QUIET, **settings)


def test_what_our_own_code_fails_on_is_none(write_log, random_log, tmp_path, monkeypatch):
    from recbole_ext.trainer.session import SessionTrainer

    def broken(self, *args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr(SessionTrainer, "_loss_of", broken)
    write_log(random_log(sessions=30))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyError, match="ours"):
        recbole_ext.run("FEARec", "toy", **QUIET)


@pytest.mark.parametrize("selected", [["price"], ["category", "price"]])
@pytest.mark.parametrize("model", ["SASRecF", "GRU4RecF", "FDSA"])
def test_a_selected_column_of_numbers_is_refused(model, selected, make_config, write_log, random_log):
    """RecBole fails inside of torch, or, FDSA, passes over the column without a word."""
    from recbole.data import create_dataset

    items = [{"item_id": f"i{i}", "category": f"c{i % 4}", "price": i / 2} for i in range(30)]
    write_log(random_log(), items=items)
    sentence = f"^selected_features of {model} names price, a column of numbers, .* of tokens, category$"
    with pytest.raises(UsageError, match=sentence):
        create_dataset(make_config(model, selected_features=selected))


@pytest.mark.parametrize("longest", [1, 2, 4])
def test_bert4rec_learns_short_prefixes(longest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = fit(
        "BERT4Rec", tmp_path, odd_log(), {"MAX_ITEM_LIST_LENGTH": longest}, common={**SETTINGS, "epochs": 3}
    )
    assert len(run.trainer.train_loss_dict) == 3
    assert longest == 1 or all(loss > 0 for loss in run.trainer.train_loss_dict.values())


def test_a_batch_with_nothing_masked_costs_nothing(tmp_path, monkeypatch):
    """A last batch of one row, of which nothing is masked in most epochs."""
    monkeypatch.chdir(tmp_path)
    rows = len(
        fit("BERT4Rec", tmp_path / "first", odd_log(), common={**SETTINGS, "epochs": 1}).train._dataset
    )
    settings = {"train_batch_size": rows - 1}
    run = fit("BERT4Rec", tmp_path, odd_log(), settings, common={**SETTINGS, "epochs": 12})
    assert len(run.trainer.train_loss_dict) == 12


def write() -> None:
    """Write PAGE anew."""
    import os

    rows = []
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for model in sorted(KINDS):
            rows.append(row(model, outcome(model, Path(name) / model)))
    PAGE.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: python {Path(__file__).name} --write")
    write()
