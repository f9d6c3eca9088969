"""Row-wise steps: a world of three items on paper, against dense steps where all rows are read, resumed, refused."""

import math

import pytest
import torch
from torch import nn

from recbole_ext.errors import UsageError
from recbole_ext.trainer import row_updates
from recbole_ext.trainer.row_updates import RowUpdates

SPLIT = {"session_time": [0.7, 0.1, 0.2]}
SAMPLED = {"train_loss": "sampled_softmax", "split": SPLIT, "train_targets": "all_positions"}
RATE, FIRST, SECOND, EPS = 0.1, 0.9, 0.99, 1e-8


def world(rows=(1.0, 2.0, 3.0)):
    """Three items of one number each."""
    table = nn.Embedding(len(rows), 1)
    table.weight.data[:, 0] = torch.tensor(rows)
    return table


def step(table, optimizer, updates, items, slopes):
    """One step of the loss that has these slopes in the looked-up rows."""
    optimizer.zero_grad()
    (table(torch.tensor(items)).squeeze(1) * torch.tensor(slopes)).sum().backward()
    if updates is None:
        optimizer.step()
        return
    updates.take()
    updates.step(optimizer)


def adam(weight, slopes, decay=0.0):
    """AdamW on paper; slopes: by step, None where the row is not read and nothing of it moves."""
    m = v = 0.0
    for t, g in enumerate(slopes, start=1):
        if g is None:
            continue
        m, v = FIRST * m + (1 - FIRST) * g, SECOND * v + (1 - SECOND) * g * g
        weight *= 1 - RATE * decay
        weight -= RATE * m / (1 - FIRST**t) / (math.sqrt(v / (1 - SECOND**t)) + EPS)
    return weight


@pytest.mark.parametrize(("kind", "decay"), [(torch.optim.Adam, 0.0), (torch.optim.AdamW, 0.5)])
def test_two_steps_of_three_items_on_paper(kind, decay):
    """Item 0 is read twice in step 1, which sums its gradient, and once in step 2; item 1 in step 2; item 2 never."""
    table = world()
    updates = RowUpdates(table)
    optimizer = kind(
        table.parameters(), lr=RATE, betas=(FIRST, SECOND), eps=EPS, weight_decay=decay, fused=True
    )
    step(table, optimizer, updates, [0, 0], [0.5, 1.5])
    assert table.weight[0].item() == pytest.approx(adam(1.0, [2.0], decay), abs=1e-6)
    step(table, optimizer, updates, [1, 0], [-3.0, 0.25])
    wanted = [adam(1.0, [2.0, 0.25], decay), adam(2.0, [None, -3.0], decay), 3.0]
    assert table.weight[:, 0].tolist() == pytest.approx(wanted, abs=1e-6)
    state = optimizer.state[table.weight]
    assert state["step"].item() == 2
    assert state["exp_avg"][:, 0].tolist() == pytest.approx([0.2 * 0.9 + 0.025, -0.3, 0], abs=1e-6)
    assert state["exp_avg_sq"][:, 0].tolist() == pytest.approx([0.04 * 0.99 + 0.01 / 16, 0.09, 0], abs=1e-6)
    assert list(optimizer.state) == [table.weight] == optimizer.param_groups[0]["params"]


LEARNERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=RATE, weight_decay=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=RATE, weight_decay=0.1, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=RATE, fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=RATE),
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_where_all_rows_are_read_it_is_the_dense_step(learner):
    """SGD and Adagrad are so where rows are left out, too."""
    steps = [([0, 1, 2, 1], [1.0, -2.0, 0.5, 0.3]), ([2, 1, 0], [0.1, -1.0, 2.0])]
    if learner in ("sgd", "adagrad"):
        steps.append(([1], [0.7]))
    sides = []
    for by_rows in (True, False):
        table = world()
        updates = RowUpdates(table) if by_rows else None
        optimizer = LEARNERS[learner](table.parameters())
        for items, slopes in steps:
            step(table, optimizer, updates, items, slopes)
        sides.append((table, optimizer))
    (table, optimizer), (plain, other) = sides
    torch.testing.assert_close(table.weight, plain.weight, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(plain.weight, world().weight)
    for name, value in other.state[plain.weight].items():
        torch.testing.assert_close(optimizer.state[table.weight][name], value, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"train_loss": "sampled_softmax"},
        {"train_loss": "gbce", "learner": "adamw", "weight_decay": 0.1},
        {"train_loss": "sampled_softmax", "clip_grad_norm": {"max_norm": 0.05}, "score": "cosine"},
    ],
)
def test_a_model_whose_steps_read_all_items_trains_as_with_dense_steps(build, settings):
    """2,048 draws of 30 items: each is read in every step."""
    trained_alike(build, "SASRec", "item_embedding.weight", settings)


