"""Raise KeyboardInterrupt on Ctrl-C and SIGTERM, except where that would leave a lock behind."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from segmentation.runtime._compat import must_not_break

#: Interval at which a delayed interrupt checks whether it may be raised.
PATIENCE_SECONDS = 0.02
#: Longest delay of an interrupt: after it, a server that does not answer is given up.
HELD_SECONDS = 5.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Windows has no SIGALRM: there interrupts are not delayed.
_ALARM = getattr(signal, "SIGALRM", None)
# Interrupts are held back until this value of `time.monotonic`.
_held_until = 0.0
# Number of interrupts this process has raised.
_raised = 0


def listen(*, once: bool = False) -> None:
    """Raise KeyboardInterrupt on both signals from now on; call it in the main thread.

    Some code must not be interrupted. If SQLAlchemy is interrupted while it commits or returns a
    connection, it keeps the connection and with it SQLite's lock: neither this run nor that of
    another process could be ended. If a thread pool (MLflow's artifact writer) is interrupted while
    it starts a thread, it loses track of the thread, and the process never exits.

    Parameters
    ----------
    once : bool, default False
        Ignore both signals after the first one, so that a second one does not interrupt the
        cleanup.
    """

    def interrupted(_: int, frame: FrameType | None) -> None:
        global _raised
        if _ALARM is not None and (time.monotonic() < _held_until or must_not_break(frame)):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
            return
        if once:
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_IGN)
        _raised += 1
        raise KeyboardInterrupt

    for each in _SIGNALS if _ALARM is None else (*_SIGNALS, _ALARM):
        signal.signal(each, interrupted)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold interrupts back until the end of the block, for `HELD_SECONDS` at most."""
    global _held_until
    _held_until = time.monotonic() + HELD_SECONDS
    try:
        yield
    finally:
        _held_until = 0.0


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Re-raise an interrupt as KeyboardInterrupt if other code turned it into another exception.

    Matplotlib's compiled code, for example, turns it into a ValueError: the run would be marked
    FAILED, and a sweep would continue with the next one.
    """
    before = _raised
    try:
        yield
    except Exception as error:
        if _raised > before:
            raise KeyboardInterrupt from error
        raise
