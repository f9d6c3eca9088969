"""RecBole's drawing of negatives: it ends, draws what may be drawn, and what cannot be is refused before training."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

import recbole_ext
from recbole_ext.errors import UsageError
from recbole_ext.testing.toys import Session, one_item_log, write_log


@pytest.fixture
def sampler():
    """RecBole's AbstractSampler over some items, with the used ids of each key."""
    recbole_ext.install()
    from recbole.sampler.sampler import AbstractSampler

    class Plain(AbstractSampler):
        def __init__(self, used, items, counted=()):
            self.item_num, self.own, self.counted = items + 1, np.array(used, dtype=object), list(counted)
            super().__init__("popularity" if counted else "uniform", 1.0)

        def get_used_ids(self):
            return self.own

        def _uni_sampling(self, number):
            return np.random.randint(1, self.item_num, number)

        def _get_candidates_list(self):
            return self.counted

    return Plain


@pytest.mark.parametrize("keys", [[0] * 300, [0, 1] * 150], ids=["one key", "two keys"])
def test_what_is_drawn_is_not_used_and_anything_else(sampler, keys):
    np.random.seed(1)
    drawn = sampler([{1, 2}, {4}], 5).sample_by_key_ids(keys, 2).view(2, -1).T
    of_first = drawn[np.array(keys) == 0].flatten().tolist()
    assert set(of_first) == {3, 4, 5}
    if 1 in keys:
        assert set(drawn[np.array(keys) == 1].flatten().tolist()) == {1, 2, 3, 5}


def test_the_last_of_many_items_is_found(sampler):
    """By drawing again it would take a million rounds."""
    items = 1_000_000
    used = [set(range(1, items)), {1}]
    drawn = sampler(used, items).sample_by_key_ids([0, 1, 0], 1).tolist()
    assert drawn[0] == drawn[2] == items and drawn[1] != 1


def test_what_is_left_is_drawn_by_popularity(sampler):
    """Items 2 and 3 are a ten-thousandth of the log, 3 three times as often as 2."""
    np.random.seed(2)
    counted = [1] * 39_996 + [2] + [3] * 3
    drawn = sampler([{1}, {1, 2}], 3, counted).sample_by_key_ids([0] * 2000 + [1], 1).tolist()
    assert drawn[-1] == 3
    assert set(drawn[:-1]) == {2, 3} and 1400 < drawn[:-1].count(3) < 1600


@pytest.mark.parametrize("keys", [[1, 1], [0, 1]])
@pytest.mark.parametrize("counted", [(), (1, 1, 2)])
def test_nothing_left_ends_in_a_sentence(sampler, keys, counted):
    items = 2
    with pytest.raises(UsageError, match=r"number 1, which has all of the 2 items that may be: leave it out"):
        sampler([{1}, {1, 2}], items, counted).sample_by_key_ids(keys, 3)


def run(folder, log, model, monkeypatch, **settings):
    write_log(folder / "data", "toy", log)
    monkeypatch.chdir(folder)
    settings = {"epochs": 1, "use_gpu": False, "data_path": str(folder / "data"), **settings}
    return recbole_ext.run(model, "toy", **settings)


def walk(*items):
    return tuple(f"i{n}" for n in items)


LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}}
# the first has all four items; all of them train, as leaving the last two out leaves 2 3 and 3 0 of some
ALL = [
    Session("train", walk(0, 1, 2, 3)),
    *(Session("train", walk(*items)) for items in ((0, 1, 2, 0), (2, 3, 0, 1), (3, 0, 1, 2), (0, 1, 2, 1))),
]


