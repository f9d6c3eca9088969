"""Data sets from the cache are those from the files, in everything; what matters misses, what does not hits."""

import json
import logging
import mmap
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from recbole_ext.errors import UsageError

TIME_SPLIT = {"session_time": [0.6, 0.2, 0.2]}
ITEMS = [
    {
        "item_id": f"i{n}",
        "category": f"c{n % 4}" if n % 5 else "",
        "price": "" if n in (4, 10) else n / 7,
        "tags": "a b" if n % 4 else "",
        "scores": "0.5 2" if n % 6 else "",
    }
    for n in range(0, 30, 2)
]


@pytest.fixture
def loads(monkeypatch):
    """Grows by one for every data set that is made from its files."""
    from recbole.data.dataset import Dataset

    made = []
    upstream = Dataset._load_data

    def load_data(self, token, path):
        made.append(token)
        upstream(self, token, path)

    monkeypatch.setattr(Dataset, "_load_data", load_data)
    return made


@pytest.fixture
def place(tmp_path):
    return tmp_path / "data" / "toy" / ".cache"


@pytest.fixture
def log(write_log, random_log):
    return write_log(random_log(), items=ITEMS, manifest={"time_origin": 0})


def create(config):
    import recbole.data
    from recbole.utils import init_seed

    init_seed(1, True)
    return recbole.data.create_dataset(config)


def prepared(config, dataset):
    import recbole.data
    from recbole.utils import init_seed

    init_seed(1, True)
    return recbole.data.data_preparation(config, dataset)


def assert_same(left, right, path="data set"):
    """Equal in kind, type and every value, all the way down."""
    from recbole.data.interaction import Interaction

    if isinstance(left, str) and isinstance(right, str):
        assert left == right, path
        return
    assert type(left) is type(right), path
    if isinstance(left, Interaction):
        assert_same(left.interaction, right.interaction, path)
    elif isinstance(left, dict):
        assert list(left) == list(right), path
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), path
        for number, (one, other) in enumerate(zip(left, right)):
            assert_same(one, other, f"{path}[{number}]")
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right), path
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape, path
        assert right.flags.writeable or not left.flags.writeable, path  # pandas 3 gives views to read only
        if left.dtype == object:
            assert_same(list(left), list(right), path)
        else:
            np.testing.assert_array_equal(left, right, err_msg=path)
    elif isinstance(left, pd.DataFrame):
        assert list(left.columns) == list(right.columns), path
        assert type(left.index) is type(right.index) and left.index.equals(right.index), path
        for column in left:
            assert left[column].dtype == right[column].dtype, f"{path}.{column}"
            assert_same(list(left[column]), list(right[column]), f"{path}.{column}")
    elif isinstance(left, pd.Series):
        pd.testing.assert_series_equal(left, right, check_index_type="exact")
    elif type(left).__module__.startswith("recbole_ext."):
        assert_same(vars(left), vars(right), path)
    else:
        assert left == right or left != left, path


def attributes(dataset):
    return {name: value for name, value in sorted(vars(dataset).items()) if name not in ("config", "logger")}


def entries(place):
    return sorted(folder for folder in place.iterdir() if not folder.name.startswith("tmp-"))


def is_mapped(array):
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


CASES = {
    "plain": {},
    "limits": {
        "split": TIME_SPLIT,
        "item_inter_num_interval": "[3,inf)",
        "user_inter_num_interval": "[2,inf)",
        "inter_num_part": "train",
        "max_sessions_per_user": 5,
    },
    "whole log": {"item_inter_num_interval": "[3,inf)", "inter_num_part": "all", "rm_dup_inter": "first"},
    "given": {"split": {"given": None}},
    "normalized": {"split": TIME_SPLIT, "normalize_all": True, "empty_history": True},
    "columns": {"load_col": {"inter": ["session_id", "item_id", "timestamp"]}},
    "aliases": {
        "alias_of_item_id": ["pretrained_id"],
        "additional_feat_suffix": ["vec"],
        "preload_weight": {"pretrained_id": "vector"},
    },
}


