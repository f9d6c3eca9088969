"""Work beside the rest of a step: whose threads do it, what becomes of errors, and that all is as it was afterwards."""

import threading

import pytest
import torch

from recbole_ext.model.beside import beside, start


def who():
    return threading.current_thread(), torch.get_num_threads(), torch.is_grad_enabled()


def test_within_the_block_another_thread_has_half_of_them(two_threads):
    here = threading.current_thread()
    torch.set_num_threads(4)
    with beside(True):
        ready = threading.Event()
        first, second = start(lambda: ready.wait(60)), start(who)
        assert torch.get_num_threads() == 2
        ready.set()
        assert first()
        thread, threads, recorded = second()
        assert thread is not here and threads == 2 and not recorded
        assert torch.get_num_threads() == 4 and torch.is_grad_enabled()
        assert second() == (thread, threads, recorded)
        start(who)  # nobody asks for it
    assert not thread.is_alive()
    assert torch.get_num_threads() == 4
    assert start(who)()[0] is here


def test_what_is_begun_is_done_in_order(two_threads):
    done = []
    with beside(True):
        results = [start(lambda n=n: done.append(n)) for n in range(20)]
        results[-1]()
        assert done == list(range(20))


@pytest.mark.parametrize(("wanted", "threads"), [(False, 2), (True, 1)])
def test_where_it_is_not_wanted_or_there_is_one_thread_it_is_done_at_once(two_threads, wanted, threads):
    torch.set_num_threads(threads)
    with beside(wanted):
        result = start(who)
        assert torch.get_num_threads() == threads
        assert result() == (threading.current_thread(), threads, False)


def test_an_error_beside_is_raised_where_the_result_is_asked_for(two_threads):
    def fail():
        raise ValueError("beside")

    with pytest.raises(ValueError, match="beside"), beside(True):
        start(fail)()
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), beside(True):
        start(who)
        raise KeyError
    assert torch.get_num_threads() == 2


def test_each_thread_has_its_own(two_threads):
    """A block within another is that one; another thread's work is not sent through it."""
    with beside(True):
        outer = start(who)()[0]
        with beside(True):
            assert start(who)()[0] is outer
        assert start(who)()[0] is outer
        found = []
        other = threading.Thread(target=lambda: found.append(start(who)()[0] is threading.current_thread()))
        other.start()
        other.join()
        assert found == [True]
