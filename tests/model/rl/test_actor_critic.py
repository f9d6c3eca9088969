"""The loss of SQN, SAC, SNQN and SA2C on real encoders, against one transition at a time in plain Python.

The reference asks an encoder for the state of one prefix at a time and reads Q(s, a) off the head's weights; batches,
next rows, positions and chunks of scores are none of its business.
"""

import math

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError
from recbole_ext.model.rl import actor_critic
from recbole_ext.model.rl.methods.sac import SAC

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
    state = state_of(network.encoder, items).tolist()
    weight, bias = network.q.weight.tolist(), network.q.bias.tolist()
    return [sum(s * r for s, r in zip(state, row)) + b for row, b in zip(weight, bias)]


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
    """The mean over all training transitions of everything that a transition adds, by the settings of the model.

    candidates: the drawn items among which the best action is looked for, beside the logged one; None: all.
    """
    read = net.settings
    main, other = net.networks[net.trained], net.networks[1 - net.trained]
    known = [a for a, trained in enumerate(net.actions.tolist()) if trained]
    bootstraps = read.gamma > 0 and read.reward_signal != "history"
    total, found = 0.0, transitions(dataset, net.config)
    for prefix, action, reward, done, following in found:
        q = q_values(main, prefix)
        target = reward
        if bootstraps and not done:
            after = [*prefix, action]
            ahead = q_values(main, after)
            best = max(known if candidates is None else [*candidates, following], key=lambda a: ahead[a])
            chosen = following if read.next_action == "logged" else best
            target += read.gamma * q_values(other, after)[chosen]
        loss = 0.5 * (target - q[action]) ** 2

        negatives = drawn_for(net, [action], getattr(read, "rl_negatives", 0))[0].tolist()
        stay = 0.0
        if bootstraps and negatives:
            best = max(known if candidates is None else [*candidates, action], key=lambda a: q[a])
            stay = read.gamma * q_values(other, prefix)[best]
        loss += sum(0.5 * (stay - q[a]) ** 2 for a in negatives)
        loss *= read.q_weight
        if net.method == "CQL":
            loss += read.cql_weight * (math.log(sum(map(math.exp, q))) - q[action])

        weight = reward if net.method == "RCE" else 1.0
        if isinstance(net, SAC) and net.steps >= net.warm_up_steps:
            together = [q[action]] + [q[a] for a in negatives]
            weight = q[action] - (sum(together) / len(together) if negatives else 0.0)
            weight = min(max(weight, read.actor_clip[0]), read.actor_clip[1])
        total += loss - weight * math.log(chances(main, prefix, net.config)[action])
    return total / len(found)


def all_rows(loader):
    return loader._dataset[np.arange(len(loader._dataset))]