FEATURES = {"item_features": ["category"], "id_dropout": 0.3, **SAMPLED}
ENCODERS = {
    "SASRecFeat": {"pointer": "session", "feature_fusion": "gate"},
    "GRU4RecFeat": {"train_targets": "prefixes", "negative_pool": 4096},
    "HRNNFeat": {"user_state": "init", "clip_grad_norm": {"max_norm": 0.1}},
    "HRNNFeat positions": {"item_features": [], "pointer": "user", "batch_negatives": True},
}


@pytest.mark.parametrize("case", ENCODERS)
def test_models_of_ids_and_features_do_too(build, case):
    """Features, and what id_dropout drops, are the same where rows are looked up one by one."""
    trained_alike(build, case.split()[0], "items.ids.weight", {**FEATURES, **ENCODERS[case]}, epochs=1)


def trained_alike(build, model, table, settings, epochs=2):
    """Train by rows and with dense steps, and compare losses, weights and metrics."""
    known = {"split": SPLIT, "train_targets": "all_positions", **settings}
    (train, valid, _), dense, plain = build(model, row_updates=False, **known)
    before = dense.state_dict()[table].clone()
    losses = [plain._train_epoch(train, epoch) for epoch in range(epochs)]
    (again, _, _), network, trainer = build(model, row_updates=True, **known)
    assert [trainer._train_epoch(again, epoch) for epoch in range(epochs)] == pytest.approx(losses, rel=1e-5)
    assert trainer.rows is not None and plain.rows is None
    for name, value in dense.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, atol=2e-5, rtol=1e-3)
    assert (network.state_dict()[table] - before)[1:].abs().min() > 0
    scores = (t.evaluate(valid, load_best_model=False) for t in (plain, trainer))
    assert next(scores) == pytest.approx(next(scores), abs=1e-3)


def test_only_read_rows_move(build):
    (train, *_), network, trainer = build("GRU4Rec", row_updates=True, **{**SAMPLED, "negatives": 2})
    trainer._meet_training(train)
    before = network.item_embedding.weight.detach().clone()
    drawn = []
    draw = trainer.objective.negatives.draw
    trainer.objective.negatives.draw = lambda number: drawn.append(draw(number)) or drawn[-1]
    batch = next(b for b in train if len(set(b.items.flatten().tolist())) < 20)
    trainer._step(batch, trainer._loss_of)
    read = set(torch.cat((batch.items.flatten(), batch.targets.flatten(), *drawn)).tolist())
    moved = set((network.item_embedding.weight != before).any(1).nonzero().flatten().tolist())
    assert 0 < len(moved) < 29 and moved <= read
    assert read - moved <= {0}, "the padding"


@pytest.mark.parametrize("model", ["SASRec", "NARM"])
def test_resumed_training_is_the_uninterrupted_one(build, trained_in_two_halves, model):
    def fresh():
        own = {**SAMPLED, "train_targets": "prefixes", "row_updates": True, "negatives": 4}
        return build(model, epochs=4, eval_step=1, stopping_step=9, **own)

    trained_in_two_halves(fresh)


def test_auto_goes_by_the_catalogue_and_says_so(build, monkeypatch):
    (train, *_), _, trainer = build("SASRec", **SAMPLED)
    trainer._meet_training(train)
    assert trainer.rows is None and trainer.notes == []
    monkeypatch.setattr(row_updates, "ROWS_PAY_FROM", 30)
    (train, *_), network, trainer = build("SASRec", **SAMPLED)
    trainer._meet_training(train)
    assert trainer.rows.table is network.item_embedding
    assert trainer.notes == [
        "row_updates: a step updates only the item vectors that it reads, of 31, as the catalogue has 30 or more "
        "(row_updates: False updates all)"
    ]
    # a model that reads all of its table goes on as before
    rest = {k: v for k, v in SAMPLED.items() if k != "train_targets"}
    (train, *_), _, trainer = build("SASRecSQN", rewards={"view": 0.2, "purchase": 1.0}, **rest)
    trainer._meet_training(train)
    assert trainer.rows is None


def test_what_cannot_be_is_said(build):
    with pytest.raises(UsageError, match="row_updates is True, but SASRecSQN makes its item vectors"):
        (train, *_), _, trainer = build(
            "SASRecSQN", rewards={"view": 0.2, "purchase": 1.0}, row_updates=True, **SAMPLED
        )
        trainer._meet_training(train)
    table = world()
    updates = RowUpdates(table)
    (table(torch.tensor([1])).sum() + table.weight.sum()).backward()
    with pytest.raises(UsageError, match="reads the whole item table"):
        updates.take()


@pytest.mark.parametrize("model", ["SASRec", "HRNNFeat"])
def test_negatives_of_the_batch_are_those_with_a_target(build, model):
    """Computed everywhere, as a CUDA graph wants it, or where there is a target: the same loss."""
    (train, *_), network, trainer = build(model, batch_negatives=True, **{**SAMPLED, "negatives": 3})
    trainer._meet_training(train)
    network.eval()
    batch = next(iter(train))
    assert (batch.targets == 0).any()
    losses = []
    for select in (True, False):
        torch.manual_seed(1)
        losses.append(trainer._loss_of(batch, select).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
