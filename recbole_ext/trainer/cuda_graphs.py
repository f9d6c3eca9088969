"""Training steps as CUDA graphs, one for each shape of batch and kind of step, so that a step is one launch.

A PositionBatch is a few pointers into a column on the device, so a graph holds everything from gathering it to the
optimizer's step. Batches have few shapes (`length_batches`); one with fewer rows than its graph gets empty ones, which
teach nothing. What cannot be captured runs as before.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from logging import getLogger
from typing import Any

import torch
from torch import Tensor

from recbole_ext.data.positions import PositionBatch

WARM_UPS = 2


class GraphedSteps:
    """Captures and replays the trainer's steps."""

    def __init__(self, trainer: Any, loader: Any):
        self.trainer = trainer
        self.loader = loader
        self.graphs: dict[Any, tuple[torch.cuda.CUDAGraph, PositionBatch, Tensor]] = {}
        self.pool: Any = None
        self.failed = False

    def step(self, batch: PositionBatch) -> Tensor | None:
        """One step on `batch`; its loss, or None when the caller has to make the step itself."""
        if self.failed or not self._ready():
            return None
        rows = self.loader.full_rows(batch.steps)
        if len(batch) > rows:
            return None
        key = (batch.steps, self.trainer.graph_key())
        if key not in self.graphs and not self._capture(key, batch, rows):
            return None
        graph, still, loss = self.graphs[key]
        _fill(still, batch)
        graph.replay()
        return loss

    def _ready(self) -> bool:
        """The optimizer makes its state in its first step, which must not be part of a graph."""
        optimizer = self.trainer.optimizer
        return all(
            optimizer.state.get(p) for g in optimizer.param_groups for p in g["params"] if p.requires_grad
        )

    def _capture(self, key: Any, batch: PositionBatch, rows: int) -> bool:
        trainer = self.trainer
        still = batch.empty(rows)
        sums = [
            (tensor, tensor.clone()) for tensor in trainer.running_sums()
        ]  # trying out must not add to them
        _fill(still, batch)
        random = torch.cuda.get_rng_state()
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):  # libraries choose their kernels here; weights stay as they are
                    trainer.optimizer.zero_grad(set_to_none=True)
                    trainer._backward(replace(still), trainer._loss_of, select=False)
            torch.cuda.current_stream().wait_stream(stream)
            trainer.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with _nothing_freed(first=not self.graphs), torch.cuda.graph(graph, pool=self.pool):
                loss = trainer._backward(replace(still), trainer._loss_of, select=False)
                trainer.update()
            self.pool = graph.pool()
            self.graphs[key] = (graph, still, loss)
        except RuntimeError as error:
            self.failed = True
            torch.cuda.synchronize()
            trainer.optimizer.zero_grad(set_to_none=True)
            self.graphs.clear()
            _renew_generator()
            reason = str(error).splitlines()[0]
            getLogger().warning(
                f"steps run without CUDA graphs: {reason} (cuda_graphs: False says so at once)"
            )
        finally:
            for tensor, before in sums:
                tensor.copy_(before)
            torch.cuda.set_rng_state(random)  # a resumed run captures again and has to draw the same
        return not self.failed


@contextmanager
def _nothing_freed(first: bool) -> Iterator[None]:
    """Freeing an older run's graph breaks a capture: what is dead goes before the first, and nothing during one."""
    if first:
        gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _renew_generator() -> None:
    """Give the device's generator a state that no graph knows: a broken capture leaves it waiting for its end."""
    device = torch.cuda.current_device()
    fresh = torch.Generator(device=f"cuda:{device}")
    torch.cuda.default_generators[device].graphsafe_set_state(fresh)


def _fill(still: PositionBatch, batch: PositionBatch) -> None:
    rows = len(batch)
    for into, values in zip(still.of_rows, batch.of_rows, strict=True):
        into[:rows].copy_(values)
        into[rows:].zero_()
