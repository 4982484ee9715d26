"""Work done in a fork aside: the same answer, the same exception, and no process left."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from segmentation.runtime.forks import aside

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes are forked on Linux alone"
)


@pytest.fixture(autouse=True)
def _no_process_is_left():
    before = psutil.Process().children()
    yield
    assert psutil.Process().children() == before


@pytest.mark.parametrize(("processes", "elsewhere"), [(1, False), (2, True)])
def test_work_goes_to_a_fork_where_one_is_free(processes: int, elsewhere: bool) -> None:
    with aside(lambda: ("answer", os.getpid()), processes) as found:
        answer, where = found()
    assert answer == "answer"
    assert (where != os.getpid()) is elsewhere


def test_what_goes_wrong_is_raised_here() -> None:
    with aside(lambda: 1 // 0, 2) as found, pytest.raises(ZeroDivisionError):
        found()


def test_the_work_of_a_killed_fork_is_done_here() -> None:
    here = os.getpid()

    def work() -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with aside(work, 2) as found:
        assert found() == here


def test_nobody_waits_for_work_that_is_no_longer_wanted() -> None:
    with pytest.raises(KeyboardInterrupt), aside(signal.pause, 2):
        raise KeyboardInterrupt
