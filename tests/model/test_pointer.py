"""Read-out and pointers: one prefix at a time in float64, what they may look at, what they cost, what is refused."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_ext.data.positions import PositionBatch
from recbole_ext.errors import UsageError
from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.model.losses import sampled_softmax_loss
from recbole_ext.model.pointer import NEVER, Earlier, LookBack, LookBackSettings, Looks, known_alone

W, P, WIDTH, ITEMS = 4, 3, 6, 12
MODELS = ("SASRecFeat", "GRU4RecFeat", "HRNNFeat")
LENGTHS = (W - 1, W, W + 1, 2 * W, 3 * W + 2)

models = pytest.mark.parametrize("name", MODELS)
pointers = pytest.mark.parametrize("pointer", ["session", "user"])


def shaken(module, seed=0):
    """The module with noise on every parameter of what looks back, much of which is zero or alike at first."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "look_back" in name or isinstance(module, LookBack):
                parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.5)
    return module


def shares(looks, items):
    """(N, items) what is copied of each item, and (N,) the rest: the layout of `Looks` aside."""
    share = (looks.log_share.exp() * (looks.items != 0)).detach()
    return share.new_zeros(len(share), items).scatter_add_(
        1, looks.items, share
    ), looks.log_rest.exp().detach()


def same(one, other, items, atol=1e-5):
    """Two Reads of the same prefixes."""
    torch.testing.assert_close(one.states, other.states, atol=atol, rtol=1e-5)
    assert (one.looks is None) == (other.looks is None)
    if one.looks is not None:
        for a, b in zip(shares(one.looks, items), shares(other.looks, items)):
            torch.testing.assert_close(a, b, atol=atol, rtol=1e-5)


# --- the equations, one prefix at a time ----------------------------------------------------------------------


def weights(net, state, keys, distance):
    """softmax of (W_q h) · (W_k k) / sqrt(e) + w · k + r[distance]."""
    product = (keys @ net.key.weight.double().T) @ (net.query.weight.double() @ state)
    logits = product / math.sqrt(len(state)) + keys @ net.liked.double() + net.by_distance.double()[distance]
    return torch.softmax(logits, 0)


@torch.no_grad()
def by_hand(look, states, items, vectors, past=()):
    """State, (items,) what is copied of each, and the rest, of the one prefix `items` with states (t, e)."""
    states, vectors = states.double(), vectors.double()
    state, last = states[-1], len(items) - 1
    near = [i for i in range(len(items)) if last - i < look.window and items[i]]
    ago = [last - i for i in near]
    read = state
    if look.reads:
        found = torch.zeros_like(state)
        if near:
            found = weights(look.readout, state, states[near], ago) @ vectors[[items[i] for i in near]]
        both = (F.normalize(state, dim=0), F.normalize(found, dim=0)) if look.unit else (state, found)
        read = look.mix.weight.double() @ torch.cat(both)
    copied = torch.zeros(len(vectors), dtype=torch.double)
    if not look.points:
        return read, copied, 1.0
    past = [item for item in past if item][: look.past_limit]
    odds = [1.0]
    for number, there in enumerate((near, past)[: len(look.gates.bias)]):
        logit = look.gates.weight[number].double() @ state + look.gates.bias[number].double()
        odds.append(math.exp(logit) if there else 0.0)
    gates = [o / sum(odds) for o in odds]
    if near:
        for i, b in zip(near, weights(look.session, state, states[near], ago)):
            copied[items[i]] += gates[1] * b
    if past and look.past_limit:
        for item, c in zip(past, weights(look.user, state, vectors[past], list(range(len(past))))):
            copied[item] += gates[2] * c
    return read, copied, gates[0]


def problem(lengths=LENGTHS, seed=0):
    """States, items and pasts of sessions of these lengths: items come again, one past is empty, one is short."""
    random = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    states = torch.randn(len(lengths), longest, WIDTH, generator=random)
    items = torch.randint(1, ITEMS, (len(lengths), longest), generator=random)
    for row, length in enumerate(lengths):
        items[row, length:] = 0
    vectors = torch.randn(ITEMS, WIDTH, generator=random)
    vectors[0] = 0
    past = torch.randint(1, ITEMS, (len(lengths), P), generator=random)
    if len(lengths) > 1:
        past[0] = 0
        past[1, 1:] = 0
    return states, items, vectors, past


def looking(pointer="user", readout=True, unit=False, window=W):
    settings = LookBackSettings.read(
        {"pointer": pointer, "readout": readout, "look_back": window, "look_back_past": P}
    )
    torch.manual_seed(1)
    return shaken(LookBack(settings, WIDTH, unit)).eval()


def positions(look, states, items, vectors, past=None):
    earlier = None if past is None else Earlier(past, vectors[past])
    return look.positions(states, items, vectors[items], earlier)


def rows_of(look, states, items, at, vectors, past=None):
    earlier = None if past is None else Earlier(past, vectors[past])
    return look.rows(states, items, at, vectors[items], earlier)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(
    ("pointer", "readout"),
    [("none", True), ("session", False), ("session", True), ("user", False), ("user", True)],
)
def test_positions_are_the_equations_of_each_prefix(pointer, readout, unit):
    look = looking(pointer, readout, unit)
    for lengths in (*((length,) for length in LENGTHS), LENGTHS):
        states, items, vectors, past = problem(lengths)
        compared(look, lengths, states, items, vectors, None)
        if pointer == "user":
            compared(look, lengths, states, items, vectors, past)