DRAWN = {"rl_negatives": NEGATIVES}
CASES = {
    "SQN": ("SASRecSQN", {}),
    "SQN lagged": ("SASRecSQN", {"target_network": "lagged"}),
    "SQN weighs": ("SASRecSQN", {"q_weight": 0.3}),
    "SQN free supervised head": ("SASRecSQN", {"supervised_head": "free"}),
    "SQN cosine": ("SASRecSQN", {"score": "cosine", "temperature": 0.5}),
    "EVAL": ("SASRecSQN", {"next_action": "logged"}),
    "HIST": ("SASRecSNQN", {"reward_signal": "history", **DRAWN}),
    "gamma 0": ("SASRecSNQN", {"gamma": 0, **DRAWN}),
    "gamma .9": ("SASRecSQN", {"gamma": 0.9}),
    "CQL": ("SASRecCQL", {"cql_weight": 0.7}),
    "sampled": ("SASRecSNQN", {"q_actions": "sampled", **DRAWN}),
    "SNQN": ("SASRecSNQN", {"q_weight": 0.5, **DRAWN}),
    "SAC": ("SASRecSAC", {}),
    "SAC clipped": ("SASRecSAC", {"actor_clip": [0.3, 0.6]}),
    "SA2C": ("SASRecSA2C", DRAWN),
    "SA2C clipped": ("SASRecSA2C", {"actor_clip": [-1, 0.1], **DRAWN}),
    "SA2C free supervised head": ("SASRecSA2C", {"supervised_head": "free", **DRAWN}),
    "RCE": ("SASRecRCE", {}),
    "GRU4Rec": ("GRU4RecSA2C", DRAWN),
    "NARM": ("NARMSNQN", {"dropout_probs": [0, 0], **DRAWN}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_one_transition_at_a_time(build, case):
    model, settings = CASES[case]
    loader, net, _ = build(model, **settings)
    assert len(loader._dataset) == 13 and int(net.actions.sum()) == 5
    losses = []
    for trained in (0, 1) if settings.get("target_network") != "lagged" else (0,):
        net.trained = trained
        net.steps = 3  # the warm-up is over
        losses.append(net.calculate_loss(all_rows(loader)).item())
        assert losses[-1] == pytest.approx(reference_loss(net, loader._dataset), rel=1e-4)
        if isinstance(net, SAC):  # before the warm-up is over, too
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
        net.steps = 3
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


def test_candidates_that_hold_the_best_or_not(build, monkeypatch):
    """Sampled actions: the best of those drawn and of the logged one."""
    monkeypatch.setattr(actor_critic, "CANDIDATES", 3)
    loader, net, _ = build("SASRecSNQN", q_actions="sampled", **DRAWN)
    token = loader._dataset.field2token_id["item_id"]
    drawn = [token["i1"], token["i1"], token["i4"]]
    net.negatives.some = lambda number: torch.tensor(drawn[:number])
    found = net.calculate_loss(all_rows(loader)).item()
    assert found == pytest.approx(reference_loss(net, loader._dataset, drawn), rel=1e-4)
    assert abs(found - reference_loss(net, loader._dataset)) > 1e-3


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
        loader, net, _ = build("SASRecSA2C", **DRAWN)
        net.trained, net.steps = trained, 3
        net.calculate_loss(all_rows(loader)).backward()
        assert all(p.grad is None for p in net.networks[1 - trained].parameters())
        unseen = [n for n, p in net.networks[trained].named_parameters() if p.grad is None]
        assert unseen == []


def test_the_actors_gradient_does_not_reach_the_critic(build):
    loader, net, _ = build("SASRecSA2C", q_weight=0.0, **DRAWN)
    net.steps = 3
    net.calculate_loss(all_rows(loader)).backward()
    network = net.networks[0]
    assert all(p.grad is None or not p.grad.any() for p in network.q.parameters())
    assert network.encoder.item_embedding.weight.grad.abs().sum() > 0


def test_dropout_spares_the_target(build, monkeypatch):
    """Two passes of a model in training differ by dropout of the trained network's loss only."""
    loader, net, _ = build("SASRecSQN", hidden_dropout_prob=0.5, attn_dropout_prob=0.5)
    net.train()
    ahead, values = net.next_value, []
    for _ in range(2):
        monkeypatch.setattr(net, "next_value", lambda step: values.append(ahead(step)) or values[-1])
        net.calculate_loss(all_rows(loader))
        assert net.networks[0].training and net.networks[1].training
    assert torch.equal(*values) and values[0].abs().sum() > 0


@pytest.mark.parametrize("head", ["tied", "free"])
def test_what_ranks_is_the_supervised_head(build, head):
    loader, net, _ = build("SASRecSQN", supervised_head=head)
    rows, network = all_rows(loader), net.networks[0]
    prefixes = [[item for item in sequence if item] for sequence in rows[net.ITEM_SEQ].tolist()]
    with torch.no_grad():
        expected = torch.tensor([chances(network, prefix, net.config) for prefix in prefixes])
        found = torch.softmax(net.full_sort_predict(rows).double(), 1)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-6)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model, settings, part",
    [
        ("SASRecSQN", {"loss_type": "BPR"}, "loss_type is 'BPR': it has to be CE"),
        (
            "SASRecSQN",
            {"data_layout": "recbole", "split": {"LS": "valid_and_test"}},
            "SASRecSQN needs our data path: set data_layout: pointers",
        ),
        ("SASRecSAC", {"actor_clip": [10, 0]}, r"actor_clip is \[10, 0\]"),
        ("HGNSQN", {}, "HGN does not score by a product"),
        ("BERT4RecSQN", {}, "BERT4Rec does not score by a product"),
        ("SHANSQN", {}, "SHAN trains by more than the softmax"),
        ("FPMCSQN", {}, "FPMC .*can carry no SQN"),
        ("NARMSQN", {"train_targets": "all_positions"}, "NARMSQN is none"),
        ("SASRecFSQN", {"selected_features": ["class"]}, "selected_features of SASRecFSQN names class"),
        ("SASRecSQN", {"EVENT_FIELD": "kind"}, "EVENT_FIELD names kind, which the .inter file does not have"),
    ],
)
def test_what_cannot_be_is_said(build, model, settings, part):
    with pytest.raises(UsageError, match=part):
        build(model, **settings)
