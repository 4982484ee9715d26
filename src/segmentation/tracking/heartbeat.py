"""A sign of life of an open run, for processes that cannot see the one that logs it."""

from __future__ import annotations

import contextlib
import os
import threading
from types import TracebackType

from segmentation.tracking import process
from segmentation.tracking._compat import release_connections
from segmentation.tracking.store import Store

#: A run shorter than this writes no heartbeat.
INTERVAL_SECONDS = 20.0
#: A process whose heartbeat does not change for this long is dead.
PATIENCE_SECONDS = 120.0
#: How long a fork, or the end of a run, waits for a heartbeat that is being written.
WAIT_SECONDS = 5.0

# Held while a heartbeat is written. A fork made then would inherit locks and a connection in use.
_writing = threading.Lock()
_has_written = False


class _Fork(threading.local):
    """Whether this thread, which makes a fork, holds `_writing`; another may be forking, too."""

    holds = False


_fork = _Fork()


class Heartbeat:
    """Raise the count in the tag `process.HEARTBEAT` of a run from a thread while the run is open.

    It is a count, not a time: clocks of two hosts differ, and clocks are set. A fork does not
    inherit it; what the fork logs itself has its own.

    Parameters
    ----------
    store : Store
    run_id : str
    interval : float
        Seconds between two writes.
    """

    def __init__(self, store: Store, run_id: str, *, interval: float = INTERVAL_SECONDS) -> None:
        self._store, self._run_id, self._interval = store, run_id, interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more heartbeats."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(WAIT_SECONDS)

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _beat(self) -> None:
        global _has_written
        count = 0
        while not self._stopped.wait(self._interval):
            count += 1
            # A store that is busy or away for a moment is no reason to fail; the next one may work.
            with _writing, contextlib.suppress(Exception):
                _has_written = True
                self._store.client.set_tag(self._run_id, process.HEARTBEAT, str(count))


def _before_fork() -> None:
    global _has_written
    # With a server that does not answer, the fork goes on: what it inherits is rarely in its way.
    _fork.holds = _writing.acquire(timeout=WAIT_SECONDS)
    if _has_written:
        # The caller has done so too, but a heartbeat may have opened a connection since.
        release_connections()
        _has_written = False


def _after_fork_in_parent() -> None:
    if _fork.holds:
        _fork.holds = False
        _writing.release()


def _after_fork_in_child() -> None:
    global _writing
    _writing = threading.Lock()
    _fork.holds = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
