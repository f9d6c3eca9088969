"""`replay_share`: all new sessions and a share of the old ones, drawn anew in every epoch, by the seed."""

import types

import numpy as np
import pytest

from recbole_ext.data.replay import Replay, trained_to


def log(train_length, empty_history=False):
    """Eight sessions of three events each, an event a second; session s starts at 3 s."""
    return types.SimpleNamespace(
        session_start=np.arange(8) * 3,
        train_length=np.array(train_length),
        event_time=np.arange(24.0),
        empty_history=empty_history,
        dataset_path="nowhere",
    )


def test_old_and_new_sessions_by_hand():
    """The parent knew the first four and two events of the fifth: that one has a new event, the sixth is new; the
    seventh has no target, and the last does not train."""
    assert trained_to(log([3, 3, 3, 3, 2, 0, 0, 0])) == 13
    found = Replay(log([3, 3, 1, 3, 3, 3, 1, 0]), 13, 0.5, seed=1)
    assert found.new.tolist() == [4, 5] and found.old.tolist() == [0, 1, 3] and found.again == 2
    assert trained_to(log([0] * 8)) is None
    first = Replay(log([3, 3, 1, 3, 3, 3, 1, 0], empty_history=True), 13, 0.0, seed=1)
    assert first.new.tolist() == [4, 5, 6] and first.draw().nonzero()[0].tolist() == [4, 5, 6]


def test_draws_are_of_the_seed_and_differ_by_epoch():
    def drawn(seed):
        replay = Replay(log([3] * 8), 17, 0.5, seed)
        return [replay.draw() for _ in range(6)]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert all(kept[6:].all() and kept[:6].sum() == 3 for kept in one)
    assert (np.stack(one) == np.stack(again)).all() and (np.stack(one) != np.stack(other)).any()
    assert len({kept.tobytes() for kept in one}) > 1
    assert Replay(log([3] * 8), 17, 1.0, 1).draw().all()


LOADERS = {
    "rows": ("SASRec", {"train_targets": "prefixes"}),
    "positions": ("SASRec", {"train_targets": "all_positions"}),
    "positions of any length": ("SASRec", {"train_targets": "all_positions", "length_buckets": False}),
    "chains": ("HRNNFeat", {"user_state": "init"}),
    "chains of any length": ("HRNNFeat", {"user_state": "init", "length_buckets": False}),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_loaders_give_what_is_drawn(build, kind):
    """Each epoch's batches hold the targets of the sessions drawn for it, of chains all that hold one of these."""
    model, settings = LOADERS[kind]
    (train, *_), _, _ = build(model, split={"session_time": [0.7, 0.1, 0.2]}, train_batch_size=16, **settings)
    dataset = train._dataset
    known_to = float(np.sort(dataset.session_time[dataset.train_length > 1])[-6])
    train.keep(Replay(dataset, known_to, 0.3, seed=1))
    twin = Replay(dataset, known_to, 0.3, seed=1)
    for _ in range(3):
        drawn = twin.draw()
        expected = np.flatnonzero(drawn & (dataset.train_length > 1))
        if kind.startswith("chains"):
            whole = [chain for chain in train.chains if drawn[chain].any()]
            expected = np.sort(np.concatenate(whole))
            expected = expected[dataset.train_length[expected] > 1]
        assert sorted(set(sessions_of(train, dataset))) == expected.tolist()
        assert set(twin.new) <= set(expected)


def sessions_of(train, dataset):
    """The session of every target in an epoch's batches."""
    found = []
    for batch in train:
        if hasattr(batch, "batch_sizes"):
            found += batch.sessions[batch.event_session[batch.targets > 0]].tolist()
            continue
        if hasattr(batch, "steps"):
            place = batch.places.flatten()[batch.targets.flatten() > 0].numpy()
        else:
            place = batch["event_index"].numpy()
        found += (np.searchsorted(dataset.session_start, place, side="right") - 1).tolist()
    return found
