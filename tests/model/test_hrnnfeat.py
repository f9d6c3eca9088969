"""HRNNFeat against its equations, written out one user and one event at a time, and what each part must do."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recbole_ext.data.positions import PositionBatch
from recbole_ext.model.rows import unit_rows

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
PLAIN = {"readout": False, "pointer": "none"}
VARIANTS = [
    {"user_state": "init", "feature_fusion": "parallel"},
    {"user_state": "init", "feature_fusion": "parallel", **PLAIN},
    {"user_state": "all", "feature_fusion": "gate"},
    {"user_state": "init", "feature_fusion": "sum", "user_to_output": True, "score": "dot"},
    {"user_state": "none", "feature_fusion": "parallel", "hidden_size": 7, "pointer": "user"},
    *(
        {"readout": r, "pointer": p, "user_state": u, "score": s, "look_back": 3, "look_back_past": 4}
        for r, p, u, s in itertools.product(
            (True, False), ("none", "session", "user"), ("none", "init"), ("cosine", "dot")
        )
    ),
]


@pytest.fixture
def items():
    """Features of every kind for 30 items, some missing."""
    random = np.random.default_rng(5)
    rows = []
    for i in range(30):
        price = "" if i % 9 == 0 else round(float(random.lognormal(3, 1)), 2)
        scores = " ".join(str(round(float(x), 2)) for x in random.normal(size=3))
        rows.append(
            {
                "item_id": f"i{i}",
                "category": "" if i % 7 == 0 else f"c{i % 4}",
                "price": price,
                "tags": " ".join(f"t{t}" for t in random.integers(0, 8, random.integers(0, 4))),
                "scores": scores,
            }
        )
    return rows


@pytest.fixture
def build(write_log, make_config):
    """(config, train, valid, test loaders, model) of HRNNFeat on a log."""

    def make(rows, items=None, split=SPLIT, seed=3, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, init_seed

        write_log(rows, items=items)
        defaults = {"embedding_size": 6, "hidden_size": 6}
        config = make_config("HRNNFeat", split=split, **{**defaults, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(seed, True)
        model = get_model("HRNNFeat")(config, loaders[0]._dataset)
        return config, *loaders, model.eval()

    return make


def scores_of(model, loader):
    """(T, n_items) scores of all rows, in the order of the data set; the loader goes by length."""
    found = torch.empty(len(loader._dataset), model.n_items)
    with torch.no_grad():
        scores = torch.cat([model.full_sort_predict(batch[0]) for batch in loader])
    found[torch.from_numpy(loader.row_order)] = scores
    return found


def train(config, model, loader, epochs, rate=0.02):
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
    return model.eval()


def gru(weights, x, h):
    """One step of torch's GRU cell from its four weights."""
    w_ih, w_hh, b_ih, b_hh = weights
    i_r, i_z, i_n = (w_ih @ x + b_ih).chunk(3)
    h_r, h_z, h_n = (w_hh @ h + b_hh).chunk(3)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
    return (1 - z) * torch.tanh(i_n + r * h_n) + z * h


def attention(net, state, keys, distances):
    """Weights of keys for a state, as the docstring of pointer.py has them."""
    logits = []
    for key, distance in zip(keys, distances):
        product = (net.query.weight @ state) @ (net.key.weight @ key)
        logits.append(
            product.item() / math.sqrt(len(key)) + (net.liked @ key).item() + net.by_distance[distance].item()
        )
    odds = [math.exp(logit - max(logits)) for logit in logits]
    return [o / sum(odds) for o in odds]


