"""The user and process behind a run, and whether that process still exists."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

import psutil

HOST, PID, START = "process.host", "process.pid", "process.start"


def tags() -> dict[str, str]:
    """Return tags that identify this process: host, pid and start time, since pids are reused."""
    return {HOST: socket.gethostname(), PID: str(os.getpid()), START: _started(os.getpid()) or ""}


def is_gone(run_tags: Mapping[str, str]) -> bool:
    """Return whether the process of a run has certainly ended.

    False if the process is unknown or on another host.
    """
    if run_tags.get(HOST) != socket.gethostname() or PID not in run_tags:
        return False
    pid = int(run_tags[PID])
    return _started(pid) != run_tags.get(START)


def _started(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def user() -> str:
    """Return the name of the current user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
