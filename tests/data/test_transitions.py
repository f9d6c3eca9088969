"""Transitions of a log on paper, next prefixes against the data set's own, and one transition in three layouts."""

import numpy as np
import pytest
import torch

from recbole_ext.data.positions import PositionTrainLoader
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.data.transitions import EventColumns, next_rows
from recbole_ext.data.user_dataset import UserSessionDataset
from recbole_ext.data.user_sequences import UserTrainLoader
from recbole_ext.errors import UsageError
from recbole_ext.model.rl import losses

# three sessions train, one validates, one tests
SESSIONS = {
    "a": [("x", "view"), ("y", "addtocart"), ("z", "view"), ("x", "transaction")],
    "b": [("y", "view"), ("z", "view")],
    "c": [("z", "addtocart")],
    "d": [("y", "view"), ("z", "transaction")],
    "e": [("x", "view"), ("y", "view")],
}
SPLIT = {"session_time": [3, 1, 1]}
REWARDS = {"view": 0.2, "addtocart": 1.0, "transaction": 4.0}


def rows_of(sessions, users=""):
    """Rows of a log; `users` are sessions of one visitor."""
    return [
        {
            "session_id": name,
            "user_id": "u" if name in users else "",
            "item_id": item,
            "timestamp": 100 * n + k,
            "event": kind,
            "scores": f"{n} {k}",
        }
        for n, (name, events) in enumerate(sessions.items())
        for k, (item, kind) in enumerate(events)
    ]


@pytest.fixture
def columns(write_log, make_config):
    """EventColumns of SESSIONS, their rows changed by `rows`, and the training part."""

    def make(
        model="SASRecSQN", rows=None, dataset_class=SessionDataset, gamma=0.5, signal="event", **settings
    ):
        write_log(rows_of(SESSIONS) if rows is None else rows)
        config = make_config(model, **{"split": SPLIT, "rewards": REWARDS, **settings})
        train, _, _ = dataset_class(config).build()
        return EventColumns(config, train, gamma, signal), train

    return make


def near(*numbers):
    return pytest.approx(numbers, abs=1e-6)


# --- what is known of an event ----------------------------------------------------------------------------


def test_the_columns_of_a_log_on_paper(columns):
    found, _ = columns()
    trains = slice(0, 7)
    assert found.reward[trains].tolist() == near(0.2, 1, 0.2, 4, 0.2, 0.2, 1)
    assert np.flatnonzero(found.closes.numpy()).tolist() == [3, 5, 6], "the last event of a, b and c"
    assert found.history.tolist() == [0, 1, 2, 3, 0, 1, 0, 0, 1, 0, 1]
    # a: 4; .2 + .5 · 4 = 2.2; 1 + .5 · 2.2 = 2.1; .2 + .5 · 2.1 = 1.25
    assert found.returns[trains].tolist() == near(1.25, 2.1, 2.2, 4, 0.3, 0.2, 1)
    assert found.largest == 4
    assert found.notes == ["rewards of training events: 4 of 0.2, 2 of 1, 1 of 4"]
    found, _ = columns(gamma=0)
    assert found.returns.tolist() == found.reward.tolist()


def test_a_session_that_a_split_cuts_ends_where_its_training_part_does(columns):
    found, train = columns(split={"LS": "valid_and_test"})
    # a trains on its first two events, the others are held out; b, d and e, which hold one target each, on both
    assert train.train_length.tolist() == [2, 2, 0, 2, 2]
    assert np.flatnonzero(found.closes.numpy()).tolist() == [1, 5, 8, 10]
    assert found.returns[:2].tolist() == near(0.2 + 0.5 * 1, 1)


