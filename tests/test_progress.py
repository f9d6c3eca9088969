"""What is said of something that takes long: on a terminal and in the log, and nothing of what is quick."""

import io
import logging
from types import SimpleNamespace

import pytest

from recbole_ext import progress as module
from recbole_ext.progress import progress, stage, staged


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


def test_stages_count_what_each_usually_takes(clock, terminal, caplog):
    with caplog.at_level(logging.INFO), staged("loading x", {"events": 6, "ids": 2, "rows": 2}):
        for name, share in (("events", 0.5), ("events", 1), ("events", 0.5), ("unknown", 0), ("rows", 0)):
            clock[0] += 30
            stage(name, share)
    assert terminal.getvalue().split("\r\x1b[K") == [
        *("", "loading x  30%, 30 s, 70 s left", "loading x  60%, 60 s, 40 s left"),
        *("loading x  60%, 90 s, 60 s left", "loading x  80%, 2 min, 38 s left", ""),
    ]
    assert [record.getMessage() for record in caplog.records] == ["loading x took 2 min"]


def test_a_stage_of_nothing_is_passed_over(clock, terminal):
    with staged("loading x", {"events": 1}):
        pass
    clock[0] += 60
    stage("events", 0.5)
    assert terminal.getvalue() == ""


def test_a_message_does_not_stand_behind_the_line(clock, terminal, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "recbole_ext.progress")  # whatever a run in this process has set
    to_screen = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.root, "handlers", [to_screen])
    with progress("reading x", 4) as advance:
        clock[0] += 60
        advance(1)
        logging.getLogger("test").warning("an odd row")
    assert terminal.getvalue() == "\r\x1b[Kreading x  25%, 60 s, 3 min left\r\x1b[Kan odd row\n\r\x1b[K"
    assert logging.root.handlers == [to_screen]
