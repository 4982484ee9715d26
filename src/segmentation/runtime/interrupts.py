"""Ctrl-C and SIGTERM raise KeyboardInterrupt, though not where that would leave a lock behind."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from segmentation.runtime._compat import must_not_break

#: How soon an interrupt that has to wait looks again whether it may break in.
PATIENCE_SECONDS = 0.02
#: How long it may be held back at most: a server that does not answer is given up.
HELD_SECONDS = 5.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Windows has none: there an interrupt does not wait.
_ALARM = getattr(signal, "SIGALRM", None)
# Interrupts are held back until this time of `time.monotonic`.
_held_until = 0.0
# How many this process has raised.
_raised = 0


def listen(*, once: bool = False) -> None:
    """Raise KeyboardInterrupt on both signals from now on; to be called in the main thread.

    SQLAlchemy broken into while it commits or hands a connection back keeps the connection, and
    with it SQLite's lock: the run could not be ended, nor could any other process's. A pool of
    threads broken into while it starts one (MLflow's writer of artifacts) forgets that thread, and
    the process waits for it for ever when it ends.

    Parameters
    ----------
    once : bool, default False
        Ignore both signals after the first, so that a second does not break into the cleaning up.
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
    """See that an interrupt leaves the block as one, whatever foreign code makes of it.

    Matplotlib's compiled code, for one, turns it into a ValueError: a run would be FAILED, and a
    sweep go on with the next.
    """
    before = _raised
    try:
        yield
    except Exception as error:
        if _raised > before:
            raise KeyboardInterrupt from error
        raise
