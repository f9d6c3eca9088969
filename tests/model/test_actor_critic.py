"""The loss of SQN, SAC, SNQN and SA2C on real encoders, against one transition at a time in plain Python.

The reference asks an encoder for the state of one prefix at a time and reads Q(s, a) off the head's weights; batches,
next rows, positions and chunks of scores are none of its business.
"""

import math

import numpy as np
import pytest
import torch

from recbole_ext.data.positions import PositionBatch
from recbole_ext.errors import UsageError

# sessions of items; i9 occurs in the test session alone, so it is no action
SESSIONS = ["124", "31", "5", "25134", "413", "2354", "15", "32", "191"]
KINDS = ("view", "addtocart", "view", "view", "transaction")
REWARDS = {"view": 0.2, "addtocart": 1.0, "transaction": 1.5}
LONGEST = 3  # the fourth session's last prefix has one more, which is cut off
ROWS = [
    {
        "session_id": f"s{n}",
        "item_id": f"i{item}",
        "timestamp": 100 * n + k,
        "event": KINDS[(n + 2 * k) % 5],
    }
    for n, items in enumerate(SESSIONS)
    for k, item in enumerate(items)
]
NEGATIVES = 2


@pytest.fixture
def build(write_log, make_config):
    """(loader, model in eval mode, trainer) with weights far from zero."""

    def make(model, **settings):
        import recbole.data
        from recbole.utils import get_model, get_trainer, init_seed

        write_log(ROWS)
        known = {
            "split": {"session_time": [7, 1, 1]},
            "rewards": REWARDS,
            "MAX_ITEM_LIST_LENGTH": LONGEST,
            "hidden_size": 8,
            "embedding_size": 8,
            "inner_size": 8,
            "train_batch_size": 1000,
            "length_buckets": False,
        }
        config = make_config(model, **{**known, **settings})
        loaders = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
        init_seed(3, True)
        net = get_model(model)(config, loaders[0]._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, net)
        trainer._meet_training(loaders[0])
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            for network in net.networks:  # what is no action would be the best one
                network.q.bias[~net.actions] += 9.0
        net.negatives.draw = lambda unlike, number: drawn_for(net, unlike.tolist(), number)
        return loaders[0], net.eval(), trainer

    return make


def drawn_for(net, actions, number):
    """Negatives that are a function of the action alone: the training items that follow it."""
    known = torch.nonzero(net.actions).squeeze(1).tolist()
    return torch.tensor(
        [[known[(known.index(a) + k) % len(known)] for k in range(1, number + 1)] for a in actions]
    )


def transitions(dataset, config):
    """[(prefix, action, reward, done, next logged action)] of training, written from SESSIONS."""
    token = dataset.field2token_id["item_id"]
    found = []
    for n, session in enumerate(SESSIONS[:7]):
        items = [token[f"i{item}"] for item in session]
        for k in range(1, len(items)):
            reward = REWARDS[KINDS[(n + 2 * k) % 5]]
            if config["reward_signal"] == "history":
                longest = config["MAX_ITEM_LIST_LENGTH"]
                reward = min(k, longest) / longest
            following = items[k + 1] if k + 1 < len(items) else None
            found.append((items[:k], items[k], reward, following is None, following))
    return found


def state_of(encoder, items):
    """(d,) state of one prefix, by the encoder's own forward."""
    items = items[-LONGEST:]
    padded = torch.tensor([items + [0] * (LONGEST - len(items))])
    length = torch.tensor([len(items)])
    given = (padded,) if type(encoder).__name__ == "NextItNet" else (padded, length)
    return encoder.forward(*given)[0]


def q_values(network, items):
    """Q(s, a) of all items as a list of floats."""
    encoder = network.encoder if network.critic_encoder is None else network.critic_encoder
    state = state_of(encoder, items).tolist()
    weight, bias = network.q.weight.tolist(), network.q.bias.tolist()
    rows = weight
    if network.q.tied:  # score = (M s) · v + b
        state = [sum(m * s for m, s in zip(row, state)) for row in weight]
        rows = encoder.item_embedding.weight.tolist()
    return [sum(s * r for s, r in zip(state, row)) + b for row, b in zip(rows, bias)]


