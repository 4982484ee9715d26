"""Forked processes. Nothing that computes is imported here: `segment --help` is to be quick."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess


def forked(work: Callable[[], None]) -> BaseProcess:
    """Start a process that shares all this one has in memory, until either writes there.

    Safe on Linux alone, and with one thread for BLAS and OpenMP: OpenMP's do not survive a fork.
    """
    process = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():
        # Threads of BLAS, idle and restarted after a fork.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")
        process.start()
    return process