def states_by_the_book(model, history, prefix):
    """States after every event of `prefix`, following earlier sessions `history`."""
    table = model.items.table()
    parts, hidden = model.items.parts, model.hidden
    c = torch.zeros(hidden)
    for number, session in enumerate([*history, prefix]):
        states = []
        for part, net in enumerate(model.session_grus):
            weights = [getattr(net, f"{n}_l0") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            h = torch.zeros(hidden)
            if model.user_state != "none" and number > 0:
                h = torch.tanh(model.init_maps[part].weight @ c + model.init_maps[part].bias)
            states.append([])
            for item in session:
                x = table[item].split(parts)[part]
                h = gru(weights, torch.cat((x, c)) if model.user_state == "all" else x, h)
                states[-1].append(h)
        if session is prefix:
            break
        if model.user_state != "none":
            cell = model.user_gru
            last = torch.cat([of_part[-1] for of_part in states])
            c = gru([cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh], last, c)
    if model.user_to_output:
        states = [[h + model.user_outputs[part].weight @ c for h in of] for part, of in enumerate(states)]
    mapped = [[model.outputs[part](h) for h in of_part] for part, of_part in enumerate(states)]
    return [torch.cat(pieces) for pieces in zip(*mapped)]


def by_the_book(model, history, prefix, past=(), allowed=None):
    """Scores after `prefix`, following earlier sessions `history`, by the equations of the class docstring.

    Where there is a pointer: log p. past: the user's earlier items, newest first. allowed: (n_items,) bool, the items
    of the softmax; None: those that are rankable.
    """
    table, look = model.items.table(), model.look_back
    states = states_by_the_book(model, history, prefix)
    out = states[-1]
    if look is not None:
        keys = [(i, h) for i, h in enumerate(states) if len(states) - 1 - i < look.window and prefix[i] != 0]
        ago = [len(states) - 1 - i for i, _ in keys]
    if look is not None and look.reads:
        found = torch.zeros_like(out)
        if keys:
            for (i, _), a in zip(keys, attention(look.readout, out, [h for _, h in keys], ago)):
                found = found + a * table[prefix[i]]
        both = (F.normalize(out, dim=0), F.normalize(found, dim=0)) if look.unit else (out, found)
        read = look.mix.weight @ torch.cat(both)
    else:
        read = out
    if model.scoring.kind == "cosine":
        scores = F.normalize(table, dim=1) @ F.normalize(read, dim=0) / model.scoring.temperature
    else:
        scores = table @ read
    if look is None or not look.points:
        for item in set(prefix):
            scores[item] += 0 if model.items.seen[item] else 1.0  # repeat_bias
        return scores
    past = list(past)[: look.past_limit]
    gates = [1.0, 0.0, 0.0]
    for number, there in enumerate((keys, past)[: len(look.gates.bias)]):
        logit = look.gates.weight[number] @ out + look.gates.bias[number]
        gates[number + 1] = math.exp(logit) if there else 0.0
    gates = [g / sum(gates) for g in gates]
    p = torch.zeros(len(table))
    allowed = model.rankable() if allowed is None else allowed
    p[allowed] = gates[0] * F.softmax(scores[allowed], 0)
    if keys:
        for (i, _), b in zip(keys, attention(look.session, out, [h for _, h in keys], ago)):
            p[prefix[i]] += gates[1] * b
    if look.past_limit and past:
        for item, c in zip(past, attention(look.user, out, [table[i] for i in past], range(len(past)))):
            p[item] += gates[2] * c
    return p.log()


def shaken(model, seed=0):
    """The model with noise on what looks back, where much is zero or alike at first."""
    if model.look_back is not None:
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.look_back.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.5)
    return model


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_batched_scores_equal_the_equations_one_user_at_a_time(build, random_log, items, variant):
    rows = random_log(sessions=50, ties=False)
    _, _, _, test, model = build(rows, items, **variant)
    ours = scores_of(shaken(model), test)
    data = test._dataset
    token = data.field2token_id["item_id"]
    events = {}
    for row in rows:
        events.setdefault(row["session_id"], []).append(row)
    returning, cut, behind = 0, 0, 0
    for number, index in enumerate(data.inter_feat["event_index"].tolist()):
        row = data.inter_feat[number]
        session = events[data.id2token("session_id", int(row["session_id"]))]
        length = int(row["item_length"])
        user, start = session[0]["user_id"], session[0]["timestamp"]
        mine = [other for other in events.values() if user and other[0]["user_id"] == user]
        history = [
            [token[e["item_id"]] for e in other if e["timestamp"] <= following(events, other)]
            for other in mine
            if before(events, other, session)
        ]
        log = sorted((e["timestamp"], s, n, e) for s, other in enumerate(mine) for n, e in enumerate(other))
        log = [e for *_, e in log]
        past = [token[e["item_id"]] for e in (log[: log.index(session[0])] if log else [])]
        prefix = [token[e["item_id"]] for e in session[:length]]
        with torch.no_grad():
            expected = by_the_book(model, history if model.user_state != "none" else [], prefix, past[::-1])
        known = ours[number] > -torch.inf
        found, expected = ours[number][known], expected[known]
        if model.look_back is not None and model.look_back.points:  # log p, but for one number a row
            assert expected.exp().sum().item() == pytest.approx(1, abs=1e-5)
            found = found.log_softmax(0)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        returning += bool(history)
        cut += len(prefix) > 3
        behind += len(past) > 4
        assert start >= 0 and index > 0
    assert returning > 5, "no row had an earlier session"
    assert cut > 5 and behind > 5, "nothing lay outside the windows"


