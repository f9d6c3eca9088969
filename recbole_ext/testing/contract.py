"""The contract of a model: one test a clause, to be inherited (after LensKit's lenskit.testing).

A clause that a model cannot keep is named in `exempt` with the reason; it is run all the same, and fails where it
passes, so that no reason outlives its cause. What each clause is for: docs/your_model.md.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from recbole_ext.bridge.registry import register_model
from recbole_ext.bridge.stored_config import config_from_plain
from recbole_ext.errors import UsageError
from recbole_ext.testing.runs import (
    Fitted,
    Ranked,
    dense,
    fit,
    prefixes,
    rank,
    rank_in_fresh_process,
    recommender_of,
)
from recbole_ext.testing.toys import (
    LONGEST,
    UNKNOWN,
    Session,
    odd_log,
    one_item_log,
    ring_log,
)

LISTED = 20
CLOSE = 1e-4  # share of the largest score by which two float32 computations of one thing may differ


def clause(test: Callable[..., None]) -> Callable[..., None]:
    """A test of the contract: where the model is exempt from it, it has to fail."""
    name = test.__name__.removeprefix("test_")

    @functools.wraps(test)
    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        reason = self.reason(name)
        if reason is None:
            test(self, *args, **kwargs)
            return
        try:
            test(self, *args, **kwargs)
        except Exception as error:
            pytest.xfail(f"{reason} ({type(error).__name__})")
        pytest.fail(
            f"{name} holds, though the model is exempt from it, as {reason!r}: take the exemption out"
        )

    return run


class ModelContract:
    """Tests that any model passes; subclass it as `class TestMine(ModelContract)` and set:

    model: its name, or its class, which is registered. settings: keys of every run; small sizes make it quick.
    learns_toy: True, or why it cannot learn the ring by heart. toy_settings: more keys of that run.
    exempt: clause to reason, for what the model cannot keep.
    """

    model: ClassVar[str | type] = ""
    settings: ClassVar[Mapping[str, Any]] = {}
    learns_toy: ClassVar[bool | str] = True
    toy_settings: ClassVar[Mapping[str, Any]] = {}
    exempt: ClassVar[Mapping[str, str]] = {}

    _factory: Any

    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._factory = tmp_path_factory

    # --- runs, each made once a class -----------------------------------------------------------------------

    def reason(self, name: str) -> str | None:
        """Why the model is exempt from a clause; None: it is not."""
        clauses = {key.removeprefix("test_") for key in dir(type(self)) if key.startswith("test_")}
        for other in self.exempt:
            assert other in clauses, f"exempt names {other}, and the clauses are {', '.join(sorted(clauses))}"
        if name == "learns_toy":
            return self.learns_toy if isinstance(self.learns_toy, str) else None
        return self.exempt.get(name)

    def name(self) -> str:
        """The model's name; a class is registered."""
        return self.model if isinstance(self.model, str) else register_model(self.model).__name__

    def fitted(self, log: list[Session], resume_from: str | None = None, **settings: Any) -> Fitted:
        """A run of its own on a log."""
        name = self.name()
        folder = Path(self._factory.mktemp(name.lower()))
        return fit(name, folder, log, {**self.settings, **settings}, resume_from)

    def _once(self, what: str, make: Callable[[], Fitted]) -> Fitted:
        """The class's run called `what`; a fault in making it is every clause's that needs it."""
        kept: dict[str, Any] = type(self).__dict__.get("_kept") or {}
        type(self)._kept = kept  # type: ignore[attr-defined]
        if what not in kept:
            try:
                kept[what] = make()
            except Exception as error:
                kept[what] = error
        if isinstance(kept[what], Exception):
            raise kept[what]
        found: Fitted = kept[what]
        return found

    def toy(self) -> Fitted:
        """The run that learns the ring by heart."""
        return self._once("toy", lambda: self.fitted(ring_log(), **self.toy_settings))

    def odd(self) -> Fitted:
        """One epoch on the log of all that is odd."""
        return self._once("odd", lambda: self.fitted(odd_log(), epochs=1, eval_step=1))

    # --- clauses --------------------------------------------------------------------------------------------

    @clause
    def test_learns_toy(self) -> None:
        """The next item of a ring is known from the last one: HR@1 is 1."""
        assert self.toy().ranked.metrics["hit@1"] == 1.0

    @clause
    def test_save_and_load(self) -> None:
        """A fresh process that knows the checkpoint alone gives the same scores, bit for bit, and the same ranks."""
        run = self.toy()
        again = rank_in_fresh_process(run.checkpoint, type(run.model), Path(self._factory.mktemp("fresh")))
        assert np.array_equal(again["row"], run.ranked.row)
        assert np.array_equal(again["scores"], run.ranked.scores)
        assert np.array_equal(again["rank"], run.ranked.rank)

    @clause
    def test_trimmed_is_full_length(self) -> None:
        """Batches cut to their longest prefix, as the trainer makes them, score as those of the maximal length do."""
        run = self.toy()
        item_list = f"{run.config['ITEM_ID_FIELD']}{run.config['LIST_SUFFIX']}"
        full = _at_full_length(run)
        assert {rows[item_list].shape[1] for _, rows, _ in full.batches} == {LONGEST}
        _assert_close(run.ranked.scores, full.scores)

    @clause
    def test_a_row_alone_scores_as_in_its_batch(self) -> None:
        """Who else is in a batch changes nothing."""
        run = self.odd()
        data = run.test._dataset
        by_event = {int(place): number for number, place in enumerate(data.inter_feat["event_index"])}
        for place, expected in zip(run.ranked.row[::3], run.ranked.scores[::3]):
            alone = data[torch.tensor([by_event[int(place)]])]
            _assert_close(expected[None, 1:], _all_scores(run, alone)[:, 1:])

    @clause
    def test_ranks_by_counting_are_those_of_all_scores(self) -> None:
        """Ranks without a matrix of scores are those with one, ties included, and the model's own scores are these."""
        for run in (self.toy(), self.odd()):
            ranked = run.ranked
            assert ranked.rank.tolist() == [_rank(row, own) for row, own in zip(ranked.scores, ranked.target)]
            for scores, rows, target in ranked.batches:
                _assert_close(dense(scores).numpy()[:, 1:], _all_scores(run, rows)[:, 1:])
                for twins in _with_ties(scores):
                    whole = dense(twins).numpy()
                    assert twins.ranks(target).tolist() == [
                        _rank(row, own) for row, own in zip(whole, target)
                    ]

    @clause
    def test_predict_is_a_column_of_all_scores(self) -> None:
        """`predict`, by which sampled candidates are ranked, gives what `full_sort_predict` gives for that item."""
        run = self.toy()
        for _, rows, target in run.ranked.batches:
            with torch.no_grad():
                own = run.model.predict(rows).view(-1).cpu().numpy()
            _assert_close(_all_scores(run, rows)[np.arange(len(own)), target], own)

    @clause
    def test_one_item(self) -> None:
        """A catalogue of one item is learnt and ranked: it is the first."""
        with _within(5):
            run = self.fitted(one_item_log(), epochs=1, eval_step=1, topk=[1], valid_metric="NDCG@1")
        assert run.ranked.rank.tolist() == [1, 1]
        assert run.ranked.metrics["hit@1"] == 1.0

    @clause
    def test_one_event_sessions(self) -> None:
        """Sessions of one event are no fault, and have no target."""
        run = self.odd()
        sessions = [s for s in odd_log() if s.part == "test"]
        assert min(len(s.items) for s in sessions) == 1
        assert len(run.ranked.rank) == sum(len(s.items) - 1 for s in sessions)

    @clause
    def test_unknown_items(self) -> None:
        """Items without a training event, in a prefix or as target, leave every score a number or -inf."""
        run = self.odd()
        scores, unknown = run.ranked.scores[:, 1:], _unknown(run)
        assert np.isin(run.ranked.target, unknown).any()
        assert not np.isnan(scores).any() and not np.isposinf(scores).any()
        assert (run.ranked.rank >= 1).all() and (run.ranked.rank < run.ranked.scores.shape[1]).all()
        assert np.isfinite(list(run.ranked.metrics.values())).all()

    @clause
    def test_a_long_prefix_is_its_last_events(self) -> None:
        """Of a prefix longer than MAX_ITEM_LIST_LENGTH the last events count, and no others."""
        run = self.odd()
        start = run.test._dataset.session_start
        long, short = (np.flatnonzero(run.ranked.row >= start[-2 + place]) for place in (0, 1))
        assert run.test._dataset.session_length[-2:].tolist() == [LONGEST + 5, LONGEST + 1]
        last_of_long, last_of_short = (long[run.ranked.row[long] < start[-1]][-1], short[-1])
        assert run.ranked.target[last_of_long] == run.ranked.target[last_of_short]
        _assert_close(run.ranked.scores[last_of_long], run.ranked.scores[last_of_short])

    @clause
    def test_resume(self) -> None:
        """Two epochs and, resumed, two more give the weights of four, bit for bit; what learns at once says so."""
        log = ring_log(validated=False)  # so that the checkpoint is of the last epoch
        half = self.fitted(log, epochs=2)
        if getattr(half.model, "learns_in_one_pass", False):
            with pytest.raises(UsageError, match="learns at once"):
                self.fitted(log, resume_from=half.checkpoint, epochs=4)
            return
        after_two = _learnt(half)  # before the resumed run writes over it
        whole = self.fitted(log, epochs=4)
        resumed = self.fitted(log, resume_from=half.checkpoint, epochs=4)
        epochs = whole.trainer.epochs  # 1 where RecBole's trainer of models that count has set it so
        assert sorted(whole.trainer.train_loss_dict) == list(range(epochs))
        assert epochs == 1 or _differs(_learnt(whole), after_two), "two more epochs change nothing"
        assert not _differs(_learnt(whole), _learnt(resumed))
        assert whole.trainer.train_loss_dict == resumed.trainer.train_loss_dict

    @clause
    def test_lists_are_the_evaluation_s(self) -> None:
        """The model folder, asked for the test part's prefixes, ranks as the evaluation did, ties included."""
        for run in (self.toy(), self.odd()):
            recommender = recommender_of(run, Path(self._factory.mktemp("asked")) / "model")
            asked, past = prefixes(run)
            history = past if recommender.reads_history else None
            lists = recommender.lists(asked, LISTED, history=history)
            assert lists.labels.tolist() == run.ranked.row.tolist()
            for items, scores in zip(lists.items, run.ranked.scores):
                _assert_ranked(items[items > 0], scores)

    @clause
    def test_settings_round_trip(self) -> None:
        """The settings in a checkpoint are the run's, and make a model of the same shapes."""
        run = self.toy()
        from recbole.utils import get_model

        again = config_from_plain(_stored(run)["config"])
        ours, theirs = (dict(config.final_config_dict) for config in (run.config, again))
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"device"}:
            assert type(ours[key]) is type(theirs[key]) and ours[key] == theirs[key], key
        made = get_model(again["model"])(again, run.train._dataset)
        shapes, expected = ({k: _shape(v) for k, v in m.state_dict().items()} for m in (made, run.model))
        assert shapes == expected

    @clause
    def test_training_draws_no_test_item(self) -> None:
        """Targets, histories and negatives of training batches hold no item that is in the test part only."""
        run = self.odd()
        unknown = _unknown(run)
        assert len(unknown) == len(UNKNOWN)
        drawn = np.concatenate(
            [items for _ in range(5) for batch in run.train for items in _items(run, batch)]
        )
        assert len(drawn) and not np.isin(drawn, unknown).any()

    @clause
    def test_the_test_part_changes_nothing(self) -> None:
        """Another test part of the same items leaves all that is learnt as it is, bit for bit."""
        run = self.odd()
        other = self.fitted(odd_log(shuffled=True), epochs=1, eval_step=1)
        assert len(other.ranked.rank) > len(run.ranked.rank)
        assert other.test._dataset.item_num == run.test._dataset.item_num
        assert not _differs(_learnt(run), _learnt(other))

    @clause
    def test_carries_methods(self) -> None:
        """A model that says `carries_methods = True` is an encoder of reinforcement learning: SQN trains on it."""
        from recbole_ext.bridge.encoders import said_of

        if said_of(type(self.toy().model)) is not None:
            pytest.skip(f"{self.name()} {said_of(type(self.toy().model))}")
        name = f"{self.name()}SQN"
        settings = {k: v for k, v in self.settings.items() if k != "loss_type"}
        run = fit(name, Path(self._factory.mktemp(name.lower())), odd_log(), {**settings, "epochs": 1})
        assert not np.isnan(run.ranked.scores).any()
        assert np.isfinite(run.trainer.train_loss_dict[0])


