"""Steps that update only the item vectors that they read: `row_updates`, for losses over some items of very many.

With a sampled `train_loss` a step reads a few thousand rows of the item table, and a dense gradient, moments and
weights are passed over whole. Here the look-ups give a sparse gradient, which is summed by row, and the optimizer takes
its own step with the rows that were read as if they were all there are. For Adam, g_r being row r's gradient in step t:

    read:      m_r = b1 m_r + (1 - b1) g_r,   v_r = b2 v_r + (1 - b2) g_r^2,
               w_r = w_r - lr * m_r / (1 - b1^t) / (sqrt(v_r / (1 - b2^t)) + eps)
    not read:  m_r, v_r and w_r stay.   t counts all steps, for every row.

Reference: lazy Adam, torch.optim.SparseAdam (which adds eps before v is corrected). What differs from Adam: the moments
of a row that is not read do not decay, and its momentum does not move it on; where every row is read in every step they
are the same. SGD and Adagrad are the same either way. Weight decay shrinks the rows that are read alone, as FBGEMM's
optimizers of embedding tables do. Clipping sees the norm of the summed rows, which is that of the dense gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recbole_ext.errors import UsageError
from recbole_ext.processes import current
from recbole_ext.settings.training import ROWS_PAY_FROM, SAMPLED
from recbole_ext.trainer.averaging import WeightAverage


class RowUpdates:
    """The rows of a table that a step reads, and the optimizer's step with them in the table's place."""

    def __init__(self, table: nn.Embedding):
        self.table = table
        table.sparse = True
        self._rows: Tensor | None = None  # (U,) of this step, each once
        self._taken = table.weight[:0]  # (U, d) these rows, with their gradient

    def take(self) -> None:
        """After backward: sum the gradient by row, and take the rows out.

        Raises UsageError where it is dense, as the loss has read the whole table.
        """
        weight = self.table.weight
        gradient = weight.grad
        if gradient is None:
            self._rows = None
            return
        if not gradient.is_sparse:
            raise UsageError(
                "the loss reads the whole item table beside its look-ups, so all of it has to be updated: set "
                "row_updates: False"
            )
        gradient = gradient.coalesce()
        self._rows = gradient.indices()[0]
        self._taken = nn.Parameter(weight.detach().index_select(0, self._rows))
        self._taken.grad = gradient.values()
        weight.grad = None

    def learnt(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """The parameters with a gradient in this step, the rows in place of the table."""
        rows = [] if self._rows is None else [self._taken]
        return [*(p for p in parameters if p is not self.table.weight), *rows]

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer, average: WeightAverage | None = None) -> None:
        """Its step, of all parameters and of the rows that were taken; its state keeps the form that it always has.

        average: of the weights, which hears which rows of the table move.
        """
        rows, weight, taken = self._rows, self.table.weight, self._taken
        if rows is None:
            optimizer.step()
            return
        whole = optimizer.state[weight]
        if whole:
            optimizer.state[taken] = {name: _of_rows(value, weight, rows) for name, value in whole.items()}
        with _in_place_of(weight, taken, optimizer):
            optimizer.step()
        if average is not None:
            average.before_moving(rows)
        weight.index_copy_(0, rows, taken)
        for name, value in optimizer.state.pop(taken, {}).items():
            if not _by_row(value, taken):
                whole[name] = value
                continue
            if name not in whole:  # optimizers that make their state in the first step make it of zeros
                whole[name] = torch.zeros_like(weight, dtype=value.dtype)
            whole[name].index_copy_(0, rows, value)
        self._rows = None


@contextmanager
def _in_place_of(weight: Tensor, taken: Tensor, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within the block the optimizer has `taken` where it has `weight`."""
    before = [group["params"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["params"] = [taken if p is weight else p for p in group["params"]]
    try:
        yield
    finally:
        for group, parameters in zip(optimizer.param_groups, before):
            group["params"] = parameters


def _by_row(value: Any, weight: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == weight.shape


def _of_rows(value: Any, weight: Tensor, rows: Tensor) -> Any:
    return value.index_select(0, rows) if _by_row(value, weight) else value


def row_updates_of(trainer: Any) -> RowUpdates | None:
    """Those of a SessionTrainer that has met its training loader, where they are asked for or pay; None: none.

    Raises UsageError where `row_updates: True` cannot be.
    """
    wanted = trainer.settings.row_updates
    if wanted is False or trainer.settings.train_loss not in SAMPLED:
        return None
    table = None if trainer.factored is None else trainer.factored.row_table()
    hindrance = _hindrance(trainer, table)
    if wanted is True and hindrance:
        raise UsageError(f"row_updates is True, but {hindrance}: leave row_updates out")
    assert hindrance or table is not None
    if table is None or hindrance:
        return None
    if wanted == "auto" and (trainer.device.type != "cpu" or table.num_embeddings < ROWS_PAY_FROM):
        return None
    return RowUpdates(table)


def _hindrance(trainer: Any, table: nn.Embedding | None) -> str:
    """Why it cannot be done, as a clause; an empty text: it can."""
    if table is None:
        return f"{trainer.config['model']} makes its item vectors of more than one table, or reads all of it"
    if current().count > 1:
        return "several processes add up dense gradients"
    if trainer.enable_scaler:
        return "enable_scaler takes RecBole's own steps"
    return ""


def note_of(rows: RowUpdates, chosen: bool) -> str:
    """What a reader of the record has to know; chosen: by a setting, not by itself."""
    why = (
        "" if chosen else f", as the catalogue has {ROWS_PAY_FROM:,} or more (row_updates: False updates all)"
    )
    return f"row_updates: a step updates only the item vectors that it reads, of {rows.table.num_embeddings:,}{why}"