def chances(network, items, scoring):
    """Softmax of the supervised head, as a list of floats."""
    state, vectors = state_of(network.encoder, items), network.encoder.item_embedding.weight
    if network.supervised is not None:
        scores = network.supervised.weight @ state + network.supervised.bias
    elif scoring["score"] == "cosine":
        scores = torch.stack([torch.cosine_similarity(state, v, dim=0) for v in vectors])
        scores = scores / scoring["temperature"]
    else:
        scores = vectors @ state
    return torch.softmax(scores.double(), 0).tolist()


@torch.no_grad()
def reference_loss(net, dataset, candidates=None):
    """The mean over all training transitions of everything that a transition adds, by the settings in net.config."""
    config = net.config
    gamma, logged = config["gamma"], config["next_action"] == "logged"
    main, other = net.networks[net.trained], net.networks[1 - net.trained]
    actions = [a for a, known in enumerate(net.actions.tolist()) if known]
    bootstraps = gamma > 0 and config["reward_signal"] != "history"
    low, high = config["actor_clip"]
    events = "".join(SESSIONS[:7])
    total, found = 0.0, transitions(dataset, config)
    for prefix, action, reward, done, following in found:
        q = q_values(main, prefix)
        target = reward
        if bootstraps and not done:
            after = [*prefix, action]
            ahead = q_values(main, after)
            chosen = following if logged else max(actions, key=lambda a: ahead[a])
            target += gamma * q_values(other, after)[chosen]
        loss = 0.5 * (target - q[action]) ** 2

        negatives = drawn_for(net, [action], config["rl_negatives"])[0].tolist()
        stay = 0.0
        if bootstraps and negatives:
            stay = gamma * q_values(other, prefix)[max(actions, key=lambda a: q[a])]
        loss += config["negative_weight"] * sum(0.5 * (stay - q[a]) ** 2 for a in negatives)
        loss *= config["q_weight"]

        if config["cql_weight"]:
            compared = q if candidates is None else [q[action]] + [q[a] for a in candidates if a != action]
            loss += config["cql_weight"] * (math.log(sum(map(math.exp, compared))) - q[action])

        weight = 1.0
        if config["actor_weight"] == "reward":
            weight = reward
        elif config["actor_weight"] != "none" and net.steps >= net.warm_up_steps:
            weight = q[action]
            if config["actor_weight"] == "advantage":
                together = [q[action]] + [q[a] for a in negatives]
                weight -= sum(together) / len(together)
            weight = min(max(weight, low), high)
        chance = chances(main, prefix, config)[action]
        if config["smooth"]:
            token = dataset.field2id_token["item_id"][action]
            behaviour = events.count(token[1:]) / len(events)
            weight *= min(max(chance / behaviour, 0.1), 10.0) ** config["smooth"]
        total += loss - weight * math.log(chance)
    return total / len(found)


def all_rows(loader):
    return loader._dataset[np.arange(len(loader._dataset))]


