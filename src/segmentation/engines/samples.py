"""The samples that large data is solved on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmentation.engines.draws import Rows, coreset, coreset_chances
from segmentation.engines.local import WeightedRows
from segmentation.engines.passes import Floats, Key, Totals, totals

SEARCH_ROWS = 2_000
SCREEN_ROWS = 10_000
CLIMB_ROWS = 40_000
# The refining sees one in so many rows, and at least so many in all.
REFINED, REFINED_ROWS = 8, 50_000


@dataclass(frozen=True)
class Samples:
    """One table and the samples of it.

    Attributes
    ----------
    rows : Rows
        All rows, equal ones merged where that pays.
    origin : ndarray of shape (d,)
        Their mean.
    refining, climbing, screening, searching : Rows
        Ever smaller coresets of them.
    seed, threads : int
    """

    rows: Rows
    origin: Floats
    refining: Rows
    climbing: Rows
    screening: Rows
    searching: Rows
    seed: int
    threads: int

    @classmethod
    def of(cls, rows: Rows, drawn: Floats, *, k_max: int, seed: int, threads: int) -> Samples:
        """Draw the samples by a uniform number for each row, see `segmentation.engines.draws`.

        Every cluster of the largest k should have some rows in each of them.
        """
        origin = np.average(rows.X, axis=0, weights=rows.w)
        chances = coreset_chances(rows, origin)
        return cls(
            rows,
            origin,
            coreset(rows, chances, drawn, max(len(rows.X) // REFINED, REFINED_ROWS, 100 * k_max)),
            coreset(rows, chances, drawn, max(CLIMB_ROWS, 100 * k_max)),
            coreset(rows, chances, drawn, max(SCREEN_ROWS, 50 * k_max)),
            coreset(rows, chances, drawn, max(SEARCH_ROWS, 20 * k_max)),
            seed=seed,
            threads=threads,
        )

    def over(self, rows: Rows, dtype: type) -> Callable[..., dict[Any, Totals]]:
        """Passes over some of the rows, as `segmentation.engines.lloyd.settle` wants them."""

        def run(centers: Mapping[Key, Floats], *, last: bool) -> dict[Key, Totals]:
            precise = last and rows is self.rows
            return totals(
                rows.X,
                centers,
                rows.w,
                origin=self.origin,
                dtype=np.float64 if precise else dtype,
                distances=precise,
                # In single precision a thread's steps are so short that two wait for each other:
                # 149 ms for a pass over 1e6 rows where one takes 108.
                threads=self.threads if precise else 1,
            )

        return run

    @functools.cached_property
    def search_rows(self) -> WeightedRows:
        """The smallest sample as the search wants it."""
        X = self.searching.X - self.origin
        return WeightedRows(X, self.searching.weights)