def compared(look, lengths, states, items, vectors, past):
    read = positions(look, states, items, vectors, past)
    assert (read.looks is not None) == look.points
    for row, length in enumerate(lengths):
        own = [] if past is None else past[row].tolist()
        for t in range(length):
            state, copied, rest = by_hand(
                look, states[row, : t + 1], items[row, : t + 1].tolist(), vectors, own
            )
            found = read.only(torch.tensor([row * max(lengths) + t]))
            torch.testing.assert_close(found.states[0].double(), state, atol=1e-5, rtol=1e-5)
            if look.points:
                share, left = shares(found.looks, ITEMS)
                torch.testing.assert_close(share[0].double(), copied, atol=1e-5, rtol=1e-5)
                assert left.item() == pytest.approx(float(rest), abs=1e-5)
                assert (share.sum() + left).item() == pytest.approx(1, abs=1e-5)
    assert all(part.isfinite().all() for part in (read.states, *(read.looks or ()))), (
        "padding is a number too"
    )


@pytest.mark.parametrize("past_as", ["none", "all", "rows"])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(
    ("pointer", "readout"),
    [("none", True), ("session", False), ("session", True), ("user", False), ("user", True)],
)
def test_by_hand_are_the_operations_one_by_one(pointer, readout, unit, past_as, monkeypatch):
    """In training, with dropout, in float64: what is read and every gradient; one session has no event at all."""
    look = looking(pointer, readout, unit).double().train()
    for lengths in ((1,), (3, 1), (0, 4, 2, 3)):
        found = [trained(look, *problem(lengths), past_as)]
        with monkeypatch.context() as patch:
            patch.setattr(LookBack, "_by_hand", lambda *_: False)
            found.append(trained(look, *problem(lengths), past_as))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def trained(look, states, items, vectors, past, past_as):
    """What is read of prefixes that end in an event, and the gradients of a sum of it in all that it is made of."""
    given = [part.double().requires_grad_() for part in (states, vectors)]
    known, rows = known_alone(past)
    earlier = {
        "none": lambda: None,
        "all": lambda: Earlier(past, given[1][past]),
        "rows": lambda: Earlier(known, given[1][known[rows]], rows),
    }[past_as]()
    look.zero_grad()
    torch.manual_seed(3)
    read = look.positions(given[0], items, given[1][items], earlier)
    real = (items != 0).flatten()
    made = [read.states[real]]
    if read.looks is not None:
        made += [read.looks.log_share.exp()[real], read.looks.log_rest[real]]
    weighed = [(part * torch.arange(1.0, part.numel() + 1).view_as(part).sin()).sum() for part in made]
    sum(weighed).backward()
    nothing = torch.zeros(0)
    leaves = [*given, *look.parameters()]
    return [
        *(part.detach() for part in made),
        *(nothing if w.grad is None else w.grad.clone() for w in leaves),
    ]


def test_the_backward_by_hand_is_the_derivative():
    look = looking(unit=True).double().train()
    look.dropout.p = 0.0
    states, items, vectors, past = problem((3, 2))
    known, rows = known_alone(past)

    def read(states, vectors, *_):
        found = look.positions(states, items, vectors[items], Earlier(known, vectors[known[rows]], rows))
        return found.states, found.looks.log_share.exp(), found.looks.log_rest

    leaves = [part.double().requires_grad_() for part in (states, vectors)]
    assert torch.autograd.gradcheck(read, (*leaves, *look.parameters()))


@pytest.mark.parametrize("lengths", [LENGTHS, (3,), (1, 1, 4)])
def test_a_past_is_read_alike_where_it_is_looked_up_for_those_that_have_one(lengths):
    look = looking()
    states, items, vectors, past = problem(lengths)
    whole = positions(look, states, items, vectors, past)
    for some in (past, torch.where(torch.arange(P) < 2, past, 0), past * 0):
        whole = positions(look, states, items, vectors, some)
        known, rows = known_alone(some)
        assert rows.tolist() == [row for row, own in enumerate(some.tolist()) if any(own)]
        found = look.positions(states, items, vectors[items], Earlier(known, vectors[known[rows]], rows))
        torch.testing.assert_close(found.states, whole.states)
        torch.testing.assert_close(found.looks.log_rest, whole.looks.log_rest)
        for one, other in zip(shares(found.looks, ITEMS), shares(whole.looks, ITEMS)):
            torch.testing.assert_close(one, other)


@pointers
def test_rows_are_the_positions(pointer):
    look = looking(pointer)
    states, items, vectors, past = problem()
    past = past if pointer == "user" else None
    n, longest = items.shape
    place = torch.arange(n * longest).view(n, longest)
    step = torch.arange(longest).view(1, -1, 1) - torch.arange(W - 1, -1, -1)
    at = torch.where(step >= 0, place[:, :1].unsqueeze(2) + step, -1).flatten(0, 1)
    mine = None if past is None else past.repeat_interleave(longest, 0)
    rows = rows_of(look, states.flatten(0, 1), items.flatten(), at, vectors, mine)
    real = torch.nonzero(items.flatten()).squeeze(1)
    same(positions(look, states, items, vectors, past).only(real), rows.only(real), ITEMS)


@pytest.mark.parametrize("length", LENGTHS)
def test_states_may_lie_time_first(length):
    """As a recurrent network makes them; a session of whole windows is not padded, which would copy them."""
    look = looking()
    states, items, vectors, past = problem((length, length))
    turned = states.transpose(0, 1).contiguous().transpose(0, 1)
    assert not turned.is_contiguous()
    same(positions(look, turned, items, vectors, past), positions(look, states, items, vectors, past), ITEMS)


def test_fewer_last_events_than_the_window_are_enough():
    look = looking()
    states, items, vectors, past = problem((3, 3))
    at = torch.tensor([[-1, 0, 1, 2], [-1, 3, 4, 5]])
    given = states.flatten(0, 1), items.flatten()
    same(
        rows_of(look, *given, at, vectors, past),
        rows_of(look, *given, at[:, 1:], vectors, past),
        ITEMS,
        atol=1e-6,
    )


