"""Processes that share the passes over rows in memory.

Threads would wait for each other: a pass consists of steps of some tens of microseconds, and each
needs Python's lock in between. Over 1e6 rows two threads took 149 ms, one thread 108 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from segmentation.clustering.assignment import Asked, Chunk, Floats, Key, Totals, blocks, chunks
from segmentation.clustering.coresets import Rows
from segmentation.runtime.forks import Team, can_fork

#: Maximum number of processes: small samples have few blocks.
MOST = 8
#: Up to this many numbers, a table is kept transposed in single precision, as passes need it.
#: Transposing costs as much as the work for five centres, and a slow k needs dozens of passes.
KEPT = 16_000_000


class Crew:
    """This process and its forks. With p processes, each sums every p-th block of a pass.

    Forks share the memory of the tables. The result is the same, bit for bit, for any number of
    processes. If a fork is killed, this process computes its share.

    Parameters
    ----------
    tables : sequence of Rows
        The tables that passes can run over.
    origin : ndarray of shape (d,)
        A point among the rows.
    processes : int
        Number of processes including this one. If forking is not safe, only this one is used.
    """

    def __init__(self, tables: Sequence[Rows], origin: Floats, processes: int) -> None:
        self._tables, self._origin = tables, origin
        self._ready: dict[tuple[int, int], list[list[Chunk]]] = {}
        self._processes = min(processes, MOST) if can_fork() else 1
        self._others = Team(self._share, range(1, self._processes))

    def __enter__(self) -> Crew:
        self._others.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._others.__exit__(*error)

    def totals(
        self,
        rows: Rows,
        centers: Mapping[Key, Floats],
        *,
        dtype: DTypeLike,
        distances: bool = False,
    ) -> dict[Key, Totals]:
        """Run one pass over one of the tables; see `segmentation.clustering.assignment.totals`."""
        table = next(i for i, known in enumerate(self._tables) if known is rows)
        asked = Asked.about(self._origin, centers.values(), dtype, distances)
        order = (table, asked)
        for number in range(1, self._processes):
            self._others.order(number, order)
        shares = [self._share(0, order)]
        for number in range(1, self._processes):
            try:
                shares.append(self._others.answer(number))
            except EOFError:
                shares.append(self._share(number, order))
        return asked.told(centers, _in_turn(shares))

    def _share(self, number: int, order: tuple[int, Asked]) -> list[Floats]:
        table, asked = order
        return list(asked.over(self._blocks(number, table, asked.dtype)))

    def _blocks(self, number: int, table: int, dtype: np.dtype[Any]) -> Iterable[Iterable[Chunk]]:
        rows = self._tables[table]
        own = (
            chunks(rows.X, rows.w, block, self._origin, dtype)
            for block in blocks(len(rows.X))[number :: self._processes]
        )
        if rows.X.size > KEPT or dtype != np.float32:
            return own
        if (number, table) not in self._ready:
            self._ready[number, table] = [list(block) for block in own]
        return self._ready[number, table]


def _in_turn(shares: Sequence[list[Floats]]) -> Iterator[Floats]:
    for i in range(sum(map(len, shares))):
        yield shares[i % len(shares)][i // len(shares)]