def before(events, one, other):
    order = list(events)
    return order.index(one[0]["session_id"]) < order.index(other[0]["session_id"])


def following(events, session):
    """Start of the user's next session."""
    user, later = session[0]["user_id"], False
    for other in events.values():
        if later and other[0]["user_id"] == user:
            return other[0]["timestamp"]
        later = later or other is session
    return float("inf")


def test_rows_alone_score_as_in_a_batch(build, random_log, items):
    _, _, _, test, model = build(random_log(), items, user_state="all")
    together = scores_of(model, test)
    with torch.no_grad():
        for number in range(len(test._dataset)):
            alone = model.full_sort_predict(test._dataset[np.array([number])])
            torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=1e-5)


def visits(first):
    """A returning user whose first session holds `first`, and a fixed rest; enough sessions to split by time."""
    sessions = [
        ("z1", "", ["i1", "i2", "i3", "i4", "i5", "i6"]),  # ids are given in order of appearance
        ("a1", "a", first),
        ("b1", "b", ["i1", "i2", "i3"]),
        ("a2", "a", ["i1", "i2", "i4"]),
        ("d1", "d", ["i1", "i2", "i4"]),
    ]
    return [
        {"session_id": s, "user_id": u, "item_id": item, "timestamp": float(100 * number + step)}
        for number, (s, u, chosen) in enumerate(sessions)
        for step, item in enumerate(chosen)
    ]


@pytest.mark.parametrize("state", ["init", "all"])
def test_the_first_session_changes_the_second_and_only_that(build, state):
    share = {"session_time": [0.6, 0.0, 0.4]}
    scores = []
    for first in (["i5", "i6", "i3"], ["i6", "i3", "i5"]):
        _, _, _, test, model = build(visits(first), split=share, user_state=state)
        sessions = test._dataset.id2token("session_id", test._dataset.inter_feat["session_id"])
        scores.append(scores_of(model, test)[:, 1:])
    second, first = sessions == "a2", sessions == "d1"
    assert second.sum() == first.sum() == 2
    assert torch.equal(scores[0][first], scores[1][first])
    assert not torch.allclose(scores[0][second], scores[1][second], atol=1e-3)
    assert torch.equal(scores[0][second], scores[0][first]) is False


def test_the_gradient_flows_through_the_user_level(build):
    split = {"session_time": [0.8, 0.0, 0.2]}
    _, loader, _, _, model = build(visits(["i5", "i6", "i3"]), split=split, user_state="init")
    model.train()
    model.dropout_input.p = model.dropout_session.p = 0.0
    sequences = loader.sequences
    chain = next(c for c in loader.chains if len(c) == 2)
    batch = sequences.train_batch([chain])
    table = model.items.table().detach().requires_grad_()
    states = model.encode(batch, table[batch.items])
    second = batch.session_step[batch.event_session] == 1
    states[second].sum().backward()
    first_items = batch.items[~second]
    only_first = [i for i in first_items.tolist() if i not in batch.items[second].tolist()]
    assert only_first and all(table.grad[i].abs().sum() > 0 for i in only_first)


def test_a_log_without_users_is_a_plain_recurrent_network(build, random_log, caplog):
    rows = [{k: v for k, v in row.items() if k != "user_id"} for row in random_log()]
    with caplog.at_level("INFO"):
        _, _, _, test, model = build(rows, user_state="init")
    assert model.user_state == "none" and not hasattr(model, "user_gru") and model.past_limit == 0
    assert "no user has a second session" in caplog.text and "no user has a second" in model.notes[0]
    assert torch.isfinite(scores_of(model, test)[:, 1:]).any()


def test_features_off_is_features_absent(build, random_log, items):
    rows = random_log()
    results = []
    for table, settings in ((None, {}), (items, {"item_features": []})):
        config, loader, _, test, model = build(rows, table, **settings)
        train(config, model, loader, 2)
        tokens = test._dataset.field2token_id["item_id"]
        columns = [tokens[t] for t in sorted({row["item_id"] for row in rows})]
        results.append(scores_of(model, test)[:, columns])
    assert torch.equal(*results)


