"""A visitor's past: by hand on a log with all that is odd, and against a loop that sorts each user's events."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_ext.data.past import Past
from recbole_ext.data.positions import PositionTrainLoader
from recbole_ext.data.user_sequences import UserSequences, rows_batch

# in order of start; user 0 is unknown. Session 0's third event happens after session 1 has started, its fourth when
# session 3 starts: of these two the event of the earlier session comes first.
SESSIONS = [[1, 2, 3, 4], [5, 6], [7], [8, 9], [1, 7], [4, 4]]
USERS = [1, 1, 0, 1, 2, 0]
TIMES = [[0, 10, 105, 200], [100, 110], [120], [200, 201], [300, 310], [400, 400]]


def dataset_of(sessions=SESSIONS, users=USERS, times=TIMES, train_length=None, **config):
    """What Past, UserSequences and loaders ask of a SessionDataset."""
    length = np.array([len(s) for s in sessions])
    start = np.cumsum(length) - length
    trained = length if train_length is None else np.array(train_length)
    items = torch.tensor(sum(sessions, []))
    dataset = SimpleNamespace(
        config={
            "ITEM_ID_FIELD": "item_id",
            "LINK_USER_FIELD": "user_id",
            "seed": 1,
            "train_batch_size": 6,
            "length_buckets": True,
            **config,
        },
        events={"item_id": items, "user_id": torch.tensor(np.repeat(users, length))},
        event_time=np.array(sum(times, []), dtype=np.float64),
        session_start=start,
        session_length=length,
        train_length=trained,
    )
    dataset.training_positions = lambda: (items, start, np.maximum(trained - 1, 0), 3)
    dataset.past = Past(dataset)
    return dataset


def pasts(dataset, limit=9, training=False):
    """The past of every session as a list, newest first."""
    every = torch.arange(len(dataset.session_start))
    found = dataset.past.of_sessions(every, limit, training)
    assert found.shape == (len(every), limit) and found.dtype == torch.int64
    for row in found.tolist():
        assert 0 not in row[: sum(item > 0 for item in row)], "nothing lies behind an empty place"
    return [[item for item in row if item] for row in found.tolist()]


def test_the_past_by_hand():
    assert pasts(dataset_of()) == [[], [2, 1], [], [4, 6, 3, 5, 2, 1], [], []]


def test_only_the_newest_are_read():
    assert pasts(dataset_of(), limit=2) == [[], [2, 1], [], [4, 6], [], []]


def test_the_training_column_knows_training_events_only():
    dataset = dataset_of(train_length=[2, 2, 0, 0, 0, 1])
    assert pasts(dataset, training=True) == [[], [2, 1], [], [6, 5, 2, 1], [], []]
    assert pasts(dataset, training=False)[3] == [4, 6, 3, 5, 2, 1]
    assert pasts(dataset_of(train_length=[0] * 6), training=True) == [[]] * 6


def test_rows_have_the_past_of_their_session():
    dataset = dataset_of()
    event = torch.tensor([8, 5, 1, 7, 0])  # of sessions 3, 1, 0, 3, 0
    found = dataset.past.of_events(event, 2, training=False)
    assert found.tolist() == [[4, 6], [2, 1], [0, 0], [4, 6], [0, 0]]
    unknown = dataset.past.of_sessions(torch.tensor([-1, 3]), 2, training=False)
    assert unknown.tolist() == [[0, 0], [4, 6]]


def test_a_log_without_users_has_no_past():
    dataset = dataset_of()
    del dataset.events["user_id"]
    dataset.past = Past(dataset)
    assert pasts(dataset) == [[]] * 6


def brute_force(sessions, users, times, train_length, training):
    found = []
    for own, user in enumerate(users):
        mine = [s for s, other in enumerate(users) if s == own or (user and other == user)]
        events = sorted(
            (times[s][n], rank, n, sessions[s][n], s)
            for rank, s in enumerate(mine)
            for n in range(len(sessions[s]))
        )
        before = events[: [(e[4], e[2]) for e in events].index((own, 0))]
        kept = [e[3] for e in before if not training or e[2] < train_length[e[4]]]
        found.append(kept[::-1])
    return found


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_a_loop_over_sorted_events_finds(seed):
    random = np.random.default_rng(seed)
    starts = np.sort(random.integers(0, 60, 40))
    lengths = random.integers(1, 7, 40)
    times = [
        (start + np.cumsum(random.integers(0, 9, n)) * (np.arange(n) > 0)).tolist()
        for start, n in zip(starts, lengths)
    ]
    sessions = [random.integers(1, 30, n).tolist() for n in lengths]
    users = random.integers(0, 5, 40).tolist()
    trained = random.integers(0, lengths + 1).tolist()
    dataset = dataset_of(sessions, users, times, trained)
    for training in (True, False):
        wanted = brute_force(sessions, users, times, trained, training)
        assert pasts(dataset, limit=200, training=training) == wanted
        assert pasts(dataset, limit=3, training=training) == [past[:3] for past in wanted]
    assert max(map(len, wanted)) > 10


@pytest.mark.parametrize("model", ["HRNNFeat", "SASRec"])
@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"session_time": [0.6, 0.2, 0.2]}])
def test_training_knows_nothing_held_out(write_log, make_config, random_log, split, model):
    """On a built data set: both columns against a loop over its events."""
    from recbole.data import create_dataset, data_preparation

    write_log(random_log(sessions=40, longest=6))
    config = make_config(model, split=split, item_features=[], data_layout="pointers")
    train, _, test = data_preparation(config, create_dataset(config))
    data = train._dataset
    cut = np.split(np.arange(len(data.events)), data.session_start[1:])
    columns = {name: [data.events[name].numpy()[c].tolist() for c in cut] for name in ("item_id", "user_id")}
    log = (columns["item_id"], [u[0] for u in columns["user_id"]], [data.event_time[c].tolist() for c in cut])
    held_out = {}
    for training in (True, False):
        held_out[training] = brute_force(*log, data.train_length, training)
        assert pasts(data, limit=99, training=training) == held_out[training]
    assert held_out[True] != held_out[False]
    rows = next(iter(test))[0]["event_index"]
    found = data.past.of_events(rows, 5, training=False).tolist()
    session = np.searchsorted(data.session_start, rows.numpy(), side="right") - 1
    assert [[i for i in row if i] for row in found] == [held_out[False][s][:5] for s in session]


# --- on batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buckets", [True, False])
def test_a_batch_of_positions_carries_its_sessions_pasts(buckets):
    sessions = [[1, 2, 3, 4, 5, 6, 7], [8, 9], [1, 3], [4, 2]]
    times = [[0, 1, 2, 3, 4, 5, 60], [10, 11], [12, 13], [50, 51]]
    dataset = dataset_of(sessions, [1, 1, 2, 1], times, [7, 2, 2, 2], length_buckets=buckets)
    loader = PositionTrainLoader(dataset.config, dataset)
    assert all(batch.past is None for batch in loader)
    loader.read_past(4)
    found = {}
    for batch in loader:
        assert batch.past_items.shape == (len(batch), 4)
        for items, past in zip(batch.items.tolist(), batch.past_items.tolist()):
            found.setdefault(tuple(past), []).append([item for item in items if item])
    # the long session's later rows have its past, not that of their first event
    assert sorted(found.pop((0, 0, 0, 0))) == [[1], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]
    assert found == {(6, 5, 4, 3): [[8]], (9, 8, 6, 5): [[4]]}


def test_an_empty_row_has_no_past():
    dataset = dataset_of()
    loader = PositionTrainLoader(dataset.config, dataset)
    loader.read_past(2)
    batch = next(iter(loader))
    still = batch.empty(len(batch) + 2)
    for into, values in zip(still.of_rows, batch.of_rows, strict=True):
        into[: len(batch)].copy_(values)
    assert still.past_items.tolist() == [*batch.past_items.tolist(), [0, 0], [0, 0]]
    assert still.items[len(batch) :].sum() == 0 and still.steps == batch.steps


def test_a_batch_of_chains_says_which_sessions_it_holds():
    sequences = UserSequences(dataset_of())
    batch = sequences.train_batch([np.array([0, 1, 3]), np.array([4])])
    assert batch.sessions.tolist() == [0, 4, 1, 3]  # step by step, the longest first
    assert sequences.eval_batch(np.array([8])).sessions.tolist() == [0, 1, 3]
    rows = rows_batch(torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([2, 3]))
    assert rows.sessions.tolist() == [-1, -1]
