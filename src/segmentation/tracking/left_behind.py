"""Find and mark the runs whose process has ended before they did."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from mlflow.entities import Run

from segmentation.runtime.progress import Say, silent
from segmentation.tracking import process, runs
from segmentation.tracking.exclusive import exclusive
from segmentation.tracking.heartbeat import PATIENCE_SECONDS
from segmentation.tracking.store import Store, store_errors

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Unseen:
    """Running runs whose process cannot be seen from here.

    Attributes
    ----------
    watched : tuple of Run
        Those whose heartbeat tells whether they are alive.
    unknown : int
        Number of those without one, made by an earlier version or another program.
    """

    watched: tuple[Run, ...]
    unknown: int


def mark_left_behind(store: Store) -> int:
    """Mark the runs of this experiment KILLED whose process is gone; return how many.

    Only runs whose process has certainly ended are marked.
    """
    with store_errors(store.uri):
        found = [run for run in runs.search(store, runs.RUNNING) if process.is_gone(run.data.tags)]
        return sum(
            _mark(store, run, "its process ended before the run did (killed?)") for run in found
        )


def unseen(store: Store) -> Unseen:
    """Return the running runs of this experiment whose process cannot be seen from here."""
    with store_errors(store.uri):
        hidden = [
            run
            for run in runs.search(store, runs.RUNNING)
            if process.state(run.data.tags) is process.State.HIDDEN
        ]
    watched = tuple(run for run in hidden if process.HEARTBEAT in run.data.tags)
    return Unseen(watched, len(hidden) - len(watched))


def mark_silent(
    store: Store,
    watched: tuple[Run, ...],
    say: Say = silent,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until the heartbeat of each run has changed or has stopped; mark those KILLED.

    Parameters
    ----------
    store : Store
    watched : tuple of Run
        From `unseen`.
    say : callable
        Takes lines of progress.
    clock, sleep : callable
        Monotonic seconds, and a function that waits.

    Returns
    -------
    int
        How many were marked.
    """
    waited = 0.0
    left = {str(run.info.run_id): run for run in watched}
    while left and waited < PATIENCE_SECONDS:
        runs_left = "1 run" if len(left) == 1 else f"{len(left)} runs"
        rest = f"{PATIENCE_SECONDS - waited:.0f} s"
        say(f"  {runs_left} still silent; watching for another {rest}")
        before = clock()
        sleep(POLL_SECONDS)
        # A machine that was paused, with their processes on it, would jump over all of the wait.
        waited += min(clock() - before, 2 * POLL_SECONDS)
        with store_errors(store.uri):
            left = {run_id: run for run_id, run in left.items() if _is_unchanged(store, run)}
    reason = f"its process gave no sign of life for {PATIENCE_SECONDS:.0f} seconds"
    with store_errors(store.uri):
        return sum(_mark(store, run, reason) for run in left.values())


def _is_unchanged(store: Store, run: Run) -> bool:
    """Return whether a run still runs in the same process, with the same heartbeat."""
    now = store.client.get_run(run.info.run_id)
    names = process.tags()
    return now.info.status == "RUNNING" and all(
        now.data.tags.get(name) == run.data.tags.get(name) for name in names
    )


def _mark(store: Store, run: Run, reason: str) -> bool:
    """Mark a run KILLED unless it has ended or has been taken over meanwhile."""
    sweep_id = run.data.tags.get("sweep_id")
    is_study = run.data.tags.get("study") == "yes" and sweep_id is not None
    # The parent run of a sweep may be reopened at this moment.
    lock = exclusive(store, f"sweep.{sweep_id}") if is_study else contextlib.nullcontext()
    with lock:
        if not _is_unchanged(store, run):
            return False
        runs.end(store, str(run.info.run_id), "KILLED", reason)
        return True