def test_features_of_every_kind_reach_the_score(build, random_log, items):
    rows = random_log()
    _, _, _, test, model = build(rows, items)
    assert set(model.items.features.fields) == {"category", "price", "tags", "scores"}
    before_change = scores_of(model, test)
    for field in model.items.features.fields:
        features = model.items.features
        of_tokens = field in features.tokens
        values = features.tokens[field].table_0 if of_tokens else getattr(features, f"value_{field}")
        kept = values.clone()
        values.zero_()
        assert not torch.allclose(scores_of(model, test), before_change), field
        values.copy_(kept)


def test_unseen_items_are_known_by_their_features_alone(build, random_log, items):
    rows = random_log()
    late = max(row["timestamp"] for row in rows) + 100
    for step, item in enumerate(["i1", "i2"]):
        rows.append(
            {"session_id": "z", "user_id": "", "item_id": item, "timestamp": late + step, "event": "view"}
        )
    extra = [{**items[1], "item_id": "new"}, {**items[0], "item_id": "bare", "category": "", "price": ""}]
    extra[1].update(tags="", scores="")
    _, _, _, test, model = build(rows, items + extra, item_features=["category", "tags"])
    tokens = test._dataset.field2token_id["item_id"]
    before_change = scores_of(model, test)
    with torch.no_grad():
        model.items.ids.weight[tokens["new"]] += 100.0
    assert torch.equal(scores_of(model, test), before_change), "a random id vector took part"
    assert torch.isfinite(before_change[:, tokens["new"]]).all()
    assert torch.isinf(before_change[:, tokens["bare"]]).all(), "nothing is known of it, so it ranks last"


def test_id_dropout_leaves_the_features(build, random_log, items):
    _, _, _, _, model = build(random_log(), items, id_dropout=1.0, feature_fusion="sum")
    model.train()
    with torch.no_grad():
        assert torch.equal(model.items.table(), model.items.features())
        model.eval()
        assert not torch.allclose(model.items.table(), model.items.features())


def toy():
    """20 sessions whose next item follows from the item before it."""
    rows = []
    for number in range(20):
        for step in range(4):
            item = f"i{(number * 3 + step) % 12}"
            rows.append(
                {
                    "session_id": f"s{number}",
                    "user_id": f"u{number % 8}",
                    "item_id": item,
                    "timestamp": float(number * 100 + step),
                }
            )
    return rows


@pytest.mark.parametrize(
    "settings",
    [{"loss_type": loss, "pointer": "none"} for loss in ("BPR", "TOP1")]
    + [{"user_state": "all", "feature_fusion": "gate"}, {"feature_fusion": "sum", "score": "dot"}],
    ids=lambda s: "-".join(s.values()),
)
def test_tiny_log_is_learnt_by_heart(build, settings):
    features = [{"item_id": f"i{i}", "category": f"c{i % 3}"} for i in range(12)]
    config, loader, _, test, model = build(
        toy(),
        features,
        split={"session_time": [0.8, 0.0, 0.2]},
        embedding_size=16,
        hidden_size=16,
        dropout_input=0.0,
        dropout_session=0.0,
        dropout_readout=0.0,
        id_dropout=0.0,
        **settings,
    )
    train(config, model, loader, 60)
    scores = scores_of(model, test)
    best = scores.argmax(1)
    assert (best == test._dataset.inter_feat["item_id"]).all()


@pytest.mark.parametrize("pointer", ["none", "session", "user"])
def test_loss_is_the_mean_over_all_targets(build, pointer):
    split = {"session_time": [0.8, 0.0, 0.2]}
    _, loader, _, _, model = build(
        visits(["i5", "i6", "i3"]), split=split, pointer=pointer, user_state="init"
    )
    shaken(model)
    sequences = loader.sequences
    batch = sequences.train_batch(loader.chains)
    with torch.no_grad():
        total = []
        for chain in loader.chains:
            done = []
            for session in chain:
                begin = sequences.start[session]
                seen = sequences.items[begin : begin + sequences.train_length[session]].tolist()
                past = sum(done, [])[::-1]
                for n in range(1, len(seen)):
                    total.append(-log_p(model, done, seen[:n], past)[seen[n]].item())
                done.append(seen)
        assert model.calculate_loss(batch).item() == pytest.approx(np.mean(total), abs=1e-5)


