"""Training steps as CUDA graphs, one for each shape of batch and kind of step, so that a step is one launch.

A PositionBatch is a few pointers into a column on the device, so a graph holds everything from gathering it to the
optimizer's step. Batches have few shapes (`length_batches`); one with fewer rows than its graph gets empty ones, which
teach nothing. What cannot be captured runs as before.

With several processes a step is two graphs, up to the packed gradients and from their sum on, with the sum between.
All processes make the same graphs at the same steps, or none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging import getLogger
from typing import Any

import torch
from torch import Tensor

from recbole_ext.data.positions import PositionBatch
from recbole_ext.processes import anywhere
from recbole_ext.trainer.gradients import as_given, targets_in

WARM_UPS = 2  # before the first graph; once before the others, which meet what it has met


@dataclass(frozen=True)
class Captured:
    """A step on a batch that is filled anew, with its loss or losses. update: what follows the sum over processes, if
    there are several."""

    graph: torch.cuda.CUDAGraph
    still: PositionBatch
    loss: Any
    update: torch.cuda.CUDAGraph | None = None


class GraphedSteps:
    """Captures and replays the trainer's steps."""

    def __init__(self, trainer: Any, loader: Any):
        self.trainer = trainer
        self.loader = loader
        self.graphs: dict[Any, Captured] = {}
        self.updates: dict[Any, tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]] = {}
        self.pool: Any = None
        self.failed = False

    def step(self, batch: PositionBatch) -> Any:
        """One step on `batch`; its loss, or None when the caller has to make the step itself."""
        if self.failed or not self._ready():
            return None
        rows = self.loader.full_rows(batch.steps)
        if len(batch) > rows:
            return None
        key = (batch.steps, self.trainer.graph_key())
        if key not in self.graphs and not self._capture(key, batch, rows):
            return None
        captured = self.graphs[key]
        _fill(captured.still, batch)
        captured.graph.replay()
        if captured.update is not None:
            self.trainer.shared.add()
            captured.update.replay()
        return captured.loss

    def _ready(self) -> bool:
        """The optimizer makes its state in its first step, which must not be part of a graph."""
        optimizer = self.trainer.optimizer
        return all(
            optimizer.state.get(p) for g in optimizer.param_groups for p in g["params"] if p.requires_grad
        )

    def _capture(self, key: Any, batch: PositionBatch, rows: int) -> bool:
        """Whether the step is captured, in every process."""
        trainer = self.trainer
        still = batch.empty(rows)
        sums = [
            (tensor, tensor.clone()) for tensor in trainer.running_sums()
        ]  # trying out must not add to them
        _fill(still, batch)
        random = torch.cuda.get_rng_state()
        try:
            with self._told():
                self._try_out(still)
                with self._capturing() as graph:
                    loss = self._first_half(still)
                    if trainer.shared is None:
                        trainer.update()
                self.graphs[key] = Captured(graph, still, loss)
            if trainer.shared is not None and not self._failed_anywhere():
                learning = trainer.shared.learning()
                with self._told():
                    self.graphs[key] = self._with_update(self.graphs[key], learning)
                self._failed_anywhere()
        finally:
            for tensor, before in sums:
                tensor.copy_(before)
            torch.cuda.set_rng_state(random)  # a resumed run captures again and has to draw the same
        return not self.failed

    def _try_out(self, still: PositionBatch) -> None:
        zero_grad = self.trainer.optimizer.zero_grad
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # libraries choose and compile their kernels here; weights stay as they are
            for _ in range(1 if self.graphs else WARM_UPS):
                zero_grad(set_to_none=True)
                self._first_half(still)
        torch.cuda.current_stream().wait_stream(stream)
        zero_grad(set_to_none=True)

    def _first_half(self, still: PositionBatch) -> Any:
        """A step up to its gradients, which are packed where there are other processes; its loss or losses."""
        trainer = self.trainer
        loss = trainer._backward(replace(still), trainer._loss_of, select=False)
        if trainer.shared is not None:
            trainer.shared.pack(as_given(loss), targets_in(still))
        return loss

    def _with_update(self, half: Captured, learning: tuple[bool, ...]) -> Captured:
        """The second half is the same for all shapes of batch that teach the same weights."""
        trainer = self.trainer
        if learning not in self.updates:
            with self._capturing() as graph:
                losses = trainer.shared.unpack(learning)
                trainer.update()
            self.updates[learning] = graph, losses
        graph, losses = self.updates[learning]
        loss = losses if isinstance(half.loss, tuple) else losses[0]
        return replace(half, loss=loss, update=graph)

    @contextmanager
    def _capturing(self) -> Iterator[torch.cuda.CUDAGraph]:
        graph = torch.cuda.CUDAGraph()
        # NCCL's own thread asks the device how far it is, which a capture that looks at all threads does not stand
        mode = "global" if self.trainer.shared is None else "thread_local"
        with (
            _nothing_freed(first=not self.graphs),
            torch.cuda.graph(graph, pool=self.pool, capture_error_mode=mode),
        ):
            yield graph
        self.pool = graph.pool()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Where the block fails, say so and do without graphs from here on."""
        try:
            yield
        except RuntimeError as error:
            self._give_up()
            _renew_generator()
            reason = str(error).splitlines()[0]
            getLogger().warning(
                f"steps run without CUDA graphs: {reason} (cuda_graphs: False says so at once)"
            )

    def _give_up(self) -> None:
        self.failed = True
        torch.cuda.synchronize()
        self.trainer.optimizer.zero_grad(set_to_none=True)
        self.graphs.clear()
        self.updates.clear()

    def _failed_anywhere(self) -> bool:
        """Whether one of the processes has given up, so that all have to."""
        (failed,) = anywhere((self.failed,))
        if failed and not self.failed:
            self._give_up()
        return failed


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