def test_at_first_the_state_is_half_kept_and_the_gates_are_alike():
    settings = LookBackSettings.read({"pointer": "user", "readout": True})
    look = LookBack(settings, WIDTH, False).eval()
    states, items, vectors, past = problem((5, 5, 5))
    read = positions(look, states, items, vectors, past)
    e = math.exp(-1)
    for row, gates in enumerate((1 + e, 1 + 2 * e, 1 + 2 * e)):  # the first user has no past
        assert read.looks.log_rest.view(3, 5)[row].exp().tolist() == pytest.approx([1 / gates] * 5, abs=1e-6)
    first = read.states.view(3, 5, -1)[:, 0]  # of one event, which is all that it looks at
    torch.testing.assert_close(first, (states[:, 0] + vectors[items[:, 0]]) / 2, atol=1e-6, rtol=1e-5)


def test_dropout_of_the_read_out_acts_in_training_on_what_it_finds():
    look = looking()
    states, items, vectors, past = problem((5, 5))
    still = positions(look, states, items, vectors, past)
    look.train()
    moving = [positions(look, states, items, vectors, past) for _ in range(2)]
    assert not torch.equal(moving[0].states, moving[1].states) and not torch.equal(
        moving[0].states, still.states
    )
    for read in moving:
        for a, b in zip(read.looks, still.looks, strict=True):
            torch.testing.assert_close(a, b)
    look.dropout.p = 0.0
    torch.testing.assert_close(positions(look, states, items, vectors, past).states, still.states)


def test_under_autocast_it_stays_in_float32():
    look = looking()
    given = problem((3 * W, 5))
    exact = positions(look, *given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = positions(look, *given)
    for a, b in zip((found.states, *found.looks), (exact.states, *exact.looks), strict=True):
        assert torch.equal(a, b) and a.dtype in (torch.float32, torch.int64)


# --- what is looked at ------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
def test_what_comes_later_changes_nothing_before(length):
    look = looking()
    states, items, vectors, past = problem((length, length))
    before = positions(look, states, items, vectors, past)
    for t in range(1, length):
        later_states, later_items = states.clone(), items.clone()
        later_states[:, t:] += 3.0
        later_items[:, t:] = later_items[:, t:] % (ITEMS - 1) + 1
        after = positions(look, later_states, later_items, vectors, past)
        kept = (torch.arange(2 * length) % length) < t
        same(before.only(kept), after.only(kept), ITEMS, atol=0)
        moved = before.only(~kept).states - after.only(~kept).states
        assert (moved.abs().amax(1) > 1e-3).all()


@pytest.mark.parametrize("length", [2 * W, 3 * W + 2])
def test_what_lies_before_the_window_does_not_matter(length):
    look = looking()
    states, items, vectors, past = problem((length, length))
    before = positions(look, states, items, vectors, past)
    for t in range(W, length):
        other_states, other_items = states.clone(), items.clone()
        other_states[:, : t - W + 1] += 3.0
        other_items[:, : t - W + 1] = other_items[:, : t - W + 1] % (ITEMS - 1) + 1
        after = positions(look, other_states, other_items, vectors, past)
        at = (torch.arange(2 * length) % length) == t
        same(before.only(at), after.only(at), ITEMS, atol=0)
        assert not torch.allclose(before.only(~at).states, after.only(~at).states, atol=1e-2)
        # the oldest event in the window does matter
        other_states[:, t - W + 1] += 3.0
        assert not torch.equal(
            positions(look, other_states, items, vectors, past).only(at).states, before.only(at).states
        )


def test_the_past_is_known_newest_first():
    """A pointer that likes what is near copies the newest; one event further back is one place further."""
    look = looking()
    with torch.no_grad():
        for parameter in look.user.parameters():
            parameter.zero_()
        look.user.by_distance.copy_(torch.tensor([2.0, 1.0, 0.0]))
    states, items, vectors, _ = problem((1,))
    read = positions(look, states, items * 0 + 1, vectors, torch.tensor([[7, 5, 9]]))
    share = shares(read.looks, ITEMS)[0][0]
    expected = torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0)
    torch.testing.assert_close(share[[7, 5, 9]] / share[[7, 5, 9]].sum(), expected)


def test_who_has_no_past_and_who_is_not_asked_for_one_are_alike():
    look = looking()
    states, items, vectors, past = problem()
    none = positions(look, states, items, vectors, None)
    same(none, positions(look, states, items, vectors, past * 0), ITEMS, atol=0)
    real = torch.nonzero(items[0]).squeeze(1)  # of the first session, which has none either
    same(none.only(real), positions(look, states, items, vectors, past).only(real), ITEMS, atol=1e-6)
    assert (none.looks.log_share[:, 2 * W :].exp() == 0).all()


