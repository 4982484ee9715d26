"""Runs of dead processes are marked, those of living ones never, seen or unseen."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from segmentation.cli import main
from segmentation.tracking import heartbeat, process, run_logger, runs
from segmentation.tracking.heartbeat import Heartbeat
from segmentation.tracking.left_behind import mark_left_behind, mark_silent, unseen
from segmentation.tracking.store import Store, open_store

NOWHERE = {process.NAMESPACE: "pid:[1] time:[1]"}
OPEN_A_RUN = """
import sys
from segmentation.tracking import run_logger
from segmentation.tracking.store import open_store
store = open_store(sys.argv[1], "living")
with run_logger.tracked_run(store, "run") as run:
    print(run.info.run_id, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "living")


def begun(store: Store, **tags: str) -> str:
    run = store.client.create_run(store.experiment_id, tags={**process.tags(), **tags})
    return str(run.info.run_id)


def status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


class Clock:
    """A clock that only waiting moves; at each wait something may happen."""

    def __init__(self, happens: Callable[[int], object] = lambda count: None) -> None:
        self.now, self.count, self.happens = 1000.0, 0, happens

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.count += 1
        self.happens(self.count)


@contextlib.contextmanager
def writers(store: Store, count: int, *prefix: str) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Processes that each keep a run open; yield them by run id."""
    command = [*prefix, sys.executable, "-c", OPEN_A_RUN, store.uri]
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(count)
    ]
    yield {str(each.stdout.readline()).strip(): each for each in started if each.stdout}
    for each in started:
        each.communicate("\n")


@pytest.mark.slow
def test_of_four_writers_the_killed_ones_are_marked(store: Store) -> None:
    with writers(store, 4) as processes:
        *living, first, second = processes
        for run_id in (first, second):
            processes[run_id].send_signal(signal.SIGKILL)
            processes[run_id].wait()
        assert mark_left_behind(store) == 2
        assert mark_left_behind(store) == 0
        assert [status(store, run_id) for run_id in living] == ["RUNNING"] * 2
    assert [status(store, run_id) for run_id in living] == ["FINISHED"] * 2
    assert [status(store, run_id) for run_id in (first, second)] == ["KILLED"] * 2


@pytest.mark.slow
def test_a_run_in_another_pid_namespace(store: Store) -> None:
    """As in a container with the same host name."""
    inside = ["unshare", "-pf", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"]).returncode:
        pytest.skip("this user may not make a PID namespace (unshare -pf --mount-proc)")
    here = begun(store)
    clock = Clock()
    with writers(store, 1, *inside) as processes:
        ((there, process_there),) = processes.items()
        clean = ["clean", "wait=false", f"tracking.uri={store.uri}", "tracking.experiment=living"]
        command = [*inside, sys.executable, "-m", "segmentation", *clean]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "No run was left behind" in done.stdout
        assert mark_left_behind(store) == 0
        assert [status(store, each) for each in (here, there)] == ["RUNNING"] * 2
        assert [run.info.run_id for run in unseen(store).watched] == [there]
        process_there.kill()
        process_there.wait()
        assert mark_silent(store, unseen(store).watched, clock=clock, sleep=clock.sleep) == 1
    assert [status(store, each) for each in (here, there)] == ["RUNNING", "KILLED"]


def test_a_silent_heartbeat_is_death_after_two_minutes(store: Store) -> None:
    silent, alive, ends, taken = (begun(store, **NOWHERE) for _ in range(4))

    def happens(count: int) -> None:
        if count == 20:
            store.client.set_tag(alive, process.HEARTBEAT, "1")
        if count == 22:
            store.client.set_terminated(ends, "FINISHED")
            store.client.set_tag(taken, process.PID, "2")

    clock = Clock(happens)
    assert mark_left_behind(store) == 0
    assert mark_silent(store, unseen(store).watched, clock=clock, sleep=clock.sleep) == 1
    assert clock.now - 1000 == heartbeat.PATIENCE_SECONDS
    assert status(store, silent) == "KILLED"
    assert "no sign of life" in store.client.get_run(silent).data.tags["error"]
    assert [status(store, each) for each in (alive, ends, taken)] == [
        "RUNNING",
        "FINISHED",
        "RUNNING",
    ]


def test_a_paused_machine_does_not_end_the_wait(store: Store) -> None:
    """Both processes were paused: after it, the other gets its two minutes too."""
    run_id = begun(store, **NOWHERE)

    def happens(count: int) -> None:
        if count == 1:
            clock.now += 10_000
        if count == 5:
            store.client.set_tag(run_id, process.HEARTBEAT, "1")

    clock = Clock(happens)
    assert mark_silent(store, unseen(store).watched, clock=clock, sleep=clock.sleep) == 0
    assert status(store, run_id) == "RUNNING"


def test_clean_waits_only_for_what_it_cannot_see(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def clean(*overrides: str) -> str:
        arguments = ["clean", f"tracking.uri={store.uri}", "tracking.experiment=living"]
        assert main.run([*arguments, *overrides]) == 0
        return capsys.readouterr().out

    gone = begun(store, **{process.TICKS: "1"})
    started = time.monotonic()
    assert clean().startswith("1 run was left behind")
    assert status(store, gone) == "KILLED"
    hidden = begun(store, **NOWHERE)
    assert "1 runs on other hosts or in other containers were not watched" in clean("wait=false")
    assert status(store, hidden) == "RUNNING"
    old = {name: process.tags()[name] for name in (process.HOST, process.PID, process.START)}
    store.client.create_run(store.experiment_id, tags={**old, process.HOST: "elsewhere"})
    assert "1 runs are RUNNING in a process that cannot be seen" in clean("wait=false")
    assert time.monotonic() - started < 60
    monkeypatch.setattr("segmentation.tracking.left_behind.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("segmentation.tracking.left_behind.POLL_SECONDS", 0.1)
    assert clean().startswith("1 run was left behind")
    assert status(store, hidden) == "KILLED"


def test_the_line_of_progress_is_erased_on_a_terminal(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(store, **NOWHERE)
    monkeypatch.setattr("segmentation.tracking.left_behind.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr("segmentation.tracking.left_behind.POLL_SECONDS", 0.1)
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main.run(["clean", f"tracking.uri={store.uri}", "tracking.experiment=living"]) == 0
    progress = capsys.readouterr().err
    assert "1 runs belong to processes on another host" in progress
    assert "1 run still silent; watching for another 0 s" in progress
    assert progress.endswith("\r\033[K")


def test_a_finished_run_carries_no_error(store: Store) -> None:
    """Another process, which could not see this one, had marked it KILLED."""
    with run_logger.tracked_run(store, "run") as run:
        runs.end(store, run.info.run_id, "KILLED", "its process ended before the run did")
    after = store.client.get_run(run.info.run_id)
    assert after.info.status == "FINISHED"
    assert runs.ERROR not in after.data.tags
    with (
        pytest.raises(ValueError, match="wrong"),
        run_logger.tracked_run(store, "failed") as failed,
    ):
        raise ValueError("wrong")
    assert store.client.get_run(failed.info.run_id).data.tags[runs.ERROR] == "ValueError: wrong"


def test_a_heartbeat_counts_while_the_run_is_open(store: Store) -> None:
    run_id = begun(store)
    with Heartbeat(store, run_id, interval=0.02):
        deadline = time.monotonic() + 30
        while store.client.get_run(run_id).data.tags[process.HEARTBEAT] == "0":
            assert time.monotonic() < deadline
    last = store.client.get_run(run_id).data.tags[process.HEARTBEAT]
    time.sleep(0.1)
    assert store.client.get_run(run_id).data.tags[process.HEARTBEAT] == last
    assert int(last) >= 1
    # A run that ends before the first one writes none.
    with Heartbeat(store, begun(store)):
        started = time.monotonic()
    assert time.monotonic() - started < 1


def test_a_heartbeat_that_cannot_be_written_is_left_out(store: Store) -> None:
    with Heartbeat(store, "no such run", interval=0.01):
        time.sleep(0.1)


def test_two_threads_that_fork_release_only_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "WAIT_SECONDS", 0.01)
    heartbeat._before_fork()
    other = threading.Thread(target=heartbeat._before_fork)
    other.start()
    other.join()
    heartbeat._after_fork_in_parent()
    assert not heartbeat._writing.locked()


@pytest.mark.skipif(sys.platform != "linux", reason="forks are used on Linux only")
def test_forks_beside_a_heartbeat_log_with_their_own(store: Store) -> None:
    """A fork inherits no thread, no lock in use and no connection in use."""
    code = """
import json, os, sys, threading, warnings
from segmentation.tracking import heartbeat, process
from segmentation.tracking.heartbeat import Heartbeat
from segmentation.tracking.store import open_store
warnings.simplefilter("ignore")
store = open_store(sys.argv[1], "living")
def log(number):
    run = store.client.create_run(store.experiment_id, tags=process.tags()).info.run_id
    with Heartbeat(store, run, interval=0.01):
        while store.client.get_run(run).data.tags[process.HEARTBEAT] == "0": pass
    return threading.active_count()
parent = store.client.create_run(store.experiment_id, tags=process.tags()).info.run_id
with Heartbeat(store, parent, interval=0.005):
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if log(number) == 1 else 3)
        assert os.waitpid(pid, 0)[1] == 0
print(store.client.get_run(parent).data.tags[process.HEARTBEAT])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, store.uri], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) > 0
    logged = runs.search(store, "attributes.status = 'RUNNING'")
    assert sum(int(run.data.tags[process.HEARTBEAT]) > 0 for run in logged) == 4
