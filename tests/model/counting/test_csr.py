"""Matrices without scipy are scipy's."""

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_ext.model.counting import csr


def pair(random, rows, columns, share=0.3):
    """A matrix of both kinds, some of whose rows are empty and in no order."""
    dense = random.normal(size=(rows, columns)) * (random.random((rows, columns)) < share)
    dense[random.random(rows) < 0.3] = 0
    theirs = sp.csr_matrix(dense)
    order = np.concatenate(
        [random.permutation(np.arange(*bounds)) for bounds in zip(theirs.indptr, theirs.indptr[1:])] or [[]]
    ).astype(np.int64)
    parts = theirs.data[order], theirs.indices[order], theirs.indptr
    return csr.csr_matrix(parts, theirs.shape), sp.csr_matrix(parts, theirs.shape)


def same(ours, theirs):
    assert ours.shape == theirs.shape
    found = np.zeros(ours.shape)
    rows = np.repeat(np.arange(ours.shape[0]), np.diff(ours.indptr))
    np.add.at(found, (rows, ours.indices), ours.data)
    np.testing.assert_allclose(found, theirs.toarray(), rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("cells", [1, 40, 1 << 20])
@pytest.mark.parametrize("sizes", [(7, 9, 5), (30, 40, 17), (3, 0, 4), (0, 3, 4), (1, 60, 1)])
def test_products_rows_and_values(sizes, cells, monkeypatch):
    monkeypatch.setattr(csr, "CELLS", cells)
    random = np.random.default_rng(7)
    rows, between, columns = sizes
    ours, theirs = pair(random, rows, between)
    other, their_other = pair(random, between, columns)
    same(ours, theirs)
    product, their_product = ours @ other, theirs @ their_other
    same(product, their_product)
    assert product.data.dtype == np.float64
    assert (np.diff(product.indptr) == np.diff(their_product.indptr)).all()  # the same ones are stored
    if not rows:
        return
    chosen = random.integers(0, rows, 11)
    same(product[chosen], their_product[chosen])
    place = random.integers(0, rows, 50), random.integers(0, columns, 50)
    np.testing.assert_allclose(product[place], np.asarray(their_product[place]).reshape(-1), rtol=1e-12)
    same(csr.vstack([product, product]), sp.vstack([their_product, their_product]))
    product.data[::2] = 0
    stored = np.count_nonzero(product.data)
    product.eliminate_zeros()
    assert len(product.data) == stored == product.indptr[-1] and (product.data != 0).all()
    assert product.copy().data is not product.data and product.astype(np.float32).data.dtype == np.float32


def test_entries_that_repeat_add_up():
    random = np.random.default_rng(8)
    row, column, values = random.integers(0, 6, 80), random.integers(0, 5, 80), random.normal(size=80)
    same(*(kind.csr_matrix((values, (row, column)), shape=(6, 5)) for kind in (csr, sp)))
    same(*(kind.csr_matrix((6, 5)) for kind in (csr, sp)))


def test_sums_are_added_up_in_scipy_s_order():
    """1e16 + 1 - 1e16 is 0 in one order and 1 in another."""
    for values in ([1e16, 1.0, -1e16], [1e16, -1e16, 1.0]):
        given = (np.array(values), np.arange(3), np.array([0, 3]))
        column = (np.ones(3), np.zeros(3, dtype=np.int64), np.arange(4))
        ours, theirs = (
            kind.csr_matrix(given, shape=(1, 3)) @ kind.csr_matrix(column, shape=(3, 1)) for kind in (csr, sp)
        )
        assert ours.data.sum() == theirs.toarray()[0, 0] == (0.0 if values[1] == 1 else 1.0)