def test_a_start_step_points_at_nothing_but_the_past():
    look = looking()
    states, items, vectors, past = problem((5, 5, 5))
    items[:, 0] = 0
    read = positions(look, states, items, vectors, past)
    first = read.only(torch.tensor([0, 5, 10]))
    share, rest = shares(first.looks, ITEMS)
    assert rest[0] == 1 and share[0].sum() == 0, "no past, no event"
    for row in (1, 2):
        state, copied, left = by_hand(look, states[row, :1], [0], vectors, past[row].tolist())
        torch.testing.assert_close(first.states[row].double(), state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(share[row].double(), copied, atol=1e-5, rtol=1e-5)
        assert set(torch.nonzero(share[row]).squeeze(1).tolist()) == set(past[row].tolist()) - {0}
        assert 0 < rest[row] < 1 and rest[row].item() == pytest.approx(float(left), abs=1e-5)


# --- cost -------------------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The most numbers of a tensor that an operation within it makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else (made,):
            if isinstance(x, torch.Tensor):
                self.numel = max(self.numel, x.numel())
        return made


def test_memory_is_linear_in_the_session():
    look = looking(window=20)
    most = []
    for length in (5_000, 10_000):
        states, items, vectors, past = problem((length,))
        states.requires_grad_()
        with Largest() as largest:
            read = positions(look, states, items, vectors, past)
            (read.states.sum() + read.looks.log_rest.sum() + read.looks.log_share.sum()).backward()
        most.append(largest.numel)
        room = length * (2 * 20 + P)
        assert room <= largest.numel <= 6 * room < length**2
    assert most[1] == 2 * most[0]


# --- the loss of a mixture --------------------------------------------------------------------------------


def losses(rows=23, items=31, width=5, dtype=torch.float64, seed=0):
    random = torch.Generator().manual_seed(seed)
    states = torch.randn(rows, width, generator=random, dtype=dtype).requires_grad_()
    vectors = torch.randn(items, width, generator=random, dtype=dtype).requires_grad_()
    parts = torch.randn(rows, 3, generator=random, dtype=dtype).log_softmax(1)
    rest, copied = parts[:, 0].clone().requires_grad_(), parts[:, 1].clone()
    copied[::3] = NEVER  # the target is nowhere in the prefix
    target = torch.randint(items, (rows,), generator=random)
    weight = torch.rand(rows, generator=random, dtype=dtype)
    weight[3] = 0
    return states, vectors, rest, copied.requires_grad_(), target, weight


def plain(states, vectors, rest, copied, target, weight):
    p = torch.softmax(states @ vectors.T, 1).gather(1, target.unsqueeze(1)).squeeze(1)
    return -((rest.exp() * p + copied.exp()).log() * weight).sum()


@pytest.mark.parametrize("chunk", [1, 5, 23, None])
def test_the_loss_of_a_mixture_is_the_plain_formula(chunk):
    *given, target, weight = losses()
    expected = plain(*given, target, weight)
    loss = softmax_loss(*given[:2], target, weight, chunk_rows=chunk, mixture=tuple(given[2:]))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    ours, theirs = torch.autograd.grad(3 * loss, given), torch.autograd.grad(3 * expected, given)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        assert a.abs().sum() > 0


def test_gradcheck_of_the_mixture():
    *given, target, weight = losses(7, 9, 3)
    copied = given[3].detach().clamp_min(-5).requires_grad_()  # finite differences see nothing at -1e30

    def loss(states, vectors, rest, copied):
        return softmax_loss(states, vectors, target, weight, chunk_rows=2, mixture=(rest, copied))

    assert torch.autograd.gradcheck(loss, (*given[:3], copied))


def test_only_what_is_wanted_of_the_mixture_gets_a_gradient():
    *given, target, weight = losses()
    states, vectors, rest, copied = given
    loss = softmax_loss(states.detach(), vectors, target, weight, mixture=(rest, copied.detach()))
    expected = torch.autograd.grad(plain(*given, target, weight), (vectors, rest))
    loss.backward()
    assert states.grad is None and copied.grad is None
    torch.testing.assert_close(vectors.grad, expected[0])
    torch.testing.assert_close(rest.grad, expected[1])


@pytest.mark.parametrize("chunk", [16, 64])
def test_bf16_differs_by_its_rounding_only(chunk):
    *given, target, weight = losses(64, 499, 16, torch.float32)
    found = softmax_loss(*given[:2], target, weight, "bf16", chunk, tuple(given[2:]))
    exact = softmax_loss(*given[:2], target, weight, mixture=tuple(given[2:]))
    assert found.item() == pytest.approx(exact.item(), rel=1e-2)
    for a, b in zip(torch.autograd.grad(found, given), torch.autograd.grad(exact, given), strict=True):
        assert a.dtype == torch.float32 and 1e-5 < (a - b).norm() / b.norm() < 2e-2


def test_sampled_softmax_of_a_mixture_is_the_plain_formula():
    *given, target, weight = losses(dtype=torch.float32)
    negatives = torch.tensor([1, 4, 4, 9, 30])
    own, shared = torch.randn(len(target)), torch.randn(len(negatives))
    read = (given[0], given[1][target], given[1][negatives], (target, negatives))
    loss = sampled_softmax_loss(*read, (own, shared), weight, tuple(given[2:]))
    twin = [x.detach().double().requires_grad_() for x in given]
    states, vectors, rest, copied = twin
    positive = (states * vectors[target]).sum(1) - own
    negative = (states @ vectors[negatives].T - shared).masked_fill(
        target.unsqueeze(1) == negatives, -math.inf
    )
    p = positive.exp() / (positive.exp() + negative.exp().sum(1))
    expected = -((rest.exp() * p + copied.exp()).log() * weight).sum()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    ours, theirs = torch.autograd.grad(loss, given), torch.autograd.grad(expected, twin)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sampled"])
@pytest.mark.parametrize("gate", [-100.0, 0.0, 100.0])
def test_gradients_are_numbers_whatever_the_gate(kind, gate):
    """Where the target is in the prefix, where it is nowhere, and where all that there is is padding."""
    look = looking("session", readout=False)
    with torch.no_grad():
        look.gates.weight.zero_()
        look.gates.bias.fill_(gate)
    states, items, vectors, _ = problem((6, 6))
    items[1, 3:] = 0
    states.requires_grad_(), vectors.requires_grad_()
    read = positions(look, states, items, vectors)
    target = items.roll(-1, 1).flatten()
    target[:4] = torch.tensor([items[0, 0], 11, items[0, 1], 11])
    mixture = read.mixture(target)
    weight = torch.ones(len(target))
    if kind == "softmax":
        loss = softmax_loss(read.states, vectors, target, weight, mixture=mixture)
    else:
        negatives = torch.tensor([2, 3])
        given = (read.states, vectors[target], vectors[negatives], (target, negatives))
        loss = sampled_softmax_loss(*given, None, weight, mixture)
    loss.backward()
    assert loss.isfinite()
    for parameter in (states, vectors, *look.parameters()):
        assert parameter.grad.isfinite().all()
    assert states.grad.abs().sum() > 0
    if gate == 100:  # missing what it points at costs as much as the gate is sure; log space keeps it
        assert loss > 100 and look.gates.bias.grad.item() > 1


def test_what_is_copied_of_a_target_is_summed_over_its_places():
    looks = Looks(
        torch.tensor([[3, 1, 3, 0], [2, 0, 0, 0]]),
        torch.tensor([[0.1, 0.2, 0.3, 0.9], [0.5, 0, 0, 0]]).log().clamp_min(NEVER),
        torch.tensor([0.4, 0.5]).log(),
    )
    assert looks.log_copied(torch.tensor([3, 2])).exp().tolist() == pytest.approx([0.4, 0.5])
    assert (looks.log_copied(torch.tensor([2, 1])) < -1e29).all()


# --- whole models -----------------------------------------------------------------------------------------


SMALL = {
    "SASRecFeat": {"hidden_size": 8, "n_heads": 2, "inner_size": 16},
    "GRU4RecFeat": {"embedding_size": 8, "hidden_size": 8},
    "HRNNFeat": {"embedding_size": 8, "hidden_size": 8, "user_state": "none"},
}
STILL = {
    **dict.fromkeys(("hidden_dropout_prob", "attn_dropout_prob", "dropout_prob", "id_dropout"), 0.0),
    **dict.fromkeys(("dropout_input", "dropout_session", "dropout_readout"), 0.0),
}
SPLIT = {"session_time": [0.7, 0.1, 0.2]}
FEATURES = [{"item_id": f"i{n}", "category": f"c{n % 4}"} for n in range(30)]
NOTHING_KNOWN = [{"item_id": f"i{n}", "category": ""} for n in range(30)]


@pytest.fixture
def build(write_log, make_config):
    """(config, train, valid, test, model) on a log; a model of the same log when rows is None."""

    def make(name, rows=None, items=None, seed=3, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, init_seed

        if rows is not None:
            write_log(rows, items=items)
        small = next(SMALL[m] for m in SMALL if name.startswith(m))
        known = {"split": SPLIT, "look_back": W, "look_back_past": P, "pointer": "session", "readout": True}
        config = make_config(name, **{**known, **small, **STILL, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(seed, True)
        model = get_model(name)(config, loaders[0]._dataset)
        return config, *loaders, shaken(model).eval()

    return make


def all_rows(loader):
    return loader._dataset[np.arange(len(loader._dataset))]


def sessions_of(dataset, chosen, past=None):
    """A PositionBatch of whole sessions of the log, as many positions as each has events."""
    flat = dataset.events["item_id"]
    start = torch.as_tensor(dataset.session_start)[chosen]
    length = torch.as_tensor(dataset.session_length)[chosen]
    pasts = None if past is None else past.pointers(torch.as_tensor(chosen), P, training=False)
    return PositionBatch(flat, start, length, torch.zeros_like(start), int(length.max()), None, pasts)


@models
@pytest.mark.parametrize("pointer", ["none", "session", "user"])
def test_positions_batches_and_rows_of_a_model_agree(build, random_log, name, pointer):
    """Sessions longer than the window; each position is the row of its prefix, in a batch and alone."""
    _, train, _, test, model = build(name, random_log(longest=3 * W + 2), FEATURES, pointer=pointer)
    data, rows = test._dataset, all_rows(test)
    session = np.searchsorted(data.session_start, rows["event_index"].numpy(), side="right") - 1
    chosen, row = np.unique(session, return_inverse=True)
    batch = sessions_of(data, chosen, model.past)
    place = torch.as_tensor(row) * batch.steps + rows["event_index"] - batch.start[row] - 1
    with torch.no_grad():
        vectors = model.item_vectors()
        by_rows = model.read_rows(rows, vectors)
        same(model.read_positions(batch, vectors).only(place), by_rows, model.n_items)
        together = model.full_sort_predict(rows)
        for n in range(0, len(rows), 7):
            alone = data[np.array([n])]
            same(model.read_rows(alone, vectors), by_rows.only(torch.tensor([n])), model.n_items)
            torch.testing.assert_close(model.full_sort_predict(alone)[0], together[n], atol=1e-5, rtol=1e-5)
    assert batch.steps > 2 * W and (batch.length <= W).any()
    if pointer == "user":
        past = batch.past_items
        assert (past[:, 0] == 0).any() and (past[:, -1] != 0).any()
        share = by_rows.looks.log_share[:, -P:].exp()
        lonely = past[row][:, 0] == 0
        assert (share[lonely] == 0).all() and (share[~lonely].sum(1) > 0).all()
        assert train._dataset.past is not None and model.past_limit == P


@models
@pytest.mark.parametrize("pointer", ["session", "user"])
def test_a_later_event_changes_no_earlier_state_or_look(build, random_log, name, pointer):
    _, _, _, test, model = build(name, random_log(longest=3 * W + 2), FEATURES, pointer=pointer)
    data = test._dataset
    chosen = np.flatnonzero(data.session_length > 2 * W)
    batch = sessions_of(data, chosen, model.past)
    with torch.no_grad():
        vectors = model.item_vectors()
        before = model.read_positions(batch, vectors)
        for t in (1, W, W + 1, 2 * W):
            flat, place = batch.flat.clone(), batch.start + t
            flat[place] = flat[place] % (model.n_items - 1) + 1
            changed = PositionBatch(flat, *batch.of_rows[:3], batch.steps, None, batch.past)
            after = model.read_positions(changed, vectors)
            step = torch.arange(len(before.states)) % batch.steps
            same(before.only(step < t), after.only(step < t), model.n_items, atol=1e-6)
            assert not torch.allclose(before.only(step == t).states, after.only(step == t).states, atol=1e-3)


@models
@pytest.mark.parametrize("items", [None, NOTHING_KNOWN], ids=["no features", "empty features"])
def test_a_mixture_over_what_is_rankable_and_what_is_copied(build, random_log, name, items):
    """p by definition; never trained items without features are ranked where the prefix holds them, nowhere else."""
    given = {"cold_items": {"holdout": 0.3, "seed": 1}}
    _, train, _, test, model = build(name, random_log(sessions=120, items=15), items, **given)
    rows = all_rows(test)
    with torch.no_grad():
        vectors = model.item_vectors()
        read = model.read_rows(rows, vectors)
        product = model.scoring.states(read.states) @ model.scoring.vectors(vectors).T
        found = model.full_sort_predict(rows)
        own = model.predict(rows)
    rankable = torch.as_tensor(train._dataset.train_items, dtype=torch.bool)
    p = torch.zeros(len(product), model.n_items, dtype=torch.double)
    p[:, rankable] = torch.softmax(product[:, rankable].double(), 1)
    copied, rest = shares(read.looks, model.n_items)
    p = p * rest.double().unsqueeze(1) + copied.double()
    torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=p.dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.softmax(found.double(), 1), p, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(own, found.gather(1, rows["item_id"].unsqueeze(1)).squeeze(1))
    twice = alone = 0
    for row, prefix in enumerate(rows["item_id_list"].tolist()):
        prefix = [item for item in prefix if item][-W:]
        named = torch.zeros(model.n_items, dtype=torch.bool)
        named[prefix] = True
        assert torch.equal(found[row] > -torch.inf, named | rankable)
        twice += len(set(prefix)) < len(prefix)
        alone += bool((named & ~rankable).any())
    assert twice and alone


@models
@pytest.mark.parametrize("targets", ["prefixes", "all_positions"])
def test_a_gate_that_is_shut_is_a_model_without_a_pointer(build, random_log, name, targets):
    """Loss and gradients bit for bit."""
    same_log = {"readout": False, "train_targets": targets}
    _, train, _, _, with_pointer = build(name, random_log(longest=12), FEATURES, **same_log)
    _, _, _, _, without = build(name, pointer="none", **same_log)
    assert without.look_back is None
    with torch.no_grad():
        with_pointer.look_back.gates.weight.zero_()
        with_pointer.look_back.gates.bias.fill_(NEVER)
    batch = next(iter(train))
    losses = []
    for model in (with_pointer, without):
        model.train()
        losses.append(model.calculate_loss(batch))
        losses[-1].backward()
    assert torch.equal(*losses)
    theirs = dict(with_pointer.named_parameters())
    for key, parameter in without.named_parameters():
        assert torch.equal(theirs[key].detach(), parameter.detach()), key
        if parameter.grad is None:
            assert theirs[key].grad is None, key
        else:
            assert torch.equal(theirs[key].grad, parameter.grad), key


@models
@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_every_part_learns(build, random_log, name, loss):
    from recbole.utils import get_trainer

    config, train, _, _, model = build(name, random_log(), FEATURES, pointer="user", train_loss=loss)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    before = copy.deepcopy(dict(model.look_back.named_parameters()))
    trainer.fit(train, None, saved=False, show_progress=False)
    for key, parameter in model.look_back.named_parameters():
        assert not torch.equal(before[key], parameter), key
        assert parameter.isfinite().all()


@models
def test_the_loss_at_every_position_is_that_at_those_with_a_target(build, random_log, name):
    """As CUDA graphs want it: padding weighs nothing, and its gradient is a number."""
    _, train, _, _, model = build(name, random_log(), FEATURES, pointer="user", train_targets="all_positions")
    batch = next(iter(train))
    found = []
    for model.select in (True, False):
        model.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        found.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@models
@pytest.mark.parametrize("empty", [True, False])
def test_an_empty_history_points_at_the_past_alone(build, random_log, name, empty):
    given = {"pointer": "user", "empty_history": empty, "train_targets": "prefixes"}
    _, _, _, test, model = build(name, random_log(), FEATURES, **given)
    rows = all_rows(test)
    first = rows["item_id_list"][:, 0] == 0
    assert bool(first.any()) == empty
    with torch.no_grad():
        read = model.read_rows(rows, model.item_vectors())
        found = model.full_sort_predict(rows)
    assert read.states.isfinite().all() and (found[:, 1:] > -torch.inf).any(1).all()
    copied, rest = shares(read.looks, model.n_items)
    pasts = model.past.of_events(rows["event_index"], P, training=False)
    for row in range(len(rows)):
        prefix = [item for item in rows["item_id_list"][row].tolist() if item][-W:]
        named = {*prefix, *pasts[row].tolist()} - {0}
        assert set(torch.nonzero(copied[row]).squeeze(1).tolist()) == named
        assert (rest[row] == 1) == (not named)
    if empty:
        assert (pasts[first][:, 0] == 0).any() and (pasts[first][:, 0] != 0).any()


def test_hrnnfeat_reads_start_steps_at_every_position(build, random_log):
    """Chains of sessions as in training, with a start step each, against rows of their prefixes."""
    given = {"pointer": "user", "empty_history": True, "user_state": "init", "train_targets": "all_positions"}
    _, train, _, _, model = build("HRNNFeat", random_log(longest=12), FEATURES, **given)
    sequences, data = train.sequences, train._dataset
    batch = sequences.train_batch(train.chains)
    event = torch.nonzero(batch.targets).squeeze(1)
    number = torch.from_numpy(sequences.session_of(np.arange(len(data.events))))
    # the place in `items`, start steps included, of what a target lies behind, and the target's own among the events
    of_place = {int(place) - 1: n for n, place in enumerate(sequences.flat_place(np.arange(len(number))))}
    index = torch.tensor([of_place[place] for place in batch.places[event].tolist()])
    rows = {"event_index": index, "item_id_list": torch.zeros(len(index), 1, dtype=torch.int64)}
    with torch.no_grad():
        vectors = model.item_vectors()
        by_users = model.read_users(batch, vectors).only(event)
        ranked = model.read_rows(rows, vectors)
    same(by_users, ranked, model.n_items)
    assert (batch.items[event] == 0).any()


def test_hrnnfeat_looks_back_over_a_long_session_in_linear_memory(build, random_log):
    _, _, _, _, model = build("HRNNFeat", random_log(), FEATURES)
    length = 5_000
    flat = torch.randint(1, model.n_items, (length,))
    zero = torch.zeros(1, dtype=torch.int64)
    batch = PositionBatch(flat, zero, zero + length, zero, length)
    with torch.no_grad(), Largest() as largest:
        vectors = model.item_vectors()
        read = model.read_positions(batch, vectors)
    assert len(read.states) == length and largest.numel <= length * 2 * W * model.hidden * 4 < length**2 / 10


def test_no_user_returns_so_the_session_is_all(build, random_log):
    rows = [{k: v for k, v in row.items() if k != "user_id"} for row in random_log()]
    for number, name in enumerate(MODELS):
        _, _, _, _, model = build(name, None if number else rows, FEATURES, pointer="user")
        assert any("no user has a second session" in n and "pointer: user" in n for n in model.notes)
        assert model.past is None and model.past_limit == 0 and not hasattr(model.look_back, "user")
        assert model.look_back.points and len(model.look_back.gates.bias) == 1
        _, _, _, _, session = build(name, pointer="session")
        assert model.state_dict().keys() == session.state_dict().keys()


@models
def test_weights_come_back(build, random_log, name):
    _, _, _, test, model = build(name, random_log(), FEATURES, pointer="user")
    _, _, _, _, other = build(name, pointer="user", seed=11)
    rows = all_rows(test)
    with torch.no_grad():
        expected = model.full_sort_predict(rows)
        assert not torch.allclose(other.full_sort_predict(rows)[:, 1:], expected[:, 1:])
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.full_sort_predict(rows), expected)
    assert {k.split(".")[1] for k in model.state_dict() if k.startswith("look_back.")} == {
        *("readout", "mix", "session", "gates", "user")
    }


@models
def test_bf16_trains_it(build, random_log, name):
    from recbole.utils import get_trainer

    found = {}
    for number, precision in enumerate(("fp32", "bf16")):
        given = {"pointer": "user", "precision": precision, "epochs": 2}
        config, train, valid, test, model = build(name, None if number else random_log(), FEATURES, **given)
        trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
        trainer.fit(train, valid, saved=False, show_progress=False)
        found[precision] = [trainer.train_loss_dict[0], trainer.train_loss_dict[1]]
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
        result = trainer.evaluate(test, load_best_model=False, show_progress=False)
        assert 0 <= result["hit@5"] <= 1
    assert found["fp32"] != found["bf16"]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=2e-2)


def test_hrnnfeat_knows_a_past_under_every_layout(build, random_log):
    """It brings its data set; the two others say what they need."""
    given = {"pointer": "user", "data_layout": "recbole", "split": {"LS": "valid_and_test"}}
    _, _, _, test, model = build("HRNNFeat", random_log(), FEATURES, **given)
    rows = all_rows(test)
    with torch.no_grad():
        read = model.read_rows(rows, model.item_vectors())
    assert (read.looks.log_share[:, -P:].exp() > 0).any()
    for name in ("SASRecFeat", "GRU4RecFeat"):
        with pytest.raises(UsageError, match=f"{name} needs our data path: set data_layout: pointers"):
            build(name, **given, train_targets="prefixes", score="dot")


@models
@pytest.mark.parametrize("pointer", ["session", "user"])
def test_the_trainer_ranks_by_p(build, random_log, name, pointer):
    """Ranks by counting are those of the whole matrix, which is the mixture."""
    from recbole.utils import get_trainer

    from recbole_ext.scores.ranks import target_ranks

    config, _, _, test, model = build(name, random_log(), FEATURES, pointer=pointer)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.eval_collector.start()
    trainer.evaluate(test, load_best_model=False, show_progress=False)
    rows = all_rows(test)
    with torch.no_grad():
        scores = model.full_sort_predict(rows)
    expected = target_ranks(scores, torch.arange(len(scores)), rows["item_id"]).numpy()
    found = trainer.eval_collector.targets()["rank"]
    np.testing.assert_array_equal(found, expected[np.argsort(rows["event_index"])])


# --- reinforcement learning -------------------------------------------------------------------------------

REWARDS = {"rewards": {"view": 0.2, "purchase": 1.0}}


def chance_of_targets(model, read, vectors, rows):
    """(N,) p of the rows' targets as training knows it."""
    candidates = torch.nonzero(model.items.seen).squeeze(1)
    product = model.scoring.states(read.states) @ model.scoring.vectors(vectors)[candidates].T
    own = torch.searchsorted(candidates, rows["item_id"])
    chance = torch.softmax(product.double(), 1).gather(1, own.unsqueeze(1)).squeeze(1)
    copied, rest = shares(read.looks, model.n_items)
    return chance * rest + copied.gather(1, rows["item_id"].unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        ("SASRecFeat", {"train_targets": "prefixes"}),
        ("SASRecFeat", {"train_targets": "all_positions"}),
        ("HRNNFeat", {"train_targets": "prefixes"}),
        ("HRNNFeat", {"train_targets": "all_positions"}),
        ("HRNNFeat", {"train_targets": "all_positions", "user_state": "init"}),
    ],
)
def test_the_supervised_term_of_a_method_is_the_mixture_s(build, random_log, encoder, settings):
    given = {**REWARDS, **settings, "train_batch_size": 10**6, "score": "dot"}
    _, train, _, _, net = build(f"{encoder}SQN", random_log(), FEATURES, **given)
    (batch,) = list(train)
    loss = net.calculate_loss(batch)
    main, rows = net.networks[0].encoder, all_rows(train)
    with torch.no_grad():
        vectors = main.item_vectors()
        p = chance_of_targets(main, main.read_rows(rows, vectors), vectors, rows)
    noted = net.diagnostics(1)
    assert noted["ce"] == pytest.approx(-p.log().mean().item(), rel=1e-4)
    assert loss.item() == pytest.approx(noted["ce"] + noted["td_loss"], rel=1e-4)
    loss.backward()
    for key, parameter in main.look_back.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("encoder", ["SASRecFeat", "HRNNFeat"])
def test_a_method_takes_steps_with_a_pointer(build, random_log, encoder):
    from recbole.utils import get_trainer

    config, train, valid, test, net = build(
        f"{encoder}SQN", random_log(), FEATURES, pointer="user", **REWARDS
    )
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, net)
    before = [copy.deepcopy(dict(n.encoder.look_back.named_parameters())) for n in net.networks]
    trainer.fit(train, valid, saved=False, show_progress=False)
    moved = [
        all(not torch.equal(old[key], p) for key, p in n.encoder.look_back.named_parameters())
        for old, n in zip(before, net.networks)
    ]
    assert any(moved)
    rows = all_rows(test)
    with torch.no_grad():
        ranked = net.full_sort_predict(rows)
        assert torch.equal(ranked, net.networks[0].encoder.full_sort_predict(rows))
    result = trainer.evaluate(test, load_best_model=False, show_progress=False)
    assert 0 <= result["hit@5"] <= 1


