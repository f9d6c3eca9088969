"""The fast ways on a CPU are the slow ones: products, GRUs side by side, passes over all items."""

import copy

import pytest
import torch
import torch.nn.functional as F

from recbole_ext.model import cosine_softmax
from recbole_ext.model.beside import beside
from recbole_ext.model.cosine_softmax import cosine_softmax_loss, takes
from recbole_ext.model.item_features import FeatureEncoder, ItemTokens
from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.model.passes import Sums, chosen_unit_rows, directions, joined
from recbole_ext.model.recurrence import side_by_side
from recbole_ext.model.rows import table_rows, unit_rows
from recbole_ext.scores import products


def close(found, expected, share=1e-5):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.shape == other.shape
        scale = max(float(other.abs().max()) if other.numel() else 0.0, 1e-30)
        assert float((one - other).abs().max() if one.numel() else 0.0) <= share * scale


def gradients(make, leaves):
    """What `make` gives, and the gradients of a weighted sum of it."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    made = make(*leaves)
    weight = torch.arange(1.0, made.numel() + 1, dtype=made.dtype).view_as(made).sin()
    return [made.detach(), *torch.autograd.grad((made * weight).sum(), leaves)]


# --- products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (64, 48, 32), (258, 256, 64)])
def test_products_are_those_of_torch(shape):
    n, k, m = shape
    a, b = torch.randn(n, k), torch.randn(k, m)
    wide = torch.randn(k, 2 * m)
    for one, other in [(a, b), (a.T.contiguous().T, b.T.contiguous().T), (a, wide[:, m:])]:
        close([products.product(one, other)], [(one.double() @ other.double()).float()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_map_has_the_gradients_of_torch(dtype):
    x, weight, bias = (torch.randn(*s, dtype=dtype) for s in ((4, 6, 16), (8, 16), (8,)))
    close(gradients(products.linear, [x, weight, bias]), gradients(F.linear, [x, weight, bias]))
    close(gradients(products.linear, [x, weight]), gradients(F.linear, [x, weight]))


@pytest.mark.parametrize("mixed", [False, True])
def test_the_softmax_is_the_same_by_onednn_and_by_torch(monkeypatch, mixed):
    draw = torch.Generator().manual_seed(3)
    x, table = (torch.randn(s, 32, generator=draw) for s in (70, 90))
    target, weight = torch.randint(0, 90, (70,), generator=draw), torch.rand(70, generator=draw)
    mixture = [torch.rand(70, generator=draw).log() for _ in range(2)] if mixed else []

    def loss(x, table, *mixture):
        return softmax_loss(x, table, target, weight, chunk_rows=32, mixture=mixture or None)

    fast = gradients(loss, [x, table, *mixture])
    monkeypatch.setattr(products, "_has_onednn", lambda: False)
    close(fast, gradients(loss, [x, table, *mixture]))


# --- GRUs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("rows, steps", [(1, 1), (5, 1), (1, 9), (4, 3), (33, 12)])
def test_grus_side_by_side_are_those_of_torch(count, rows, steps):
    torch.manual_seed(rows + steps)
    grus = torch.nn.ModuleList(torch.nn.GRU(6, 8) for _ in range(count))
    weights = [weight for gru in grus for weight in gru.parameters()]
    # parts of one tensor that lies the other way round, as a model gives them
    x = torch.randn(rows, steps, 6 * count).transpose(0, 1)

    def run(states):
        found = x.detach().clone().requires_grad_()
        made = torch.cat(states(found.split(6, dim=2)), dim=2)
        return [made.detach(), *torch.autograd.grad(made.square().sum(), [found, *weights])]

    slow = run(lambda pieces: [gru(piece)[0] for gru, piece in zip(grus, pieces)])
    close(run(lambda pieces: side_by_side(grus, pieces)), slow)


def test_the_backward_of_the_grus_is_the_derivative():
    grus = torch.nn.ModuleList(torch.nn.GRU(2, 3) for _ in range(2)).double()
    for gru in grus:
        for weight in gru.parameters():
            weight.data = torch.randn_like(weight)
    weights = [weight for gru in grus for weight in gru.parameters()]
    inputs = [torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    made = lambda *given: torch.stack(side_by_side(grus, given[:2]))  # noqa: E731
    assert torch.autograd.gradcheck(made, (*inputs, *weights))


# --- passes over all items --------------------------------------------------------------------------------


def test_chosen_unit_rows_are_unit_rows_that_are_chosen():
    vectors = torch.randn(9, 5, dtype=torch.float64)
    vectors[4] = 0  # no direction: no gradient
    rows = torch.tensor([7, 1, 4, 2])
    slow = gradients(lambda x: unit_rows(x)[rows], [vectors])
    close(gradients(lambda x: chosen_unit_rows(x, rows), [vectors]), slow)
    vectors[4] = 1
    assert torch.autograd.gradcheck(lambda x: chosen_unit_rows(x, rows), vectors.requires_grad_())


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_a_softmax_of_directions_has_the_gradients_of_one_step_after_the_other(mixed, within, two_threads):
    """Of a table whose rows are looked up too, with an item that is dropped, one without direction, ones that are no
    candidates; by one thread and with another beside."""
    draw = torch.Generator().manual_seed(3)
    random = lambda *shape: torch.randn(*shape, generator=draw, dtype=torch.float64)  # noqa: E731
    ids, features, maps, rest, copied = random(9, 3), random(9, 2), random(5, 5), random(7), random(7)
    ids[4] = features[4] = 0
    kept, rows = torch.arange(9) != 2, torch.tensor([7, 1, 4, 2, 3, 8])
    items, target = torch.tensor([1, 5, 2, 0, 7, 7, 8]), torch.tensor([0, 1, 3, 3, 5, 4, 0])
    weight = torch.rand(7, generator=draw, dtype=torch.float64)

    def loss(ids, features, maps, rest, copied, fast=True):
        table = joined(ids, features, kept)
        states = table_rows(table, items) @ maps
        mixture = (rest, copied) if mixed else None
        if not fast:
            return softmax_loss(states, unit_rows(table)[rows], target, weight, mixture=mixture)
        assert takes(states, table, rows, "fp32")
        made = directions(table.detach(), rows)
        return cosine_softmax_loss(states, table, rows, made, target, weight, mixture)

    leaves = [ids, features, maps, rest, copied]
    used = leaves if mixed else leaves[:3]

    def both(fast):
        with beside(within):
            return gradients(lambda *given: 3 * loss(*given, *leaves[len(given) :], fast=fast), used)

    close(both(True), both(False), 1e-12)


@pytest.mark.skipif(
    not products.takes_bf16(torch.device("cpu")), reason="this CPU does not multiply bfloat16, or no oneDNN"
)
@pytest.mark.parametrize(
    "scale, way, mixed",
    [(4, "exponentials", False), (4, "exponentials", True), (400, "probabilities", False)],
)
def test_a_softmax_of_directions_in_bf16_differs_by_its_rounding_only(scale, way, mixed, monkeypatch):
    """By exponentials, and where a target is too unlikely for them."""
    draw = torch.Generator().manual_seed(3)
    ids, features = torch.randn(90, 8, generator=draw), torch.randn(90, 8, generator=draw)
    kept, rows = torch.arange(90) != 2, torch.arange(1, 80)
    target, weight = torch.randint(0, 79, (64,), generator=draw), torch.rand(64, generator=draw)
    maps, mixture = torch.randn(64, 16, generator=draw), torch.rand(2, 64, generator=draw).log()
    tried = []
    for name in ("exponentials", "probabilities"):
        own = getattr(cosine_softmax, name)
        monkeypatch.setattr(
            cosine_softmax, name, lambda *given, n=name, own=own: tried.append(n) or own(*given)
        )

    def loss(ids, features, maps, rest, copied, precision="bf16"):
        table, both = joined(ids, features, kept), (rest, copied) if mixed else None
        states = unit_rows(maps) * scale
        assert takes(states, table, rows, precision)
        made = directions(table.detach(), rows)
        found = cosine_softmax_loss(states, table, rows, made, target, weight, both, precision)
        return found if mixed else found + 0 * (rest + copied).sum()

    leaves = [ids, features, maps, *mixture]
    low = gradients(loss, leaves)
    assert tried[0] == "exponentials" and tried[-1] == way
    exact = gradients(lambda *given: loss(*given, precision="fp32"), leaves)
    for one, other in zip(low, exact):
        assert (one - other).norm() <= (2e-2 if scale < 100 else 0.2) * other.norm() + 1e-12


def test_joined_parts_are_masked_and_side_by_side():
    ids, features = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    kept = torch.tensor([True, False, True, True, False, True])
    slow = gradients(lambda i, f: torch.cat((i * kept.unsqueeze(1), f), dim=1), [ids, features])
    close(gradients(lambda i, f: joined(i, f, kept), [ids, features]), slow, 0.0)


@pytest.mark.parametrize("uses", [("all", "rows"), ("rows", "rows"), ("rows", "all", "all")], ids=" ".join)
def test_rows_of_joined_parts_are_looked_up(uses):
    """Once, or twice, beside the whole or alone; and again, as the first gradients are not to be kept."""
    ids, features = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    kept = torch.tensor([True, False, True, True, False, True])
    items = torch.tensor([[5, 1], [0, 5]])

    def made(table, rows):
        parts = {"all": table.square().flatten(), "rows": rows.sin().flatten()}
        return torch.cat([parts[use] * place for place, use in enumerate(uses, 1)])

    def fast(i, f):
        table = joined(i, f, kept)
        found = made(table, table_rows(table, items))
        torch.autograd.grad(found.sum(), table.grad_fn.next_functions[0][0].variable, retain_graph=True)
        return found

    def slow(i, f):
        table = torch.cat((i * kept.unsqueeze(1), f), dim=1)
        return made(table, F.embedding(items, table))

    close(gradients(fast, [ids, features]), gradients(slow, [ids, features]), 1e-12)


def test_sums_are_a_product_with_their_matrix():
    row, column = torch.tensor([3, 0, 3, 1]), torch.tensor([1, 2, 4, 1])
    value = torch.tensor([0.5, 2.0, -1.0, 3.0])
    dense = torch.zeros(5, 6)
    dense[row, column] = value
    sums, table = Sums(row, column, value, (5, 6)), torch.randn(6, 7)
    close(gradients(sums.of, [table]), gradients(lambda t: dense @ t, [table]))


class Catalogue:
    """What a FeatureEncoder asks of a data set: 40 items with tokens, lists of tokens and numbers."""

    def __init__(self):
        from recbole.utils import FeatureType

        draw = torch.Generator().manual_seed(5)
        self.config = {"numerical_features": []}
        self.field2type = {
            "category": FeatureType.TOKEN,
            "words": FeatureType.TOKEN_SEQ,
            "price": FeatureType.FLOAT,
            "picture": FeatureType.FLOAT_SEQ,
        }
        words = torch.randint(0, 30, (40, 5), generator=draw)
        words[:, 2:] *= torch.rand(40, 3, generator=draw) > 0.6
        self.columns = {
            "category": torch.randint(0, 7, (40,), generator=draw),
            "words": words,
            "price": torch.rand(40, generator=draw),
            "picture": torch.randn(40, 20, generator=draw),
        }

    def get_item_feature(self):
        return self.columns

    def num(self, field):
        return {"category": 7, "words": 30}[field]


FIELDS = [["words", "price", "category"], ["picture", "words"], ["picture"], ["price"]]


@pytest.mark.parametrize("fields", FIELDS, ids=" ".join)
def test_features_of_all_items_are_those_of_each(fields):
    encoder = FeatureEncoder(Catalogue(), fields, 4, torch.arange(40) > 0)
    weights = list(encoder.parameters())
    weight = torch.randn(40, 4)

    def run(vectors):
        return [vectors.detach(), *torch.autograd.grad((vectors * weight).sum(), weights)]

    fast = run(encoder())
    close(fast, run(encoder(torch.arange(40))))
    twin = copy.deepcopy(encoder)
    close([twin().detach()], fast[:1])
    if "words" not in fields:
        return
    encoder.tokens["words"].table_0[7] = 0  # an item that loses its words
    close(run(encoder()), run(encoder(torch.arange(40))))
    assert not torch.equal(encoder()[7], fast[0][7])


def test_cells_of_tokens_make_their_means():
    tokens = torch.tensor([[0, 0, 0], [2, 0, 3], [1, 1, 2], [0, 4, 0]])
    own = ItemTokens(tokens)
    item, token, value = own.cells()
    embedding = torch.nn.Embedding(5, 3, padding_idx=0)
    dense = torch.zeros(4, 5).index_put_((item, token), value, accumulate=True)
    close([dense @ embedding.weight.detach()], [own(embedding).detach()])


def test_a_second_derivative_is_refused():
    """Where it would be wrong without a word."""
    x = torch.randn(40, 8, requires_grad=True)
    (first,) = torch.autograd.grad(unit_rows(x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_linear_map_is_torch_s_where_its_transforms_look_at_it():
    x, weight = torch.randn(40, 8), torch.randn(6, 8)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        products.linear(x, torch.randn(6, 9))
    expected = F.linear(x, weight)
    close([torch.func.vmap(lambda row: products.linear(row, weight))(x)], [expected])
    close([torch.func.jvp(lambda y: products.linear(y, weight), (x,), (x,))[1]], [expected])
    close([torch.jit.trace(products.linear, (x, weight))(x, weight)], [expected])


def test_a_linear_map_has_a_second_derivative():
    """As every model's has on a CPU, whatever its loss asks for."""
    x, weight, bias = torch.randn(40, 8), torch.randn(6, 8), torch.randn(6)

    def second(linear):
        leaves = [leaf.clone().requires_grad_() for leaf in (x, weight, bias)]
        (first,) = torch.autograd.grad(linear(*leaves).pow(3).sum(), leaves[0], create_graph=True)
        return list(torch.autograd.grad(first.square().sum(), leaves))

    close(second(products.linear), second(F.linear))
