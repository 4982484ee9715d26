"""How many threads and processes: where work is small, waiting for others costs more than it saves.

On 200 customers a fit with two threads took 655 ms where one took 108 ms.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import sklearn.cluster  # noqa: F401 - so that its thread pools are among those found
from joblib import cpu_count
from threadpoolctl import ThreadpoolController

#: Up to so many customers one thread is quicker, and a sweep runs one configuration on each core.
SMALL = 50_000


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let BLAS and OpenMP use no more threads than this."""
    with _pools().limit(limits=threads):
        yield


def allowed() -> int:
    """How many threads BLAS and OpenMP may use now."""
    return max((int(pool["num_threads"]) for pool in _pools().info()), default=1)


def free_processes(customers: int) -> int:
    """How many processes may share what is computed of some customers; few are not worth a fork."""
    return allowed() if customers > SMALL else 1


@functools.cache
def _pools() -> ThreadpoolController:
    # Found once: threadpoolctl reads the list of all loaded libraries each time, 3 ms.
    return ThreadpoolController()


@contextlib.contextmanager
def threads_for(customers: int, processes: int = 1) -> Iterator[None]:
    """Let the arithmetic use as many threads as pay in one of `processes` at work.

    Parameters
    ----------
    customers : int
    processes : int
        That share the cores.
    """
    if customers > SMALL and processes == 1:
        yield
        return
    with at_most(1 if customers <= SMALL else max(1, cpu_count() // processes)):
        yield


def processes_for(customers: int | None, jobs: int) -> int:
    """How many configurations of a sweep to run at once.

    Small ones go one on each core. Large ones use all cores and much memory each, so they go one
    after another, as do those of unknown size.
    """
    if customers is None or customers > SMALL:
        return 1
    return max(1, min(int(cpu_count()), jobs))