def test_a_free_head_knows_no_pointer(build, random_log):
    given = {**REWARDS, "supervised_head": "free", "train_batch_size": 10**6}
    _, train, _, _, net = build("SASRecFeatSQN", random_log(), FEATURES, **given)
    rows, network = all_rows(train), net.networks[0]
    (batch,) = list(train)
    net.calculate_loss(batch)
    with torch.no_grad():
        read = net.read_rows(rows, net.item_vectors())
        assert read.looks is None and net.terms(rows, read) is None
        scores = read.states @ network.supervised.weight.T + network.supervised.bias
        seen = network.encoder.items.seen
        torch.testing.assert_close(
            net.full_sort_predict(rows)[:, seen], scores[:, seen], atol=1e-5, rtol=1e-5
        )
        expected = F.cross_entropy(scores[:, seen], seen.cumsum(0)[rows["item_id"]] - 1)
    assert net.diagnostics(1)["ce"] == pytest.approx(expected.item(), rel=1e-4)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [*MODELS, "SASRecFeatSQN", "HRNNFeatSQN"])
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"pointer": "session", "train_loss": "bce"},
            "train_loss bce knows no probabilities, which pointer: session",
        ),
        (
            {"pointer": "user", "train_loss": "gbce"},
            "train_loss gbce knows no probabilities, which pointer: user",
        ),
        ({"pointer": "banana"}, "pointer is 'banana': it has to be one of none, session, user"),
        ({"readout": "banana"}, "readout is 'banana'"),
        ({"look_back": 0}, "look_back is 0: it has to be a whole number from 1 to 10000"),
        ({"look_back_past": 2.5}, "look_back_past is 2.5: it has to be a whole number from 1 to 10000"),
    ],
)
def test_what_cannot_be_is_said_at_the_door(model, given, sentence, tmp_path, monkeypatch):
    from recbole_ext.run.run import configure

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        configure(model, "diginetica-demo", {"raw_path": "none", **given})
    said = str(caught.value)
    assert said.startswith(sentence) and "\n" not in said and not any(tmp_path.iterdir())


@pytest.mark.parametrize("loss", ["BPR", "TOP1"])
def test_a_pairwise_loss_knows_no_pointer(loss, tmp_path, monkeypatch):
    from recbole_ext.run.run import configure

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^loss_type {loss} knows no probabilities.*set pointer: none"):
        configure("HRNNFeat", "diginetica-demo", {"raw_path": "none", "loss_type": loss})
    with pytest.raises(UsageError, match="loss_type is 'BPR': it has to be CE"):
        configure(
            "SASRecFeat", "diginetica-demo", {"raw_path": "none", "loss_type": "BPR", "pointer": "session"}
        )


def test_of_hrnnfeat_s_pairwise_losses_the_pointer_is_left_out_by_name(tmp_path, monkeypatch):
    from recbole_ext.run.run import configure

    monkeypatch.chdir(tmp_path)
    for given in ({"loss_type": "BPR"}, {"train_loss": "bce"}):
        config = configure("HRNNFeat", "diginetica-demo", {"raw_path": "none", "pointer": "none", **given})
        assert config["pointer"] in (None, "none") and config["readout"] is True
