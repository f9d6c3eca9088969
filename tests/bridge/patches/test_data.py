"""How atomic files, times, numbers and negatives are read and drawn: patches/data.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from typing import Any

from .toy import make_config


def small_log(folder: Path, rows: list[str], item: str = "") -> Any:
    """The data set of a small log: `session item time` a row; `item`: the text of its .item file."""
    from recbole.data import create_dataset

    data = folder / "data" / "toy"
    data.mkdir(parents=True)
    text = "session_id:token\titem_id:token\ttimestamp:float\n"
    (data / "toy.inter").write_text(text + "".join("\t".join(row.split(" ")) + "\n" for row in rows))
    if item:
        (data / "toy.item").write_text(item)
    return create_dataset(make_config("BPR", folder, filter_inter_by_user_or_item=False))


def atomic_files(folder: Path) -> Any:
    """The items of a log that calls one NA."""
    dataset = small_log(folder, ["s1 a 1", "s1 NA 2", "s1 b 3"])
    return dataset.field2id_token["item_id"].tolist()


def event_order(folder: Path) -> Any:
    """The items of a session in order of time: one has none, two tie as float32."""
    dataset = small_log(folder, ["s1 a 1700000000", "s1 b 1600000002", "s1 c ", "s1 d 1600000001"])
    dataset._change_feat_format()
    dataset.sort(by="timestamp")
    return dataset.field2id_token["item_id"][dataset.inter_feat["item_id"].numpy()].tolist()


def numbers(folder: Path) -> Any:
    """Prices, of which one is infinite, one missing, and one that of an item of the test part alone."""
    rows = ["s1 a 1", "s1 b 2", "s1 c 3", "s1 d 4", "s1 e 5"]
    item = "item_id:token\tprice:float\na\t1\nb\t3\nc\tinf\nd\t\ne\t70\n"
    return small_log(folder, rows, item).build()[0].item_feat["price"].tolist()


def samplers(folder: Path) -> Any:
    """The items that popularity and chance draw for training, where e and f are in no training event."""
    from recbole.data.utils import create_samplers

    rows = ["s1 a 1", "s1 b 2", "s1 e 3", "s1 f 4", "s2 b 1", "s2 a 2", "s2 e 3", "s2 f 4"]
    dataset = small_log(folder, rows)
    parts = dataset.build()
    drawn = []
    for distribution in ("popularity", "uniform"):
        args = {"distribution": distribution, "alpha": 1.0}
        dataset.config["train_neg_sample_args"] = args
        dataset.config["valid_neg_sample_args"] = dataset.config["test_neg_sample_args"] = args
        train, _, _ = create_samplers(dataset.config, dataset, parts)
        drawn.append(sorted(set(train.sampling(200).tolist())))
    return drawn


def row_numbers(folder: Path) -> Any:
    """What a loader keeps its rows' numbers in, and those of its batches."""
    from recbole.data import create_dataset, data_preparation

    conf = make_config("BPR", folder, train_neg_sample_args=None)
    loader = data_preparation(conf, create_dataset(conf))[0]
    return [type(vars(loader)["dataset"]).__name__, sum(map(len, loader))]


EXPECTED: dict[str, Any] = {
    "atomic_files": ["[PAD]", "a", "NA", "b"],
    "event_order": ["d", "b", "a"],
    "numbers": [2, 1, 3, 2, 2, 70],
    "samplers": [[1, 2], [1, 2]],
    "row_numbers": ["range", 36],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "atomic_files": "['[PAD]', 'a', 'b']",
    "event_order": "'c'",
    "numbers": "inf",
    "samplers": "[[1, 2, 3, 4], [1, 2, 3, 4]]",
    "row_numbers": "['list', ",
}
