"""Chains of sessions: the packed layout against a plain loop, and who may see what."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_ext.data.user_sequences import UserSequences, UserTrainLoader, rows_batch
from recbole_ext.errors import UsageError

# six sessions in order of start: users a a b ? a ?  (0 = unknown)
SESSIONS = [[1, 2, 3], [4, 5], [6, 7], [8, 9], [1, 4, 6, 8], [2, 3]]
USERS = [1, 1, 2, 0, 1, 0]
TIMES = [[0, 10, 500], [100, 110], [120, 130], [140, 150], [600, 610, 620, 630], [700, 710]]


def fake_dataset(train_length=None, users=USERS, times=TIMES, **config):
    lengths = np.array([len(s) for s in SESSIONS])
    start = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    events = {
        "item_id": torch.tensor(sum(SESSIONS, [])),
        "user_id": torch.tensor(np.repeat(users, lengths)),
    }
    settings = {
        "ITEM_ID_FIELD": "item_id",
        "LINK_USER_FIELD": "user_id",
        "seed": 1,
        "train_batch_size": 4,
        "user_state": "init",
        "max_user_sessions": 50,
        "length_buckets": False,
        **config,
    }
    dataset = SimpleNamespace(
        config=settings,
        events=events,
        event_time=np.array(sum(times, []), dtype=np.float64),
        session_start=start,
        session_length=lengths,
        train_length=lengths if train_length is None else np.array(train_length),
    )
    dataset.user_sequences = UserSequences(dataset)
    return dataset


def unpack(batch):
    """Sessions of a batch as {(user, step): [items]}, read back from the packed layout."""
    found = {}
    event = session = 0
    for step, sizes in enumerate(batch.batch_sizes):
        for t, active in enumerate(sizes.tolist()):
            for place in range(active):
                assert batch.event_session[event] == session + place
                owner = int(batch.session_user[session + place])
                assert batch.session_step[session + place] == step
                found.setdefault((owner, step), []).append(int(batch.items[event]))
                assert len(found[owner, step]) == t + 1
                event += 1
        session += batch.step_sessions[step]
    assert event == len(batch) and session == len(batch.session_user)
    return found


def test_chains_follow_users_and_unknown_users_stand_alone():
    sequences = fake_dataset().user_sequences
    chains = sorted(c.tolist() for c in sequences.train_chains(50))
    assert chains == [[0, 1, 4], [2], [3], [5]]
    assert sequences.rank.tolist() == [0, 1, 0, 0, 2, 0]
    assert sequences.returning_users == 1


def test_long_chain_is_cut():
    chains = sorted(c.tolist() for c in fake_dataset().user_sequences.train_chains(2))
    assert chains == [[0, 1], [2], [3], [4], [5]]


def test_packed_layout_holds_every_session_with_next_items_as_targets():
    sequences = fake_dataset().user_sequences
    batch = sequences.train_batch([np.array([0, 1, 4]), np.array([3])])
    assert unpack(batch) == {(0, 0): [1, 2, 3], (0, 1): [4, 5], (0, 2): [1, 4, 6, 8], (1, 0): [8, 9]}
    pairs = sorted((int(i), int(t)) for i, t in zip(batch.items, batch.targets))
    assert pairs == sorted(
        [(1, 2), (2, 3), (3, 0), (4, 5), (5, 0), (1, 4), (4, 6), (6, 8), (8, 0), (8, 9), (9, 0)]
    )


def test_events_after_the_next_session_starts_do_not_reach_it():
    # the first session's third event (time 500) lies after the second session's start (time 100)
    batch = fake_dataset().user_sequences.train_batch([np.array([0, 1, 4])])
    ends = {int(batch.session_step[s]): int(batch.items[batch.state_event[s]]) for s in range(3)}
    assert ends == {0: 2, 1: 5, 2: 8}


def test_evaluation_sees_earlier_sessions_only():
    sequences = fake_dataset().user_sequences
    target = sequences.start[1] + 1  # item 5 of the user's second session
    batch = sequences.eval_batch(np.array([target]))
    assert unpack(batch) == {(0, 0): [1, 2, 3], (0, 1): [4, 5]}
    assert batch.items[batch.rows].tolist() == [4]


def test_evaluation_rows_share_a_chain_and_keep_their_order():
    sequences = fake_dataset().user_sequences
    start = sequences.start
    index = np.array([start[4] + 3, start[3] + 1, start[0] + 1, start[4] + 1, start[2] + 1])
    batch = sequences.eval_batch(index)
    assert batch.items[batch.rows].tolist() == [6, 8, 1, 1, 6]
    assert unpack(batch) == {
        (0, 0): [1, 2, 3],
        (0, 1): [4, 5],
        (0, 2): [1, 4, 6, 8],
        (1, 0): [6, 7],
        (2, 0): [8, 9],
    }
    alone = sequences.eval_batch(index, with_history=False)
    assert alone.items[alone.rows].tolist() == [6, 8, 1, 1, 6] and len(alone.batch_sizes) == 1


def test_training_uses_the_training_part_only():
    sequences = fake_dataset(train_length=[3, 2, 1, 2, 0, 0]).user_sequences
    chains = sequences.train_chains(50)
    # session 2 has one training event and its user no other session: nothing to learn from it
    assert sorted(c.tolist() for c in chains) == [[0, 1], [3]]
    part = fake_dataset(train_length=[2, 2, 2, 2, 2, 2]).user_sequences
    assert unpack(part.train_batch([np.array([0, 1, 4])])) == {(0, 0): [1, 2], (0, 1): [4, 5], (0, 2): [1, 4]}


def test_loader_serves_every_target_once_an_epoch():
    loader = UserTrainLoader(fake_dataset().config, fake_dataset(), shuffle=True)
    for _ in range(2):
        batches = list(loader)
        pairs = [(int(i), int(t)) for b in batches for i, t in zip(b.items, b.targets) if t]
        assert sorted(pairs) == sorted((a, b) for s in SESSIONS for a, b in zip(s, s[1:]))
        assert len(batches) == len(loader) == 2
    orders = {tuple(b.items.tolist()) for _ in range(8) for b in loader}
    assert len(orders) > 2, "every epoch has the same batches"


def test_without_users_every_session_is_its_own():
    dataset = fake_dataset()
    del dataset.events["user_id"]
    sequences = UserSequences(dataset)
    assert sequences.returning_users == 0 and sequences.rank.tolist() == [0] * 6


def test_rows_that_carry_their_own_prefix():
    batch = rows_batch(torch.tensor([[5, 6, 0], [7, 8, 9]]), torch.tensor([2, 3]))
    assert batch.items[batch.rows].tolist() == [6, 9]
    assert not batch.targets.any(), "what a row is asked for stands in the row"


def test_no_training_pair_is_an_error():
    dataset = fake_dataset(train_length=[1, 1, 0, 0, 0, 0])
    with pytest.raises(UsageError, match="no training session"):
        UserTrainLoader(dataset.config, dataset)


def test_the_loader_cuts_chains_as_told():
    for longest, chains in ((50, 4), (2, 5), (1, 6)):
        dataset = fake_dataset(max_user_sessions=longest)
        assert len(UserTrainLoader(dataset.config, dataset).chains) == chains
    dataset = fake_dataset(user_state="none")
    assert len(UserTrainLoader(dataset.config, dataset).chains) == 6


def test_an_unknown_user_column_is_named():
    with pytest.raises(UsageError, match="usr_id"):
        fake_dataset(LINK_USER_FIELD="usr_id")