@pytest.mark.parametrize("user_state", ["none", "init", "all"])
@pytest.mark.parametrize("fusion, pointer", [("parallel", "user"), ("sum", "session"), ("parallel", "none")])
def test_what_is_fast_on_a_cpu_has_the_slow_way_s_loss_and_gradients(
    build, random_log, items, monkeypatch, user_state, fusion, pointer
):
    _, loader, _, _, model = build(
        random_log(), items, user_state=user_state, feature_fusion=fusion, pointer=pointer, dropout_user=0.2
    )
    if pointer == "user" and hasattr(loader, "read_past"):
        loader.read_past(model.past_limit)
    shaken(model).train()
    batches = list(loader)
    assert batches and isinstance(batches[0], PositionBatch) == (user_state == "none")

    def steps():
        torch.manual_seed(7)
        found = []
        for batch in batches[:4]:
            model.zero_grad()
            loss = model.calculate_loss(batch)
            loss.backward()
            found += [loss.detach(), *(w.grad.clone() for w in model.parameters() if w.grad is not None)]
        return found

    fast = steps()
    plain = {
        "scores.products._has_onednn": lambda: False,
        "model.hrnnfeat.on_cpu": lambda _: False,
        "model.pointer.known_alone": lambda past: (past, torch.arange(len(past))),
        "model.item_encoder.joined": lambda e, f, kept: torch.cat((e * kept.unsqueeze(1), f), dim=1),
        "model.objective.chosen_unit_rows": lambda x, rows, made: unit_rows(x)[rows],
        "model.pointer.LookBack._by_hand": lambda *_: False,
        "model.item_features.FeatureEncoder._multiplies": lambda _: False,
    }
    for name, way in plain.items():
        monkeypatch.setattr(f"recbole_ext.{name}", way)
    slow = steps()
    assert len(fast) == len(slow)
    for one, other in zip(fast, slow):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()) + 1e-9)