@pytest.mark.parametrize("model", ["GRU4Rec", "Pop", "HRNNFeat"])
@pytest.mark.parametrize("case", CASES)
def test_all_attributes_and_batches_are_those_of_the_files(
    write_log, random_log, make_config, loads, place, model, case
):
    settings = dict(CASES[case])
    rows = random_log()
    if case == "given":
        part = {row["session_id"]: ("train", "train", "valid", "test")[n % 4] for n, row in enumerate(rows)}
        rows = [{**row, "split": part[row["session_id"]]} for row in rows]
    write_log(rows, items=ITEMS, manifest={"time_origin": 0})

    vectors = place.parent / "toy.vec"
    vectors.write_text("pretrained_id:token\tvector:float_seq\ni1\t0.5 2\ni3\t1 4\n")

    def make(**more):
        return make_config(model, **settings, **more)

    fresh = create(make(data_cache=False))
    first, cached = create(make()), create(make())
    assert len(loads) == 2 and len(entries(place)) == 1
    for other in (first, cached):
        assert_same(attributes(fresh), attributes(other))
    assert type(cached.config) is type(fresh.config) and cached.logger is fresh.logger
    for field, tokens in cached.field2id_token.items():
        assert cached.field2token_id[field] == {token: number for number, token in enumerate(tokens)}
    if case == "aliases":
        assert cached.field2token_id["pretrained_id"] is cached.field2token_id["item_id"]
        assert cached._preloaded_weight["pretrained_id"].sum() == 7.5 and cached.vec_feat is not None
    if case == "limits":
        assert cached._frozen is not None and cached.notes

    used = [first_batches(prepared(make(), dataset)) for dataset in (fresh, first, cached)]
    assert_same(used[0], used[1])
    assert_same(used[0], used[2])


def first_batches(loaders):
    """Attributes of the three parts, and the first batch of each."""
    torch.manual_seed(2)
    batches = [next(iter(loader)) for loader in loaders if len(loader._dataset)]
    return [attributes(loader._dataset) for loader in loaders], batches


def test_an_entry_holds_no_pickle_and_using_it_does_not_change_it(log, make_config, loads, place):
    config = make_config("SASRec", split=TIME_SPLIT)
    create(config)
    (entry,) = entries(place)
    before = contents(entry)
    arrays = {f"{number}.npy" for number in range(len(before) - 2)}
    assert set(before) == {"entry.json", "SHA256SUMS"} | arrays
    for name in before:
        if name.endswith(".npy"):
            assert not np.load(entry / name, allow_pickle=False).dtype.hasobject

    dataset = create(config)
    assert len(loads) == 1
    assert is_mapped(dataset.inter_feat["item_id"].to_numpy())
    train, _, _ = prepared(config, dataset)
    from recbole.utils import get_model

    model = get_model("SASRec")(config, train._dataset)
    model.calculate_loss(next(iter(train))).backward()
    for column in train._dataset.events.interaction.values():
        column.zero_()
    for column in train._dataset.item_feat.interaction.values():
        column.zero_()
    train._dataset.event_time[:] = 0
    for tokens in train._dataset.field2id_token.values():
        tokens[:] = "x"
    assert contents(entry) == before