# --- what the clauses look at -------------------------------------------------------------------------------


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block that computes for longer (where there is such a clock): no end is a fault too."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"no end after {seconds} seconds of computing")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _assert_close(expected: np.ndarray, found: np.ndarray) -> None:
    """Alike but for rounding; -inf in the same places."""
    known = np.isfinite(expected)
    scale = np.abs(expected[known]).max(initial=1e-6)
    assert np.array_equal(known, np.isfinite(found))
    np.testing.assert_allclose(found[known], expected[known], rtol=0, atol=CLOSE * scale)


def _all_scores(run: Fitted, rows: Any) -> np.ndarray:
    """(B, n_items) by the model's own `full_sort_predict`."""
    with torch.no_grad():
        scores = run.model.eval().full_sort_predict(rows)
    return scores.view(len(rows), -1).cpu().float().numpy()


def _at_full_length(run: Fitted) -> Ranked:
    """The test part ranked anew, in batches of the maximal length whatever the trainer asks for."""
    data = run.test._dataset
    cls = type(data)
    never = property(lambda self: False, lambda self, value: None)
    data.__class__ = type(cls.__name__, (cls,), {"trimmed": never})
    try:
        return rank(run.trainer, run.test)
    finally:
        data.__class__ = cls


def _rank(scores: np.ndarray, own: Any) -> int:
    """Rank of item `own` by definition: higher ones, half of those that tie; last where it is no candidate."""
    score, others = scores[own], np.delete(scores, [0, own])
    if not score > -np.inf:
        return len(scores) - 1
    return int(1 + (others > score).sum() + (others == score).sum() // 2)


def _with_ties(scores: Any) -> list[Any]:
    """Scores that are a product, with pairs of items that have one vector; nothing for others."""
    from recbole_ext.scores.factored import FactoredScores

    if not isinstance(scores, FactoredScores):
        return []
    vectors = scores.vectors.detach().clone()
    vectors[2::2] = vectors[1 : len(vectors) - 1 : 2]
    return [FactoredScores(scores.states.detach(), vectors, None, scores.terms)]


def _assert_ranked(items: np.ndarray, scores: np.ndarray) -> None:
    """The list holds the best of a row of scores: in order but for rounding, and what ties by its number."""
    order = np.argsort(-scores[1:], kind="stable") + 1
    expected = order[scores[order] > -np.inf][:LISTED]
    if not np.array_equal(items, expected):
        assert len(set(items)) == len(items) == len(expected)
        _assert_close(scores[expected], scores[items])
        tied = scores[items][1:] == scores[items][:-1]
        assert (items[1:][tied] > items[:-1][tied]).all()


def _unknown(run: Fitted) -> np.ndarray:
    """Ids of the items that are in the test part only."""
    data = run.test._dataset
    return np.array([data.token2id(data.iid_field, token) for token in UNKNOWN])


def _items(run: Fitted, batch: Any) -> list[np.ndarray]:
    """All items that a training batch holds: of rows of RecBole's, of positions, or of chained sessions."""
    if hasattr(batch, "interaction"):
        item, suffix, prefix = (run.config[k] for k in ("ITEM_ID_FIELD", "LIST_SUFFIX", "NEG_PREFIX"))
        held = [batch[field] for field in (item, f"{item}{suffix}", f"{prefix}{item}") if field in batch]
    else:
        held = [batch.items, batch.targets]
    return [values.cpu().numpy().reshape(-1) for values in held]


def _stored(run: Fitted) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
    return found


def _learnt(run: Fitted) -> dict[str, Any]:
    stored = _stored(run)
    return {"state": stored["state_dict"], "other": stored["other_parameter"]}


def _differs(left: Any, right: Any) -> list[str]:
    """Paths at which two values of a checkpoint differ; tensors have to be equal bit for bit."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if left.keys() != right.keys():
            return [f"keys {left.keys() ^ right.keys()}"]
        return [f"{key}.{place}" for key in left for place in _differs(left[key], right[key])]
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return [] if left.shape == right.shape and bool((left == right).all()) else ["tensor"]
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        return [f"{n}.{place}" for n, pair in enumerate(zip(left, right)) for place in _differs(*pair)]
    return [] if left == right else ["value"]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
