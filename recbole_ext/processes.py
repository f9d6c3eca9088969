"""One run over several processes, as `torchrun` starts them: who this one is, and what they do together.

Every process makes the same batches and takes its part of their rows; gradients are added up, so that a step is the one
that a single process would have taken with the whole batch. Where nothing was started by torchrun there is one process,
and all of this costs nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_ext.errors import UsageError

if TYPE_CHECKING:
    import torch

# how long a process waits for another, at most: the first one converts and loads alone, and torchrun ends those that a
# dead one has left
PATIENCE = timedelta(days=1)
_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Socket Timeout",
    "Broken pipe",
)  # gloo's words


@dataclass(frozen=True)
class Processes:
    """number: of this process, from 0. count: of all of them. on_machine: number among those of this machine."""

    number: int = 0
    count: int = 1
    on_machine: int = 0


ALONE = Processes()
_current = ALONE
_gpus: Any = (
    None  # the group in which tensors on GPUs travel, by NCCL; all else goes through the default one, by gloo
)


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
    """Within the block the processes that torchrun has started know each other. device: where this one computes.

    Raises UsageError where some of them have a GPU and others have none, and where one has ended before this one.
    """
    global _current
    found = started()
    if found.count == 1 or _current.count > 1:
        yield _current
        return
    import torch.distributed as dist

    if not dist.is_initialized():  # once: those that have parted do not meet again under torchrun's store
        dist.init_process_group("gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    _current = found
    try:
        _meet_on(device)
        yield found
    except RuntimeError as error:
        if not any(words in str(error) for words in _LOST):
            raise
        raise UsageError(
            f"process {found.number} waited for another one, which has ended: what that one says is the reason; the "
            "run goes on from its last checkpoint with --resume_from=FILE"
        ) from error
    finally:
        _current = ALONE


def _meet_on(device: torch.device) -> None:
    """Let the tensors of this device travel. Every process sees one GPU, its own, see run/several.py."""
    global _gpus
    import torch
    import torch.distributed as dist

    kinds = gathered(device.type)
    if len(set(kinds)) > 1:
        without = kinds.index("cpu")
        raise UsageError(
            f"process {without} has no GPU and process {kinds.index('cuda')} has one: start as many on each machine as "
            "it has GPUs, or leave them alone, --use_gpu=False"
        )
    if device.type == "cuda" and _gpus is None:
        torch.cuda.set_device(device.index or 0)  # before NCCL asks which one is this process's
        _gpus = dist.new_group(backend="nccl")


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


def _group_of(tensor: torch.Tensor) -> Any:
    return _gpus if tensor.is_cuda else None


def add_up(tensor: torch.Tensor) -> None:
    """Put the sum over the processes in the place of a tensor, where it lies; a GPU is not waited for."""
    import torch.distributed as dist

    dist.all_reduce(tensor, group=_group_of(tensor))


def anywhere(own: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which of these hold in any process; asked of the CPUs, so that no GPU is waited for."""
    import torch

    count = torch.tensor(own, dtype=torch.int32)
    add_up(count)
    return tuple(bool(one) for one in count.tolist())


def gathered(value: Any) -> list[Any]:
    """What each process has of a value that can be pickled, in order of their numbers; they are one program."""
    import torch.distributed as dist

    found: list[Any] = [None] * _current.count
    dist.all_gather_object(found, value)
    return found


def joined(own: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Under each name the rows (T, ...) of all processes, in order of their numbers, on the CPU.

    They travel by way of `device`. A process without rows may lack a name; widths and types are the same everywhere.
    """
    import torch
    import torch.distributed as dist

    known = gathered({name: (tuple(rows.shape), rows.dtype) for name, rows in own.items()})
    found = {}
    for name in dict.fromkeys(name for of_one in known for name in of_one):
        (_, *width), dtype = next(of_one[name] for of_one in known if name in of_one)
        counts = [of_one[name][0][0] if name in of_one else 0 for of_one in known]
        mine = torch.zeros(
            (max(counts), *width), dtype=dtype, device=device
        )  # a gather wants parts of one size
        if name in own:
            mine[: len(own[name])] = own[name].to(device)
        parts = [torch.empty_like(mine) for _ in known]
        dist.all_gather(parts, mine, group=_group_of(mine))
        found[name] = torch.cat([part[:count].cpu() for part, count in zip(parts, counts)])
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
        dist.broadcast(tensor, src=0, group=_group_of(tensor))