@pytest.mark.parametrize("mode", ["uni1", "pop1"])
def test_a_run_is_refused_before_it_trains(tmp_path, monkeypatch, mode):
    """Session 0 has all four items, and is evaluated among drawn ones; in training it has two."""
    from recbole.trainer import Trainer

    monkeypatch.setattr(Trainer, "fit", lambda *args, **options: pytest.fail("it trains"))
    sentence = (
        r"^negatives cannot be drawn for session_id s0, which has all of the 4 .* set eval_args.mode: full$"
    )
    with pytest.raises(UsageError, match=sentence):
        run(tmp_path, ALL, "BPR", monkeypatch, eval_args={**LEAVE_ONE_OUT, "mode": mode}, repeatable=False)


def test_a_session_of_all_items_trains_where_none_is_drawn(tmp_path, monkeypatch, no_curves):
    """RecBole refuses it in full ranking too."""
    record = run(tmp_path, ALL, "BPR", monkeypatch, eval_args=LEAVE_ONE_OUT, repeatable=False)
    assert 0 <= record["test"]["hit@10"] <= 1


def test_training_that_cannot_draw_is_refused(tmp_path, monkeypatch):
    """A training session that has all items, which RecBole draws for again and again."""
    log = [Session("train", (*walk(0, 1, 2, 3), *walk(0, 1))), *ALL[1:]]
    with pytest.raises(
        UsageError, match=r"for session_id s0, which has all of the 4 .* train_neg_sample_args: ~$"
    ):
        run(tmp_path, log, "BPR", monkeypatch, eval_args=LEAVE_ONE_OUT, repeatable=False)


@pytest.mark.parametrize("settings", [{"eval_args": {"mode": "uni3"}}, {"loss_type": "BPR"}])
def test_one_item_has_no_negative(tmp_path, monkeypatch, settings):
    split = {"split": {"given": {"valid_share": 0}}}
    settings = {**settings, "eval_args": {**split, **settings.get("eval_args", {})}}
    with pytest.raises(
        UsageError, match=r"^negatives cannot be drawn, as there is no item beside the target"
    ):
        run(tmp_path, one_item_log(), "GRU4Rec", monkeypatch, **settings)


def test_a_prefix_of_all_items_masks_them(tmp_path, monkeypatch, no_curves):
    """BERT4Rec draws a negative for each mask; the softmax looks at none, so that only BPR is refused."""
    train = [Session("train", walk(0, 1, 2, 0, 1, 2)) for _ in range(20)]
    log = [*train, Session("valid", walk(0, 1, 2, 0)), Session("test", walk(0, 1, 2, 0))]
    common = {"eval_args": {"split": {"given": {"valid_share": 0}}}, "MAX_ITEM_LIST_LENGTH": 6}
    assert run(tmp_path, log, "BERT4Rec", monkeypatch, **common)["test"]["hit@10"] == 1
    with pytest.raises(
        UsageError, match=r"for a prefix that has all of the 3 items that train: set loss_type: CE"
    ):
        run(tmp_path, log, "BERT4Rec", monkeypatch, loss_type="BPR", **common)


def test_a_negative_for_a_mask_is_any_other_item():
    from recbole.data.transform import MaskItemSequence

    random.seed(3)
    masks = SimpleNamespace(config={"loss_type": "BPR"})
    assert {MaskItemSequence._neg_sample(masks, [1, 3], 6) for _ in range(100)} == {2, 4, 5}
    assert MaskItemSequence._neg_sample(masks, set(range(2, 100_000)), 100_000) == 1


def test_sequences_of_negatives():
    from recbole.sampler import SeqSampler

    def draw(items, sequence):
        drawing = SimpleNamespace(distribution="uniform", item_num=items + 1)
        drawing.sampling = lambda number: np.random.randint(1, items + 1, number)
        return SeqSampler.sample_neg_sequence(drawing, np.array(sequence))

    sequence = [1, 2, 2, 3] * 20
    drawn = draw(3, sequence).numpy()
    assert set(drawn) == {1, 2, 3} and not (drawn == sequence).any()
    with pytest.raises(UsageError, match="no item beside those of the sequences"):
        draw(1, [1, 1])