CASES = {
    "SQN": ("SASRecSQN", {}),
    "SQN tied": ("SASRecSQN", {"q_head": "tied"}),
    "SQN lagged": ("SASRecSQN", {"target_network": "lagged"}),
    "SQN weighs": ("SASRecSQN", {"q_weight": 0.3}),
    "SQN free supervised head": ("SASRecSQN", {"supervised_head": "free"}),
    "SQN two encoders": ("SASRecSQN", {"separate_encoder": True}),
    "SQN two encoders tied": ("SASRecSQN", {"separate_encoder": True, "q_head": "tied"}),
    "SQN cosine": ("SASRecSQN", {"score": "cosine", "temperature": 0.5}),
    "EVAL": ("SASRecSQN", {"next_action": "logged"}),
    "HIST": ("SASRecSNQN", {"reward_signal": "history", "rl_negatives": NEGATIVES}),
    "gamma 0": ("SASRecSNQN", {"gamma": 0, "rl_negatives": NEGATIVES}),
    "gamma .9": ("SASRecSQN", {"gamma": 0.9}),
    "conservative": ("SASRecSQN", {"cql_weight": 0.7}),
    "conservative tied": ("SASRecSQN", {"cql_weight": 0.7, "q_head": "tied"}),
    "sampled": ("SASRecSNQN", {"q_actions": "sampled", "q_candidates": 500, "rl_negatives": NEGATIVES}),
    "SNQN": ("SASRecSNQN", {"rl_negatives": NEGATIVES, "negative_weight": 0.4, "q_weight": 0.5}),
    "SNQN tied": ("SASRecSNQN", {"rl_negatives": NEGATIVES, "q_head": "tied"}),
    "SAC": ("SASRecSAC", {}),
    "SAC clipped": ("SASRecSAC", {"actor_clip": [0.3, 0.6], "q_head": "tied"}),
    "SA2C": ("SASRecSA2C", {"rl_negatives": NEGATIVES}),
    "SA2C clipped": ("SASRecSA2C", {"rl_negatives": NEGATIVES, "actor_clip": [-1, 0.1]}),
    "SA2C off policy": ("SASRecSA2C", {"rl_negatives": NEGATIVES, "smooth": 0.7}),
    "SA2C off policy free": (
        "SASRecSA2C",
        {"rl_negatives": NEGATIVES, "smooth": 0.7, "supervised_head": "free"},
    ),
    "reward": ("SASRecSQN", {"actor_weight": "reward", "q_weight": 0.0}),
    "GRU4Rec": ("GRU4RecSA2C", {"rl_negatives": NEGATIVES}),
    "NARM": ("NARMSNQN", {"rl_negatives": NEGATIVES, "q_head": "tied", "dropout_probs": [0, 0]}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_one_transition_at_a_time(build, case):
    model, settings = CASES[case]
    loader, net, _ = build(model, **settings)
    assert len(loader._dataset) == 13 and int(net.actions.sum()) == 5
    losses = []
    for trained in (0, 1) if settings.get("target_network") != "lagged" else (0,):
        net.trained = trained
        net.steps = net.warm_up_steps
        losses.append(net.calculate_loss(all_rows(loader)).item())
        assert losses[-1] == pytest.approx(reference_loss(net, loader._dataset), rel=1e-4)
        if net.actor_weight in ("q", "advantage"):  # before the warm-up is over, too
            net.steps = net.warm_up_steps - 1
            assert net.warm_up_steps == 3
            assert net.calculate_loss(all_rows(loader)).item() == pytest.approx(
                reference_loss(net, loader._dataset), rel=1e-4
            )
            assert abs(reference_loss(net, loader._dataset) - losses[-1]) > 1e-3
    assert len(set(losses)) == len(losses), "the two networks differ"


@pytest.mark.parametrize("case", [c for c in CASES if c != "NARM"])
def test_positions_give_the_loss_of_the_rows(build, case):
    """Where every session is short: the loss and what is logged of it."""
    model, settings = CASES[case]
    settings = {**settings, "MAX_ITEM_LIST_LENGTH": 4}
    seen = []
    for layout in ("prefixes", "all_positions"):
        loader, net, _ = build(model, train_targets=layout, **settings)
        net.steps = net.warm_up_steps
        (batch,) = list(loader)
        loss = net.calculate_loss(batch).item()
        logged = net.diagnostics(1)
        net.select = False  # as CUDA graphs want it
        net.negatives.draw = padded_draw(net)
        assert net.calculate_loss(batch).item() == pytest.approx(loss, rel=1e-5)
        assert net.diagnostics(1) == pytest.approx(logged, rel=1e-4, abs=1e-6)
        seen.append((loss, logged))
    (rows, logged), (positions, also_logged) = seen
    assert positions == pytest.approx(rows, rel=1e-5)
    assert also_logged == pytest.approx(logged, rel=1e-4, abs=1e-6)


def padded_draw(net):
    def draw(unlike, number):
        known = int(torch.nonzero(net.actions)[0])
        return drawn_for(net, [a or known for a in unlike.tolist()], number)

    return draw


def test_candidates_that_hold_the_best_or_not(build):
    """Sampled actions: the best of those drawn and of the logged one; the conservative penalty over the same."""
    settings = {"q_actions": "sampled", "q_candidates": 3, "cql_weight": 0.5}
    loader, net, _ = build("SASRecSNQN", rl_negatives=NEGATIVES, **settings)
    token = loader._dataset.field2token_id["item_id"]
    drawn = [token["i1"], token["i1"], token["i4"]]
    net.negatives.some = lambda number: torch.tensor(drawn[:number])
    found = net.calculate_loss(all_rows(loader)).item()
    main, other = net.networks
    total, steps = 0.0, transitions(loader._dataset, net.config)
    with torch.no_grad():
        for prefix, action, reward, done, following in steps:
            q, target = q_values(main, prefix), reward
            if not done:
                ahead, after = q_values(main, [*prefix, action]), q_values(other, [*prefix, action])
                target += 0.5 * after[max([*drawn, following], key=lambda a: ahead[a])]
            stay = 0.5 * q_values(other, prefix)[max([*drawn, action], key=lambda a: q[a])]
            total += 0.5 * (target - q[action]) ** 2
            total += sum(0.5 * (stay - q[a]) ** 2 for a in drawn_for(net, [action], NEGATIVES)[0].tolist())
            compared = [q[action]] + [q[a] for a in drawn if a != action]
            total += 0.5 * (math.log(sum(map(math.exp, compared))) - q[action])
            total -= math.log(chances(main, prefix, net.config)[action])
    assert found == pytest.approx(total / len(steps), rel=1e-4)


@pytest.mark.parametrize("encoder", ["NextItNet", "Caser"])
def test_what_an_encoder_adds_of_its_weights_stays(build, encoder):
    loader, net, _ = build(f"{encoder}SQN")
    assert net.extra_terms
    rows, main = all_rows(loader), net.networks[0].encoder
    with torch.no_grad():
        own = float(torch.as_tensor(main.calculate_loss(rows)))
        plain = torch.nn.functional.cross_entropy(main.full_sort_predict(rows), rows["item_id"]).item()
        whole = net.calculate_loss(rows).item()
    assert own - plain > 1e-4
    if encoder == "NextItNet":
        assert whole == pytest.approx(reference_loss(net, loader._dataset) + own - plain, rel=1e-4)
    net.extra_terms = False
    assert whole - net.calculate_loss(rows).item() == pytest.approx(own - plain, rel=1e-3)


def test_the_gradient_reaches_the_trained_network_alone(build):
    for trained in (0, 1):
        loader, net, _ = build("SASRecSA2C", rl_negatives=NEGATIVES)
        net.trained, net.steps = trained, net.warm_up_steps
        net.calculate_loss(all_rows(loader)).backward()
        assert all(p.grad is None for p in net.networks[1 - trained].parameters())
        unseen = [n for n, p in net.networks[trained].named_parameters() if p.grad is None]
        assert unseen == []


def test_the_actors_gradient_does_not_reach_the_critic(build):
    loader, net, _ = build("SASRecSA2C", rl_negatives=NEGATIVES, q_weight=0.0, separate_encoder=True)
    net.steps = net.warm_up_steps
    net.calculate_loss(all_rows(loader)).backward()
    network = net.networks[0]
    for module in (network.q, network.critic_encoder):
        assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    assert network.encoder.item_embedding.weight.grad.abs().sum() > 0


def test_dropout_spares_the_target(build):
    """Two passes of a model in training differ by dropout of the trained network's loss only."""
    loader, net, _ = build("SASRecSQN", hidden_dropout_prob=0.5, attn_dropout_prob=0.5)
    net.train()
    values = []
    rows = all_rows(loader)
    steps = net._steps(rows)
    done = net.columns.closes[steps.event]
    for _ in range(2):
        encoded = net.networks[0].encode(rows, None)
        values.append(net._next_values(*net.networks, encoded, steps, rows, done)[0])
        assert net.networks[0].training and net.networks[1].training
    assert torch.equal(*values) and values[0].abs().sum() > 0


def test_what_ranks(build):
    """supervised: the encoder's own scores; q: the head's values; blend: both."""
    found = {}
    for ranked in ("supervised", "q", "blend"):
        loader, net, _ = build("SASRecSQN", rank_by=ranked, blend_weight=0.3)
        rows = all_rows(loader)
        with torch.no_grad():
            found[ranked] = net.full_sort_predict(rows)
            encoder = net.networks[0].encoder
            logits = encoder.full_sort_predict(rows)
            prefixes = [[item for item in sequence if item] for sequence in rows[encoder.ITEM_SEQ].tolist()]
            q = torch.tensor([q_values(net.networks[0], prefix) for prefix in prefixes])
    torch.testing.assert_close(found["supervised"], logits)
    torch.testing.assert_close(found["q"], q, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["blend"], 0.7 * logits + 0.3 * q, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", ["HRNNFeat", "GRU4Rec"])
def test_kinds_of_the_history_stay_with_their_events(build, encoder):
    """A square batch (as many sessions as positions) reads the kinds that its sessions have one at a time."""
    _, net, _ = build(f"{encoder}SQN", history_events=True, train_targets="all_positions")
    network, flat = net.networks[0], net.columns.items
    start = torch.tensor([0, 6, 11])  # 124, 25134 and 413 at three positions

    def states(rows, steps=3):
        batch = PositionBatch(flat, rows, torch.full_like(rows, steps), torch.zeros_like(rows), steps)
        with torch.no_grad():
            return network.encode(batch, net._kinds(batch)).actor.view(len(rows), steps, -1)

    together = states(start)
    for row in range(3):
        torch.testing.assert_close(together[row], states(start[row : row + 1])[0], rtol=1e-5, atol=1e-5)
    kinds = net.columns.kinds
    assert len(set(kinds[start].tolist())) > 1 or len(set(kinds[:3].tolist())) > 1
    with torch.no_grad():
        kinds.copy_(kinds.roll(1))
    assert (states(start) - together).abs().max() > 1e-3  # and they matter


@pytest.mark.parametrize(
    "model, settings, part",
    [
        ("SASRecSQN", {"target_tau": 0.5}, "target_network: lagged"),
        ("SASRecSQN", {"target_every": 2}, "target_network: lagged"),
        ("SASRecSQN", {"q_candidates": 7}, "q_actions: sampled"),
        ("SASRecSQN", {"blend_weight": 0.1}, "rank_by: blend"),
        ("SASRecSQN", {"rl_negative_power": 0.5}, "rl_negatives of 1 or more"),
        ("SASRecSQN", {"negative_weight": 0.5}, "rl_negatives of 1 or more"),
        ("SASRecSQN", {"actor_clip": [0, 1]}, "actor_weight: q or advantage"),
        ("SASRecSQN", {"warm_up_epochs": 2}, "actor_weight: q or advantage"),
        ("SASRecSNQN", {"actor_learning_rate": 0.1}, "actor_weight: q or advantage"),
        ("SASRecSQN", {"next_action": "logged", "gamma": 0}, "gamma above 0 and no reward_signal: history"),
    ],
)
def test_a_setting_that_nothing_reads_is_noted(build, model, settings, part):
    _, net, _ = build(model, **settings)
    assert f"{next(iter(settings))} is not used: it needs {part}" in net.notes
    _, net, _ = build("SASRecSA2C", warm_up_epochs=2, rl_negative_power=0.5, target_tau=0.005)
    assert not any("not used" in note for note in net.notes)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, settings, part",
    [
        ("SASRecSQN", {"loss_type": "BPR"}, "set loss_type: CE for SASRecSQN"),
        (
            "SASRecSQN",
            {"data_layout": "recbole", "split": {"LS": "valid_and_test"}},
            "SASRecSQN needs our data path: set data_layout: pointers",
        ),
        ("SASRecSA2C", {"rl_negatives": 0}, "actor_weight advantage .*set rl_negatives to 1 or more"),
        ("SASRecSAC", {"actor_clip": [10, 0]}, r"actor_clip is \[10, 0\]"),
        ("SASRecSAC", {"actor_clip": [1]}, r"actor_clip is \[1\]"),
        ("SASRecSAC", {"actor_clip": 10}, "actor_clip is 10"),
        ("SASRecSAC", {"actor_clip": ["low", "more"]}, r"actor_clip is \['low', 'more'\]"),
        ("SASRecSAC", {"actor_clip": [0, float("nan")]}, r"actor_clip is \[0, nan\]"),
        ("SASRecSAC", {"actor_clip": [0, None]}, r"actor_clip is \[0, None\]"),
        ("SASRecSAC", {"actor_weight": "value"}, "one of none, q, advantage, reward"),
        ("SASRecSQN", {"target_network": "copy"}, "one of coin, lagged"),
        ("SASRecSQN", {"target_every": 0}, "target_every is 0"),
        ("SASRecSQN", {"next_action": "best"}, "one of greedy, logged"),
        ("SASRecSQN", {"q_head": "none"}, "q_head is 'none': it has to be one of tied, free"),
        ("SASRecSQN", {"q_actions": "sampled", "q_candidates": 0}, "q_candidates is 0"),
        ("SASRecSQN", {"rank_by": "blend", "blend_weight": 2}, "blend_weight is 2"),
        ("SASRecSQN", {"rl_negatives": 1.5}, "rl_negatives is 1.5"),
        ("HGNSQN", {}, "HGN does not score by a product"),
        ("BERT4RecSQN", {}, "BERT4Rec does not score by a product"),
        ("SHANSQN", {}, "SHAN trains by more than the softmax"),
        ("FPMCSQN", {}, "FPMC .*can carry no SQN"),
        ("NARMSQN", {"train_targets": "all_positions"}, "NARMSQN is none"),
        ("SASRecFSQN", {"selected_features": ["class"]}, "selected_features of SASRecFSQN names class"),
        ("SRGNNSQN", {"history_events": True}, "looks its history up event by event"),
        ("SASRecSQN", {"separate_encoder": "no"}, "separate_encoder is 'no': write True or False"),
        ("SASRecSQN", {"history_events": "off"}, "history_events is 'off': write True or False"),
        (
            "SASRecSQN",
            {"rank_by": "q", "q_weight": 0},
            "rank_by q ranks by a Q head that q_weight 0 never trains",
        ),
        ("SASRecSAC", {"actor_learning_rate": "abc"}, "actor_learning_rate is 'abc'"),
        ("SASRecSQN", {"q_limit": 0}, "q_limit is 0"),
        ("SASRecSQN", {"EVENT_FIELD": "kind"}, "EVENT_FIELD names kind, which the .inter file does not have"),
    ],
)
def test_what_cannot_be_is_said(build, model, settings, part):
    with pytest.raises(UsageError, match=part):
        build(model, **settings)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_negatives_are_drawn_by_training_events_to_the_power_asked_for(build, power):
    loader, net, _ = build("SASRecSNQN", rl_negative_power=power)
    counts = loader._dataset.training_counts().double()
    expected = torch.where(counts > 0, counts**power, 0.0)
    assert counts.unique().numel() > 2
    torch.manual_seed(1)
    own = net.negatives.items[0]
    drawn = type(net.negatives).draw(net.negatives, own.repeat(40_000), 1).squeeze(1)
    expected[own] = 0.0
    found = torch.bincount(drawn, minlength=len(counts)) / len(drawn)
    assert torch.allclose(found.double(), expected / expected.sum(), atol=0.015)
