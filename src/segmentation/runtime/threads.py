"""Numbers of threads and processes: for small work, waiting for others costs more than it saves.

On 200 customers a fit took 655 ms with two threads and 108 ms with one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import sklearn.cluster  # noqa: F401 - so that its thread pools are among those found
from joblib import cpu_count
from threadpoolctl import ThreadpoolController

#: Up to this many customers one thread is faster, and a sweep runs one configuration per core.
SMALL = 50_000


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Limit BLAS and OpenMP to this many threads within the block."""
    with _pools().limit(limits=threads):
        yield


def allowed() -> int:
    """Return how many threads BLAS and OpenMP may use now."""
    return max((int(pool["num_threads"]) for pool in _pools().info()), default=1)


def free_processes(customers: int) -> int:
    """Return how many processes may share work on some customers; few are not worth a fork."""
    return allowed() if customers > SMALL else 1


@functools.cache
def _pools() -> ThreadpoolController:
    # Cached: threadpoolctl reads the list of all loaded libraries on each call, which takes 3 ms.
    return ThreadpoolController()


@contextlib.contextmanager
def threads_for(customers: int, processes: int = 1) -> Iterator[None]:
    """Limit BLAS and OpenMP to the useful number of threads in one of several processes.

    Parameters
    ----------
    customers : int
    processes : int
        Number of processes that share the cores.
    """
    if customers > SMALL and processes == 1:
        yield
        return
    with at_most(1 if customers <= SMALL else max(1, cpu_count() // processes)):
        yield


def processes_for(customers: int | None, jobs: int) -> int:
    """Return how many configurations of a sweep to run at once.

    Small ones run one per core. Large ones each use all cores and much memory, so they run one
    after another, as do those of unknown size.
    """
    if customers is None or customers > SMALL:
        return 1
    return max(1, min(int(cpu_count()), jobs))
