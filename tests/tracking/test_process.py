"""Only a process that certainly ended counts as gone; clocks do not matter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from segmentation.tracking import process
from segmentation.tracking.process import State

PRINT_TAGS = (
    "from segmentation.tracking import process; import json; print(json.dumps(process.tags()))"
)
HOUR = 3600.0


@pytest.fixture
def neighbour() -> Iterator[dict[str, str]]:
    """Tags of another living process."""
    code = f"{PRINT_TAGS}; import sys; sys.stdout.flush(); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    yield json.loads(other.stdout.readline())
    other.communicate()


def old_tags(tags: dict[str, str]) -> dict[str, str]:
    """What versions up to 0.1.0 log."""
    return {name: tags[name] for name in (process.HOST, process.PID, process.START)}


def test_living_processes_are_here(neighbour: dict[str, str]) -> None:
    assert process.state(process.tags()) is State.ALIVE
    assert process.state(neighbour) is State.ALIVE
    assert process.is_own(process.tags())
    assert not process.is_own(neighbour)


def test_an_ended_process_is_gone() -> None:
    code = [sys.executable, "-c", PRINT_TAGS]
    ended = json.loads(subprocess.run(code, capture_output=True, text=True, check=True).stdout)
    assert process.is_gone(ended)


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    code = [sys.executable, "-c", PRINT_TAGS]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as zombie:
        assert zombie.stdout is not None
        tags = json.loads(zombie.stdout.read())
        while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        assert process.is_gone(tags)


def test_a_pid_used_again_is_another_process() -> None:
    assert process.is_gone({**process.tags(), process.TICKS: "1"})


@pytest.mark.parametrize("step", [-HOUR, -5.0, 5.0, HOUR])
def test_a_step_of_the_clock_kills_nobody(
    step: float, neighbour: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux computes the start of a process from the time of the boot, which moves with the clock.

    Here only the clock of the observer moves, by way of what psutil makes of it.
    """
    real: Callable[[psutil.Process], float] = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + step)
    for tags in (neighbour, old_tags(neighbour)):
        assert not process.is_gone(tags)
    ended = {**neighbour, process.PID: str(2**22 - 1)}
    for tags in (ended, old_tags(ended)):
        assert process.is_gone(tags)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {process.NAMESPACE: "pid:[4026532999] time:[4026531834]"},
        {process.BOOT: "another", process.MACHINE: "another"},
        {process.BOOT: "another", process.NAMESPACE: "pid:[4026532999]"},
        {process.BOOT: "another", process.HOST: "elsewhere"},
        {process.BOOT: ""},
        {process.PID: "no number"},
    ],
)
def test_what_cannot_be_seen_is_left_alone(elsewhere: dict[str, str]) -> None:
    ended = {**process.tags(), process.PID: str(2**22 - 1), process.TICKS: "1"}
    assert process.is_gone(ended)
    assert process.state({**ended, **elsewhere}) is State.HIDDEN
    assert process.state({}) is State.HIDDEN


def test_a_boot_ends_the_processes_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = f"{process.FIRST_NAMESPACE} time:[4026531834]"
    monkeypatch.setattr(process, "_namespace", lambda: outside)
    monkeypatch.setattr(process, "_machine", lambda: "this machine")
    before = {**process.tags(), process.BOOT: "before"}
    assert process.is_gone(before)
    monkeypatch.setattr(process, "_machine", lambda: "")
    assert process.state({**before, process.MACHINE: ""}) is State.HIDDEN


def test_the_name_of_the_host_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = process.tags()
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    assert process.state(tags) is State.ALIVE
    assert process.is_gone({**tags, process.TICKS: "1"})


def test_an_old_run_is_judged_from_a_container_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then it may be alive in another container with the same host name."""
    monkeypatch.setattr(process, "_namespace", lambda: "pid:[4026532999]")
    ended = {**old_tags(process.tags()), process.PID: str(2**22 - 1)}
    assert process.state(ended) is State.HIDDEN
    assert process.is_gone({**ended, process.START: "1000.00"})
    assert process.state({**ended, process.START: ""}) is State.HIDDEN


def test_without_proc_the_start_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_boot", lambda: "")
    tags = process.tags()
    assert process.state(tags) is State.ALIVE
    assert process.is_gone({**tags, process.START: "1.00"})
    assert process.state({**tags, process.HOST: "elsewhere"}) is State.HIDDEN


@pytest.mark.slow
def test_another_pid_namespace_is_not_seen_into(neighbour: dict[str, str]) -> None:
    """As between two containers with the same host name."""
    inside = ["unshare", "-pf", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*inside, "true"]).returncode:
        pytest.skip("this user may not make a PID namespace (unshare -pf --mount-proc)")
    code = (
        "import json, sys; from segmentation.tracking import process;"
        "print(json.dumps([process.state(json.loads(a)).value for a in sys.argv[1:]]));"
        "print(json.dumps(process.tags()))"
    )
    ended = {**neighbour, process.PID: str(2**22 - 1)}
    asked = [json.dumps(tags) for tags in (neighbour, ended, old_tags(neighbour), old_tags(ended))]
    command = [*inside, sys.executable, "-c", code, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, tags = map(json.loads, done.stdout.splitlines())
    assert told == ["hidden"] * 4
    assert tags[process.BOOT] == neighbour[process.BOOT]
    assert process.state(tags) is State.HIDDEN
    if process.tags()[process.NAMESPACE].startswith(process.FIRST_NAMESPACE):
        # An old run in a container with this host's name cannot be told from one that has ended.
        assert not process.is_own(old_tags(tags))
