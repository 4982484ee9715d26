"""The user and process behind a run, and whether that process still exists.

A process is identified by values that do not depend on the wall clock: the boot of the machine, the
PID namespace (each container has its own), the pid in it, and the clock ticks between boot and its
start, since pids are reused.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import psutil

HOST, PID, START = "process.host", "process.pid", "process.start"
BOOT, TICKS, NAMESPACE = "process.boot", "process.ticks", "process.namespace"
MACHINE = "process.machine"
#: A count that a process raises while its run is open, see `segmentation.tracking.heartbeat`.
HEARTBEAT = "process.heartbeat"

#: The kernel's constant number of the first PID namespace, outside of any container.
FIRST_NAMESPACE = "pid:[4026531836]"
#: Earlier versions identify a process only by its start on the wall clock, which moves by as much
#: as the clock is set. Starts at least this far apart belong to two processes.
CLOCK_STEP_SECONDS = 2 * 60 * 60
#: Such a process may also run in a container with this host's name, so one that cannot be found
#: from a container is given up only after this time.
OLD_SECONDS = 24 * 60 * 60


class State(Enum):
    """What can be known about a process: it is alive, it is gone, or it cannot be seen."""

    ALIVE = "alive"
    GONE = "gone"
    HIDDEN = "hidden"


def tags() -> dict[str, str]:
    """Return tags that identify this process.

    `START` is read only by earlier versions, which would otherwise take the process for dead.
    """
    own = _own()
    return {
        HOST: own[HOST],
        PID: own[PID],
        START: _started(os.getpid()) or "",
        BOOT: own[BOOT],
        TICKS: own[TICKS],
        NAMESPACE: own[NAMESPACE],
        MACHINE: own[MACHINE],
        HEARTBEAT: "0",
    }


def is_own(run_tags: Mapping[str, str]) -> bool:
    """Return whether a run belongs to this process."""
    own = _own()
    return all(run_tags.get(name) == own[name] for name in (HOST, PID, BOOT, TICKS, NAMESPACE))


def is_gone(run_tags: Mapping[str, str]) -> bool:
    """Return whether the process of a run has certainly ended."""
    return state(run_tags) is State.GONE


def state(run_tags: Mapping[str, str]) -> State:
    """Return what can be known about the process of a run from here.

    GONE is certain. HIDDEN is a process on another host, in another PID namespace, or unknown.
    """
    own = _own()
    try:
        pid = int(run_tags[PID])
    except (KeyError, ValueError):
        return State.HIDDEN
    same_host = run_tags.get(HOST) == own[HOST]
    if BOOT not in run_tags:
        return _by_start(pid, run_tags.get(START, "")) if same_host else State.HIDDEN
    if not (run_tags[BOOT] and own[BOOT]):
        # No /proc (macOS, Windows): there the start of a process does not move with the clock.
        known = same_host and not run_tags[BOOT] and not own[BOOT]
        return _by_exact_start(pid, run_tags.get(START, "")) if known else State.HIDDEN
    if run_tags[BOOT] == own[BOOT]:
        is_visible = own[NAMESPACE] != "" and run_tags.get(NAMESPACE) == own[NAMESPACE]
        return _by_ticks(pid, run_tags.get(TICKS, "")) if is_visible else State.HIDDEN
    rebooted = (
        same_host
        and own[MACHINE] != ""
        and run_tags.get(MACHINE) == own[MACHINE]
        # Containers on two machines may have the name and machine id of their image.
        and run_tags.get(NAMESPACE, "").startswith(FIRST_NAMESPACE)
        and own[NAMESPACE].startswith(FIRST_NAMESPACE)
    )
    return State.GONE if rebooted else State.HIDDEN


def described(run_tags: Mapping[str, str]) -> str:
    """Return the process of a run for messages: pid, host and start."""
    name = f"process {run_tags.get(PID, '?')} on {run_tags.get(HOST, 'an unknown host')}"
    with contextlib.suppress(ValueError, OverflowError, OSError):
        start = time.localtime(float(run_tags.get(START, "")))
        return f"{name}, started {time.strftime('%Y-%m-%d %H:%M', start)}"
    return name


def user() -> str:
    """Return the name of the current user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _own() -> dict[str, str]:
    found = _stat("self")
    return {
        HOST: socket.gethostname(),
        PID: str(os.getpid()),
        BOOT: _boot(),
        TICKS: "" if found is None else found[1],
        NAMESPACE: _namespace(),
        MACHINE: _machine(),
    }


@functools.cache
def _boot() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


@functools.cache
def _machine() -> str:
    """Return a digest of the machine's id, which systemd asks not to publish as it is."""
    found = _first_line("/etc/machine-id")
    return hashlib.sha256(f"segment {found}".encode()).hexdigest()[:16] if found else ""


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    """Return the PID and time namespace; ticks are only comparable within a time namespace."""
    parts = []
    for kind in ("pid", "time"):
        with contextlib.suppress(OSError):
            parts.append(os.readlink(f"/proc/self/ns/{kind}"))  # noqa: PTH115 (not a path)
    return " ".join(parts)


def _stat(process: str) -> tuple[str, str] | None:
    """Return the state and the start in ticks since boot of a process; None if unreadable."""
    try:
        text = Path("/proc", process, "stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    # The second field, the command's name, may contain anything; ticks are the 22nd.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def _exists(pid: int) -> bool:
    """Return whether there is such a process in this PID namespace, whoever owns it."""
    if sys.platform == "win32":
        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _by_ticks(pid: int, ticks: str) -> State:
    if not _exists(pid):
        return State.GONE
    # /proc may show another namespace, or hide the processes of other users.
    is_shown = _readlink("/proc/self") == str(os.getpid())
    found = _stat(str(pid)) if is_shown else None
    if found is None or not ticks:
        return State.HIDDEN
    is_same = found[0] not in "ZX" and found[1] == ticks
    return State.ALIVE if is_same else State.GONE


def _readlink(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 (not a path)
    except OSError:
        return ""


def _by_exact_start(pid: int, start: str) -> State:
    return State.ALIVE if _started(pid) == start else State.GONE


def _by_start(pid: int, start: str) -> State:
    """Judge a process that an earlier version started, from its start on the wall clock."""
    try:
        began = float(start)
    except ValueError:
        return State.HIDDEN
    if _exists(pid):
        found = _started(pid)
        if found is None or abs(float(found) - began) < CLOCK_STEP_SECONDS:
            return State.HIDDEN
    is_outside = sys.platform != "linux" or _namespace().startswith(FIRST_NAMESPACE)
    return State.GONE if is_outside or time.time() - began > OLD_SECONDS else State.HIDDEN


def _started(pid: int) -> str | None:
    """Return the start of a process in seconds on the wall clock; None if there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None
