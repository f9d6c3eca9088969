"""What is said of something that takes long: on a terminal and in the log, and nothing of what is quick."""

import io
import logging
from types import SimpleNamespace

import pytest

from recbole_ext import progress as module
from recbole_ext.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """What stands where stderr is."""
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=Terminal()))
    return module.sys.stderr


def three_steps(clock, seconds):
    with progress("reading x", 4) as advance:
        for _ in range(3):
            clock[0] += seconds
            advance(1)


def test_a_terminal_has_a_line_with_an_estimate_that_is_wiped(clock, terminal):
    three_steps(clock, 60)
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines == ["", "reading x  25%, 60 s, 3 min left", "reading x  50%, 2 min, 2 min left",
                     "reading x  75%, 3 min, 60 s left", ""]  # fmt: skip


def test_a_pipe_has_nothing_and_the_log_one_line(clock, capsys, caplog):
    with caplog.at_level(logging.INFO):
        three_steps(clock, 1.5)
    assert capsys.readouterr().err == ""
    assert [record.getMessage() for record in caplog.records] == ["reading x took 4 s"]


def test_nothing_is_said_of_what_is_quick(clock, terminal, caplog):
    with caplog.at_level(logging.INFO):
        three_steps(clock, 0.5)
    assert terminal.getvalue() == "" and not caplog.records


def test_what_has_no_end_counts(clock, terminal):
    with progress("sessions ranked:") as advance:
        clock[0] += 5
        advance(1234)
    assert "sessions ranked: 1,234, 5 s" in terminal.getvalue()


def test_what_was_broken_off_did_not_take_so_long(clock, caplog):
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt), progress("reading x", 4):
        clock[0] += 5
        raise KeyboardInterrupt
    assert not caplog.records