def test_shuffled_rewards_are_those_of_training_in_another_order(columns, random_log):
    rows = random_log()
    settings = {"rows": rows, "rewards": {"view": 0.2, "purchase": 1.0}, "split": {"session_time": [7, 1, 2]}}
    plain, train = columns(**settings)
    first, _ = columns(signal="shuffled", seed=1, **settings)
    again, _ = columns(signal="shuffled", seed=1, **settings)
    other, _ = columns(signal="shuffled", seed=2, **settings)
    trains = torch.zeros(len(plain.reward), dtype=torch.bool)
    trains[train._training_events()] = True
    assert 100 < trains.sum() < len(trains)
    assert first.reward.tolist() == again.reward.tolist() != other.reward.tolist()
    assert (first.reward[trains] != plain.reward[trains]).float().mean() > 0.3
    assert first.reward[trains].sort().values.tolist() == plain.reward[trains].sort().values.tolist()
    assert first.reward[~trains].tolist() == plain.reward[~trains].tolist()
    i = int(torch.nonzero(trains & ~first.closes)[0])
    assert first.returns[i] == pytest.approx(float(first.reward[i] + 0.5 * first.returns[i + 1]))


def test_the_dull_signal_is_the_length_of_the_history(columns):
    found, _ = columns(signal="history", MAX_ITEM_LIST_LENGTH=2)
    assert found.reward[:7].tolist() == near(0, 0.5, 1, 1, 0, 0.5, 0)
    assert "HIST" in found.notes[0]


def test_a_log_without_kinds_has_views_only(columns):
    rows = [{k: v for k, v in row.items() if k != "event"} for row in rows_of(SESSIONS)]
    found, _ = columns(rows=rows)
    assert found.reward[:7].tolist() == near(*[0.2] * 7)
    with pytest.raises(UsageError, match="none for event view"):
        columns(rows=rows, rewards={"purchase": 1.0})


def test_a_kind_without_a_reward_is_named(columns):
    with pytest.raises(
        UsageError, match=r"none for event addtocart, .* it has view, transaction, so add addt"
    ):
        columns(rewards={"view": 0.2, "transaction": 4.0})
    with pytest.raises(UsageError, match=r"needs rewards: write a number an event kind"):
        columns(rewards=None)
    rows = rows_of({**SESSIONS, "e": [("x", "view"), ("y", "removefromcart")]})
    assert columns(rows=rows)[0].largest == 4, "a kind of held-out events needs none"


def test_start_steps_shift_the_places(columns):
    """HRNNFeat's flat column has a step of padding before every session under `empty_history`."""
    found, train = columns("HRNNFeatSQN", dataset_class=UserSessionDataset, empty_history=True)
    assert found.place[:8].tolist() == [1, 2, 3, 4, 6, 7, 9, 11]
    assert found.items[[0, 5, 8]].tolist() == [0, 0, 0]
    assert found.items[found.place].tolist() == train.events["item_id"].tolist()
    assert found.reward[found.place[:7]].tolist() == near(0.2, 1, 0.2, 4, 0.2, 0.2, 1)
    assert np.flatnonzero(found.closes.numpy()).tolist() == [4, 7, 9]
    flat, _, _, _ = train.training_positions()
    assert flat.tolist()[: len(found.items)] == found.items.tolist()


# --- the prefix one event longer --------------------------------------------------------------------------


@pytest.mark.parametrize("empty_history", [False, True])
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("longest", [1, 2, 3, 50])
def test_next_rows_are_the_data_sets_own(write_log, make_config, random_log, longest, trimmed, empty_history):
    rows = [{**row, "scores": f"{n} {n % 7}"} for n, row in enumerate(random_log(ties=False))]
    write_log(rows)
    config = make_config(
        "SASRecSQN",
        split={"session_time": [7, 1, 2]},
        MAX_ITEM_LIST_LENGTH=longest,
        empty_history=empty_history,
    )
    train, _, _ = SessionDataset(config).build()
    train.trimmed = trimmed
    event = train.inter_feat["event_index"].long()
    row_of = {int(e): n for n, e in enumerate(event)}
    starts = set(train.session_start.tolist())
    goes_on = [n for e, n in row_of.items() if e + 1 in row_of and e + 1 not in starts]
    assert len(goes_on) > 80
    for part in (goes_on, goes_on[:5], goes_on[:1]):
        found = next_rows(train[part], config)
        expected = train[[row_of[int(event[n]) + 1] for n in part]]
        lists = [field for field in expected.interaction if field.endswith("_list")]
        assert {"item_id_list", "timestamp_list", "event_list", "scores_list"} <= set(lists)
        for field in lists:
            ours, theirs = found[field], expected[field]
            width = theirs.shape[1]
            # a batch of empty prefixes alone is one step of padding wide, and grows by one all the same
            assert ours.shape[1] == width or (empty_history and trimmed and width == 1), field
            assert ours.dtype == theirs.dtype and torch.equal(ours[:, :width], theirs), field
            assert not ours[:, width:].any(), field
        for field in ("item_length", "event_index"):
            assert torch.equal(found[field], expected[field]), field