@pytest.mark.parametrize(
    "setting",
    [
        {"item_inter_num_interval": "[2,inf)"},
        {"max_sessions_per_user": 2},
        {"load_col": {"inter": ["session_id", "item_id", "timestamp"], "item": ["item_id", "price"]}},
        {"unload_col": {"item": ["tags"]}},
        {"val_interval": {"timestamp": "[0,3000]"}},
        {"normalize_all": True},
        {"seq_len": {"tags": 1}},
        {"LABEL_FIELD": "bought"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_an_option_that_matters_misses(log, make_config, loads, setting):
    common = {"split": TIME_SPLIT, "inter_num_part": "train"}
    create(make_config(**common))
    cached = create(make_config(**common, **setting))
    assert len(loads) == 2
    assert_same(attributes(create(make_config(**common, **setting, data_cache=False))), attributes(cached))
    create(make_config(**common))
    create(make_config(**common, **setting))
    assert len(loads) == 3


def test_under_limits_the_split_matters(log, make_config, loads):
    limits = {"inter_num_part": "train", "item_inter_num_interval": "[2,inf)"}
    create(make_config(split=TIME_SPLIT, **limits))
    create(make_config(split={"session_time": [0.5, 0.2, 0.3]}, **limits))
    assert len(loads) == 2


@pytest.mark.parametrize("more", [{}, {"item_inter_num_interval": "[2,inf)", "inter_num_part": "train"}])
def test_what_loading_does_not_read_hits(log, make_config, loads, more):
    create(make_config("GRU4Rec", split=TIME_SPLIT, **more))
    others = {"epochs": 7, "learning_rate": 0.5, "seed": 9, "MAX_ITEM_LIST_LENGTH": 3, "empty_history": True}
    dataset = create(make_config("SASRec", split=TIME_SPLIT, checkpoint_dir="elsewhere", **others, **more))
    assert len(loads) == 1
    # what is set before loading is of this run
    assert dataset.max_item_list_len == 3 and dataset.empty_history is True
    if not more:
        create(make_config("NARM", split={"LS": "valid_only"}))
        assert len(loads) == 1


def test_classes_have_entries_of_their_own(log, make_config, loads, place):
    for model in ("GRU4Rec", "Pop", "HRNNFeat", "GRU4Rec", "Pop", "HRNNFeat"):
        create(make_config(model))
    assert len(loads) == 3 and len(entries(place)) == 3


def test_changed_files_miss_and_their_entries_go(write_log, random_log, make_config, loads, place, tmp_path):
    write_log(random_log(), items=ITEMS)
    create(make_config())
    inter = tmp_path / "data" / "toy" / "toy.inter"
    stat = inter.stat()
    inter.write_text(inter.read_text().replace("\ti7\t", "\ti8\t"))  # as long as before
    os.utime(inter, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert inter.stat().st_size == stat.st_size
    changed = create(make_config())
    assert len(loads) == 2 and "i7" not in changed.field2token_id["item_id"]
    assert len(entries(place)) == 1
    (tmp_path / "data" / "toy" / "toy.user").write_text("session_id:token\tcountry:token\ns1\tNL\n")
    assert create(make_config()).user_feat is not None
    (tmp_path / "data" / "toy" / "manifest.json").write_text('{"time_origin": 5}')
    create(make_config())
    assert len(loads) == 4 and len(entries(place)) == 1


def test_other_sources_miss(log, make_config, loads, monkeypatch):
    from recbole_ext.data import cache

    create(make_config())
    monkeypatch.setattr(cache, "_sources", lambda cls: "another version")
    create(make_config())
    assert len(loads) == 2


def test_every_broken_file_is_replaced(log, make_config, loads, place):
    fresh = attributes(create(make_config(data_cache=False)))
    create(make_config())
    (entry,) = entries(place)
    for name in sorted(contents(entry)):
        whole = (entry / name).read_bytes()
        for broken in (whole[: len(whole) // 2], None, b""):
            if broken is None:
                (entry / name).unlink()
            else:
                (entry / name).write_bytes(broken)
            before = len(loads)
            assert_same(fresh, attributes(create(make_config())))
            assert len(loads) == before + 1, name
            create(make_config())
            assert len(loads) == before + 1, name
    good = json.loads((entry / "entry.json").read_text())
    for damage in (
        {"state": 3},
        {"messages": [5]},
        {"config": []},
        {"config": {"epochs": "5"}},
        {"arrays": None},
    ):
        (entry / "entry.json").write_text(json.dumps({**good, **damage}))
        before = len(loads)
        assert_same(fresh, attributes(create(make_config())))
        create(make_config())
        assert len(loads) == before + 1, damage
    assert [folder.name for folder in place.iterdir()] == [entry.name]


def test_a_changed_bit_anywhere_is_found(log, make_config, loads, place):
    """Arrays of the right size with other numbers, and a state that says something else, are no data set."""
    fresh = attributes(create(make_config(data_cache=False)))
    create(make_config())
    (entry,) = entries(place)
    before = len(loads)
    for number, name in enumerate(sorted(contents(entry)), 1):
        content = bytearray((entry / name).read_bytes())
        content[-2] ^= 1
        (entry / name).write_bytes(content)
        assert_same(fresh, attributes(create(make_config())))
        assert len(loads) == before + number, name


def test_a_folder_that_cannot_be_written_is_no_fault(log, make_config, loads, place, caplog):
    place.write_text("in the way")
    with caplog.at_level(logging.INFO):
        create(make_config())
        create(make_config())
    assert len(loads) == 2 and "data not cached: " in caplog.text
    assert place.read_text() == "in the way"


def test_a_full_disk_is_no_fault(log, make_config, loads, place, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        create(make_config())
    assert list(place.iterdir()) == []
    create(make_config())
    create(make_config())
    assert len(loads) == 2


def test_another_writer_that_was_first_keeps_its_place(log, make_config, loads, place, monkeypatch):
    from recbole_ext.data import cache

    upstream, between = cache._move, []

    def move(scratch, folder, key):
        if not between:
            between.append(folder)
            create(make_config())
            between.append((folder / "entry.json").stat().st_ino)
        upstream(scratch, folder, key)

    monkeypatch.setattr(cache, "_move", move)
    create(make_config())
    assert len(loads) == 2 and list(place.iterdir()) == [between[0]]
    assert (between[0] / "entry.json").stat().st_ino == between[1]
    create(make_config())
    assert len(loads) == 2


def _create_at_once(config, barrier):
    barrier.wait(60)
    create(config)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_at_once_all_succeed(log, make_config, loads, place):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_create_at_once, args=(make_config(), barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    create(make_config())
    assert not loads and len(list(place.iterdir())) == 1


def test_eight_entries_stay_and_the_one_used_longest_ago_goes(log, make_config, loads, place):
    def use(number):
        create(make_config(val_interval={"timestamp": f"[0,{4000 + number}]"}))

    for number in range(8):
        use(number)
    use(0)
    leftover, foreign = place / "tmp-of-a-dead-writer", place / "huggingface"
    for folder in (leftover, foreign):
        folder.mkdir()
        os.utime(folder, (0, 0))
    use(8)
    foreign.rmdir()
    assert len(list(place.iterdir())) == 8 and len(loads) == 9
    use(0)
    assert len(loads) == 9
    use(1)
    assert len(loads) == 10


def test_messages_of_loading_are_said_again(log, make_config, caplog):
    texts = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            create(make_config(split=TIME_SPLIT, max_sessions_per_user=2))
        texts.append([record.message for record in caplog.records])
    assert texts[0][:-1] == texts[1][:-1] and "at most 2 sessions a user" in texts[0][0]
    assert texts[0][-1].startswith("data cached in ") and texts[1][-1].startswith("data from cache ")
    assert texts[0][-1].split()[-1] == texts[1][-1].split()[-1]


def test_what_cannot_be_stored_or_known_is_loaded_each_time(log, make_config, loads, place, caplog):
    from recbole_ext.data.session_dataset import SessionDataset

    class ReadsAll(SessionDataset):
        def _filter_by_inter_num(self):
            assert self.config.final_config_dict["epochs"]

    class Odd(SessionDataset):
        def _filter_by_inter_num(self):
            self.odd = object()

    nowhere = type("Nowhere", (SessionDataset,), {"__module__": "nowhere"})
    with caplog.at_level(logging.INFO):
        for cls in (ReadsAll, Odd, nowhere):
            for _ in range(2):
                cls(make_config())
        pairs = {"numerical_features": ["price"], "discretization": {"price": {"method": "ED", "bucket": 3}}}
        for _ in range(2):
            create(make_config(**pairs))
    assert len(loads) == 8 and not (place.exists() and entries(place))
    for why in (
        "final_config_dict",
        "odd holds a object",
        "Nowhere is in no file",
        "values of several kinds",
    ):
        assert why in caplog.text


def test_data_cache_is_a_switch(log, make_config, loads, place):
    create(make_config(data_cache=False))
    assert not place.exists()
    with pytest.raises(UsageError, match="data_cache is 'often': write True or False"):
        create(make_config(data_cache="often"))


def test_a_converter_writes_over_a_folder_with_a_cache(log, make_config, loads, place):
    from recbole_ext.convert.atomic import read_manifest, write_dataset

    create(make_config())
    inter = pl.DataFrame(
        {
            "session_id": [f"s{n // 4}" for n in range(40)],
            "item_id": [f"j{n % 7}" for n in range(40)],
            "timestamp": [float(n) for n in range(40)],
        }
    )
    write_dataset(place.parent, inter, None, {"time_origin": 0.0})
    assert read_manifest(place.parent) is not None and place.is_dir()
    assert "j3" in create(make_config()).field2token_id["item_id"]
    assert len(loads) == 2 and len(entries(place)) == 1


def test_git_ignores_it():
    root = Path(__file__).resolve().parents[2]
    assert "atomic_data/*" in (root / ".gitignore").read_text().splitlines()
