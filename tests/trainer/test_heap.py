"""What is freed stays with the process while it trains, and goes back to the kernel afterwards."""

import os
import platform
from pathlib import Path

import pytest
import torch

from recbole_ext.trainer import heap

SIZE = 96 << 20


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def left_over():
    """Bytes that stay of a block that was written and freed."""
    before = resident()
    torch.ones(SIZE, dtype=torch.uint8)
    return resident() - before


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(), reason="glibc"
)
def test_freed_memory_is_kept_and_given_back(monkeypatch):
    for name in [n for n in os.environ if n.startswith("MALLOC_") or n == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    heap.give_back()
    assert left_over() < SIZE // 2
    heap.keep()
    try:
        assert left_over() > SIZE // 2
        kept = resident()
    finally:
        heap.give_back()
    assert resident() < kept - SIZE // 2 and left_over() < SIZE // 2


def test_variables_of_malloc_have_the_last_word(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert heap._glibc() is None


def test_a_fit_gives_back(monkeypatch):
    from recbole.trainer import Trainer

    from recbole_ext.trainer.session import SessionTrainer

    said = []
    monkeypatch.setattr(heap, "give_back", lambda: said.append("back"))
    monkeypatch.setattr(SessionTrainer, "_meet_training", lambda self, loader: None)
    monkeypatch.setattr(Trainer, "fit", lambda self, loader: 1 / 0)
    trainer = object.__new__(SessionTrainer)
    trainer.device = torch.device("cpu")
    with pytest.raises(ZeroDivisionError):
        trainer.fit(None)
    assert said == ["back"]
