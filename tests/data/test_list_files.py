"""Files of a published split, one row a target with its history: one numbering of items, and the newest events."""

import re

import numpy as np
import pytest

from recbole_ext.errors import UsageError

HEAD = ("session_id:token", "item_id:token", "item_id_list:token_seq")


def rows_of(sessions):
    """(session, target, history) of every prefix."""
    return [
        (f"{name}", items[n], " ".join(items[:n]))
        for name, items in sessions.items()
        for n in range(1, len(items))
    ]


TRAIN = {"s1": list("abcde"), "s2": list("badce"), "s3": list("cab")}
VALID, TEST = {"s4": list("edc")}, {"s5": ["a", "only-test", "b"]}


@pytest.fixture
def write_lists(tmp_path):
    def write(head=HEAD, name="toy", **parts):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for part, rows in {
            "train": rows_of(TRAIN),
            "valid": rows_of(VALID),
            "test": rows_of(TEST),
            **parts,
        }.items():
            text = "\n".join("\t".join(row) for row in [head, *rows]) + "\n"
            (folder / f"{name}.{part}.inter").write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def list_config(make_config):
    return lambda model="GRU4Rec", **more: make_config(
        model, **{"benchmark_filename": ["train", "valid", "test"], "loss_type": "CE", **more}
    )


def loaders(config):
    from recbole.data import create_dataset, data_preparation

    dataset = create_dataset(config)
    return dataset, *data_preparation(config, dataset)


def test_histories_and_targets_have_one_numbering(write_lists, list_config):
    write_lists()
    dataset, train, _, test = loaders(list_config())
    names = dataset.field2id_token["item_id"]
    for loader, sessions in ((train, TRAIN), (test, TEST)):
        rows = loader._dataset[np.arange(len(loader._dataset))]
        found = []
        for target, history, length in zip(
            rows["item_id"], rows["item_id_list"].numpy(), rows["item_length"]
        ):
            found.append((names[target], " ".join(names[history[:length]])))
        assert found == [row[1:] for row in rows_of(sessions)]
    assert dataset.item_num == 7


@pytest.mark.parametrize(
    ("settings", "kept"), [({"seq_len": {"item_id_list": 2}}, 2), ({"MAX_ITEM_LIST_LENGTH": 3}, 3)]
)
def test_a_history_keeps_its_newest_events(write_lists, list_config, settings, kept):
    write_lists()
    dataset, train, _, _ = loaders(list_config(**settings))
    names, rows = dataset.field2id_token["item_id"], train._dataset[np.arange(4)]
    histories = [
        " ".join(names[row[:n]]) for row, n in zip(rows["item_id_list"].numpy(), rows["item_length"])
    ]
    assert histories == [" ".join("abcde"[:n][-kept:]) for n in range(1, 5)]
    assert rows["item_id_list"].shape[1] == kept


def test_nothing_of_the_test_part_is_drawn(write_lists, list_config):
    write_lists()
    given = {
        "distribution": "popularity",
        "sample_num": 5,
        "alpha": 1.0,
        "dynamic": False,
        "candidate_num": 0,
    }
    for distribution in ("popularity", "uniform"):
        args = {**given, "distribution": distribution}
        dataset, train, _, _ = loaders(list_config(loss_type="BPR", train_neg_sample_args=args))
        names = dataset.field2id_token["item_id"]
        drawn = {names[n] for _ in range(30) for batch in train for n in batch["neg_item_id"].unique()}
        assert drawn == set("abcde")


def test_a_model_trains_on_lists_under_other_names_too(write_lists, list_config):
    from recbole.quick_start import run_recbole

    write_lists(head=("session_id:token", "product:token", "product_list:token_seq"))
    config = list_config(ITEM_ID_FIELD="product", epochs=2)
    result = run_recbole("GRU4Rec", "toy", config_dict={**config.external_config_dict, "seed": 1})
    assert 0 <= result["test_result"]["hit@5"] <= 1


EVENTS = ("session_id:token", "item_id:token", "timestamp:float")
JOIN = "join the files to one toy.inter, one event a row, with a column split:token"


@pytest.mark.parametrize(
    ("model", "files", "settings", "sentence"),
    [
        ("GRU4Rec", {"head": EVENTS}, {}, "has no columns item_id:token and item_id_list:token_seq"),
        ("GRU4Rec", {"head": EVENTS}, {}, JOIN),
        ("HRNNFeat", {}, {}, f"HRNNFeat reads whole sessions.*{JOIN}"),
        ("SR", {}, {}, f"SR reads whole sessions.*{JOIN}"),
        ("SASRecSQN", {}, {}, f"SASRecSQN reads whole sessions.*{JOIN}"),
        ("GRU4Rec", {}, {"benchmark_filename": ["train", "dev", "test"]}, "names dev, but .*toy.dev.inter does not"),
        ("GRU4Rec", {}, {"benchmark_filename": ["train", "test"]}, "name the parts for training, validation and test"),
        ("GRU4Rec", {"test": [("s5", "a", "")]}, {}, "item_id_list is empty in 1 row of toy"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_what_to_do(write_lists, list_config, model, files, settings, sentence):
    if files.get("head") == EVENTS:
        files = {**files, **{part: [("s", "a", "1"), ("s", "b", "2")] for part in ("train", "valid", "test")}}
    write_lists(**files)
    with pytest.raises(UsageError, match=sentence):
        loaders(list_config(model, **settings))


def test_two_columns_that_would_be_numbered_apart_are_refused(write_lists, list_config):
    head = (*HEAD, "kind:token", "kind_list:token_seq")
    rows = [(*row, "k1", "k2") for row in rows_of(TRAIN)]
    write_lists(head=head, train=rows, valid=rows, test=rows)
    with pytest.raises(UsageError, match=re.escape("kind and kind_list would be numbered apart")):
        loaders(list_config())
    loaders(list_config(unload_col={"inter": ["kind_list"]}))


def test_list_files_of_sessions_are_found_where_atomic_files_are(write_lists, tmp_path):
    from recbole_ext.bridge.config_files import is_session_data

    write_lists()
    assert is_session_data("toy", tmp_path / "data")
    assert not is_session_data("other", tmp_path / "data")
