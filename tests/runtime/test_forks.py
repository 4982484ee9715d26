"""Work done in forks: the same answers, the same exceptions, and no process left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from segmentation.runtime.forks import Team, aside

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


def test_members_get_orders_as_they_become_free_and_the_dead_drop_out() -> None:
    def work(member: int, order: int) -> int:
        if (member, order) == (1, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return order + 1

    with Team(work, range(3)) as team:
        for member in range(3):
            assert team.order(member, 0)
        found: dict[int, list[int]] = {}
        for member, answer in team.answers():
            found.setdefault(member, []).append(answer)
            if answer < 3:
                team.order(member, answer)
        assert found == {0: [1, 2, 3], 2: [1, 2, 3]}
        with pytest.raises(EOFError):
            team.answer(1)


@pytest.mark.parametrize(("grace", "ended"), [(0.0, False), (10.0, True)])
def test_with_grace_a_member_ends_its_work_when_interrupted(tmp_path, grace, ended) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"

    def work(member: int, order: None) -> None:
        try:
            started.touch()
            signal.pause()
        finally:
            cleaned.touch()

    with contextlib.suppress(KeyboardInterrupt), Team(work, [0], grace=grace) as team:
        team.order(0, None)
        while not started.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert cleaned.exists() is ended


@pytest.mark.parametrize("grace", [0, 10])
def test_members_at_work_end_when_their_parent_is_killed(grace: int) -> None:
    script = f"""if True:
        import psutil, signal, time
        from segmentation.runtime.forks import Team
        with Team(lambda member, order: signal.pause(), range(2), grace={grace}) as team:
            for member in range(2):
                team.order(member, None)
            print(*(each.pid for each in psutil.Process().children()), flush=True)
            signal.pause()
    """
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        members = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
    _, alive = psutil.wait_procs(members, timeout=20)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