def test_next_rows_leave_the_rows_as_they_were(columns):
    _, train = columns(MAX_ITEM_LIST_LENGTH=2)
    rows = train[torch.arange(3)]
    before = {field: column.clone() for field, column in rows.interaction.items()}
    token = train.field2token_id["item_id"]
    # a: (x), (x y), (y z) → their targets taken in, the first item lost where two are the most
    found = next_rows(rows, train.config)["item_id_list"].tolist()
    assert found == [[token[i] for i in pair] for pair in ("xy", "yz", "zx")]
    for field, column in before.items():
        assert torch.equal(rows[field], column)


# --- three layouts ----------------------------------------------------------------------------------------

LONG = {
    name: [("xyzvw"[(3 * n + k * k) % 5], "view" if (n + k) % 3 else "addtocart") for k in range(length)]
    for n, (name, length) in enumerate(
        {"a": 5, "b": 2, "c": 1, "d": 9, "e": 3, "f": 6, "g": 2, "h": 8, "i": 4, "v": 3, "t": 4}.items()
    )
}
LONG_SPLIT = {"session_time": [9, 1, 1]}


@pytest.fixture
def learn(write_log, make_config, monkeypatch):
    """Everything that a model learns from in an epoch: {event: (action, target of Q, Q, share)}, with fixed weights."""

    def make(model, sessions=LONG, users="", **settings):
        import recbole.data
        from recbole.utils import get_model, init_seed

        write_log(rows_of(sessions, users))
        config = make_config(
            model, **{"split": LONG_SPLIT, "rewards": REWARDS, "train_batch_size": 8, **settings}
        )
        train = recbole.data.data_preparation(config, recbole.data.create_dataset(config))[0]
        init_seed(3, True)
        net = get_model(model)(config, train._dataset)
        noise = torch.Generator().manual_seed(5)
        with torch.no_grad():  # heads and encoders of which nothing is near zero
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.3)
        net.eval()
        found, pairs = {}, []
        td_loss = losses.td_loss

        def noted_loss(target, value):
            pairs.append((target.tolist(), value.tolist()))
            return td_loss(target, value)

        monkeypatch.setattr(losses, "td_loss", noted_loss)
        for batch in train:
            pairs.clear()
            net.calculate_loss(batch)
            steps = net.transitions(batch)
            assert sum(steps.share.tolist()) == pytest.approx(1)
            columns = (steps.event.tolist(), steps.action.tolist(), steps.share.tolist())
            for event, action, share, *numbers in zip(*columns, *pairs[0]):  # the negatives' come after
                if share:
                    assert event not in found, "a transition is learnt twice"
                    assert action == net.columns.items[event]
                    found[event] = numbers
        monkeypatch.setattr(losses, "td_loss", td_loss)
        return found, train, net

    return make


def expected_events(train, first_too=False):
    """Places of the events that a training transition takes."""
    data = train._dataset
    starts, lengths = data.session_start, data.train_length
    events = [
        s + k for s, n in zip(starts.tolist(), lengths.tolist()) for k in range(0 if first_too else 1, n)
    ]
    return sorted(data.flat_place(np.array(events)).tolist())


def agree(one, other):
    assert sorted(one) == sorted(other)
    for event in one:
        assert one[event] == pytest.approx(other[event], rel=1e-4, abs=1e-5), event


