"""Forked processes. Nothing that computes is imported here: `segment --help` is to be quick."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess


def can_fork() -> bool:
    """Whether processes can be forked safely: on Linux alone, and not in a pool's own workers."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def forked(work: Callable[[], None]) -> BaseProcess:
    """Start a process that shares all this one has in memory, until either writes there.

    Safe where `can_fork`, and with one thread for BLAS and OpenMP: OpenMP's do not survive a fork.
    """
    process = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():
        # Threads of BLAS, idle and restarted after a fork.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")
        process.start()
    return process