@pytest.mark.parametrize("settings", [{}, {"pointer": "none", "readout": False}])
def test_epochs_are_the_same_with_another_thread(build, random_log, items, settings, two_threads):
    """Of the trainer, whose masks, directions and gradients of items are made beside: losses, weights and what is drawn
    next."""
    from recbole.utils import get_trainer, init_seed

    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        config, loader, _, _, model = build(random_log(), items, user_state="none", **settings)
        trainer = get_trainer(config["MODEL_TYPE"], "HRNNFeat")(config, model)
        init_seed(5, True)
        losses = [float(trainer._train_epoch(loader, epoch)) for epoch in range(2)]
        assert torch.get_num_threads() == threads
        found.append([torch.tensor(losses), *(w.detach().clone() for w in model.parameters()), torch.rand(3)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def log_p(model, history, prefix, past=()):
    """(n_items,) log of the probabilities that training knows, softmax over the training items."""
    scores = by_the_book(model, history, prefix, past, model.items.seen)
    if model.look_back.points:
        return scores
    return scores - scores[model.items.seen].logsumexp(0)


@pytest.mark.parametrize("pointer", ["none", "session", "user"])
def test_recbole_s_own_rows_train_it_too(build, random_log, pointer):
    off = dict.fromkeys((*DROPOUTS, "dropout_readout", "id_dropout"), 0.0)
    split = {"session_time": [0.8, 0.0, 0.2]}
    _, loader, _, _, model = build(random_log(items=10), split=split, pointer=pointer, **off)
    shaken(model).train()
    data = loader._dataset
    batch = data[np.arange(0, len(data), 9)]
    pasts = [[]] * len(batch)
    if pointer == "user":
        found = data.past.of_events(batch["event_index"], 100, training=True)
        pasts = [[item for item in row.tolist() if item] for row in found]
        assert any(pasts) and not all(pasts)
    with torch.no_grad():
        expected = [
            -log_p(model, [], prefix[prefix > 0].tolist(), past)[target].item()
            for prefix, past, target in zip(batch["item_id_list"], pasts, batch["item_id"])
        ]
    assert model.calculate_loss(batch).item() == pytest.approx(np.mean(expected), abs=1e-5)


def with_a_future(rows):
    """The log with a last session of items, and feature values, that no earlier session has."""
    late = max(row["timestamp"] for row in rows) + 100
    future = {"session_id": "future", "user_id": "", "event": "view"}
    return rows + [{**future, "item_id": f"f{n}", "timestamp": late + n} for n in range(3)]


def test_the_future_is_no_candidate_and_shapes_no_feature(build, random_log, items):
    price = {"category": "cf", "price": 1e6, "tags": "t1 tf", "scores": "9 9 9"}
    table = [*items, *({"item_id": f"f{n}", **price} for n in range(3))]
    split = {"session_time": [0.8, 0.0, 0.2]}
    _, _, _, test, model = build(with_a_future(random_log()), table, split=split)
    data = test._dataset
    token = data.field2token_id["item_id"]
    future = [token[f"f{n}"] for n in range(3)]
    assert not set(future) & set(model.objective.candidates.tolist())
    assert sorted(model.objective.candidates.tolist()) == np.flatnonzero(data.train_items).tolist()
    features = model.items.features
    assert (features.tokens["category"].table_0[future] == 0).all(), "no training item has this category"
    assert set(features.tokens["tags"].table_0[future].flatten().tolist()) == {0, data.token2id("tags", "t1")}
    # standardised by training items with a price, worked out from the table
    prices = {row["item_id"]: row["price"] for row in items if row["price"] != ""}
    known = {n: float(v) for n, v in prices.items() if n in token and data.train_items[token[n]]}
    mean, scale = np.mean(list(known.values())), np.std(list(known.values()))
    for name, value in known.items():
        expected = np.clip((value - mean) / scale, -5, 5)
        assert features.value_price[token[name]].item() == pytest.approx(expected, abs=1e-4)
    assert (features.value_price[future] == 5).all(), "an absurd price is cut"


def test_a_missing_number_adds_nothing(build, random_log, items):
    rows = with_a_future(random_log())
    bare = {"category": "", "tags": ""}
    table = [
        *items,
        {"item_id": "f0", "price": "", "scores": "", **bare},
        {"item_id": "f1", "price": "", "scores": "1.0", **bare},
    ]
    columns = list(items[0])
    table = [{column: row[column] for column in columns} for row in table]
    _, _, _, test, model = build(rows, table)
    token = test._dataset.field2token_id["item_id"]
    features = model.items.features
    without_price = [token[row["item_id"]] for row in items if row["price"] == "" and row["item_id"] in token]
    assert without_price and (features.value_price[without_price] == 0).all()
    assert (features.value_scores[token["f0"]] == 0).all()
    assert (features.value_scores[token["f1"]] != 0).tolist() == [True, False, False]
    ranked = torch.isfinite(scores_of(model, test)[0])
    assert not ranked[token["f0"]] and not ranked[token["f2"]], "nothing is known of them"
    assert ranked[token["f1"]]


DROPOUTS = ("dropout_input", "dropout_user", "dropout_session", "dropout_init")


@pytest.mark.parametrize("knob", DROPOUTS)
def test_each_dropout_acts_in_training_only(build, knob):
    split = {"session_time": [0.8, 0.0, 0.2]}
    off = dict.fromkeys((*DROPOUTS, "id_dropout"), 0.0)
    _, loader, _, _, model = build(
        visits(["i5", "i6", "i3"]), split=split, user_state="init", **{**off, knob: 0.5}
    )
    batch = loader.sequences.train_batch([next(c for c in loader.chains if len(c) == 2)])
    second = batch.session_step[batch.event_session] == 1
    with torch.no_grad():
        table = model.items.table()
        still = [model.encode(batch, table[batch.items]) for _ in range(2)]
        model.train()
        moving = [model.encode(batch, table[batch.items]) for _ in range(4)]
    assert torch.equal(*still)
    assert any(not torch.equal(moving[0][second], other[second]) for other in moving[1:])
    if knob in ("dropout_user", "dropout_init"):  # the first session starts from zero
        assert all(torch.equal(still[0][~second], other[~second]) for other in moving)


def test_id_dropout_takes_about_its_share(build, random_log, items):
    _, _, _, _, model = build(
        random_log(), items, id_dropout=0.4, feature_fusion="parallel", embedding_size=4
    )
    model.train()
    with torch.no_grad():
        tables = [model.items.table()[model.items.seen][:, :4] for _ in range(200)]
    dropped = [(table == 0).all(1).float().mean().item() for table in tables]
    assert 0.35 < np.mean(dropped) < 0.45


def test_it_brings_its_data_set_under_every_layout(build, random_log):
    _, _, _, test, model = build(random_log(), data_layout="recbole", split={"LS": "valid_and_test"})
    assert torch.isfinite(scores_of(model, test)[:, 1:]).any()


@pytest.mark.parametrize(
    "key, value", [("loss_type", "TOP2"), ("user_state", "most"), ("feature_fusion", "mix")]
)
def test_wrong_choices_are_named(build, random_log, items, key, value):
    from recbole_ext.errors import UsageError

    with pytest.raises(UsageError, match=f"{key} is '{value}'"):
        build(random_log(), items, **{key: value})
