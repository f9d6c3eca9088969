"""`recency` in the losses: each target's loss times what it weighs, by hand, for every kind of batch; who refuses."""

import pytest
import torch
import torch.nn.functional as F

from recbole_ext.errors import UsageError

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
RECENCY = 0.3


def session_weights(data):
    return torch.from_numpy(data.target_weights(RECENCY))


def losses_of(trainer, network, batch, data):
    """(T,) loss of every target of a batch and (T,) what it weighs, found by where its session is."""
    from recbole_ext.data.positions import PositionBatch
    from recbole_ext.data.user_sequences import UserBatch

    factored = network if trainer.factored is None else trainer.factored
    raw = factored.item_vectors()
    weights = session_weights(data)
    if isinstance(batch, PositionBatch):
        learnt = batch.targets.flatten() > 0
        read, target = factored.read_positions(batch, raw).only(learnt), batch.targets.flatten()[learnt]
        place = batch.places.flatten()[learnt]
        session = torch.searchsorted(torch.from_numpy(data.session_start), place, right=True) - 1
    elif isinstance(batch, UserBatch):
        learnt = batch.targets > 0
        read, target = network.read_users(batch, raw).only(learnt), batch.targets[learnt]
        session = batch.sessions[batch.event_session[learnt]]
    else:
        read, target = factored.read_rows(batch, raw), batch["item_id"]
        session = (
            torch.searchsorted(torch.from_numpy(data.session_start), batch["event_index"], right=True) - 1
        )
    scores = factored.scoring.states(read.states) @ factored.scoring.vectors(raw).T
    candidates = getattr(getattr(network, "objective", None), "candidates", None)
    if candidates is not None:
        hidden = torch.ones(scores.shape[1], dtype=torch.bool)
        hidden[candidates] = False
        scores = scores.masked_fill(hidden, -torch.inf)
    losses = F.cross_entropy(scores, target, reduction="none")
    if read.looks is not None:
        log_rest, log_copied = read.mixture(target)
        losses = -(log_rest.exp() * (-losses).exp() + log_copied.exp()).log()
    return losses, weights[session]


PLAIN = {"readout": False, "pointer": "none"}
CASES = {
    "rows": ("SASRec", {"train_targets": "prefixes"}),
    "positions": ("SASRec", {"train_targets": "all_positions"}),
    "rows of ours": ("SASRecFeat", {"train_targets": "prefixes"}),
    "positions of ours": ("SASRecFeat", {"train_targets": "all_positions"}),
    "positions with pointers": ("SASRecFeat", {"train_targets": "all_positions", "pointer": "user"}),
    "chains": ("HRNNFeat", {"user_state": "init"}),
    "chains without pointers": ("HRNNFeat", {"user_state": "init", **PLAIN}),
    "positions of HRNN": ("HRNNFeat", {}),
    "rows of HRNN": ("HRNNFeat", {"train_targets": "prefixes"}),
}


@pytest.mark.parametrize("case", CASES)
def test_each_target_s_loss_is_multiplied_by_its_weight(build, case):
    model, settings = CASES[case]
    (train, *_), network, trainer = build(model, recency=RECENCY, split=SPLIT, **settings)
    trainer._meet_training(train)
    network.eval()
    kinds = set()
    for batch in train:
        kinds.add(type(batch).__name__)
        losses, weights = losses_of(trainer, network, batch, train._dataset)
        wanted = (losses * weights).mean().item()
        assert abs(wanted - losses.mean().item()) > 1e-4, "a batch that could not tell"
        for select in (True, False):
            assert trainer._loss_of(batch, select).item() == pytest.approx(wanted, rel=1e-5)
    expected = {"rows": "Interaction", "positions": "PositionBatch", "chains": "UserBatch"}[case.split()[0]]
    assert kinds == {expected}


@pytest.mark.parametrize("kind", ["BPR", "TOP1"])
def test_pairs_within_a_batch_weigh_as_their_row(build, kind):
    from recbole_ext.model.losses import in_batch

    scores, target = torch.tensor([[1.0, 0.2], [0.4, -0.3]]), torch.tensor([1, 2])

    def pair(own, other):
        own, other = torch.tensor(own), torch.tensor(other)
        if kind == "BPR":
            return -F.logsigmoid(own - other)
        return torch.sigmoid(other - own) + torch.sigmoid(other**2)

    wanted = (3 * pair(1.0, 0.2) + 0.5 * pair(-0.3, 0.4)) / 2
    assert in_batch(kind, scores, target, torch.tensor([3.0, 0.5])).item() == pytest.approx(wanted.item())
    (train, *_), network, trainer = build(
        "HRNNFeat", recency=RECENCY, loss_type=kind, split=SPLIT, user_state="init", pointer="none"
    )
    trainer._meet_training(train)
    network.eval()
    batch = next(iter(train))
    vectors, learnt = network.item_vectors(), batch.targets > 0
    states = network.scoring.states(network.read_users(batch, vectors).states[learnt])
    target = batch.targets[learnt]
    scores = states @ network.scoring.vectors(vectors)[target].T
    weights = session_weights(train._dataset)[batch.sessions[batch.event_session[learnt]]]
    assert network.calculate_loss(batch).item() == pytest.approx(
        in_batch(kind, scores, target, weights).item(), rel=1e-5
    )


@pytest.mark.parametrize("targets", ["prefixes", "all_positions"])
def test_a_transition_s_share_is_multiplied_by_its_weight(build, targets):
    """Reinforcement learning: all of its terms are sums over `share`."""
    settings = {"rewards": {"view": 0.2, "purchase": 1.0}, "split": SPLIT, "train_targets": targets}
    (train, *_), network, trainer = build("SASRecSQN", recency=RECENCY, **settings)
    trainer._meet_training(train)
    weights = session_weights(train._dataset)
    for batch in train:
        at = network.transitions(batch)
        start = torch.from_numpy(train._dataset.session_start)
        session = torch.searchsorted(start, at.event, right=True) - 1
        assert at.share * len(at.share) == pytest.approx(weights[session], rel=1e-5)


@pytest.mark.parametrize(
    "settings, part",
    [
        ({"model": "NARM", "loss_type": "BPR"}, "leave recency out"),
        (
            {"model": "SASRec", "loss_type": "BPR", "train_neg_sample_args": {"sample_num": 1}},
            "train_loss: softmax or",
        ),
        ({"model": "CORE"}, "CORE has a loss of its own"),
        ({"model": "VSTAN"}, "VSTAN counts and has no loss"),
        ({"model": "SASRec", "data_layout": "recbole", "split": {"LS": "valid_and_test"}}, "pointers"),
        ({"model": "SASRec", "recency": 0.0}, "recency is 0.0"),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else "",
)
def test_who_cannot_weigh_says_so(build, settings, part):
    with pytest.raises(UsageError, match=part) as raised:
        (train, *_), _, trainer = build(**{"recency": RECENCY, "split": SPLIT, **settings})
        trainer.fit(train, saved=False, verbose=False)
    assert "recency" in str(raised.value)
