"""What is freed stays with the process while it trains, and goes back to the kernel afterwards."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ext.trainer import heap

# a process of its own: in one that has run for long a block may lie amid others
PROGRAM = """
import ctypes, os
from pathlib import Path
from recbole_ext.trainer import heap

libc, size = ctypes.CDLL(None), 96 << 20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
libc.memset.argtypes, libc.free.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t), (ctypes.c_void_p,)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def left_over():
    before, block = resident(), libc.malloc(size)
    libc.memset(block, 1, size)
    libc.free(block)
    return (resident() - before) / size

before = left_over()
heap.keep()
during, kept = left_over(), resident()
heap.give_back()
print(before, during, (kept - resident()) / size, left_over())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not Path("/proc/self/statm").exists(), reason="glibc"
)
def test_freed_memory_is_kept_and_given_back():
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=plain, capture_output=True, text=True, check=True
    )
    before, during, returned, after = map(float, done.stdout.split())
    assert before < 0.5 and after < 0.5
    assert during > 0.5 and returned > 0.5


def test_variables_of_malloc_have_the_last_word(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert heap._glibc() is None


def test_training_keeps_memory_for_as_long_as_it_lasts(monkeypatch):
    """Also where it fails."""
    from recbole_ext.trainer.session import SessionTrainer, Trainer

    said = []
    monkeypatch.setattr(heap, "keep", lambda: said.append("keep"))
    monkeypatch.setattr(heap, "give_back", lambda: said.append("give back"))
    monkeypatch.setattr(SessionTrainer, "__init__", lambda self: None)
    monkeypatch.setattr(SessionTrainer, "_meet_training", lambda self, loader: None)
    monkeypatch.setattr(Trainer, "fit", lambda self, loader: 1 / 0)
    trainer = SessionTrainer()
    trainer.device = type("Device", (), {"type": "cpu"})
    with pytest.raises(ZeroDivisionError):
        trainer.fit(None)
    assert said == ["keep", "give back"]


def test_an_evaluation_within_training_gives_nothing_back(monkeypatch):
    said = []
    monkeypatch.setattr(heap, "keep", lambda: said.append("keep"))
    monkeypatch.setattr(heap, "give_back", lambda: said.append("give back"))
    with heap.kept():
        with heap.kept():
            pass
        said.append("training")
    with heap.kept():
        pass
    assert said == ["keep", "training", "give back", "keep", "give back"]
