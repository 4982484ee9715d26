"""Forked processes. Nothing that computes is imported here: `segment --help` is to be quick."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

T = TypeVar("T")


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


def keep_quiet() -> None:
    """In a fork that only works for its parent: the parent hears of an interrupt, and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Walking through the memory it shares would copy it.
    gc.disable()


@contextlib.contextmanager
def aside(work: Callable[[], T], processes: int) -> Iterator[Callable[[], T]]:
    """Begin some work in a fork, while this process goes on with other work.

    Parameters
    ----------
    work : callable
        What it returns is sent through a pipe. Where it fails, or its process is killed, it is done
        again here, for the exception itself.
    processes : int
        That may work at once, this one included; with 1, or where a process cannot be forked
        safely, the work is done here, when it is asked for.

    Yields
    ------
    callable
        Gives what `work` returned; to be called once.
    """
    if processes < 2 or not can_fork():
        yield work
        return
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def body() -> None:
        keep_quiet()
        ours.close()
        with contextlib.suppress(Exception):
            theirs.send(work())

    process = forked(body)
    theirs.close()

    def answer() -> T:
        try:
            found: T = ours.recv()
        except (EOFError, OSError):
            found = work()
        return found

    try:
        yield answer
    finally:
        ours.close()
        process.kill()
        process.join()