@pytest.mark.parametrize("model", ["SASRecSQN", "GRU4RecSNQN"])
def test_positions_teach_what_prefixes_teach(learn, model):
    prefixes, train, net = learn(model)
    assert sorted(prefixes) == expected_events(train) and len(prefixes) == 31
    assert len({round(value, 4) for _, value in prefixes.values()}) > 20, "states differ"
    positions, train, _ = learn(model, train_targets="all_positions")
    assert isinstance(train, PositionTrainLoader)
    agree(prefixes, positions)
    closing = [event for event in prefixes if net.columns.closes[event]]
    assert len(closing) == 8
    for event in closing:
        assert prefixes[event][0] == pytest.approx(float(net.columns.reward[event]))


@pytest.mark.parametrize("buckets", [True, False])
@pytest.mark.parametrize("longest", [2, 3, 4, 5, 8])
def test_sessions_cut_into_windows_teach_every_transition_once(learn, longest, buckets):
    found, train, net = learn(
        "SASRecSQN", train_targets="all_positions", MAX_ITEM_LIST_LENGTH=longest, length_buckets=buckets
    )
    assert sorted(found) == expected_events(train)
    for event, (target, _) in found.items():
        if net.columns.closes[event]:
            assert target == pytest.approx(float(net.columns.reward[event]))
        else:
            assert abs(target - float(net.columns.reward[event])) > 1e-7, "its next state is known"


def test_windows_of_one_position_hold_no_transition(learn):
    with pytest.raises(UsageError, match="MAX_ITEM_LIST_LENGTH"):
        learn("SASRecSQN", train_targets="all_positions", MAX_ITEM_LIST_LENGTH=1)


def test_what_a_window_still_knows_is_learnt_as_from_prefixes(learn):
    """GRU4Rec reads a window from its own start: where nothing is cut off, the numbers are those of the prefix rows."""
    prefixes, _, net = learn("GRU4RecSQN", MAX_ITEM_LIST_LENGTH=6)
    windows, _, _ = learn("GRU4RecSQN", MAX_ITEM_LIST_LENGTH=6, train_targets="all_positions")
    whole = {event: numbers for event, numbers in prefixes.items() if net.columns.history[event] < 6}
    assert len(whole) < len(prefixes)
    agree(whole, {event: windows[event] for event in whole})


@pytest.mark.parametrize("empty_history", [False, True])
def test_hrnnfeat_learns_alike_from_prefixes_positions_and_users(learn, empty_history):
    common = {
        "embedding_size": 6,
        "hidden_size": 6,
        "empty_history": empty_history,
    }
    alone = {**common, "user_state": "none"}
    prefixes, train, _ = learn("HRNNFeatSQN", train_targets="prefixes", **alone)
    assert sorted(prefixes) == expected_events(train, empty_history)
    positions, train, _ = learn("HRNNFeatSQN", **alone)
    assert isinstance(train, PositionTrainLoader)
    agree(prefixes, positions)


@pytest.mark.parametrize("empty_history", [False, True])
def test_hrnnfeat_learns_of_a_visitor_what_it_is_asked_about_later(learn, empty_history):
    """Transitions of a batch of chains, against the states that ranking computes for each prefix on its own."""
    found, train, net = learn(
        "HRNNFeatSQN",
        users="abdfhi",
        user_state="init",
        embedding_size=6,
        hidden_size=6,
        empty_history=empty_history,
        train_batch_size=6,
    )
    assert isinstance(train, UserTrainLoader)
    assert sorted(found) == expected_events(train, empty_history)
    main, other = net.networks
    event_of = {int(p): e for e, p in enumerate(net.columns.place)}
    with torch.no_grad():
        vectors, their_vectors = (network.factored.item_vectors() for network in (main, other))

        def values(network, vectors, event):
            state = network.encoder.row_states({"event_index": torch.tensor([event])}, vectors)
            return (network.q.weight @ state[0] + network.q.bias).masked_fill(~net.actions, -torch.inf)

        for place, (target, value) in found.items():
            event, item = event_of[place], int(net.columns.items[place])
            assert value == pytest.approx(float(values(main, vectors, event)[item]), abs=1e-5)
            reward = float(net.columns.reward[place])
            if not net.columns.closes[place]:
                best = int(values(main, vectors, event + 1).argmax())
                reward += net.settings.gamma * float(values(other, their_vectors, event + 1)[best])
            assert target == pytest.approx(reward, abs=1e-5)
