"""One run over several processes, as `torchrun` starts them: who this one is, and what they do together.

Every process makes the same batches and takes its part of their rows; gradients are added up, so that a step is the one
that a single process would have taken with the whole batch. Where nothing was started by torchrun there is one process,
and all of this costs nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_ext.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Processes:
    """number: of this process, from 0. count: of all of them. on_machine: number among those of this machine."""

    number: int = 0
    count: int = 1
    on_machine: int = 0


ALONE = Processes()
_current = ALONE


def current() -> Processes:
    """Those of the run under way; one where `together` is not open."""
    return _current


def started() -> Processes:
    """Those that torchrun has started, by the environment that it sets; UsageError where it is not whole."""
    told = {
        key: os.environ.get(key) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    }
    if told["WORLD_SIZE"] is None:
        return ALONE
    lacks = [key for key, value in told.items() if value is None]
    try:
        found = Processes(*(int(told[key] or 0) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except ValueError:
        lacks = [key for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if not str(told[key]).isdecimal()]
    if lacks:
        raise UsageError(
            f"the environment says WORLD_SIZE {told['WORLD_SIZE']} and no number for {', '.join(lacks)}: start several "
            "processes by torchrun --nproc-per-node=N run.py, or unset WORLD_SIZE"
        )
    return found if found.count > 1 else ALONE


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """Within the block the processes that torchrun has started know each other. device: where this one computes."""
    global _current
    found = started()
    if found.count == 1 or _current.count > 1:
        yield _current
        return
    import torch.distributed as dist

    if not dist.is_initialized():  # once: those that have parted do not meet again under torchrun's store
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    _current = found
    try:
        yield found
    finally:
        _current = ALONE


def own(rows: Any) -> Any:
    """This process's part of a batch's rows (B,), in order; all of it where they are fewer than the processes, as then
    each takes the whole batch and weighs it less."""
    at = _current
    return rows if len(rows) < at.count else rows[at.number :: at.count]


def own_batches(batches: Iterator[Any]) -> Iterator[Any]:
    """This process's part of the batches of an evaluation."""
    at = _current
    for number, batch in enumerate(batches):
        if number % at.count == at.number:
            yield batch


def share_of(targets: Any) -> Any:
    """What this process's mean over so many targets, a tensor () or a number, weighs in the mean over those of all."""
    import torch

    mine = torch.as_tensor(targets, dtype=torch.float32)
    return mine / total(mine).clamp_min(1)


def add_gradients(parameters: Iterator[torch.Tensor]) -> None:
    """Give each parameter the sum of the processes' gradients; one that has none anywhere stays without."""
    import torch
    import torch.distributed as dist

    learnt = [parameter for parameter in parameters if parameter.requires_grad]
    has = torch.tensor([p.grad is not None for p in learnt], dtype=torch.float32, device=learnt[0].device)
    flat = torch.cat([*(_gradient(p).flatten().float() for p in learnt), has])
    dist.all_reduce(flat)
    anywhere = flat[-len(learnt) :].tolist()
    begin = 0
    for parameter, there in zip(learnt, anywhere):
        piece = flat[begin : begin + parameter.numel()].view_as(parameter)
        begin += parameter.numel()
        if there:
            parameter.grad = piece.to(parameter.dtype)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def total(value: Any) -> Any:
    """Sum of a tensor over the processes."""
    import torch.distributed as dist

    every = value.clone()
    dist.all_reduce(every)
    return every


def gathered(value: Any) -> list[Any]:
    """What each process has of a value that can be pickled, in order of their numbers; they are one program."""
    import torch.distributed as dist

    found: list[Any] = [None] * _current.count
    dist.all_gather_object(found, value)
    return found


@contextmanager
def first_before_others() -> Iterator[None]:
    """Within the block process 0 alone, then the others: they find on the disk what it has written there."""
    if _current.count == 1:
        yield
        return
    import torch.distributed as dist

    if _current.number:
        dist.barrier()
    yield
    if not _current.number:
        dist.barrier()


def draw_apart(seed: int, epoch: int) -> None:
    """Let the processes' dropout and drawn negatives differ from here on; the first one draws as a single one would."""
    if _current.number:
        import torch

        torch.manual_seed(int(np.random.SeedSequence([seed, epoch, _current.number]).generate_state(1)[0]))


def same_everywhere(model: torch.nn.Module) -> None:
    """Give the model of every process the weights and buffers of the first one's."""
    import torch.distributed as dist

    for tensor in model.state_dict().values():
        dist.broadcast(tensor, src=0)
