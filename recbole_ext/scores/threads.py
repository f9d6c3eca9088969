"""Threads that compute alone, side by side, on a CPU.

torch shares each operation among its threads, and hands over and waits at every one. Where the rows of a batch do not
need one another, a thread does all operations of its rows: ranking takes half of the time on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


def rows_of_each(rows: int, most: int, least: int = 2) -> list[slice]:
    """Rows in pieces of at most `most`, so many that each of torch's threads has one, but for pieces below `least`."""
    size = max(least, min(most, -(-rows // torch.get_num_threads())))
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def side_by_side(work: Callable[[Piece], object], pieces: Sequence[Piece]) -> None:
    """Call `work` with each piece, by as many threads as torch has, each with one of torch's.

    They record gradients, or not, and cast as the thread that asks. What a piece raises is raised here.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(pieces) < 2:
        for piece in pieces:
            work(piece)
        return
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    casts, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def alone(piece: Piece) -> None:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(grad),
            torch.autocast("cpu", enabled=casts, dtype=dtype),
        ):
            work(piece)

    # the number of threads is each thread's own; only threads that nobody has started yet would take this one
    with ThreadPoolExecutor(
        min(threads, len(pieces)), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        try:
            list(pool.map(alone, pieces))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
