"""Who and which process is behind a run, and whether that process is still there."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

import psutil

HOST, PID, START = "process.host", "process.pid", "process.start"


def tags() -> dict[str, str]:
    """Tags that name this process: host, pid and start time, since pids are used again."""
    return {HOST: socket.gethostname(), PID: str(os.getpid()), START: _started(os.getpid()) or ""}


def is_gone(run_tags: Mapping[str, str]) -> bool:
    """Whether the process of a run is known to have ended.

    False when it runs on another host or is not named: only what is certain may be marked.
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
    """Who is at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
